//! Where media comes from: a broadcast that goes on whether or not anybody watches.
//!
//! A medium is a pure function of the packet index; time enters only as "microseconds since the
//! broadcast began", so that two emulators with one epoch serve identical bytes.

pub mod picture;
pub mod signed;
pub mod ts;

use ts::PACKET_BYTES;

/// A stretch of whole GOPs, one HLS segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub first: u64,
    pub packets: u64,
    pub duration_us: u64,
}

pub trait Media: Send + Sync {
    /// How many packets exist `elapsed_us` after the broadcast began.
    fn packets_until(&self, elapsed_us: u64) -> u64;

    /// When packet `index` is complete, in microseconds after the broadcast began.
    fn emission_us(&self, index: u64) -> u64;

    /// Writes packets from `first` on; `out` is a whole number of packets.
    fn fill(&self, first: u64, out: &mut [u8]);

    fn bitrate_bps(&self) -> u64;

    /// The segment with this number.
    fn segment(&self, number: u64) -> Segment;

    /// How many segments are complete `elapsed_us` after the broadcast began.
    fn segments_until(&self, elapsed_us: u64) -> u64 {
        let packets = self.packets_until(elapsed_us);
        let (mut low, mut high) = (0, packets + 1);
        while low < high {
            let middle = low.midpoint(high);
            let segment = self.segment(middle);
            if segment.first + segment.packets <= packets {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Bytes `offset..offset + length` of the broadcast, appended to `out`.
    fn read(&self, offset: u64, length: usize, out: &mut Vec<u8>) {
        let first = offset / PACKET_BYTES as u64;
        let skip = (offset % PACKET_BYTES as u64) as usize;
        let packets = (skip + length).div_ceil(PACKET_BYTES);
        let start = out.len();
        out.resize(start + packets * PACKET_BYTES, 0);
        self.fill(first, &mut out[start..]);
        out.copy_within(start + skip..start + skip + length, start);
        out.truncate(start + length);
    }
}
