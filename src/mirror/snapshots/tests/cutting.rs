//! Chunks of a ring: whole packets in order, cut by size and by time.

use super::id;
use crate::base::time::Instant;
use crate::mirror::outbox::Chunk;
use crate::mirror::snapshots::Limits;
use crate::mirror::snapshots::Output;
use crate::mirror::snapshots::Seen;
use crate::mirror::snapshots::Snapshots;
use crate::mirror::snapshots::Whose;
use crate::ring::Access;
use crate::ring::SlabCache;
use crate::ring::Writer;
use crate::ring::small_arena;
use std::sync::Arc;
use std::time::Duration;

const PACKET: usize = 188;
const CHUNK: u64 = 100 * PACKET as u64 + 50;
const MBPS: u64 = 1_000_000;
const T0: Instant = Instant::from_micros(1_000_000);

struct Bench {
    writer: Writer,
    cache: SlabCache,
    snapshots: Snapshots,
    now: Instant,
    packets: u64,
    seen: Seen,
    pending: Option<usize>,
}

fn limits() -> Limits {
    Limits { rate_bytes: 100_000_000, memory_bytes: 10_000_000_000, ttl: Duration::from_secs(60) }
}

fn bench(limits: Limits, slabs: u32) -> Bench {
    let arena = small_arena(1_024, slabs);
    let cap = u64::from(slabs) * arena.slab_bytes() as u64;
    let promise = arena.promise(arena.slab_bytes() as u64 * 2).unwrap();
    let writer = Writer::open(arena, promise, 3, cap, 1);
    let mut snapshots = Snapshots::new(limits, CHUNK, T0);
    snapshots.begun(id(1), writer.ring().clone(), T0);
    let seen = Seen { viewers: 1, whose: Some(Whose::Ours { epoch: 7 }) };
    let cache = SlabCache::new(arena);
    Bench { writer, cache, snapshots, now: T0, packets: 0, seen, pending: Some(0) }
}

fn access(offset: u64) -> Access {
    Access { offset, media_us: 0, psi_version: 0, pat_cc: 0, pmt_cc: [0; 8] }
}

impl Bench {
    /// Packets that carry their own number; every hundredth is an access point.
    fn write(&mut self, packets: u64, bitrate_bps: u64) {
        for _ in 0..packets {
            let mut packet = [0x47_u8; PACKET];
            packet[4..12].copy_from_slice(&self.packets.to_be_bytes());
            let offset = self.writer.written();
            self.writer.append(&packet, &mut self.cache).unwrap();
            if self.packets.is_multiple_of(100) {
                self.writer.push_access(access(offset));
            }
            self.packets += 1;
        }
        self.writer.commit(0, bitrate_bps);
        self.writer.tend(&mut self.cache);
    }

    fn pass(&mut self, ms: u64) -> Vec<Output> {
        self.now = self.now + Duration::from_millis(ms);
        let seen = self.seen;
        self.snapshots.round(self.pending, |_| seen, self.now);
        std::iter::from_fn(|| self.snapshots.poll_output()).collect()
    }

    /// The first chunks wait for the index that Redis has.
    fn begin(&mut self, index: Option<u64>) {
        assert_eq!(self.pass(100), [Output::AskIndex(id(1))]);
        assert!(self.pass(100).is_empty(), "asked once");
        self.snapshots.on_index(id(1), Some(index));
    }
}

fn chunks(outputs: Vec<Output>) -> Vec<Chunk> {
    let chunk = |output| match output {
        Output::Chunk(chunk) => chunk,
        other @ (Output::AskIndex(_) | Output::Forget { .. }) => panic!("{other:?}"),
    };
    outputs.into_iter().map(chunk).collect()
}

fn numbers(chunk: &Chunk) -> Vec<u64> {
    assert!(chunk.bytes.len().is_multiple_of(PACKET) && !chunk.bytes.is_empty());
    let number = |packet: &[u8]| u64::from_be_bytes(packet[4..12].try_into().unwrap());
    chunk.bytes.chunks(PACKET).map(number).collect()
}

