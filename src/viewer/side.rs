//! The few bytes that a viewer itself keeps: what is left of an inline send, and of a cut packet.
//!
//! Most viewers never need it; one whose socket once pushed back keeps its allocation.

use crate::base::sizes::PACKET_BYTES;

/// A skip fills at most so many packets.
pub(super) const INLINE_PACKETS_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Side {
    inline: Vec<u8>,
    rest: [u8; PACKET_BYTES - 1],
}

impl Default for Side {
    fn default() -> Self {
        Self { inline: Vec::new(), rest: [0; PACKET_BYTES - 1] }
    }
}

impl Side {
    /// Moves what is left of an inline send to `out`; false when there is nothing.
    pub(super) fn take_inline(&mut self, out: &mut Vec<u8>) -> bool {
        out.append(&mut self.inline);
        !out.is_empty()
    }

    pub(super) fn keep_inline(&mut self, bytes: &[u8]) {
        debug_assert!(self.inline.is_empty());
        self.inline.extend_from_slice(bytes);
    }

    /// What is missing of the packet that `cursor` stands in.
    pub(super) fn rest(&self, cursor: u64) -> &[u8] {
        let within = (cursor % PACKET_BYTES as u64) as usize;
        &self.rest[..(PACKET_BYTES - within) % PACKET_BYTES]
    }

    pub(super) fn keep_rest(&mut self, rest: &[u8]) {
        self.rest[..rest.len()].copy_from_slice(rest);
    }
}
