//! What a stream's owner shard does: it feeds the session, carries its orders out, and keeps what
//! the session does not know (who waits to get in, whose claim is open).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use ringcast::base::ids::EngineId;
use ringcast::base::ids::Generation;
use ringcast::base::ids::Infohash;
use ringcast::base::ids::ShardId;
use ringcast::base::ids::Target;
use ringcast::base::time::Instant;
use ringcast::engine::pool;
use ringcast::stream::Adoption;
use ringcast::stream::CloseReason;
use ringcast::stream::Input;
use ringcast::stream::Outcome;
use ringcast::stream::Output;
use ringcast::stream::Session;
use ringcast::stream::Setup;
use ringcast::stream::State;

use crate::engines::EngineEvent;
use crate::engines::Sid;
use crate::homes::Ask;
use crate::homes::ClaimQuery;
use crate::homes::Mail;
use crate::homes::Visit;
use crate::people::Person;
use crate::world::Event;
use crate::world::StreamId;
use crate::world::World;

pub(crate) struct Stream {
    pub(crate) host: ShardId,
    pub(crate) session: Session,
    /// Under which the directories know it.
    pub(crate) keys: Vec<Target>,
    /// Whoever came while it was ending.
    held: Vec<(Visit, Target)>,
    claims: Vec<ClaimQuery>,
    subscribed: BTreeMap<ShardId, (u32, u32)>,
    /// The bodies asked for and not closed.
    pub(crate) plays: BTreeMap<Generation, Play>,
    /// The viewers were told; an end without it must find none.
    is_forced: bool,
    /// In this turn.
    has_stopped: bool,
    is_playing: bool,
    pub(crate) is_paused: bool,
    /// Since when no person anywhere has watched or waited.
    pub(crate) deserted_since: Option<Instant>,
    pub(crate) started_at: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Play {
    pub(crate) sid: Sid,
    pub(crate) engine: EngineId,
    pub(crate) has_head: bool,
    /// Pieces delivered: the second one holds the random access point.
    pub(crate) pieces: u32,
}

impl World {
    pub(crate) fn start_stream(&mut self, host: ShardId, key: Target) {
        let id = StreamId(self.stream_next);
        self.stream_next += 1;
        self.counts.streams += 1;
        let infohash = match &key {
            Target::Infohash(infohash) | Target::Id(infohash) => *infohash,
            Target::Url(_) | Target::Magnet(_) => unreachable!("nobody asks for it"),
        };
        let setup = Setup {
            infohash,
            target: key.clone(),
            seed: self.prng.next_u64(),
            settings: self.plan.settings,
        };
        self.trace(|| format!("{id:?} starts on {host:?} for {key:?}"));
        let stream = Stream {
            host,
            session: Session::new(setup, self.now),
            keys: vec![key],
            held: Vec::new(),
            claims: Vec::new(),
            subscribed: BTreeMap::new(),
            plays: BTreeMap::new(),
            is_forced: false,
            has_stopped: false,
            is_playing: false,
            is_paused: false,
            deserted_since: None,
            started_at: self.now,
        };
        self.streams.insert(id, stream);
        self.drain(id);
    }

    /// A viewer's shard asks to get in.
    pub(crate) fn join(&mut self, here: ShardId, visit: Visit, key: Target, hops: u32) {
        let found = self
            .streams
            .iter_mut()
            .find(|(_, stream)| stream.host == here && stream.keys.contains(&key));
        let Some((id, stream)) = found else {
            // It has just ended: the directory hears of it before it hears this.
            let home = self.home(&key);
            return self.mail(here, home, Mail::Subscribe { visit, key, hops: hops + 1 });
        };
        if !stream.session.accepts_viewers() {
            stream.held.push((visit, key));
            return;
        }
        let (id, is_playing) = (*id, stream.is_playing);
        stream.deserted_since = None;
        if stream.session.state() == State::Draining {
            self.counts.revived += 1;
            stream.is_forced = false;
        }
        let shard = self.people[visit.person].shard;
        let (count, waiting) = stream.subscribed.get(&shard).copied().unwrap_or_default();
        self.counted(id, shard, count + 1, waiting + 1);
        self.mail(here, shard, Mail::Attached { visit, stream: id, key, is_playing });
    }

    pub(crate) fn counted(&mut self, id: StreamId, shard: ShardId, count: u32, waiting: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.session.accepts_viewers()
        {
            stream.subscribed.insert(shard, (count, waiting));
            self.feed(id, Input::Viewers { shard, count, waiting });
        }
    }

