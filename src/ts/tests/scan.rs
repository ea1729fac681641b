//! The scan: which access points are found, and that cuts of the input do not matter.

use proptest::prelude::*;

use crate::ts::packet::*;
use crate::ts::psi::PsiTracker;
use crate::ts::scan::*;
use crate::ts::tests::generator::*;

const FRAME: u64 = PCR_HZ / 25;
const RAI: Start = Start { rai: true, pcr: None, discontinuity: false, scrambled: false };

fn scan(generator: &Generator) -> (Vec<Event>, Scanner) {
    scan_in(generator.packets(), 1_000_000)
}

fn scan_in(packets: Packets<'_>, run_packets: usize) -> (Vec<Event>, Scanner) {
    let mut scanner = Scanner::new();
    let mut events = Vec::new();
    let mut rest = packets;
    let mut offset = 0;
    while !rest.is_empty() {
        let (run, after) = rest.split_at(run_packets.min(rest.len()));
        scanner.scan(run, offset, &mut |event| events.push(event));
        offset += run.bytes().len() as u64;
        rest = after;
    }
    (events, scanner)
}

fn points(generator: &Generator) -> Vec<(u64, AccessKind)> {
    let (events, _) = scan(generator);
    points_of(&events).map(|point| (point.offset, point.kind)).collect()
}

fn points_of(events: &[Event]) -> impl Iterator<Item = AccessPoint> {
    events.iter().filter_map(|event| match event {
        Event::RandomAccess(point) => Some(*point),
        Event::PsiPacket { .. }
        | Event::PsiChanged { .. }
        | Event::ClockReference { .. }
        | Event::ClockJump { .. } => None,
    })
}

/// The kind found for one access unit of a stream type, None when it is no access point.
fn kind_of(stream_type: u8, start: Start, elementary: &[u8]) -> Option<AccessKind> {
    let mut generator = Generator::default();
    generator.tables(&pmt(0, 1, VIDEO_PID, &[(stream_type, VIDEO_PID, &[])]));
    let at = generator.pes(VIDEO_PID, start, elementary);
    generator.pes(VIDEO_PID, Start::default(), &[0; 300]);
    let found = points(&generator);
    assert!(found.len() <= 1 && found.iter().all(|point| point.0 == at));
    found.first().map(|point| point.1)
}

