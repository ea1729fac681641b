//! The signed source: a valid MPEG-TS in which every packet can be made again from its index.
//!
//! The stream is a pure function `packet(index)` of (config, index). It is cut into frames of
//! 40 ms; frame `f` begins at packet `ceil(f × bitrate / 37 600)` (a packet is 1 504 bits, 40 ms
//! are a 25th of a second), so the rate is exact over any time. A frame is
//!
//! ```text
//! [PAT PMT]  V V V … V  [N]  A A        PAT and PMT in every even frame of a GOP
//! ```
//! V: one access unit in one PES, PCR in its first packet and halfway. A: one PES with the one or
//! two AAC frames that begin in these 40 ms. N: one null packet in each GOP's second frame.
//! Without video the frame is `[PAT PMT] A A N N …`, the PCR on the audio.
//!
//! Every V, A and N carries a signature (`signature`). Continuity counters follow from counting
//! the packets of a PID before the frame, which has a closed form.

mod codec;
pub(crate) mod signature;
#[cfg(test)]
mod tests;

pub use signature::Signature;

use super::Media;
use super::Segment;
use super::ts;
use super::ts::AUDIO_PID;
use super::ts::NULL_PID;
use super::ts::PACKET_BYTES;
use super::ts::PAT_PID;
use super::ts::PMT_PID;
use super::ts::Packet;
use super::ts::VIDEO_PID;
use crate::prng::mix;
use signature::SIGNATURE_AT;

const PACKET_BITS: u64 = PACKET_BYTES as u64 * 8;
/// 1 504 bits × 1 000 000 µs.
const PACKET_BIT_US: u64 = PACKET_BITS * 1_000_000;
const FRAME_US: u64 = 40_000;
/// Packets per frame = bitrate / this.
const FRAME_DIVISOR: u64 = PACKET_BITS * 25;
const FRAME_90K: u64 = 3_600;
/// Decoding begins this long after a frame's first packet: its last one comes 40 ms later.
const DELAY_90K: u64 = 45_000;
const AAC_FRAME_90K: u64 = 1_920;
const AUDIO_PACKETS: u64 = 2;
const ADAPTATION_BYTES: usize = 8;

/// The video codec of a signed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Video {
    H264,
    Hevc,
    Mpeg2,
    /// Audio only.
    None,
}

impl Video {
    pub const ALL: [Video; 4] = [Video::H264, Video::Hevc, Video::Mpeg2, Video::None];

    pub fn name(self) -> &'static str {
        match self {
            Video::H264 => "h264",
            Video::Hevc => "hevc",
            Video::Mpeg2 => "mpeg2",
            Video::None => "none",
        }
    }

    pub fn from_name(name: &str) -> Option<Video> {
        Video::ALL.into_iter().find(|video| video.name() == name)
    }

    fn code(self) -> u8 {
        match self {
            Video::H264 => 0,
            Video::Hevc => 1,
            Video::Mpeg2 => 2,
            Video::None => 3,
        }
    }

    fn from_code(code: u8) -> Option<Video> {
        Video::ALL.into_iter().find(|video| video.code() == code)
    }
}

/// Everything a signed stream depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedConfig {
    /// Tells streams apart.
    pub tag: u32,
    pub bitrate_bps: u64,
    /// Rounded down to whole frames of 40 ms.
    pub gop_ms: u64,
    pub video: Video,
    /// PCR of packet 0, in units of 90 kHz: for tests of the 33-bit wrap.
    pub clock_start_90k: u64,
    /// When packet 0 begins, µs since 1970.
    pub epoch_us: u64,
}

impl Default for SignedConfig {
    fn default() -> SignedConfig {
        SignedConfig {
            tag: 1,
            bitrate_bps: 8_000_000,
            gop_ms: 2_000,
            video: Video::H264,
            clock_start_90k: 0,
            epoch_us: 0,
        }
    }
}

impl SignedConfig {
    /// The frames of a GOP.
    pub fn gop_frames(&self) -> u64 {
        (self.gop_ms / 40).max(1)
    }

