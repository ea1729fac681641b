//! What a player sees where one session's bytes follow another's. The judge is the emulator's
//! verifier, which shares no code with us.

use super::STAGED_BYTES_MAX;
use super::STAGED_MAX;
use super::Staging;
use crate::base::time::Instant;
use crate::ts::Packets;
use crate::ts::Scanner;
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

fn scanned(bytes: &[u8]) -> Scanner {
    let mut scanner = Scanner::new();
    scanner.scan(Packets::new_checked(bytes).unwrap(), 0, &mut |_| {});
    scanner
}

/// Bytes of `next`, pushed a few packets at a time until they are placed.
fn placed(before: &Scanner, next: &[u8], at: Instant) -> Vec<u8> {
    let mut staging = Staging::new(at);
    for some in next.chunks(7 * 188) {
        staging.push(Packets::new_checked(some).unwrap());
        if let Some(bytes) = staging.ready(before, at) {
            assert!(bytes.len() <= staging.placed_bytes_max());
            return bytes;
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
        let bytes = placed(&scanned(&first), &next, Instant::ZERO);
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
    let bytes = placed(&scanned(&first), &next, Instant::ZERO);
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
    // From the middle of a group of pictures, and too little of it to reach the next one.
    let next = packets(&source, 2_000..2_050);
    let mut staging = Staging::new(Instant::ZERO);
    staging.push(Packets::new_checked(&next).unwrap());
    let before = scanned(&first);
    assert!(staging.ready(&before, Instant::ZERO).is_none());
    let bytes = staging.ready(&before, Instant::ZERO + STAGED_MAX).unwrap();
    assert!(bytes.ends_with(&next));
    assert!(next.len() < STAGED_BYTES_MAX);
}
