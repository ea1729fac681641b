//! The viewers of one stream on this shard, and what a turn does for them.
//!
//! An audience exists from the first viewer that asks for its key. It resolves the key,
//! subscribes at the stream's owner, and from then on plans all its viewers from one pinned view
//! of the ring. It is dropped when the owner may close and nobody is left.

mod hands;
mod paths;

use self::hands::AT_ONCE_BYTES_MAX;
use self::hands::Hands;
pub(crate) use self::hands::Round;
pub(crate) use self::paths::LARGE_BYTES_MIN;
pub(crate) use self::paths::Path;
pub(crate) use self::paths::Paths;
pub use self::paths::SendMode;
use crate::base::ids::Generation;
use crate::base::ids::ShardId;
use crate::base::ids::Target;
use crate::base::ids::ViewerId;
use crate::base::time::Instant;
use crate::base::time::Wall;
use crate::net::egress::Slot;
use crate::ring::Reader;
use crate::shard::channel::Channel;
use crate::shard::channel::ChannelId;
use crate::shard::core::Core;
use crate::shard::seats::Seat;
use crate::stream::Answer;
use crate::viewer;
use crate::viewer::CloseReason;
use crate::viewer::Fanout;
use crate::viewer::Viewer;
use slab::Slab;
use std::net::IpAddr;
use std::sync::Arc;

/// How far an audience has come.
#[derive(Debug)]
pub(crate) enum Stage {
    Resolving { token: u64 },
    Subscribing,
    Attached(Arc<Channel>),
}

pub(crate) struct Audience {
    /// First the key that was asked for; then every other that turned out to mean the same.
    pub(crate) keys: Vec<Target>,
    pub(crate) stage: Stage,
    pub(crate) reader: Option<Reader>,
    pub(crate) fanout: Fanout,
    pub(crate) entries: Slab<Entry>,
    pub(crate) commits: Commits,
    /// Entries to plan in this turn: their operation completed or their socket has room.
    pub(crate) ready: Vec<usize>,
    pub(crate) waiting: u32,
    pub(crate) playing: u32,
    /// Sockets on their way out; the reader may still hold bytes for them.
    pub(crate) closing: u32,
    /// Playing viewers whose way is the memory file.
    pub(crate) copied: u32,
    /// None: the owner is to be told whatever it knows.
    pub(crate) told: Option<(u32, u32, u32)>,
    /// The earliest end of a wait among the entries, or earlier.
    pub(crate) wait_deadline: Instant,
    pub(crate) may_close: Option<Generation>,
    /// The stream is ending for good: newcomers do not join this audience.
    pub(crate) over: bool,
    /// An operator wants the stream until then; until its owner has been told, as a viewer would.
    pub(crate) warm_until: Option<Instant>,
    /// Its stream's owner is gone: nobody will ask whether it may close.
    pub(crate) is_orphan: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Waiting,
    Playing,
    Closing,
}

/// Who a viewer is, for people.
#[derive(Debug)]
pub(crate) struct Who {
    pub(crate) id: ViewerId,
    pub(crate) address: IpAddr,
    /// What it counts under where addresses have limits.
    pub(crate) limited_as: Option<IpAddr>,
    pub(crate) agent: String,
    pub(crate) name: Option<String>,
    pub(crate) connected_at: Wall,
    /// Given back when the viewer has gone for good.
    pub(crate) _seats: [Seat; 2],
}

pub(crate) struct Entry {
    pub(crate) viewer: Viewer,
    pub(crate) slot: Slot,
    pub(crate) place: usize,
    pub(crate) phase: Phase,
    pub(crate) path: Path,
    /// Zero-copy sends that are complete and not acknowledged yet.
    pub(crate) lent: u16,
    pub(crate) wait_until: Instant,
    pub(crate) who: Box<Who>,
    /// For the rate on the API: bytes and time of the last look.
    pub(crate) rate_mark: (u64, Instant),
    /// While its socket takes nothing: bytes acknowledged, of those accepted, at the last look.
    pub(crate) acked_mark: (u64, u64),
}

impl viewer::Entry for Entry {
    fn viewer(&mut self) -> &mut Viewer {
        &mut self.viewer
    }
}

impl Audience {
    pub(crate) fn new(key: Target, stage: Stage, fanout: Fanout) -> Self {
        Self {
            keys: vec![key],
            stage,
            reader: None,
            fanout,
            entries: Slab::new(),
            commits: Commits::default(),
            ready: Vec::new(),
            waiting: 0,
            playing: 0,
            closing: 0,
            copied: 0,
            told: Some((0, 0, 0)),
            wait_deadline: Instant::NEVER,
            may_close: None,
            over: false,
            warm_until: None,
            is_orphan: false,
        }
    }

    pub(crate) fn channel(&self) -> Option<&Arc<Channel>> {
        match &self.stage {
            Stage::Attached(channel) => Some(channel),
            Stage::Resolving { .. } | Stage::Subscribing => None,
        }
    }

    pub(crate) fn channel_id(&self) -> Option<ChannelId> {
        self.channel().map(|channel| channel.id)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let tick = if self.playing > 0 { self.fanout.next_tick() } else { None };
        let wait = (self.waiting > 0).then_some(self.wait_deadline);
        [tick, wait].into_iter().flatten().min()
    }

    /// For the owner: viewers that wait or play, those that wait, those for whom the kernel copies.
    pub(crate) fn counts(&self) -> (u32, u32, u32) {
        let operator = u32::from(self.warm_until.is_some());
        (self.waiting + self.playing + operator, self.waiting, self.copied)
    }