    /// Says what is wrong with a configuration.
    pub fn check(&self) -> Result<(), String> {
        let least = if self.video == Video::None { 4 } else { 6 } * FRAME_DIVISOR;
        if self.bitrate_bps < least || self.bitrate_bps > u64::from(u32::MAX) {
            return Err(format!("bitrate {} is not in {least}..=2^32-1", self.bitrate_bps));
        }
        if self.gop_frames() >= 1 << 14 || self.clock_start_90k > ts::CLOCK_90K_MASK {
            return Err("GOP or clock start too large".to_owned());
        }
        Ok(())
    }

    /// How many packets are complete `elapsed_us` after the epoch.
    pub fn packets_until(&self, elapsed_us: u64) -> u64 {
        (u128::from(elapsed_us) * u128::from(self.bitrate_bps) / u128::from(PACKET_BIT_US)) as u64
    }

    /// When packet `index` is complete, in µs after the epoch.
    pub fn emission_offset_us(&self, index: u64) -> u64 {
        let bits = (u128::from(index) + 1) * u128::from(PACKET_BIT_US);
        bits.div_ceil(u128::from(self.bitrate_bps)) as u64
    }
}

/// Where a frame lies and what came before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    number: u64,
    in_gop: u64,
    first: u64,
    packets: u64,
    /// Packets of this frame: PAT and PMT together, then video, then nulls; audio is the rest.
    psi: u64,
    video: u64,
    nulls: u64,
    psi_before: u64,
    video_before: u64,
    /// The emission of the first packet, µs after the epoch: quotient and remainder of a division
    /// by the bitrate, so that the other packets need no wide arithmetic.
    emission_us: u64,
    emission_rest: u64,
}

impl Frame {
    pub(crate) fn contains(&self, index: u64) -> bool {
        index.wrapping_sub(self.first) < self.packets
    }
}

/// A signed stream, ready to write any of its packets.
#[derive(Clone, Debug)]
pub struct Signed {
    config: SignedConfig,
    gop_frames: u64,
    null_per_gop: bool,
    fixed: [u8; 22],
    pat: Packet,
    pmt: Packet,
}

impl Signed {
    pub fn new(config: SignedConfig) -> Result<Signed, String> {
        config.check()?;
        let streams = codec::streams(config.video);
        let pmt = ts::pmt_section(streams[0].1, &streams);
        Ok(Signed {
            config,
            gop_frames: config.gop_frames(),
            null_per_gop: config.bitrate_bps >= 8 * FRAME_DIVISOR && config.gop_frames() > 1,
            fixed: signature::fixed_part(&config),
            pat: ts::psi_packet(PAT_PID, &ts::pat_section()),
            pmt: ts::psi_packet(PMT_PID, &pmt),
        })
    }

    pub fn config(&self) -> &SignedConfig {
        &self.config
    }

    /// Packet `index` of the stream.
    pub fn packet(&self, index: u64) -> Packet {
        let mut packet = [0_u8; PACKET_BYTES];
        self.write(&self.frame_at(index), index, &mut packet);
        packet
    }

    /// The signature of any packet, if it has an intact one.
    pub fn signature(packet: &Packet) -> Option<Signature> {
        signature::read(packet)
    }

    /// Whether packet `index` begins an access unit at which a decoder may start.
    pub fn is_access_point(&self, index: u64) -> bool {
        let frame = self.frame_at(index);
        (frame.in_gop == 0 || self.audio_only()) && index == frame.first + frame.psi
    }

    /// Whether a packet is this stream's PAT or PMT, whatever its counter.
    pub(crate) fn is_table(&self, packet: &Packet) -> bool {
        let table = if ts::pid_of(packet) == PAT_PID { &self.pat } else { &self.pmt };
        packet[..3] == table[..3] && packet[3] & 0xf0 == 0x10 && packet[4..] == table[4..]
    }

