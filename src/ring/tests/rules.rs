//! The rules one by one, each with the smallest ring that shows it.

use super::PACKET;
use super::check_bytes;
use super::packets_at;
use super::small_arena;
use crate::ring::Arena;
use crate::ring::Pinned;
use crate::ring::Reader;
use crate::ring::RingFull;
use crate::ring::SlabCache;
use crate::ring::Writer;
use crate::ts::Packet;
use crate::ts::psi::Psi;
use crate::ts::psi::PsiTracker;
use crate::ts::psi::crc32;
use crate::ts::psi::packetise;
use std::sync::Arc;

const SLAB_PACKETS: usize = 4;
const SLAB: u64 = (SLAB_PACKETS * PACKET) as u64;

struct Fixture {
    arena: &'static Arena,
    writer: Writer,
    cache: SlabCache,
}

fn fixture(slabs_total: u32, promised: u64, cap_slabs: u64) -> Fixture {
    let arena = small_arena(SLAB_PACKETS, slabs_total);
    let promise = arena.promise(promised * SLAB).expect("room");
    let writer = Writer::open(arena, promise, 4, cap_slabs * SLAB, 9);
    Fixture { arena, writer, cache: SlabCache::new(arena) }
}

impl Fixture {
    fn reader(&self, index: usize) -> Reader {
        Reader::new(self.writer.ring().clone(), index)
    }

    fn append(&mut self, slabs: usize) -> Result<(), RingFull> {
        for _ in 0..slabs {
            let bytes = packets_at(self.writer.written(), SLAB_PACKETS);
            let appended = self.writer.append(&bytes, &mut self.cache);
            self.writer.commit(1, 2);
            appended?;
        }
        Ok(())
    }
}

#[test]
fn a_slab_is_readable_while_it_is_filled_and_only_below_head() {
    let mut f = fixture(16, 4, 4);
    let mut reader = f.reader(0);
    f.writer.append(&packets_at(0, 1), &mut f.cache).unwrap();
    assert_eq!(reader.turn(Some(0)).head(), 0);
    assert!(reader.turn(Some(0)).bytes(0, 100).is_empty());
    assert_eq!(f.writer.commit(70, 80), 188);
    check_bytes(reader.turn(Some(0)).bytes(0, usize::MAX), 0);
    assert_eq!(reader.turn(Some(0)).bytes(0, usize::MAX).len(), 188);
    assert_eq!(reader.turn(Some(0)).bytes(100, 10).len(), 10);
    f.writer.append(&packets_at(188, 1), &mut f.cache).unwrap();
    f.writer.commit(71, 81);
    assert_eq!(reader.turn(Some(188)).bytes(188, usize::MAX).len(), 188);
    let ring = f.writer.ring();
    assert_eq!((ring.media_us_at_head(), ring.bitrate_bps(), ring.generation()), (71, 81, 9));
}

#[test]
fn a_cursor_pins_nothing() {
    let mut f = fixture(16, 4, 4);
    let mut reader = f.reader(0);
    f.append(2).unwrap();
    drop(reader.turn(Some(0)));
    f.append(10).unwrap();
    assert_eq!(f.writer.held_bytes(), 4 * SLAB, "nothing is condemned");
    let turn = reader.turn(Some(0));
    assert!(turn.tail() > 0, "the cursor at 0 is lapped");
}

#[test]
fn a_turn_pins_while_it_runs() {
    let mut f = fixture(32, 4, 4);
    let mut reader = f.reader(0);
    f.append(4).unwrap();
    let turn = reader.turn(Some(SLAB));
    let bytes = turn.bytes(SLAB, usize::MAX);
    f.append(2).unwrap();
    assert_eq!((f.writer.tail(), f.writer.held_bytes()), (2 * SLAB, 5 * SLAB));
    check_bytes(bytes, SLAB);
    drop(turn);
    assert_eq!(f.writer.tend(&mut f.cache).condemned_bytes, 0);
}

/// An operation in flight on each of so many slabs, the newest.
fn pin_newest(reader: &mut Reader, slabs: u64) -> Vec<Pinned> {
    let head = reader.ring().head();
    let mut turn = reader.turn(Some(head - slabs * SLAB));
    (0..slabs).map(|n| turn.pin(head - (slabs - n) * SLAB + 188, 500)).collect()
}

