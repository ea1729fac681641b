//! The protocol under loom: the real types, with loom's atomics and its watch over the memory
//! (a cell for each packet: a read and a write of it that nothing orders fail the model).
//!
//! `RUSTFLAGS="--cfg ringcast_loom" cargo test --lib --release --target-dir target/loom ring::loom`
//!
//! Slabs of one packet and a cap of two, so that the third packet is written into the memory of
//! the first as soon as the owner thinks that nobody reads it.

use crate::base::sizes::PACKET_BYTES;
use crate::ring::Access;
use crate::ring::Reader;
use crate::ring::SlabCache;
use crate::ring::Turn;
use crate::ring::Writer;
use crate::ring::free_list::FreeList;
use crate::ring::index::Log;
use crate::ring::small_arena;
use crate::ring::sync::Shadow;
use loom::thread;
use std::sync::Arc;

const SLAB: u64 = PACKET_BYTES as u64;

/// Involuntary switches in one execution (LOOM_MAX_PREEMPTIONS overrides it): three find every
/// mistake that was made on purpose, two where the model is largest.
const PREEMPTIONS_MAX: usize = 3;

fn check(model: impl Fn() + Sync + Send + 'static) {
    check_within(PREEMPTIONS_MAX, model);
}

fn check_within(preemptions_max: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(preemptions_max);
    }
    builder.check(model);
}

/// A ring of two slabs that holds the packets 0 and 1.
struct Owner {
    writer: Writer,
    cache: SlabCache,
}

impl Owner {
    fn new(slabs_total: u32, readers: usize) -> Self {
        let arena = small_arena(1, slabs_total);
        let promise = arena.promise(2 * SLAB).unwrap();
        let writer = Writer::open(arena, promise, readers, 2 * SLAB, 1);
        let mut owner = Self { writer, cache: SlabCache::new(arena) };
        owner.append();
        owner.append();
        owner
    }

    fn reader(&self, index: usize) -> Reader {
        Reader::new(Arc::clone(self.writer.ring()), index)
    }

    /// A packet that consists of its own number.
    fn append(&mut self) {
        let number = (self.writer.written() / SLAB) as u8;
        if self.writer.append(&[number; PACKET_BYTES], &mut self.cache).is_ok() {
            self.writer.commit(0, 0);
        }
    }
}

/// What a viewer at `cursor` does in a turn; the turn's end is the caller's.
fn read(turn: &Turn<'_>, cursor: u64) {
    let mut at = cursor.max(turn.tail());
    while at < turn.head() {
        assert_eq!(turn.bytes(at, PACKET_BYTES), [(at / SLAB) as u8; PACKET_BYTES]);
        at += SLAB;
    }
    // Once more: what was readable stays so until the turn ends.
    let at = cursor.max(turn.tail());
    turn.bytes(at, PACKET_BYTES);
}

