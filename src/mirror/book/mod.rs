//! What Redis should say: the streams and viewers of this process, who owns each stream, and what
//! of it is still to be written. A brain without I/O; the thread carries its outputs out.
//!
//! The book knows which viewers there are, not what they are like: their fields pass through the
//! table to Redis, and are told again by the shards when they may have been lost there.
//!
//! Invariants:
//! - A stream's keys are touched only after Redis has said whose they are, and never while they
//!   are a foreign writer's.
//! - Metadata is written by the owner alone, while Redis has confirmed it; a stream held by another
//!   node keeps its viewers here and writes only those.
//! - After a connection, a lost batch, an overflow or a change of a stream's epoch every shard is asked
//!   for everything, and what it does not tell any more is taken off.

mod leases;
mod messages;
mod stream;
mod telling;

use self::leases::Parting;
pub use self::leases::Question;
pub use self::messages::Crowd;
pub use self::messages::Input;
pub use self::messages::LeaseView;
pub use self::messages::NodeWrite;
pub use self::messages::Order;
pub use self::messages::Output;
pub use self::messages::Page;
pub use self::messages::StandingName;
use self::stream::Entry;
use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;
use crate::base::time::Instant;
use crate::base::time::Wall;
use crate::mirror::events::Command;
use crate::mirror::lease;
use crate::mirror::lease::Standing;
use crate::mirror::outbox::Gate;
use crate::mirror::outbox::Table;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Duration;

/// A heartbeat lives 30 s: three may be lost.
pub const NODE_EVERY: Duration = Duration::from_secs(10);

/// A stop key lives 30 s.
const STOPS_EVERY: Duration = Duration::from_secs(5);

/// Stop keys that one command asks for.
pub const STOP_KEYS_MAX: usize = 256;

/// Every shard is asked for everything at most this often.
const RESYNC_EVERY_MIN: Duration = Duration::from_secs(5);

/// Subjects of a batch: some 2 000 commands, a few milliseconds of a Redis.
const BATCH_ENTRIES_MAX: usize = 512;

const BATCH_CHUNK_BYTES_MAX: usize = 1 << 20;

/// Streams whose last epoch is remembered when they are over.
const KNOWN_EPOCHS_MAX: usize = 4_096;

pub struct Book {
    me: String,
    started_at: Wall,
    shards: usize,
    table: Table,
    streams: BTreeMap<Infohash, Entry>,
    parting: Vec<Parting>,
    known: BTreeMap<Infohash, u64>,
    next_lease: u64,
    loads: BTreeMap<String, u32>,
    /// Those that a stream may be started on.
    engines_known: Vec<String>,
    link_up: bool,
    writing: bool,
    generation: u32,
    /// Shards that have not told everything of this generation, one bit each.
    to_sync: u64,
    resync_wanted: bool,
    resync_not_before: Instant,
    node_at: Instant,
    stops_at: Instant,
    closing: bool,
    outputs: VecDeque<Output>,
}