#[test]
fn chunks_follow_each_other_from_an_access_point_on() {
    let mut bench = bench(limits(), 8);
    bench.write(450, 100 * MBPS);
    bench.begin(Some(41));
    bench.write(450, 100 * MBPS);
    let first = chunks(bench.pass(100));
    bench.write(30, 100 * MBPS);
    let more = chunks(bench.pass(100));
    let all: Vec<u64> = first.iter().chain(&more).flat_map(numbers).collect();
    assert_eq!(all, (700..900).collect::<Vec<_>>(), "from the access point before the newest");
    let chunk = &first[0];
    assert_eq!((chunk.sequence, chunk.first, chunk.epoch), (42, 42, 7));
    assert_eq!(chunk.bytes.len(), 100 * PACKET, "rounded down to packets");
    // What is less than a chunk waits for two seconds.
    assert!(bench.pass(1_800).is_empty());
    let late = chunks(bench.pass(200));
    assert_eq!(numbers(&late[0]), (900..930).collect::<Vec<_>>());
    assert_eq!((late[0].sequence, late[0].first), (44, 42));
    assert!(bench.pass(5_000).is_empty(), "never an empty one");
}

#[test]
fn two_seconds_of_stream_are_a_chunk() {
    let mut bench = bench(limits(), 8);
    bench.write(1, 100_000);
    bench.begin(None);
    // 2 s at 100 kbit/s are 132 packets: less than the size, were it larger.
    bench.snapshots = Snapshots::new(limits(), 1 << 20, T0);
    bench.snapshots.begun(id(1), bench.writer.ring().clone(), T0);
    bench.now = T0;
    bench.begin(None);
    assert!(bench.pass(100).is_empty(), "one packet is not enough yet");
    bench.write(300, 100_000);
    let cut = chunks(bench.pass(100));
    assert_eq!(cut.iter().map(|chunk| chunk.bytes.len() / PACKET).collect::<Vec<_>>(), [132, 132]);
    assert_eq!(cut[0].sequence, 1);
}

#[test]
fn a_ring_that_overtakes_the_mirror_begins_a_new_series() {
    let mut bench = bench(limits(), 4);
    bench.write(100, MBPS);
    bench.begin(None);
    let before = chunks(bench.pass(100));
    assert_eq!(before.last().unwrap().first, 1);
    // No connection for a while.
    bench.pending = None;
    (0..400).for_each(|_| bench.write(50, MBPS));
    assert!(bench.pass(100).is_empty());
    bench.pending = Some(0);
    bench.write(200, MBPS);
    let after = chunks(bench.pass(100));
    let next = before.last().unwrap().sequence + 1;
    assert_eq!((after[0].sequence, after[0].first), (next, next));
    assert_eq!(numbers(&after[0])[0] % 100, 0, "from an access point");
}

#[test]
fn what_was_lost_on_the_way_is_followed_by_a_new_series() {
    let mut bench = bench(limits(), 8);
    bench.write(100, 100 * MBPS);
    bench.begin(None);
    bench.write(300, 100 * MBPS);
    let cut = chunks(bench.pass(100));
    assert_eq!(
        cut.iter().map(|chunk| (chunk.sequence, chunk.first)).collect::<Vec<_>>(),
        [(1, 1), (2, 1)]
    );
    let next = |bench: &mut Bench| {
        bench.write(100, 100 * MBPS);
        let cut = chunks(bench.pass(100));
        (cut[0].sequence, cut[0].first)
    };
    assert_eq!(next(&mut bench), (3, 1));
    bench.snapshots.lost(&id(1), 1);
    assert_eq!(next(&mut bench), (4, 2), "those behind the one that is missing");
    bench.snapshots.lost_some();
    assert_eq!(next(&mut bench), (5, 5));
    bench.snapshots.lost(&id(1), 2);
    assert_eq!(next(&mut bench), (6, 5), "nor back");
}

#[test]
fn another_epoch_begins_a_new_series_and_a_lost_lease_none() {
    let mut bench = bench(limits(), 8);
    bench.write(100, 100 * MBPS);
    bench.begin(None);
    assert_eq!(chunks(bench.pass(100)).len(), 1);
    bench.seen.whose = Some(Whose::Unknown);
    bench.write(110, 100 * MBPS);
    assert!(bench.pass(100).is_empty());
    bench.seen.whose = Some(Whose::Ours { epoch: 9 });
    bench.begin(None);
    let after = chunks(bench.pass(100));
    assert_eq!((after[0].sequence, after[0].first, after[0].epoch), (2, 2, 9), "not back to 1");
    // While it was away somebody else went on.
    bench.seen.whose = Some(Whose::Ours { epoch: 12 });
    bench.write(110, 100 * MBPS);
    bench.begin(Some(40));
    let after = chunks(bench.pass(100));
    assert_eq!((after[0].sequence, after[0].first, after[0].epoch), (41, 41, 12));
}