#[test]
fn h264_access_units() {
    let plain = Start::default();
    let none = None;
    let key = Some(AccessKind::Keyframe);
    let recovery = Some(AccessKind::RecoveryPoint);
    let sei_user_data: &[u8] = &[0x06, 0x05, 0x03, 0x06, 0x06, 0x06, 0x80];
    let sei_second: &[u8] = &[0x06, 0x05, 0x02, 0x11, 0x22, 0x06, 0x01, 0xC4, 0x80];
    // The body holds an emulation prevention byte, which its size does not count.
    let sei_escaped: &[u8] =
        &[0x06, 0x05, 0x04, 0x00, 0x00, 0x03, 0x01, 0x09, 0x06, 0x01, 0xC4, 0x80];
    type Row<'a> = (Start, &'a [&'a [u8]], Option<AccessKind>);
    let table: &[Row<'_>] = &[
        (plain, &[AUD, SPS, PPS, IDR], key),
        (plain, &[IDR], key),
        (plain, &[AUD, SLICE], none),
        (plain, &[AUD, SPS, PPS, SLICE], none),
        (RAI, &[AUD, SPS, PPS, SLICE], recovery),
        (RAI, &[AUD, SLICE], none),
        (plain, &[AUD, SPS, PPS, SEI_RECOVERY, SLICE], recovery),
        (plain, &[AUD, SEI_RECOVERY, SLICE], none),
        (plain, &[AUD, SPS, PPS, sei_user_data, SLICE], none),
        (plain, &[AUD, SPS, PPS, sei_second, SLICE], recovery),
        (plain, &[AUD, SPS, PPS, sei_escaped, SLICE], recovery),
        (RAI, &[AUD, SPS, PPS, SEI_RECOVERY, IDR], key),
        (plain, &[AUD, SLICE, IDR], none),
    ];
    for (index, (start, units, expected)) in table.iter().enumerate() {
        assert_eq!(kind_of(0x1B, *start, &h264_unit(units)), *expected, "row {index}");
    }
}

#[test]
fn other_codecs() {
    let plain = Start::default();
    let key = Some(AccessKind::Keyframe);
    let hevc = |kind: u8| h264_unit(&[&[0x46, 1, 0x50], &[0x40, 1, 9], &[kind << 1, 1, 0xAF]]);
    for kind in 0..32 {
        let expected = key.filter(|_| (16..=21).contains(&kind));
        assert_eq!(kind_of(0x24, plain, &hevc(kind)), expected, "HEVC {kind}");
        assert_eq!(kind_of(0x24, RAI, &hevc(kind)), expected, "HEVC {kind} flagged");
    }
    let sequence = [0, 0, 1, 0xB3, 0x2D, 0x02, 0x40, 0, 0, 1, 0xB5, 0x14, 0, 0, 1, 0, 0x11];
    assert_eq!(kind_of(0x02, plain, &sequence), key);
    assert_eq!(kind_of(0x02, RAI, &sequence[13..]), None);
    assert_eq!(kind_of(0x02, plain, &[0, 0, 1, 0xB8, 0, 8, 0, 0, 0, 0, 1, 0, 0x11]), None);
    // VVC, and whatever else: the indicator is believed.
    assert_eq!(kind_of(0x33, RAI, &[7; 50]), Some(AccessKind::RecoveryPoint));
    assert_eq!(kind_of(0x33, plain, &[7; 50]), None);
    let scrambled = Start { scrambled: true, ..RAI };
    assert_eq!(kind_of(0x1B, scrambled, &[9; 400]), Some(AccessKind::Scrambled));
    let unflagged = Start { rai: false, ..scrambled };
    assert_eq!(kind_of(0x1B, unflagged, &h264_unit(&[IDR])), None);
}

/// The unit's bytes over packets of any size: every place to cut a start code, a header, a message.
#[test]
fn access_units_span_packets_at_every_byte() {
    let unit = h264_unit(&[AUD, SPS, PPS, SEI_RECOVERY, SLICE]);
    let header = [0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1];
    let pes = [&header[..], &unit].concat();
    for part_bytes in 1..pes.len() {
        let mut generator = Generator::h264();
        let at = generator.offset();
        for (index, part) in pes.chunks(part_bytes).enumerate() {
            generator.raw(VIDEO_PID, index == 0, &[], part);
            generator.raw(AUDIO_PID, false, &[], &[0; 184]);
        }
        assert_eq!(points(&generator), [(at, AccessKind::RecoveryPoint)], "parts of {part_bytes}");
    }
}

#[test]
fn a_pes_header_may_look_like_anything() {
    // Private data in the header that reads as an IDR picture.
    let mut pes = vec![0, 0, 1, 0xE0, 0, 0, 0x80, 0x01, 8, 0, 0, 1, 0x65, 0, 0, 1, 0x65];
    pes.extend_from_slice(&h264_unit(&[AUD, SLICE]));
    let mut generator = Generator::h264();
    generator.pes_bytes(VIDEO_PID, Start::default(), &pes);
    generator.pes_bytes(VIDEO_PID, Start::default(), b"not a PES packet \0\0\x01\x65");
    assert_eq!(points(&generator), []);
}

#[test]
fn a_lost_packet_ends_the_search() {
    let mut unit = h264_unit(&[AUD, SPS, &[0x06, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF]]);
    unit.resize(400, 0x77);
    unit.extend_from_slice(&h264_unit(&[IDR]));
    let mut generator = Generator::h264();
    let at = generator.pes(VIDEO_PID, Start::default(), &unit);
    assert_eq!(points(&generator), [(at, AccessKind::Keyframe)]);
    let mut bytes = generator.bytes.clone();
    bytes.drain(at as usize + 188..at as usize + 376);
    let (events, scanner) = scan_in(Packets::new_checked(&bytes).unwrap(), 100);
    assert_eq!(points_of(&events).count(), 0);
    assert_eq!(scanner.counters().cc_errors, 1);
}

#[test]
fn an_access_point_names_its_tables_and_counters() {
    let mut generator = Generator::h264();
    generator.tables(&h264_pmt());
    let start = Start { pcr: Some(7_000), ..RAI };
    let first = generator.pes(VIDEO_PID, start, &keyframe(500));
    let change_at = generator.offset() + 188;
    generator.tables(&pmt(1, 1, VIDEO_PID, &[(0x1B, VIDEO_PID, &[])]));
    let start = Start { pcr: Some(7_000 + FRAME), ..RAI };
    let second = generator.pes(VIDEO_PID, start, &keyframe(500));
    let (events, scanner) = scan(&generator);
    assert!(events.contains(&Event::PsiChanged { offset: change_at, version: 2 }));
    assert_eq!(events[0], Event::PsiPacket { offset: 0, pid: 0, cc: 0 });
    assert!(events.contains(&Event::PsiPacket { offset: change_at, pid: PMT_PID, cc: 2 }));
    let found: Vec<AccessPoint> = points_of(&events).collect();
    assert_eq!(found.len(), 2);
    let [one, two] = [found[0], found[1]];
    assert_eq!((one.offset, one.pcr, one.psi_version), (first, Some(7_000), 1));
    assert_eq!((two.offset, two.pcr, two.psi_version), (second, Some(7_000 + FRAME), 2));
    assert_eq!([one.psi_counters.get(0), one.psi_counters.get(1)], [1, 1]);
    assert_eq!([two.psi_counters.get(0), two.psi_counters.get(1)], [2, 2]);
    assert_eq!(scanner.psi().unwrap().version(), 2);
    assert_eq!(scanner.first_audio_pid(), None);
    assert_eq!(scanner.pcr_pid(), Some(VIDEO_PID));
}

#[test]
fn the_point_before_a_change_keeps_the_old_version() {
    // The table changes while the access unit is still being looked into.
    let mut generator = Generator::h264();
    let mut head = h264_unit(&[AUD, SPS, &[0x0C]]);
    head.resize(184 - 14, 0xFF);
    let at = generator.pes(VIDEO_PID, Start::default(), &head);
    generator.tables(&pmt(1, 1, VIDEO_PID, &[(0x1B, VIDEO_PID, &[]), (0x03, 0x55, &[])]));
    generator.raw(VIDEO_PID, false, &[], &h264_unit(&[IDR]));
    let (events, _) = scan(&generator);
    let found: Vec<AccessPoint> = points_of(&events).collect();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].offset, found[0].psi_version), (at, 1));
}

