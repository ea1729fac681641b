//! Sections over any packets, tables, and the set that a viewer begins with.

use proptest::prelude::*;

use crate::ts::packet::PID_PAT;
use crate::ts::packet::Packets;
use crate::ts::psi::*;
use crate::ts::tests::generator::AUDIO_PID;
use crate::ts::tests::generator::Generator;
use crate::ts::tests::generator::PMT_PID;
use crate::ts::tests::generator::VIDEO_PID;
use crate::ts::tests::generator::h264_pmt;
use crate::ts::tests::generator::pat;
use crate::ts::tests::generator::pmt;
use crate::ts::tests::generator::section;

fn sections_of(packets: Packets<'_>) -> (Vec<Vec<u8>>, u64) {
    let mut assembler = SectionAssembler::new();
    let mut sections = Vec::new();
    for packet in packets.iter() {
        assembler.push(packet, &mut |section| sections.push(section.to_vec()));
    }
    (sections, assembler.bad_sections())
}

fn track(packets: Packets<'_>) -> PsiTracker {
    let mut tracker = PsiTracker::new();
    packets.iter().for_each(|packet| {
        tracker.push(packet);
    });
    tracker
}

#[test]
fn crc_has_its_known_answer() {
    // The check value of CRC-32/MPEG-2.
    assert_eq!(crc32(b"123456789"), 0x0376_E6E7);
    let whole = h264_pmt();
    assert_eq!(crc32(&whole), 0);
}

#[test]
fn a_section_spans_packets_and_shares_them() {
    let long = section(0x02, 1, 0, &[0xAB; 850]);
    let short = section(0x02, 2, 0, &[0xCD; 20]);
    // The second section begins in the packet in which the first ends.
    let mut generator = Generator::default();
    generator.section(7, &long);
    let packets = long.len().div_ceil(184);
    assert_eq!(generator.packets().len(), packets);
    let mut generator = Generator::default();
    let first: Vec<u8> = [&[0], &long[..183]].concat();
    generator.raw(7, true, &[], &first);
    let mut rest = &long[183..];
    while rest.len() > 183 {
        generator.raw(7, false, &[], &rest[..184.min(rest.len())]);
        rest = &rest[184.min(rest.len())..];
    }
    let mut last = vec![rest.len() as u8];
    last.extend_from_slice(rest);
    last.extend_from_slice(&short);
    last.resize(184, 0xFF);
    generator.raw(7, true, &[], &last);
    assert_eq!(sections_of(generator.packets()), (vec![long, short], 0));
}

#[test]
fn many_sections_in_one_packet_and_a_header_cut_in_two() {
    let small = section(0x02, 1, 0, &[1]);
    let other = section(0x02, 2, 0, &[2; 100]);
    let mut payload = vec![0];
    while payload.len() + small.len() <= 182 {
        payload.extend_from_slice(&small);
    }
    let fit = (payload.len() - 1) / small.len();
    let head = 184 - payload.len();
    payload.extend_from_slice(&other[..head]);
    let mut generator = Generator::default();
    generator.raw(7, true, &[], &payload);
    let mut payload = other[head..].to_vec();
    payload.resize(184, 0xFF);
    generator.raw(7, false, &[], &payload);
    let (sections, bad) = sections_of(generator.packets());
    assert_eq!((sections.len(), bad), (fit + 1, 0));
    assert_eq!(sections[fit], other);
}

#[test]
fn damage_costs_only_the_damaged_section() {
    let long = section(0x02, 1, 0, &[0xAB; 400]);
    let mut generator = Generator::default();
    for _ in 0..4 {
        generator.section(7, &long);
    }
    let mut bytes = generator.bytes.clone();
    bytes[188 + 100] ^= 1;
    bytes.drain(4 * 188..5 * 188);
    let (sections, bad) = sections_of(Packets::new_checked(&bytes).unwrap());
    assert_eq!((sections.len(), bad), (2, 1), "one by its CRC, one by its missing packet");
}

#[test]
fn the_end_of_another_section_is_not_taken_for_ones_own() {
    let mut generator = Generator::default();
    generator.section(7, &section(0x02, 1, 0, &[0xAB; 400]));
    generator.section(7, &section(0x02, 1, 0, &[0xCD; 400]));
    // The first packet of one, the rest of the other.
    let mut bytes = generator.bytes.clone();
    bytes.drain(188..4 * 188);
    assert_eq!(sections_of(Packets::new_checked(&bytes).unwrap()), (vec![], 0));
}

#[test]
fn a_repeated_packet_is_passed_over() {
    let long = section(0x02, 1, 0, &[0xAB; 300]);
    let mut generator = Generator::default();
    generator.section(7, &long);
    let bytes = [&generator.bytes[..188], &generator.bytes[..188], &generator.bytes[188..]];
    let bytes = bytes.concat();
    assert_eq!(sections_of(Packets::new_checked(&bytes).unwrap()), (vec![long], 0));
}

