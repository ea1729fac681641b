//! Floor 5: the threads. The only place where brains meet sockets.
//!
//! A shard is one thread with one monoio runtime and one egress. It accepts viewers and keeps
//! them; it owns the streams whose infohash [`crate::base::ids::place`] gives it; it talks to the
//! other shards by mailbox and to nobody else. [`core`] has the turn, [`source`] and [`carry`]
//! the owner's side of a stream, [`audience`] the viewers' side, [`home`] the resolution of ids,
//! [`pool_desk`] shard 0's engine pool, [`accept`] the way of a connection until its head is understood.

mod accept;
mod agenda;
mod api;
mod audience;
mod blocks;
mod carry;
mod change;
mod channel;
mod claims;
mod conversations;
mod core;
mod dispatch;
mod engine_io;
mod exchange;
mod gather;
mod home;
mod ingest;
mod join;
mod journaling;
mod leasing;
mod leave;
mod live;
mod lost;
pub mod mailbox;
mod message;
mod mirror;
mod orders;
mod pool_desk;
mod priming;
mod room;
mod seats;
mod source;
mod stats;
mod tell;
mod tend;
mod thread;
mod translate;

pub use audience::SendMode;
pub use live::Live;
pub use thread::Chore;
pub use thread::Config;
pub use thread::Fleet;
pub use thread::Launch;
pub(crate) use thread::Shared;