#[test]
fn an_operation_holds_its_slab_and_no_other_however_long_it_takes() {
    let mut f = fixture(64, 8, 8);
    let mut reader = f.reader(1);
    f.append(1).unwrap();
    let pinned = pin_newest(&mut reader, 1);
    assert_eq!((reader.in_flight(), reader.slabs_in_flight()), (1, 1));
    for _ in 0..100 {
        f.append(8).unwrap();
        let tended = f.writer.tend(&mut f.cache);
        assert_eq!((tended.condemned_bytes, tended.evict_below), (SLAB, None));
        check_bytes(pinned[0].as_slice(), 188);
    }
    assert_eq!(f.writer.held_bytes(), 9 * SLAB);
    pinned.into_iter().for_each(|pinned| reader.done(pinned));
    assert_eq!(f.writer.tend(&mut f.cache).condemned_bytes, 0);
}

#[test]
fn what_is_held_beyond_a_quarter_of_the_cap_is_asked_back_oldest_first() {
    let mut f = fixture(64, 8, 8);
    let mut readers = [0, 1].map(|index| f.reader(index));
    f.append(3).unwrap();
    let oldest = pin_newest(&mut readers[0], 2);
    f.append(1).unwrap();
    let newer = pin_newest(&mut readers[1], 2);
    f.append(20).unwrap();
    // The slabs 1, 2 and 3 of the stream, of which two may be held.
    let tended = f.writer.tend(&mut f.cache);
    assert_eq!((tended.condemned_bytes, tended.evict_below), (3 * SLAB, Some(2 * SLAB)));
    let newest = pin_newest(&mut readers[1], 2);
    f.append(7).unwrap();
    let tended = f.writer.tend(&mut f.cache);
    assert_eq!((tended.condemned_bytes, tended.evict_below), (4 * SLAB, Some(3 * SLAB)));
    let stopped = f.append(1).unwrap_err();
    assert_eq!(stopped.appended_bytes, 0, "half a cap is held: the engine waits");
    oldest.into_iter().for_each(|pinned| readers[0].done(pinned));
    let tended = f.writer.tend(&mut f.cache);
    assert_eq!(tended.condemned_bytes, 4 * SLAB, "one of the two is another reader's too");
    for pinned in newer.into_iter().chain(newest) {
        check_bytes(pinned.as_slice(), pinned.offset());
        readers[1].done(pinned);
    }
    let tended = f.writer.tend(&mut f.cache);
    assert_eq!((tended.condemned_bytes, tended.evict_below), (0, None));
    f.append(20).unwrap();
}

#[test]
fn where_memory_is_short_a_held_slab_keeps_no_other_in_the_ring() {
    // Ten slabs, of which none is kept back: the ring would like sixteen.
    let mut f = fixture(10, 2, 16);
    let mut reader = f.reader(0);
    f.append(2).unwrap();
    let pinned = pin_newest(&mut reader, 1);
    f.append(40).unwrap();
    assert!(f.writer.tail() > pinned[0].end());
    check_bytes(pinned[0].as_slice(), pinned[0].offset());
    pinned.into_iter().for_each(|pinned| reader.done(pinned));
}

#[test]
fn pins_of_one_slab_are_counted() {
    let mut f = fixture(16, 4, 4);
    let mut reader = f.reader(0);
    f.append(2).unwrap();
    let mut turn = reader.turn(Some(0));
    let (first, second, third) = (turn.pin(0, 188), turn.pin(188, 188), turn.pin(SLAB, 1));
    drop(turn);
    reader.done(first);
    assert_eq!((reader.slabs_in_flight(), reader.in_flight()), (2, 2));
    reader.done(second);
    assert_eq!((reader.slabs_in_flight(), reader.in_flight()), (1, 1));
    let mut turn = reader.turn(Some(0));
    let older = turn.pin(0, 1);
    drop(turn);
    f.append(10).unwrap();
    assert_eq!(f.writer.tend(&mut f.cache).condemned_bytes, 2 * SLAB);
    reader.done(older);
    assert_eq!(f.writer.tend(&mut f.cache).condemned_bytes, SLAB);
    reader.done(third);
    assert_eq!((reader.slabs_in_flight(), reader.in_flight()), (0, 0));
    assert_eq!(f.writer.tend(&mut f.cache).condemned_bytes, 0);
}

