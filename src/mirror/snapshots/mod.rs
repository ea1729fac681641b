//! Snapshots: the streams' last seconds as chunks in Redis, so that a node that was restarted has
//! a picture for its first viewer before an engine has given it anything.
//!
//! Shards hand over the rings of their streams ([`Shelf`]); the mirror's thread copies chunks out of
//! them ([`Snapshots`], a brain but for the ring that it reads) and writes them behind everything
//! else; a shard that opens a stream may ask for what is there ([`store`]). None of it is ever
//! waited for by a stream.
//!
//! Invariants:
//! - A chunk is whole packets, never empty, and follows the one before it, or begins a series;
//!   `snapshot_first` is the oldest chunk of the newest series that is still there.
//! - Sequences never go back, and go on where a former owner has left them.
//! - Only the owner of a stream's lease writes its chunks, and only the owner takes them away: those
//!   of a stream that is not known to be ours are left to expire.
//! - What is written and what is kept stays within [`Limits`], in whole streams.

mod budget;
pub(super) mod desk;
mod shelf;
pub(super) mod store;
mod taking;
#[cfg(test)]
mod tests;

pub use self::budget::Limits;
pub use self::budget::Want;
pub use self::budget::choose;
pub use self::shelf::Rings;
pub use self::shelf::Shelf;
pub use self::shelf::Shelved;
pub use self::shelf::Told;
pub use self::shelf::shelf;

use self::taking::Taking;
use crate::base::ids::Infohash;
use crate::base::time::Instant;
use crate::mirror::outbox::Chunk;
use crate::ring::Ring;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A fifth of the shortest useful chunk.
const ROUND_EVERY: Duration = Duration::from_millis(100);
/// A number beyond is nobody's: what Lua and JavaScript count to.
const SEQUENCE_MAX: u64 = 1 << 53;
const CHOOSE_EVERY: Duration = Duration::from_secs(1);
/// Chunks that were copied out and are not written yet: half of what the table has room for.
pub(super) const PENDING_BYTES_MAX: usize = 8 << 20;

/// What the book knows of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    pub viewers: usize,
    /// `None`: the lease is being given back, and what was last known counts.
    pub whose: Option<Whose>,
}

/// Whose the keys of a stream are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    Ours {
        epoch: u64,
    },
    /// Another node's, or another program's.
    Others,
    /// Redis has not said so yet, or not for a while.
    Unknown,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Where did the last owner end? Answered by [`Snapshots::on_index`].
    AskIndex(Infohash),
    Chunk(Chunk),
    /// These chunks and their index are worth nothing any more.
    Forget {
        infohash: Infohash,
        sequences: Vec<u64>,
    },
}

/// What Redis has said of the newest chunk there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Index {
    Unknown,
    Asked,
    Known,
}

/// A chunk that Redis may still have.
struct Alive {
    sequence: u64,
    bytes: u64,
    at: Instant,
    epoch: u64,
}

struct Stream {
    ring: Arc<Ring>,
    /// While it is chosen.
    taking: Option<Taking>,
    index: Index,
    /// The next chunk's, at least; exact when the index is known.
    next: u64,
    whose: Whose,
    epoch: u64,
    /// The first chunk of the series.
    first: u64,
    /// The next chunk is the first one.
    is_new_series: bool,
    alive: VecDeque<Alive>,
    alive_bytes: u64,
}

pub struct Snapshots {
    limits: Limits,
    chunk_bytes: u64,
    streams: BTreeMap<Infohash, Stream>,
    /// Bytes that may be cut now; below zero while a large chunk is made up for.
    tokens: i64,
    filled_at: Instant,
    round_at: Instant,
    choose_at: Instant,
    left_out: usize,
    cut_bytes: u64,
    outputs: VecDeque<Output>,
}

impl Snapshots {
    pub fn new(limits: Limits, chunk_bytes: u64, now: Instant) -> Self {
        Self {
            limits,
            // What waits to be written has room for one of them.
            chunk_bytes: chunk_bytes.min(PENDING_BYTES_MAX as u64),
            streams: BTreeMap::new(),
            tokens: 0,
            filled_at: now,
            round_at: now,
            choose_at: now,
            left_out: 0,
            cut_bytes: 0,
            outputs: VecDeque::new(),
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.streams.is_empty()).then_some(self.round_at)
    }

