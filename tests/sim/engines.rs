//! Engines that behave as `ENGINE_API` says, and worse.
//!
//! One download per infohash and engine: a newer session supersedes the older one, and a stop of
//! either ends both. A restart forgets everything.

use std::collections::BTreeMap;
use std::time::Duration;

use ringcast::base::ids::EngineId;
use ringcast::base::ids::Generation;
use ringcast::base::ids::Infohash;
use ringcast::base::ids::ShardId;
use ringcast::base::ids::Target;
use ringcast::base::time::Instant;
use ringcast::engine::pool;
use ringcast::registry::resolver;
use ringcast::registry::resolver::QueryId;
use ringcast::registry::resolver::QueryReply;
use ringcast::stream::Failure;
use ringcast::stream::Input;
use ringcast::stream::Opened;
use ringcast::stream::Outcome;
use ringcast::stream::StatFacts;

use crate::homes::Mail;
use crate::media::Broadcast;
use crate::media::Source;
use crate::world::Event;
use crate::world::StreamId;
use crate::world::World;

/// A playback session, by the number in its paths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Sid(pub(crate) u64);

impl Sid {
    pub(crate) fn of(path: &str) -> Self {
        let digits = path.rsplit('/').next().expect("a path has a last part");
        Self(digits.parse().expect("our paths end in the session's number"))
    }
}

pub(crate) enum EngineEvent {
    Open {
        stream: StreamId,
        generation: Generation,
        target: Target,
    },
    Play {
        stream: StreamId,
        generation: Generation,
        sid: Sid,
    },
    Body {
        stream: StreamId,
        generation: Generation,
    },
    Stat {
        stream: StreamId,
        generation: Generation,
        sid: Sid,
    },
    Status {
        stream: StreamId,
        generation: Generation,
    },
    /// `asks`: not if another session has taken its place.
    Stop {
        stream: StreamId,
        generation: Generation,
        sid: Sid,
        asks: bool,
    },
}

#[derive(Default)]
pub(crate) struct FakeEngine {
    down_until: Instant,
    sessions: BTreeMap<Sid, Playback>,
    current: BTreeMap<Infohash, Sid>,
}

#[derive(Clone, Copy)]
struct Playback {
    infohash: Infohash,
    warm_at: Instant,
    /// No byte will ever come.
    is_dead: bool,
}

impl EngineEvent {
    pub(crate) fn stream(&self) -> StreamId {
        match self {
            Self::Open { stream, .. }
            | Self::Play { stream, .. }
            | Self::Body { stream, .. }
            | Self::Stat { stream, .. }
            | Self::Status { stream, .. }
            | Self::Stop { stream, .. } => *stream,
        }
    }
}

impl FakeEngine {
    pub(crate) fn is_up(&self, now: Instant) -> bool {
        self.down_until <= now
    }

    fn runs(&self, sid: Sid) -> bool {
        let session = self.sessions.get(&sid);
        session.is_some_and(|session| self.current.get(&session.infohash) == Some(&sid))
    }
}

impl World {
    fn engine(&mut self, engine: EngineId) -> &mut FakeEngine {
        &mut self.engines[engine.0 as usize - 1]
    }

    fn is_up(&self, engine: EngineId) -> bool {
        self.engines[engine.0 as usize - 1].is_up(self.now)
    }

    pub(crate) fn ask_engine(&mut self, engine: EngineId, event: EngineEvent) {
        self.after_us(200, 20_000, Event::Engine { engine, event });
    }

    /// A stop may take nearly as long as the driver has patience.
    pub(crate) fn stop_engine(&mut self, engine: EngineId, event: EngineEvent) {
        let us_max = if self.prng.chance(self.plan.faults.stop_hangs) { 2_900_000 } else { 20_000 };
        self.after_us(200, us_max, Event::Engine { engine, event });
    }

    fn answer(&mut self, stream: StreamId, input: Input, us_max: u64) {
        self.after_us(100, us_max.max(101), Event::Reply { stream, input });
    }

