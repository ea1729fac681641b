//! The emulator over its sockets: what a client of the engine sees, and every knob.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bodies;
mod client;
mod faults;
mod hops;
mod players;
mod sessions;
mod stats;
