//! What this shard tells the mirror, and what it does when the mirror asks.
//!
//! Told are values: streams when something of them changed and every few seconds, viewers when
//! they start and end, and their numbers once in `PROXY_HEARTBEAT_INTERVAL`, a few of them at a
//! time. Without Redis there is no [`Teller`], and nothing here does anything.

use crate::admin::hygiene;
use crate::admin::records::LeaseRecord;
use crate::base::ids::Infohash;
use crate::base::ids::Target;
use crate::base::ids::ViewerId;
use crate::base::time::Instant;
use crate::base::time::Wall;
use crate::engine::pool;
use crate::mirror::LeaseView;
use crate::mirror::Order;
use crate::mirror::Outbox;
use crate::mirror::Record;
use crate::mirror::records::EngineFacts;
use crate::mirror::records::StreamFacts;
use crate::mirror::records::StreamOver;
use crate::mirror::records::ViewerFacts;
use crate::mirror::records::ViewerGone;
use crate::mirror::records::ViewerStats;
use crate::shard::audience::Entry;
use crate::shard::audience::Phase;
use crate::shard::channel::Channel;
use crate::shard::core::Core;
use crate::shard::source::Source;
use crate::stream::Input;
use crate::viewer::CloseReason;
use std::time::Duration;

/// Metadata lives 30 s in Redis.
const STREAMS_EVERY_MAX: Duration = Duration::from_secs(10);

/// Viewers are refreshed a few at a time, so that no turn is long.
const VIEWERS_EVERY: Duration = Duration::from_millis(250);

/// How long a full telling waits for room: a round of the mirror.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Of a full telling in one turn.
const TOLD_PER_TURN_MAX: usize = 512;

pub(crate) struct Teller {
    outbox: Outbox,
    heartbeat: Duration,
    streams_at: Instant,
    viewers_at: Instant,
    /// The place whose viewer is refreshed next, and the part of a place that is still owed.
    cursor: usize,
    owed: f64,
    /// A full telling that is under way: its number, and the place that is told next.
    telling: Option<(u32, usize)>,
    /// Not before then: the queue was full.
    telling_at: Instant,
    /// Names of the engines that were told, where the pool is.
    engines: Vec<String>,
}

/// What a stream remembers for its own records.
#[derive(Default)]
pub(crate) struct Told {
    /// The mirror knows of it.
    is_told: bool,
    state: &'static str,
    state_at: Wall,
    error: Option<String>,
    pub(crate) lease: LeaseView,
    /// When that was said.
    pub(crate) lease_at: Instant,
}

impl Told {
    pub(crate) fn record(&self) -> LeaseRecord {
        LeaseRecord { owner: self.lease.owner.clone(), epoch: self.lease.epoch }
    }
}

impl Teller {
    /// For the shard that comes after this one.
    pub(crate) fn into_outbox(self) -> Outbox {
        self.outbox
    }

    pub(crate) const fn new(outbox: Outbox, heartbeat: Duration) -> Self {
        Self {
            outbox,
            heartbeat,
            streams_at: Instant::ZERO,
            viewers_at: Instant::ZERO,
            cursor: 0,
            owed: 0.0,
            telling: None,
            telling_at: Instant::ZERO,
            engines: Vec::new(),
        }
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        let telling = self.telling.map_or(Instant::NEVER, |_| self.telling_at);
        telling.min(self.streams_at).min(self.viewers_at)
    }
}

impl Core {
    /// Once a turn: what is due to be told again, then the mirror is woken if it was told anything.
    pub(crate) fn tell_mirror(&mut self) {
        let Some(mut teller) = self.teller.take() else { return };
        let now = self.now;
        if teller.telling.is_some() && now >= teller.telling_at {
            self.tell_all(&mut teller);
        }
        if now >= teller.streams_at {
            teller.streams_at = now + teller.heartbeat.min(STREAMS_EVERY_MAX);
            let serials: Vec<u64> = self.sources.keys().copied().collect();
            for serial in serials {
                self.tell_stream_to(&mut teller, serial);
            }
        }
        if now >= teller.viewers_at {
            teller.viewers_at = now + VIEWERS_EVERY;
            self.refresh_viewers(&mut teller);
        }
        teller.outbox.flush();
        self.teller = Some(teller);
    }

