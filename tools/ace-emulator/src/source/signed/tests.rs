//! The signed stream as a demultiplexer sees it.

use super::*;

fn signed(video: Video, bitrate_bps: u64) -> Signed {
    Signed::new(SignedConfig { video, bitrate_bps, ..SignedConfig::default() }).unwrap()
}

#[test]
fn every_packet_is_reproducible_and_signed() {
    for video in Video::ALL {
        for bitrate in [240_000, 1_234_567, 8_000_000] {
            let signed = signed(video, bitrate);
            let mut bytes = vec![0; 3_000 * PACKET_BYTES];
            signed.fill(777, &mut bytes);
            let mut counters = [None::<u8>; 8_192];
            for (index, packet) in (777..).zip(bytes.as_chunks::<PACKET_BYTES>().0) {
                assert_eq!(packet, &signed.packet(index));
                let pid = usize::from(ts::pid_of(packet));
                if pid != usize::from(NULL_PID) {
                    let last = counters[pid].replace(packet[3] & 15);
                    assert!(last.is_none_or(|last| (last + 1) % 16 == packet[3] & 15));
                }
                let found = signature::read(packet).map(|found| (found.index, found.config));
                let psi = [PAT_PID, PMT_PID].contains(&(pid as u16));
                assert_eq!(found, (!psi).then_some((index, signed.config)), "{video:?} {index}");
            }
        }
    }
}

#[test]
fn the_rate_is_exact() {
    let signed = signed(Video::H264, 1_234_567);
    for index in [0, 1, 999, 1_000_000_007] {
        let at = signed.emission_us(index);
        assert_eq!(signed.packets_until(at), index + 1);
        assert_eq!(signed.packets_until(at - 1), index);
    }
    for index in [0, 1, 2, 77, 78, 999_999] {
        let found = Signed::signature(&signed.packet(index)).map(|found| found.emission_us);
        let psi = [PAT_PID, PMT_PID].contains(&ts::pid_of(&signed.packet(index)));
        assert_eq!(found, (!psi).then(|| signed.emission_us(index)), "{index}");
    }
    assert_eq!(signed.packets_until(1_504_000_000), 1_234_567);
}

#[test]
fn clocks_come_often_and_segments_begin_with_tables() {
    for video in Video::ALL {
        let signed = signed(video, 2_000_000);
        let (mut last, mut tables) = (0, 0);
        for index in 0..5_000 {
            let packet = signed.packet(index);
            if packet[3] & 0x20 != 0 && packet[5] & 0x10 != 0 {
                assert!((index - last) * 1_504 * 1_000 / 2_000_000 <= 42, "{video:?}");
                last = index;
            }
            if ts::pid_of(&packet) == PAT_PID {
                assert!((index - tables) * 1_504 * 1_000 / 2_000_000 <= 100);
                tables = index;
            }
        }
        let segment = signed.segment(7);
        assert_eq!(ts::pid_of(&signed.packet(segment.first)), PAT_PID);
        assert_eq!(ts::pid_of(&signed.packet(segment.first + 1)), PMT_PID);
        assert!(signed.is_access_point(segment.first + 2));
        let end_us = signed.emission_us(segment.first + segment.packets - 1);
        assert_eq!(signed.segments_until(end_us), 8);
        assert_eq!(signed.segments_until(end_us - 1), 7);
    }
}
