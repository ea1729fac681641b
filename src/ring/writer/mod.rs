//! The owner's side of a ring: append, commit, retire.
//!
//! It never waits for a reader, and reads what it wrote only to copy it to the twin or to compare it.
//! Uncommitted bytes are its own; [`Writer::commit`] publishes them with one release store, and from then on they do not change.
//!
//! Invariants (checked after every public method in debug): tail <= head <= written, all
//! multiples of 188; the live slabs are those from tail to written, one after the other; the
//! condemned slabs, which a turn may still read, end at tail, and the held ones, which only
//! operations in flight do, lie below them.

#![expect(unsafe_code, reason = "copies packets into a slab that readers read below head")]

mod past;
mod twin;

use crate::base::sizes::PACKET_BYTES;
use crate::ring::arena::Arena;
use crate::ring::arena::Promise;
use crate::ring::arena::Slab;
use crate::ring::cache::SlabCache;
use crate::ring::holds::Hold;
use crate::ring::index::Access;
use crate::ring::index::PsiPacket;
use crate::ring::shared::Ring;
use crate::ring::sync::Ordering;
use crate::ring::twin::Keeper;
use crate::ts::psi::Psi;
use std::cell::Cell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

/// Below two, a ring would lap its viewers at every slab's end.
const CAP_SLABS_MIN: u64 = 2;

/// Retired slabs that are not free yet, beyond cap / this: readers are asked to evict.
const EVICT_PART: u64 = 4;

/// The same beyond cap / this: no more slabs are taken until the evictions show.
const STOP_PART: u64 = 2;

/// Room for so many from the start, 6 MB of stream; a longer ring grows its lists in doublings.
const SLABS_FIRST: usize = 32;

const PACKET: u64 = PACKET_BYTES as u64;

/// No slab is to be had: the caller stops reading the engine and tries the rest again at the next
/// turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingFull {
    /// What was appended before, whole packets.
    pub appended_bytes: usize,
}

/// What a turn's tending did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tended {
    /// Since the last tending.
    pub retired_bytes: u64,
    /// Of these: before their time, because there was no other slab.
    pub retired_early_bytes: u64,
    /// Retired, but still read by somebody.
    pub condemned_bytes: u64,
    /// That is too much: viewers whose operations in flight begin below this are to go. It names
    /// the oldest of it, and no more than is too much.
    pub evict_below: Option<u64>,
}

pub struct Writer {
    arena: &'static Arena,
    ring: Arc<Ring>,
    promise: Promise,
    slab_bytes: u64,
    cap_slabs: u64,
    cap_slabs_max: u64,
    tail: u64,
    head: u64,
    written: u64,
    /// The sequence of the first live slab; the first byte of the ring lies in it.
    first_live: u64,
    live: VecDeque<Slab>,
    /// Taken by [`Writer::reserve`], not yet part of the ring.
    ahead: VecDeque<Slab>,
    /// A turn may still read them, and look them up.
    condemned: VecDeque<Condemned>,
    /// Operations in flight may still read them.
    held: VecDeque<Condemned>,
    access_written: u64,
    access_last: Option<(u64, u64)>,
    psi_packets_written: u64,
    psi_packet_last: Option<u64>,
    retired_bytes: u64,
    retired_early_bytes: u64,
    twin: Keeper,
    closing: bool,
    /// One thread at a time: it may be sent, not shared.
    _not_sync: PhantomData<Cell<()>>,
}

struct Condemned {
    sequence: u64,
    slab: Slab,
}

