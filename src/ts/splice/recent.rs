//! What was written last, as far as it can be recognised when it comes a second time: the packets
//! with a clock reference, by hash.
//!
//! A broadcast's references differ from each other, so that one packet says where in it one is. A
//! hash only proposes a place; whoever asks compares the bytes. Bounded: the oldest makes room.

use std::collections::VecDeque;

use crate::ts::packet::PACKET_BYTES;
use crate::ts::packet::PCR_HZ;
use crate::ts::packet::PCR_WRAP;
use crate::ts::packet::Packet;

/// At a reference each 40 ms the last 80 s; 48 KiB for each stream.
const RECENT_MAX: usize = 2_048;

/// An engine's burst begins so far in the past at most: 22 MB at half a megabit.
const OLDER_TICKS_MAX: u64 = 600 * PCR_HZ;

/// One packet that was written.
#[derive(Clone, Copy, Debug)]
struct Seen {
    hash: u64,
    offset: u64,
    pcr: u64,
}

/// The last references of what was written, oldest first.
#[derive(Clone, Debug)]
pub struct Recent {
    seen: VecDeque<Seen>,
    pid: u16,
}

impl Recent {
    /// Nothing known.
    pub fn new() -> Recent {
        Recent { seen: VecDeque::with_capacity(RECENT_MAX), pid: 0 }
    }

    /// A packet with a reference was written at `offset`.
    pub fn note(&mut self, packet: Packet<'_>, offset: u64) {
        let Some(pcr) = packet.pcr() else { return };
        if self.seen.len() == RECENT_MAX {
            self.seen.pop_front();
        }
        self.pid = packet.pid();
        self.seen.push_back(Seen { hash: hash(packet.bytes()), offset, pcr });
    }

    /// What was written is no longer one piece of the broadcast: nothing before counts.
    pub fn clear(&mut self) {
        self.seen.clear();
    }

    /// True while nothing can be recognised.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// The packet carries a reference of the kind that is kept here.
    pub(super) fn may_know(&self, packet: Packet<'_>) -> bool {
        packet.pid() == self.pid && packet.pcr().is_some()
    }

    /// Where the same packet may stand, newest first: a loop repeats itself.
    pub(super) fn places(&self, packet: Packet<'_>) -> impl Iterator<Item = u64> {
        let wanted = hash(packet.bytes());
        let same = self.seen.iter().rev().filter(move |seen| seen.hash == wanted);
        same.map(|seen| seen.offset)
    }

    /// The packet is of the minutes before the oldest one that is known.
    pub(super) fn is_before(&self, packet: Packet<'_>) -> bool {
        let (Some(pcr), Some(oldest)) = (packet.pcr(), self.seen.front()) else { return false };
        let behind = (oldest.pcr + PCR_WRAP - pcr) % PCR_WRAP;
        behind > 0 && behind < OLDER_TICKS_MAX
    }
}

impl Default for Recent {
    fn default() -> Recent {
        Recent::new()
    }
}

/// FNV-1a over words of eight bytes: no defence, only few false proposals.
fn hash(bytes: &[u8; PACKET_BYTES]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
    }
    rest.iter()
        .fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
