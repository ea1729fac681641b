//! What a player sees where one session's bytes follow another's. The judge is the emulator's
//! verifier, which shares no code with us.

use crate::base::time::Instant;
use crate::ts::Event;
use crate::ts::Packet;
use crate::ts::Packets;
use crate::ts::Scanner;
use crate::ts::packet::NULL_PACKET;
use crate::ts::splice::BEHIND_MAX;
use crate::ts::splice::Join;
use crate::ts::splice::Past;
use crate::ts::splice::Recent;
use crate::ts::splice::STAGED_BYTES_MAX;
use crate::ts::splice::STAGED_MAX;
use crate::ts::splice::Staging;
use ace_emulator::Verifier;
use ace_emulator::signed::Signed;
use ace_emulator::signed::SignedConfig;

fn source(tag: u32) -> Signed {
    let config = SignedConfig { tag, bitrate_bps: 1_000_000, ..SignedConfig::default() };
    Signed::new(config).unwrap()
}

fn packets(source: &Signed, range: std::ops::Range<u64>) -> Vec<u8> {
    range.flat_map(|index| source.packet(index)).collect()
}

/// What was written before, with all that is known of it.
struct Written {
    bytes: Vec<u8>,
    scanner: Scanner,
    recent: Recent,
    /// Retired.
    tail: u64,
}

impl Written {
    fn new(bytes: &[u8]) -> Self {
        let mut written =
            Self { bytes: bytes.to_vec(), scanner: Scanner::new(), recent: Recent::new(), tail: 0 };
        let Self { scanner, recent, .. } = &mut written;
        scanner.scan(Packets::new_checked(bytes).unwrap(), 0, &mut |event| {
            if let Event::ClockReference { offset } = event {
                let packet = bytes[offset as usize..][..188].try_into().unwrap();
                recent.note(Packet::new(packet).unwrap(), offset);
            }
        });
        written
    }
}

impl Past for Written {
    fn packet(&self, offset: u64) -> Option<Packet<'_>> {
        if offset < self.tail {
            return None;
        }
        Packet::new(self.bytes.get(offset as usize..)?.first_chunk()?)
    }

    fn end(&self) -> u64 {
        self.bytes.len() as u64
    }
}

fn push(staging: &mut Staging, written: &Written, some: &[u8], at: Instant) {
    staging.push(Packets::new_checked(some).unwrap(), &written.recent, written, at);
}

fn place(staging: &mut Staging, written: &Written, at: Instant) -> Option<(Join, Vec<u8>)> {
    let mut out = Vec::new();
    let join = staging.place(&written.scanner, written.end(), at, &mut out)?;
    assert!(out.len() <= staging.placed_bytes_max());
    Some((join, out))
}

/// Bytes of `next`, pushed a few packets at a time until they are placed; then the rest of it.
fn placed(written: &Written, next: &[u8], at: Instant) -> (Join, Vec<u8>) {
    let mut staging = Staging::new();
    let mut pushed = 0;
    for some in next.chunks(7 * 188) {
        push(&mut staging, written, some, at);
        pushed += some.len();
        if let Some((join, mut bytes)) = place(&mut staging, written, at) {
            bytes.extend_from_slice(&next[pushed..]);
            return (join, bytes);
        }
    }
    panic!("never placed");
}

#[test]
fn another_part_of_the_same_stream_is_one_declared_gap() {
    let source = source(7);
    let first = packets(&source, 0..5_000);
    for begin in [9_000, 9_123, 10_001] {
        let next = packets(&source, begin..begin + 8_000);
        let (join, bytes) = placed(&Written::new(&first), &next, Instant::ZERO);
        assert_eq!(join, Join::Jump);
        let mut verifier = Verifier::expecting(*source.config());
        verifier.feed(&first);
        verifier.feed(&bytes);
        let report = verifier.report();
        assert!(report.is_lawful(), "{report:?}");
        assert_eq!(report.gap_count, 1);
        assert_eq!(report.gaps_off_access_point, 0, "{report:?}");
    }
}

