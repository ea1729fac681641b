//! The verifier must find every way in which a stream can be wrong.

use super::*;
use crate::source::Media;
use crate::source::signed::Video;

const LENGTH: u64 = 6_000;

fn signed() -> Signed {
    let epoch_us = 1_700_000_000_000_000;
    let config = SignedConfig { epoch_us, bitrate_bps: 1_000_000, ..SignedConfig::default() };
    Signed::new(config).unwrap()
}

/// Whole packets of a source, from the tables before a random access point on.
fn packets(signed: &Signed, count: u64) -> Vec<Packet> {
    let first = signed.segment(3).first;
    (first..first + count).map(|index| signed.packet(index)).collect()
}

fn check(stream: &[Packet]) -> Report {
    check_bytes(stream.as_flattened())
}

fn check_bytes(bytes: &[u8]) -> Report {
    let mut whole = Verifier::new();
    whole.feed(bytes);
    for step in [1, 187, 189, 7_777] {
        let mut split = Verifier::new();
        bytes.chunks(step).for_each(|part| split.feed(part));
        assert_eq!(whole.report(), split.report(), "split at {step}");
    }
    whole.report()
}

fn mark(pid: u16, counter: u8) -> Packet {
    let mut packet = [0xff; PACKET_BYTES];
    packet[..6].copy_from_slice(&[0x47, (pid >> 8) as u8, pid as u8, 0x20 | counter, 183, 0x80]);
    packet
}

fn null() -> Packet {
    let mut packet = [0xff; PACKET_BYTES];
    packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    packet
}

#[test]
fn the_source_itself_is_unbroken() {
    for video in Video::ALL {
        let config = SignedConfig { video, bitrate_bps: 1_000_000, ..SignedConfig::default() };
        let signed = Signed::new(config).unwrap();
        let report = check(&packets(&signed, 5_000));
        assert!(report.is_unbroken(), "{report:?}");
        assert_eq!(report.source_packets, 5_000);
        assert_eq!(report.first_index, Some(signed.segment(3).first));
        assert_eq!(report.inserted, Inserted::default());
    }
}

#[test]
fn allowed_insertions_are_counted() {
    let mut stream = packets(&signed(), LENGTH);
    stream.insert(5_000, null());
    stream.insert(5_900, null());
    let report = check(&stream);
    assert!(report.is_unbroken(), "{report:?}");
    assert_eq!(report.inserted, Inserted { psi: 0, marks: 0, nulls: 2 });
}

#[test]
fn own_tables_in_front_are_insertions() {
    let signed = signed();
    let mut stream = packets(&signed, LENGTH);
    stream[0][3] ^= 7;
    stream[1][3] ^= 7;
    // The counters of the tables do not continue, so the join is only lawful with stepped ones.
    let report = check(&stream);
    assert_eq!(report.inserted.psi, 2);
    assert_eq!(report.first_index, Some(signed.segment(3).first + 2));
    assert_eq!(report.continuity_errors, 2);
    assert!(report.starts_with_pat_pmt_rap);
}

#[test]
fn a_flipped_bit_is_a_wrong_packet_and_no_gap() {
    for (at, byte, mask) in [(100, 60, 1), (500, 187, 0x80), (501, 150, 4), (0, 9, 1)] {
        let mut stream = packets(&signed(), LENGTH);
        stream[at][byte] ^= mask;
        let report = check(&stream);
        assert_eq!((report.wrong_packets, report.gap_count), (1, 0), "{at} {report:?}");
        assert!(!report.is_lawful());
    }
}

#[test]
fn swapped_missing_and_repeated_packets_are_gaps() {
    let all = packets(&signed(), LENGTH);
    let mut swapped = all.clone();
    swapped.swap(700, 701);
    assert_eq!(check(&swapped).undeclared_gap_count, 3);
    let mut missing = all.clone();
    missing.remove(700);
    let report = check(&missing);
    assert_eq!((report.undeclared_gap_count, report.lost_packets), (1, 1));
    assert_eq!(report.continuity_errors, 1);
    let mut repeated = all.clone();
    repeated.insert(700, all[650]);
    assert!(!check(&repeated).is_lawful());
    assert!(check(&all).is_lawful());
}

#[test]
fn a_cut_packet_is_misalignment() {
    let stream = packets(&signed(), LENGTH);
    let mut bytes = stream.as_flattened().to_vec();
    bytes.drain(188 * 900 + 100..188 * 900 + 200);
    let report = check_bytes(&bytes);
    assert!(report.misaligned_bytes > 0 && report.wrong_packets > 0, "{report:?}");
    assert!(!report.is_lawful());
    let mut tail = stream.as_flattened().to_vec();
    tail.truncate(188 * 50 - 1);
    assert_eq!(check_bytes(&tail).tail_partial_bytes, 187);
    let mut garbage = vec![0x55; 333];
    garbage.extend_from_slice(stream.as_flattened());
    let report = check_bytes(&garbage);
    assert_eq!((report.misaligned_bytes, report.wrong_packets), (333, 0));
}

