//! What the ring costs, in nanoseconds: `cargo bench --bench ring`.
//!
//! Without `--bench` (as under `cargo test --benches`) it runs a thousandth of it, so that it
//! cannot rot. It prints a sum over the bytes that it read: equal sums, equal work.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use ringcast::base::time::now;
use ringcast::ring::Arena;
use ringcast::ring::ArenaConfig;
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
    let large = std::env::args().any(|argument| argument == "--bench");
    let rounds = |full: u64| if large { full } else { full / 1_000 };
    let config = ArenaConfig {
        budget_bytes: 64 * MIB as u64,
        page_bytes: 4_096,
        region_bytes_max: 64 * MIB,
    };
    let arena = Arena::reserve(&config).expect("address space");
    let mut sum = 0;
    sum += turn(arena, rounds(20_000_000));
    sum += bytes_of_many_viewers(arena, rounds(20_000));
    sum += pin_and_done(arena, rounds(20_000_000));
    sum += append_and_commit(arena, rounds(200_000));
    sum += commit_to_read(arena, rounds(1_000_000));
    println!("sum {sum:016x}");
}

fn report(what: &str, times: u64, run: impl FnOnce() -> u64) -> u64 {
    let start = now();
    let sum = run();
    let elapsed_ns = now().since(start).as_nanos() as f64;
    println!("{what:<44} {:>9.2} ns", elapsed_ns / times.max(1) as f64);
    sum
}

fn turn(arena: &'static Arena, times: u64) -> u64 {
    let mut ring = Ring::open(arena);
    ring.append(&[1; CHUNK_BYTES]);
    let mut reader = ring.reader(0);
    report("a turn (pin, fence, tail, head, unpin)", times, || {
        (0..times).map(|_| reader.turn(Some(0)).head()).fold(0, u64::wrapping_add)
    })
}

fn bytes_of_many_viewers(arena: &'static Arena, times: u64) -> u64 {
    let mut ring = Ring::open(arena);
    ring.append(&[1; CHUNK_BYTES]);
    let mut reader = ring.reader(0);
    report("per viewer of 1000: bytes() in one turn", times * VIEWERS, || {
        let mut sum = 0_u64;
        for _ in 0..times {
            let turn = reader.turn(Some(0));
            for viewer in 0..VIEWERS {
                let bytes = turn.bytes(viewer * 188 % CHUNK_BYTES as u64, 65_536);
                sum += bytes.len() as u64 + u64::from(bytes[0]);
            }
        }
        sum
    })
}

fn pin_and_done(arena: &'static Arena, times: u64) -> u64 {
    let mut ring = Ring::open(arena);
    ring.append(&[1; CHUNK_BYTES]);
    let mut reader = ring.reader(0);
    let first = reader.turn(Some(0)).pin(0, 188);
    let sum = report("a turn with one pin(), and its done()", times, || {
        let mut sum = 0;
        for _ in 0..times {
            let pinned = reader.turn(Some(0)).pin(188, 65_536);
            sum += pinned.len() as u64;
            reader.done(pinned);
        }
        sum
    });
    reader.done(first);
    sum
}

fn append_and_commit(arena: &'static Arena, times: u64) -> u64 {
    let mut ring = Ring::open(arena);
    let chunk = vec![1; CHUNK_BYTES];
    report("append 63 920 bytes, commit, tend", times, || {
        (0..times).for_each(|_| ring.append(&chunk));
        ring.writer.head()
    })
}

/// Two threads: a packet is committed, the other sees and reads it, and answers in a ring of its
/// own. Half a round trip.
fn commit_to_read(arena: &'static Arena, times: u64) -> u64 {
    let (mut there, mut back) = (Ring::open(arena), Ring::open(arena));
    let (mut reader_there, mut reader_back) = (there.reader(0), back.reader(0));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for round in 0..times {
                wait_for(&mut reader_there, round * 188);
                back.append(&[2; 188]);
            }
        });
        report("commit to read on another core", 2 * times, || {
            let mut sum = 0;
            for round in 0..times {
                there.append(&[1; 188]);
                sum += u64::from(wait_for(&mut reader_back, round * 188));
            }
            sum
        })
    })
}

fn wait_for(reader: &mut Reader, offset: u64) -> u8 {
    while reader.ring().head() <= offset {
        std::hint::spin_loop();
    }
    reader.turn(Some(offset)).bytes(offset, 188)[0]
}