impl Book {
    pub fn new(me: impl Into<String>, started_at: Wall, shards: usize, table: Table) -> Self {
        assert!(shards <= 64, "one bit a shard");
        Self {
            me: me.into(),
            started_at,
            shards,
            table,
            streams: BTreeMap::new(),
            parting: Vec::new(),
            known: BTreeMap::new(),
            next_lease: 0,
            loads: BTreeMap::new(),
            engines_known: Vec::new(),
            link_up: false,
            writing: false,
            generation: 0,
            to_sync: 0,
            resync_wanted: false,
            resync_not_before: Instant::ZERO,
            node_at: Instant::ZERO,
            stops_at: Instant::ZERO,
            closing: false,
            outputs: VecDeque::new(),
        }
    }

    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Told { shard, record } => self.on_record(shard, record, now),
            Input::Overflow => self.resync_wanted = true,
            Input::LinkUp => self.on_link(true, now),
            Input::LinkDown => self.on_link(false, now),
            Input::Answered { question, reply } => {
                self.resync_wanted |= matches!(reply, lease::Reply::Retaken { .. });
                let input = lease::Input::Answered { number: question.ask.number, reply };
                self.feed_lease(question.infohash, question.lease, input, now);
                self.note_epoch(&question);
            }
            Input::Lost { question } => {
                let input = lease::Input::Lost { number: question.ask.number };
                self.feed_lease(question.infohash, question.lease, input, now);
            }
            Input::Written { ok } => {
                self.writing = false;
                self.resync_wanted |= !ok;
            }
            Input::Loads(loads) => self.on_loads(loads),
            Input::Command(command) => self.on_command(command),
            Input::Close => self.close(now),
        }
        self.maybe_resync(now);
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let resync = (self.resync_wanted && self.link_up).then_some(self.resync_not_before);
        let own = self.link_up.then_some(self.node_at.min(self.stops_at));
        [self.lease_timeout(), resync, own].into_iter().flatten().min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.lease_timers(now);
        self.maybe_resync(now);
    }

    /// The next thing to write; nothing while one is being written.
    pub fn page(&mut self, now: Instant) -> Option<Page> {
        if !self.link_up || self.writing {
            return None;
        }
        let streams = &self.streams;
        let gate = |infohash: &Infohash| streams.get(infohash).map_or(Gate::Write, Entry::gate);
        let batch = self.table.take(BATCH_ENTRIES_MAX, BATCH_CHUNK_BYTES_MAX, gate);
        let mut page = Page { batch, ..Page::default() };
        // An owner may have lost the stream since it copied them.
        let may_own = |id: &Infohash| streams.get(id).is_some_and(Entry::may_own);
        page.batch.chunks.retain(|chunk| may_own(&chunk.infohash));
        // The viewer for whom a stream starts is told before the stream is.
        for event in page.batch.events.iter_mut().filter(|event| event.content_id.is_none()) {
            event.content_id = streams.get(&event.infohash).and_then(|entry| entry.content_id);
        }
        for infohash in page.batch.streams.keys() {
            let entry = streams.get(infohash);
            let viewers = entry.map_or(0, |entry| entry.viewers.len());
            let is_owner = entry.is_none_or(Entry::is_owner);
            page.crowds.insert(*infohash, Crowd { viewers, is_owner });
        }
        for (infohash, crowd) in &page.crowds {
            let entry = self.streams.get_mut(infohash).filter(|_| crowd.is_owner);
            if entry.is_some_and(Entry::take_revived) {
                page.revived.insert(*infohash);
            }
        }
        if now >= self.node_at && !self.closing {
            self.node_at = now + NODE_EVERY;
            page.node = Some(self.node_write());
            self.look_at_loads();
        }
        if now >= self.stops_at && !self.closing {
            self.stops_at = now + STOPS_EVERY;
            page.stops = self.stops();
        }
        if page.batch.is_empty() && page.node.is_none() && page.stops.is_empty() {
            return None;
        }
        self.writing = true;
        Some(page)
    }

    /// How long the oldest entry has been waiting.
    pub fn lag(&self, now: Instant) -> Duration {
        self.table.oldest().map_or(Duration::ZERO, |since| now.since(since))
    }

    pub const fn dropped(&self) -> u64 {
        self.table.dropped()
    }

    pub const fn table(&mut self) -> &mut Table {
        &mut self.table
    }

    pub const fn is_link_up(&self) -> bool {
        self.link_up
    }

    /// After `Close`: everything is said that was to be said.
    pub fn is_done(&self) -> bool {
        self.closing && self.parting.is_empty() && self.table.is_empty() && !self.writing
    }

    /// Those that run here.
    pub fn streams(&self) -> impl Iterator<Item = Infohash> + '_ {
        let running = self.streams.iter().filter(|(_, entry)| entry.lease.is_some());
        running.map(|(infohash, _)| *infohash)
    }

    /// The streams of this process that are not another program's, for the sweep.
    pub fn own_streams(&self) -> impl Iterator<Item = Infohash> + '_ {
        let own = self.streams.iter().filter(|(_, entry)| entry.gate() == Gate::Write);
        own.map(|(infohash, _)| *infohash)
    }

    pub fn engines(&self) -> impl Iterator<Item = &str> {
        self.loads.keys().map(String::as_str)
    }

    pub fn viewers(&self, infohash: &Infohash) -> usize {
        self.streams.get(infohash).map_or(0, |entry| entry.viewers.len())
    }

    pub fn standing(&self, infohash: &Infohash) -> Option<&Standing> {
        let entry = self.streams.get(infohash)?;
        entry.lease.as_ref().map(|lease| lease.brain.standing())
    }

    /// Nodes that share engines spread over them.
    fn look_at_loads(&mut self) {
        if self.link_up && !self.engines_known.is_empty() {
            self.outputs.push_back(Output::LookAtLoads(self.engines_known.clone()));
        }
    }

    fn node_write(&mut self) -> NodeWrite {
        let mut loads: BTreeMap<String, u32> = BTreeMap::new();
        for engine in self.streams.values().filter_map(|entry| entry.engine.clone()) {
            *loads.entry(engine).or_default() += 1;
        }
        let mut told = loads.clone();
        for gone in self.loads.keys().filter(|engine| !loads.contains_key(*engine)) {
            told.insert(gone.clone(), 0);
        }
        self.loads = loads;
        let viewers = self.streams.values().map(|entry| entry.viewers.len()).sum();
        let (started_at, streams) = (self.started_at, self.streams.len());
        NodeWrite { started_at, streams, viewers, loads: told }
    }

    fn stops(&self) -> Vec<(Infohash, Vec<ViewerId>)> {
        let mut stops = Vec::new();
        for (infohash, entry) in &self.streams {
            if entry.gate() != Gate::Write {
                continue;
            }
            let ids: Vec<ViewerId> = entry.viewers.keys().copied().collect();
            stops.extend(ids.chunks(STOP_KEYS_MAX).map(|ids| (*infohash, ids.to_vec())));
        }
        stops
    }
}

