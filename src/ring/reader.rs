//! A reader's side of a ring: one for each (shard, stream), the mirror and the disk writer.
//!
//! It counts its own operations in flight, slab by slab, without atomics; with the first and the
//! last of a slab it says so to the arena, which then keeps that slab and no other. It owns one pin
//! and never writes another word of the ring. Between turns it pins nothing: neither a cursor nor
//! an operation does (rule 2).
//!
//! Invariants: a slab is held in the arena exactly while operations of ours are on it.

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
        self.in_flight.operations
    }

    /// Slabs that they are on.
    pub fn slabs_in_flight(&self) -> usize {
        self.in_flight.slabs.len()
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
        for (sequence, slab) in self.slabs_of(&pinned) {
            if self.in_flight.remove(sequence) {
                self.ring.arena().holds.let_go(slab);
            }
        }
        self.in_flight.operations -= 1;
        self.check_invariants();
    }

    /// Between turns.
    pub(super) fn settle(&mut self) {
        self.ring.raise_pin(self.index, UNPINNED);
    }

    /// Only a turn calls it, for a slice that it may read.
    pub(super) fn pinned(&mut self, offset: u64, slab: u32, ptr: *const u8, len: usize) -> Pinned {
        let len = u32::try_from(len).expect("a few slabs");
        let pinned = Pinned { ptr, len, slab, offset, reader: self.number };
        for (sequence, slab) in self.slabs_of(&pinned) {
            if self.in_flight.add(sequence, slab) {
                self.ring.arena().holds.hold(slab);
            }
        }
        self.in_flight.operations += 1;
        self.check_invariants();
        pinned
    }

    /// Sequences and numbers of the slabs that it lies in: neighbours in both.
    fn slabs_of(&self, pinned: &Pinned) -> impl Iterator<Item = (u64, u32)> + use<> {
        let slab_bytes = self.ring.slab_bytes();
        (pinned.offset / slab_bytes..=(pinned.end() - 1) / slab_bytes).zip(pinned.slab..)
    }

    fn check_invariants(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        self.in_flight.check_invariants();
    }
}

impl Drop for Reader {
    /// What is still in flight will never be said to be done: these slabs are not used again.
    fn drop(&mut self) {
        for busy in &self.in_flight.slabs {
            self.ring.arena().holds.lose(busy.slab);
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
// has it: the hold is the arena's, not the thread's.
unsafe impl Send for Pinned {}
// SAFETY: as above: shared access only reads bytes that do not change.
unsafe impl Sync for Pinned {}

impl Pinned {
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `ptr` and `len` are those of a slice that a turn gave out. Since then the reader
        // holds the slab (its count is not zero before `done` consumes self), so the owner has not
        // handed it on, and below head it does not write. The arena is never unmapped.
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

    /// The number in the arena of the slab that it begins in.
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

/// Slabs that the operations of a shard are on: the newest few, and of each viewer that is slow to
/// acknowledge as many as it is lent sends. Beyond it the list grows in doublings; it ends where the
/// owner asks for memory back.
const SLABS_HELD: usize = 64;

/// Operations in flight by slab, oldest first (rule 5).
pub(super) struct InFlight {
    slabs: VecDeque<Busy>,
    operations: u32,
}

struct Busy {
    sequence: u64,
    slab: u32,
    /// Each on one slab at least: what follows in memory is one operation.
    operations: u32,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { slabs: VecDeque::with_capacity(SLABS_HELD), operations: 0 }
    }
}

impl InFlight {
    /// True for the first operation on the slab.
    fn add(&mut self, sequence: u64, slab: u32) -> bool {
        match self.find(sequence) {
            Ok(place) => {
                self.slabs[place].operations += 1;
                false
            }
            Err(place) => {
                self.slabs.insert(place, Busy { sequence, slab, operations: 1 });
                true
            }
        }
    }

    /// True for the last one.
    fn remove(&mut self, sequence: u64) -> bool {
        let place = self.find(sequence).expect("in flight");
        self.slabs[place].operations -= 1;
        let is_last = self.slabs[place].operations == 0;
        if is_last {
            self.slabs.remove(place);
        }
        is_last
    }

    /// Most are on the newest.
    fn find(&self, sequence: u64) -> Result<usize, usize> {
        match self.slabs.back() {
            Some(newest) if newest.sequence == sequence => Ok(self.slabs.len() - 1),
            _ => self.slabs.binary_search_by_key(&sequence, |busy| busy.sequence),
        }
    }

    fn check_invariants(&self) {
        let on_slabs = self.slabs.iter().map(|busy| busy.operations).sum::<u32>();
        assert!(self.operations <= on_slabs && (self.operations > 0 || on_slabs == 0));
        assert!(self.slabs.iter().all(|busy| busy.operations > 0));
        assert!(self.slabs.iter().is_sorted_by(|one, next| one.sequence < next.sequence));
    }
}
