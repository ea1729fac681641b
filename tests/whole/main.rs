//! The whole program, from outside: the real binary, real sockets, an emulated engine, real
//! players. Written against the public contract; nothing in here looks into the server.

#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

mod rig;

mod access;
mod api;
mod bytes;
mod cold;
mod engines;
mod failover;
mod failures;
mod hanging;
mod http;
mod names;
mod offline;
mod players;
mod process;
mod sharing;
mod slow;
mod stopping;
