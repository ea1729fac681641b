//! Streams built in code: tables, PES packets of any size, clocks.
//!
//! Writes what a broadcaster would, one packet after the other, and keeps the counters. Independent
//! of the parsers under test but for the CRC, which has its own known answer.

use std::collections::BTreeMap;

use crate::ts::packet::PACKET_BYTES;
use crate::ts::packet::Packets;
use crate::ts::psi::crc32;

pub(super) const PMT_PID: u16 = 0x1000;
pub(super) const VIDEO_PID: u16 = 0x100;
pub(super) const AUDIO_PID: u16 = 0x101;

/// A section with the long syntax and its CRC.
pub(super) fn section(table_id: u8, extension: u16, version: u8, body: &[u8]) -> Vec<u8> {
    let length = 5 + body.len() + 4;
    let mut section = vec![table_id, 0xB0 | (length >> 8) as u8, length as u8];
    section.extend_from_slice(&extension.to_be_bytes());
    section.extend_from_slice(&[0xC1 | version << 1, 0, 0]);
    section.extend_from_slice(body);
    let crc = crc32(&section);
    section.extend_from_slice(&crc.to_be_bytes());
    section
}

pub(super) fn pat(version: u8, programs: &[(u16, u16)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (number, pid) in programs {
        body.extend_from_slice(&number.to_be_bytes());
        body.extend_from_slice(&(pid | 0xE000).to_be_bytes());
    }
    section(0x00, 1, version, &body)
}

/// Streams are `(stream_type, pid, descriptors)`.
pub(super) fn pmt(
    version: u8,
    program: u16,
    pcr_pid: u16,
    streams: &[(u8, u16, &[u8])],
) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&(pcr_pid | 0xE000).to_be_bytes());
    body.extend_from_slice(&[0xF0, 0]);
    for (stream_type, pid, descriptors) in streams {
        body.push(*stream_type);
        body.extend_from_slice(&(pid | 0xE000).to_be_bytes());
        body.extend_from_slice(&(descriptors.len() as u16 | 0xF000).to_be_bytes());
        body.extend_from_slice(descriptors);
    }
    section(0x02, program, version, &body)
}

pub(super) fn h264_pmt() -> Vec<u8> {
    pmt(0, 1, VIDEO_PID, &[(0x1B, VIDEO_PID, &[]), (0x0F, AUDIO_PID, &[])])
}

/// What the first packet of a PES packet says besides its payload.
#[derive(Clone, Copy, Default)]
pub(super) struct Start {
    pub(super) rai: bool,
    pub(super) pcr: Option<u64>,
    pub(super) discontinuity: bool,
    pub(super) scrambled: bool,
}

/// A stream being written.
#[derive(Default)]
pub(super) struct Generator {
    pub(super) bytes: Vec<u8>,
    next_cc: BTreeMap<u16, u8>,
}

impl Generator {
    /// Begins with the tables of one H.264 and AAC program.
    pub(super) fn h264() -> Generator {
        let mut generator = Generator::default();
        generator.tables(&h264_pmt());
        generator
    }

    pub(super) fn tables(&mut self, pmt: &[u8]) {
        self.section(0, &pat(0, &[(1, PMT_PID)]));
        self.section(PMT_PID, pmt);
    }

    pub(super) fn offset(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn packets(&self) -> Packets<'_> {
        Packets::new_checked(&self.bytes).unwrap()
    }

    pub(super) fn set_next_cc(&mut self, pid: u16, cc: u8) {
        self.next_cc.insert(pid, cc);
    }

    pub(super) fn section(&mut self, pid: u16, section: &[u8]) {
        let mut payload = vec![0];
        payload.extend_from_slice(section);
        self.section_payload(pid, &payload);
    }

    /// `payload` begins with the pointer field.
    pub(super) fn section_payload(&mut self, pid: u16, payload: &[u8]) {
        for (index, part) in payload.chunks(184).enumerate() {
            let mut part = part.to_vec();
            part.resize(184, 0xFF);
            self.raw(pid, index == 0, &[], &part);
        }
    }

    /// One PES packet; where it started.
    pub(super) fn pes(&mut self, pid: u16, start: Start, elementary: &[u8]) -> u64 {
        let stream_id = if pid == AUDIO_PID { 0xC0 } else { 0xE0 };
        let mut pes = vec![0, 0, 1, stream_id, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1];
        pes.extend_from_slice(elementary);
        self.pes_bytes(pid, start, &pes)
    }

