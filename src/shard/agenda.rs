//! Which of a shard's streams a turn has to look at, so that a turn costs what came and not what
//! there is: with 300 streams, looking at all of them in each turn took a third of a core.
//!
//! Invariant: every stream with bytes to publish is listed, and no stream is due before `due_at`,
//! which may be too early and never too late.

use crate::base::time::Instant;
use std::time::Duration;

/// Looking at all streams is at least so far apart: who is due in between waits that long.
const SWEEP_APART_MIN: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Agenda {
    /// Streams that got bytes since they were last published, by serial.
    moved: Vec<u64>,
    due_at: Instant,
    swept_at: Instant,
}

impl Agenda {
    pub(crate) fn new() -> Self {
        Self { moved: Vec::with_capacity(64), due_at: Instant::NEVER, swept_at: Instant::ZERO }
    }

    /// Bytes came for the stream. Said once for each time that its bytes are published.
    pub(crate) fn moved(&mut self, serial: u64) {
        self.moved.push(serial);
    }

    /// Something about the stream has changed: it is to be looked at then, at the latest.
    pub(crate) fn note(&mut self, at: Option<Instant>) {
        self.due_at = self.due_at.min(at.unwrap_or(Instant::NEVER));
    }

    pub(crate) fn take_moved(&mut self, into: &mut Vec<u64>) {
        into.append(&mut self.moved);
    }

    pub(crate) fn next_sweep(&self) -> Instant {
        if self.due_at == Instant::NEVER {
            return Instant::NEVER;
        }
        self.due_at.max(self.swept_at + SWEEP_APART_MIN)
    }

    /// True when all streams are to be looked at; each is then noted anew.
    pub(crate) fn sweep(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next_sweep();
        if is_due {
            self.due_at = Instant::NEVER;
            self.swept_at = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    #[test]
    fn a_sweep_comes_with_the_earliest_that_was_noted_and_not_more_often() {
        let mut agenda = Agenda::new();
        assert_eq!(agenda.next_sweep(), Instant::NEVER);
        agenda.note(Some(at(50)));
        agenda.note(None);
        agenda.note(Some(at(40)));
        assert!(!agenda.sweep(at(39)));
        assert!(agenda.sweep(at(40)));
        assert_eq!(agenda.next_sweep(), Instant::NEVER, "each stream is noted anew");
        agenda.note(Some(at(41)));
        assert_eq!(agenda.next_sweep(), at(50));
        assert!(!agenda.sweep(at(49)));
        assert!(agenda.sweep(at(50)));
    }
}
