//! Viewers over a real ring, with sockets that accept what the test says.

mod checker;
mod join;
mod rig;
mod rounds;
mod schedule;
mod send;
mod skip;
mod source;
mod time;