    /// The same with the PES header in the caller's hand.
    pub(super) fn pes_bytes(&mut self, pid: u16, start: Start, pes: &[u8]) -> u64 {
        let offset = self.offset();
        let mut field = Vec::new();
        if start.rai || start.pcr.is_some() || start.discontinuity {
            field.push(
                u8::from(start.discontinuity) << 7
                    | u8::from(start.rai) << 6
                    | u8::from(start.pcr.is_some()) << 4,
            );
            field.extend(start.pcr.into_iter().flat_map(pcr_bytes));
        }
        let mut rest = pes;
        let mut first = true;
        while first || !rest.is_empty() {
            let overhead = if field.is_empty() { 0 } else { 1 + field.len() };
            let (part, after) = rest.split_at(rest.len().min(184 - overhead));
            self.raw(pid, first, &field, part);
            if start.scrambled {
                let header = self.bytes.len() - PACKET_BYTES + 3;
                self.bytes[header] |= 0x80;
            }
            field.clear();
            rest = after;
            first = false;
        }
        offset
    }

    /// One packet; a short payload is made up for by stuffing in the adaptation field.
    pub(super) fn raw(&mut self, pid: u16, pusi: bool, field: &[u8], payload: &[u8]) {
        let cc = self.next_cc.entry(pid).or_default();
        let mut packet = vec![0x47, (pid >> 8) as u8 | u8::from(pusi) << 6, pid as u8, *cc];
        *cc = (*cc + 1) & 0x0F;
        packet[3] |= 0x10;
        let room = 184 - payload.len();
        if room > 0 {
            packet[3] |= 0x20;
            packet.push(room as u8 - 1);
            if room > 1 && field.is_empty() {
                packet.push(0);
            }
            packet.extend_from_slice(field);
            packet.resize(4 + room, 0xFF);
        }
        packet.extend_from_slice(payload);
        assert_eq!(packet.len(), PACKET_BYTES);
        self.bytes.extend_from_slice(&packet);
    }

    /// A packet that carries nothing but a clock reference.
    pub(super) fn pcr(&mut self, pid: u16, pcr: u64) {
        let cc = self.next_cc.get(&pid).map_or(15, |next| next.wrapping_sub(1) & 0x0F);
        let mut packet = [0xFF; PACKET_BYTES];
        packet[..6].copy_from_slice(&[0x47, (pid >> 8) as u8, pid as u8, 0x20 | cc, 183, 0x10]);
        packet[6..12].copy_from_slice(&pcr_bytes(pcr));
        self.bytes.extend_from_slice(&packet);
    }
}

fn pcr_bytes(pcr: u64) -> [u8; 6] {
    let (base, extension) = (pcr / 300, pcr % 300);
    let bits = base << 15 | 0x3F << 9 | extension;
    let [_, _, bytes @ ..] = bits.to_be_bytes();
    bytes
}

/// An H.264 access unit of these NAL units, each a header byte and its body.
pub(super) fn h264_unit(units: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for unit in units {
        bytes.extend_from_slice(&[0, 0, 0, 1]);
        bytes.extend_from_slice(unit);
    }
    bytes
}

pub(super) const AUD: &[u8] = &[0x09, 0xF0];
pub(super) const SPS: &[u8] = &[0x67, 0x64, 0x00, 0x28, 0xAC, 0xB4];
pub(super) const PPS: &[u8] = &[0x68, 0xEE, 0x3C, 0x80];
pub(super) const SEI_RECOVERY: &[u8] = &[0x06, 0x06, 0x01, 0xC4, 0x80];
pub(super) const IDR: &[u8] = &[0x65, 0x88, 0x84, 0x11, 0x22, 0x33];
pub(super) const SLICE: &[u8] = &[0x41, 0x9A, 0x24, 0x6C, 0x41];

pub(super) fn keyframe(body_bytes: usize) -> Vec<u8> {
    let mut unit = h264_unit(&[AUD, SPS, PPS, IDR]);
    unit.resize(unit.len() + body_bytes, 0x5A);
    unit
}

pub(super) fn interframe(body_bytes: usize) -> Vec<u8> {
    let mut unit = h264_unit(&[AUD, SLICE]);
    unit.resize(unit.len() + body_bytes, 0xA5);
    unit
}