#[test]
fn another_stream_is_one_declared_switch() {
    let (one, two) = (source(7), source(8));
    let first = packets(&one, 0..5_000);
    let next = packets(&two, 77..9_000);
    let (join, bytes) = placed(&Written::new(&first), &next, Instant::ZERO);
    assert_eq!(join, Join::Jump);
    let mut verifier = Verifier::new();
    verifier.feed(&first);
    verifier.feed(&bytes);
    let report = verifier.report();
    assert!(report.is_lawful(), "{report:?}");
    assert_eq!(report.switches, 1);
}

#[test]
fn what_cannot_be_placed_goes_in_when_its_time_is_up() {
    let source = source(7);
    let first = packets(&source, 0..1_000);
    let written = Written::new(&first);
    // From the middle of a group of pictures, too little of it to reach the next one, and no table.
    let psi = written.scanner.psi().unwrap();
    let mut next = packets(&source, 2_000..2_050);
    let is_table = |packet: &[u8]| psi.contains(u16::from_be_bytes([packet[1] & 0x1F, packet[2]]));
    next = next.chunks(188).take_while(|packet| !is_table(packet)).flatten().copied().collect();
    assert!(next.len() < 50 * 188, "there were tables");
    let mut staging = Staging::new();
    push(&mut staging, &written, &next, Instant::ZERO);
    assert!(place(&mut staging, &written, Instant::ZERO).is_none());
    let (_, bytes) = place(&mut staging, &written, Instant::ZERO + STAGED_MAX).unwrap();
    assert!(bytes.ends_with(&next));
    let mut verifier = Verifier::expecting(*source.config());
    verifier.feed(&first);
    verifier.feed(&bytes);
    let report = verifier.report();
    assert!(report.is_lawful() && report.inserted.marks > 0, "the tables of before: {report:?}");
    assert!(next.len() < STAGED_BYTES_MAX);
}

#[test]
fn what_has_no_tables_at_all_is_marked() {
    let plain = |begin: u8, count: u8| -> Vec<u8> {
        (begin..begin + count)
            .flat_map(|n| [&[0x47, 0x01, 0x00, 0x10 | n & 15][..], &[n; 184]].concat())
            .collect()
    };
    let written = Written::new(&plain(0, 50));
    let mut staging = Staging::new();
    push(&mut staging, &written, &plain(70, 10), Instant::ZERO);
    let (join, bytes) = place(&mut staging, &written, Instant::ZERO + STAGED_MAX).unwrap();
    assert_eq!((join, bytes.len()), (Join::Jump, 11 * 188));
    let mark = Packet::new(bytes[..188].try_into().unwrap()).unwrap();
    assert!(mark.pid() == 0x100 && mark.discontinuity() && !mark.has_payload());
}

#[test]
fn the_same_broadcast_goes_on_with_the_very_next_packet() {
    let source = source(7);
    let first = packets(&source, 4_000..9_000);
    let mut written = Written::new(&first);
    // A burst that begins within what is there, at its edge, before it, and after its tail went.
    for (begin, tail) in [(6_001, 0), (4_000, 0), (100, 0), (4_100, 1_500 * 188), (8_950, 0)] {
        written.tail = tail;
        let next = packets(&source, begin..12_000);
        let (join, bytes) = placed(&written, &next, Instant::ZERO);
        assert_eq!(join, Join::Overlap, "from {begin}");
        let mut verifier = Verifier::expecting(*source.config());
        verifier.feed(&first);
        verifier.feed(&bytes);
        let report = verifier.report();
        assert_eq!((report.gap_count, report.wrong_packets, report.continuity_errors), (0, 0, 0));
        assert_eq!(report.source_packets, 8_000, "from {begin}: nothing twice");
        assert_eq!((report.inserted.marks, report.inserted.nulls), (0, 0));
    }
}

