//! MPEG-TS building blocks: packet headers, PSI sections, PES headers, clock fields.

pub const PACKET_BYTES: usize = 188;
pub const PAT_PID: u16 = 0;
pub const PMT_PID: u16 = 0x1000;
pub const VIDEO_PID: u16 = 0x100;
pub const AUDIO_PID: u16 = 0x101;
pub const NULL_PID: u16 = 0x1fff;

/// A 33-bit clock of 90 kHz.
pub(crate) const CLOCK_90K_MASK: u64 = (1 << 33) - 1;

pub type Packet = [u8; PACKET_BYTES];

/// The four header bytes.
pub(crate) fn header(pid: u16, unit_start: bool, adaptation: u8, counter: u8) -> [u8; 4] {
    [
        0x47,
        (u8::from(unit_start) << 6) | (pid >> 8) as u8,
        pid as u8,
        (adaptation << 4) | (counter & 0x0f),
    ]
}

/// The 13-bit PID of a packet.
pub fn pid_of(packet: &[u8]) -> u16 {
    (u16::from(packet[1] & 0x1f) << 8) | u16::from(packet[2])
}

/// PCR field: 33 bits of 90 kHz, 6 reserved, 9 bits of 27 MHz.
pub(crate) fn pcr_field(clock_27m: u64) -> [u8; 6] {
    let base = (clock_27m / 300) & CLOCK_90K_MASK;
    let extension = clock_27m % 300;
    let field = (base << 15) | (0x3f << 9) | extension;
    let bytes = field.to_be_bytes();
    [bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]
}

/// PTS or DTS field: 33 bits in three marked parts after a 4-bit prefix.
pub(crate) fn timestamp_field(prefix: u8, clock_90k: u64) -> [u8; 5] {
    let clock = clock_90k & CLOCK_90K_MASK;
    [
        (prefix << 4) | ((clock >> 29) as u8 & 0x0e) | 1,
        (clock >> 22) as u8,
        ((clock >> 14) as u8 & 0xfe) | 1,
        (clock >> 7) as u8,
        ((clock << 1) as u8 & 0xfe) | 1,
    ]
}

/// A PES header with a PTS. `payload_bytes` 0 means unbounded (video only).
pub(crate) fn pes_header(stream_id: u8, payload_bytes: usize, pts_90k: u64) -> [u8; 14] {
    let length = if payload_bytes == 0 { 0 } else { payload_bytes + 8 };
    let pts = timestamp_field(2, pts_90k);
    [
        0,
        0,
        1,
        stream_id,
        (length >> 8) as u8,
        length as u8,
        0x84,
        0x80,
        5,
        pts[0],
        pts[1],
        pts[2],
        pts[3],
        pts[4],
    ]
}

/// One PSI section in one packet, counter 0.
pub(crate) fn psi_packet(pid: u16, section: &[u8]) -> Packet {
    let mut packet = [0xff_u8; PACKET_BYTES];
    packet[..4].copy_from_slice(&header(pid, true, 1, 0));
    packet[4] = 0;
    packet[5..5 + section.len()].copy_from_slice(section);
    packet
}

/// The PAT with one program whose PMT is on `PMT_PID`.
pub(crate) fn pat_section() -> Vec<u8> {
    let program = [0, 1, 0xe0 | (PMT_PID >> 8) as u8, PMT_PID as u8];
    section(0x00, 1, &program)
}

/// A PMT of (stream type, PID) pairs.
pub(crate) fn pmt_section(pcr_pid: u16, streams: &[(u8, u16)]) -> Vec<u8> {
    let mut body = vec![0xe0 | (pcr_pid >> 8) as u8, pcr_pid as u8, 0xf0, 0];
    for (stream_type, pid) in streams {
        body.extend_from_slice(&[*stream_type, 0xe0 | (pid >> 8) as u8, *pid as u8, 0xf0, 0]);
    }
    section(0x02, 1, &body)
}

fn section(table_id: u8, extension: u16, body: &[u8]) -> Vec<u8> {
    let length = 5 + body.len() + 4;
    let mut bytes = vec![
        table_id,
        0xb0 | (length >> 8) as u8,
        length as u8,
        (extension >> 8) as u8,
        extension as u8,
        0xc1,
        0,
        0,
    ];
    bytes.extend_from_slice(body);
    let crc = crc_mpeg(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// CRC-32/MPEG-2, bit by bit: sections are built once per stream.
pub(crate) fn crc_mpeg(bytes: &[u8]) -> u32 {
    let mut crc = 0xffff_ffff_u32;
    for byte in bytes {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = if crc & 0x8000_0000 != 0 { (crc << 1) ^ 0x04c1_1db7 } else { crc << 1 };
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_the_check_string() {
        assert_eq!(crc_mpeg(b"123456789"), 0x0376_e6e7);
    }

    #[test]
    fn timestamps_keep_33_bits() {
        assert_eq!(timestamp_field(2, 0x1_ffff_ffff), [0x2f, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(timestamp_field(2, 1 << 33), [0x21, 0, 1, 0, 1]);
        assert_eq!(pcr_field(300), [0, 0, 0, 0, 0xfe, 0]);
    }
}
