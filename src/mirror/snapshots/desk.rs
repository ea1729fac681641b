//! Where snapshots meet the mirror's thread: what shards told goes in, chunks go to the table of
//! what is to be written, and questions for Redis become jobs.
//!
//! Chunks are written behind everything else, in pages of a megabyte; what is read for a priming
//! goes by the pipe for writes, so that no question about a lease stands behind it.

use super::Limits;
use super::Output;
use super::Rings;
use super::Seen;
use super::Snapshots;
use super::Whose;
use super::shelf::Wish;
use super::store;
use crate::base::ids::Infohash;
use crate::base::time;
use crate::base::time::Instant;
use crate::mirror::book::Book;
use crate::mirror::book::Order;
use crate::mirror::keys::Keys;
use crate::mirror::lease::Standing;
use crate::mirror::link;
use crate::mirror::link::Pipe;
use crate::mirror::settings::Settings;
use std::sync::Arc;
use std::time::Duration;

pub(in crate::mirror) struct Desk<'a> {
    rings: &'a mut Rings,
    snapshots: Snapshots,
    /// Starts that wait for what there is, until their time is up.
    wishes: Vec<Wish>,
    enabled: bool,
    me: String,
    ttl: Duration,
    chunk_bytes: u64,
}

/// A question for Redis.
pub(in crate::mirror) enum Job {
    Index(Infohash),
    Forget { me: String, infohash: Infohash, sequences: Vec<u64> },
    Prime { wish: Wish, ttl: Duration, chunk_bytes: u64 },
}

/// And what came of it.
pub(in crate::mirror) enum Done {
    Index(Infohash, Option<Option<u64>>),
    Forgotten,
    Primed(Wish, Option<Vec<u8>>),
}

impl<'a> Desk<'a> {
    pub(in crate::mirror) fn new(rings: &'a mut Rings, settings: &Settings) -> Self {
        let now = time::now();
        let limits = Limits {
            rate_bytes: settings.snapshot_rate_bytes,
            memory_bytes: settings.snapshot_memory_bytes,
            ttl: settings.buffer_ttl,
        };
        let mut snapshots = Snapshots::new(limits, settings.chunk_bytes, now);
        if settings.snapshots {
            rings.tell_again(&mut snapshots, now);
        }
        Self {
            rings,
            snapshots,
            wishes: Vec::new(),
            enabled: settings.snapshots,
            me: settings.worker_id.clone(),
            ttl: settings.buffer_ttl,
            chunk_bytes: settings.chunk_bytes,
        }
    }

    pub(in crate::mirror) fn poll_timeout(&self) -> Option<Instant> {
        if self.enabled { self.snapshots.poll_timeout() } else { None }
    }

    pub(in crate::mirror) const fn left_out(&self) -> usize {
        self.snapshots.left_out()
    }

    pub(in crate::mirror) const fn cut_bytes(&self) -> u64 {
        self.snapshots.cut_bytes()
    }

    pub(in crate::mirror) fn alive_bytes(&self) -> u64 {
        self.snapshots.alive_bytes()
    }

    /// What is due; the jobs are for a connection that is there.
    pub(in crate::mirror) fn round(&mut self, book: &mut Book, now: Instant) -> Vec<Job> {
        self.rings.collect(&mut self.snapshots, now, &mut self.wishes);
        if !self.enabled {
            self.wishes.clear();
            while self.snapshots.poll_output().is_some() {}
            return Vec::new();
        }
        for (infohash, sequence) in book.table().take_lost_chunks() {
            self.snapshots.lost(&infohash, sequence);
        }
        let is_up = book.is_link_up();
        let pending = is_up.then(|| book.table().chunk_bytes());
        let see = |infohash: &Infohash| Seen {
            viewers: book.viewers(infohash),
            whose: book.standing(infohash).map(whose),
        };
        self.snapshots.round(pending, see, now);
        let mut jobs = Vec::new();
        while let Some(output) = self.snapshots.poll_output() {
            match output {
                Output::AskIndex(infohash) => jobs.push(Job::Index(infohash)),
                Output::Chunk(chunk) => book.table().put_chunk(chunk),
                Output::Forget { infohash, sequences } => {
                    book.table().forget_chunks(&infohash);
                    let me = self.me.clone();
                    jobs.push(Job::Forget { me, infohash, sequences });
                }
            }
        }
        self.wishes.retain(|wish| now < wish.until);
        if !is_up {
            // Asked again when the connection is there; what is to be forgotten then expires.
            for job in &jobs {
                if let Job::Index(infohash) = job {
                    self.snapshots.on_index(*infohash, None);
                }
            }
            return Vec::new();
        }
        let (ttl, chunk_bytes) = (self.ttl, self.chunk_bytes);
        jobs.extend(self.wishes.drain(..).map(|wish| Job::Prime { wish, ttl, chunk_bytes }));
        jobs
    }

