//! The media clock: wraps, jumps, and the bitrate over them.

use crate::ts::clock::MediaClock;
use crate::ts::packet::PCR_HZ;
use crate::ts::packet::PCR_WRAP;

const STEP: u64 = PCR_HZ / 20;

/// References every 50 ms at `bps`, from `pcr` on; the offset and the clock reference that follow.
fn drive(
    clock: &mut MediaClock,
    mut pcr: u64,
    mut offset: u64,
    bps: u64,
    count: u64,
) -> (u64, u64) {
    for _ in 0..count {
        clock.on_pcr(pcr % PCR_WRAP, offset, false);
        pcr += STEP;
        offset += bps / 8 / 20;
    }
    (pcr % PCR_WRAP, offset)
}

#[test]
fn bitrate_comes_after_half_a_second_and_follows() {
    let mut clock = MediaClock::new();
    let (pcr, offset) = drive(&mut clock, 1_000, 0, 8_000_000, 9);
    assert_eq!(clock.bitrate_bps(), None);
    let (pcr, offset) = drive(&mut clock, pcr, offset, 8_000_000, 400);
    assert_eq!(clock.bitrate_bps(), Some(8_000_000));
    drive(&mut clock, pcr, offset, 2_000_000, 400);
    assert_eq!(clock.bitrate_bps(), Some(2_000_000));
}

#[test]
fn a_wrap_is_no_jump() {
    let mut clock = MediaClock::new();
    let start = PCR_WRAP - 10 * STEP;
    drive(&mut clock, start, 0, 8_000_000, 21);
    assert_eq!(clock.ticks(), Some(start + 20 * STEP));
    assert_eq!(clock.bitrate_bps(), Some(8_000_000));
}

#[test]
fn a_jump_goes_on_by_what_the_bytes_are_worth() {
    let mut clock = MediaClock::new();
    let (_, offset) = drive(&mut clock, 1_000, 0, 8_000_000, 41);
    let before = clock.ticks().unwrap();
    // Back by far, half a second of bytes later (50 ms of them are driven already).
    assert!(clock.on_pcr(500, offset - 50_000 + 500_000, false));
    assert_eq!(clock.ticks().unwrap() - before, PCR_HZ / 2);
    assert_eq!(clock.bitrate_bps(), Some(8_000_000), "kept until it can be measured again");
    // Forward by far, and flagged: never more than a second.
    let before = clock.ticks().unwrap();
    assert!(clock.on_pcr(500 + 3_600 * PCR_HZ, offset + 100_000_000, false));
    assert_eq!(clock.ticks().unwrap() - before, PCR_HZ);
    assert!(clock.on_pcr(501 + 3_600 * PCR_HZ, offset + 100_000_000, true));
    assert!(!clock.on_pcr(502 + 3_600 * PCR_HZ, offset + 100_000_000, false));
}

#[test]
fn an_expected_jump_needs_something_to_jump_from() {
    let mut clock = MediaClock::new();
    clock.expect_jump();
    assert!(!clock.on_pcr(7, 0, false));
    assert!(!clock.on_pcr(8, 0, false));
    clock.expect_jump();
    assert!(clock.on_pcr(9, 0, false));
    assert!(!clock.on_pcr(10, 0, false));
}