    pub(crate) fn mirror_deadline(&self) -> Option<Instant> {
        let teller = self.teller.as_ref()?;
        let is_idle = self.sources.is_empty() && self.places.is_empty();
        (!is_idle || teller.telling.is_some()).then(|| teller.next_deadline())
    }

    /// So many places a round that each comes up once in a heartbeat.
    fn refresh_viewers(&mut self, teller: &mut Teller) {
        let places = self.places.capacity();
        if self.places.is_empty() {
            return;
        }
        let share = VIEWERS_EVERY.as_secs_f64() / teller.heartbeat.as_secs_f64();
        teller.owed = (teller.owed + places as f64 * share).min(places as f64);
        let count = teller.owed as usize;
        teller.owed -= count as f64;
        let wall = Wall::now();
        for _ in 0..count {
            teller.cursor = (teller.cursor + 1) % places;
            if let Some(stats) = self.viewer_stats(teller.cursor, wall) {
                teller.outbox.tell(Record::ViewerStats(stats));
            }
        }
    }

    fn tell_all(&mut self, teller: &mut Teller) {
        let Some((generation, mut place)) = teller.telling else { return };
        let serials: Vec<u64> = self.sources.keys().copied().collect();
        if teller.outbox.room() < serials.len() + 3 {
            // The mirror empties it soon, unless it is being started again.
            teller.telling_at = self.now + FULL_PAUSE;
            return;
        }
        if place == 0 {
            if !teller.engines.is_empty() {
                teller.outbox.tell(Record::Engines(teller.engines.clone()));
            }
            for serial in serials {
                self.tell_stream_to(teller, serial);
            }
        }
        let wall = Wall::now();
        let room = (teller.outbox.room() - 1).min(TOLD_PER_TURN_MAX);
        let end = (place + room).min(self.places.capacity());
        while place < end {
            if let Some(facts) = self.viewer_facts(place, wall, false) {
                teller.outbox.tell(Record::Viewer(facts));
            }
            place += 1;
        }
        if place < self.places.capacity() {
            teller.telling = Some((generation, place));
        } else {
            teller.telling = None;
            teller.outbox.tell(Record::Synced { generation });
        }
    }

    /// The pool has changed: where others are to be counted.
    pub(crate) fn tell_engines(&mut self) {
        let (Some(pool), Some(teller)) = (&self.pool, &mut self.teller) else { return };
        if pool.names().ne(teller.engines.iter().map(String::as_str)) {
            teller.engines = pool.names().map(str::to_owned).collect();
            teller.outbox.tell(Record::Engines(teller.engines.clone()));
        }
    }

    /// Something of it has changed.
    pub(crate) fn mirror_stream(&mut self, serial: u64) {
        let Some(mut teller) = self.teller.take() else { return };
        self.tell_stream_to(&mut teller, serial);
        self.teller = Some(teller);
    }

    fn tell_stream_to(&mut self, teller: &mut Teller, serial: u64) {
        let now = self.now;
        let Some(source) = self.sources.get_mut(&serial) else { return };
        if let Some(facts) = source.facts(now) {
            source.told.is_told = true;
            teller.outbox.tell(Record::Stream(Box::new(facts)));
        }
    }

    pub(crate) fn mirror_failover(&mut self, serial: u64, from: String, reason: &'static str) {
        let Some(teller) = &mut self.teller else { return };
        let infohash = self.sources[&serial].session.infohash();
        teller.outbox.tell(Record::Failover { infohash, from, reason });
    }

    pub(crate) fn note_error(&mut self, serial: u64, error: &str) {
        if self.teller.is_some()
            && let Some(source) = self.sources.get_mut(&serial)
        {
            source.told.error = Some(hygiene::clean(error).into_owned());
        }
    }