#[test]
fn a_stream_without_video_begins_anywhere() {
    let mut generator = Generator::default();
    generator.tables(&pmt(0, 1, AUDIO_PID, &[(0x06, 0x77, &[]), (0x0F, AUDIO_PID, &[])]));
    let mut expected = Vec::new();
    for frame in 0..50 {
        generator.pes(0x77, Start::default(), &[1]);
        let start = Start { pcr: Some(frame * FRAME), ..Start::default() };
        let at = generator.pes(AUDIO_PID, start, &[0xFF; 400]);
        if frame % 13 == 0 {
            expected.push((at, AccessKind::Audio));
        }
    }
    assert_eq!(points(&generator), expected, "at once, then at most twice a second");
}

#[test]
fn a_video_that_never_comes_is_not_waited_for() {
    let mut generator = Generator::default();
    let streams: &[(u8, u16, &[u8])] = &[(0x1B, VIDEO_PID, &[]), (0x0F, AUDIO_PID, &[])];
    generator.tables(&pmt(0, 1, AUDIO_PID, streams));
    let mut starts = Vec::new();
    for frame in 0..300 {
        let start = Start { pcr: Some(frame * FRAME), ..Start::default() };
        starts.push(generator.pes(AUDIO_PID, start, &[0xFF; 400]));
    }
    let found = points(&generator);
    assert_eq!(found[0], (starts[275], AccessKind::Audio), "in the eleventh second");
    let at = generator.pes(VIDEO_PID, Start::default(), &keyframe(10));
    generator.pes(AUDIO_PID, Start::default(), &[0xFF; 40_000]);
    generator.pes(AUDIO_PID, Start::default(), &[0xFF; 40_000]);
    generator.pes(AUDIO_PID, Start::default(), &[0xFF; 400]);
    assert_eq!(points(&generator).last(), Some(&(at, AccessKind::Keyframe)));
}