    pub(crate) fn engine_open(
        &mut self,
        stream: StreamId,
        generation: Generation,
        engine: EngineId,
        target: Target,
    ) {
        let faults = self.plan.faults.clone();
        if self.prng.chance(faults.open_silent) {
            // The driver's own deadline speaks.
            let failure = Failure::Silent;
            let input = Input::OpenFailed { generation, failure };
            let after = self.plan.settings.start_timeout.mul_f64(0.3);
            self.after(after, Event::Reply { stream, input });
            if self.prng.chance(faults.open_contradiction) {
                let event = EngineEvent::Open { stream, generation, target };
                self.after(after * 2, Event::Engine { engine, event });
            }
            return;
        }
        let us_max = if self.prng.chance(faults.open_late) { 15_000_000 } else { 500_000 };
        let event = EngineEvent::Open { stream, generation, target };
        self.after_us(1_000, us_max, Event::Engine { engine, event });
    }

    pub(crate) fn engine_event(&mut self, engine: EngineId, event: EngineEvent) {
        match event {
            EngineEvent::Open { stream, generation, target } => {
                let input = match self.opens(engine, &target) {
                    Ok(opened) => Input::Opened { generation, opened },
                    Err(failure) => Input::OpenFailed { generation, failure },
                };
                self.answer(stream, input, 20_000);
            }
            EngineEvent::Play { stream, generation, sid } => {
                self.plays(engine, stream, generation, sid);
            }
            EngineEvent::Body { stream, generation } => self.body(stream, generation),
            EngineEvent::Stat { stream, generation, sid } => {
                self.stat(engine, stream, generation, sid);
            }
            EngineEvent::Status { stream, generation } => self.status(engine, stream, generation),
            EngineEvent::Stop { stream, generation, sid, asks } => {
                if asks && self.is_replaced(engine, sid) {
                    self.ledger.not_stopped(sid);
                    let outcome = Outcome::Superseded;
                    return self.answer(stream, Input::StopDone { generation, outcome }, 20_000);
                }
                self.stops(engine, stream, generation, sid);
            }
        }
    }

    fn opens(&mut self, engine: EngineId, target: &Target) -> Result<Opened, Failure> {
        let faults = self.plan.faults.clone();
        if !self.is_up(engine) || self.prng.chance(faults.open_refused) {
            let address = format!("10.0.0.{}:6878", engine.0).parse().expect("an address");
            let input = Box::new(pool::Input::ConnectFailed { engine, address });
            self.mail(ShardId(0), ShardId(0), Mail::PoolInput(input));
            return Err(Failure::Refused);
        }
        if self.prng.chance(faults.open_engine_error) {
            return Err(Failure::Engine("premium only".to_owned()));
        }
        if self.prng.chance(faults.open_newer_download) {
            return Err(Failure::TakenOver("got newer download".to_owned()));
        }
        let channel = self.plan.channels.iter().position(|channel| match target {
            Target::Id(id) => channel.ids.contains(id),
            Target::Infohash(infohash) => channel.infohash == *infohash,
            Target::Url(_) | Target::Magnet(_) => false,
        });
        let channel = channel.filter(|_| !self.prng.chance(faults.open_content_error));
        let Some(channel) = channel else {
            return Err(Failure::Content("failed to load content".to_owned()));
        };
        let never = self.prng.chance(faults.play_never);
        let channel = &self.plan.channels[channel];
        let is_dead = channel.is_dead || never;
        let (infohash, live) = (channel.infohash, !channel.is_vod);
        let warm_at = self.now + channel.warm_up;
        let sid = self.new_session(engine, Playback { infohash, warm_at, is_dead });
        Ok(Opened {
            infohash,
            playback_session_id: format!("session-{}", sid.0),
            playback_path: format!("/ace/r/{}", sid.0),
            stat_path: format!("/ace/stat/{}", sid.0),
            command_path: format!("/ace/cmd/{}", sid.0),
            live,
            encrypted: false,
            hls: false,
        })
    }

    fn new_session(&mut self, engine: EngineId, mut session: Playback) -> Sid {
        let sid = self.ledger.new_sid();
        self.ledger.is_of(sid, session.infohash);
        let at = self.engine(engine);
        let older = at.current.get(&session.infohash).and_then(|sid| at.sessions.get(sid));
        if let Some(older) = older {
            // One download: what is warm stays warm.
            session.warm_at = session.warm_at.min(older.warm_at);
        }
        at.current.insert(session.infohash, sid);
        at.sessions.insert(sid, session);
        sid
    }