#[test]
fn a_declared_skip_is_lawful() {
    let signed = signed();
    let all = packets(&signed, LENGTH);
    let from = signed.segment(3).first;
    let to = signed.segment(4).first;
    let landing = (to - from) as usize;
    let counter_before = |pid: u16| {
        let next = all[landing..].iter().find(|packet| pid_of(packet.as_slice()) == pid).unwrap();
        next[3].wrapping_sub(1) & 15
    };
    let stepped = |table: &Packet, last: &Packet| {
        let mut table = *table;
        table[3] = (table[3] & 0xf0) | (last[3].wrapping_add(1) & 15);
        table
    };
    let mut skip = all[..1_000].to_vec();
    let last = |pid: u16| *skip.iter().rev().find(|p| pid_of(p.as_slice()) == pid).unwrap();
    let mut tables = vec![stepped(&all[0], &last(PAT_PID)), stepped(&all[1], &last(PMT_PID))];
    // Enough steps that the source's own tables continue.
    for (own, first) in [(landing, 0), (landing + 1, 1)] {
        let mut table = tables[first];
        while (table[3] + 1) & 15 != all[own][3] & 15 {
            table[3] = (table[3] & 0xf0) | ((table[3] + 1) & 15);
            tables.push(table);
        }
    }
    skip.append(&mut tables);
    skip.push(mark(VIDEO_PID, counter_before(VIDEO_PID)));
    let without_audio = skip.len();
    skip.push(mark(0x101, counter_before(0x101)));
    skip.extend_from_slice(&all[landing..]);
    let report = check(&skip);
    assert!(report.is_lawful(), "{report:?}");
    assert_eq!(report.gaps, [(from + 1_000, to)]);
    assert_eq!(report.gaps_off_access_point, 0);
    assert_eq!(report.inserted.marks, 2);
    let mut undeclared = skip.clone();
    undeclared.remove(without_audio);
    assert_eq!(check(&undeclared).undeclared_gap_count, 1);
    let mut wrong_counter = skip;
    wrong_counter[without_audio][3] ^= 1;
    assert_eq!(check(&wrong_counter).continuity_errors, 1);
}

#[test]
fn another_source_is_a_switch_or_wrong() {
    let one = signed();
    let other = SignedConfig { tag: 9, ..*one.config() };
    let mut stream = packets(&one, 1_000);
    stream.extend(packets(&Signed::new(other).unwrap(), 1_000));
    let report = check(&stream);
    assert_eq!((report.switches, report.undeclared_switches, report.wrong_packets), (1, 1, 0));
    let mut strict = Verifier::expecting(*one.config());
    strict.feed(stream.as_flattened());
    assert!(strict.report().wrong_packets > 900);
}

#[test]
fn a_start_elsewhere_is_seen() {
    let stream = packets(&signed(), LENGTH);
    assert!(!check(&stream[1..]).starts_with_pat_pmt_rap);
    assert!(!check(&stream[2..]).starts_with_pat_pmt_rap);
    assert!(!check(&stream[40..]).starts_with_pat_pmt_rap);
    assert!(check(&stream[..3]).starts_with_pat_pmt_rap);
}

#[test]
fn noise_is_survived_and_never_lawful() {
    let mut prng = crate::prng::Prng::new(7);
    let all = packets(&signed(), 3_000);
    for _ in 0..200 {
        let mut bytes = all.as_flattened().to_vec();
        let at = prng.below(bytes.len() as u64) as usize;
        match prng.below(3) {
            0 => bytes[at] ^= 1 << prng.below(8),
            1 => bytes.insert(at, prng.next() as u8),
            _ => {
                let end = at + prng.below(400) as usize + 1;
                bytes.drain(at..end.min(all.len() * PACKET_BYTES));
            }
        }
        let mut verifier = Verifier::new();
        verifier.feed(&bytes);
        let report = verifier.report();
        let short = report.source_packets < 3_000;
        assert!(!report.is_unbroken() || short, "{at} {report:?}");
    }
}

#[test]
fn latency_is_now_minus_emission() {
    let signed = signed();
    let first = signed.segment(3).first;
    let mut verifier = Verifier::new();
    for index in first..first + 500 {
        let complete_us = signed.config().epoch_us + signed.emission_us(index);
        verifier.feed_at(&signed.packet(index), complete_us + 1_500);
    }
    let latency = verifier.report().latency;
    assert!(latency.count() > 400);
    assert_eq!(latency.max_us(), 1_500);
}
