//! Tests of the ring that need no model checker.

mod arena;
mod index;
mod oracle;
mod rules;
mod threads;
#[cfg(not(miri))]
mod twin;

use super::small_arena;

const PACKET: usize = 188;

/// Packets whose bytes tell their offset, so that a wrong byte is seen wherever it stands.
pub(super) fn packets_at(offset: u64, packets: usize) -> Vec<u8> {
    (offset..offset + (packets * PACKET) as u64).map(byte_at).collect()
}

pub(super) fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

pub(super) fn check_bytes(bytes: &[u8], offset: u64) {
    for (at, byte) in (offset..).zip(bytes) {
        assert_eq!(*byte, byte_at(at), "the byte at {at}");
    }
}
