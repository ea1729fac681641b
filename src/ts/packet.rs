//! One transport stream packet, runs of them, and the two packets that ringcast itself makes.
//!
//! Accessors never fail: a field that the packet does not carry, or that its lengths contradict,
//! reads as absent. Nothing here looks beyond the 188 bytes at hand.

pub use crate::base::sizes::PACKET_BYTES;

/// The first byte of every packet.
pub const SYNC_BYTE: u8 = 0x47;
/// The program association table.
pub const PID_PAT: u16 = 0;
/// Stuffing, ignored by every player.
pub const PID_NULL: u16 = 0x1FFF;
/// Ticks a second of a program clock reference.
pub const PCR_HZ: u64 = 27_000_000;
/// A program clock reference counts 2^33 ticks of 90 kHz, each 300 ticks of 27 MHz: 26.5 hours.
pub const PCR_WRAP: u64 = (1 << 33) * 300;

/// Fills a receiver's buffer without meaning anything: what a viewer gets in silence.
pub const NULL_PACKET: [u8; PACKET_BYTES] = {
    let mut packet = [0xFF; PACKET_BYTES];
    packet[0] = SYNC_BYTE;
    packet[1] = (PID_NULL >> 8) as u8;
    packet[2] = (PID_NULL & 0xFF) as u8;
    packet[3] = 0x10;
    packet
};

/// The null packet by value.
pub fn null_packet() -> [u8; PACKET_BYTES] {
    NULL_PACKET
}

/// A packet without payload that declares a discontinuity on `pid`.
///
/// `cc` is the first payload counter that follows on the PID minus one: a packet without payload
/// does not count, so that the next payload continues from it.
pub fn mark(pid: u16, cc: u8) -> [u8; PACKET_BYTES] {
    let mut packet = [0xFF; PACKET_BYTES];
    packet[0] = SYNC_BYTE;
    packet[1] = (pid >> 8) as u8 & 0x1F;
    packet[2] = (pid & 0xFF) as u8;
    packet[3] = 0x20 | (cc & 0x0F);
    packet[4] = 183;
    packet[5] = 0x80;
    packet
}

/// A run of whole packets.
///
/// Having one tells you: its length is a multiple of 188, and every 188th byte is 0x47.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packets<'a> {
    bytes: &'a [u8],
}

impl<'a> Packets<'a> {
    /// No packet at all.
    pub const EMPTY: Packets<'static> = Packets { bytes: &[] };

    /// The only way in: None unless `bytes` are whole packets.
    pub fn new_checked(bytes: &'a [u8]) -> Option<Packets<'a>> {
        let (packets, rest) = bytes.as_chunks::<PACKET_BYTES>();
        let whole = rest.is_empty() && packets.iter().all(|packet| packet[0] == SYNC_BYTE);
        whole.then_some(Packets { bytes })
    }

    /// The longest run of whole packets that `bytes` begin with.
    pub fn prefix_of(bytes: &'a [u8]) -> Packets<'a> {
        let (packets, _) = bytes.as_chunks::<PACKET_BYTES>();
        let count = packets.iter().take_while(|packet| packet[0] == SYNC_BYTE).count();
        Packets { bytes: &bytes[..count * PACKET_BYTES] }
    }

    /// Everything, to be copied.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// How many packets.
    pub fn len(self) -> usize {
        self.bytes.len() / PACKET_BYTES
    }

    /// True without any packet.
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// One packet after the other.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Packet<'a>> + ExactSizeIterator {
        let (packets, _) = self.bytes.as_chunks::<PACKET_BYTES>();
        packets.iter().map(|bytes| Packet { bytes })
    }

    /// The first `packets` packets and the others; panics when there are fewer.
    pub fn split_at(self, packets: usize) -> (Packets<'a>, Packets<'a>) {
        let (left, right) = self.bytes.split_at(packets * PACKET_BYTES);
        (Packets { bytes: left }, Packets { bytes: right })
    }
}

/// One packet. Having one tells you that its first byte is 0x47, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    bytes: &'a [u8; PACKET_BYTES],
}

impl<'a> Packet<'a> {
    /// None unless the bytes begin with 0x47.
    pub fn new(bytes: &'a [u8; PACKET_BYTES]) -> Option<Packet<'a>> {
        (bytes[0] == SYNC_BYTE).then_some(Packet { bytes })
    }

    /// All 188 of them.
    pub fn bytes(self) -> &'a [u8; PACKET_BYTES] {
        self.bytes
    }

    /// The packet identifier, 13 bits.
    #[inline]
    pub fn pid(self) -> u16 {
        u16::from_be_bytes([self.bytes[1] & 0x1F, self.bytes[2]])
    }

    /// The continuity counter, 4 bits.
    #[inline]
    pub fn cc(self) -> u8 {
        self.bytes[3] & 0x0F
    }

    /// A PES packet or a section begins in this payload.
    #[inline]
    pub fn pusi(self) -> bool {
        self.bytes[1] & 0x40 != 0
    }

    /// The demodulator upstream gave up on this packet.
    #[inline]
    pub fn tei(self) -> bool {
        self.bytes[1] & 0x80 != 0
    }

    /// Zero when the payload is in the clear.
    #[inline]
    pub fn scrambling(self) -> u8 {
        self.bytes[3] >> 6
    }

    /// The header announces a payload (which may still be empty).
    #[inline]
    pub fn has_payload(self) -> bool {
        self.bytes[3] & 0x10 != 0
    }

    /// The header announces an adaptation field (which may still be empty).
    #[inline]
    pub fn has_adaptation(self) -> bool {
        self.bytes[3] & 0x20 != 0
    }

    /// The adaptation field from its flags on; empty when there is none or its length is nonsense.
    pub fn adaptation(self) -> &'a [u8] {
        if !self.has_adaptation() {
            return &[];
        }
        let length = usize::from(self.bytes[4]);
        self.bytes.get(5..5 + length).unwrap_or(&[])
    }

    /// The discontinuity indicator: counters and clock may jump here.
    pub fn discontinuity(self) -> bool {
        self.adaptation().first().is_some_and(|flags| flags & 0x80 != 0)
    }

    /// The random access indicator.
    pub fn random_access(self) -> bool {
        self.adaptation().first().is_some_and(|flags| flags & 0x40 != 0)
    }

    /// The program clock reference in ticks of 27 MHz, below [`PCR_WRAP`] (its extension is 9 bits
    /// and must stay below 300, a larger one is taken as 299).
    pub fn pcr(self) -> Option<u64> {
        let &[flags, a, b, c, d, e, f, ..] = self.adaptation() else {
            return None;
        };
        if flags & 0x10 == 0 {
            return None;
        }
        let base = u64::from(u32::from_be_bytes([a, b, c, d])) << 1 | u64::from(e >> 7);
        let extension = u64::from(e & 1) << 8 | u64::from(f);
        Some(base * 300 + extension.min(299))
    }

    /// What follows the header and the adaptation field; empty when there is none.
    pub fn payload(self) -> &'a [u8] {
        if !self.has_payload() {
            return &[];
        }
        let start = if self.has_adaptation() { 5 + usize::from(self.bytes[4]) } else { 4 };
        self.bytes.get(start..).unwrap_or(&[])
    }
}
