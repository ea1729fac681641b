//! Random operations of one writer and three readers, against a plain queue of bytes.
//!
//! The oracle keeps every byte ever committed; whatever a turn or a `Pinned` shows must be these,
//! also long after the ring has lapped them.

use super::PACKET;
use super::small_arena;
use crate::base::prng::Prng;
use crate::ring::Arena;
use crate::ring::Pinned;
use crate::ring::Reader;
use crate::ring::Ring;
use crate::ring::SlabCache;
use crate::ring::Writer;
use std::collections::BTreeSet;

const READERS: usize = 3;
const SLAB_PACKETS: usize = 3;
const SLAB: u64 = (SLAB_PACKETS * PACKET) as u64;

struct World {
    prng: Prng,
    arena: &'static Arena,
    cache: SlabCache,
    writer: Writer,
    readers: Vec<Client>,
    /// All that was ever appended.
    truth: Vec<u8>,
    evictions: u32,
    lapped: u32,
    full: u32,
    /// Slices that went on in a slab's neighbour.
    crossed: u32,
}

struct Client {
    reader: Reader,
    cursor: Option<u64>,
    pinned: Vec<Pinned>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        let slabs = 8 + prng.below(24) as u32;
        let arena = small_arena(SLAB_PACKETS, slabs);
        let promise = arena.promise(prng.below(6) * SLAB).expect("within the budget");
        let cap_max = (2 + prng.below(16)) * SLAB;
        let writer = Writer::open(arena, promise, READERS + 2, cap_max, 7);
        let client = |index| Client {
            reader: Reader::new(writer.ring().clone(), index),
            cursor: None,
            pinned: Vec::new(),
        };
        let readers = (0..READERS).map(client).collect();
        let cache = SlabCache::new(arena);
        let truth = Vec::new();
        Self {
            prng,
            arena,
            cache,
            writer,
            readers,
            truth,
            evictions: 0,
            lapped: 0,
            full: 0,
            crossed: 0,
        }
    }

    fn step(&mut self) {
        match self.prng.below(10) {
            0..=3 => self.append(),
            4 => _ = self.writer.commit(0, 0),
            5 => self.tend(),
            6 => {
                let bytes = self.prng.below(20) * SLAB;
                self.writer.set_cap(bytes);
            }
            7 => self.finish_some(),
            _ => self.turn(),
        }
        self.check_pinned();
    }

    fn append(&mut self) {
        let packets = 1 + self.prng.below(8) as usize;
        let bytes: Vec<u8> = (0..packets * PACKET).map(|_| self.prng.next_u64() as u8).collect();
        let head_before = self.writer.head();
        let reserved = self.prng.chance(300) && self.writer.reserve(bytes.len(), &mut self.cache);
        let appended = match self.writer.append(&bytes, &mut self.cache) {
            Ok(()) => bytes.len(),
            Err(full) => {
                assert!(!reserved, "what was reserved cannot fail");
                self.full += 1;
                full.appended_bytes
            }
        };
        assert!(appended.is_multiple_of(PACKET));
        self.truth.extend(&bytes[..appended]);
        assert_eq!(self.writer.written(), self.truth.len() as u64);
        assert_eq!(self.writer.ring().head(), head_before, "append publishes nothing");
        if self.prng.chance(800) {
            assert_eq!(self.writer.commit(0, 0), self.truth.len() as u64);
        }
    }

    fn tend(&mut self) {
        let tended = self.writer.tend(&mut self.cache);
        let kept = self.pinned_below_tail();
        assert_eq!(tended.condemned_bytes, kept.len() as u64 * SLAB, "nothing else is kept");
        let too_much = kept.len().saturating_sub((self.writer.cap_bytes() / SLAB / 4) as usize);
        let last = too_much.checked_sub(1).and_then(|last| kept.iter().nth(last));
        assert_eq!(tended.evict_below, last.map(|slab| (slab + 1) * SLAB));
        let Some(below) = tended.evict_below else { return };
        if self.prng.chance(300) {
            for client in &mut self.readers {
                let (old, young) = client.pinned.drain(..).partition(|p| p.offset() < below);
                client.pinned = young;
                let old: Vec<Pinned> = old;
                self.evictions += old.len() as u32;
                old.into_iter().for_each(|pinned| client.reader.done(pinned));
            }
        }
    }

    /// The slabs that left the ring with an operation on them.
    fn pinned_below_tail(&self) -> BTreeSet<u64> {
        let pinned = self.readers.iter().flat_map(|client| &client.pinned);
        let slabs = pinned.flat_map(|pinned| pinned.offset() / SLAB..=(pinned.end() - 1) / SLAB);
        slabs.filter(|slab| slab * SLAB < self.writer.tail()).collect()
    }

    fn finish_some(&mut self) {
        let client = &mut self.readers[self.prng.below(READERS as u64) as usize];
        while !client.pinned.is_empty() && self.prng.chance(700) {
            let which = self.prng.below(client.pinned.len() as u64) as usize;
            client.reader.done(client.pinned.swap_remove(which));
        }
        assert_eq!(client.reader.in_flight() as usize, client.pinned.len());
    }

    fn turn(&mut self) {
        let client = &mut self.readers[self.prng.below(READERS as u64) as usize];
        let mut turn = client.reader.turn(client.cursor);
        assert_eq!((turn.head(), turn.tail()), (self.writer.head(), self.writer.tail()));
        let mut cursor = match client.cursor {
            Some(cursor) if cursor >= turn.tail() => cursor,
            Some(_) => {
                self.lapped += 1;
                turn.head()
            }
            // Begins anywhere behind live.
            None => turn.tail() + self.prng.below(turn.head() - turn.tail() + 1),
        };
        while cursor < turn.head() && self.prng.chance(700) {
            let len_max = 1 + self.prng.below(3 * SLAB) as usize;
            let bytes = turn.bytes(cursor, len_max).len();
            if self.prng.chance(400) {
                let pinned = turn.pin(cursor, len_max);
                assert_eq!((pinned.len(), pinned.offset()), (bytes, cursor));
                client.pinned.push(pinned);
            }
            let at = cursor as usize;
            assert_eq!(turn.bytes(cursor, len_max), &self.truth[at..at + bytes]);
            let end = run_end(turn.ring(), cursor, turn.head().min(cursor + len_max as u64));
            self.crossed += u32::from(cursor / SLAB < (end - 1) / SLAB);
            cursor += bytes as u64;
            assert_eq!(cursor, end);
        }
        assert!(turn.bytes(turn.head(), 1_000).is_empty());
        drop(turn);
        client.cursor = (!self.prng.chance(50)).then_some(cursor);
    }

    fn check_pinned(&self) {
        for client in &self.readers {
            for pinned in &client.pinned {
                let at = pinned.offset() as usize;
                assert_eq!(pinned.as_slice(), &self.truth[at..at + pinned.len()]);
            }
        }
    }

    /// Everything comes back to the arena, and not before the last pin is gone.
    fn finish(mut self) -> [u32; 4] {
        let some_pinned = self.readers.iter().any(|c| c.reader.in_flight() > 0);
        let closed = self.writer.close(&mut self.cache);
        assert_eq!(closed.is_err(), some_pinned);
        for client in &mut self.readers {
            assert!(client.reader.turn(None).ended());
            for pinned in client.pinned.drain(..) {
                client.reader.done(pinned);
            }
        }
        if let Err(writer) = closed {
            assert!(writer.close(&mut self.cache).is_ok());
        }
        drop(self.cache);
        assert_eq!(self.arena.slabs_free(), self.arena.slabs_total());
        assert_eq!((self.arena.slabs_lost(), self.arena.slabs_promised()), (0, 0));
        [self.evictions, self.lapped, self.full, self.crossed]
    }
}

/// Where the stream goes on elsewhere in memory, at `end` at the latest.
fn run_end(ring: &Ring, from: u64, end: u64) -> u64 {
    let slab = |offset: u64| ring.table.get(offset / SLAB);
    let mut boundaries = (1..).map(|slabs| (from / SLAB + slabs) * SLAB);
    let ends = |at: &u64| *at >= end || slab(*at) != slab(*at - 1) + 1;
    boundaries.find(ends).map_or(end, |at| at.min(end))
}

#[test]
fn every_byte_is_the_one_that_was_written() {
    let (seeds, steps) = if cfg!(miri) { (4, 150) } else { (150, 1_000) };
    let mut seen = [0; 4];
    for seed in 0..seeds {
        let mut world = World::new(seed);
        for _ in 0..steps {
            world.step();
        }
        let found = world.finish();
        seen.iter_mut().zip(found).for_each(|(seen, found)| *seen += found);
    }
    assert!(seen.iter().all(|seen| *seen > 0), "something was not tried: {seen:?}");
}