#[test]
fn pmt_names_codecs() {
    let registration = |name: &[u8; 4]| [&[0x05, 4], &name[..]].concat();
    let table: &[(u8, Vec<u8>, Codec)] = &[
        (0x02, vec![], Codec::Mpeg2Video),
        (0x1B, vec![], Codec::H264),
        (0x24, vec![], Codec::Hevc),
        (0x03, vec![], Codec::MpegAudio),
        (0x0F, vec![], Codec::Aac),
        (0x11, vec![], Codec::AacLatm),
        (0x81, vec![], Codec::Ac3),
        (0x87, vec![], Codec::Eac3),
        (0x06, vec![0x0A, 4, b'e', b'n', b'g', 0, 0x6A, 1, 0], Codec::Ac3),
        (0x06, vec![0x7A, 1, 0], Codec::Eac3),
        (0x06, vec![0x59, 0], Codec::Subtitle),
        (0x06, vec![0x56, 0], Codec::Teletext),
        (0x06, registration(b"HEVC"), Codec::Hevc),
        (0x06, registration(b"Opus"), Codec::Opus),
        (0x06, vec![0x6A, 200], Codec::Other),
        (0x06, vec![], Codec::Other),
        (0x86, vec![], Codec::Dts),
        (0x33, vec![], Codec::OtherVideo),
        (0xC0, vec![], Codec::Other),
    ];
    for (stream_type, descriptors, codec) in table {
        let pmt = Pmt::parse(&pmt(3, 9, 0x1FFF, &[(*stream_type, 0x44, descriptors)])).unwrap();
        assert_eq!((pmt.program_number, pmt.version, pmt.pcr_pid), (9, 3, None));
        let stream = ElementaryStream { pid: 0x44, stream_type: *stream_type, codec: *codec };
        assert_eq!(pmt.streams, [stream]);
        assert!(!(codec.is_audio() && codec.is_video()));
    }
    assert!(Codec::Aac.is_audio() && !Codec::Teletext.is_audio() && Codec::H264.is_video());
}

#[test]
fn a_set_is_known_from_the_first_pmt_and_complete_with_the_last() {
    let mut generator = Generator::default();
    generator.section(PID_PAT, &pat(0, &[(0, 0x10), (1, 0x100), (2, 0x200)]));
    generator.section(0x100, &pmt(0, 1, 0x101, &[(0x1B, 0x101, &[])]));
    let tracker = track(generator.packets());
    assert_eq!(tracker.pmt_pids().collect::<Vec<_>>(), [0x100, 0x200]);
    let psi = tracker.psi().unwrap();
    assert_eq!((psi.version(), psi.is_complete()), (1, false));
    generator.section(0x200, &pmt(0, 2, 0x201, &[(0x0F, 0x201, &[])]));
    generator.section(0x200, &pmt(0, 2, 0x201, &[(0x0F, 0x201, &[])]));
    let tracker = track(generator.packets());
    let psi = tracker.psi().unwrap();
    assert_eq!((psi.version(), psi.is_complete()), (2, true));
    assert_eq!(psi.pids().collect::<Vec<_>>(), [0, 0x100, 0x200]);
    assert_eq!(psi.streams().map(|stream| stream.pid).collect::<Vec<_>>(), [0x101, 0x201]);
}

#[test]
fn two_programs_on_one_pid() {
    let mut generator = Generator::default();
    generator.section(PID_PAT, &pat(0, &[(1, 0x100), (2, 0x100)]));
    generator.section(0x100, &pmt(0, 1, 0x101, &[(0x1B, 0x101, &[])]));
    generator.section(0x100, &pmt(0, 2, 0x201, &[(0x1B, 0x201, &[])]));
    generator.section(0x100, &pmt(0, 3, 0x301, &[(0x1B, 0x301, &[])]));
    let tracker = track(generator.packets());
    let psi = tracker.psi().unwrap();
    assert!(psi.is_complete());
    assert_eq!((psi.pmts().len(), psi.packets_of(0x100), psi.packet_count()), (2, 2, 3));
}

#[test]
fn a_new_pat_keeps_what_it_still_names() {
    let mut generator = Generator::default();
    generator.section(PID_PAT, &pat(0, &[(1, 0x100), (2, 0x200)]));
    generator.section(0x100, &pmt(0, 1, 0x101, &[(0x1B, 0x101, &[])]));
    generator.section(0x200, &pmt(0, 2, 0x201, &[(0x1B, 0x201, &[])]));
    generator.section(PID_PAT, &pat(1, &[(2, 0x200)]));
    let tracker = track(generator.packets());
    let psi = tracker.psi().unwrap();
    assert_eq!((psi.version(), psi.pmts().len(), psi.is_complete()), (3, 1, true));
    // A PAT that names nobody known leaves the old set until a PMT comes.
    generator.section(PID_PAT, &pat(2, &[(3, 0x300)]));
    let tracker = track(generator.packets());
    assert_eq!((tracker.version(), tracker.psi().unwrap().version()), (3, 3));
}