    /// The way of a viewer changes.
    pub(crate) fn take_path(&mut self, index: usize, path: Path) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        if entry.phase == Phase::Playing {
            self.copied += u32::from(path == Path::Shared);
            self.copied -= u32::from(entry.path == Path::Shared);
        }
        entry.path = path;
    }
}

impl Core {
    /// Decides for every audience that has something to decide.
    pub(crate) fn serve_audiences(&mut self) {
        let mut due = std::mem::take(&mut self.due_audiences);
        let (now, since) = (self.now, self.news_since);
        let found = self.audiences.iter_mut();
        due.extend(found.filter_map(|(at, audience)| audience.is_due(now, since).then_some(at)));
        for at in due.drain(..) {
            let mut round = std::mem::take(&mut self.round);
            self.serve(at, &mut round);
            for entry in round.started.drain(..) {
                self.log_start(at, entry);
            }
            for (entry, reason) in round.close.drain(..) {
                self.finish(at, entry, reason);
            }
            self.round = round;
        }
        self.due_audiences = due;
        self.report_counts();
    }

    fn serve(&mut self, at: usize, round: &mut Round) {
        let Self { audiences, egress, paths, out, shared, stats, now, places, .. } = self;
        let now = *now;
        let policy = &shared.config.policy;
        let audience = &mut audiences[at];
        let Stage::Attached(channel) = &audience.stage else { return };
        let Some(reader) = &mut audience.reader else { return };
        let Audience { fanout, entries, commits, .. } = audience;
        let arena = shared.arena;
        round.at_once_bytes = 0;
        let mut hands = Hands { egress, paths, stats, commits, arena, round, now };
        let joiners = audience.waiting > 0;
        let mut turn = reader.turn(fanout.lowest_cursor(joiners));
        if joiners && turn.newest_access().is_some() {
            let join_us = policy.join.us(channel.read_gap());
            hands.start_waiting(fanout, entries, &mut turn, policy, join_us, out);
            let started = &hands.round.started;
            audience.waiting -= started.len() as u32;
            audience.playing += started.len() as u32;
            let shared = started.iter().filter(|index| entries[**index].path == Path::Shared);
            audience.copied += shared.count() as u32;
            audience.ready.extend(started);
        }
        let mut served = 0;
        for &index in &audience.ready {
            if hands.round.at_once_bytes > AT_ONCE_BYTES_MAX {
                break; // The others have waited long enough: the rest is for the next turn.
            }
            served += 1;
            let Some(entry) = entries.get_mut(index) else { continue };
            if entry.phase == Phase::Playing {
                let act = &mut |entry: &mut _, plan, turn: &mut _, out: &mut Vec<u8>| {
                    hands.act(entry, plan, turn, out);
                };
                viewer::plan_one(fanout, &mut turn, policy, entry, out, now, act);
            }
        }
        audience.ready.drain(..served);
        if fanout.due(now) {
            let all = entries.iter_mut().map(|(_, entry)| entry);
            let playing = all.filter(|entry| entry.phase == Phase::Playing);
            let act = &mut |entry: &mut _, plan, turn: &mut _, out: &mut Vec<u8>| {
                hands.act(entry, plan, turn, out);
            };
            viewer::plan_all(fanout, &mut turn, policy, playing, out, now, act);
        }
        drop(turn);
        audience.ready.extend(round.again.drain(..).map(|place| places[place].entry));
        // Sends name places; the rest of the shard speaks of entries.
        for (place, reason) in &mut round.close {
            *place = places[*place].entry;
            if *reason == CloseReason::EngineGone {
                *reason = channel.facts().close_reason.unwrap_or(*reason);
            }
        }
        for (place, path) in round.turned.drain(..) {
            audience.take_path(places[place].entry, path);
        }
    }
}

impl Audience {
    fn is_due(&mut self, now: Instant, since: Instant) -> bool {
        let Stage::Attached(channel) = &self.stage else { return false };
        let head = channel.ring.head();
        self.fanout.note_head(head, since, channel.waited_since(), now);
        self.commits.note(head, now);
        !self.ready.is_empty()
            || (self.waiting > 0 && head > 0)
            || (self.playing > 0 && self.fanout.due(now))
    }
}

/// When this shard saw the last heads: for the time from a commit to a socket's acceptance.
#[derive(Default)]
pub(crate) struct Commits {
    seen: [(u64, Instant); 4],
    newest: usize,
}

impl Commits {
    fn note(&mut self, head: u64, now: Instant) {
        if head > self.seen[self.newest].0 {
            self.newest = (self.newest + 1) % self.seen.len();
            self.seen[self.newest] = (head, now);
        }
    }

    /// When the byte before `end` was committed, if that was one of the last commits: a viewer
    /// that catches up says nothing about how fast we deliver.
    pub(crate) fn reached(&self, end: u64) -> Option<Instant> {
        let covering = self.seen.iter().filter(|(head, _)| *head >= end);
        let first = covering.min_by_key(|(head, _)| *head)?;
        // With all of them above `end` an older one may have covered it already.
        let is_known = self.seen.iter().any(|(head, _)| *head < end);
        is_known.then_some(first.1)
    }
}

/// The answer of a wait that ends before the owner had anything to say.
pub(crate) fn nothing_yet() -> Answer {
    Answer {
        code: crate::stream::Code::NothingToPlay,
        message: "nothing to play yet: no engine has answered".to_owned(),
        engine: None,
        retry_after_s: Some(5),
    }
}

pub(crate) const fn shard_bit(shard: ShardId) -> u64 {
    1 << shard.0
}

#[cfg(test)]
mod tests;
