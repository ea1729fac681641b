//! Real threads: one writer that never waits, two readers that check every byte, and operations
//! that stay in flight while the ring laps them.

use super::PACKET;
use super::check_bytes;
use super::packets_at;
use super::small_arena;
use crate::base::prng::Prng;
use crate::ring::Pinned;
use crate::ring::Reader;
use crate::ring::SlabCache;
use crate::ring::Writer;
use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

const SLAB_PACKETS: usize = 8;
const SLAB: u64 = (SLAB_PACKETS * PACKET) as u64;
const IN_FLIGHT_MAX: usize = 4;

fn read_until_ended(mut reader: Reader, seed: u64, read_bytes: &AtomicU64) {
    let mut prng = Prng::new(seed);
    let mut cursor = None;
    let mut in_flight: VecDeque<Pinned> = VecDeque::new();
    loop {
        let ended = reader.ring().is_ended();
        let mut turn = reader.turn(cursor);
        let (tail, head) = (turn.tail(), turn.head());
        let mut at = match cursor {
            Some(cursor) if cursor >= tail => cursor,
            Some(_) => head,
            None => tail,
        };
        while at < head {
            let len_max = 1 + prng.below(2 * SLAB) as usize;
            let bytes = turn.bytes(at, len_max);
            check_bytes(bytes, at);
            read_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if prng.chance(300) && in_flight.len() < IN_FLIGHT_MAX {
                in_flight.push_back(turn.pin(at, len_max));
            }
            at += turn.bytes(at, len_max).len() as u64;
        }
        drop(turn);
        cursor = Some(at);
        if in_flight.len() == IN_FLIGHT_MAX || ended || prng.chance(200) {
            while let Some(pinned) = in_flight.pop_front() {
                check_bytes(pinned.as_slice(), pinned.offset());
                reader.done(pinned);
            }
        }
        if ended && at == reader.ring().head() {
            return;
        }
        if at == head {
            std::thread::yield_now();
        }
    }
}

#[test]
fn no_byte_changes_under_a_reader() {
    let arena = small_arena(SLAB_PACKETS, 64);
    let promise = arena.promise(8 * SLAB).unwrap();
    let writer = Writer::open(arena, promise, 2, 6 * SLAB, 1);
    let readers: Vec<_> = (0..2).map(|r| Reader::new(writer.ring().clone(), r)).collect();
    let rounds = if cfg!(miri) { 60 } else { 6_000 };
    let read = [AtomicU64::new(0), AtomicU64::new(0)];
    let has_read = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed) > 0;
    std::thread::scope(|scope| {
        // Here, so that a panic ends the stream, and with it the readers.
        let mut writer = writer;
        let readers: Vec<_> = readers
            .into_iter()
            .zip(&read)
            .zip(1..)
            .map(|((reader, read), seed)| scope.spawn(move || read_until_ended(reader, seed, read)))
            .collect();
        let mut cache = SlabCache::new(arena);
        let mut prng = Prng::new(99);
        let mut round = 0;
        while round < rounds || !read.iter().all(has_read) {
            round += 1;
            let bytes = packets_at(writer.written(), 1 + prng.below(12) as usize);
            let mut rest = bytes.as_slice();
            while let Err(full) = writer.append(rest, &mut cache) {
                rest = &rest[full.appended_bytes..];
                writer.commit(0, 0);
                writer.tend(&mut cache);
                std::thread::yield_now();
            }
            writer.commit(0, 0);
            writer.tend(&mut cache);
        }
        writer.end();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert!(writer.close(&mut cache).is_ok());
    });
    assert_eq!((arena.slabs_free(), arena.slabs_lost()), (64, 0));
}