    /// A page was not written, or nobody knows whether it was.
    pub(in crate::mirror) fn lost_some(&mut self, book: &mut Book) {
        book.table().begin_series();
        self.snapshots.lost_some();
    }

    /// What a shard is told of it.
    pub(in crate::mirror) fn done(&mut self, done: Done) -> Option<(usize, Order)> {
        match done {
            Done::Index(infohash, answer) => {
                self.snapshots.on_index(infohash, answer);
                None
            }
            Done::Forgotten | Done::Primed(_, None) => None,
            Done::Primed(Wish { shard, serial, .. }, Some(bytes)) => {
                Some((shard, Order::Primed { serial, bytes: Arc::new(bytes) }))
            }
        }
    }
}

/// As Redis has said.
const fn whose(standing: &Standing) -> Whose {
    match standing {
        Standing::Owned { epoch } => Whose::Ours { epoch: *epoch },
        Standing::Held { .. } | Standing::Foreign { .. } => Whose::Others,
        Standing::Unowned | Standing::Unknown { .. } | Standing::Released => Whose::Unknown,
    }
}

impl Job {
    pub(in crate::mirror) async fn run(self, mut pipe: Pipe, keys: Keys) -> Done {
        match self {
            Self::Index(infohash) => {
                let answer = pipe.ask(&store::index(&keys, &infohash)).await;
                Done::Index(infohash, answer.ok().map(|value| store::sequence(&value)))
            }
            Self::Forget { me, infohash, sequences } => {
                // Whoever has taken the stream since the last refresh writes under the same names.
                match pipe.ask(&store::owner(&keys, &infohash)).await {
                    Ok(owner) if store::may_forget(&owner, &me) => {}
                    Ok(_) | Err(_) => return Done::Forgotten,
                }
                let commands = store::forget(&keys, &infohash, &sequences);
                // What is not taken off now goes with its time to live.
                if let Err(error) = pipe.run(&commands).await {
                    tracing::debug!("snapshots of {infohash} are left to expire: {error}");
                }
                Done::Forgotten
            }
            Self::Prime { wish, ttl, chunk_bytes } => {
                let left = wish.until.since(time::now());
                let read = read(pipe, &keys, &wish.infohash, ttl, chunk_bytes);
                let bytes = match tokio::time::timeout(left, read).await {
                    Ok(Ok(bytes)) => Some(bytes),
                    Ok(Err(why)) => {
                        tracing::debug!("stream {} is not primed: {why}", wish.infohash);
                        None
                    }
                    Err(_) => {
                        tracing::debug!("stream {} is not primed: no answer", wish.infohash);
                        None
                    }
                };
                Done::Primed(wish, bytes)
            }
        }
    }
}

/// The newest seconds of a stream, if they are valid; else why they are not.
async fn read(
    mut pipe: Pipe,
    keys: &Keys,
    infohash: &Infohash,
    ttl: Duration,
    chunk_bytes: u64,
) -> Result<Vec<u8>, String> {
    let about = pipe.run(&store::about(keys, infohash)).await.map_err(link::said)?;
    let Some(range) = store::plan(&about, ttl, chunk_bytes) else {
        return Err("no chunks, or old ones".to_owned());
    };
    let count = range.clone().count();
    let chunks = pipe.ask(&store::chunks(keys, infohash, range)).await.map_err(link::said)?;
    store::whole(&chunks, count).ok_or_else(|| "a chunk is missing".to_owned())
}
