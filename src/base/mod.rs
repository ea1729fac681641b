//! Floor 0: time, ids, sizes, random numbers, faults and counters.
//!
//! Everything above may use it; it uses nothing of ours. It opens no socket and starts no thread.
//! The only clock of the whole program is read here ([`time`]).

pub mod counters;
pub mod fault;
pub mod ids;
pub mod prng;
pub mod sizes;
pub mod time;
