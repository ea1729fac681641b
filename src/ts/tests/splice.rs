//! Jumps: every counter of every PID continues, seen by a checker that knows marks as players do.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::ts::packet::Packet;
use crate::ts::packet::Packets;
use crate::ts::packet::mark;
use crate::ts::psi::Psi;
use crate::ts::psi::PsiTracker;
use crate::ts::psi::SectionAssembler;
use crate::ts::splice::*;
use crate::ts::tests::generator::AUDIO_PID;
use crate::ts::tests::generator::Generator;
use crate::ts::tests::generator::PMT_PID;
use crate::ts::tests::generator::VIDEO_PID;
use crate::ts::tests::generator::pmt;

fn psi(pmt_packets: usize) -> Psi {
    let long = [[0x09u8, 200].as_slice(), &[0; 200]].concat();
    let descriptors: Vec<u8> = long.repeat(pmt_packets - 1);
    let table = pmt(0, 1, VIDEO_PID, &[(0x1B, VIDEO_PID, &descriptors)]);
    let mut generator = Generator::default();
    generator.tables(&table);
    let mut tracker = PsiTracker::new();
    for packet in generator.packets().iter() {
        tracker.push(packet);
    }
    let psi = Psi::clone(tracker.psi().unwrap());
    assert_eq!(psi.packets_of(PMT_PID), pmt_packets + pmt_packets / 4);
    psi
}

/// True when `cc` may follow `last` on a PID; libdvbpsi does not know marks on tables.
fn follows(last: u8, cc: u8) -> bool {
    cc == (last + 1) & 0x0F
}

#[test]
fn marks_begin_with_the_clock() {
    let mut out = Vec::new();
    write_marks(&mut out, Some(9), &[(7, 0), (9, 5), (0x1FFF, 3), (8, 15)]);
    assert_eq!(out, [mark(9, 4), mark(7, 15), mark(8, 14)].concat());
}

#[test]
fn counter_table_keeps_first_and_last() {
    let mut generator = Generator::h264();
    generator.set_next_cc(VIDEO_PID, 14);
    for _ in 0..5 {
        generator.raw(VIDEO_PID, false, &[], &[0; 184]);
    }
    generator.bytes.extend_from_slice(&crate::ts::packet::NULL_PACKET);
    generator.bytes.extend_from_slice(&mark(AUDIO_PID, 3));
    let mut first = CounterTable::new();
    first.note_first(generator.packets());
    assert_eq!(first.as_slice(), [(0, 0), (PMT_PID, 0), (VIDEO_PID, 14)]);
    let mut last = CounterTable::new();
    last.note_last(generator.packets());
    assert_eq!(last.get(VIDEO_PID), Some(2));
    assert_eq!(last.get(AUDIO_PID), Some(3));
    assert_eq!(last.len(), 4);
}

#[test]
fn counter_table_is_bounded() {
    let mut table = CounterTable::new();
    (0..200).for_each(|pid| table.set(pid, 1));
    assert_eq!(table.len(), PIDS_MAX);
    assert_eq!(table.get(199), None);
}

#[test]
fn a_table_that_does_not_fit_is_marked_or_left_out() {
    let psi = psi(2);
    let step = PsiStep { last_sent: Some(5), next: Some(5) };
    for (packets_max, expected) in [(40, 30), (20, 18), (5, 5), (4, 2), (3, 2), (1, 0)] {
        let mut out = Vec::new();
        write_psi_stepped(&mut out, &psi, packets_max, &mut |_| step);
        let count = Packets::new_checked(&out).unwrap().len();
        assert!(count <= packets_max);
        assert_eq!(count, expected, "of {packets_max}");
    }
}

#[test]
fn a_table_that_the_jump_cut_is_not_mended_with_another() {
    let psi = psi(2);
    for next in 0..16 {
        let mut sections = SectionAssembler::new();
        let mut cut = psi.table(PMT_PID)[0];
        // Other content, the same length: its second packet is missing.
        cut[100] ^= 0xFF;
        cut[3] = cut[3] & 0xF0 | 9;
        sections.push(Packet::new(&cut).unwrap(), &mut |_| panic!("half a table"));
        let mut out = Vec::new();
        let step = PsiStep { last_sent: Some(9), next: Some(next) };
        write_psi_stepped(&mut out, &psi, 64, &mut |_| step);
        let mut count = 0;
        let packets = Packets::new_checked(&out).unwrap();
        for packet in packets.iter().filter(|packet| packet.pid() == PMT_PID) {
            sections.push(packet, &mut |_| count += 1);
        }
        assert!(count > 0);
        assert_eq!(sections.bad_sections(), 0, "next {next}");
    }
}

proptest! {
    #[test]
    fn a_jump_is_continuous_on_every_pid(
        pmt_packets in 1usize..4,
        last in proptest::collection::vec(0u8..16, 4),
        next in proptest::collection::vec(0u8..16, 4),
    ) {
        let psi = psi(pmt_packets);
        let pids = [0, PMT_PID, VIDEO_PID, AUDIO_PID];
        let (mut last_sent, mut following) = (CounterTable::new(), CounterTable::new());
        for (index, pid) in pids.into_iter().enumerate() {
            last_sent.set(pid, last[index]);
            following.set(pid, next[index]);
        }
        let mut out = Vec::new();
        write_jump(&mut out, &Jump {
            psi: &psi,
            pcr_pid: Some(VIDEO_PID),
            last_sent: &last_sent,
            following: &following,
            packets_max: 64,
        });
        let packets = Packets::new_checked(&out).unwrap();
        prop_assert!(packets.len() <= 64);
        let mut counters: BTreeMap<u16, u8> = pids.into_iter().zip(last).collect();
        let mut tracker = PsiTracker::new();
        for packet in packets.iter() {
            if packet.has_payload() {
                prop_assert!(follows(counters[&packet.pid()], packet.cc()));
            } else {
                prop_assert!(packet.discontinuity() && !psi.contains(packet.pid()));
            }
            counters.insert(packet.pid(), packet.cc());
            tracker.push(packet);
        }
        for (pid, next) in pids.into_iter().zip(next) {
            prop_assert!(follows(counters[&pid], next), "PID {pid:#x}");
        }
        // Whoever knew nothing before knows all of it now, and the clock's mark leads.
        prop_assert_eq!(tracker.psi().unwrap().pmts(), psi.pmts());
        let first_mark = packets.iter().find(|packet| !packet.has_payload());
        prop_assert_eq!(first_mark.map(|packet| packet.pid()), Some(VIDEO_PID));
    }
}
