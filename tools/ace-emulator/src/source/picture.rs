//! The picture source: a real test card (`media/picture.ts`), looped without a seam.
//!
//! Loop `n` is the file with its clocks moved on by `n` × 24 s (33 bits, wrapping) and its
//! continuity counters moved on by `n` times the packets with payload of their PID. Packets are
//! paced by the file's PCRs. The file is ours, so a fault in it is a bug and panics.

use std::sync::Arc;
use std::sync::OnceLock;

use super::Media;
use super::Segment;
use super::ts;
use super::ts::CLOCK_90K_MASK;
use super::ts::PACKET_BYTES;
use super::ts::PAT_PID;
use super::ts::Packet;
use super::ts::VIDEO_PID;
use super::ts::pid_of;

static FILE: &[u8] = include_bytes!("../../media/picture.ts");

const LOOP_90K: u64 = 24 * 90_000;
const LOOP_US: u64 = 24_000_000;
/// GOPs of 1 s.
const SEGMENT_GOPS: usize = 6;
const COUNTERS: u64 = 16;

/// The looped test card.
pub struct Picture {
    packets: &'static [Packet],
    restamps: Vec<Restamp>,
    /// When each packet is complete, µs after its loop began; never falling.
    emissions_us: Vec<u64>,
    /// First packets (PAT) of the segments, and the number of packets.
    segments: Vec<u64>,
}

/// What has to be changed in a packet of a later loop.
#[derive(Clone, Copy, Debug, Default)]
struct Restamp {
    /// Packets with payload of this PID in the whole loop, modulo 16.
    counter_step: u8,
    pcr_at: Option<usize>,
    pts_at: Option<usize>,
    dts_at: Option<usize>,
}

impl Picture {
    /// The one test card; it is parsed once.
    pub fn shared() -> Arc<Picture> {
        static SHARED: OnceLock<Arc<Picture>> = OnceLock::new();
        SHARED.get_or_init(|| Arc::new(Picture::parse(FILE))).clone()
    }

    fn parse(file: &'static [u8]) -> Picture {
        let (packets, rest) = file.as_chunks::<PACKET_BYTES>();
        assert!(rest.is_empty() && packets.iter().all(|packet| packet[0] == 0x47));
        let mut payloads = vec![0_u64; 8_192];
        for packet in packets.iter().filter(|packet| packet[3] & 0x10 != 0) {
            payloads[usize::from(pid_of(packet.as_slice()))] += 1;
        }
        let restamp = |packet: &Packet| {
            let step = payloads[usize::from(pid_of(packet.as_slice()))] % COUNTERS;
            Restamp { counter_step: step as u8, ..clocks(packet) }
        };
        let restamps: Vec<Restamp> = packets.iter().map(restamp).collect();
        Picture {
            packets,
            emissions_us: emissions(packets, &restamps),
            segments: segments(packets),
            restamps,
        }
    }

    fn split(&self, index: u64) -> (u64, usize) {
        let packets = self.packets.len() as u64;
        (index / packets, (index % packets) as usize)
    }

    /// Packet `index` of the endless stream.
    pub fn packet(&self, index: u64) -> Packet {
        let (round, at) = self.split(index);
        let mut packet = self.packets[at];
        let restamp = self.restamps[at];
        let step = u64::from(restamp.counter_step) * (round % COUNTERS);
        packet[3] = (packet[3] & 0xf0) | ((u64::from(packet[3] & 15) + step) % COUNTERS) as u8;
        let later = (u128::from(round) * u128::from(LOOP_90K) % (1 << 33)) as u64;
        if let Some(at) = restamp.pcr_at {
            let (base, extension) = read_pcr(&packet, at);
            let clock = ((base + later) & CLOCK_90K_MASK) * 300 + extension;
            packet[at..at + 6].copy_from_slice(&ts::pcr_field(clock));
        }
        for at in [restamp.pts_at, restamp.dts_at].into_iter().flatten() {
            let prefix = packet[at] >> 4;
            let clock = read_timestamp(&packet[at..]) + later;
            packet[at..at + 5].copy_from_slice(&ts::timestamp_field(prefix, clock));
        }
        packet
    }
}

impl Media for Picture {
    fn packets_until(&self, elapsed_us: u64) -> u64 {
        let (round, within_us) = (elapsed_us / LOOP_US, elapsed_us % LOOP_US);
        let complete = self.emissions_us.partition_point(|emission| *emission <= within_us);
        round * self.packets.len() as u64 + complete as u64
    }

    fn emission_us(&self, index: u64) -> u64 {
        let (round, at) = self.split(index);
        round * LOOP_US + self.emissions_us[at]
    }

    fn fill(&self, first: u64, out: &mut [u8]) {
        let (packets, rest) = out.as_chunks_mut::<PACKET_BYTES>();
        assert!(rest.is_empty(), "whole packets");
        for (index, packet) in (first..).zip(packets) {
            *packet = self.packet(index);
        }
    }

    fn bitrate_bps(&self) -> u64 {
        (self.packets.len() * PACKET_BYTES * 8) as u64 * 1_000_000 / LOOP_US
    }