#[test]
fn a_turn_keeps_what_it_reads() {
    check(|| {
        let mut owner = Owner::new(4, 2);
        let readers = [0, 1].map(|index| {
            let mut reader = owner.reader(index);
            thread::spawn(move || {
                let cursor = index as u64 * SLAB;
                read(&reader.turn(Some(cursor)), cursor);
            })
        });
        owner.append();
        owner.append();
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn an_operation_in_flight_keeps_its_slab() {
    check_within(2, || {
        let mut owner = Owner::new(4, 2);
        let mut first = owner.reader(0);
        let first = thread::spawn(move || {
            let mut turn = first.turn(Some(0));
            if turn.tail() == 0 {
                let pinned = turn.pin(0, PACKET_BYTES);
                drop(turn);
                // A turn of other viewers comes and goes.
                let head = first.ring().head();
                drop(first.turn(Some(head)));
                assert_eq!(pinned.as_slice(), [0; PACKET_BYTES]);
                first.done(pinned);
            }
        });
        let mut second = owner.reader(1);
        let second = thread::spawn(move || read(&second.turn(Some(0)), 0));
        owner.append();
        owner.writer.tend(&mut owner.cache);
        owner.append();
        first.join().unwrap();
        second.join().unwrap();
    });
}

#[test]
fn an_operation_over_two_neighbours_keeps_both() {
    check_within(2, || {
        let mut owner = Owner::new(4, 1);
        let mut reader = owner.reader(0);
        let reader = thread::spawn(move || {
            let mut turn = reader.turn(Some(0));
            if turn.tail() == 0 {
                let pinned = turn.pin(0, 2 * PACKET_BYTES);
                drop(turn);
                assert_eq!(
                    pinned.as_slice(),
                    [[0; PACKET_BYTES], [1; PACKET_BYTES]].as_flattened()
                );
                reader.done(pinned);
            }
        });
        (0..3).for_each(|_| owner.append());
        reader.join().unwrap();
    });
}

#[test]
fn a_slab_that_two_hold_comes_back_after_both() {
    check_within(2, || {
        let mut owner = Owner::new(4, 2);
        let readers = [0, 1].map(|index| {
            let mut reader = owner.reader(index);
            thread::spawn(move || {
                let mut turn = reader.turn(Some(0));
                if turn.tail() > 0 {
                    return;
                }
                let pinned = turn.pin(0, PACKET_BYTES);
                drop(turn);
                assert_eq!(pinned.as_slice(), [0; PACKET_BYTES]);
                reader.done(pinned);
            })
        });
        owner.append();
        owner.writer.tend(&mut owner.cache);
        owner.append();
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn a_condemned_slab_is_looked_at_again_without_a_fence() {
    check(|| {
        let mut owner = Owner::new(4, 1);
        let mut reader = owner.reader(0);
        let reader = thread::spawn(move || {
            // Down, up and down again between two looks of the owner.
            read(&reader.turn(Some(0)), 0);
            read(&reader.turn(Some(0)), 0);
        });
        owner.append();
        owner.writer.tend(&mut owner.cache);
        owner.append();
        owner.writer.tend(&mut owner.cache);
        reader.join().unwrap();
    });
}

#[test]
fn a_turn_may_reach_for_an_older_access_point() {
    check(|| {
        let mut owner = Owner::new(4, 1);
        let point = Access { offset: 0, media_us: 0, psi_version: 1, pat_cc: 0, pmt_cc: [0; 8] };
        owner.writer.push_access(point);
        owner.writer.commit(0, 0);
        let mut reader = owner.reader(0);
        let reader = thread::spawn(move || {
            let head = reader.ring().head();
            let turn = reader.turn(Some(head));
            if let Some(access) = turn.oldest_access() {
                let number = (access.offset / SLAB) as u8;
                assert_eq!(turn.bytes(access.offset, PACKET_BYTES), [number; PACKET_BYTES]);
                turn.bytes(access.offset, PACKET_BYTES);
            }
        });
        owner.append();
        owner.writer.push_access(Access { offset: 2 * SLAB, ..point });
        owner.writer.commit(0, 0);
        owner.append();
        reader.join().unwrap();
    });
}

/// What a turn sends from the twin: all that is said to be there, and once more before it ends.
fn send(turn: &Turn<'_>) {
    let packets = turn.tail() / SLAB..turn.head() / SLAB;
    for _ in 0..2 {
        for packet in packets.clone() {
            turn.shared(packet * SLAB, PACKET_BYTES);
        }
    }
}

#[test]
fn a_turn_keeps_the_pages_that_it_sends() {
    check_within(2, || {
        let mut owner = Owner::new(8, 2);
        owner.writer.open_twin(SLAB).unwrap();
        let readers = [0, 1].map(|index| {
            let mut reader = owner.reader(index);
            thread::spawn(move || send(&reader.turn(Some(index as u64 * SLAB))))
        });
        owner.append();
        owner.writer.tend(&mut owner.cache);
        owner.append();
        owner.writer.tend(&mut owner.cache);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn a_twin_is_closed_and_opened_again_under_a_turn() {
    check(|| {
        let mut owner = Owner::new(8, 1);
        owner.writer.open_twin(SLAB).unwrap();
        let mut reader = owner.reader(0);
        let reader = thread::spawn(move || {
            send(&reader.turn(Some(0)));
            send(&reader.turn(Some(0)));
        });
        owner.writer.close_twin();
        owner.writer.open_twin(2 * SLAB).unwrap();
        owner.append();
        owner.writer.tend(&mut owner.cache);
        reader.join().unwrap();
        owner.writer.close_twin();
        assert_eq!(owner.cache.arena().twin_bytes(), 0);
    });
}

#[test]
fn a_reader_that_goes_away_leaves_its_slab_unused() {
    check(|| {
        let mut owner = Owner::new(4, 1);
        let mut reader = owner.reader(0);
        let reader = thread::spawn(move || {
            let mut turn = reader.turn(Some(0));
            let pinned = (turn.tail() == 0).then(|| turn.pin(0, PACKET_BYTES));
            drop(turn);
            drop(reader);
            pinned
        });
        owner.append();
        let pinned = reader.join().unwrap();
        owner.append();
        owner.writer.tend(&mut owner.cache);
        owner.append();
        if let Some(pinned) = pinned {
            assert_eq!(pinned.as_slice(), [0; PACKET_BYTES]);
        }
    });
}

#[test]
fn a_closed_ring_gives_its_slabs_to_another() {
    check(|| {
        let Owner { writer, mut cache } = Owner::new(2, 1);
        let mut reader = Reader::new(Arc::clone(writer.ring()), 0);
        let reader = thread::spawn(move || read(&reader.turn(None), 0));
        if writer.close(&mut cache).is_ok() {
            let arena = cache.arena();
            let promise = arena.promise(0).unwrap();
            let mut next = Writer::open(arena, promise, 1, 2 * SLAB, 2);
            next.append(&[9; 2 * PACKET_BYTES], &mut cache).unwrap();
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_torn_index_entry_is_recognised() {
    check(|| {
        let log = Arc::new(Log::<2>::new(2));
        log.write(0, [10, 10]);
        log.publish(1);
        let reading = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for number in reading.numbers() {
                let words = reading.read(number);
                assert!(words.is_none_or(|words| words == [10 * (number + 1); 2]), "{words:?}");
            }
        });
        for number in 1..4 {
            log.write(number, [10 * (number + 1); 2]);
            log.publish(number + 1);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_free_slab_is_handed_to_one_after_the_other() {
    check(|| {
        let list = Arc::new(FreeList::new(2));
        let memory = Arc::new(Shadow::new(2 * PACKET_BYTES));
        list.push(0);
        list.push(1);
        let use_one = |list: &FreeList, memory: &Shadow| {
            if let Some(number) = list.pop() {
                memory.write(number as usize * PACKET_BYTES, PACKET_BYTES);
                list.push(number);
            }
        };
        let others = [0, 1].map(|_| {
            let (list, memory) = (Arc::clone(&list), Arc::clone(&memory));
            thread::spawn(move || use_one(&list, &memory))
        });
        use_one(&list, &memory);
        for other in others {
            other.join().unwrap();
        }
        assert!(list.pop().is_some() && list.pop().is_some() && list.pop().is_none());
    });
}
