//! Random operations of one owner and three readers, against a plain queue of bytes: what a turn
//! says is in the file is what was committed, also while the owner goes on under the turn.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

use super::SLAB;
use super::content;
use super::small_arena;
use crate::base::prng::Prng;
use crate::base::sizes::SLAB_PACKETS_AT_4K;
use crate::ring::Arena;
use crate::ring::Pinned;
use crate::ring::Reader;
use crate::ring::SlabCache;
use crate::ring::Turn;
use crate::ring::TwinError;
use crate::ring::Writer;

const READERS: usize = 3;
const APPEND_BYTES_MAX: usize = 700 * 188;

struct Owner {
    prng: Prng,
    arena: &'static Arena,
    cache: SlabCache,
    writer: Writer,
    /// What the stream consists of, here and there.
    noise: Vec<u8>,
    /// All that was ever appended.
    truth: Vec<u8>,
    /// Of the open twin.
    window: u64,
    /// What the window has from here on is in the open twin.
    there_from: u64,
    seen: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    shared: u32,
    gave_up: u32,
    refused: u32,
    reopened: u32,
}

impl Owner {
    fn new(seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        let arena = small_arena(SLAB_PACKETS_AT_4K, 24 + prng.below(40) as u32);
        let promise = arena.promise(prng.below(4) * SLAB).expect("within the budget");
        let writer = Writer::open(arena, promise, READERS, (2 + prng.below(10)) * SLAB, 1);
        let cache = SlabCache::new(arena);
        let noise = (0..2 * APPEND_BYTES_MAX).map(|_| prng.next_u64() as u8).collect();
        let (truth, seen) = (Vec::new(), Seen::default());
        Self { prng, arena, cache, writer, noise, truth, window: 0, there_from: 0, seen }
    }

    fn step(&mut self) {
        match self.prng.below(12) {
            0..=5 => self.append(),
            6 | 7 => _ = self.writer.tend(&mut self.cache),
            8 => self.open(),
            9 if self.prng.chance(200) => self.writer.close_twin(),
            10 if self.prng.chance(100) => self.run_out(),
            _ => _ = self.writer.commit(0, 0),
        }
    }

    fn append(&mut self) {
        let packets = 1 + self.prng.below((APPEND_BYTES_MAX / 188) as u64) as usize;
        let at = self.prng.below(APPEND_BYTES_MAX as u64) as usize;
        let bytes = &self.noise[at..at + packets * 188];
        let appended = match self.writer.append(bytes, &mut self.cache) {
            Ok(()) => bytes.len(),
            Err(full) => full.appended_bytes,
        };
        self.truth.extend(&bytes[..appended]);
        if self.prng.chance(800) {
            self.commit();
        }
    }

    fn commit(&mut self) {
        let had = self.writer.has_twin();
        self.writer.commit(0, 0);
        self.seen.gave_up += u32::from(had && !self.writer.has_twin());
    }

    fn open(&mut self) {
        let had = self.writer.has_twin();
        let was_empty = self.arena.twin_bytes() == 0;
        let window = self.prng.below(8 * SLAB);
        match self.writer.open_twin(window) {
            Ok(()) if had => {}
            Ok(()) => {
                self.seen.reopened += 1;
                self.window = window;
                let head = self.writer.head();
                // Over what a running turn still holds of an earlier one it may begin later.
                let from = if was_empty { head.saturating_sub(window) } else { head };
                self.there_from = from.next_multiple_of(SLAB);
            }
            Err(TwinError::NoMemory | TwinError::Write(_)) => self.seen.refused += 1,
            Err(other) => panic!("{other}"),
        }
        self.allow(None);
    }

    /// The memory is full from somewhere in the next bytes on, until the next opening.
    fn run_out(&mut self) {
        let room = self.prng.below(SLAB) as usize;
        self.allow(Some(room));
    }

    fn allow(&self, room: Option<usize>) {
        if let Some(file) = self.writer.ring().twin_file.get() {
            *file.pretend.room_bytes.lock().unwrap() = room;
        }
    }

    /// What this turn may send, wherever it asks.
    fn check(&mut self, turn: &Turn<'_>, lowest: u64) {
        for _ in 0..4 {
            let span = turn.head().saturating_sub(lowest);
            let offset = lowest + self.prng.below(span + 1);
            let len_max = self.prng.below(SLAB + SLAB / 2) as usize;
            let Some(shared) = turn.shared(offset, len_max) else { continue };
            assert!(shared.len > 0 && shared.at == offset);
            assert_eq!(shared.len as u64, (turn.head() - offset).min(len_max as u64));
            let at = offset as usize;
            assert!(content(&shared) == self.truth[at..at + shared.len], "at {at}");
            self.seen.shared += 1;
        }
    }

    fn turn(&mut self, reader: &mut Reader, pinned: &mut Vec<Pinned>) {
        let lowest = self.writer.head().saturating_sub(self.prng.below(12 * SLAB));
        let mut turn = reader.turn(Some(lowest));
        let lowest = lowest.max(turn.tail());
        if self.writer.has_twin() {
            let window = turn.head().saturating_sub(self.window);
            let from = window.max(self.there_from).max(lowest);
            let there = from >= turn.head() || turn.shared(from, 1).is_some();
            assert!(there, "{from} is within the window");
        }
        self.check(&turn, lowest);
        for _ in 0..self.prng.below(30) {
            self.step();
        }
        self.check(&turn, lowest);
        if lowest < turn.head() && self.prng.chance(200) && pinned.len() < 3 {
            pinned.push(turn.pin(lowest, 5_000));
        }
    }
}

#[test]
fn every_byte_that_is_shared_is_the_one_that_was_committed() {
    let mut total = Seen::default();
    for seed in 0..30 {
        let mut owner = Owner::new(seed);
        let reader = |index| (Reader::new(owner.writer.ring().clone(), index), Vec::new());
        let mut readers: Vec<(Reader, Vec<Pinned>)> = (0..READERS).map(reader).collect();
        for _ in 0..40 {
            (0..owner.prng.below(8)).for_each(|_| owner.step());
            let which = owner.prng.below(READERS as u64) as usize;
            let (reader, pinned) = &mut readers[which];
            owner.turn(reader, pinned);
            if owner.prng.chance(300) {
                pinned.drain(..).for_each(|pinned| reader.done(pinned));
            }
        }
        for (reader, pinned) in &mut readers {
            pinned.drain(..).for_each(|pinned| reader.done(pinned));
        }
        let Owner { writer, mut cache, arena, seen, .. } = owner;
        let ring = writer.ring().clone();
        assert!(writer.close(&mut cache).is_ok());
        drop(cache);
        assert_eq!((arena.twin_bytes(), arena.slabs_free()), (0, arena.slabs_total()));
        if let Some(file) = ring.twin_file.get() {
            assert_eq!(rustix::fs::fstat(file.fd()).unwrap().st_blocks, 0);
        }
        total.shared += seen.shared;
        total.gave_up += seen.gave_up;
        total.refused += seen.refused;
        total.reopened += seen.reopened;
    }
    let Seen { shared, gave_up, refused, reopened } = total;
    assert!(shared > 1_000 && gave_up > 0 && refused > 0 && reopened > 50, "{total:?}");
}
