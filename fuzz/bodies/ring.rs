//! Any order of the ring's operations, against what was written.
//!
//! A byte of the stream is a function of its offset, so that the oracle needs no memory of it.

use ringcast::base::sizes::PACKET_BYTES;
use ringcast::ring::Arena;
use ringcast::ring::ArenaConfig;
use ringcast::ring::Pinned;
use ringcast::ring::Reader;
use ringcast::ring::SlabCache;
use ringcast::ring::Writer;
use std::sync::OnceLock;

const READERS: usize = 3;
/// A ring of fifteen slabs goes round after some forty appends.
const OPERATIONS_MAX: usize = 256;
/// A prime: a slab that is given to another place in the stream shows.
const PATTERN_BYTES: usize = 65_537;
/// The most that a turn reads at once.
const READ_BYTES_MAX: usize = 256 << 10;

/// The smallest budget there is, in two regions: rings run out of it, and take it back.
fn arena() -> &'static Arena {
    static ARENA: OnceLock<&'static Arena> = OnceLock::new();
    ARENA.get_or_init(|| {
        let config =
            ArenaConfig { budget_bytes: 3 << 20, page_bytes: 4_096, region_bytes_max: 2 << 20 };
        Arena::reserve(&config).expect("three MiB")
    })
}

/// What is in the stream at `offset`: compared as a whole, which is what makes a run cheap.
fn written(offset: u64, len: usize) -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    let byte_at = |at: usize| ((at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
    let pattern = PATTERN.get_or_init(|| {
        (0..PATTERN_BYTES + READ_BYTES_MAX).map(|at| byte_at(at % PATTERN_BYTES)).collect()
    });
    let at = (offset % PATTERN_BYTES as u64) as usize;
    &pattern[at..at + len]
}

fn is_written(bytes: &[u8], offset: u64) -> bool {
    bytes == written(offset, bytes.len())
}

struct Client {
    reader: Reader,
    cursor: u64,
    pinned: Vec<Pinned>,
}

struct World<'a> {
    bytes: std::slice::Iter<'a, u8>,
    cache: SlabCache,
    writer: Writer,
    clients: Vec<Client>,
}

/// Each operation is a byte, and its amount the next.
pub(crate) fn ring(data: &[u8]) {
    let arena = arena();
    let Some(promise) = arena.promise(0) else { panic!("nothing is promised between runs") };
    let cap_max = u64::from(arena.slabs_total()) * arena.slab_bytes() as u64;
    let writer = Writer::open(arena, promise, READERS, cap_max, 1);
    let clients = (0..READERS)
        .map(|index| Client {
            reader: Reader::new(writer.ring().clone(), index),
            cursor: 0,
            pinned: Vec::new(),
        })
        .collect();
    let bytes = data.iter();
    let mut world = World { bytes, cache: SlabCache::new(arena), writer, clients };
    for _ in 0..OPERATIONS_MAX {
        let Some(operation) = world.bytes.next().copied() else { break };
        world.step(operation);
    }
    world.finish(arena);
}

impl World<'_> {
    fn amount(&mut self) -> u64 {
        self.bytes.next().copied().map_or(0, u64::from)
    }

    fn step(&mut self, operation: u8) {
        match operation % 8 {
            0 | 1 => self.append(),
            2 => {
                let head = self.writer.commit(0, 0);
                assert_eq!(head, self.writer.written());
            }
            3 => {
                let below = self.writer.tend(&mut self.cache).evict_below;
                assert!(below.is_none_or(|below| below <= self.writer.written()));
            }
            4 => {
                let bytes = self.amount() * 15_000;
                self.writer.set_cap(bytes);
            }
            5 => self.done(),
            _ => self.turn(),
        }
        assert!(self.writer.tail() <= self.writer.head());
        assert!(self.writer.head() <= self.writer.written());
        for client in &self.clients {
            assert_eq!(client.reader.in_flight() as usize, client.pinned.len());
        }
    }

    fn append(&mut self) {
        let packets = 1 + self.amount() as usize * 3;
        let at = self.writer.written();
        let len = packets * PACKET_BYTES;
        let appended = match self.writer.append(written(at, len), &mut self.cache) {
            Ok(()) => len,
            Err(full) => full.appended_bytes,
        };
        assert_eq!(self.writer.written(), at + appended as u64);
    }

    fn done(&mut self) {
        let which = self.amount() as usize;
        let client = &mut self.clients[which % READERS];
        if !client.pinned.is_empty() {
            let pinned = client.pinned.swap_remove(which % client.pinned.len());
            assert!(is_written(pinned.as_slice(), pinned.offset()));
            client.reader.done(pinned);
        }
    }

    fn turn(&mut self) {
        let how = self.amount();
        let len_max = 1 + self.amount() as usize * 1_024;
        let client = &mut self.clients[how as usize % READERS];
        let mut turn = client.reader.turn(Some(client.cursor));
        if client.cursor < turn.tail() {
            client.cursor = if how & 4 == 0 { turn.tail() } else { turn.head() };
        }
        if client.cursor < turn.head() {
            let bytes = turn.bytes(client.cursor, len_max);
            assert!(!bytes.is_empty() && bytes.len() <= len_max);
            assert!(is_written(bytes, client.cursor));
            let read = bytes.len() as u64;
            if how & 8 == 0 && client.pinned.len() < 16 {
                client.pinned.push(turn.pin(client.cursor, len_max));
            }
            client.cursor += read;
        }
    }

    fn finish(mut self, arena: &'static Arena) {
        for client in &mut self.clients {
            for pinned in client.pinned.drain(..) {
                assert!(is_written(pinned.as_slice(), pinned.offset()), "a byte changed in flight");
                client.reader.done(pinned);
            }
        }
        assert!(self.writer.close(&mut self.cache).is_ok(), "nothing is pinned any more");
        drop(self.clients);
        drop(self.cache);
        assert_eq!((arena.slabs_free(), arena.slabs_lost()), (arena.slabs_total(), 0));
        assert_eq!(arena.slabs_promised(), 0);
    }
}