/// The link, and what follows from it.
impl Book {
    fn on_link(&mut self, up: bool, now: Instant) {
        self.link_up = up;
        self.writing = false;
        if up {
            self.resync_wanted = true;
            self.resync_not_before = now;
            (self.node_at, self.stops_at) = (now, now);
        } else {
            // Nobody knows of others any more.
            self.on_loads(BTreeMap::new());
        }
        self.tell_leases(&lease::Input::Link { up }, now);
    }

    fn on_loads(&mut self, loads: BTreeMap<String, u32>) {
        self.outputs.push_back(Output::Order { shard: Some(0), order: Order::Loads(loads) });
    }

    fn maybe_resync(&mut self, now: Instant) {
        self.resync_wanted |= self.table.take_overflow();
        let due = self.resync_wanted && self.link_up && now >= self.resync_not_before;
        if !due || self.closing {
            return;
        }
        self.resync_wanted = false;
        self.resync_not_before = now + RESYNC_EVERY_MIN;
        self.generation = self.generation.wrapping_add(1);
        self.to_sync = u64::MAX >> (64 - self.shards.max(1));
        let order = Order::TellAll { generation: self.generation };
        self.outputs.push_back(Output::Order { shard: None, order });
    }

    fn on_command(&mut self, command: Command) {
        let (shard, order) = match command {
            Command::ChannelStop { infohash } => {
                let Some(shard) = self.streams.get(&infohash).and_then(|entry| entry.shard) else {
                    return;
                };
                (shard, Order::StopStream { infohash })
            }
            Command::ClientStop { infohash, viewer } => {
                let entry = self.streams.get(&infohash);
                if !entry.is_some_and(|entry| entry.viewers.contains_key(&viewer)) {
                    return;
                }
                (shard_of(viewer), Order::StopViewer { infohash, viewer })
            }
        };
        self.outputs.push_back(Output::Order { shard: Some(shard), order });
    }

    fn close(&mut self, now: Instant) {
        self.closing = true;
        let all: Vec<Infohash> = self.streams.keys().copied().collect();
        for infohash in all {
            self.part(infohash, now);
        }
    }
}

/// A viewer's number begins with that of its shard.
const fn shard_of(id: ViewerId) -> usize {
    (id.0 >> 56) as usize
}

#[cfg(test)]
mod tests;
