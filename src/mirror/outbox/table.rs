//! What is still to be written: one entry a key, the newest value, in the order in which the keys
//! were first touched.
//!
//! Invariants: at most [`ENTRIES_MAX`] entries and [`CHUNK_BYTES_MAX`] of snapshots; when there is
//! no room the snapshots go first; every entry is in the order exactly once.

use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;
use crate::base::time::Instant;
use crate::mirror::events::Event;
use crate::mirror::records::StreamFacts;
use crate::mirror::records::StreamOver;
use crate::mirror::records::ViewerFacts;
use crate::mirror::records::ViewerStats;
use std::collections::BTreeMap;
use std::collections::VecDeque;

/// 50 000 viewers that all have to be told again, and as many that left meanwhile.
pub const ENTRIES_MAX: usize = 1 << 17;

/// Joins and leaves of a second in which Redis does not answer; events are for those who listen
/// now, so old ones are worth nothing.
pub const EVENTS_MAX: usize = 4_096;

/// Chunks that are copied out and not yet written: sixteen of the default size.
pub const CHUNK_BYTES_MAX: usize = 16 << 20;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Subject {
    Stream(Infohash),
    Viewer(Infohash, ViewerId),
}

impl Subject {
    const fn stream(&self) -> &Infohash {
        match self {
            Self::Stream(infohash) | Self::Viewer(infohash, _) => infohash,
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub enum StreamWrite {
    Facts(Box<StreamFacts>),
    Over(Box<StreamOver>),
}

#[derive(Clone, PartialEq, Debug)]
pub enum ViewerWrite {
    /// All fields; with the newest numbers.
    Full(Box<ViewerFacts>, Rates),
    Stats(ViewerStats, Rates),
    Gone,
}

/// Thousands of bytes a second.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Rates {
    pub average: f64,
    pub current: f64,
}

#[derive(Debug)]
enum Value {
    Stream(StreamWrite),
    Viewer(ViewerWrite),
}

#[derive(Debug)]
struct Entry {
    order: u64,
    value: Value,
}

/// A part of a stream for `buffer:chunk:{sequence}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    pub infohash: Infohash,
    pub sequence: u64,
    /// The first sequence of the same session and epoch.
    pub first: u64,
    pub epoch: u64,
    pub bytes: Vec<u8>,
}

/// What one stream's keys get in a batch.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StreamWrites {
    pub stream: Option<StreamWrite>,
    pub viewers: Vec<(ViewerId, ViewerWrite)>,
}

/// What is written in one go.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Batch {
    pub streams: BTreeMap<Infohash, StreamWrites>,
    pub events: Vec<Event>,
    pub chunks: Vec<Chunk>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.events.is_empty() && self.chunks.is_empty()
    }
}

/// What is to happen with a stream's entries now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    Write,
    /// It is not known yet whose keys these are.
    Later,
    /// Somebody else's keys.
    Drop,
}

#[derive(Debug)]
pub struct Table {
    entries_max: usize,
    entries: BTreeMap<Subject, Entry>,
    order: BTreeMap<u64, (Subject, Instant)>,
    next_order: u64,
    events: VecDeque<Event>,
    chunks: VecDeque<Chunk>,
    chunk_bytes: usize,
    dropped: u64,
    overflown: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self::new(ENTRIES_MAX)
    }
}

impl Table {
    pub fn new(entries_max: usize) -> Self {
        Self {
            entries_max,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            next_order: 0,
            events: VecDeque::new(),
            chunks: VecDeque::new(),
            chunk_bytes: 0,
            dropped: 0,
            overflown: false,
        }
    }

    pub fn put_stream(&mut self, infohash: Infohash, write: StreamWrite, now: Instant) {
        self.put(Subject::Stream(infohash), Value::Stream(write), now);
    }

    pub fn put_viewer(
        &mut self,
        id: ViewerId,
        infohash: Infohash,
        write: ViewerWrite,
        now: Instant,
    ) {
        self.put(Subject::Viewer(infohash, id), Value::Viewer(write), now);
    }

