//! A reader's side of a ring: one for each (shard, stream), the mirror and the disk writer.
//!
//! It counts its own operations in flight, slab by slab, without atomics, and owns one pin. It
//! never writes another word of the ring. Between turns the pin is the first byte of the oldest
//! slab in flight, or nothing: a cursor pins nothing (rule 2).
//!
//! Invariants: the pin is never above the oldest slab in flight; the first count is not zero.

#![expect(unsafe_code, reason = "pinned bytes are read through a pointer")]

use super::shared::Ring;
use super::shared::UNPINNED;
use super::sync::Ordering;
use super::sync::next_reader_number;
use super::turn::Turn;
use std::collections::VecDeque;
use std::sync::Arc;

pub struct Reader {
    ring: Arc<Ring>,
    index: usize,
    /// Unlike any other reader's: a [`Pinned`] comes back to the reader that it came from.
    number: u64,
    in_flight: InFlight,
}

impl Reader {
    /// Takes the place `index` of the ring; a place is one reader's at a time.
    pub fn new(ring: Arc<Ring>, index: usize) -> Self {
        let was_taken = ring.taken[index].swap(true, Ordering::AcqRel);
        assert!(
            !was_taken,
            "the place of reader {index} is taken: two would undo each other's pin"
        );
        Self { ring, index, number: next_reader_number(), in_flight: InFlight::default() }
    }

    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    pub fn index(&self) -> usize {
        self.index
    }

    /// Unlike any other reader's.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Operations whose bytes must not change yet.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.total
    }

    /// The first byte of the oldest slab in flight.
    pub fn oldest_in_flight(&self) -> Option<u64> {
        self.in_flight.oldest().map(|sequence| sequence * self.ring.slab_bytes())
    }

    /// Rule 3. `lowest_cursor`: the lowest byte that anybody served in this turn stands at; those
    /// below the turn's tail are lapped. None: anything that is in the ring may be asked for
    /// (nobody is served yet, or somebody wants to begin anywhere).
    pub fn turn(&mut self, lowest_cursor: Option<u64>) -> Turn<'_> {
        Turn::begin(self, lowest_cursor)
    }

    /// The operation is over: its last completion came, or its last notification.
    pub fn done(&mut self, pinned: Pinned) {
        assert_eq!(pinned.reader, self.number, "a Pinned comes back to the reader it came from");
        let arena = self.ring.arena();
        arena.note_read(pinned.slab, pinned.at(arena.slab_bytes()), pinned.len());
        let oldest_before = self.in_flight.oldest();
        self.in_flight.remove(pinned.offset / self.ring.slab_bytes());
        if self.in_flight.oldest() != oldest_before {
            self.settle();
        }
        self.check_invariants();
    }

    /// Between turns.
    pub(super) fn settle(&mut self) {
        self.ring.raise_pin(self.index, self.oldest_in_flight().unwrap_or(UNPINNED));
    }

    /// Only a turn calls it, for a slice that it may read.
    pub(super) fn pinned(&mut self, offset: u64, slab: u32, ptr: *const u8, len: usize) -> Pinned {
        self.in_flight.add(offset / self.ring.slab_bytes());
        self.check_invariants();
        let len = u32::try_from(len).expect("a part of a slab");
        Pinned { ptr, len, slab, offset, reader: self.number }
    }

    fn check_invariants(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        self.in_flight.check_invariants();
        let pin = self.ring.pins[self.index].slabs.load(Ordering::Relaxed);
        assert!(self.oldest_in_flight().is_none_or(|oldest| {
            // A slab that was pinned in this turn is covered by the turn's own pin.
            pin / self.ring.slab_bytes() <= oldest / self.ring.slab_bytes()
        }));
    }
}

impl Drop for Reader {
    /// What is still in flight will never be said to be done: these slabs are not used again.
    fn drop(&mut self) {
        if self.in_flight.total > 0 {
            self.ring.quarantine.add(self.in_flight.sequences());
        }
        self.ring.raise_pin(self.index, UNPINNED);
        self.ring.taken[self.index].store(false, Ordering::Release);
    }
}

/// Bytes of a ring for an operation in flight. Having one tells you that they will not change
/// until it is given to [`Reader::done`]; losing one holds its slab for as long as the reader
/// lives.
#[must_use = "the slab is held until Reader::done"]
#[derive(Debug)]
pub struct Pinned {
    ptr: *const u8,
    len: u32,
    slab: u32,
    offset: u64,
    reader: u64,
}

// SAFETY: the bytes are immutable until `Reader::done` has consumed this value, whichever thread
// holds it: the pin is the ring's, not the thread's.
unsafe impl Send for Pinned {}
// SAFETY: as above: shared access only reads bytes that do not change.
unsafe impl Sync for Pinned {}

impl Pinned {
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `ptr` and `len` are those of a slice that a turn gave out. Since then the
        // reader's pin has not risen above the slab (its count is not zero before `done` consumes
        // self), so the owner has not handed the slab on, and below head it does not write. The
        // arena is never unmapped.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len as usize) }
    }

    #[inline]
    pub fn ptr(&self) -> *const u8 {
        self.ptr
    }

    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// In the stream, of the first byte.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of the reader that it goes back to.
    pub fn reader(&self) -> u64 {
        self.reader
    }

    /// The slab's number in the arena.
    #[inline]
    pub fn slab(&self) -> u32 {
        self.slab
    }

    /// The offset after the last byte.
    #[inline]
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }

    fn at(&self, slab_bytes: usize) -> usize {
        (self.offset % slab_bytes as u64) as usize
    }
}

/// From the oldest slab in flight to the newest lie few, until a viewer is slow: 12 MB. Beyond it
/// the table grows in doublings, to the ring's length at most.
const SLABS_APART: usize = 64;

/// Operations in flight by slab, oldest first (rule 5).
pub(super) struct InFlight {
    first: u64,
    counts: VecDeque<u32>,
    total: u32,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { first: 0, counts: VecDeque::with_capacity(SLABS_APART), total: 0 }
    }
}

impl InFlight {
    pub(super) fn oldest(&self) -> Option<u64> {
        (self.total > 0).then_some(self.first)
    }

    fn add(&mut self, sequence: u64) {
        if self.counts.is_empty() {
            self.first = sequence;
        }
        while sequence < self.first {
            self.counts.push_front(0);
            self.first -= 1;
        }
        let place = (sequence - self.first) as usize;
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        self.total += 1;
    }

    fn remove(&mut self, sequence: u64) {
        let place = sequence.checked_sub(self.first).expect("in flight") as usize;
        self.counts[place] = self.counts[place].checked_sub(1).expect("in flight");
        self.total -= 1;
        while self.counts.front() == Some(&0) {
            self.counts.pop_front();
            self.first += 1;
        }
    }

    fn sequences(&self) -> impl Iterator<Item = u64> {
        (self.first..).zip(&self.counts).filter(|(_, count)| **count > 0).map(|(s, _)| s)
    }

    fn check_invariants(&self) {
        assert_eq!(self.total, self.counts.iter().sum::<u32>());
        assert_ne!(self.counts.front(), Some(&0));
    }
}