    /// Streams that the budget leaves out.
    pub const fn left_out(&self) -> usize {
        self.left_out
    }

    pub const fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// Bytes that Redis has of this node.
    pub fn alive_bytes(&self) -> u64 {
        self.streams.values().map(|stream| stream.alive_bytes).sum()
    }

    pub fn begun(&mut self, infohash: Infohash, ring: Arc<Ring>, now: Instant) {
        let stream = Stream {
            ring,
            taking: None,
            index: Index::Unknown,
            next: 0,
            whose: Whose::Unknown,
            epoch: 0,
            first: 0,
            is_new_series: true,
            alive: VecDeque::new(),
            alive_bytes: 0,
        };
        self.streams.insert(infohash, stream);
        self.choose_at = now;
        self.round_at = now;
    }

    /// `keep`: the process ends, and its successor may want them.
    pub fn over(&mut self, infohash: Infohash, ring: &Arc<Ring>, keep: bool) {
        // A stream of the same content may have begun already.
        if !self.streams.get(&infohash).is_some_and(|stream| Arc::ptr_eq(&stream.ring, ring)) {
            return;
        }
        let Some(stream) = self.streams.remove(&infohash) else { return };
        if !keep {
            self.outputs.extend(forget(infohash, stream.whose, &stream.alive));
        }
    }

    /// The newest sequence that Redis has; one that has lost it does not lead back. An answer that did
    /// not come is asked for again.
    pub fn on_index(&mut self, infohash: Infohash, answer: Option<Option<u64>>) {
        let Some(stream) = self.streams.get_mut(&infohash) else { return };
        if stream.index != Index::Asked {
            return;
        }
        let Some(index) = answer else {
            stream.index = Index::Unknown;
            return;
        };
        let index = index.filter(|index| *index < SEQUENCE_MAX).unwrap_or(0);
        (stream.index, stream.next) = (Index::Known, stream.next.max(index + 1));
    }

    /// A chunk was not written: those behind it are a new series.
    pub fn lost(&mut self, infohash: &Infohash, sequence: u64) {
        if let Some(stream) = self.streams.get_mut(infohash) {
            stream.first = stream.first.max(sequence + 1);
        }
    }

    /// Nobody knows which of the last chunks were written.
    pub fn lost_some(&mut self) {
        for stream in self.streams.values_mut() {
            stream.first = stream.first.max(stream.next);
        }
    }

    /// Cuts what is due. `pending_bytes`: what was cut and is not written yet; none when there is
    /// no connection.
    pub fn round(
        &mut self,
        pending_bytes: Option<usize>,
        see: impl Fn(&Infohash) -> Seen,
        now: Instant,
    ) {
        if now < self.round_at {
            return;
        }
        self.round_at = now + ROUND_EVERY;
        self.fill(now);
        let old = self.limits.ttl;
        for (infohash, stream) in &mut self.streams {
            stream.whose = see(infohash).whose.unwrap_or(stream.whose);
            if stream.whose == Whose::Others {
                stream.taking = None;
            }
            while let Some(oldest) = stream.alive.front()
                && now.since(oldest.at) >= old
            {
                stream.alive_bytes -= oldest.bytes;
                stream.alive.pop_front();
            }
        }
        let Some(mut pending) = pending_bytes else { return };
        if now >= self.choose_at {
            self.choose_at = now + CHOOSE_EVERY;
            self.choose(&see, now);
        }
        let infohashes: Vec<Infohash> = self.streams.keys().copied().collect();
        for infohash in infohashes {
            let Some(Whose::Ours { epoch }) = see(&infohash).whose else { continue };
            while self.tokens > 0 && pending < PENDING_BYTES_MAX {
                let Some(bytes) = self.cut(infohash, epoch, now) else { break };
                pending += bytes;
            }
        }
    }