    pub fn put_event(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
            self.dropped += 1;
        }
        self.events.push_back(event);
    }

    /// The oldest chunks make room for the newest.
    pub fn put_chunk(&mut self, chunk: Chunk) {
        self.chunk_bytes += chunk.bytes.len();
        self.chunks.push_back(chunk);
        while self.chunk_bytes > CHUNK_BYTES_MAX {
            self.drop_chunk();
        }
    }

    fn drop_chunk(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.chunk_bytes -= chunk.bytes.len();
            self.dropped += 1;
        }
    }

    fn put(&mut self, subject: Subject, value: Value, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&subject) {
            entry.value = newer(std::mem::replace(&mut entry.value, GONE), value);
            return;
        }
        if self.entries.len() == self.entries_max {
            // What is in the way of a record is dropped whole: the streams go on without.
            while !self.chunks.is_empty() {
                self.drop_chunk();
            }
            self.dropped += 1;
            self.overflown = true;
            return;
        }
        let order = self.next_order;
        self.next_order += 1;
        self.order.insert(order, (subject, now));
        self.entries.insert(subject, Entry { order, value });
    }

    /// Takes the oldest entries whose streams may be written, `entries_max` at most, all events,
    /// and chunks of `chunk_bytes_max` in sum when there is nothing else left.
    pub fn take(
        &mut self,
        entries_max: usize,
        chunk_bytes_max: usize,
        gate: impl Fn(&Infohash) -> Gate,
    ) -> Batch {
        let mut batch = Batch::default();
        self.events.retain(|event| match gate(&event.infohash) {
            Gate::Later => true,
            Gate::Write => {
                batch.events.push(event.clone());
                false
            }
            Gate::Drop => false,
        });
        let mut taken = Vec::new();
        for (order, (subject, _)) in &self.order {
            if taken.len() == entries_max {
                break;
            }
            match gate(subject.stream()) {
                Gate::Write => taken.push((*order, *subject, true)),
                Gate::Drop => taken.push((*order, *subject, false)),
                Gate::Later => {}
            }
        }
        for (order, subject, is_written) in taken {
            self.order.remove(&order);
            let entry = self.entries.remove(&subject).expect("what is in order is there");
            debug_assert_eq!(entry.order, order);
            if is_written {
                let writes = batch.streams.entry(*subject.stream()).or_default();
                match (subject, entry.value) {
                    (_, Value::Stream(write)) => writes.stream = Some(write),
                    (Subject::Viewer(_, id), Value::Viewer(write)) => {
                        writes.viewers.push((id, write));
                    }
                    (Subject::Stream(_), Value::Viewer(_)) => unreachable!("put by kind"),
                }
            }
        }
        let mut bytes = 0;
        while bytes < chunk_bytes_max
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.chunk_bytes -= chunk.bytes.len();
            match gate(&chunk.infohash) {
                Gate::Write => {
                    bytes += chunk.bytes.len();
                    batch.chunks.push(chunk);
                }
                Gate::Later | Gate::Drop => {}
            }
        }
        batch
    }

    /// Nothing of this stream is written any more.
    pub fn forget(&mut self, infohash: &Infohash) {
        self.forget_stream(infohash);
        let (first, last) = (ViewerId(0), ViewerId(u64::MAX));
        let all = Subject::Viewer(*infohash, first)..=Subject::Viewer(*infohash, last);
        let viewers: Vec<Subject> = self.entries.range(all).map(|(subject, _)| *subject).collect();
        for subject in viewers {
            self.remove(&subject);
        }
        self.events.retain(|event| event.infohash != *infohash);
        self.chunks.retain(|chunk| chunk.infohash != *infohash);
        self.chunk_bytes = self.chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    }

    /// Its own keys are not written any more; its viewers' are.
    pub fn forget_stream(&mut self, infohash: &Infohash) {
        self.remove(&Subject::Stream(*infohash));
    }

    pub fn forget_viewer(&mut self, infohash: &Infohash, id: ViewerId) {
        self.remove(&Subject::Viewer(*infohash, id));
    }

    fn remove(&mut self, subject: &Subject) {
        if let Some(entry) = self.entries.remove(subject) {
            self.order.remove(&entry.order);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.events.is_empty() && self.chunks.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Since when the oldest entry waits.
    pub fn oldest(&self) -> Option<Instant> {
        self.order.values().next().map(|(_, since)| *since)
    }

    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// True once after entries were lost.
    pub fn take_overflow(&mut self) -> bool {
        std::mem::take(&mut self.overflown)
    }

    pub fn check_invariants(&self) {
        assert!(self.entries.len() <= self.entries_max);
        assert_eq!(self.entries.len(), self.order.len());
        for (order, (subject, _)) in &self.order {
            assert_eq!(self.entries[subject].order, *order);
        }
        assert!(self.events.len() <= EVENTS_MAX);
        assert!(self.chunk_bytes <= CHUNK_BYTES_MAX);
        let bytes: usize = self.chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        assert_eq!(self.chunk_bytes, bytes);
    }
}

const GONE: Value = Value::Viewer(ViewerWrite::Gone);

/// The last value wins; numbers of a viewer that is to be written whole go into the whole.
fn newer(old: Value, new: Value) -> Value {
    match (old, new) {
        (
            Value::Viewer(ViewerWrite::Full(mut facts, _)),
            Value::Viewer(ViewerWrite::Stats(stats, rates)),
        ) => {
            facts.stats = stats;
            Value::Viewer(ViewerWrite::Full(facts, rates))
        }
        (Value::Viewer(_) | Value::Stream(_), new) => new,
    }
}
