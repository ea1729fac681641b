//! The free slab numbers: a bounded lock-free stack (Treiber) over an array of links.
//!
//! It allocates once and never waits. The head word carries a tag in its upper half that moves
//! with every change: a `pop` that slept between reading a link and its compare-exchange cannot
//! mistake a number that went and came back for one that never left (2^32 changes within that
//! sleep would be needed).
//!
//! Invariant: a number is on the list at most once; [`super::arena::Slab`] is the evidence.
//! Order: every change of the head is a read-modify-write, so whoever pops a number
//! synchronises with whoever pushed it, through any changes in between (release sequence).

use super::sync::AtomicU32;
use super::sync::AtomicU64;
use super::sync::Ordering;
use crossbeam_utils::CachePadded;

const NONE: u32 = u32::MAX;

pub(super) struct FreeList {
    /// tag << 32 | the top number
    head: CachePadded<AtomicU64>,
    /// The number below each number.
    links: Box<[AtomicU32]>,
}

impl FreeList {
    /// Empty, with room for the numbers `0..numbers`.
    pub(super) fn new(numbers: u32) -> Self {
        assert!(numbers < NONE);
        Self {
            head: CachePadded::new(AtomicU64::new(word(0, NONE))),
            links: (0..numbers).map(|_| AtomicU32::new(NONE)).collect(),
        }
    }

    pub(super) fn push(&self, number: u32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            self.links[number as usize].store(top(head), Ordering::Relaxed);
            let next = word(tag(head).wrapping_add(1), number);
            match self.head.compare_exchange_weak(head, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    pub(super) fn pop(&self) -> Option<u32> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let number = top(head);
            if number == NONE {
                return None;
            }
            let below = self.links[number as usize].load(Ordering::Relaxed);
            let next = word(tag(head).wrapping_add(1), below);
            match self.head.compare_exchange_weak(head, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(number),
                Err(now) => head = now,
            }
        }
    }
}

const fn word(tag: u32, top: u32) -> u64 {
    (tag as u64) << 32 | top as u64
}

const fn tag(word: u64) -> u32 {
    (word >> 32) as u32
}

const fn top(word: u64) -> u32 {
    word as u32
}
