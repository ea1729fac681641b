//! The whole program, from outside: the real binary, real sockets, an emulated engine, real
//! players. Written against the public contract; nothing in here looks into the server.

#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

mod rig;

mod access;
mod api;
mod bytes;
mod changes;
mod cold;
mod descriptors;
mod engines;
mod failover;
mod failures;
mod faults;
mod frozen;
mod hanging;
mod http;
mod isolation;
mod journal;
mod limits;
mod moves;
mod names;
mod offline;
mod paths;
mod players;
mod process;
mod redis;
mod reload;
mod sharing;
mod slow;
mod soak;
mod stopping;
