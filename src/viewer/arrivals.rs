//! How far apart the bytes of a stream come, so that a tick need not wait for nothing.
//!
//! An engine hands over pieces. A tick that falls between two of them could have come with the
//! first: it would have sent the same bytes earlier, and the wait only made the next tick early.
//! The distance is an average that is never relied on: the tick's own bound holds whatever this
//! says.

use std::time::Duration;

use crate::base::time::Instant;

/// Fewer say nothing yet.
const ARRIVALS_MIN: u8 = 4;

/// The latest distance counts one in so many.
const WEIGHT: u32 = 8;

/// A longer distance says no more than this one: nothing waits so long.
const APART_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Arrivals {
    last_at: Instant,
    apart: Duration,
    /// Up to `ARRIVALS_MIN`.
    seen: u8,
}

impl Arrivals {
    /// Bytes were found at `now` that had not come at `since`; when they came. A shard that was busy
    /// in between cannot know, and takes them to have come as far apart as the others.
    pub(super) fn note(&mut self, since: Instant, now: Instant) -> Instant {
        let expected = self.expected();
        let came = if expected == Instant::NEVER { since } else { expected.max(since).min(now) };
        let apart = came.since(self.last_at).min(APART_MAX);
        if self.seen == 1 {
            self.apart = apart;
        } else if self.seen > 1 {
            self.apart = (self.apart * (WEIGHT - 1) + apart) / WEIGHT;
        }
        self.seen = self.seen.saturating_add(1).min(ARRIVALS_MIN);
        self.last_at = came;
        came
    }

    /// When the next bytes are to be expected; `NEVER` while nobody can tell.
    pub(super) fn expected(&self) -> Instant {
        if self.seen < ARRIVALS_MIN { Instant::NEVER } else { self.last_at + self.apart }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    /// Four of them, 16 ms apart.
    fn regular(arrivals: &mut Arrivals) {
        for n in 0..4 {
            arrivals.note(at(16 * n), at(16 * n));
        }
    }

    #[test]
    fn pieces_are_expected_as_far_apart_as_they_came() {
        let mut arrivals = Arrivals::default();
        for n in 0..4 {
            assert_eq!(arrivals.expected(), Instant::NEVER);
            assert_eq!(arrivals.note(at(16 * n), at(16 * n)), at(16 * n));
        }
        assert_eq!(arrivals.expected(), at(64));
    }

    #[test]
    fn a_busy_shard_dates_what_it_finds_by_what_it_expected() {
        let mut arrivals = Arrivals::default();
        regular(&mut arrivals);
        // It looked at 48 and again at 78; the piece was expected at 64.
        assert_eq!(arrivals.note(at(48), at(78)), at(64));
        // Never outside of when it can have come.
        assert_eq!(arrivals.note(at(90), at(95)), at(90));
        assert_eq!(arrivals.note(at(91), at(92)), at(92));
    }

    #[test]
    fn silence_is_not_expected_to_last() {
        let mut arrivals = Arrivals::default();
        regular(&mut arrivals);
        arrivals.note(at(100_000), at(100_000));
        assert!(arrivals.expected() < at(100_200));
    }
}
