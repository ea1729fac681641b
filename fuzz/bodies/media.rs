//! Bytes as an engine may send them: alignment, tables, access points.

use ringcast::ts::PACKET_BYTES;
use ringcast::ts::Packet;
use ringcast::ts::Packets;
use ringcast::ts::Scanner;
use ringcast::ts::Sync;
use ringcast::ts::psi::PsiTracker;
use ringcast::ts::psi::SectionAssembler;

/// What is delivered is whole packets, the same for every cut, and the scanner takes any of them.
pub(crate) fn ts_sync_scan(data: &[u8]) {
    let Some((how, data)) = data.split_first() else { return };
    let whole = aligned(data, data.len().max(1));
    let cut = aligned(data, 1 + usize::from(*how) * 3);
    assert_eq!(whole, cut, "alignment depends on how the bytes were cut");
    let mut scanner = Scanner::new();
    let mut offset = 0;
    for part in whole.chunks(PACKET_BYTES * (1 + usize::from(how % 7))) {
        let packets = Packets::new_checked(part).expect("whole packets were delivered");
        let end = offset + part.len() as u64;
        scanner.scan(packets, offset, &mut |_event| {});
        offset = end;
        if how % 5 == 0 {
            scanner.splice();
        }
    }
    let counters = scanner.counters();
    assert_eq!(counters.packets, whole.len() as u64 / PACKET_BYTES as u64);
    for seen in scanner.pids() {
        assert!(seen.pid < 8_192 && seen.cc < 16);
    }
    let _ = (scanner.bitrate_bps(), scanner.media_us(), scanner.no_access_us());
}

fn aligned(data: &[u8], part: usize) -> Vec<u8> {
    let mut sync = Sync::new();
    let mut out = Vec::new();
    for part in data.chunks(part) {
        sync.feed(part, &mut |packets| {
            let bytes = packets.bytes();
            assert!(!bytes.is_empty() && bytes.len().is_multiple_of(PACKET_BYTES));
            assert!(bytes.iter().step_by(PACKET_BYTES).all(|byte| *byte == 0x47));
            out.extend_from_slice(bytes);
        });
    }
    // In doubt, which needs a byte more: the places of three packets.
    assert!(sync.carried_bytes() <= 3 * PACKET_BYTES);
    assert!(out.len() as u64 + sync.skipped_bytes() <= data.len() as u64);
    out
}

/// Packets of tables, their sync bytes put right so that more of them are looked at.
pub(crate) fn psi(data: &[u8]) {
    let mut tracker = PsiTracker::new();
    let mut sections = SectionAssembler::new();
    for part in data.chunks_exact(PACKET_BYTES) {
        let mut bytes: [u8; PACKET_BYTES] = part.try_into().expect("a packet's length");
        bytes[0] = 0x47;
        if let Some(packet) = Packet::new(&bytes) {
            push(&mut tracker, &mut sections, packet);
        }
    }
    if let Some(psi) = tracker.psi() {
        let mut out = Vec::new();
        let mut counters = std::collections::BTreeMap::new();
        psi.write(&mut out, &mut |pid| {
            let counter = counters.entry(pid).or_insert(14_u8);
            *counter = (*counter + 1) % 16;
            *counter
        });
        assert_eq!(out.len(), psi.packet_count() * PACKET_BYTES);
        let written = Packets::new_checked(&out).expect("whole packets are written");
        // What we write is read as what it was written from.
        let mut again = PsiTracker::new();
        for packet in written.iter() {
            again.push(packet);
        }
        let pids = |tracker: &PsiTracker| -> Vec<u16> {
            tracker.psi().map(|psi| psi.pids().collect()).unwrap_or_default()
        };
        assert_eq!(pids(&again), pids(&tracker));
    }
}

fn push(tracker: &mut PsiTracker, sections: &mut SectionAssembler, packet: Packet<'_>) {
    tracker.push(packet);
    sections.push(packet, &mut |section| assert!(section.len() <= 4_096));
}