    pub(crate) fn feed(&mut self, id: StreamId, input: Input) {
        if self.ledger.is_noteworthy(&input) {
            self.trace(|| format!("{id:?} <- {input:?}"));
        }
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.session.handle(input, self.now);
        self.drain(id);
    }

    pub(crate) fn stream_timeout(&mut self, id: StreamId) {
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.session.handle_timeout(now);
        assert!(
            stream.session.poll_timeout().is_none_or(|at| at > now),
            "a timer of {id:?} did not fire"
        );
        self.drain(id);
    }

    fn drain(&mut self, id: StreamId) {
        while let Some(stream) = self.streams.get_mut(&id) {
            let Some(output) = stream.session.poll_output() else { break };
            self.carry_out(id, output);
        }
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.session.check_invariants();
        let host = stream.host;
        if std::mem::take(&mut stream.has_stopped) {
            self.check_stop(id);
        }
        let Some(stream) = self.streams.get_mut(&id) else { return };
        for query in std::mem::take(&mut stream.claims) {
            self.merge(host, query);
        }
    }

    fn carry_out(&mut self, id: StreamId, output: Output) {
        self.trace(|| format!("{id:?} -> {output:?}"));
        let host = self.streams[&id].host;
        match output {
            Output::Select { generation, exclude, prefer } => {
                self.select(id, generation, exclude, prefer);
            }
            Output::Release { reservation } => {
                self.ledger.released(reservation);
                self.mail(host, ShardId(0), Mail::ReleaseReservation { reservation });
            }
            Output::Open { generation, engine, target, .. } => {
                self.engine_open(id, generation, engine, target);
            }
            Output::Claim { generation, engine, infohash } => {
                self.claim_for(id, generation, engine, infohash);
            }
            Output::Play { generation, engine, path } => self.play(id, generation, engine, &path),
            Output::CloseBody { generation } => {
                let stream = self.streams.get_mut(&id).expect("it is carrying out");
                assert!(stream.plays.remove(&generation).is_some(), "closed twice");
            }
            Output::PollStat { generation, engine, path } => {
                let event = EngineEvent::Stat { stream: id, generation, sid: Sid::of(&path) };
                self.ask_engine(engine, event);
            }
            Output::Stop { generation, engine, path, unless_replaced } => {
                let asks = unless_replaced.is_some();
                self.stop(id, generation, engine, &path, asks);
            }
            Output::SessionOver { generation, outcome, .. } => {
                self.counts.superseded += u64::from(outcome == Outcome::Superseded);
                self.counts.lost += u64::from(outcome == Outcome::Lost);
                self.ledger.over(id, generation, outcome);
            }
            Output::SetActivityTimeout { generation, path, .. } => {
                self.ledger.names(id, generation, Sid::of(&path));
            }
            Output::MarkOffline(_) => self.mark_keys(id, true),
            Output::ClearOffline => self.mark_keys(id, false),
            Output::Failover { .. } => self.counts.failovers += 1,
            Output::LetGo => self.let_go(id),
            Output::Ended => self.ended(id),
            told @ (Output::Splice { .. }
            | Output::State { .. }
            | Output::WaitAnswer(_)
            | Output::Refuse(_)
            | Output::CloseViewers(_)
            | Output::MoveViewers { .. }
            | Output::MayClose { .. }
            | Output::StartLog { .. }
            | Output::FailLog { .. }
            | Output::EngineTakenOver { .. }
            | Output::Frozen(_)) => self.tell(id, told),
        }
    }

    fn select(
        &mut self,
        id: StreamId,
        generation: Generation,
        exclude: Vec<EngineId>,
        prefer: Option<EngineId>,
    ) {
        let stream = &self.streams[&id];
        let host = stream.host;
        let ask = Ask::Session { shard: host, stream: id, generation };
        let select = pool::Select {
            token: 0,
            owner: host,
            stream: Some(stream.session.infohash()),
            need: pool::Need::Session,
            exclude,
            prefer,
            prefer_not: None,
            only: None,
        };
        self.mail(host, ShardId(0), Mail::Ask(ask, Box::new(select)));
    }