#[test]
fn without_another_slab_the_tail_goes_early() {
    let mut f = fixture(16, 4, 100);
    f.append(15).unwrap();
    assert_eq!((f.writer.tail(), f.arena.slabs_free()), (0, 1));
    f.append(3).unwrap();
    assert_eq!(f.writer.tail(), 3 * SLAB, "beyond the promise, one of sixteen is left");
    let tended = f.writer.tend(&mut f.cache);
    assert_eq!((tended.retired_bytes, tended.retired_early_bytes), (3 * SLAB, 3 * SLAB));
}

#[test]
fn without_any_slab_the_ring_is_full_and_goes_on_later() {
    let mut f = fixture(16, 4, 100);
    let mut reader = f.reader(0);
    f.append(1).unwrap();
    let turn = reader.turn(Some(0));
    f.append(14).unwrap();
    let bytes = packets_at(f.writer.written(), 6);
    let full = f.writer.append(&bytes, &mut f.cache).unwrap_err();
    assert_eq!(full, RingFull { appended_bytes: 0 });
    assert_eq!(f.writer.tail(), 0, "retiring what a turn reads wins nothing");
    drop(turn);
    f.writer.append(&bytes, &mut f.cache).unwrap();
    assert_eq!(f.writer.tail(), 2 * SLAB);
}

#[test]
fn what_was_reserved_cannot_fail_and_goes_back_unused() {
    let mut f = fixture(16, 4, 100);
    assert!(f.writer.reserve(3 * SLAB as usize - 1, &mut f.cache));
    assert!(f.writer.reserve(SLAB as usize, &mut f.cache), "already there");
    assert_eq!(f.writer.held_bytes(), 3 * SLAB);
    let mut reader = f.reader(0);
    f.append(3).unwrap();
    let turn = reader.turn(Some(0));
    assert!(f.writer.reserve(12 * SLAB as usize, &mut f.cache));
    f.append(12).unwrap();
    assert!(!f.writer.reserve(1, &mut f.cache), "everything is taken, the oldest is read");
    drop(turn);
    assert!(f.writer.reserve(2 * SLAB as usize, &mut f.cache));
    let bytes = packets_at(f.writer.written(), 6);
    f.writer.append(&bytes, &mut f.cache).unwrap();
    drop(reader);
    let Fixture { arena, writer, mut cache } = f;
    assert!(writer.close(&mut cache).is_ok());
    drop(cache);
    assert_eq!(arena.slabs_free(), arena.slabs_total());
}

#[test]
fn a_part_fits() {
    let mut f = fixture(16, 4, 100);
    let mut reader = f.reader(0);
    let bytes = packets_at(0, 2);
    f.writer.append(&bytes, &mut f.cache).unwrap();
    f.writer.commit(0, 0);
    let pinned = reader.turn(Some(0)).pin(0, 1);
    let bytes = packets_at(2 * PACKET as u64, 100);
    let full = f.writer.append(&bytes, &mut f.cache).unwrap_err();
    assert_eq!(full.appended_bytes, 15 * SLAB as usize - 2 * PACKET);
    f.writer.commit(0, 0);
    reader.done(pinned);
    f.writer.append(&bytes[full.appended_bytes..], &mut f.cache).unwrap();
    f.writer.commit(0, 0);
    let turn = reader.turn(None);
    let mut at = turn.tail();
    while at < turn.head() {
        let bytes = turn.bytes(at, usize::MAX);
        check_bytes(bytes, at);
        at += bytes.len() as u64;
    }
    assert_eq!(at, 102 * PACKET as u64);
}

#[test]
fn a_lower_cap_retires_at_the_next_tending() {
    let mut f = fixture(32, 2, 20);
    f.append(20).unwrap();
    f.writer.set_cap(0);
    assert_eq!(f.writer.cap_bytes(), 2 * SLAB);
    assert_eq!(f.writer.tend(&mut f.cache).retired_bytes, 18 * SLAB);
    f.writer.set_cap(u64::MAX);
    assert_eq!(f.writer.cap_bytes(), 20 * SLAB);
}

