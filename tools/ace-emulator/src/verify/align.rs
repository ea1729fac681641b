//! Packets from bytes that arrive in arbitrary splits, and how many of them were not packets.

use crate::source::ts::PACKET_BYTES;
use crate::source::ts::Packet;

const SYNC: u8 = 0x47;
/// Three sync bytes in a row end a search: filler has a 0x47 now and then.
const SEARCH_BYTES: usize = 2 * PACKET_BYTES + 1;

#[derive(Clone, Debug, Default)]
pub(crate) struct Aligner {
    carry: Vec<u8>,
    searching: bool,
    pub(crate) misaligned_bytes: u64,
}

impl Aligner {
    /// Hands every whole packet to `packet`.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut packet: impl FnMut(&Packet)) {
        if !self.searching {
            let rest = self.complete(bytes, &mut packet);
            let used = if self.searching { 0 } else { in_step(rest, &mut packet) };
            self.searching |= rest.len() - used >= PACKET_BYTES;
            self.carry.extend_from_slice(&rest[used..]);
        } else {
            self.carry.extend_from_slice(bytes);
        }
        while self.searching && self.search() {
            let found = std::mem::take(&mut self.carry);
            let used = in_step(&found, &mut packet);
            self.searching = found.len() - used >= PACKET_BYTES;
            self.carry.extend_from_slice(&found[used..]);
        }
    }

    /// Bytes that are no whole packet yet.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.carry.len()
    }

    /// Fills the carried packet up; gives the bytes behind it.
    fn complete<'a>(&mut self, bytes: &'a [u8], packet: &mut impl FnMut(&Packet)) -> &'a [u8] {
        if self.carry.is_empty() {
            return bytes;
        }
        let missing = (PACKET_BYTES - self.carry.len()).min(bytes.len());
        self.carry.extend_from_slice(&bytes[..missing]);
        if self.carry.len() == PACKET_BYTES {
            self.searching = self.carry[0] != SYNC;
            if let (false, Some(whole)) = (self.searching, self.carry.first_chunk()) {
                packet(whole);
                self.carry.clear();
            }
        }
        &bytes[missing..]
    }

    /// Drops bytes up to the next packet; false while more bytes are needed to tell.
    fn search(&mut self) -> bool {
        let candidates = self.carry.len().saturating_sub(SEARCH_BYTES - 1);
        let aligned =
            |at: &usize| (0..3).all(|packets| self.carry[at + packets * PACKET_BYTES] == SYNC);
        let found = (0..candidates).find(aligned);
        let dropped = found.unwrap_or(candidates);
        self.carry.drain(..dropped);
        self.misaligned_bytes += dropped as u64;
        found.is_some()
    }
}

/// Hands over packets until one has no sync byte or is not whole; gives the bytes used.
fn in_step(bytes: &[u8], packet: &mut impl FnMut(&Packet)) -> usize {
    let mut used = 0;
    for whole in bytes.as_chunks::<PACKET_BYTES>().0 {
        if whole[0] != SYNC {
            break;
        }
        packet(whole);
        used += PACKET_BYTES;
    }
    used
}
