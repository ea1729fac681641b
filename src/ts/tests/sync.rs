//! Alignment: what is delivered is the same for every cut of the input.

use proptest::prelude::*;

use crate::ts::packet::PACKET_BYTES;
use crate::ts::sync::Sync;

/// What came out of feeding `parts`.
fn run(parts: &[&[u8]]) -> (Vec<u8>, Sync) {
    let mut sync = Sync::new();
    let mut delivered = Vec::new();
    for part in parts {
        sync.feed(part, &mut |packets| {
            assert!(!packets.is_empty());
            delivered.extend_from_slice(packets.bytes());
        });
    }
    (delivered, sync)
}

fn run_in(bytes: &[u8], part_bytes: usize) -> (Vec<u8>, Sync) {
    run(&bytes.chunks(part_bytes).collect::<Vec<_>>())
}

/// Packets whose bodies hold no sync byte.
fn stream(count: usize) -> Vec<u8> {
    let packet = |index: usize| {
        let mut packet = vec![(index % 64) as u8; PACKET_BYTES];
        packet[0] = 0x47;
        packet
    };
    (0..count).flat_map(packet).collect()
}

#[test]
fn aligned_input_is_one_borrowed_run() {
    let bytes = stream(50);
    let mut runs = Vec::new();
    let mut sync = Sync::new();
    sync.feed(&bytes, &mut |packets| runs.push(packets.bytes().as_ptr_range()));
    assert_eq!(runs, [bytes.as_ptr_range()]);
    assert_eq!((sync.skipped_bytes(), sync.losses(), sync.carried_bytes()), (0, 0, 0));
}

#[test]
fn first_packets_come_as_soon_as_the_third_begins() {
    let bytes = stream(3);
    let (delivered, sync) = run_in(&bytes[..2 * PACKET_BYTES], 100);
    assert!(delivered.is_empty() && !sync.is_locked());
    let (delivered, sync) = run_in(&bytes[..2 * PACKET_BYTES + 1], 100);
    assert_eq!(delivered, bytes[..2 * PACKET_BYTES]);
    assert!(sync.is_locked());
}

#[test]
fn garbage_is_skipped_and_counted() {
    let mut bytes = vec![0x12; 1000];
    bytes[500] = 0x47;
    let good = stream(10);
    bytes.extend_from_slice(&good);
    bytes.extend_from_slice(&[0x99; 77]);
    bytes.extend_from_slice(&good);
    for part_bytes in [1, 2, 187, 188, 189, 376, 377, 1000, 1_000_000] {
        let (delivered, sync) = run_in(&bytes, part_bytes);
        assert_eq!(delivered, [&good[..], &good[..]].concat(), "parts of {part_bytes}");
        assert_eq!((sync.skipped_bytes(), sync.losses()), (1077, 1));
    }
}

#[test]
fn a_false_sync_byte_is_no_lock() {
    // The byte before the stream looks like a start, and so does what stands 188 behind it.
    let mut bytes = vec![0x47];
    bytes.extend_from_slice(&stream(6));
    bytes[188] = 0x47;
    for part_bytes in [1, 188, 5000] {
        let (delivered, sync) = run_in(&bytes, part_bytes);
        assert_eq!(delivered.len(), 6 * PACKET_BYTES);
        assert_eq!((sync.skipped_bytes(), sync.losses()), (1, 0));
    }
}

#[test]
fn missing_bytes_cost_the_packet_that_they_were_of() {
    let good = stream(20);
    let mut bytes = good.clone();
    bytes.drain(5 * PACKET_BYTES + 50..5 * PACKET_BYTES + 60);
    let (delivered, sync) = run_in(&bytes, 300);
    assert_eq!(delivered[..5 * PACKET_BYTES], good[..5 * PACKET_BYTES]);
    assert_eq!(delivered[6 * PACKET_BYTES..], good[7 * PACKET_BYTES..]);
    assert_eq!(sync.losses(), 1);
}

#[test]
fn a_damaged_sync_byte_costs_its_packet_though_every_payload_repeats_a_false_one() {
    let mut good = stream(20);
    for packet in 0..20 {
        good[packet * PACKET_BYTES + 100] = 0x47;
    }
    let mut bytes = good.clone();
    bytes[5 * PACKET_BYTES] = 0x57;
    for part_bytes in [1, 187, 188, 564, 565, 5000] {
        let (delivered, sync) = run_in(&bytes, part_bytes);
        let expected = [&good[..5 * PACKET_BYTES], &good[6 * PACKET_BYTES..]].concat();
        assert_eq!(delivered, expected, "parts of {part_bytes}");
        assert_eq!((sync.skipped_bytes(), sync.losses()), (188, 1));
    }
}

#[test]
fn reset_forgets_half_a_packet() {
    let bytes = stream(4);
    let (_, mut sync) = run(&[&bytes[..700]]);
    assert_eq!(sync.carried_bytes(), 700 - 3 * PACKET_BYTES);
    sync.reset();
    let mut delivered = 0;
    sync.feed(&bytes, &mut |packets| delivered += packets.len());
    assert_eq!(delivered, 4);
    assert_eq!(sync.losses(), 0);
    assert_eq!(sync.skipped_bytes(), 700 - 3 * 188);
}

/// Streams with garbage between runs, in an alphabet in which false sync bytes are common.
fn dirty() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => Just(0x47u8), 7 => any::<u8>()];
    let garbage = proptest::collection::vec(byte, 0..600);
    let run = (0usize..6).prop_map(stream);
    proptest::collection::vec((garbage, run), 0..6).prop_map(|parts| {
        parts.into_iter().flat_map(|(garbage, run)| [garbage, run].concat()).collect()
    })
}

proptest! {
    #[test]
    fn every_split_is_the_same(
        bytes in dirty(),
        cuts in proptest::collection::vec(0usize..4000, 0..20),
    ) {
        let (whole, whole_sync) = run(&[&bytes]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        for (delivered, sync) in [run(&parts), run_in(&bytes, 1)] {
            prop_assert_eq!(&delivered, &whole);
            prop_assert_eq!(sync.skipped_bytes(), whole_sync.skipped_bytes());
            prop_assert_eq!(sync.losses(), whole_sync.losses());
            prop_assert_eq!(sync.carried_bytes(), whole_sync.carried_bytes());
        }
        let accounted = whole.len() as u64 + whole_sync.skipped_bytes()
            + whole_sync.carried_bytes() as u64;
        prop_assert_eq!(accounted, bytes.len() as u64);
    }
}
