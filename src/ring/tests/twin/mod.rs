//! The twin: every byte that is sent from it is the stream's, and its memory stays within bounds.

mod bounds;
mod life;
mod oracle;
mod sockets;

use super::check_bytes;
use super::packets_at;
use super::small_arena;
use crate::base::sizes::SLAB_PACKETS_AT_4K;
use crate::base::sizes::slab_bytes;
use crate::ring::Arena;
use crate::ring::Reader;
use crate::ring::Shared;
use crate::ring::SlabCache;
use crate::ring::Turn;
use crate::ring::Writer;
use crate::ring::twin::TwinFile;

const SLAB: u64 = slab_bytes(4_096) as u64;

struct Fixture {
    arena: &'static Arena,
    writer: Writer,
    cache: SlabCache,
}

fn fixture(slabs_total: u32, cap_slabs: u64) -> Fixture {
    let arena = small_arena(SLAB_PACKETS_AT_4K, slabs_total);
    let promise = arena.promise(2 * SLAB).expect("room");
    let writer = Writer::open(arena, promise, 3, cap_slabs * SLAB, 1);
    Fixture { arena, writer, cache: SlabCache::new(arena) }
}

impl Fixture {
    fn reader(&self, index: usize) -> Reader {
        Reader::new(self.writer.ring().clone(), index)
    }

    fn commit(&mut self, packets: usize) {
        let bytes = packets_at(self.writer.written(), packets);
        self.writer.append(&bytes, &mut self.cache).expect("room");
        self.writer.commit(0, 0);
    }

    /// As [`Self::commit`], beside turns of other threads: one that is not scheduled for a while
    /// keeps slabs, and the owner tries again.
    fn commit_in_time(&mut self, packets: usize) {
        let bytes = packets_at(self.writer.written(), packets);
        let mut rest = &bytes[..];
        while let Err(full) = self.writer.append(rest, &mut self.cache) {
            rest = &rest[full.appended_bytes..];
            self.writer.tend(&mut self.cache);
            std::thread::yield_now();
        }
        self.writer.commit(0, 0);
    }

    /// Turns of half a slab and a bit.
    fn go(&mut self, slabs: u64) {
        let end = self.writer.written() + slabs * SLAB;
        while self.writer.written() < end {
            self.commit(600);
            self.writer.tend(&mut self.cache);
        }
    }

    fn file(&self) -> &TwinFile {
        self.writer.ring().twin_file.get().expect("a twin was opened")
    }

    /// Memory of the file.
    fn held(&self) -> u64 {
        let stat = rustix::fs::fstat(self.file().fd()).expect("a file");
        stat.st_blocks as u64 * 512
    }
}

/// What sendfile would send of it.
fn content(shared: &Shared<'_>) -> Vec<u8> {
    let mut bytes = vec![0; shared.len];
    let read = rustix::io::pread(shared.file, &mut bytes, shared.at);
    assert_eq!(read, Ok(shared.len));
    bytes
}

/// Bytes in the twin from `offset` on, all of them right.
fn check(turn: &Turn<'_>, offset: u64, len_max: usize) -> usize {
    let Some(shared) = turn.shared(offset, len_max) else { return 0 };
    assert_eq!(shared.at, offset);
    check_bytes(&content(&shared), offset);
    shared.len
}

fn check_turn(reader: &mut Reader, offset: u64) -> u64 {
    check(&reader.turn(Some(offset)), offset, usize::MAX) as u64
}