#[test]
fn a_unit_that_ends_without_a_slice_is_decided_by_what_it_had() {
    let parameters = h264_unit(&[AUD, SPS, PPS]);
    assert_eq!(kind_of(0x1B, RAI, &parameters), Some(AccessKind::RecoveryPoint));
    assert_eq!(kind_of(0x1B, Start::default(), &parameters), None);
}

#[test]
fn a_program_still_missing_may_bring_the_video() {
    let mut generator = Generator::default();
    generator.section(PID_PAT, &pat(0, &[(1, 0x500), (2, PMT_PID)]));
    generator.section(0x500, &pmt(0, 1, AUDIO_PID, &[(0x0F, AUDIO_PID, &[])]));
    generator.pes(AUDIO_PID, Start::default(), &[0xFF; 400]);
    generator.section(PMT_PID, &pmt(0, 2, VIDEO_PID, &[(0x1B, VIDEO_PID, &[])]));
    generator.pes(AUDIO_PID, Start::default(), &[0xFF; 400]);
    let at = generator.pes(VIDEO_PID, Start::default(), &keyframe(10));
    assert_eq!(points(&generator), [(at, AccessKind::Keyframe)]);
}

#[test]
fn without_an_access_point_for_ten_seconds_any_start_will_do() {
    let mut generator = Generator::h264();
    let mut expected = Vec::new();
    for frame in 0..300 {
        let start = Start { pcr: Some(frame * FRAME), ..Start::default() };
        let at = generator.pes(VIDEO_PID, start, &interframe(300));
        if frame >= 250 && (frame - 250) % 13 == 0 {
            expected.push((at, AccessKind::AnyStart));
        }
    }
    let start = Start { pcr: Some(300 * FRAME), ..Start::default() };
    expected.push((generator.pes(VIDEO_PID, start, &keyframe(300)), AccessKind::Keyframe));
    for frame in 301..500 {
        let start = Start { pcr: Some(frame * FRAME), ..Start::default() };
        generator.pes(VIDEO_PID, start, &interframe(300));
    }
    assert_eq!(points(&generator), expected);
    let (_, scanner) = scan(&generator);
    assert_eq!(scanner.no_access_us(), Some(199 * 40_000));
}

#[test]
fn without_a_clock_bytes_are_counted() {
    let mut generator = Generator::h264();
    while generator.offset() < 17 << 20 {
        generator.pes(VIDEO_PID, Start::default(), &interframe(60_000));
    }
    let found = points(&generator);
    assert!(found.iter().all(|point| point.1 == AccessKind::AnyStart && point.0 >= 16 << 20));
    assert!(!found.is_empty());
}

#[test]
fn continuity_is_counted() {
    let mut generator = Generator::h264();
    let plain = |generator: &mut Generator| generator.raw(VIDEO_PID, false, &[], &[0; 184]);
    (0..5).for_each(|_| plain(&mut generator));
    // The same packet again is allowed once.
    let last = generator.bytes[generator.bytes.len() - 188..].to_vec();
    generator.bytes.extend_from_slice(&last);
    plain(&mut generator);
    assert_eq!(scan(&generator).1.counters().cc_errors, 0);
    generator.set_next_cc(VIDEO_PID, 11);
    plain(&mut generator);
    assert_eq!(scan(&generator).1.counters().cc_errors, 1);
    // Declared on the packet itself, then by a mark.
    generator.set_next_cc(VIDEO_PID, 3);
    generator.raw(VIDEO_PID, false, &[0x80], &[0; 100]);
    generator.bytes.extend_from_slice(&mark(VIDEO_PID, 8));
    generator.set_next_cc(VIDEO_PID, 9);
    plain(&mut generator);
    // A mark with the wrong counter declares nothing.
    generator.bytes.extend_from_slice(&mark(VIDEO_PID, 2));
    plain(&mut generator);
    let mut damaged = NULL_PACKET;
    damaged[1..3].copy_from_slice(&[0x81, 0x00]);
    generator.bytes.extend_from_slice(&damaged);
    generator.bytes.extend_from_slice(&NULL_PACKET);
    let counters = scan(&generator).1.counters();
    assert_eq!(counters.cc_errors, 2);
    assert_eq!((counters.discontinuities, counters.tei, counters.nulls), (3, 1, 1));
    assert_eq!(counters.packets, generator.packets().len() as u64);
}

