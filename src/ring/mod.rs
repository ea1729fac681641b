//! Floor 2: the ring, a stream's last seconds in shared memory.
//!
//! One [`Writer`] (on the shard that owns the stream) appends packets and publishes them; any
//! number of [`Reader`]s (one for each shard with viewers of it, the mirror, the disk writer)
//! read them in place, give them to the kernel, and say when it is done. Nobody waits for anybody,
//! nothing is copied twice, no lock is taken on the way of a byte. A ring knows packets of 188
//! bytes and offsets in the stream; it knows no viewer, no socket and no clock.
//!
//! # The rules
//!
//! 1. *Commit* appends only: bytes and index entries first, then `head` (Release). A slab is
//!    readable while it is being filled.
//! 2. A cursor pins nothing. A running [`Turn`] pins everything from its lowest byte on; an operation
//!    in flight ([`Pinned`]) holds the slabs that its bytes are in and no other.
//! 3. A turn stores its pin (SeqCst), fence(SeqCst), then reads `tail`: a cursor below is lapped.
//!    Afterwards it pins nothing.
//! 4. The owner retires: moves `tail` (SeqCst), fence(SeqCst), then reads the pins, then the holds. A
//!    slab below all pins that nobody holds goes back to the arena, any other is looked at again
//!    once a turn.
//! 5. Counts of operations in flight are the reader's own, not atomic; the first and the last of a
//!    slab hold it and let it go.
//! 6. Who must wait copies out under a turn and drops it first.
//! 7. An index entry counts after `tail` was read again.
//! 8. A [twin] has each commit before head says so. Its base and the turns' twin pins are to its
//!    pages what `tail` and the pins are to the slabs; no operation in flight pins it.
//!
//! [twin]: Writer::open_twin
//!
//! # Why no byte changes while somebody reads it
//!
//! The memory of a slab is written through a raw pointer in one place ([`Writer::append`]) and
//! read through slices that are made in two ([`Turn::bytes`], [`Pinned::as_slice`]), and by the
//! writer itself, which copies what it appended to the twin and compares it with what comes again.
//! No `&mut` to a slab exists. It is to be shown that a write never meets a slice over the same
//! byte, and that every read byte was written before.
//!
//! *One owner.* A slab's number exists as one `Slab` value, neither `Copy` nor `Clone`: on the
//! free list, in a cache, live or condemned in one writer. Only the writer that has it live writes
//! it. The free list hands it on with release and acquire, so the writes of two owners are
//! ordered.
//!
//! *Within the life of a slab as the ring's sequence s* the writer writes upwards, each byte once,
//! above its own `head`; slices end at a `head` that was read with Acquire. So the bytes of a
//! slice were written before it was made, and are not written again in this life. The table entry
//! of s was stored before a `head` beyond the slab's first byte and is not overwritten before s
//! has left the condemned list (the writer takes no slab when the table is full), so within that
//! life the reader looks at the right slab.
//!
//! *Between two lives* the slab must leave the writer. That happens in one place, when every pin
//! that the owner has read, after the fence that followed a store of `tail >= end(s)`, is at or
//! above `end(s)` (or above the last head, for the slab in which a closed ring ends), and the hold
//! on the slab that it has read after these pins is nobody's. A slice of s was made under a pin
//! P < end(s), stored by its reader before a fence, after which that reader read a `tail` T with
//! max(P, T) <= the slice's offset < end(s). Of the two SeqCst fences one is first:
//! - the owner's: then the reader's later read of `tail` sees `tail >= end(s)`, and no such slice
//!   is made;
//! - the reader's: then the owner's later read of that pin sees P, or what the same reader stored
//!   after P. If it sees P, or another pin below end(s), it keeps the slab. If it sees a pin at or
//!   above end(s), the turn has ended, and its end (Release, read with Acquire) came after every
//!   use of a slice of [`Turn::bytes`], which none outlives, and after the hold of every [`Pinned`]
//!   that it made of s. So the owner's read of the hold sees that one, or what was made of it
//!   later; if it sees nobody's, the reader has let go of s (Release, read with Acquire), which it
//!   does after the last [`Pinned`] of s came back. Either way the use happened before the slab
//!   goes back.
//!
//! No turn makes a slice of s any more once all pins were seen above it, so a hold that was seen
//! to be nobody's stays so, and the table's entry of s may be given to another slab while s is
//! still held: a [`Pinned`] looks nothing up. A later look at a retired slab needs no fence of its
//! own: the fence of the `tail` that retired it lies before that look. A pin that goes down again
//! (a turn begins, or reaches for an older access point) is a new handshake of the same kind.
//!
//! *A reader goes away.* Its place is one reader's at a time ([`Reader::new`] asserts it), so no
//! one else moves its pin. If it is dropped with operations in flight their slabs are marked, and
//! are lost instead of used again. If it is leaked its holds stay. If a writer is dropped, the slabs
//! that are still read are lost. A [`Pinned`] names its reader and can be given to no other. Memory
//! is never unmapped, so losing is always safe.
//!
//! The model in `tests/model.rs` runs these very types under loom, which watches the memory packet
//! by packet; without either fence of rules 3 and 4, or with holds that are looked at before the
//! pins, it finds the slab that is overwritten under a reader.

mod arena;
mod budget;
mod cache;
mod free_list;
mod holds;
mod index;
mod mapping;
mod reader;
mod shared;
mod sync;
mod turn;
mod twin;
mod writer;

#[cfg(all(test, ringcast_loom))]
#[path = "tests/model.rs"]
mod loom_model;
#[cfg(all(test, not(ringcast_loom)))]
mod tests;

pub use arena::Arena;
pub use arena::ArenaConfig;
pub use arena::ArenaError;
pub use arena::Promise;
pub use arena::Region;
#[cfg(test)]
pub(crate) use arena::small_arena;
pub use cache::SlabCache;
pub use index::Access;
pub use reader::Pinned;
pub use reader::Reader;
pub use shared::Ring;
pub use turn::Turn;
pub use twin::Shared;
pub use twin::TwinError;
pub use writer::RingFull;
pub use writer::Tended;
pub use writer::Writer;
