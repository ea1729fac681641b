//! A reader's turn: while it lives, the bytes from its floor on stay as they are.
//!
//! It holds no lock and makes nobody wait: the owner merely cannot reuse what the turn may read.
//! A turn is short; it is never held while something is waited for.
//!
//! Invariant: `floor` = max(pin, tail) of a handshake of this turn: it only goes down, and never
//! below `tail`. Head is
//! read once, so that all viewers of a turn see the same end.

#![expect(unsafe_code, reason = "reads slabs that the writer appends to above head")]

use super::index::Access;
use super::index::Log;
use super::index::PsiPacket;
use super::reader::Pinned;
use super::reader::Reader;
use super::shared::Ring;
use super::twin::Shared;
use crate::ts::psi::Psi;
use std::cell::Cell;
use std::sync::Arc;

/// Tries of an access point that the owner retires under our eyes: each failure means that a
/// whole slab was retired in between.
const REACH_TRIES_MAX: u32 = 8;

pub struct Turn<'a> {
    reader: &'a mut Reader,
    head: u64,
    tail: u64,
    floor: Cell<u64>,
    /// What may be sent from the twin begins here; above head when there is none.
    twin_from: u64,
}

impl<'a> Turn<'a> {
    pub(super) fn begin(reader: &'a mut Reader, lowest_cursor: Option<u64>) -> Self {
        let ring = reader.ring();
        let lowest = lowest_cursor.unwrap_or_else(|| ring.tail());
        let twin_pinned = ring.pin_twin(reader.index());
        let tail = ring.pin_and_read_tail(reader.index(), lowest);
        let head = ring.head();
        let twin_from = ring.twin_from(twin_pinned);
        assert!(tail <= head, "tail {tail} above head {head}");
        assert!(lowest <= head, "a cursor at {lowest} is beyond head {head}");
        Self { reader, head, tail, floor: Cell::new(lowest.max(tail)), twin_from }
    }

    /// The end of what may be read.
    #[inline]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The first byte in the ring: a cursor below it is lapped.
    #[inline]
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// The writer has ended; head may still have moved between its last commit and this turn.
    pub fn ended(&self) -> bool {
        self.ring().is_ended()
    }

    #[inline]
    pub fn ring(&self) -> &Ring {
        self.reader.ring()
    }

    /// Up to head, to `len_max`, or to where the stream goes on elsewhere in memory: at a slab's
    /// end, unless its neighbour is the next slab. Empty at head. `offset` is at or above the lowest
    /// cursor given for this turn, or an access point that this turn has found.
    #[inline]
    pub fn bytes(&self, offset: u64, len_max: usize) -> &[u8] {
        self.locate(offset, len_max).1
    }

    /// In flight until [`Reader::done`]. As [`Turn::bytes`], and not empty.
    #[inline]
    pub fn pin(&mut self, offset: u64, len_max: usize) -> Pinned {
        let (slab, bytes) = self.locate(offset, len_max);
        assert!(!bytes.is_empty(), "nothing to pin at {offset}, head {}", self.head);
        // The slice ends its borrow of the turn here and goes on as a counted pin.
        let (ptr, len) = (bytes.as_ptr(), bytes.len());
        self.reader.pinned(offset, slab, ptr, len)
    }

