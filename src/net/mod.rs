//! Floor 4: sockets. The one place that knows the async runtime, and one of the two rooms where
//! `unsafe` lives: here the kernel holds our descriptors, and for a while our bytes.
//!
//! - A connection is a [`conn::Conn`] while its head is read; engine connections stay one.
//! - A viewer's socket then moves into [`egress::Egress`], which submits sends and reports what
//!   became of them. Viewers are slab entries there, not tasks.
//! - Between threads there are [`bell::Bell`]s, and nothing else of this module.
//!
//! It never parses a byte that it moves, and decides nothing about streams or viewers.

pub mod bell;
pub mod conn;
pub mod dns;
pub mod egress;
pub mod files;
pub mod host;
pub mod lack;
pub mod listen;
pub mod runtime;
mod sock;
mod source;
mod sweep;

#[cfg(test)]
mod testing;

pub use sock::TcpInfo;
pub use sock::queued;
pub use sock::tcp_info;
pub use source::Closer;
