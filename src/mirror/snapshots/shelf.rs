//! What shards tell the mirror of their rings. A shard never waits: what finds no room is a stream
//! without snapshots, or a start without a primed ring, and is counted.

use super::Snapshots;
use crate::base::ids::Infohash;
use crate::base::time::Instant;
use crate::mirror::outbox::Waker;
use crate::mirror::status::State;
use crate::mirror::status::Status;
use crate::ring::Ring;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;

/// Streams that begin, end and ask in one round of the mirror (20 ms).
const TOLD_MAX: usize = 4_096;

pub enum Told {
    Begun {
        infohash: Infohash,
        ring: Arc<Ring>,
    },
    Over {
        infohash: Infohash,
        ring: Arc<Ring>,
        keep: bool,
    },
    /// What is there of it, for a ring that has nothing yet.
    Prime {
        infohash: Infohash,
        shard: usize,
        serial: u64,
        until: Instant,
    },
}

/// The shards' end.
#[derive(Clone)]
pub struct Shelf {
    queue: SyncSender<Told>,
    waker: Arc<dyn Waker>,
    status: Arc<Status>,
}

/// A ring that the mirror has. Dropped, its stream is over.
pub struct Shelved {
    shelf: Shelf,
    infohash: Infohash,
    ring: Arc<Ring>,
    keep: bool,
}

/// The mirror's end. It outlives a mirror that dies, and remembers which rings there are.
pub struct Rings {
    told: Receiver<Told>,
    known: BTreeMap<Infohash, Arc<Ring>>,
}

pub fn shelf(waker: Arc<dyn Waker>, status: Arc<Status>) -> (Shelf, Rings) {
    let (queue, told) = sync_channel(TOLD_MAX);
    let shelf = Shelf { queue, waker, status };
    (shelf, Rings { told, known: BTreeMap::new() })
}

impl Shelved {
    /// Its chunks stay: the process ends, and its successor may want them.
    pub fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Shelved {
    fn drop(&mut self) {
        let (infohash, ring, keep) = (self.infohash, self.ring.clone(), self.keep);
        self.shelf.tell(Told::Over { infohash, ring, keep });
    }
}

impl Shelf {
    pub fn shelve(&self, infohash: Infohash, ring: Arc<Ring>) -> Shelved {
        self.tell(Told::Begun { infohash, ring: ring.clone() });
        Shelved { shelf: self.clone(), infohash, ring, keep: false }
    }

    pub fn tell(&self, told: Told) {
        if self.queue.try_send(told).is_ok() {
            self.waker.wake();
        } else {
            self.status.not_shelved();
        }
    }

    /// Redis may have something to prime a ring from: it is up, or about to be for the first time.
    pub fn may_prime(&self) -> bool {
        match self.status.state() {
            State::Up | State::Connecting => true,
            State::Down => false,
        }
    }
}

/// A shard's question for what there is of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wish {
    pub infohash: Infohash,
    pub shard: usize,
    pub serial: u64,
    pub until: Instant,
}

impl Rings {
    /// Everything that runs, for a mirror that starts again.
    pub fn tell_again(&self, snapshots: &mut Snapshots, now: Instant) {
        for (infohash, ring) in &self.known {
            snapshots.begun(*infohash, ring.clone(), now);
        }
    }

    /// What was told since the last time; wishes are handed to `wish`.
    pub fn collect(&mut self, snapshots: &mut Snapshots, now: Instant, wish: &mut Vec<Wish>) {
        while let Ok(told) = self.told.try_recv() {
            match told {
                Told::Begun { infohash, ring } => {
                    self.known.insert(infohash, ring.clone());
                    snapshots.begun(infohash, ring, now);
                }
                Told::Over { infohash, ring, keep } => {
                    if self.known.get(&infohash).is_some_and(|known| Arc::ptr_eq(known, &ring)) {
                        self.known.remove(&infohash);
                    }
                    snapshots.over(infohash, &ring, keep);
                }
                Told::Prime { infohash, shard, serial, until } => {
                    wish.push(Wish { infohash, shard, serial, until });
                }
            }
        }
    }
}