    /// Nobody finds it any more; said once, while it still has its keys.
    pub(crate) fn mirror_over(&mut self, serial: u64) {
        let now = self.now;
        let Some(teller) = &mut self.teller else { return };
        let Some(source) = self.sources.get_mut(&serial) else { return };
        if !std::mem::take(&mut source.told.is_told) {
            return;
        }
        let Some(mut facts) = source.facts(now) else { return };
        let closed = source.channel.facts().close_reason;
        let error = source.told.error.take();
        let failed = error.is_some() || closed.is_some_and(is_failure);
        facts.state = if failed { "error" } else { "stopped" };
        facts.state_changed_at = facts.told_at;
        let reason = closed.map_or(if failed { "error" } else { "idle" }, CloseReason::name);
        let error = error.or_else(|| failed.then(|| reason.to_owned()));
        let over = StreamOver { facts, reason, error };
        teller.outbox.tell(Record::StreamOver(Box::new(over)));
    }

    pub(crate) fn mirror_viewer(&mut self, at: usize, index: usize) {
        if self.teller.is_none() {
            return;
        }
        let place = self.audiences[at].entries[index].place;
        let facts = self.viewer_facts(place, Wall::now(), true);
        if let (Some(facts), Some(teller)) = (facts, &mut self.teller) {
            teller.outbox.tell(Record::Viewer(facts));
        }
    }

    pub(crate) fn mirror_viewer_gone(&mut self, at: usize, index: usize, reason: CloseReason) {
        let now = self.now;
        let Some(teller) = &mut self.teller else { return };
        let audience = &self.audiences[at];
        let Some(channel) = audience.channel() else { return };
        let entry = &audience.entries[index];
        let gone = ViewerGone {
            id: entry.who.id,
            infohash: channel.infohash(),
            agent: hygiene::clean(&entry.who.agent).into_owned(),
            reason: reason.name(),
            bytes_sent: entry.viewer.bytes_sent(),
            seconds: now.since(entry.viewer.created_at()).as_secs_f64(),
            at: Wall::now(),
        };
        teller.outbox.tell(Record::ViewerGone(Box::new(gone)));
    }

    fn viewer_facts(&mut self, place: usize, wall: Wall, is_new: bool) -> Option<Box<ViewerFacts>> {
        let stats = self.viewer_stats(place, wall)?;
        let place = self.places[place];
        let who = &self.audiences[place.audience].entries[place.entry].who;
        Some(Box::new(ViewerFacts {
            stats,
            address: hygiene::address(who.address, self.shared.config.addresses),
            agent: hygiene::clean(&who.agent).into_owned(),
            name: who.name.clone(),
            connected_at: who.connected_at,
            is_new,
        }))
    }

    /// `None`: there is nobody, or nobody who plays.
    fn viewer_stats(&mut self, place: usize, wall: Wall) -> Option<ViewerStats> {
        let place = *self.places.get(place)?;
        let audience = self.audiences.get_mut(place.audience)?;
        let entry = audience.entries.get(place.entry)?;
        if entry.phase != Phase::Playing {
            return None;
        }
        let infohash = audience.channel().map(|channel| channel.infohash())?;
        let lowest = audience.fanout.lowest_cursor(false);
        let reader = audience.reader.as_mut()?;
        let turn = reader.turn(lowest);
        let entry: &Entry = &audience.entries[place.entry];
        let behind_ms = entry.viewer.lag_us(&turn) / 1_000;
        let last = entry.viewer.last_accepted().unwrap_or(entry.viewer.created_at());
        Some(ViewerStats {
            id: entry.who.id,
            infohash,
            last_active: ago(wall, self.now.since(last)),
            bytes_sent: entry.viewer.bytes_sent(),
            behind_ms,
            updated_at: wall,
        })
    }
}

