//! The twin: every byte that is sent from it is the stream's, and its memory stays within bounds.

use super::check_bytes;
use super::packets_at;
use super::small_arena;
use crate::base::sizes::SLAB_PACKETS_AT_4K;
use crate::base::sizes::slab_bytes;
use crate::ring::Arena;
use crate::ring::Reader;
use crate::ring::SlabCache;
use crate::ring::Writer;

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

    /// Turns of half a slab and a bit.
    fn go(&mut self, slabs: u64) {
        let end = self.writer.written() + slabs * SLAB;
        while self.writer.written() < end {
            let bytes = packets_at(self.writer.written(), 600);
            self.writer.append(&bytes, &mut self.cache).expect("room");
            self.writer.commit(0, 0);
            self.writer.tend(&mut self.cache);
        }
    }
}

/// What sendfile would send of it.
fn read(reader: &mut Reader, offset: u64, len_max: usize) -> Option<Vec<u8>> {
    let turn = reader.turn(Some(offset));
    let shared = turn.shared(offset, len_max)?;
    assert_eq!(shared.at, offset);
    let mut bytes = vec![0; shared.len];
    let read = rustix::io::pread(shared.file, &mut bytes, shared.at).expect("our own file");
    assert_eq!(read, shared.len);
    check_bytes(&bytes, offset);
    Some(bytes)
}

#[test]
fn it_has_the_window_and_what_comes() {
    let mut f = fixture(64, 16);
    let mut reader = f.reader(0);
    f.go(10);
    assert!(read(&mut reader, 9 * SLAB, 100).is_none());
    f.writer.open_twin(4 * SLAB).unwrap();
    assert!(f.writer.has_twin());
    assert_eq!(f.arena.twin_bytes(), 5 * SLAB);
    let head = f.writer.head();
    assert!(read(&mut reader, head, 100).is_none(), "nothing at head");
    let (whole, cut) = (3 * SLAB as usize, 300);
    assert_eq!(read(&mut reader, head - 3 * SLAB, usize::MAX).unwrap().len(), whole);
    assert_eq!(read(&mut reader, head - 500, cut).unwrap().len(), cut);
    assert!(read(&mut reader, head - 5 * SLAB, 1).is_none());
    f.go(40);
    let head = f.writer.head();
    assert!(read(&mut reader, head - 4 * SLAB, usize::MAX).is_some());
    assert!(read(&mut reader, head - 6 * SLAB, usize::MAX).is_none());
    f.writer.close_twin();
    assert!(!f.writer.has_twin());
    assert!(read(&mut reader, head - 500, cut).is_none());
    assert_eq!(f.arena.twin_bytes(), 0);
}