#[test]
fn the_rate_the_memory_and_what_is_unwritten_hold_it_back() {
    let rate = 10 * 100 * PACKET as u64;
    let mut bench = bench(Limits { rate_bytes: 1_000_000, ..limits() }, 64);
    bench.write(1, MBPS);
    bench.begin(None);
    bench.pending = Some(8 << 20);
    bench.write(5_000, MBPS);
    assert!(bench.pass(100).is_empty(), "what is cut is not written yet");
    bench.pending = Some(0);
    let cut: usize = chunks(bench.pass(100)).iter().map(|chunk| chunk.bytes.len()).sum();
    assert!(cut as u64 <= 1_000_000, "a second's worth at most: {cut}");

    let mut bench = self::bench(Limits { memory_bytes: rate * 60, ..limits() }, 64);
    bench.write(1, 1);
    bench.begin(None);
    bench.write(60_000, 100_000);
    let mut total = 0;
    for _ in 0..50 {
        total += chunks(bench.pass(100)).iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
    }
    assert!(total as u64 <= rate * 60 + CHUNK, "{total}");
}

#[test]
fn a_stream_that_is_over_leaves_nothing_unless_the_process_ends() {
    for keep in [false, true] {
        let mut bench = bench(limits(), 8);
        bench.write(100, 100 * MBPS);
        bench.begin(None);
        assert_eq!(chunks(bench.pass(100)).len(), 1);
        bench.write(110, 100 * MBPS);
        assert_eq!(chunks(bench.pass(100)).len(), 1);
        let ring = bench.writer.ring().clone();
        let other = self::bench(limits(), 8).writer.ring().clone();
        bench.snapshots.over(id(1), &other, false);
        assert!(bench.snapshots.poll_timeout().is_some(), "another stream's end is not its own");
        bench.snapshots.over(id(1), &ring, keep);
        let forget = Output::Forget { infohash: id(1), sequences: vec![1, 2] };
        assert_eq!(bench.snapshots.poll_output(), (!keep).then_some(forget));
        assert!(bench.snapshots.poll_timeout().is_none());
        // The writer's memory is held by nobody.
        let mut cache = SlabCache::new(bench.writer.ring().arena());
        assert!(bench.writer.close(&mut cache).is_ok());
        drop(Arc::clone(&ring));
    }
}

#[test]
fn what_is_not_known_to_be_ours_is_never_taken_away() {
    let past_every_choice = |bench: &mut Bench| [100, 1_000, 1_000].map(|ms| bench.pass(ms));
    for lost in [Whose::Others, Whose::Unknown] {
        let mut bench = bench(limits(), 8);
        bench.write(100, 100 * MBPS);
        bench.begin(None);
        assert_eq!(chunks(bench.pass(100)).len(), 1);
        bench.seen.whose = Some(lost);
        let said = past_every_choice(&mut bench).concat();
        assert!(said.is_empty(), "{lost:?}: {said:?}");
        // The lease is given back, and nothing more is heard of it.
        bench.seen.whose = None;
        assert!(bench.pass(100).is_empty());
        let ring = bench.writer.ring().clone();
        bench.snapshots.over(id(1), &ring, false);
        assert_eq!(bench.snapshots.poll_output(), None, "{lost:?}");
    }
    // Ours to the end, as far as anybody knows; but not what was written before it was lost.
    let mut bench = bench(limits(), 8);
    bench.write(100, 100 * MBPS);
    bench.begin(None);
    assert_eq!(chunks(bench.pass(100)).len(), 1);
    bench.seen.whose = Some(Whose::Others);
    assert!(past_every_choice(&mut bench).concat().is_empty());
    bench.seen.whose = Some(Whose::Ours { epoch: 9 });
    bench.write(110, 100 * MBPS);
    let said = [900, 100].map(|ms| bench.pass(ms)).concat();
    assert_eq!(said, [Output::AskIndex(id(1))]);
    bench.snapshots.on_index(id(1), Some(None));
    let after = chunks(bench.pass(100));
    bench.seen.whose = None;
    assert!(bench.pass(100).is_empty());
    let ring = bench.writer.ring().clone();
    bench.snapshots.over(id(1), &ring, false);
    let sequences = after.iter().map(|chunk| chunk.sequence).collect();
    let forget = Output::Forget { infohash: id(1), sequences };
    assert_eq!(bench.snapshots.poll_output(), Some(forget));
}