    fn claim_for(
        &mut self,
        id: StreamId,
        generation: Generation,
        engine: EngineId,
        infohash: Infohash,
    ) {
        let Stream { host, session, .. } = &self.streams[&id];
        let host = *host;
        let query = ClaimQuery {
            stream: id,
            host,
            generation,
            infohash,
            engine,
            reservation: session.reservation().expect("it was opened under one"),
            name: session.engine_name().expect("the engine has one").to_owned(),
            opened: session.opened().expect("it was opened").clone(),
        };
        let home = self.home(&Target::Infohash(infohash));
        self.mail(host, home, Mail::Claim(query));
        self.disturb_claim(id);
    }

    /// What goes to the shards with viewers.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is for logs, API and mirror")]
    fn tell(&mut self, id: StreamId, output: Output) {
        let stream = self.streams.get_mut(&id).expect("it is carrying out");
        let host = stream.host;
        let all: Vec<ShardId> = stream.subscribed.keys().copied().collect();
        let (to, mail) = match output {
            Output::WaitAnswer(answer) => (all, Mail::WaitAnswer { stream: id, answer }),
            Output::Refuse(answer) => {
                stream.is_forced = true;
                (all, Mail::Refuse { stream: id, answer })
            }
            Output::CloseViewers(reason) => (all, Mail::CloseViewers { stream: id, reason }),
            Output::MoveViewers { infohash } => {
                stream.is_forced = true;
                (all, Mail::MoveViewers { stream: id, infohash })
            }
            Output::MayClose { close_generation, shards } => {
                let asked: BTreeSet<ShardId> = shards.iter().collect();
                let to = asked.into_iter().collect();
                (to, Mail::MayClose { stream: id, close_generation })
            }
            _ => return,
        };
        for shard in to {
            if matches!(mail, Mail::MayClose { .. }) {
                self.disturb_close(id, shard);
            }
            self.mail(host, shard, mail.clone());
        }
    }

    /// Somebody comes just while the shards are being asked, and the question takes its time.
    fn disturb_close(&mut self, id: StreamId, shard: ShardId) {
        let is_asked_for = !self.streams[&id].is_forced;
        if !is_asked_for || !self.prng.chance(self.plan.faults.comes_in_between) {
            return;
        }
        let is_free = |person: &Person| person.shard == shard && person.is_away();
        let Some(person) = self.people.iter().position(is_free) else { return };
        self.people[person].wish = self.streams[&id].keys.last().cloned();
        let us_max = self.plan.mail_delay_us_max + 2;
        self.after_us(0, us_max, Event::Come { person });
        self.slow_down(self.streams[&id].host, shard, us_max);
    }

    /// An operator ends a stream just while its identity is being settled.
    fn disturb_claim(&mut self, id: StreamId) {
        if self.prng.chance(self.plan.faults.kicked_in_between) {
            let us_max = self.plan.mail_delay_us_max * 2 + 2;
            self.after_us(0, us_max, Event::Kick { stream: id });
        }
    }

    fn mark_keys(&mut self, id: StreamId, is_offline: bool) {
        let host = self.streams[&id].host;
        for key in self.streams[&id].keys.clone() {
            let home = self.home(&key);
            self.mail(host, home, Mail::Mark { key, is_offline });
        }
    }

    fn ended(&mut self, id: StreamId) {
        self.let_go(id);
        let stream = self.streams.remove(&id).expect("it is carrying out");
        assert!(stream.plays.is_empty(), "{id:?} ended with a body open");
    }

    /// Nobody finds the stream any more; the next one may start.
    fn let_go(&mut self, id: StreamId) {
        let stream = self.streams.get_mut(&id).expect("it is carrying out");
        assert!(stream.plays.is_empty(), "{id:?} lets go with a body open");
        let host = stream.host;
        let keys = std::mem::take(&mut stream.keys);
        let held = std::mem::take(&mut stream.held);
        let claims = std::mem::take(&mut stream.claims);
        for key in keys {
            let home = self.home(&key);
            self.mail(host, home, Mail::ReleaseKey { key, host });
        }
        // Behind the release, so that they find the key free.
        for (visit, key) in held {
            let home = self.home(&key);
            self.mail(host, home, Mail::Subscribe { visit, key, hops: 0 });
        }
        for query in claims {
            let home = self.home(&Target::Infohash(query.infohash));
            self.mail(host, home, Mail::Claim(query));
        }
    }

    pub(crate) fn granted(
        &mut self,
        stream: StreamId,
        generation: Generation,
        engine: EngineId,
        reservation: u64,
        name: String,
    ) {
        if self.streams.contains_key(&stream) {
            self.feed(stream, Input::Granted { generation, engine, reservation, name });
        } else {
            panic!("{stream:?} ended before the pool answered it");
        }
    }

