//! Which slabs are still read by operations in flight, whatever has become of their ring.
//!
//! One word for each slab of the arena: how many readers have operations on it. A reader counts
//! these itself ([`Reader`]) and comes here with the first and the last of a slab only, so no send
//! of a viewer costs an atomic. Who owns the slab looks here before it is given to anybody else.
//!
//! Invariant: every change is a read-modify-write, so whoever reads that nobody holds a slab
//! synchronises with everybody who let go of it (release sequence).
//!
//! [`Reader`]: super::Reader

use super::sync::AtomicU32;
use super::sync::Ordering;

/// Set for good when a reader went away with operations in flight: nobody will ever say that the
/// kernel is done with them.
const LOST: u32 = 1 << 31;

pub(super) struct Holds {
    words: Box<[AtomicU32]>,
}

/// What has become of a slab that left its ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    Held,
    /// It may be used again.
    Free,
    /// It is never used again.
    Lost,
}

impl Holds {
    pub(super) fn new(slabs: u32) -> Self {
        Self { words: (0..slabs).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Within a turn that may read the slab. Relaxed: the end of the turn carries it (a release
    /// store of the pin).
    pub(super) fn hold(&self, slab: u32) {
        self.word(slab).fetch_add(1, Ordering::Relaxed);
    }

    /// Release: what was read of the slab happened before.
    pub(super) fn let_go(&self, slab: u32) {
        self.word(slab).fetch_sub(1, Ordering::Release);
    }

    /// Instead of letting go.
    pub(super) fn lose(&self, slab: u32) {
        self.word(slab).fetch_or(LOST, Ordering::Relaxed);
        self.let_go(slab);
    }

    /// Final, but for [`Hold::Held`], for a slab that no turn reads or will.
    pub(super) fn of(&self, slab: u32) -> Hold {
        match self.word(slab).load(Ordering::Acquire) {
            0 => Hold::Free,
            LOST => Hold::Lost,
            _ => Hold::Held,
        }
    }

    fn word(&self, slab: u32) -> &AtomicU32 {
        &self.words[slab as usize]
    }
}
