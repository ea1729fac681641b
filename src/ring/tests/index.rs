//! Access points and PSI packets: lookups, overwriting, and the entry that changes under a reader.

use super::PACKET;
use super::packets_at;
use super::small_arena;
use crate::ring::Access;
use crate::ring::Reader;
use crate::ring::SlabCache;
use crate::ring::Writer;
use crate::ring::index::ACCESS_ENTRIES;
use crate::ring::index::Log;
use crate::ring::index::PsiPacket;

fn access(offset: u64, media_us: u64) -> Access {
    Access { offset, media_us, psi_version: 3, pat_cc: 15, pmt_cc: [1, 2, 3, 4, 5, 6, 7, 8] }
}

struct Fixture {
    writer: Writer,
    reader: Reader,
    cache: SlabCache,
}

/// Slabs of 4 packets, at most 8 of them.
fn fixture() -> Fixture {
    let arena = small_arena(4, 64);
    let promise = arena.promise(8 * 4 * PACKET as u64).expect("room");
    let writer = Writer::open(arena, promise, 1, 8 * 4 * PACKET as u64, 1);
    let reader = Reader::new(writer.ring().clone(), 0);
    Fixture { writer, reader, cache: SlabCache::new(arena) }
}

impl Fixture {
    fn append(&mut self, packets: usize) {
        for _ in 0..packets {
            let bytes = packets_at(self.writer.written(), 1);
            self.writer.append(&bytes, &mut self.cache).expect("room");
            self.writer.commit(0, 0);
        }
    }
}

fn at(packet: u64) -> u64 {
    packet * PACKET as u64
}

#[test]
fn words_carry_everything() {
    let large = Access {
        offset: at(1 << 40),
        media_us: u64::MAX,
        psi_version: u32::MAX,
        pat_cc: 255,
        pmt_cc: [255, 0, 1, 2, 3, 4, 5, 254],
    };
    assert_eq!(Access::from_words(large.to_words()), large);
    let small = access(at(1), 5);
    assert_eq!(small.psi_counters().get(0), 15);
    assert_eq!(small.psi_counters().get(8), 8);
    let blank = Access { pat_cc: 0, pmt_cc: [0; 8], ..small };
    assert_eq!(blank.with_psi_counters(small.psi_counters()), small);
    let packet = PsiPacket { offset: at(7), pid: 0x1FFF, cc: 15 };
    assert_eq!(PsiPacket::from_words(packet.to_words()), packet);
}

#[test]
fn lookups_find_the_neighbour() {
    let mut f = fixture();
    assert_eq!(f.reader.turn(None).newest_access(), None);
    f.append(20);
    for (packet, media_us) in [(2, 100), (6, 200), (12, 300), (30, 400)] {
        f.writer.push_access(access(at(packet), media_us));
    }
    assert_eq!(f.reader.turn(None).newest_access(), None, "not before the commit");
    f.writer.commit(0, 0);
    let turn = f.reader.turn(None);
    let offset = |access: Option<Access>| access.map(|a| a.offset / PACKET as u64);
    assert_eq!(turn.access_at_or_before(at(6)), Some(access(at(6), 200)));
    assert_eq!(offset(turn.access_at_or_before(at(11))), Some(6));
    assert_eq!(offset(turn.access_at_or_before(at(1))), None);
    assert_eq!(offset(turn.newest_access()), Some(12), "the next one is beyond head");
    assert_eq!(offset(turn.oldest_access()), Some(2));
    assert_eq!(offset(turn.next_access_after(at(2))), Some(6));
    assert_eq!(offset(turn.next_access_after(at(0))), Some(2));
    assert_eq!(offset(turn.next_access_after(at(12))), None);
    assert_eq!(offset(turn.access_by_media(99)), Some(2));
    assert_eq!(offset(turn.access_by_media(299)), Some(6));
    assert_eq!(offset(turn.access_by_media(u64::MAX)), Some(12));
}