#[test]
fn a_splice_forgives_counters_and_keeps_tables() {
    let mut one = Generator::h264();
    one.pes(VIDEO_PID, Start { pcr: Some(5_000 * FRAME), ..RAI }, &keyframe(2_000));
    one.pes(VIDEO_PID, Start { pcr: Some(5_001 * FRAME), ..RAI }, &interframe(50)[..30]);
    let mut two = Generator::default();
    for pid in [0, PMT_PID, VIDEO_PID] {
        two.set_next_cc(pid, 7);
    }
    two.tables(&h264_pmt());
    let at = two.pes(VIDEO_PID, Start { pcr: Some(3 * FRAME), ..RAI }, &keyframe(2_000));
    let mut scanner = Scanner::new();
    let mut events = Vec::new();
    scanner.scan(one.packets(), 0, &mut |_| {});
    assert_eq!(scanner.last_cc(0), Some(0));
    scanner.splice();
    scanner.scan(two.packets(), one.offset(), &mut |event| events.push(event));
    assert_eq!(scanner.counters().cc_errors, 0);
    assert_eq!(scanner.psi_version(), 1, "the same tables are no change");
    let point = points_of(&events).next().unwrap();
    assert_eq!(point.offset, one.offset() + at);
    assert_eq!(point.psi_counters.get(0), 7);
    assert!(events.contains(&Event::ClockJump { offset: point.offset }));
    assert!(point.pcr >= Some(5_001 * FRAME), "the clock does not go back");
}

#[test]
fn pids_are_those_of_the_last_ten_seconds() {
    let mut generator = Generator::h264();
    generator.raw(0x300, false, &[], &[0; 184]);
    for second in 0..8 {
        generator.pcr(VIDEO_PID, second * PCR_HZ);
    }
    let pids = |generator: &Generator| {
        let (_, scanner) = scan(generator);
        scanner.pids().map(|seen| seen.pid).collect::<Vec<_>>()
    };
    assert_eq!(pids(&generator), [0, PMT_PID, 0x300, VIDEO_PID]);
    generator.tables(&h264_pmt());
    for second in 8..16 {
        generator.pcr(VIDEO_PID, second * PCR_HZ);
    }
    assert_eq!(pids(&generator), [0, PMT_PID, VIDEO_PID]);
}

#[test]
fn more_pids_than_the_table_holds() {
    let mut generator = Generator::h264();
    for round in 0..3 {
        for pid in 0x200..0x400 {
            generator.raw(pid, false, &[], &[round; 184]);
        }
        generator.tables(&h264_pmt());
    }
    let (_, scanner) = scan(&generator);
    assert_eq!(scanner.counters().cc_errors, 0);
    assert_eq!(scanner.pids().count(), 64);
    assert_eq!(scanner.last_cc(PMT_PID), Some(3));
}

#[test]
fn a_clock_that_is_not_where_the_table_says_is_found() {
    let mut generator = Generator::default();
    generator.tables(&pmt(0, 1, 0x1FFF, &[(0x1B, VIDEO_PID, &[])]));
    generator.pcr(0x777, 5 * PCR_HZ);
    let (_, scanner) = scan(&generator);
    assert_eq!((scanner.pcr_pid(), scanner.media_us()), (Some(0x777), Some(5_000_000)));
    let mut generator = Generator::h264();
    for frame in 0..2_000 {
        generator.raw(VIDEO_PID, false, &[], &[0; 184]);
        (0..8).for_each(|_| generator.raw(AUDIO_PID, false, &[], &[0; 184]));
        generator.pcr(0x777, frame * FRAME);
    }
    let (events, scanner) = scan(&generator);
    assert_eq!(scanner.pcr_pid(), Some(0x777));
    // Ten packets in 40 ms.
    assert_eq!(scanner.bitrate_bps(), Some(10 * 188 * 8 * 25));
    assert!(!events.iter().any(|event| matches!(event, Event::ClockJump { .. })));
}

