//! Floor 4: the mirror. It tells Redis who watches what, keeps the streams' leases, publishes
//! events and brings commands back. Redis is told afterwards: nothing here is on the way of a
//! byte, of a join or of an end.
//!
//! What a shard sees is an [`Outbox`]: it tells [`Record`]s and never waits. What it hears are
//! [`Order`]s. Between them stands one thread that owns the connection and carries
//! out what the [`book`] decides; the book holds a [`lease`] for each stream and the table of what
//! is still to be written ([`outbox`]). Book, lease and table are brains without I/O.
//!
//! The [`journal`] of engine sessions is the part that needs no Redis.
//!
//! Invariants:
//! - Without `RINGCAST_REDIS_URL` nothing of this exists: no thread, no queue.
//! - A mirror that panics is started again; the queues outlive it.
//! - No lock is shared with a shard but the one of its inbox, which it only ever tries.

pub mod book;
mod driver;
pub mod events;
pub mod journal;
pub mod keys;
pub mod lease;
pub mod link;
mod listen;
pub mod look;
pub mod outbox;
pub mod place;
mod questions;
pub mod records;
pub mod settings;
pub mod snapshots;
pub mod status;
mod sweep;
mod thread;
mod upkeep;
pub mod wire;
mod writing;

pub use self::book::LeaseView;
pub use self::book::Order;
pub use self::book::StandingName;
pub use self::outbox::Outbox;
pub use self::records::Record;
pub use self::settings::Settings;
pub use self::settings::worker_id;
pub use self::status::State;
pub use self::status::Status;
pub use self::thread::Mirror;
pub use self::thread::Prepared;
pub use self::thread::Shards;
pub use self::thread::prepare;