#[test]
fn points_below_tail_do_not_exist() {
    let mut f = fixture();
    for packet in (0..80).step_by(3) {
        f.writer.push_access(access(at(packet), packet));
        f.append(3);
    }
    let tail = f.writer.tail();
    assert!(tail > 0);
    let turn = f.reader.turn(None);
    let oldest = turn.oldest_access().unwrap();
    assert!(oldest.offset >= tail && oldest.offset < tail + at(3));
    assert_eq!(turn.access_by_media(0), Some(oldest));
    assert_eq!(turn.access_at_or_before(tail - 1), None);
    assert_eq!(turn.next_access_after(0), Some(oldest));
}

#[test]
fn a_found_point_is_readable_although_every_cursor_is_above_it() {
    let mut f = fixture();
    f.writer.push_access(access(at(1), 1));
    f.append(12);
    let head = f.writer.head();
    let turn = f.reader.turn(Some(head));
    let found = turn.access_at_or_before(at(5)).unwrap();
    super::check_bytes(turn.bytes(found.offset, PACKET), found.offset);
}

#[test]
fn a_clock_that_goes_back_is_held() {
    let mut f = fixture();
    f.append(9);
    f.writer.push_access(access(at(1), 500));
    f.writer.push_access(access(at(2), 400));
    f.writer.push_access(access(at(3), 600));
    f.writer.commit(0, 0);
    let turn = f.reader.turn(None);
    assert_eq!(turn.access_by_media(550).unwrap().offset, at(2));
}

#[test]
fn psi_counters_are_known_for_lapped_offsets() {
    let mut f = fixture();
    for table in 0..40_u8 {
        let offset = f.writer.written();
        f.writer.push_psi_packet(offset, 0, table % 16);
        f.writer.push_psi_packet(offset + at(1), 256, (table + 5) % 16);
        f.append(4);
    }
    let tail = f.writer.tail();
    let turn = f.reader.turn(None);
    assert!(tail > at(20));
    assert_eq!(turn.psi_cc_before(at(20), 0), Some(4), "lapped, and still known");
    assert_eq!(turn.psi_cc_before(at(20) + 1, 0), Some(5));
    assert_eq!(turn.psi_cc_before(at(22), 256), Some(10));
    assert_eq!(turn.psi_cc_before(0, 0), None);
    assert_eq!(turn.psi_cc_before(u64::MAX, 33), None);
}

#[test]
fn the_oldest_entries_are_overwritten() {
    let log = Log::<1>::new(ACCESS_ENTRIES);
    let last = ACCESS_ENTRIES as u64 + 10;
    for number in 0..last {
        log.write(number, [number * 10]);
    }
    assert!(log.numbers().is_empty(), "nothing is published yet");
    log.publish(last);
    assert_eq!(log.numbers(), 10..last);
    assert_eq!(log.read(9), None);
    assert_eq!(log.read(10), Some([100]));
    log.write(last, [last * 10]);
    assert_eq!(log.read(10), None, "overwritten before the publication");
    assert_eq!(log.first_not(10..last, |[word]| word < 500), 50);
    assert_eq!(log.first_not(10..last, |[_]| true), last);
    assert_eq!(log.first_not(10..last, |[_]| false), 11, "what was overwritten counts as below");
}

#[test]
fn a_torn_entry_is_recognised() {
    let log = Log::<4>::new(2);
    let rounds = if cfg!(miri) { 300 } else { 200_000 };
    let whole = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut whole = 0;
            loop {
                let numbers = log.numbers();
                for number in numbers.clone() {
                    if let Some(words) = log.read(number) {
                        assert_eq!(words, [number; 4]);
                        whole += 1;
                    }
                }
                if numbers.end == rounds {
                    return whole;
                }
            }
        });
        for number in 0..rounds {
            log.write(number, [number; 4]);
            log.publish(number + 1);
        }
        reading.join().unwrap()
    });
    assert!(whole > 0);
}