#[test]
fn an_engine_that_is_behind_is_waited_for() {
    let source = source(7);
    let first = packets(&source, 0..5_000);
    let written = Written::new(&first);
    let mut staging = Staging::new();
    push(&mut staging, &written, &packets(&source, 3_000..4_990), Instant::ZERO);
    let later = Instant::ZERO + BEHIND_MAX.checked_sub(STAGED_MAX).unwrap();
    assert!(place(&mut staging, &written, later).is_none(), "its own bytes again");
    push(&mut staging, &written, &packets(&source, 4_990..5_000), later);
    assert_eq!(place(&mut staging, &written, later), Some((Join::Overlap, Vec::new())));
}

#[test]
fn an_engine_that_is_too_far_behind_repeats_and_says_so() {
    let source = source(7);
    let first = packets(&source, 0..9_000);
    let written = Written::new(&first);
    let mut staging = Staging::new();
    push(&mut staging, &written, &packets(&source, 1_000..2_000), Instant::ZERO);
    let later = Instant::ZERO + BEHIND_MAX;
    let mut bytes = Vec::new();
    let mut pushed = 2_000;
    let join = loop {
        assert!(pushed < 9_000, "not before it has caught up");
        push(&mut staging, &written, &packets(&source, pushed..pushed + 7), later);
        pushed += 7;
        if let Some((join, placed)) = place(&mut staging, &written, later) {
            bytes.extend_from_slice(&placed);
            break join;
        }
        assert!(!staging.is_full());
    };
    assert_eq!(join, Join::Jump);
    bytes.extend_from_slice(&packets(&source, pushed..12_000));
    let mut verifier = Verifier::expecting(*source.config());
    verifier.feed(&first);
    verifier.feed(&bytes);
    let report = verifier.report();
    assert_eq!(report.wrong_packets, 0, "{report:?}");
    assert_eq!(report.gaps_off_access_point, 0, "{report:?}");
    assert!(report.inserted.marks > 0 && report.source_packets > 15_000, "{report:?}");
}

#[test]
fn what_differs_within_the_overlap_is_not_what_follows_it() {
    let source = source(7);
    let first = packets(&source, 0..5_000);
    let written = Written::new(&first);
    // Missing from one of the two: in the middle of what both have, and the last one of it.
    for (missing, expected, marks) in [(3_500_usize, Join::Overlap, 0), (4_999, Join::Jump, 2)] {
        let mut next = packets(&source, 3_000..12_000);
        let at = (missing - 3_000) * 188;
        next.drain(at..at + 188);
        let (join, bytes) = placed(&written, &next, Instant::ZERO);
        assert_eq!(join, expected, "{missing} is missing");
        let mut verifier = Verifier::expecting(*source.config());
        verifier.feed(&first);
        verifier.feed(&bytes);
        let report = verifier.report();
        assert!(report.is_lawful(), "{missing} is missing: {report:?}");
        assert_eq!(report.inserted.marks, marks, "{report:?}");
    }
}

#[test]
fn a_second_session_whose_clock_cannot_be_compared_can_follow_when_its_time_is_up() {
    let written = Written::new(&NULL_PACKET.repeat(100));
    let mut staging = Staging::new();
    push(&mut staging, &written, &packets(&source(7), 0..2_000), Instant::ZERO);
    assert!(!staging.is_playable(written.end(), Instant::ZERO), "a clock may come");
    let later = Instant::ZERO + STAGED_MAX;
    assert!(staging.is_playable(written.end(), later));
    assert!(place(&mut staging, &written, later).is_some());

    // Without a random access point it waits for one as long as there is room.
    let mut staging = Staging::new();
    push(&mut staging, &written, &NULL_PACKET.repeat(100), Instant::ZERO);
    assert!(!staging.is_playable(written.end(), later));
    push(&mut staging, &written, &NULL_PACKET.repeat(STAGED_BYTES_MAX / 188), later);
    assert!(staging.is_playable(written.end(), later));
    assert!(place(&mut staging, &written, later).is_some());
}
