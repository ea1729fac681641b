//! The way from a shard to the mirror: a bounded queue for each shard, and behind all of them one
//! table in which the last value of a key wins.
//!
//! Invariants:
//! - A shard never waits: what finds no room is dropped and counted, and heals with the next full
//!   telling, which the mirror asks for.
//! - Nothing here grows beyond its bound, however long Redis is away.

mod queue;
mod table;

pub use self::queue::Inbound;
pub use self::queue::Outbox;
pub use self::queue::RECORDS_MAX;
pub use self::queue::Waker;
pub use self::queue::queue;
pub use self::table::Batch;
pub use self::table::CHUNK_BYTES_MAX;
pub use self::table::Chunk;
pub use self::table::ENTRIES_MAX;
pub use self::table::EVENTS_MAX;
pub use self::table::Gate;
pub use self::table::Rates;
pub use self::table::StreamWrite;
pub use self::table::StreamWrites;
pub use self::table::Table;
pub use self::table::ViewerWrite;

#[cfg(test)]
mod tests;