    /// Where these bytes stand in the twin's file, up to head or `len_max`; slabs' ends do not cut
    /// them. None: there is no twin, or it does not have them all.
    #[inline]
    pub fn shared(&self, offset: u64, len_max: usize) -> Option<Shared<'_>> {
        if offset < self.twin_from.max(self.floor.get()) || offset >= self.head || len_max == 0 {
            return None;
        }
        let file = self.ring().twin_file.get()?;
        let len = (self.head - offset).min(len_max as u64) as usize;
        file.note_read(offset, len);
        Some(Shared { file: file.fd(), at: offset, len })
    }

    /// Makes everything from `offset` on readable in this turn. False: it is no longer there.
    pub fn reach(&self, offset: u64) -> bool {
        if offset >= self.floor.get() {
            return true;
        }
        if offset < self.tail {
            return false;
        }
        let tail = self.ring().pin_and_read_tail(self.reader.index(), offset);
        self.floor.set(self.floor.get().min(offset.max(tail)));
        offset >= tail
    }

    /// The newest point at or before `offset` that is still in the ring.
    pub fn access_at_or_before(&self, offset: u64) -> Option<Access> {
        let last = offset.min(self.head.checked_sub(1)?);
        let log = &self.ring().access;
        let numbers = log.numbers();
        let after =
            log.first_not(numbers.clone(), |words| Access::from_words(words).offset <= last);
        let number = after.checked_sub(1).filter(|number| numbers.contains(number))?;
        self.reachable(Access::from_words(log.read(number)?))
    }

    /// The newest with at most this media time, else the oldest in the ring.
    pub fn access_by_media(&self, media_us: u64) -> Option<Access> {
        let log = &self.ring().access;
        let numbers = log.numbers();
        let after = log.first_not(numbers.clone(), |words| {
            let access = Access::from_words(words);
            access.media_us <= media_us && access.offset < self.head
        });
        let number = after.checked_sub(1).filter(|number| numbers.contains(number));
        number
            .and_then(|number| log.read(number))
            .and_then(|words| self.reachable(Access::from_words(words)))
            .or_else(|| self.oldest_access())
    }

    pub fn newest_access(&self) -> Option<Access> {
        self.access_at_or_before(self.head)
    }

    pub fn oldest_access(&self) -> Option<Access> {
        self.first_access_from(self.tail)
    }

    /// The first one after `offset` that is in the ring.
    pub fn next_access_after(&self, offset: u64) -> Option<Access> {
        self.first_access_from(self.tail.max(offset.checked_add(1)?))
    }

    /// The last counter that the packets of a PAT or PMT PID had before `offset`; also when
    /// `offset` was lapped. None: too long ago, or never.
    pub fn psi_cc_before(&self, offset: u64, pid: u16) -> Option<u8> {
        let log: &Log<2> = &self.ring().psi_packets;
        let numbers = log.numbers();
        let after =
            log.first_not(numbers.clone(), |words| PsiPacket::from_words(words).offset < offset);
        (numbers.start..after)
            .rev()
            .map_while(|number| log.read(number).map(PsiPacket::from_words))
            .find(|packet| packet.pid == pid)
            .map(|packet| packet.cc)
    }

    /// The tables of a version. Takes a lock: for starts and skips, not for every send.
    pub fn psi(&self, version: u32) -> Option<Arc<Psi>> {
        self.ring().psi(version)
    }

    fn first_access_from(&self, offset: u64) -> Option<Access> {
        let log = &self.ring().access;
        let mut from = offset;
        for _ in 0..REACH_TRIES_MAX {
            let numbers = log.numbers();
            let number =
                log.first_not(numbers.clone(), |words| Access::from_words(words).offset < from);
            if !numbers.contains(&number) {
                return None;
            }
            let Some(access) = log.read(number).map(Access::from_words) else { continue };
            if access.offset >= self.head {
                return None;
            }
            if self.reach(access.offset) {
                return Some(access);
            }
            from = self.floor.get();
        }
        None
    }

    /// Rule 7: an entry counts only after tail was looked at again.
    fn reachable(&self, access: Access) -> Option<Access> {
        self.reach(access.offset).then_some(access)
    }

    #[inline]
    fn locate(&self, offset: u64, len_max: usize) -> (u32, &[u8]) {
        let (floor, head) = (self.floor.get(), self.head);
        assert!(
            floor <= offset && offset <= head,
            "{offset} is outside of what this turn may read: {floor}..{head}"
        );
        if offset == head {
            return (u32::MAX, &[]);
        }
        let ring = self.ring();
        let slab_bytes = ring.slab_bytes();
        let slab = ring.table.get(offset / slab_bytes);
        let at = offset % slab_bytes;
        let wanted = (head - offset).min(len_max as u64);
        let (arena, at) = (ring.arena(), at as usize);
        let len = self.run(offset, wanted, slab) as usize;
        arena.note_read(slab, at, len);
        // SAFETY: floor <= offset, so by the handshake the slabs that the table names from this
        // offset on are the stream's (no entry changes while its slab is live or condemned) and the
        // owner hands none of them on while this turn lives, which the slice cannot outlive.
        // offset + len <= head, which was read with Acquire: the bytes were written before, and the
        // owner writes only above its head. `run` ends where the next slab is not the neighbour in
        // memory: the bytes are one stretch of the arena's one mapping.
        (slab, unsafe { std::slice::from_raw_parts(arena.pointer(slab, at), len) })
    }

    /// How many of the `wanted` bytes from `offset` on, which are below head, follow each other in
    /// memory; the first of them lies in `slab`.
    #[inline]
    fn run(&self, offset: u64, wanted: u64, slab: u32) -> u64 {
        let ring = self.ring();
        let (mut slab, mut next) = (slab, offset / ring.slab_bytes() + 1);
        while next * ring.slab_bytes() < offset + wanted {
            let following = ring.table.get(next);
            if !ring.arena().are_neighbours(slab, following) {
                return next * ring.slab_bytes() - offset;
            }
            (slab, next) = (following, next + 1);
        }
        wanted
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.ring().raise_twin_pin(self.reader.index());
        self.reader.settle();
    }
}