    fn plays(&mut self, engine: EngineId, stream: StreamId, play: Generation, sid: Sid) {
        let faults = self.plan.faults.clone();
        let failed = |failure| Input::PlayFailed { generation: play, failure };
        let now = self.now;
        if !self.is_up(engine) {
            return self.answer(stream, failed(Failure::Refused), 2_000);
        }
        let Some(session) = self.engine(engine).sessions.get(&sid).copied() else {
            let text = "unknown playback session id".to_owned();
            return self.answer(stream, failed(Failure::Gone(text)), 2_000);
        };
        if !self.engine(engine).runs(sid) || self.prng.chance(faults.play_403) {
            let text = "403 Forbidden".to_owned();
            return self.answer(stream, failed(Failure::TakenOver(text)), 2_000);
        }
        if self.prng.chance(faults.play_two_heads) {
            return self.answer(stream, failed(Failure::MalformedHead), 2_000);
        }
        let is_cold = session.is_dead || session.warm_at > now;
        if is_cold && self.prng.chance(faults.play_500) {
            let text = "start timeout".to_owned();
            return self.answer(stream, failed(Failure::Prebuffering(text)), 7_000_000);
        }
        if session.is_dead {
            let after = self.plan.settings.start_timeout;
            let input = failed(Failure::Silent);
            return self.after(after, Event::Reply { stream, input });
        }
        let wait = session.warm_at.since(now);
        self.after(
            wait,
            Event::Engine { engine, event: EngineEvent::Body { stream, generation: play } },
        );
    }

    /// The next piece of a body.
    fn body(&mut self, id: StreamId, generation: Generation) {
        let faults = self.plan.faults.clone();
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let is_paused = stream.is_paused;
        let Some(play) = stream.plays.get_mut(&generation) else { return };
        let (engine, sid, has_head) = (play.engine, play.sid, play.has_head);
        let event = Event::Engine { engine, event: EngineEvent::Body { stream: id, generation } };
        if !self.engines[engine.0 as usize - 1].runs(sid) || self.prng.chance(faults.body_cut) {
            let input = Input::BodyEnded { generation, failure: Failure::Cut };
            return self.answer(id, input, 20_000);
        }
        if !is_paused && !self.has_room(id) {
            self.pause(id);
            return self.after(Duration::from_millis(200), event);
        }
        if is_paused {
            return self.after(Duration::from_millis(200), event);
        }
        if self.prng.chance(faults.body_stall) {
            return self.after(Duration::from_secs(10 + generation.0 as u64 % 30), event);
        }
        if !has_head {
            self.has_head(id, generation);
            self.feed(id, Input::PlayHead { generation });
        }
        self.ingest(id, generation);
        if self.prng.chance(faults.body_paused) {
            self.pause(id);
        }
        self.after_us(100_000, 2_500_000, event);
    }

    fn has_head(&mut self, id: StreamId, generation: Generation) {
        let play = self.streams.get_mut(&id).and_then(|stream| stream.plays.get_mut(&generation));
        if let Some(play) = play {
            play.has_head = true;
        }
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.aside != Some(generation)
        {
            stream.ingest.body_begins();
        }
    }

    fn pause(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !std::mem::replace(&mut stream.is_paused, true) {
            self.feed(id, Input::RingFull);
            self.after_us(100_000, 40_000_000, Event::Resume { stream: id });
        }
    }

    fn stat(&mut self, engine: EngineId, stream: StreamId, generation: Generation, sid: Sid) {
        let failed = |failure| Input::StatFailed { generation, failure };
        if self.prng.chance(self.plan.faults.stat_hangs) {
            let input = failed(Failure::Silent);
            return self.after(Duration::from_secs(5), Event::Reply { stream, input });
        }
        if !self.is_up(engine) {
            return self.answer(stream, failed(Failure::Refused), 2_000);
        }
        let now = self.now;
        let at = self.engine(engine);
        let Some(session) = at.sessions.get(&sid).copied() else {
            let text = "unknown playback session id".to_owned();
            return self.answer(stream, failed(Failure::Gone(text)), 20_000);
        };
        let current = at.current.get(&session.infohash).copied().unwrap_or(sid);
        let is_cold = session.warm_at > now;
        let facts = StatFacts {
            status: if is_cold { "prebuf" } else { "dl" }.to_owned(),
            peers: if session.is_dead { 0 } else { 3 },
            downloaded: if session.is_dead { 0 } else { now.as_micros() / 1_000 },
            playback_session_id: Some(format!("session-{}", current.0)),
            ..StatFacts::default()
        };
        self.answer(stream, Input::Stat { generation, facts }, 20_000);
    }

