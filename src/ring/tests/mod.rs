//! Tests of the ring that need no model checker.

mod arena;
mod index;
mod oracle;
mod rules;
mod threads;

use super::arena::Arena;
use super::arena::Layout;

pub(super) const PACKET: usize = 188;

/// An arena with tiny slabs, so that a test laps often.
pub(crate) fn small_arena(slab_packets: usize, slabs_total: u32) -> &'static Arena {
    let layout =
        Layout { slab_bytes: slab_packets * PACKET, slabs_total, slabs_per_region: slabs_total };
    Arena::build(layout, 4_096).expect("address space")
}

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
