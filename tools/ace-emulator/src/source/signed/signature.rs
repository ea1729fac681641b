//! The signature, one byte before the end of every video, audio and null packet of a signed stream.
//!
//! ```text
//! 0  magic          4
//! 4  kind           1   video codec
//! 5  tag            5   u32
//! 10 bitrate        5   u32, bits per second
//! 15 GOP            2   frames of 40 ms
//! 17 clock start    5   33 bits of 90 kHz
//! 22 index          9   packet index in the stream
//! 31 emission       9   µs since 1970 at which the packet is complete
//! 40 CRC32          5   of everything before it in the packet
//! ```
//! Numbers are written seven bits at a time, each plus one: bytes 0x01..=0x80, hence never a
//! start code and never an audio sync word.

use super::SignedConfig;
use super::Video;
use crate::source::ts::PACKET_BYTES;

pub(crate) const SIGNATURE_BYTES: usize = 45;
pub(crate) const SIGNATURE_AT: usize = PACKET_BYTES - 1 - SIGNATURE_BYTES;
const CRC_AT: usize = PACKET_BYTES - 1 - 5;
const CRC_END: usize = CRC_AT + 5;
/// 200 years at 4 Gbit/s; beyond it the arithmetic would not fit in 64 bits.
const INDEX_MAX: u64 = 1 << 44;
const FIXED_BYTES: usize = 22;
const MAGIC: [u8; 4] = *b"RcS1";

/// What a packet says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    pub config: SignedConfig,
    pub index: u64,
    pub emission_us: u64,
}

/// The part that is the same in every packet of a stream.
pub(crate) fn fixed_part(config: &SignedConfig) -> [u8; FIXED_BYTES] {
    let mut bytes = [0_u8; FIXED_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4] = 1 + config.video.code();
    put(&mut bytes[5..10], u64::from(config.tag));
    put(&mut bytes[10..15], config.bitrate_bps);
    put(&mut bytes[15..17], config.gop_frames());
    put(&mut bytes[17..22], config.clock_start_90k);
    bytes
}

/// Signs a packet whose other bytes are final.
pub(crate) fn sign(
    packet: &mut [u8; PACKET_BYTES],
    fixed: &[u8; FIXED_BYTES],
    index: u64,
    emission_us: u64,
) {
    packet[SIGNATURE_AT..SIGNATURE_AT + FIXED_BYTES].copy_from_slice(fixed);
    put(&mut packet[SIGNATURE_AT + 22..SIGNATURE_AT + 31], index);
    put(&mut packet[SIGNATURE_AT + 31..SIGNATURE_AT + 40], emission_us);
    let crc = crc32fast::hash(&packet[..CRC_AT]);
    put(&mut packet[CRC_AT..CRC_END], u64::from(crc));
}

/// The signature of a packet, if it has an intact one.
pub(crate) fn read(packet: &[u8; PACKET_BYTES]) -> Option<Signature> {
    let bytes = &packet[SIGNATURE_AT..];
    if bytes[..4] != MAGIC
        || get(&packet[CRC_AT..CRC_END]) != u64::from(crc32fast::hash(&packet[..CRC_AT]))
    {
        return None;
    }
    let emission_us = get(&bytes[31..40]);
    let mut config = SignedConfig {
        tag: get(&bytes[5..10]) as u32,
        bitrate_bps: get(&bytes[10..15]),
        gop_ms: get(&bytes[15..17]) * 40,
        video: Video::from_code(bytes[4].wrapping_sub(1))?,
        clock_start_90k: get(&bytes[17..22]),
        epoch_us: 0,
    };
    config.check().ok()?;
    let index = get(&bytes[22..31]);
    if index > INDEX_MAX {
        return None;
    }
    config.epoch_us = emission_us.checked_sub(config.emission_offset_us(index))?;
    Some(Signature { config, index, emission_us })
}

/// The emission time alone, from a packet that is known to be good.
pub(crate) fn emission_us(packet: &[u8; PACKET_BYTES]) -> u64 {
    get(&packet[SIGNATURE_AT + 31..SIGNATURE_AT + 40])
}

fn put(out: &mut [u8], value: u64) {
    let mut rest = value;
    for byte in out.iter_mut().rev() {
        *byte = (rest & 0x7f) as u8 + 1;
        rest >>= 7;
    }
}

fn get(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| (value << 7) | u64::from(byte.wrapping_sub(1) & 0x7f))
}