impl Writer {
    /// Takes no slab yet. `readers`: how many pins there are (shards, mirror, disk writer).
    pub fn open(
        arena: &'static Arena,
        promise: Promise,
        readers: usize,
        cap_bytes_max: u64,
        generation: u32,
    ) -> Self {
        let slab_bytes = arena.slab_bytes() as u64;
        let cap_slabs_max = (cap_bytes_max / slab_bytes).max(CAP_SLABS_MIN);
        // Live, condemned up to the stop, the one being taken, and one to tell full from empty.
        let slabs_max = cap_slabs_max + cap_slabs_max / STOP_PART + 2;
        let slabs_max = usize::try_from(slabs_max).expect("a cap within the address space");
        Self {
            arena,
            ring: Arc::new(Ring::new(arena, readers, slabs_max, generation)),
            promise,
            slab_bytes,
            cap_slabs: cap_slabs_max,
            cap_slabs_max,
            tail: 0,
            head: 0,
            written: 0,
            first_live: 0,
            live: VecDeque::with_capacity(SLABS_FIRST),
            ahead: VecDeque::with_capacity(SLABS_FIRST),
            condemned: VecDeque::with_capacity(SLABS_FIRST),
            held: VecDeque::with_capacity(SLABS_FIRST),
            access_written: 0,
            access_last: None,
            psi_packets_written: 0,
            psi_packet_last: None,
            retired_bytes: 0,
            retired_early_bytes: 0,
            twin: Keeper::new(slab_bytes),
            closing: false,
            _not_sync: PhantomData,
        }
    }

    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// The offset of the next byte.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn head(&self) -> u64 {
        self.head
    }

    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Memory that is not the arena's, retired slabs that somebody reads included.
    pub fn held_bytes(&self) -> u64 {
        (self.taken() + self.retired()) * self.slab_bytes
    }

    pub fn cap_bytes(&self) -> u64 {
        self.cap_slabs * self.slab_bytes
    }

    /// Whole packets; invisible until [`Writer::commit`]. On [`RingFull`] a prefix was appended.
    pub fn append(&mut self, packets: &[u8], cache: &mut SlabCache) -> Result<(), RingFull> {
        assert!(packets.len().is_multiple_of(PACKET_BYTES), "whole packets only");
        assert!(!self.closing, "a closing ring takes no more");
        let mut rest = packets;
        while !rest.is_empty() {
            let Some(room) = self.room(cache) else {
                self.check_invariants();
                return Err(RingFull { appended_bytes: packets.len() - rest.len() });
            };
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.copy(now);
            rest = later;
        }
        self.check_invariants();
        Ok(())
    }

    /// Takes the slabs that the next `bytes` need, so that appending them cannot fail. False: the
    /// ring is full for now.
    pub fn reserve(&mut self, bytes: usize, cache: &mut SlabCache) -> bool {
        assert!(!self.closing, "a closing ring takes no more");
        let end = (self.first_live + self.live.len() as u64) * self.slab_bytes;
        let room_now = end - self.written;
        while room_now + (self.ahead.len() as u64 * self.slab_bytes) < bytes as u64 {
            let Some(slab) = self.next_slab(cache) else { break };
            self.ahead.push_back(slab);
        }
        self.check_invariants();
        room_now + self.ahead.len() as u64 * self.slab_bytes >= bytes as u64
    }

    /// Visible with the next commit that covers it, or with the next commit when its offset is
    /// below head already (the access unit began earlier).
    pub fn push_access(&mut self, access: Access) {
        assert!(access.offset.is_multiple_of(PACKET), "an access point is a packet's offset");
        let (offset_last, media_us_last) = self.access_last.unzip();
        assert!(offset_last.is_none_or(|last| last < access.offset), "access points in order");
        // The lookup by media time bisects: a clock that goes back is held.
        let media_us = access.media_us.max(media_us_last.unwrap_or(0));
        self.access_last = Some((access.offset, media_us));
        let words = Access { media_us, ..access }.to_words();
        self.ring.access.write(self.access_written, words);
        self.access_written += 1;
        self.check_invariants();
    }

    /// Where a packet of the PAT or of a PMT stands, so that the last counters that a lapped
    /// viewer saw are known.
    pub fn push_psi_packet(&mut self, offset: u64, pid: u16, cc: u8) {
        assert!(offset.is_multiple_of(PACKET), "a packet's offset");
        assert!(self.psi_packet_last.is_none_or(|last| last < offset), "PSI packets in order");
        self.psi_packet_last = Some(offset);
        let words = PsiPacket { offset, pid, cc }.to_words();
        self.ring.psi_packets.write(self.psi_packets_written, words);
        self.psi_packets_written += 1;
        self.check_invariants();
    }

    /// At once visible: before any access point that names the version.
    pub fn set_psi(&mut self, version: u32, psi: Arc<Psi>) {
        self.ring.set_psi(version, psi);
    }

    /// Publishes what was appended (rule 1): the twin's copy and the index entries first, then head.
    /// Returns head. A twin that cannot be written is given up.
    pub fn commit(&mut self, media_us: u64, bitrate_bps: u64) -> u64 {
        if self.twin.is_open() && self.fill_twin(self.written).is_err() {
            self.twin.close(&self.ring);
        }
        self.ring.notes.media_us.store(media_us, Ordering::Relaxed);
        self.ring.notes.bitrate_bps.store(bitrate_bps, Ordering::Relaxed);
        self.ring.access.publish(self.access_written);
        self.ring.psi_packets.publish(self.psi_packets_written);
        assert!(self.written >= self.head, "head never goes back");
        self.head = self.written;
        self.ring.head.store(self.head, Ordering::Release);
        self.check_invariants();
        self.head
    }

    /// Within two slabs and what the ring was opened with. Acts at the next append or tending.
    pub fn set_cap(&mut self, bytes: u64) {
        self.cap_slabs = (bytes / self.slab_bytes).clamp(CAP_SLABS_MIN, self.cap_slabs_max);
    }

    /// Once a turn: retires what is over the cap and looks at the condemned.
    pub fn tend(&mut self, cache: &mut SlabCache) -> Tended {
        if !self.closing {
            let over = self.taken().saturating_sub(self.cap_slabs);
            self.retire(over.min(self.retirable()), cache);
        }
        self.sweep(cache);
        self.twin.tend(&self.ring, self.head, self.tail);
        let tended = Tended {
            retired_bytes: self.retired_bytes,
            retired_early_bytes: self.retired_early_bytes,
            condemned_bytes: self.retired() * self.slab_bytes,
            evict_below: self.evict_below(),
        };
        self.retired_bytes = 0;
        self.retired_early_bytes = 0;
        self.check_invariants();
        tended
    }

    /// Nothing more will come; readers see it. What is there stays readable.
    pub fn end(&mut self) {
        self.ring.ended.store(true, Ordering::Release);
    }

    /// All slabs back, uncommitted bytes dropped. Err: somebody still reads; later again (tend
    /// meanwhile, it may ask for evictions).
    #[expect(clippy::result_large_err, reason = "once in the life of a stream")]
    pub fn close(mut self, cache: &mut SlabCache) -> Result<(), Self> {
        self.end();
        self.ahead.drain(..).for_each(|slab| cache.give(slab));
        self.retire_all();
        self.sweep(cache);
        self.twin.tend(&self.ring, self.head, self.tail);
        self.check_invariants();
        if self.retired() == 0 && !self.twin.is_charged() { Ok(()) } else { Err(self) }
    }

    /// Bytes that fit into the last slab, after taking a new one if it is full.
    fn room(&mut self, cache: &mut SlabCache) -> Option<usize> {
        let end = (self.first_live + self.live.len() as u64) * self.slab_bytes;
        if self.written < end {
            return Some((end - self.written) as usize);
        }
        let slab = match self.ahead.pop_front() {
            Some(slab) => slab,
            None => self.next_slab(cache)?,
        };
        self.ring.table.set(self.first_live + self.live.len() as u64, slab.number());
        self.live.push_back(slab);
        Some(self.slab_bytes as usize)
    }

    /// Rule 4: another slab, else the own tail early, else none.
    fn next_slab(&mut self, cache: &mut SlabCache) -> Option<Slab> {
        let over = (self.taken() + 1).saturating_sub(self.cap_slabs);
        self.retire(over.min(self.retirable()), cache);
        if self.over_stop() {
            self.sweep(cache);
        }
        if self.over_stop() || self.table_is_full() {
            return None;
        }
        let spare = self.taken() >= u64::from(self.promise.slabs());
        let after = self.ahead.back().or(self.live.back()).map(Slab::number);
        if let Some(slab) = cache.take(after, spare) {
            return Some(slab);
        }
        self.sweep(cache);
        // One that is held wins no memory, but the next one may.
        while cache.is_empty()
            && self.retirable() > 0
            && self.oldest_is_unread()
            && !self.over_stop()
        {
            self.retired_early_bytes += self.slab_bytes;
            self.retire(1, cache);
        }
        cache.take(after, spare)
    }

    fn over_stop(&self) -> bool {
        self.retired() * STOP_PART > self.cap_slabs
    }

    /// The table's entry of the next slab is still that of a slab somebody may look up.
    fn table_is_full(&self) -> bool {
        let oldest = self.condemned.front().map_or(self.first_live, |c| c.sequence);
        self.first_live + self.taken() - oldest >= self.ring.table.len()
    }

    fn taken(&self) -> u64 {
        (self.live.len() + self.ahead.len()) as u64
    }

    /// Slabs that are out of the ring and not free yet.
    fn retired(&self) -> u64 {
        (self.condemned.len() + self.held.len()) as u64
    }

    fn evict_below(&self) -> Option<u64> {
        let over = self.retired().checked_sub(self.cap_slabs / EVICT_PART + 1)?;
        let last = self.held.iter().chain(&self.condemned).nth(over as usize)?;
        Some(((last.sequence + 1) * self.slab_bytes).min(self.tail))
    }

    /// Live slabs wholly below head, the last one excepted.
    fn retirable(&self) -> u64 {
        let below_head = (self.head / self.slab_bytes).saturating_sub(self.first_live);
        below_head.min((self.live.len() as u64).saturating_sub(1))
    }

    /// A hint, read without the handshake: retiring a slab that a turn reads would win no memory.
    fn oldest_is_unread(&self) -> bool {
        self.ring.lowest_pin() >= (self.first_live + 1) * self.slab_bytes
    }

    fn retire(&mut self, slabs: u64, cache: &mut SlabCache) {
        if slabs == 0 {
            return;
        }
        assert!(slabs <= self.retirable(), "only what is committed and not the last");
        for _ in 0..slabs {
            self.condemn_oldest();
        }
        self.retired_bytes += slabs * self.slab_bytes;
        self.tail = self.first_live * self.slab_bytes;
        let lowest_pin = self.ring.move_tail_and_read_pins(self.tail);
        self.release_below(lowest_pin, &mut |slab| cache.give(slab));
    }

    /// The end of the ring: tail goes to head, and every slab is condemned.
    fn retire_all(&mut self) {
        self.closing = true;
        self.written = self.head;
        self.close_twin();
        while !self.live.is_empty() {
            self.condemn_oldest();
        }
        if self.tail < self.head {
            self.retired_bytes += self.head - self.tail;
            self.tail = self.head;
            self.ring.move_tail_and_read_pins(self.tail);
        }
    }

    fn condemn_oldest(&mut self) {
        let slab = self.live.pop_front().expect("a live slab");
        self.condemned.push_back(Condemned { sequence: self.first_live, slab });
        self.first_live += 1;
    }

    /// Slabs retired earlier that nobody reads any more go back.
    fn sweep(&mut self, cache: &mut SlabCache) {
        if self.retired() > 0 {
            let lowest_pin = self.ring.lowest_pin();
            self.release_below(lowest_pin, &mut |slab| cache.give(slab));
        }
    }

    /// First the pins, then the holds: an operation is noted before the turn that began it ends.
    fn release_below(&mut self, lowest_pin: u64, give: &mut dyn FnMut(Slab)) {
        while let Some(oldest) = self.condemned.front()
            && self.is_unread(oldest.sequence, lowest_pin)
        {
            self.held.extend(self.condemned.pop_front());
        }
        for _ in 0..self.held.len() {
            let Some(oldest) = self.held.pop_front() else { return };
            match self.arena.holds.of(oldest.slab.number()) {
                Hold::Held => self.held.push_back(oldest),
                Hold::Free => give(oldest.slab),
                Hold::Lost => self.arena.lose(oldest.slab),
            }
        }
    }

    /// The last slab of a closed ring ends at head for its readers: a pin at head reads nothing
    /// of it.
    fn is_unread(&self, sequence: u64, lowest_pin: u64) -> bool {
        lowest_pin >= ((sequence + 1) * self.slab_bytes).min(self.tail)
    }

    fn copy(&mut self, packets: &[u8]) {
        let at = (self.written % self.slab_bytes) as usize;
        let slab = self.live.back().expect("room was found").number();
        assert!(at + packets.len() <= self.slab_bytes as usize, "within the slab");
        self.arena.note_write(slab, at, packets.len());
        let target = self.arena.pointer(slab, at);
        // SAFETY: the range lies within one committed slab (asserted above), which this writer
        // owns (`Slab`), above head, where no reader looks. The source is a live slice of another
        // object: nobody else can hold a slice of this range.
        unsafe { target.copy_from_nonoverlapping(packets.as_ptr(), packets.len()) };
        self.written += packets.len() as u64;
    }

    fn check_invariants(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        assert!(self.tail <= self.head && self.head <= self.written);
        assert!([self.tail, self.head, self.written].iter().all(|at| at.is_multiple_of(PACKET)));
        if !self.closing {
            assert_eq!(self.tail, self.first_live * self.slab_bytes);
            let live_end = (self.first_live + self.live.len() as u64) * self.slab_bytes;
            assert!(self.written <= live_end && live_end - self.written <= self.slab_bytes);
        }
        let condemned = self.condemned.len() as u64;
        assert!(self.taken() + condemned <= self.ring.table.len());
        let first_known = self.first_live - condemned;
        let slabs = self.condemned.iter().map(|c| &c.slab).chain(&self.live);
        for (sequence, slab) in (first_known..).zip(slabs) {
            assert_eq!(self.ring.table.get(sequence), slab.number());
        }
        for (sequence, condemned) in (first_known..).zip(&self.condemned) {
            assert_eq!(condemned.sequence, sequence);
            let end = (sequence + 1) * self.slab_bytes;
            assert!(end <= self.tail || self.closing);
        }
        assert!(self.held.iter().is_sorted_by(|one, next| one.sequence < next.sequence));
        assert!(self.held.back().is_none_or(|held| held.sequence < first_known));
    }
}

impl Drop for Writer {
    /// Without [`Writer::close`]: the unread slabs go back, the others are lost.
    fn drop(&mut self) {
        self.end();
        self.retire_all();
        let lowest_pin = self.ring.lowest_pin();
        let arena = self.arena;
        self.ahead.drain(..).for_each(|slab| arena.give(slab));
        self.release_below(lowest_pin, &mut |slab| arena.give(slab));
        for Condemned { slab, .. } in self.condemned.drain(..).chain(self.held.drain(..)) {
            self.arena.lose(slab);
        }
    }
}
