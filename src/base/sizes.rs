//! Sizes that several floors share, each with the sum that produced it.

/// An MPEG-TS packet.
pub const PACKET_BYTES: usize = 188;

/// Packets of a slab at a page size of 4 096: 1 024 x 188 = 192 512 bytes = 47 pages exactly.
pub const SLAB_PACKETS_AT_4K: usize = 1_024;

pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// What a stream must be promised before it may open.
pub const STREAM_MEMORY_BYTES_MIN: u64 = 8 * MIB;

/// Packet memory that is committed, and registered for zero-copy sends, at once: small enough that
/// pinning it takes a few milliseconds and little memory.
pub const REGION_BYTES_MAX: usize = 16 * MIB as usize;

/// The request head, with its line: larger is 414 (the line) or 431 (the headers).
pub const REQUEST_HEAD_BYTES_MAX: usize = 8 * 1024;

/// Shards are numbered in a byte, and a mask of 64 bits must hold them.
pub const SHARDS_MAX: usize = 64;

/// Slab bytes for a page size: packet-aligned and page-aligned at once, because
/// lcm(188, page) = 47 x page for every power of two from 4 up.
pub const fn slab_bytes(page_bytes: usize) -> usize {
    SLAB_PACKETS_AT_4K * (page_bytes / 4_096) * PACKET_BYTES
}

const _: () = assert!(slab_bytes(4_096) == 47 * 4_096);
const _: () = assert!(slab_bytes(16_384).is_multiple_of(16_384));
