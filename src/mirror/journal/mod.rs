//! The journal of open engine sessions, so that `kill -9` and a power cut leave none running.
//!
//! Each process keeps one file in the state directory and holds its lock for as long as it lives:
//! a file whose lock is free belongs to a process that has died. [`Journal`] writes ours, on a
//! thread of its own; [`sweep`] stops what the dead have left, and removes their files. It needs
//! no Redis.
//!
//! It never keeps a stream waiting: a shard hands its notes to a bounded queue, an open waits
//! [`ACK_MAX`] for its note to be written and then goes on without. What cannot be written is said
//! once in the log and counted; everything else goes on as if there were no journal.
//!
//! | | |
//! |---|---|
//! | [`record`] | the lines, and the book that they add up to; pure |
//! | [`settle`] | what is done about one session of the dead; pure |
//! | [`files`] | names, locks, whole replacements |
//! | [`writer`] | the thread that keeps our file |
//! | [`sweep`] | the thread that looks after the dead |

mod files;
mod record;
mod settle;
pub mod sweep;
mod writer;

#[cfg(test)]
mod tests;

pub use record::Engine;
pub use record::Session;
pub use settle::Ask;
pub use settle::Unasked;
pub use writer::ACK_MAX;
pub use writer::Journal;
pub use writer::Note;
pub use writer::Notes;
pub use writer::Over;