    /// The PIDs with a signature, the one with the PCR first.
    pub(crate) fn media_pids(&self) -> &'static [u16] {
        if self.audio_only() { &[AUDIO_PID] } else { &[VIDEO_PID, AUDIO_PID] }
    }

    fn audio_only(&self) -> bool {
        self.config.video == Video::None
    }

    fn frame_first(&self, number: u64) -> u64 {
        (number * self.config.bitrate_bps).div_ceil(FRAME_DIVISOR)
    }

    pub(crate) fn frame_at(&self, index: u64) -> Frame {
        self.frame(index * FRAME_DIVISOR / self.config.bitrate_bps)
    }

    pub(crate) fn frame_after(&self, frame: &Frame) -> Frame {
        self.frame(frame.number + 1)
    }

    fn frame(&self, number: u64) -> Frame {
        let (gop, in_gop) = (number / self.gop_frames, number % self.gop_frames);
        let first = self.frame_first(number);
        let packets = self.frame_first(number + 1) - first;
        let psi = if in_gop % 2 == 0 { 2 } else { 0 };
        let bitrate = u128::from(self.config.bitrate_bps);
        let emission = (u128::from(first) + 1) * u128::from(PACKET_BIT_US);
        let psi_before = gop * self.gop_frames.div_ceil(2) + in_gop.div_ceil(2);
        let mut frame = Frame {
            number,
            in_gop,
            first,
            packets,
            psi,
            video: 0,
            nulls: packets - psi - AUDIO_PACKETS,
            psi_before,
            video_before: 0,
            emission_us: (emission / bitrate) as u64,
            emission_rest: (emission % bitrate) as u64,
        };
        if !self.audio_only() {
            let nulls_before = if self.null_per_gop { gop + u64::from(in_gop > 1) } else { 0 };
            frame.nulls = u64::from(self.null_per_gop && in_gop == 1);
            frame.video = packets - psi - AUDIO_PACKETS - frame.nulls;
            frame.video_before = first - 2 * psi_before - AUDIO_PACKETS * number - nulls_before;
        }
        frame
    }

    /// Writes packet `index`, which lies in `frame`.
    pub(crate) fn write(&self, frame: &Frame, index: u64, out: &mut Packet) {
        let at = index - frame.first;
        if at < frame.psi {
            *out = if at == 0 { self.pat } else { self.pmt };
            out[3] |= (frame.psi_before & 0x0f) as u8;
            return;
        }
        let at = at - frame.psi;
        let (audio_at, null_at) = if self.audio_only() {
            (0, AUDIO_PACKETS)
        } else {
            (frame.video + frame.nulls, frame.video)
        };
        let payload = if (audio_at..audio_at + AUDIO_PACKETS).contains(&at) {
            self.write_audio(frame, index, at - audio_at, out)
        } else if (null_at..null_at + frame.nulls).contains(&at) {
            out[..4].copy_from_slice(&ts::header(NULL_PID, false, 1, 0));
            4
        } else {
            self.write_video(frame, index, at, out)
        };
        self.fill_up(index, payload, out);
        let audio = ts::pid_of(out) == AUDIO_PID;
        out[PACKET_BYTES - 1] = if audio { codec::AUDIO_END } else { codec::VIDEO_END };
        let since_first = frame.emission_rest + (index - frame.first) * PACKET_BIT_US;
        let offset_us = frame.emission_us + since_first.div_ceil(self.config.bitrate_bps);
        let emission_us = self.config.epoch_us + offset_us;
        signature::sign(out, &self.fixed, index, emission_us);
    }

    fn write_video(&self, frame: &Frame, index: u64, part: u64, out: &mut Packet) -> usize {
        let counter = (frame.video_before + part) as u8;
        let halfway = part == frame.video / 2 && frame.video >= 12;
        if part > 0 && !halfway {
            out[..4].copy_from_slice(&ts::header(VIDEO_PID, false, 1, counter));
            return 4;
        }
        out[..4].copy_from_slice(&ts::header(VIDEO_PID, part == 0, 3, counter));
        let mut at = 4 + self.write_clock(index, part == 0 && frame.in_gop == 0, &mut out[4..]);
        if part == 0 {
            let pts = self.config.clock_start_90k + frame.number * FRAME_90K + DELAY_90K;
            at += put(&mut out[at..], &ts::pes_header(0xe0, 0, pts));
            at += put(&mut out[at..], &codec::access_unit(self.config.video, frame.in_gop));
            assert!(at <= SIGNATURE_AT, "an access unit's headers fit in a packet");
        }
        at
    }

    fn write_audio(&self, frame: &Frame, index: u64, part: u64, out: &mut Packet) -> usize {
        let counter = (AUDIO_PACKETS * frame.number + part) as u8;
        // 15 AAC frames of 1 024 samples last as long as 8 video frames.
        let (first, next) = (frame.number * 15 / 8, (frame.number + 1) * 15 / 8);
        let clocked = self.audio_only();
        let first_packet = 184 - 14 - if clocked { ADAPTATION_BYTES } else { 0 };
        if part == 1 {
            out[..4].copy_from_slice(&ts::header(AUDIO_PID, false, 1, counter));
            if next - first == 1 {
                return 4;
            }
            return 4 + put(&mut out[4..], &codec::aac_frame(184));
        }
        let mut at = 4;
        out[..4].copy_from_slice(&ts::header(
            AUDIO_PID,
            true,
            if clocked { 3 } else { 1 },
            counter,
        ));
        if clocked {
            at += self.write_clock(index, frame.in_gop == 0, &mut out[at..]);
        }
        let pts = self.config.clock_start_90k + first * AAC_FRAME_90K + DELAY_90K;
        at += put(&mut out[at..], &ts::pes_header(0xc0, first_packet + 184, pts));
        let frame_bytes = if next - first == 1 { first_packet + 184 } else { first_packet };
        at + put(&mut out[at..], &codec::aac_frame(frame_bytes))
    }

    /// An adaptation field of 8 bytes with the PCR of packet `index`.
    fn write_clock(&self, index: u64, access_point: bool, out: &mut [u8]) -> usize {
        let bits_27m = u128::from(index) * u128::from(PACKET_BITS * 27_000_000);
        let since = (bits_27m / u128::from(self.config.bitrate_bps)) as u64;
        out[0] = ADAPTATION_BYTES as u8 - 1;
        out[1] = 0x10 | (u8::from(access_point) << 6);
        out[2..8].copy_from_slice(&ts::pcr_field(self.config.clock_start_90k * 300 + since));
        ADAPTATION_BYTES
    }

    /// Filler up to the signature: bytes 0x40..=0x7f, so neither a start code nor an audio sync
    /// word, but now and then a 0x47.
    fn fill_up(&self, index: u64, from: usize, out: &mut Packet) {
        let mut seed = mix((u64::from(self.config.tag) << 40) ^ index);
        for eight in out[from..SIGNATURE_AT].chunks_mut(8) {
            seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (seed >> 29);
            let bytes = ((seed & 0x3f3f_3f3f_3f3f_3f3f) | 0x4040_4040_4040_4040).to_le_bytes();
            eight.copy_from_slice(&bytes[..eight.len()]);
        }
    }

    fn segment_gops(&self) -> u64 {
        (6_000 / (self.gop_frames * 40)).max(1)
    }
}

impl Media for Signed {
    fn packets_until(&self, elapsed_us: u64) -> u64 {
        self.config.packets_until(elapsed_us)
    }

    fn emission_us(&self, index: u64) -> u64 {
        self.config.emission_offset_us(index)
    }

    fn fill(&self, first: u64, out: &mut [u8]) {
        let mut frame = self.frame_at(first);
        let (packets, rest) = out.as_chunks_mut::<PACKET_BYTES>();
        assert!(rest.is_empty(), "whole packets");
        for (index, packet) in (first..).zip(packets) {
            if !frame.contains(index) {
                frame = self.frame_after(&frame);
            }
            self.write(&frame, index, packet);
        }
    }

    fn bitrate_bps(&self) -> u64 {
        self.config.bitrate_bps
    }

    fn segment(&self, number: u64) -> Segment {
        let frames = self.segment_gops() * self.gop_frames;
        let first = self.frame_first(number * frames);
        let packets = self.frame_first((number + 1) * frames) - first;
        Segment { first, packets, duration_us: frames * FRAME_US }
    }
}

fn put(out: &mut [u8], bytes: &[u8]) -> usize {
    out[..bytes.len()].copy_from_slice(bytes);
    bytes.len()
}
