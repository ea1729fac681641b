//! Counters that one thread writes and any thread reads.
//!
//! Invariant: each instance has exactly one writing thread, so an update is a plain load and
//! store and no shard ever pays for another's cache line.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A monotonic counter or a gauge with a single writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).saturating_sub(n), Relaxed);
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A histogram with fixed upper bounds, in microseconds; the last bucket is everything above.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds_us: [u64; N],
    buckets: [Counter; N],
    above: Counter,
    sum_us: Counter,
}

impl<const N: usize> Histogram<N> {
    pub const fn new(bounds_us: [u64; N]) -> Self {
        Self {
            bounds_us,
            buckets: [const { Counter::new() }; N],
            above: Counter::new(),
            sum_us: Counter::new(),
        }
    }

    pub fn record(&self, us: u64) {
        match self.bounds_us.iter().position(|bound| us <= *bound) {
            Some(at) => self.buckets[at].add(1),
            None => self.above.add(1),
        }
        self.sum_us.add(us);
    }

    pub fn snapshot(&self) -> HistogramSnapshot {
        let counts = self.buckets.iter().map(Counter::get).chain([self.above.get()]).collect();
        HistogramSnapshot { bounds_us: self.bounds_us.to_vec(), counts, sum_us: self.sum_us.get() }
    }
}

/// What a histogram held when it was read. `counts` has one entry more than `bounds_us`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    pub bounds_us: Vec<u64>,
    pub counts: Vec<u64>,
    pub sum_us: u64,
}

impl HistogramSnapshot {
    /// Adds another shard's snapshot of the same histogram.
    pub fn merge(&mut self, other: &Self) {
        if self.bounds_us.is_empty() {
            *self = other.clone();
            return;
        }
        assert_eq!(self.bounds_us, other.bounds_us);
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum_us += other.sum_us;
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}
