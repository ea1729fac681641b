//! What a stream's owner shares with the shards that serve its viewers: the ring, and a few facts
//! for people.
//!
//! The ring's words are atomics; the facts stand behind a mutex that only control code takes
//! (a state change, a viewer whose wait ended, a page of the API), never the way of a byte.

use crate::base::ids::Infohash;
use crate::base::ids::ShardId;
use crate::base::time::Instant;
use crate::ring::Ring;
use crate::stream::Answer;
use crate::viewer::CloseReason;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Owner and number: never used again within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ChannelId {
    pub(crate) owner: ShardId,
    pub(crate) serial: u64,
}

pub(crate) struct Channel {
    pub(crate) id: ChannelId,
    pub(crate) ring: Arc<Ring>,
    /// The longest gap between two reads from the engine in the last 60 s, in microseconds: how
    /// far behind live a viewer must start to have something to play meanwhile. Read every turn.
    read_gap_us: AtomicU64,
    /// Since when the bytes of the last commit may have waited, in microseconds of the one clock.
    waited_since_us: AtomicU64,
    facts: Mutex<Facts>,
}

#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) infohash: Infohash,
    /// What a viewer is told whose wait ends now.
    pub(crate) wait_answer: Option<Answer>,
    /// Why the ring has ended. Known before it ends, because a shard may see that before it hears.
    pub(crate) close_reason: Option<CloseReason>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Channel({:?})", self.id)
    }
}

impl Channel {
    pub(crate) fn new(id: ChannelId, ring: Arc<Ring>, infohash: Infohash) -> Self {
        let facts = Mutex::new(Facts { infohash, wait_answer: None, close_reason: None });
        Self { id, ring, read_gap_us: AtomicU64::new(0), waited_since_us: AtomicU64::new(0), facts }
    }

    pub(crate) fn read_gap(&self) -> Duration {
        Duration::from_micros(self.read_gap_us.load(Relaxed))
    }

    pub(crate) fn set_read_gap(&self, gap: Duration) {
        self.read_gap_us.store(gap.as_micros() as u64, Relaxed);
    }

    /// Of the newest bytes that a head shows, or of newer ones.
    pub(crate) fn waited_since(&self) -> Instant {
        Instant::from_micros(self.waited_since_us.load(Relaxed))
    }

    /// Before the commit of these bytes, which carries it.
    pub(crate) fn set_waited_since(&self, at: Instant) {
        self.waited_since_us.store(at.as_micros(), Relaxed);
    }

    pub(crate) fn infohash(&self) -> Infohash {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).infohash
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