/// What the mirror wants.
impl Core {
    pub(crate) fn on_mirror(&mut self, order: Order) {
        match order {
            Order::TellAll { generation } => {
                if let Some(teller) = &mut self.teller {
                    teller.telling = Some((generation, 0));
                }
            }
            Order::StopViewer { infohash, viewer } => self.stop_viewer(infohash, viewer),
            Order::StopStream { infohash } => {
                if let Some(serial) = self.source_keys.get(&Target::Infohash(infohash)).copied() {
                    tracing::info!("stream {infohash} is stopped: channel_stop in Redis");
                    let reason = crate::stream::CloseReason::Kicked;
                    self.feed(serial, Input::Kick { reason });
                }
            }
            Order::Loads(loads) => self.ask_pool(pool::Input::Elsewhere(loads)),
            Order::Primed { serial, bytes } => self.on_primed(serial, &bytes),
            Order::Lease { infohash, view } => {
                if let Some(serial) = self.source_keys.get(&Target::Infohash(infohash)).copied() {
                    self.on_lease(serial, view);
                }
            }
        }
    }

    fn stop_viewer(&mut self, infohash: Infohash, viewer: ViewerId) {
        let is_theirs = |channel: &Channel| channel.infohash() == infohash;
        let found = self.audiences.iter().find_map(|(at, audience)| {
            let is_here = audience.channel().is_some_and(|channel| is_theirs(channel));
            let mut entries = audience.entries.iter().filter(|_| is_here);
            let index = entries.find(|(_, entry)| entry.who.id == viewer)?.0;
            Some((at, index))
        });
        if let Some((at, index)) = found {
            self.finish(at, index, CloseReason::Kicked);
        }
    }
}

impl Source {
    /// `None` until an engine has said which stream it is.
    fn facts(&mut self, now: Instant) -> Option<StreamFacts> {
        if !self.has_infohash() {
            return None;
        }
        let infohash = self.session.infohash();
        let told_at = Wall::now();
        let state = self.session.redis_state();
        if self.told.state != state {
            self.told.state = state;
            self.told.state_at = told_at;
        }
        let first = self.session.first_packet_at();
        let wall = |at: Instant| ago(told_at, now.since(at));
        let opened = self.session.opened();
        let content_id = match &self.open {
            Target::Id(id) if *id != infohash => Some(*id),
            Target::Id(_) | Target::Infohash(_) | Target::Url(_) | Target::Magnet(_) => None,
        };
        Some(StreamFacts {
            infohash,
            content_id,
            state,
            state_changed_at: self.told.state_at,
            started_at: self.started_wall,
            ready_at: first.map(wall),
            last_byte_at: first.map(|_| wall(self.ingest.last_read())),
            engine: self.engine_facts(),
            is_live: opened.is_none_or(|opened| opened.live),
            is_encrypted: opened.is_some_and(|opened| opened.encrypted),
            bitrate_bps: self.ingest.scanner().bitrate_bps(),
            bytes_total: self.session.bytes_total(),
            peers: self.session.stat().map(|stat| stat.peers),
            told_at,
        })
    }

    fn engine_facts(&self) -> Option<EngineFacts> {
        let address = self.engines.get(&self.session.engine()?)?;
        let opened = self.session.opened();
        let url = |path: &str| match path {
            "" => String::new(),
            path => format!("http://{}{path}", address.host),
        };
        let host = address.host.rsplit_once(':').map_or(&*address.host, |(host, _)| host);
        Some(EngineFacts {
            id: self.session.engine_name().unwrap_or_default().to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: address.socket.port(),
            forwarded: address.forwarded,
            playback_session_id: opened
                .map(|opened| opened.playback_session_id.clone())
                .unwrap_or_default(),
            stat_url: opened.map(|opened| url(&opened.stat_path)).unwrap_or_default(),
            command_url: opened.map(|opened| url(&opened.command_path)).unwrap_or_default(),
        })
    }
}

fn ago(wall: Wall, ago: Duration) -> Wall {
    Wall::from_unix_ms(wall.unix_ms().saturating_sub(ago.as_millis() as u64))
}

/// The viewers were closed because the stream could not go on.
const fn is_failure(reason: CloseReason) -> bool {
    match reason {
        CloseReason::EngineGone
        | CloseReason::Unstable
        | CloseReason::Contended
        | CloseReason::TakenOver
        | CloseReason::ShardLost
        | CloseReason::Error => true,
        CloseReason::Left
        | CloseReason::Slow
        | CloseReason::Stuck
        | CloseReason::Kicked
        | CloseReason::Drain => false,
    }
}