    fn segment(&self, number: u64) -> Segment {
        let per_loop = self.segments.len() as u64 - 1;
        let (round, at) = (number / per_loop, (number % per_loop) as usize);
        let base = round * self.packets.len() as u64;
        let (first, next) = (self.segments[at], self.segments[at + 1]);
        Segment { first: base + first, packets: next - first, duration_us: LOOP_US / per_loop }
    }
}

/// Where a packet carries clocks.
fn clocks(packet: &Packet) -> Restamp {
    let mut restamp = Restamp::default();
    let adaptation = packet[3] & 0x20 != 0;
    let payload_at = if adaptation { 5 + usize::from(packet[4]) } else { 4 };
    if adaptation && packet[4] > 0 && packet[5] & 0x10 != 0 {
        restamp.pcr_at = Some(6);
    }
    let unit_start = packet[1] & 0x40 != 0 && packet[3] & 0x10 != 0;
    if unit_start && packet[payload_at..].starts_with(&[0, 0, 1]) {
        let flags = packet[payload_at + 7];
        restamp.pts_at = (flags & 0x80 != 0).then_some(payload_at + 9);
        restamp.dts_at = (flags & 0x40 != 0).then_some(payload_at + 14);
    }
    restamp
}

fn read_pcr(packet: &Packet, at: usize) -> (u64, u64) {
    let field = packet[at..at + 6].iter().fold(0, |field, byte| (field << 8) | u64::from(*byte));
    (field >> 15, field & 0x1ff)
}

fn read_timestamp(field: &[u8]) -> u64 {
    let part = |at: usize| u64::from(field[at]);
    (((part(0) >> 1) & 7) << 30)
        | (part(1) << 22)
        | ((part(2) >> 1) << 15)
        | (part(3) << 7)
        | (part(4) >> 1)
}

/// Spreads packets evenly between two PCRs; the loop's first PCR is its beginning.
fn emissions(packets: &[Packet], restamps: &[Restamp]) -> Vec<u64> {
    let clock = |at: usize| {
        let pcr_at = restamps[at].pcr_at?;
        Some((at, read_pcr(&packets[at], pcr_at).0))
    };
    let clocks: Vec<(usize, u64)> = (0..packets.len()).filter_map(clock).collect();
    let first = clocks[0].1;
    let mut points = vec![(0, 0)];
    let later = clocks.iter().filter(|(at, _)| *at > 0);
    points.extend(later.map(|(at, clock)| (*at, (clock - first) * 100 / 9)));
    points.push((packets.len(), LOOP_US));
    let mut emissions = Vec::with_capacity(packets.len());
    for pair in points.windows(2) {
        let ((from, from_us), (to, to_us)) = (pair[0], pair[1]);
        let count = (to - from) as u64;
        emissions.extend((0..count).map(|k| from_us + (to_us - from_us) * k / count));
    }
    assert!(emissions.is_sorted() && emissions.len() == packets.len());
    emissions
}

/// A segment begins with the PAT before each sixth random access point.
fn segments(packets: &[Packet]) -> Vec<u64> {
    let access_point = |packet: &Packet| {
        let flags = if packet[3] & 0x20 != 0 && packet[4] > 0 { packet[5] } else { 0 };
        pid_of(packet.as_slice()) == VIDEO_PID && flags & 0x40 != 0
    };
    let points = (0..packets.len()).filter(|at| access_point(&packets[*at]));
    let tables_before = |at: usize| {
        let table = (0..at).rev().find(|at| pid_of(packets[*at].as_slice()) == PAT_PID);
        table.unwrap_or(0) as u64
    };
    let mut segments: Vec<u64> = points.step_by(SEGMENT_GOPS).map(tables_before).collect();
    segments[0] = 0;
    segments.push(packets.len() as u64);
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Continuity;

    #[test]
    fn clocks_and_counters_run_on_over_the_seam_and_the_wrap() {
        let picture = Picture::shared();
        let loops_to_wrap = (1 << 33) / LOOP_90K;
        let per_loop = picture.packets.len() as u64;
        for first_loop in [0, 15, loops_to_wrap - 1] {
            let mut continuity = Continuity::default();
            let mut last_pcr = None;
            for index in first_loop * per_loop..(first_loop + 3) * per_loop {
                let packet = picture.packet(index);
                assert!(continuity.check(&packet), "{index}");
                let at = picture.restamps[(index % per_loop) as usize].pcr_at;
                let Some(pcr) = at.map(|at| read_pcr(&packet, at).0) else { continue };
                let step = last_pcr.map(|last: u64| pcr.wrapping_sub(last) & CLOCK_90K_MASK);
                assert!(step.is_none_or(|step| (1..=3_600).contains(&step)), "{index} {step:?}");
                last_pcr = Some(pcr);
            }
        }
    }

    #[test]
    fn pacing_and_segments_cover_every_packet() {
        let picture = Picture::shared();
        for index in [0, 1, 4_000, 4_001, 50_000] {
            let at = picture.emission_us(index);
            assert!(picture.packets_until(at) > index);
            assert!(at == 0 || picture.packets_until(at - 1) <= index);
        }
        let mut next = 0;
        for number in 0..13 {
            let segment = picture.segment(number);
            assert_eq!(segment.first, next);
            assert_eq!(segment.duration_us, 6_000_000);
            next += segment.packets;
        }
        assert!((200_000..400_000).contains(&picture.bitrate_bps()));
    }
}
