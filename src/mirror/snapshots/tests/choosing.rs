//! Whole streams within a rate and a memory.

use super::id;
use crate::mirror::snapshots::Limits;
use crate::mirror::snapshots::Want;
use crate::mirror::snapshots::choose;
use proptest::prelude::*;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(60);

fn want(n: u8, viewers: usize, bitrate_bps: u64) -> Want {
    Want { infohash: id(n), viewers, bitrate_bps, is_chosen: false }
}

fn limits(rate_bytes: u64, memory_bytes: u64) -> Limits {
    Limits { rate_bytes, memory_bytes, ttl: TTL }
}

fn chosen(wants: &[Want], limits: Limits) -> Vec<u8> {
    choose(wants, limits).into_iter().map(|infohash| infohash.as_bytes()[0]).collect()
}

#[test]
fn the_fewest_viewers_are_left_out() {
    let wants = [want(1, 5, 8_000_000), want(2, 50, 8_000_000), want(3, 20, 8_000_000)];
    assert_eq!(chosen(&wants, limits(3_000_000, u64::MAX)), [1, 2, 3]);
    assert_eq!(chosen(&wants, limits(2_999_999, u64::MAX)), [2, 3]);
    assert_eq!(chosen(&wants, limits(u64::MAX, 120_000_000)), [2, 3]);
    assert_eq!(chosen(&wants, limits(u64::MAX, 119_999_999)), [2]);
    assert!(chosen(&wants, limits(0, 0)).is_empty());
}

#[test]
fn a_stream_beyond_the_budget_keeps_no_other_out_and_equals_stay() {
    let wants = [want(1, 9, 80_000_000), want(2, 1, 8_000_000)];
    assert_eq!(chosen(&wants, limits(1_500_000, u64::MAX)), [2]);
    let mut wants = [want(1, 3, 8_000_000), want(2, 3, 8_000_000)];
    assert_eq!(chosen(&wants, limits(1_000_000, u64::MAX)), [1]);
    wants[1].is_chosen = true;
    assert_eq!(chosen(&wants, limits(1_000_000, u64::MAX)), [2]);
    // What is not measured yet is taken for a good channel.
    assert_eq!(chosen(&[want(1, 1, 0)], limits(1_000_000, u64::MAX)), [1]);
    assert!(chosen(&[want(1, 1, 0)], limits(999_999, u64::MAX)).is_empty());
}

proptest! {
    #[test]
    fn the_budget_holds_and_nobody_with_fewer_viewers_is_kept(
        streams in prop::collection::vec((0..100_usize, 1..40_u64), 0..60),
        rate in 0..100_000_000_u64,
        memory in 0..2_000_000_000_u64,
    ) {
        let wants: Vec<Want> = (0_u8..)
            .zip(&streams)
            .map(|(n, (viewers, mbps))| want(n, *viewers, mbps * 1_000_000))
            .collect();
        let chosen = choose(&wants, limits(rate, memory));
        let of = |want: &&Want| chosen.contains(&want.infohash);
        let bytes: u64 = wants.iter().filter(of).map(|want| want.bitrate_bps / 8).sum();
        prop_assert!(bytes <= rate && bytes * 60 <= memory);
        let fits = |want: &&Want| want.bitrate_bps / 8 <= rate.min(memory / 60);
        let kept = wants.iter().filter(of).map(|want| want.viewers).min();
        let left = wants.iter().filter(|want| !of(want)).filter(fits).map(|want| want.viewers).max();
        if let (Some(kept), Some(left)) = (kept, left) {
            prop_assert!(left <= kept, "{left} viewers were left out, {kept} kept");
        }
    }
}