/// A stream with everything in it, damaged at will.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let step = (0u8..12, 0usize..2_000, any::<bool>());
    let steps = proptest::collection::vec(step, 1..60);
    let damage = proptest::collection::vec((any::<usize>(), any::<u8>()), 0..30);
    (steps, damage).prop_map(|(steps, damage)| {
        let mut generator = Generator::h264();
        let mut frame = 0;
        for (kind, bytes, flag) in steps {
            frame += 1;
            let pcr = Some(frame * FRAME).filter(|_| flag);
            let start = Start { pcr, rai: flag, ..Start::default() };
            match kind {
                0..=2 => generator.pes(VIDEO_PID, start, &keyframe(bytes)),
                3..=6 => generator.pes(VIDEO_PID, start, &interframe(bytes)),
                7..=8 => generator.pes(AUDIO_PID, Start::default(), &vec![0xFF; bytes]),
                9 => generator.pes(VIDEO_PID, Start { scrambled: true, ..start }, &vec![1; bytes]),
                10 => {
                    generator.tables(&pmt(
                        bytes as u8 & 3,
                        1,
                        VIDEO_PID,
                        &[(if flag { 0x1B } else { 0x24 }, VIDEO_PID, &[]), (3, AUDIO_PID, &[])],
                    ));
                    0
                }
                _ => {
                    generator.tables(&pmt(0, 1, AUDIO_PID, &[(0x0F, AUDIO_PID, &[])]));
                    0
                }
            };
        }
        let mut bytes = generator.bytes;
        for (at, value) in damage {
            let at = at % bytes.len();
            if !at.is_multiple_of(PACKET_BYTES) {
                bytes[at] = value;
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn every_split_is_the_same_and_nothing_panics(bytes in any_stream(), run in 1usize..9) {
        let packets = Packets::new_checked(&bytes).unwrap();
        let (events, scanner) = scan_in(packets, usize::MAX);
        let (events_in_runs, scanner_in_runs) = scan_in(packets, run);
        prop_assert_eq!(&events, &events_in_runs);
        prop_assert_eq!(scanner.counters(), scanner_in_runs.counters());
        prop_assert_eq!(scanner.bitrate_bps(), scanner_in_runs.bitrate_bps());
        let seen: Vec<PidSeen> = scanner.pids().collect();
        prop_assert_eq!(seen, scanner_in_runs.pids().collect::<Vec<_>>());
        let mut last: Option<AccessPoint> = None;
        for point in points_of(&events) {
            let packet = packets.split_at((point.offset / 188) as usize).1.iter().next().unwrap();
            prop_assert!(packet.pusi());
            prop_assert!(point.psi_version > 0);
            if let Some(last) = last {
                prop_assert!(last.offset < point.offset);
                prop_assert!(last.pcr.is_none_or(|pcr| point.pcr >= Some(pcr)));
            }
            last = Some(point);
        }
    }

    /// A viewer that begins at any point gets tables whose counters the stream continues.
    #[test]
    fn leading_tables_fit_every_point(bytes in any_stream()) {
        let packets = Packets::new_checked(&bytes).unwrap();
        let mut scanner = Scanner::new();
        let mut starts = Vec::new();
        let mut versions = Vec::new();
        for (index, _) in packets.iter().enumerate() {
            let (one, _) = packets.split_at(index).1.split_at(1);
            scanner.scan(one, (index * PACKET_BYTES) as u64, &mut |event| {
                if let Event::RandomAccess(point) = event {
                    starts.push(point);
                }
            });
            versions.extend(scanner.psi().cloned().filter(|psi| psi.version() as usize > versions.len()));
        }
        for point in starts {
            let psi = &versions[point.psi_version as usize - 1];
            let mut head = Vec::new();
            psi.write_leading(&mut head, point.psi_counters);
            let mut tracker = PsiTracker::new();
            let leading = Packets::new_checked(&head).unwrap();
            leading.iter().for_each(|packet| { tracker.push(packet); });
            prop_assert_eq!(tracker.psi().unwrap().pmts(), psi.pmts());
            for packet in leading.iter() {
                let index = psi.pids().position(|pid| pid == packet.pid()).unwrap();
                prop_assert_eq!(packet.cc(), point.psi_counters.get(index));
            }
        }
    }
}
