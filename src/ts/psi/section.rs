//! Sections: out of the packets of one PID, and back into packets.
//!
//! A section that the assembler gives out is whole and its CRC is right. Longer ones than a PAT or
//! a PMT may be are dropped.

use crate::ts::packet::PACKET_BYTES;
use crate::ts::packet::Packet;
use crate::ts::packet::SYNC_BYTE;

/// Header of 3 bytes and at most 1 021 after it: the limit of PAT and PMT.
pub const SECTION_BYTES_MAX: usize = 1024;
/// Bytes before the length field ends.
const LENGTH_END: usize = 3;
/// The shortest section with the long syntax: 8 bytes of header and 4 of CRC.
const SECTION_BYTES_MIN: usize = 12;
/// A table id that means that only stuffing follows in this packet.
const STUFFING: u8 = 0xFF;

/// Puts the sections of one PID together.
#[derive(Clone, Debug)]
pub struct SectionAssembler {
    bytes: [u8; SECTION_BYTES_MAX],
    filled: usize,
    /// A section has begun; without it what comes belongs to one whose start was not seen.
    collecting: bool,
    last_cc: Option<u8>,
    bad_sections: u64,
}

impl SectionAssembler {
    /// Waiting for the start of a section.
    pub fn new() -> SectionAssembler {
        SectionAssembler {
            bytes: [0; SECTION_BYTES_MAX],
            filled: 0,
            collecting: false,
            last_cc: None,
            bad_sections: 0,
        }
    }

    /// Takes the next packet of the PID and gives every section that it completes to `sink`.
    pub fn push(&mut self, packet: Packet<'_>, sink: &mut impl FnMut(&[u8])) {
        if !packet.has_payload() || packet.tei() || packet.scrambling() != 0 {
            return;
        }
        let last_cc = self.last_cc.replace(packet.cc());
        if last_cc == Some(packet.cc()) && !packet.discontinuity() {
            return;
        }
        if last_cc.is_some_and(|cc| (cc + 1) & 0x0F != packet.cc()) {
            self.collecting = false;
        }
        let payload = packet.payload();
        if !packet.pusi() {
            self.extend(payload, sink);
            return;
        }
        let Some((&pointer, payload)) = payload.split_first() else {
            return;
        };
        let Some((before, mut rest)) = payload.split_at_checked(usize::from(pointer)) else {
            self.collecting = false;
            return;
        };
        self.extend(before, sink);
        while rest.first().is_some_and(|table_id| *table_id != STUFFING) {
            self.filled = 0;
            self.collecting = true;
            rest = self.extend(rest, sink);
        }
    }

    /// What follows is no continuation.
    pub fn reset(&mut self) {
        self.collecting = false;
        self.last_cc = None;
    }

    /// Sections dropped for their length or their CRC.
    pub fn bad_sections(&self) -> u64 {
        self.bad_sections
    }

    /// Adds to the section being collected; what is left when it is complete.
    fn extend<'a>(&mut self, payload: &'a [u8], sink: &mut impl FnMut(&[u8])) -> &'a [u8] {
        let mut rest = payload;
        if self.collecting && self.filled < LENGTH_END {
            rest = self.fill(rest, LENGTH_END);
        }
        if !self.collecting || self.filled < LENGTH_END {
            return &[];
        }
        let length = usize::from(u16::from_be_bytes([self.bytes[1] & 0x0F, self.bytes[2]]));
        let total = LENGTH_END + length;
        if !(SECTION_BYTES_MIN..=SECTION_BYTES_MAX).contains(&total) {
            self.collecting = false;
            self.bad_sections += 1;
            return rest.get(length..).unwrap_or(&[]);
        }
        rest = self.fill(rest, total);
        if self.filled == total {
            self.collecting = false;
            let section = &self.bytes[..total];
            if crc32(section) == 0 {
                sink(section);
            } else {
                self.bad_sections += 1;
            }
        }
        rest
    }

    fn fill<'a>(&mut self, payload: &'a [u8], until: usize) -> &'a [u8] {
        let (taken, rest) = payload.split_at(payload.len().min(until - self.filled));
        self.bytes[self.filled..self.filled + taken.len()].copy_from_slice(taken);
        self.filled += taken.len();
        rest
    }
}

impl Default for SectionAssembler {
    fn default() -> SectionAssembler {
        SectionAssembler::new()
    }
}

/// Cuts one section into packets that begin with it, counters from zero.
pub fn packetise(out: &mut Vec<[u8; PACKET_BYTES]>, pid: u16, section: &[u8]) {
    // The pointer field stands before the section and takes a byte of the first payload.
    let mut payload = Vec::with_capacity(1 + section.len());
    payload.push(0);
    payload.extend_from_slice(section);
    for (index, part) in payload.chunks(PACKET_BYTES - 4).enumerate() {
        let mut packet = [0xFF; PACKET_BYTES];
        packet[0] = SYNC_BYTE;
        packet[1] = (pid >> 8) as u8 & 0x1F | if index == 0 { 0x40 } else { 0 };
        packet[2] = (pid & 0xFF) as u8;
        packet[3] = 0x10 | (index & 0x0F) as u8;
        packet[4..4 + part.len()].copy_from_slice(part);
        out.push(packet);
    }
}

/// The CRC of MPEG-2 sections; zero over a section that ends with its own.
pub fn crc32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(u32::MAX, |crc, byte| crc << 8 ^ CRC_TABLE[usize::from((crc >> 24) as u8 ^ byte)])
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};