    pub(crate) fn claimed(&mut self, id: StreamId, generation: Generation, infohash: Infohash) {
        let stream = self.streams.get_mut(&id).expect("a claim is waited for");
        stream.keys.push(Target::Infohash(infohash));
        self.feed(id, Input::Claimed { generation });
    }

    /// A claim to the infohash of a stream that runs here.
    pub(crate) fn merge(&mut self, here: ShardId, query: ClaimQuery) {
        let key = Target::Infohash(query.infohash);
        let found = self.streams.iter_mut().find(|(id, stream)| {
            stream.host == here && **id != query.stream && stream.keys.contains(&key)
        });
        let Some((id, stream)) = found else {
            // Ended, or another key of its own: the release is ahead of this.
            let home = self.home(&key);
            return self.mail(here, home, Mail::Claim(query));
        };
        let id = *id;
        let adopted = match stream.session.adoption(query.engine, query.infohash) {
            Adoption::Later => return stream.claims.push(query),
            Adoption::Yes => true,
            Adoption::No => false,
        };
        let ClaimQuery { stream, host, generation, infohash, engine, .. } = query;
        let ClaimQuery { reservation, name, opened, .. } = query;
        if adopted {
            self.counts.adopted += 1;
            self.ledger.handed_over(stream, generation);
            self.feed(id, Input::Adopt { engine, reservation, name, opened });
        } else {
            self.counts.merged += 1;
        }
        self.mail(here, host, Mail::MergeInto { stream, generation, infohash, adopted });
    }

    /// The engine's answer has arrived at the shard that asked.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the ledger keeps a few of them")]
    pub(crate) fn reply(&mut self, id: StreamId, input: Input) {
        if self.prng.chance(self.plan.faults.duplicate) {
            let echo = Event::Reply { stream: id, input: input.clone() };
            self.after(Duration::from_millis(self.plan.mail_delay_us_max / 500), echo);
        }
        if !self.streams.contains_key(&id) {
            return;
        }
        match &input {
            Input::Opened { generation, opened } => {
                self.counts.sessions += 1;
                let sid = Sid::of(&opened.command_path);
                let is_late = self.ledger.opened(id, *generation, sid);
                self.counts.late_opens += u64::from(is_late);
            }
            Input::OpenFailed { generation, .. } => self.ledger.open_failed(id, *generation),
            Input::PlayFailed { generation, .. } | Input::BodyEnded { generation, .. } => {
                let stream = self.streams.get_mut(&id).expect("checked above");
                stream.plays.remove(generation);
            }
            _ => {}
        }
        self.feed(id, input);
    }

    fn play(&mut self, id: StreamId, generation: Generation, engine: EngineId, path: &str) {
        let sid = Sid::of(path);
        self.check_single_player(id, sid);
        let stream = self.streams.get_mut(&id).expect("it is carrying out");
        stream.plays.insert(generation, Play { sid, engine, has_head: false, pieces: 0 });
        self.ask_engine(engine, EngineEvent::Play { stream: id, generation, sid });
    }

    fn stop(
        &mut self,
        id: StreamId,
        generation: Generation,
        engine: EngineId,
        path: &str,
        asks: bool,
    ) {
        let sid = Sid::of(path);
        self.counts.stops += 1;
        self.ledger.names(id, generation, sid);
        self.ledger.stopped(sid);
        self.streams.get_mut(&id).expect("it is carrying out").has_stopped = true;
        self.stop_engine(engine, EngineEvent::Stop { stream: id, generation, sid, asks });
    }

    /// Nobody watches what is stopped, unless everybody was told.
    fn check_stop(&self, id: StreamId) {
        let stream = &self.streams[&id];
        let is_ending = stream.session.state() == State::Draining;
        if is_ending && !stream.is_forced {
            let watching = self.people.iter().filter(|p| p.watches(id)).count();
            assert_eq!(watching, 0, "{id:?} is stopped under its viewers");
        }
    }

    /// The first access point is in the ring: the shards are told.
    pub(crate) fn play_begins(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.is_playing = true;
        let host = stream.host;
        for shard in stream.subscribed.keys().copied().collect::<Vec<_>>() {
            self.mail(host, shard, Mail::Playing { stream: id });
        }
    }

    pub(crate) fn kick(&mut self, id: StreamId) {
        self.feed(id, Input::Kick { reason: CloseReason::Kicked });
    }

    pub(crate) fn resume(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.is_paused = false;
            self.feed(id, Input::RingResumed);
        }
    }
}
