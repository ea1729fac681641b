//! The engine's side: where engines are, what is said to them and what they answer, and which
//! one serves next.
//!
//! Sans-I/O throughout: bytes and facts in, bytes and decisions out. It opens no socket, reads no
//! clock and resolves no name. [`pool::Pool`] lives on shard 0 only; the rest is used everywhere.

pub mod orchestrator;
pub mod pool;
pub mod reply;
pub mod request;
pub mod spec;