    fn fill(&mut self, now: Instant) {
        let elapsed_us = now.since(self.filled_at).as_micros() as u64;
        self.filled_at = now;
        let rate = i64::try_from(self.limits.rate_bytes).unwrap_or(i64::MAX / 2);
        let fresh = self.limits.rate_bytes.saturating_mul(elapsed_us) / 1_000_000;
        self.tokens = self.tokens.saturating_add(i64::try_from(fresh).unwrap_or(rate)).min(rate);
    }

    fn choose(&mut self, see: &impl Fn(&Infohash) -> Seen, now: Instant) {
        let is_ours = |stream: &Stream| matches!(stream.whose, Whose::Ours { .. });
        let want = |(infohash, stream): (&Infohash, &Stream)| Want {
            infohash: *infohash,
            viewers: see(infohash).viewers,
            bitrate_bps: stream.ring.bitrate_bps(),
            is_chosen: stream.taking.is_some(),
        };
        let ours = self.streams.iter().filter(|(_, stream)| is_ours(stream));
        let wants: Vec<Want> = ours.map(want).collect();
        let chosen = choose(&wants, self.limits);
        self.left_out = wants.len() - chosen.len();
        // The others' chunks stay: who owns them now, or will, has a use for them.
        for (infohash, stream) in self.streams.iter_mut().filter(|(_, stream)| is_ours(stream)) {
            match (chosen.contains(infohash), stream.taking.is_some()) {
                (true, false) => stream.taking = Some(Taking::new(stream.ring.clone(), now)),
                (false, true) => {
                    stream.taking = None;
                    stream.alive_bytes = 0;
                    let alive = std::mem::take(&mut stream.alive);
                    self.outputs.extend(forget(*infohash, stream.whose, &alive));
                }
                (true, true) | (false, false) => {}
            }
        }
    }

    /// One chunk of one stream; how long it is.
    fn cut(&mut self, infohash: Infohash, epoch: u64, now: Instant) -> Option<usize> {
        let is_full = self.alive_bytes() >= self.limits.memory_bytes;
        let stream = self.streams.get_mut(&infohash)?;
        let taking = stream.taking.as_mut()?;
        if stream.epoch != epoch && std::mem::replace(&mut stream.epoch, epoch) != 0 {
            // Another owner may have been there meanwhile.
            stream.index = Index::Unknown;
            stream.is_new_series = true;
        }
        match stream.index {
            Index::Known => {}
            Index::Asked => return None,
            Index::Unknown => {
                stream.index = Index::Asked;
                self.outputs.push_back(Output::AskIndex(infohash));
                return None;
            }
        }
        let sequence = stream.next;
        if is_full {
            return None;
        }
        let cut = taking.cut(self.chunk_bytes, now)?;
        if std::mem::take(&mut stream.is_new_series) || cut.is_new_series {
            stream.first = sequence;
        }
        stream.next = sequence + 1;
        let bytes = cut.bytes.len();
        stream.alive.push_back(Alive { sequence, bytes: bytes as u64, at: now, epoch });
        stream.alive_bytes += bytes as u64;
        let oldest = stream.alive.front().map_or(sequence, |alive| alive.sequence);
        let first = stream.first.max(oldest);
        self.tokens -= i64::try_from(bytes).unwrap_or(i64::MAX);
        self.cut_bytes += bytes as u64;
        let chunk = Chunk { infohash, sequence, first, epoch, bytes: cut.bytes };
        self.outputs.push_back(Output::Chunk(chunk));
        Some(bytes)
    }
}

/// Takes off what was written while the stream has been ours for the last time. Chunks from before
/// may bear the numbers of another owner's by now; they expire, and so does all of it when the keys
/// are not known to be ours.
fn forget(infohash: Infohash, whose: Whose, alive: &VecDeque<Alive>) -> Option<Output> {
    let ours = match whose {
        Whose::Ours { epoch } => epoch,
        Whose::Others | Whose::Unknown => return None,
    };
    let written = alive.iter().filter(|alive| alive.epoch == ours);
    let sequences: Vec<u64> = written.map(|alive| alive.sequence).collect();
    (!sequences.is_empty()).then_some(Output::Forget { infohash, sequences })
}
