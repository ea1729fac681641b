//! What Redis should say: the streams and viewers of this process, who owns each stream, and what
//! of it is still to be written. A brain without I/O; the thread carries its outputs out.
//!
//! The book knows which viewers there are, not what they are like: their fields pass through the
//! table to Redis, and are told again by the shards when they may have been lost there.
//!
//! Invariants:
//! - A stream's keys are touched only after Redis has said whose they are, and never while they
//!   are a foreign writer's.
//! - Metadata is written by the owner alone; a stream held by another node keeps its viewers here
//!   and writes only those.
//! - After a connection, a lost batch or an overflow every shard is asked for everything, and what
//!   it does not tell any more is taken off.

mod leases;
mod stream;

use self::leases::Parting;
pub use self::leases::Question;
use self::stream::Entry;
use self::stream::Seen;
use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;
use crate::base::time::Instant;
use crate::base::time::Wall;
use crate::mirror::events::Command;
use crate::mirror::events::Event;
use crate::mirror::events::What;
use crate::mirror::lease;
use crate::mirror::lease::Standing;
use crate::mirror::outbox::Batch;
use crate::mirror::outbox::Gate;
use crate::mirror::outbox::StreamWrite;
use crate::mirror::outbox::Table;
use crate::mirror::outbox::ViewerWrite;
use crate::mirror::records::Record;
use crate::mirror::records::StreamFacts;
use crate::mirror::records::StreamOver;
use crate::mirror::records::ViewerFacts;
use crate::mirror::records::ViewerGone;
use crate::mirror::records::ViewerStats;
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

#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    Told {
        shard: usize,
        record: Record,
    },
    /// A queue of a shard was too small for a moment.
    Overflow,
    LinkUp,
    LinkDown,
    Answered {
        question: Question,
        reply: lease::Reply,
    },
    Lost {
        question: Question,
    },
    /// The last batch: every command of it was carried out, or not.
    Written {
        ok: bool,
    },
    Command(Command),
    /// The process ends: every lease goes back.
    Close,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    Ask(Question),
    /// To one shard, or to all of them.
    Order {
        shard: Option<usize>,
        order: Order,
    },
    Subscribe(Infohash),
    Unsubscribe(Infohash),
    /// Its keys are another program's: one line for the operator.
    Foreign {
        infohash: Infohash,
        by: String,
    },
}

/// What the mirror asks of a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Tell everything, then `Synced` with this number.
    TellAll {
        generation: u32,
    },
    /// By somebody who said so in Redis.
    StopViewer {
        infohash: Infohash,
        viewer: ViewerId,
    },
    StopStream {
        infohash: Infohash,
    },
    /// What is known of a stream's ownership.
    Lease {
        infohash: Infohash,
        view: LeaseView,
    },
}

/// For people and for the shard that hosts the stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaseView {
    pub owner: Option<String>,
    pub epoch: u64,
    pub standing: StandingName,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StandingName {
    #[default]
    Unowned,
    Owned,
    Unknown,
    Held,
    Foreign,
}

/// What a batch says of this process.
#[derive(Clone, PartialEq, Debug)]
pub struct NodeWrite {
    pub started_at: Wall,
    pub streams: usize,
    pub viewers: usize,
    /// Playback sessions by engine; 0 = no longer any.
    pub loads: BTreeMap<String, u32>,
}