    fn status(&mut self, engine: EngineId, stream: StreamId, generation: Generation) {
        if self.prng.chance(self.plan.faults.stat_hangs) {
            let input = Input::Status { generation, answers: false };
            return self.after(Duration::from_secs(5), Event::Reply { stream, input });
        }
        let input = Input::Status { generation, answers: self.is_up(engine) };
        self.answer(stream, input, 20_000);
    }

    /// What a session sends: in most worlds all engines have the same of a channel.
    pub(crate) fn source_of(&mut self, sid: Sid) -> Source {
        let infohash = self.ledger.infohash(sid);
        let channel = self.plan.channels.iter().position(|one| one.infohash == infohash);
        let channel = channel.expect("only channels are opened") as u32;
        let make = if self.prng.chance(self.plan.faults.other_make) { sid.0 as u32 } else { 0 };
        let lag_ms = if self.prng.chance(500) { 0 } else { self.prng.below(3_000) };
        let broadcast = Broadcast((make << 4) | (channel + 1));
        let lag = Duration::from_millis(lag_ms);
        Source::new(broadcast, self.plan.video_packets, lag, self.now)
    }

    /// What stat says of a session that is over.
    fn is_replaced(&mut self, engine: EngineId, sid: Sid) -> bool {
        let is_told = self.is_up(engine) && !self.prng.chance(self.plan.faults.stat_hangs);
        let at = self.engine(engine);
        let current = at.sessions.get(&sid).and_then(|session| at.current.get(&session.infohash));
        is_told && current.is_some_and(|current| *current != sid)
    }

    fn stops(&mut self, engine: EngineId, stream: StreamId, generation: Generation, sid: Sid) {
        let faults = self.plan.faults.clone();
        if self.prng.chance(faults.stop_never_answered) {
            return;
        }
        let is_up = self.is_up(engine);
        let fails = self.prng.chance(faults.stop_hangs);
        let at = self.engine(engine);
        if is_up && let Some(session) = at.sessions.remove(&sid) {
            // Of either session, the stop ends the one download.
            let current = at.current.remove(&session.infohash);
            if let Some(current) = current {
                at.sessions.remove(&current);
            }
            self.ledger.check_stop_of(stream, sid, current);
        }
        let outcome = if is_up && !fails { Outcome::Stopped } else { Outcome::Lost };
        let input = Input::StopDone { generation, outcome };
        self.answer(stream, input, 20_000);
    }

    pub(crate) fn engine_restarts(&mut self, engine: EngineId) {
        let down_ms = self.prng.below(20_000);
        let until = self.now + Duration::from_millis(down_ms);
        self.trace(|| format!("{engine:?} is down until {until:?}"));
        *self.engine(engine) = FakeEngine { down_until: until, ..FakeEngine::default() };
    }

    /// Somebody else opens the content of a stream on its engine.
    pub(crate) fn take_over(&mut self, id: StreamId) {
        if self.streams.contains_key(&id) && self.plan.has_redis && self.prng.chance(700) {
            // Another node wants it, too: it comes back.
            self.after_us(1_000_000, 30_000_000, Event::TakeOver { stream: id });
        }
        let Some(session) = self.streams.get(&id).map(|stream| &stream.session) else { return };
        let (Some(engine), Some(opened)) = (session.engine(), session.opened()) else { return };
        let infohash = opened.infohash;
        self.trace(|| format!("{id:?} is taken over on {engine:?}"));
        let warm_at = self.now;
        self.new_session(engine, Playback { infohash, warm_at, is_dead: false });
    }

    pub(crate) fn query_engine(
        &mut self,
        shard: ShardId,
        query: QueryId,
        id: Infohash,
        engine: EngineId,
    ) {
        if !self.is_up(engine) {
            let result = QueryReply::Unreachable;
            let input = resolver::Input::QueryResult { query, engine: Some(engine), result };
            return self.after_us(100, 5_000, Event::QueryDone { shard, input });
        }
        let fails = self.prng.chance(self.plan.faults.query_fails);
        let channel = self.plan.channels.iter().find(|channel| channel.ids.contains(&id));
        let result = match channel {
            _ if fails && self.prng.chance(500) => QueryReply::Timeout,
            _ if fails => QueryReply::UnknownMethod,
            Some(channel) => QueryReply::Infohash(channel.infohash),
            None => QueryReply::ErrorReply("cannot get transport file".to_owned()),
        };
        let input = resolver::Input::QueryResult { query, engine: Some(engine), result };
        self.after_us(1_000, 2_000_000, Event::QueryDone { shard, input });
    }
}
