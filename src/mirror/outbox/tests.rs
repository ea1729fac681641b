//! The queue and the table at their bounds.

use super::*;
use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;
use crate::base::time::Instant;
use crate::base::time::Wall;
use crate::mirror::events::Event;
use crate::mirror::events::What;
use crate::mirror::records::Record;
use crate::mirror::records::ViewerFacts;
use crate::mirror::records::ViewerStats;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

const NOW: Instant = Instant::ZERO;

#[derive(Default)]
struct Counted(AtomicUsize);

impl Waker for Counted {
    fn wake(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn stream(n: u8) -> Infohash {
    Infohash::from_bytes([n; 20])
}

fn stats(id: u64, bytes_sent: u64) -> ViewerStats {
    let at = Wall::from_unix_ms(1_000);
    let (id, infohash) = (ViewerId(id), stream(1));
    ViewerStats { id, infohash, last_active: at, bytes_sent, behind_ms: 0, updated_at: at }
}

fn full(id: u64, bytes_sent: u64) -> ViewerWrite {
    let facts = ViewerFacts {
        stats: stats(id, bytes_sent),
        address: None,
        agent: "VLC".to_owned(),
        name: None,
        connected_at: Wall::from_unix_ms(0),
        is_new: true,
    };
    ViewerWrite::Full(Box::new(facts), Rates::default())
}

fn chunk(sequence: u64, bytes: usize) -> Chunk {
    Chunk { infohash: stream(1), sequence, first: 0, epoch: 1, bytes: vec![0; bytes] }
}

fn event(n: u8) -> Event {
    let (worker, what) = (String::new(), What::StreamStarted);
    Event { infohash: stream(n), content_id: None, worker, at: None, what }
}

const fn open(_: &Infohash) -> Gate {
    Gate::Write
}

#[test]
fn a_full_queue_drops_and_says_so_and_never_waits() {
    let waker = Arc::new(Counted::default());
    let (mut outbox, mut inbound) = queue(2, waker.clone());
    for bytes in 0..5 {
        outbox.tell(Record::ViewerStats(stats(1, bytes)));
    }
    outbox.flush();
    outbox.flush();
    assert_eq!(waker.0.load(Relaxed), 1, "woken once for all of it");
    assert_eq!((inbound.dropped(), outbox.room()), (3, 0));
    assert_eq!((inbound.take_overflow(), inbound.take_overflow()), (true, false));
    assert_eq!(inbound.pop(), Some(Record::ViewerStats(stats(1, 0))));
    assert_eq!(outbox.room(), 1);
}

#[test]
fn the_last_value_of_a_key_wins_and_a_key_keeps_its_turn() {
    let mut table = Table::default();
    table.put_viewer(ViewerId(1), stream(1), full(1, 10), NOW);
    table.put_viewer(ViewerId(2), stream(1), full(2, 10), NOW);
    table.put_viewer(ViewerId(1), stream(1), ViewerWrite::Gone, NOW);
    let rates = Rates { average: 1.0, current: 2.0 };
    table.put_viewer(ViewerId(2), stream(1), ViewerWrite::Stats(stats(2, 99), rates), NOW);
    table.check_invariants();
    let first = table.take(1, 0, open);
    assert_eq!(first.streams[&stream(1)].viewers, [(ViewerId(1), ViewerWrite::Gone)]);
    let second = table.take(9, 0, open);
    let ViewerWrite::Full(mut facts, _) = full(2, 99) else { panic!() };
    facts.stats = stats(2, 99);
    let whole = ViewerWrite::Full(facts, rates);
    assert_eq!(second.streams[&stream(1)].viewers, [(ViewerId(2), whole)]);
    assert!(table.is_empty() && table.take(9, 0, open).is_empty());
}

#[test]
fn snapshots_are_dropped_first_and_what_is_lost_is_told_again() {
    let mut table = Table::new(2);
    table.put_chunk(chunk(1, 10));
    table.put_chunk(chunk(2, 10));
    table.put_viewer(ViewerId(1), stream(1), full(1, 0), NOW);
    table.put_viewer(ViewerId(2), stream(1), full(2, 0), NOW);
    assert_eq!((table.dropped(), table.take_overflow()), (0, false));
    table.put_viewer(ViewerId(3), stream(1), full(3, 0), NOW);
    assert_eq!(table.dropped(), 3, "two chunks, and the record that found no room");
    assert_eq!((table.take_overflow(), table.take_overflow()), (true, false));
    // One that is there is still written over.
    table.put_viewer(ViewerId(2), stream(1), ViewerWrite::Gone, NOW);
    table.check_invariants();
    let batch = table.take(9, 1 << 20, open);
    assert_eq!(batch.streams[&stream(1)].viewers[1], (ViewerId(2), ViewerWrite::Gone));
    assert!(batch.chunks.is_empty());
}

#[test]
fn chunks_and_events_are_bounded_and_the_oldest_go() {
    let mut table = Table::default();
    for sequence in 0..4 {
        table.put_chunk(chunk(sequence, CHUNK_BYTES_MAX / 3));
        table.check_invariants();
    }
    assert_eq!(table.dropped(), 1);
    let first = table.take(0, 1, open);
    assert_eq!(first.chunks.iter().map(|chunk| chunk.sequence).collect::<Vec<_>>(), [1]);
    for _ in 0..=EVENTS_MAX {
        table.put_event(event(1));
    }
    table.check_invariants();
    assert_eq!(table.dropped(), 2);
    assert_eq!(table.take(0, 0, open).events.len(), EVENTS_MAX);
}

#[test]
fn nothing_is_written_before_it_is_known_whose_keys_they_are() {
    let mut table = Table::default();
    for n in [1, 2, 3] {
        table.put_viewer(ViewerId(n), stream(n as u8), full(n, 0), Instant::from_micros(n));
        table.put_event(event(n as u8));
    }
    let gate = |infohash: &Infohash| match infohash.as_bytes()[0] {
        1 => Gate::Later,
        2 => Gate::Drop,
        _ => Gate::Write,
    };
    let batch = table.take(9, 0, gate);
    assert_eq!(batch.streams.keys().collect::<Vec<_>>(), [&stream(3)]);
    assert_eq!(batch.events, [event(3)]);
    table.check_invariants();
    assert_eq!(table.oldest(), Some(Instant::from_micros(1)), "it still waits");
    let batch = table.take(9, 0, open);
    assert_eq!(batch.streams.keys().collect::<Vec<_>>(), [&stream(1)]);
    assert_eq!(batch.events, [event(1)]);
}

#[test]
fn a_stream_can_be_forgotten_whole() {
    let mut table = Table::default();
    table.put_viewer(ViewerId(u64::MAX), stream(1), full(1, 0), NOW);
    table.put_viewer(ViewerId(0), stream(2), full(0, 0), NOW);
    table.put_chunk(chunk(1, 10));
    table.put_event(event(1));
    table.forget(&stream(1));
    table.check_invariants();
    assert_eq!(table.len(), 1);
    let batch = table.take(9, 99, open);
    assert!(batch.events.is_empty() && batch.chunks.is_empty());
    assert_eq!(batch.streams.keys().collect::<Vec<_>>(), [&stream(2)]);
}