/// A batch with what the book adds to the table's part of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Page {
    pub batch: Batch,
    /// Of the streams in the batch: viewers of this worker, and whether the stream is ours.
    pub crowds: BTreeMap<Infohash, Crowd>,
    pub node: Option<NodeWrite>,
    /// Viewers whose stop keys are to be looked for.
    pub stops: Vec<(Infohash, Vec<ViewerId>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Crowd {
    pub viewers: usize,
    pub is_owner: bool,
}

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
                let input = lease::Input::Answered { number: question.ask.number, reply };
                self.feed_lease(question.infohash, question.lease, input, now);
            }
            Input::Lost { question } => {
                let input = lease::Input::Lost { number: question.ask.number };
                self.feed_lease(question.infohash, question.lease, input, now);
            }
            Input::Written { ok } => {
                self.writing = false;
                self.resync_wanted |= !ok;
            }
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
        if now >= self.node_at && !self.closing {
            self.node_at = now + NODE_EVERY;
            page.node = Some(self.node_write());
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

/// What shards tell.
impl Book {
    fn on_record(&mut self, shard: usize, record: Record, now: Instant) {
        match record {
            Record::Stream(facts) => self.on_stream(shard, facts, now),
            Record::StreamOver(over) => self.on_over(*over, now),
            Record::Failover { infohash, from, reason } => {
                if let Some(entry) = self.streams.get_mut(&infohash) {
                    entry.failover = Some((from, reason));
                }
            }
            Record::Viewer(facts) => self.on_viewer(facts, now),
            Record::ViewerStats(stats) => self.on_stats(stats, now),
            Record::ViewerGone(gone) => self.on_gone(&gone, now),
            Record::Synced { generation } => self.on_synced(shard, generation, now),
        }
    }

    fn on_stream(&mut self, shard: usize, facts: Box<StreamFacts>, now: Instant) {
        let infohash = facts.infohash;
        let at = facts.told_at;
        let entry = self.streams.entry(infohash).or_default();
        entry.shard = Some(shard);
        if entry.lease.is_none() {
            self.open_lease(infohash, now);
            self.outputs.push_back(Output::Subscribe(infohash));
        }
        let entry = self.streams.get_mut(&infohash).expect("made above");
        entry.generation = self.generation;
        entry.content_id = facts.content_id;
        let engine = facts.engine.as_ref().map(|engine| engine.id.clone());
        let mut events = Vec::new();
        if facts.ready_at.is_some() && !std::mem::replace(&mut entry.started, true) {
            events.push(What::StreamStarted);
        }
        if let (Some(to), Some((from, reason))) =
            (&engine, entry.failover.take_if(|_| engine.is_some()))
        {
            events.push(What::StreamFailover { from, to: to.clone(), reason });
        }
        if entry.engine != engine {
            entry.engine = engine;
            // Nodes that share engines spread over them: soon, not at the next heartbeat.
            self.node_at = now;
        }
        self.table.put_stream(infohash, StreamWrite::Facts(facts), now);
        for what in events {
            self.publish(infohash, what, Some(at));
        }
    }

    fn on_over(&mut self, over: StreamOver, now: Instant) {
        let infohash = over.facts.infohash;
        let at = over.facts.told_at;
        let Some(entry) = self.streams.get_mut(&infohash) else { return };
        if entry.lease.is_none() {
            return;
        }
        let reason = over.reason;
        if entry.engine.take().is_some() {
            self.node_at = now;
        }
        self.publish(infohash, What::StreamStopped { reason }, Some(at));
        match self.streams[&infohash].gate() {
            Gate::Write if self.streams[&infohash].is_owner() => {
                self.table.put_stream(infohash, StreamWrite::Over(Box::new(over)), now);
            }
            Gate::Write => {}
            Gate::Later | Gate::Drop => self.table.forget(&infohash),
        }
        self.part(infohash, now);
        self.outputs.push_back(Output::Unsubscribe(infohash));
        self.drop_if_empty(&infohash);
    }

    fn on_viewer(&mut self, facts: Box<ViewerFacts>, now: Instant) {
        let stats = facts.stats;
        let generation = self.generation;
        let entry = self.streams.entry(stats.infohash).or_default();
        let connected_at = facts.connected_at;
        let known = entry.viewers.contains_key(&stats.id);
        let new = || Seen::new(connected_at, &stats, generation);
        let seen = entry.viewers.entry(stats.id).or_insert_with(new);
        seen.generation = generation;
        let rates = seen.note(&stats);
        let event = (facts.is_new && !known)
            .then(|| What::ClientConnected { id: stats.id, agent: facts.agent.clone() });
        let write = ViewerWrite::Full(facts, rates);
        self.table.put_viewer(stats.id, stats.infohash, write, now);
        if let Some(what) = event {
            self.publish(stats.infohash, what, Some(connected_at));
        }
    }

    fn on_stats(&mut self, stats: ViewerStats, now: Instant) {
        let entry = self.streams.get_mut(&stats.infohash);
        let Some(seen) = entry.and_then(|entry| entry.viewers.get_mut(&stats.id)) else {
            // Its join was lost on the way: it comes with the next full telling.
            self.resync_wanted = true;
            return;
        };
        let write = ViewerWrite::Stats(stats, seen.note(&stats));
        self.table.put_viewer(stats.id, stats.infohash, write, now);
    }

    fn on_gone(&mut self, gone: &ViewerGone, now: Instant) {
        let Some(entry) = self.streams.get_mut(&gone.infohash) else { return };
        if entry.viewers.remove(&gone.id).is_none() {
            return;
        }
        let remaining = entry.viewers.len();
        self.table.put_viewer(gone.id, gone.infohash, ViewerWrite::Gone, now);
        let what = What::ClientDisconnected {
            id: gone.id,
            agent: gone.agent.clone(),
            remaining,
            reason: gone.reason,
            bytes_sent: gone.bytes_sent,
            seconds: gone.seconds,
        };
        self.publish(gone.infohash, what, Some(gone.at));
        self.drop_if_empty(&gone.infohash);
    }

    /// What the shard did not tell again is not there any more.
    fn on_synced(&mut self, shard: usize, generation: u32, now: Instant) {
        if generation != self.generation || self.to_sync & (1 << shard) == 0 {
            return;
        }
        self.to_sync &= !(1 << shard);
        let mut gone = Vec::new();
        let mut over = Vec::new();
        for (infohash, entry) in &self.streams {
            let old = entry
                .viewers
                .iter()
                .filter(|(id, seen)| shard_of(**id) == shard && seen.generation != generation);
            gone.extend(old.map(|(id, _)| (*infohash, *id)));
            if entry.shard == Some(shard) && entry.lease.is_some() && entry.generation != generation
            {
                over.push(*infohash);
            }
        }
        for (infohash, id) in gone {
            if let Some(entry) = self.streams.get_mut(&infohash) {
                entry.viewers.remove(&id);
            }
            self.table.put_viewer(id, infohash, ViewerWrite::Gone, now);
            self.drop_if_empty(&infohash);
        }
        for infohash in over {
            self.table.forget_stream(&infohash);
            self.part(infohash, now);
            self.outputs.push_back(Output::Unsubscribe(infohash));
            self.drop_if_empty(&infohash);
        }
    }

    fn publish(&mut self, infohash: Infohash, what: What, at: Option<Wall>) {
        // Who listens now hears of now; nobody wants the events of an outage.
        if !self.link_up {
            return;
        }
        let content_id = self.streams.get(&infohash).and_then(|entry| entry.content_id);
        let worker = self.me.clone();
        self.table.put_event(Event { infohash, content_id, worker, at, what });
    }

    fn drop_if_empty(&mut self, infohash: &Infohash) {
        if self.streams.get(infohash).is_some_and(Entry::is_empty) {
            self.streams.remove(infohash);
        }
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
        }
        self.tell_leases(&lease::Input::Link { up }, now);
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
