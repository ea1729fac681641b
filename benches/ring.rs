//! What the ring costs: `cargo bench --bench ring`.

mod rig;

use rig::Case;
use rig::Rig;
use ringcast::ring::Arena;
use ringcast::ring::ArenaConfig;
use ringcast::ring::Pinned;
use ringcast::ring::Reader;
use ringcast::ring::SlabCache;
use ringcast::ring::Writer;
use std::sync::Arc;

const MIB: usize = 1 << 20;
/// Slab-sized thirds: what an engine's read of about 64 KiB appends.
const CHUNK_BYTES: usize = 340 * 188;
const VIEWERS: u64 = 1_000;
/// As many pins as sixteen shards, the mirror and a disk writer have.
const READERS: usize = 18;

struct Ring {
    writer: Writer,
    cache: SlabCache,
}

impl Ring {
    fn open(arena: &'static Arena) -> Self {
        let promise = arena.promise(8 * MIB as u64).expect("8 MiB of 64");
        let writer = Writer::open(arena, promise, READERS, 16 * MIB as u64, 1);
        Self { writer, cache: SlabCache::new(arena) }
    }

    /// A ring with one chunk in it, and who reads it.
    fn with_reader(arena: &'static Arena) -> (Self, Reader) {
        let mut ring = Self::open(arena);
        ring.append(&[1; CHUNK_BYTES]);
        let reader = ring.reader(0);
        (ring, reader)
    }

    fn reader(&self, index: usize) -> Reader {
        Reader::new(Arc::clone(self.writer.ring()), index)
    }

    fn append(&mut self, bytes: &[u8]) {
        self.writer.append(bytes, &mut self.cache).expect("nobody holds a slab for long");
        self.writer.commit(0, 0);
        self.writer.tend(&mut self.cache);
    }
}

fn main() {
    let mut rig = Rig::from_args();
    let config = ArenaConfig {
        budget_bytes: 64 * MIB as u64,
        page_bytes: 4_096,
        region_bytes_max: 64 * MIB,
    };
    let arena = Arena::reserve(&config).expect("address space");
    let case = |name, what, rounds| Case { name, what, per_round: 1, rounds, is_counted: true };
    rig.run(
        case("ring_turn", "a turn: pin, fence, tail, head, unpin", 20_000_000),
        || Ring::with_reader(arena),
        counted::ring_turn,
    );
    rig.run(
        Case {
            per_round: VIEWERS,
            ..case("ring_bytes", "bytes() for one of 1 000 viewers", 20_000)
        },
        || Ring::with_reader(arena),
        counted::ring_bytes,
    );
    rig.run(
        case("ring_pin", "a turn with one pin(), and its done()", 20_000_000),
        || Pinning::new(arena),
        counted::ring_pin,
    );
    rig.run(
        case("ring_append", "63 920 bytes appended, committed, tended", 200_000),
        || (Ring::open(arena), vec![1; CHUNK_BYTES]),
        counted::ring_append,
    );
    let crossing = case("ring_cross", "from a commit to its reading on another core", 500_000);
    rig.run(
        Case { per_round: 2, is_counted: false, ..crossing },
        || (Ring::open(arena), Ring::open(arena)),
        counted::ring_cross,
    );
    rig.finish();
}

/// A reader with a send in flight, as it nearly always has one.
struct Pinning {
    _ring: Ring,
    reader: Reader,
    _first: Pinned,
}

impl Pinning {
    fn new(arena: &'static Arena) -> Self {
        let (ring, mut reader) = Ring::with_reader(arena);
        let first = reader.turn(Some(0)).pin(0, 188);
        Self { _ring: ring, reader, _first: first }
    }
}

mod counted {
    use super::*;

    #[inline(never)]
    pub(super) fn ring_turn((_, reader): &mut (Ring, Reader), rounds: u64) -> u64 {
        (0..rounds).map(|_| reader.turn(Some(0)).head()).fold(0, u64::wrapping_add)
    }

    #[inline(never)]
    pub(super) fn ring_bytes((_, reader): &mut (Ring, Reader), rounds: u64) -> u64 {
        let mut sum = 0_u64;
        for _ in 0..rounds {
            let turn = reader.turn(Some(0));
            for viewer in 0..VIEWERS {
                let bytes = turn.bytes(viewer * 188 % CHUNK_BYTES as u64, 65_536);
                sum += bytes.len() as u64 + u64::from(bytes[0]);
            }
        }
        sum
    }

    #[inline(never)]
    pub(super) fn ring_pin(pinning: &mut Pinning, rounds: u64) -> u64 {
        let reader = &mut pinning.reader;
        let mut sum = 0;
        for _ in 0..rounds {
            let pinned = reader.turn(Some(0)).pin(188, 65_536);
            sum += pinned.len() as u64;
            reader.done(pinned);
        }
        sum
    }

    #[inline(never)]
    pub(super) fn ring_append((ring, chunk): &mut (Ring, Vec<u8>), rounds: u64) -> u64 {
        (0..rounds).for_each(|_| ring.append(chunk));
        ring.writer.head()
    }

    /// Two threads: a packet is committed, the other sees and reads it, and answers in a ring of
    /// its own.
    #[inline(never)]
    pub(super) fn ring_cross((there, back): &mut (Ring, Ring), rounds: u64) -> u64 {
        let (mut reader_there, mut reader_back) = (there.reader(0), back.reader(0));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for round in 0..rounds {
                    wait_for(&mut reader_there, round * 188);
                    back.append(&[2; 188]);
                }
            });
            let mut sum = 0;
            for round in 0..rounds {
                there.append(&[1; 188]);
                sum += u64::from(wait_for(&mut reader_back, round * 188));
            }
            sum
        })
    }

    fn wait_for(reader: &mut Reader, offset: u64) -> u8 {
        while reader.ring().head() <= offset {
            std::hint::spin_loop();
        }
        reader.turn(Some(offset)).bytes(offset, 188)[0]
    }
}