#[test]
fn an_ended_ring_stays_readable_until_it_is_closed() {
    let mut f = fixture(16, 4, 4);
    let mut reader = f.reader(0);
    f.append(2).unwrap();
    f.writer.append(&packets_at(2 * SLAB, 1), &mut f.cache).unwrap();
    f.writer.end();
    let turn = reader.turn(Some(0));
    assert!(turn.ended());
    check_bytes(turn.bytes(0, usize::MAX), 0);
    drop(turn);
    let pinned = reader.turn(Some(SLAB)).pin(SLAB, usize::MAX);
    let writer = f.writer.close(&mut f.cache).expect_err("a pin is left");
    check_bytes(pinned.as_slice(), SLAB);
    assert!(reader.turn(Some(SLAB)).tail() == 2 * SLAB, "lapped; the uncommitted packet is gone");
    reader.done(pinned);
    assert!(writer.close(&mut f.cache).is_ok());
    drop(f.cache);
    assert_eq!(f.arena.slabs_free(), 16);
    assert!(reader.turn(None).bytes(2 * SLAB, 1).is_empty());
}

#[test]
fn a_reader_that_goes_away_loses_its_slabs_and_frees_its_place() {
    let mut f = fixture(32, 4, 4);
    let mut reader = f.reader(2);
    f.append(2).unwrap();
    let pinned = reader.turn(Some(SLAB)).pin(SLAB, 100);
    drop(reader);
    f.append(10).unwrap();
    check_bytes(pinned.as_slice(), SLAB);
    assert_eq!((f.arena.slabs_lost(), f.writer.tend(&mut f.cache).condemned_bytes), (1, 0));
    let mut reader = f.reader(2);
    assert_eq!(reader.turn(None).head(), 12 * SLAB);
}

#[test]
fn a_writer_that_goes_away_loses_only_what_is_read() {
    let mut f = fixture(32, 4, 8);
    let mut reader = f.reader(0);
    f.append(6).unwrap();
    let pinned = reader.turn(Some(4 * SLAB)).pin(4 * SLAB, 100);
    drop((f.writer, f.cache));
    check_bytes(pinned.as_slice(), 4 * SLAB);
    assert_eq!((f.arena.slabs_free(), f.arena.slabs_lost()), (31, 1));
    assert!(reader.ring().is_ended());
    reader.done(pinned);
}

#[test]
#[should_panic(expected = "taken")]
fn two_readers_in_one_place_are_our_bug() {
    let f = fixture(16, 4, 4);
    let _first = f.reader(1);
    let _second = f.reader(1);
}

#[test]
#[should_panic(expected = "beyond head")]
fn a_cursor_beyond_head_is_our_bug() {
    let f = fixture(16, 4, 4);
    f.reader(0).turn(Some(1));
}

#[test]
#[should_panic(expected = "outside of what this turn may read")]
fn a_byte_below_every_cursor_is_our_bug() {
    let mut f = fixture(16, 4, 4);
    f.append(3).unwrap();
    f.reader(0).turn(Some(SLAB)).bytes(0, 1);
}

#[test]
#[should_panic(expected = "the reader it came from")]
fn a_pinned_of_another_reader_is_our_bug() {
    let mut f = fixture(16, 4, 4);
    f.append(1).unwrap();
    let (mut first, mut second) = (f.reader(0), f.reader(1));
    let pinned = first.turn(Some(0)).pin(0, 1);
    second.done(pinned);
}

#[test]
fn sixteen_versions_of_the_tables_are_kept() {
    let mut f = fixture(16, 4, 4);
    let psi = psi();
    for version in 1..=20 {
        f.writer.set_psi(version, Arc::clone(&psi));
    }
    f.writer.set_psi(20, Arc::clone(&psi));
    let ring = f.writer.ring();
    assert!(ring.psi(4).is_none() && ring.psi(21).is_none());
    assert!(ring.psi(5).is_some() && ring.psi(20).is_some());
    assert_eq!(Arc::strong_count(&psi), 17);
}

/// One program with one stream.
fn psi() -> Arc<Psi> {
    let mut tracker = PsiTracker::new();
    let pat = [0x00, 0xB0, 13, 0, 1, 0xC1, 0, 0, 0, 1, 0xF0, 0x00];
    let pmt = [0x02, 0xB0, 18, 0, 1, 0xC1, 0, 0, 0xE1, 0x00, 0xF0, 0, 0x1B, 0xE1, 0x00, 0xF0, 0];
    for (pid, section) in [(0, &pat[..]), (0x1000, &pmt[..])] {
        let section = [section, &crc32(section).to_be_bytes()].concat();
        let mut packets = Vec::new();
        packetise(&mut packets, pid, &section);
        tracker.push(Packet::new(&packets[0]).expect("a packet"));
    }
    Arc::clone(tracker.psi().expect("a whole set"))
}
