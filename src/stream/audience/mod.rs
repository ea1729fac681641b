//! Who watches: viewers per shard, and the two-phase question that ends a stream.
//!
//! A shard is subscribed from the handle that was sent to it until it says `Idle`. The question
//! goes to every subscribed shard under one generation; the stream may end when each of them has
//! said `Idle` to exactly that generation. An `Idle` to an older question decides nothing: the
//! answer to the newer one is still to come. And it unsubscribes only if the question is younger
//! than the shard's handle: a shard may let one handle go while the next one is on its way.
//!
//! Invariants: a shard that is not subscribed has no viewers; waiting <= count; only subscribed
//! shards are asked.

use crate::base::ids::Generation;
use crate::base::ids::ShardId;
use crate::base::sizes::SHARDS_MAX;
use crate::base::time::Instant;

/// A set of shards, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShardSet(u64);

const _: () = assert!(SHARDS_MAX <= 64);

impl ShardSet {
    pub const EMPTY: Self = Self(0);

    pub const fn insert(&mut self, shard: ShardId) {
        self.0 |= Self::bit(shard);
    }

    pub const fn remove(&mut self, shard: ShardId) {
        self.0 &= !Self::bit(shard);
    }

    pub const fn contains(self, shard: ShardId) -> bool {
        self.0 & Self::bit(shard) != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        (0..SHARDS_MAX as u8).map(ShardId).filter(move |shard| self.contains(*shard))
    }

    const fn bit(shard: ShardId) -> u64 {
        assert!((shard.0 as usize) < SHARDS_MAX, "shards are numbered below SHARDS_MAX");
        1 << shard.0
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Count {
    viewers: u32,
    waiting: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Closing {
    generation: Generation,
    awaiting: ShardSet,
}

/// What an answer to the question means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Not decided, or an answer to an older question.
    Open,
    /// Everybody is idle.
    Closed,
    /// Somebody is busy: the question is off.
    Cancelled,
}

#[derive(Debug)]
pub(super) struct Audience {
    counts: [Count; SHARDS_MAX],
    subscribed: ShardSet,
    /// The newest question when each shard got its handle.
    attached_at: [Generation; SHARDS_MAX],
    asked_last: Generation,
    closing: Option<Closing>,
    /// A handle has been given away: until then nobody is missing.
    is_counted: bool,
    /// Since when there has been no viewer; meaningless while there is one.
    empty_since: Instant,
}

impl Audience {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            counts: [Count::default(); SHARDS_MAX],
            subscribed: ShardSet::EMPTY,
            attached_at: [Generation::default(); SHARDS_MAX],
            asked_last: Generation::default(),
            closing: None,
            is_counted: false,
            empty_since: now,
        }
    }

    pub(super) const fn is_counted(&self) -> bool {
        self.is_counted
    }

    pub(super) fn viewers(&self) -> u32 {
        self.counts.iter().map(|count| count.viewers).sum()
    }

    pub(super) fn waiting(&self) -> u32 {
        self.counts.iter().map(|count| count.waiting).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.viewers() == 0
    }

    pub(super) const fn empty_since(&self) -> Instant {
        self.empty_since
    }

    pub(super) const fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(super) const fn has_subscribers(&self) -> bool {
        !self.subscribed.is_empty()
    }

    /// A handle goes to this shard, for so many viewers that it told of. Calls the question off,
    /// whether they are still there or not: the handle must be let go first.
    pub(super) fn attach(&mut self, shard: ShardId, viewers: u32, waiting: u32, now: Instant) {
        self.is_counted = true;
        self.subscribed.insert(shard);
        self.attached_at[usize::from(shard.0)] = self.asked_last;
        self.closing = None;
        if self.is_empty() {
            self.empty_since = now;
        }
        let known = self.counts[usize::from(shard.0)];
        self.set(shard, viewers.max(known.viewers), waiting.max(known.waiting), now);
    }

    pub(super) fn set(&mut self, shard: ShardId, viewers: u32, waiting: u32, now: Instant) {
        debug_assert!(waiting <= viewers, "{waiting} of {viewers} viewers wait");
        if !self.subscribed.contains(shard) {
            // Said before its `Idle`, heard after it: there is no handle that could be let go.
            return;
        }
        let was_empty = self.is_empty();
        self.counts[usize::from(shard.0)] = Count { viewers, waiting: waiting.min(viewers) };
        if !was_empty && self.is_empty() {
            self.empty_since = now;
        }
        if viewers > 0 {
            self.closing = None;
        }
    }

    /// Everybody has been answered or closed: what they still report is of the past.
    pub(super) fn dismiss(&mut self, now: Instant) {
        self.counts = [Count::default(); SHARDS_MAX];
        self.empty_since = now;
        self.closing = None;
    }

    /// Asks every subscribed shard; `None` when there is nobody to ask, so that the stream is
    /// closed already.
    pub(super) fn ask(&mut self, generation: Generation) -> Option<ShardSet> {
        self.closing = None;
        self.asked_last = generation;
        if self.subscribed.is_empty() {
            return None;
        }
        self.closing = Some(Closing { generation, awaiting: self.subscribed });
        Some(self.subscribed)
    }

    pub(super) fn idle(&mut self, shard: ShardId, generation: Generation, now: Instant) -> Verdict {
        if generation > self.attached_at[usize::from(shard.0)] {
            self.unsubscribe(shard, now);
        }
        match self.closing {
            Some(closing) if closing.generation == generation => self.settle(shard),
            Some(_) | None => Verdict::Open,
        }
    }

    pub(super) fn busy(&mut self, generation: Generation, now: Instant) -> Verdict {
        match self.closing {
            Some(closing) if closing.generation == generation => {
                self.closing = None;
                // Its count is on the way; the grace period begins anew in case it is not.
                self.empty_since = now;
                Verdict::Cancelled
            }
            Some(_) | None => Verdict::Open,
        }
    }

    pub(super) fn lost(&mut self, shard: ShardId, now: Instant) -> Verdict {
        self.unsubscribe(shard, now);
        self.settle(shard)
    }

    fn unsubscribe(&mut self, shard: ShardId, now: Instant) {
        let was_empty = self.is_empty();
        self.subscribed.remove(shard);
        self.counts[usize::from(shard.0)] = Count::default();
        if !was_empty && self.is_empty() {
            self.empty_since = now;
        }
    }

    fn settle(&mut self, shard: ShardId) -> Verdict {
        let Some(closing) = &mut self.closing else { return Verdict::Open };
        closing.awaiting.remove(shard);
        if !closing.awaiting.is_empty() {
            return Verdict::Open;
        }
        self.closing = None;
        Verdict::Closed
    }

    pub(super) fn check_invariants(&self) {
        for shard in 0..SHARDS_MAX as u8 {
            let count = self.counts[usize::from(shard)];
            assert!(count.waiting <= count.viewers);
            assert!(count.viewers == 0 || self.subscribed.contains(ShardId(shard)));
        }
        if let Some(closing) = self.closing {
            assert!(!closing.awaiting.is_empty(), "a question that nobody is asked");
        }
    }
}

#[cfg(test)]
mod tests;