#[test]
fn limits_keep_the_first_that_fit() {
    let programs: Vec<(u16, u16)> = (1..=20).map(|n| (n, 0x100 + n)).collect();
    let mut generator = Generator::default();
    generator.section(PID_PAT, &pat(0, &programs));
    let long = [[0x09u8, 250].as_slice(), &[0; 250]].concat();
    for (number, pid) in programs {
        let streams: &[(u8, u16, &[u8])] = &[(0x1B, 0x50, &long), (0x0F, 0x51, &long)];
        generator.section(pid, &pmt(0, number, 0x50, streams));
    }
    let tracker = track(generator.packets());
    assert_eq!(tracker.pmt_pids().count(), PROGRAMS_MAX);
    let psi = tracker.psi().unwrap();
    assert_eq!(psi.packets_of(0x101), 3);
    assert_eq!((psi.pmts().len(), psi.packet_count()), (5, PSI_PACKETS_MAX));
}

#[test]
fn leading_tables_are_continued_by_the_stream() {
    let long = [[0x09u8, 250].as_slice(), &[0; 250]].concat();
    let table = pmt(0, 1, VIDEO_PID, &[(0x1B, VIDEO_PID, &long), (0x0F, AUDIO_PID, &[])]);
    let mut generator = Generator::default();
    generator.set_next_cc(PMT_PID, 13);
    for _ in 0..5 {
        generator.tables(&table);
    }
    let psi = track(generator.packets()).psi().unwrap().clone();
    assert_eq!(psi.packets_of(PMT_PID), 2);
    let mut counters = PsiCounters::default();
    counters.set(0, 4);
    counters.set(1, 6);
    let mut out = Vec::new();
    psi.write_leading(&mut out, PsiCounters::from_bits(counters.to_bits()));
    let written: Vec<(u16, u8)> = Packets::new_checked(&out)
        .unwrap()
        .iter()
        .map(|packet| (packet.pid(), packet.cc()))
        .collect();
    assert_eq!(written, [(0, 4), (PMT_PID, 5), (PMT_PID, 6)]);
    // And they say the same as the stream's own.
    let again = track(Packets::new_checked(&out).unwrap());
    assert_eq!(again.psi().unwrap().pmts(), psi.pmts());
    let mut asked = Vec::new();
    out.clear();
    psi.write(&mut out, &mut |pid| {
        asked.push(pid);
        0x1F
    });
    assert_eq!(asked, [0, PMT_PID, PMT_PID]);
    assert!(Packets::new_checked(&out).unwrap().iter().all(|packet| packet.cc() == 0x0F));
}

proptest! {
    /// Sections of any length at any distance come out as they went in.
    #[test]
    fn sections_survive_every_packing(
        bodies in proptest::collection::vec(0usize..1000, 1..12),
        gaps in proptest::collection::vec(0usize..3, 12),
    ) {
        let sections: Vec<Vec<u8>> = bodies
            .iter()
            .enumerate()
            .map(|(index, length)| section(0x02, index as u16, 0, &vec![index as u8; *length]))
            .collect();
        // A payload begins with a pointer field when a section begins in it.
        let mut generator = Generator::default();
        let mut pending: Vec<u8> = Vec::new();
        let mut next = 0;
        while next < sections.len() || !pending.is_empty() {
            let begins = next < sections.len() && pending.len() < 180 && gaps[next] < 2;
            let mut payload = Vec::new();
            if !begins && pending.is_empty() {
                // The gap is a packet of stuffing.
                generator.raw(7, true, &[], &[&[0][..], &[0xFF; 183]].concat());
                generator.section(7, &sections[next]);
                next += 1;
                continue;
            }
            if begins {
                payload.push(pending.len() as u8);
            }
            let tail = pending.len().min(184 - payload.len());
            payload.extend(pending.drain(..tail));
            while begins && next < sections.len() && payload.len() < 184 {
                let (now, later) = {
                    let room = 184 - payload.len();
                    sections[next].split_at(room.min(sections[next].len()))
                };
                payload.extend_from_slice(now);
                pending = later.to_vec();
                next += 1;
            }
            payload.resize(184, 0xFF);
            generator.raw(7, begins, &[], &payload);
        }
        let (out, bad) = sections_of(generator.packets());
        prop_assert_eq!(bad, 0);
        prop_assert_eq!(out, sections);
    }

    #[test]
    fn no_section_panics(table_id in 0u8..3, body in proptest::collection::vec(any::<u8>(), 0..1000)) {
        let bytes = section(table_id, 1, 0, &body);
        let _ = Pat::parse(&bytes);
        let _ = Pmt::parse(&bytes);
        let _ = Pmt::parse(&body);
        let mut generator = Generator::default();
        generator.section(PID_PAT, &bytes);
        generator.section_payload(PID_PAT, &body);
        track(generator.packets());
    }
}
