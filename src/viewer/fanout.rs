//! When the viewers of one stream on one shard are looked at: the coalescing tick, and a sweep for
//! whoever has a deadline.
//!
//! Between two ticks a moved head costs nothing per viewer. A tick releases what is there: nobody
//! holds a released byte back again, so that a viewer whose send ended early goes on at
//! once while one that has everything waits for the next tick. The bounds kept here are one-sided:
//! the lowest cursor may be too low and the sweep too early, never the other way.
//!
//! A tick comes with the bytes after which no others are expected in time ([`Arrivals`]), else when
//! the oldest have waited for as long as they may.

use std::time::Duration;

use crate::base::time::Instant;
use crate::viewer::Following;
use crate::viewer::Viewer;
use crate::viewer::arrivals::Arrivals;
use crate::viewer::policy::Policy;

/// Sweeps are at least so far apart: with 4 000 viewers whose deadlines all differ, a hundred
/// rounds a second are 400 000 plans, some 4 ms.
const SWEEP_APART_MIN: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Fanout {
    head: u64,
    /// Everything below was released by a tick.
    released: u64,
    oldest_unsent_at: Instant,
    arrivals: Arrivals,
    sweep_at: Instant,
    swept_at: Instant,
    lowest_cursor: u64,
    coalesce_bytes: u64,
    coalesce_after: Duration,
    following: Following,
}

/// What a round over all viewers does, decided once. Having one tells you that it is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Round {
    pub(super) is_tick: bool,
    pub(super) released: u64,
}

impl Fanout {
    pub fn new(policy: &Policy) -> Self {
        Self {
            head: 0,
            released: 0,
            oldest_unsent_at: Instant::NEVER,
            arrivals: Arrivals::default(),
            sweep_at: Instant::NEVER,
            swept_at: Instant::ZERO,
            lowest_cursor: u64::MAX,
            coalesce_bytes: policy.coalesce_bytes,
            coalesce_after: policy.coalesce_after,
            following: Following::default(),
        }
    }

    /// The head of this turn, before anything is planned. What is new was not in the ring at
    /// `since`, and may have waited elsewhere since `waited_since`.
    pub fn note_head(&mut self, head: u64, since: Instant, waited_since: Instant, now: Instant) {
        assert!(head >= self.head, "a head goes forward");
        if head == self.head {
            return;
        }
        let came = self.arrivals.note(since, now);
        if self.head == self.released {
            self.oldest_unsent_at = came.min(waited_since);
        }
        self.head = head;
    }

    /// A round over all viewers is due.
    pub fn due(&self, now: Instant) -> bool {
        self.is_tick_due(now) || now >= self.next_sweep()
    }

    /// When a round becomes due with nothing else happening.
    pub fn next_tick(&self) -> Option<Instant> {
        let at = self.next_coalesced().min(self.next_sweep());
        (at != Instant::NEVER).then_some(at)
    }

    /// The bytes at this viewer's cursor were released: the `tick` of its plan outside a round.
    pub fn released(&self, viewer: &Viewer) -> bool {
        viewer.cursor().is_some_and(|cursor| cursor < self.released)
    }

    /// A viewer was planned outside a round.
    pub fn note_viewer(&mut self, viewer: &Viewer) {
        if let Some(at) = viewer.next_deadline() {
            self.sweep_at = self.sweep_at.min(at);
        }
        if let Some(cursor) = viewer.cursor()
            && !viewer.is_closed()
        {
            self.lowest_cursor = self.lowest_cursor.min(cursor);
        }
    }

    /// For `Reader::turn`: no cursor of a viewer is lower. None: there is no viewer, or
    /// `joiners` wait, who may start anywhere in the ring.
    pub fn lowest_cursor(&self, joiners: bool) -> Option<u64> {
        (!joiners && self.lowest_cursor != u64::MAX).then_some(self.lowest_cursor)
    }

    /// The ring has ended: the next round is due at once, and lets everything go.
    pub fn note_end(&mut self) {
        self.sweep_at = Instant::ZERO;
        self.swept_at = Instant::ZERO;
    }

    /// Begins a round, due or not: the bounds are made anew from the viewers noted in it.
    pub(super) fn begin(&mut self, ended: bool, now: Instant) -> Round {
        let is_tick = ended || self.is_tick_due(now);
        if is_tick {
            self.released = self.head;
            self.oldest_unsent_at = Instant::NEVER;
        }
        self.sweep_at = Instant::NEVER;
        self.swept_at = now;
        self.lowest_cursor = u64::MAX;
        Round { is_tick, released: self.released }
    }

    /// Outside a round only what a tick released goes.
    pub(super) fn between(&self) -> Round {
        Round { is_tick: false, released: self.released }
    }

    /// What viewers that skip to the same point share.
    pub(super) fn following(&mut self) -> &mut Following {
        &mut self.following
    }

    fn is_tick_due(&self, now: Instant) -> bool {
        now >= self.next_coalesced()
    }

    fn next_coalesced(&self) -> Instant {
        if self.head - self.released >= self.coalesce_bytes {
            return Instant::ZERO;
        }
        let latest = self.oldest_unsent_at + self.coalesce_after;
        let next = self.arrivals.expected();
        // Nothing is expected to come before the bytes that are here must go.
        if next != Instant::NEVER && next > latest { Instant::ZERO } else { latest }
    }

    fn next_sweep(&self) -> Instant {
        if self.sweep_at == Instant::NEVER {
            return Instant::NEVER;
        }
        self.sweep_at.max(self.swept_at + SWEEP_APART_MIN)
    }
}
