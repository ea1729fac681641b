//! What a scan reports.

use crate::ts::psi::PsiCounters;

/// What an access point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AccessKind {
    /// An IDR or IRAP picture, a sequence header.
    Keyframe = 1,
    /// Decoding may begin here, the first pictures may be incomplete.
    RecoveryPoint = 2,
    /// Flagged as random access; the inside is scrambled.
    Scrambled = 3,
    /// The start of a PES packet in a stream without video.
    Audio = 4,
    /// The start of any video PES packet, for want of better for 10 s.
    AnyStart = 5,
}

impl AccessKind {
    /// From a number that was a kind.
    pub fn from_u8(value: u8) -> Option<AccessKind> {
        match value {
            1 => Some(AccessKind::Keyframe),
            2 => Some(AccessKind::RecoveryPoint),
            3 => Some(AccessKind::Scrambled),
            4 => Some(AccessKind::Audio),
            5 => Some(AccessKind::AnyStart),
            _ => None,
        }
    }

    /// Only for want of better, and at most twice a second.
    pub fn is_weak(self) -> bool {
        matches!(self, AccessKind::Audio | AccessKind::AnyStart)
    }
}

/// Where a player may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessPoint {
    /// Of the packet in which the access unit starts.
    pub offset: u64,
    /// The media clock there, 27 MHz, unwrapped and monotonic.
    pub pcr: Option<u64>,
    /// The tables to send first.
    pub psi_version: u32,
    /// The last counters of the tables before the point.
    pub psi_counters: PsiCounters,
    pub kind: AccessKind,
}

/// What the scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Reported when it is decided, which may be some packets after its offset.
    RandomAccess(AccessPoint),
    /// A payload packet of the PAT or of a PMT, reported before what it changes.
    PsiPacket { offset: u64, pid: u16, cc: u8 },
    /// From the packet at `offset` on the tables are those of `version`.
    PsiChanged { offset: u64, version: u32 },
    /// The packet at `offset` carries a reference of the clock that is followed.
    ClockReference { offset: u64 },
    /// The clock references at `offset` are of another time base than those before.
    ClockJump { offset: u64 },
}

/// What was counted since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub packets: u64,
    pub nulls: u64,
    /// Payloads that did not continue their PID, undeclared.
    pub cc_errors: u64,
    /// Packets flagged as damaged by whoever received them; nothing else is read from them.
    pub tei: u64,
    /// Packets with the discontinuity indicator.
    pub discontinuities: u64,
    pub clock_jumps: u64,
    /// PAT and PMT sections dropped for their CRC or length.
    pub bad_sections: u64,
    /// PES starts of the followed PID that were scrambled.
    pub scrambled: u64,
}

/// A PID of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidSeen {
    pub pid: u16,
    /// Its last counter.
    pub cc: u8,
}
