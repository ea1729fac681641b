//! What of an arena is spoken for: promises to streams, and charges for the twins of rings.
//!
//! It counts slabs and holds none. Both counts stand in one word, so that a promise and a charge
//! which are made at the same time never both take the last room.
//!
//! Invariant: promised + charged <= the arena less what is kept back for condemned slabs.

use super::sync::AtomicU64;
use super::sync::Ordering;

pub(super) struct Budget {
    /// Charged in the upper half, promised in the lower.
    word: AtomicU64,
    slabs_max: u32,
}

impl Budget {
    pub(super) fn new(slabs_max: u32) -> Self {
        Self { word: AtomicU64::new(0), slabs_max }
    }

    pub(super) fn promised(&self) -> u32 {
        self.word.load(Ordering::Relaxed) as u32
    }

    #[inline]
    pub(super) fn charged(&self) -> u32 {
        (self.word.load(Ordering::Relaxed) >> 32) as u32
    }

    pub(super) fn promise(&self, slabs: u32) -> bool {
        self.add(slabs, 0, || u32::MAX)
    }

    pub(super) fn end_promise(&self, slabs: u32) {
        self.word.fetch_sub(u64::from(slabs), Ordering::Relaxed);
    }

    /// `room`: the slabs that are free and not kept back; those charged are among them.
    pub(super) fn charge(&self, slabs: u32, room: impl Fn() -> u32) -> bool {
        self.add(0, slabs, room)
    }

    pub(super) fn end_charge(&self, slabs: u32) {
        self.word.fetch_sub(u64::from(slabs) << 32, Ordering::Relaxed);
    }

    fn add(&self, promise: u32, charge: u32, room: impl Fn() -> u32) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let promised = u64::from(word as u32) + u64::from(promise);
            let charged = (word >> 32) + u64::from(charge);
            if promised + charged > u64::from(self.slabs_max) || charged > u64::from(room()) {
                return false;
            }
            let next = charged << 32 | promised;
            match self.word.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }
}
