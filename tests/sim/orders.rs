//! A session's orders, carried out: to the pool, the engine, the other shards, the homes.

use crate::engines::EngineEvent;
use crate::engines::Sid;
use crate::homes::Ask;
use crate::homes::ClaimQuery;
use crate::homes::Mail;
use crate::homes::Subscribe;
use crate::host::Play;
use crate::host::Stream;
use crate::people::Person;
use crate::world::Event;
use crate::world::StreamId;
use crate::world::World;
use ringcast::base::ids::EngineId;
use ringcast::base::ids::Generation;
use ringcast::base::ids::Infohash;
use ringcast::base::ids::ShardId;
use ringcast::base::ids::Target;
use ringcast::engine::pool;
use ringcast::stream::Outcome;
use ringcast::stream::Output;
use ringcast::stream::State;
use ringcast::stream::Wish;
use std::collections::BTreeSet;

impl World {
    pub(crate) fn drain(&mut self, id: StreamId) {
        while let Some(stream) = self.streams.get_mut(&id) {
            let Some(output) = stream.session.poll_output() else { break };
            self.carry_out(id, output);
        }
        if let Some(stream) = self.streams.get_mut(&id)
            && let Some(generation) = stream.promoted.take()
        {
            self.place_promoted(id, generation);
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
            Output::Select { generation, exclude, prefer, wish } => {
                self.select(id, generation, exclude, prefer, wish);
            }
            Output::Release { reservation } => {
                self.ledger.released(reservation);
                self.mail(host, ShardId(0), Mail::ReleaseReservation { reservation });
            }
            Output::Open { generation, engine, target, .. } => {
                self.disturb_open(id, engine);
                self.engine_open(id, generation, engine, target);
            }
            Output::Claim { generation, engine, infohash } => {
                self.claim_for(id, generation, engine, infohash);
            }
            Output::Play { generation, engine, path } => {
                self.check_single_player(id, engine, Sid::of(&path));
                self.play(id, generation, engine, &path);
            }
            body @ (Output::PlayAside { .. }
            | Output::Promote { .. }
            | Output::CloseBody { .. }) => self.change_body(id, body),
            Output::PollStat { generation, engine, path } => {
                let event = EngineEvent::Stat { stream: id, generation, sid: Sid::of(&path) };
                self.ask_engine(engine, event);
            }
            Output::AskStatus { generation, engine } => {
                self.ask_engine(engine, EngineEvent::Status { stream: id, generation });
            }
            Output::Stop { generation, engine, path, unless_replaced } => {
                let asks = unless_replaced.is_some();
                self.stop(id, generation, engine, &path, asks);
            }
            Output::SessionOver { generation, outcome, .. } => {
                self.counts.superseded += u64::from(outcome == Outcome::Superseded);
                self.counts.lost += u64::from(outcome == Outcome::Lost);
                let stream = self.streams.get_mut(&id).expect("it is carrying out");
                stream.was_superseded |= outcome == Outcome::Superseded;
                self.ledger.over(id, generation, outcome);
            }
            Output::SetActivityTimeout { generation, path, .. } => {
                self.ledger.names(id, generation, Sid::of(&path));
            }
            Output::MarkOffline(_) => self.mark_keys(id, true),
            Output::ClearOffline => self.mark_keys(id, false),
            Output::Failover { from, reason } => self.note_failover(id, from, reason),
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
            | Output::RivalFailed { .. }
            | Output::EngineTakenOver { .. }
            | Output::Frozen(_)) => self.tell(id, told),
        }
    }
    /// What becomes of the bodies that are read.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`carry_out` has sorted them by name")]
    fn change_body(&mut self, id: StreamId, output: Output) {
        match output {
            Output::PlayAside { generation, engine, path } => {
                self.check_single_player(id, engine, Sid::of(&path));
                let stream = self.streams.get_mut(&id).expect("it is carrying out");
                assert_eq!(stream.aside.replace(generation), None, "one second body at a time");
                stream.ingest.begin_aside();
                self.counts.rivals += 1;
                self.play(id, generation, engine, &path);
            }
            Output::Promote { generation } => {
                let stream = self.streams.get_mut(&id).expect("it is carrying out");
                assert_eq!(stream.aside.take(), Some(generation), "only what is read beside");
                stream.ingest.promote();
                stream.promoted = Some(generation);
                self.counts.promoted += 1;
            }
            Output::CloseBody { generation } => {
                let stream = self.streams.get_mut(&id).expect("it is carrying out");
                let was_beside = stream.aside.take_if(|aside| *aside == generation).is_some();
                if was_beside {
                    stream.ingest.drop_aside();
                }
                let was_read = stream.plays.remove(&generation).is_some();
                // The heir gives up what was lost with the shard in the same moment.
                let was_lost = stream.inherited_at.last() == Some(&self.now);
                assert!(was_read || was_beside || was_lost, "closed twice");
            }
            other => unreachable!("not about a body: {other:?}"),
        }
    }
    fn select(
        &mut self,
        id: StreamId,
        generation: Generation,
        exclude: Vec<EngineId>,
        prefer: Option<EngineId>,
        wish: Wish,
    ) {
        let (need, only) = match wish {
            Wish::Any => (pool::Need::Session, None),
            Wish::Only(engine) => (pool::Need::Session, Some(engine)),
            Wish::Spare => (pool::Need::Spare, None),
        };
        let stream = &self.streams[&id];
        let host = stream.host;
        let ask = Ask::Session { shard: host, stream: id, generation };
        let stream = Some(stream.session.infohash());
        let any = pool::Select::any(0, host, need);
        let select = pool::Select { stream, exclude, prefer, only, ..any };
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
        self.disturb_claim(id, home);
    }
    /// What goes to the shards with viewers.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is for logs, API and mirror")]
    fn tell(&mut self, id: StreamId, output: Output) {
        let stream = self.streams.get_mut(&id).expect("it is carrying out");
        let host = stream.host;
        let all: Vec<ShardId> = stream.subscribed.iter().copied().collect();
        let (to, mail) = match output {
            Output::WaitAnswer(answer) => (all, Mail::WaitAnswer { stream: id, answer }),
            Output::Refuse(answer) => {
                stream.is_forced = true;
                (all, Mail::Refuse { stream: id, answer })
            }
            Output::CloseViewers(reason) => {
                stream.ingest.end();
                self.check_close(id, reason);
                (all, Mail::CloseViewers { stream: id, reason })
            }
            Output::Splice { .. } => {
                stream.ingest.splice();
                return;
            }
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
    /// Just while the identity of a stream is being settled an operator ends it, or who settles it is
    /// lost.
    fn disturb_claim(&mut self, id: StreamId, home: ShardId) {
        let us_max = self.plan.mail_delay_us_max * 2 + 2;
        if self.plan.faults.shard_lost > 0 && self.prng.chance(300) {
            self.after_us(0, us_max, Event::Lose { shard: home });
        }
        if self.prng.chance(self.plan.faults.kicked_in_between) {
            self.after_us(0, us_max, Event::Kick { stream: id });
        }
    }
    /// The shard is lost just while a stream that has played waits for another session; or the engine
    /// that it is to move to is to be left itself.
    fn disturb_open(&mut self, id: StreamId, engine: EngineId) {
        let Stream { host, session, .. } = &self.streams[&id];
        let is_beside = session.engine() != Some(engine);
        let (shard, has_played) = (*host, session.first_packet_at().is_some());
        if has_played && self.plan.faults.shard_lost > 0 && self.prng.chance(200) {
            self.after_us(0, 400_000, Event::Lose { shard });
        }
        if is_beside && self.plan.faults.engine_drained > 0 && self.prng.chance(200) {
            self.after_us(0, 1_000_000, Event::Drain { engine });
        }
    }
    fn mark_keys(&mut self, id: StreamId, is_offline: bool) {
        let host = self.streams[&id].host;
        for key in self.streams[&id].keys.clone() {
            let home = self.home(&key);
            self.mail(host, home, Mail::Mark { key, is_offline });
        }
    }
    /// One for each session that had given bytes, and no other. A move is nobody's fault, and what it
    /// went to has given bytes before: it may die before any of them is new to the ring.
    fn note_failover(&mut self, id: StreamId, from: EngineId, reason: &'static str) {
        self.counts.failovers += 1;
        let now = self.now;
        if reason == "moved" {
            self.check_moved(id, from);
        }
        let stream = self.streams.get_mut(&id).expect("it is carrying out");
        assert!(stream.is_alive, "{id:?} fails over twice for one fault");
        stream.is_alive = reason == "moved";
        stream.deaths.push((now, reason));
    }

    fn ended(&mut self, id: StreamId) {
        self.let_go(id);
        let mut stream = self.streams.remove(&id).expect("it is carrying out");
        stream.ingest.close(&mut self.caches[usize::from(stream.host.0)]);
        let log = self.logs.remove(&id).expect("as old as its stream");
        self.counts.overlaps += log.overlaps;
        self.counts.jumps += log.jumps;
    }

    /// Nobody finds the stream any more; the next one may start.
    fn let_go(&mut self, id: StreamId) {
        let stream = self.streams.get_mut(&id).expect("it is carrying out");
        assert!(stream.plays.is_empty(), "{id:?} lets go with a body open");
        assert_eq!(stream.aside, None, "{id:?} lets go with bytes that wait");
        let host = stream.host;
        let keys = std::mem::take(&mut stream.keys);
        let held = std::mem::take(&mut stream.held);
        let claims = std::mem::take(&mut stream.claims);
        for key in keys {
            let home = self.home(&key);
            self.mail(host, home, Mail::ReleaseKey { key, host });
        }
        // Behind the release, so that they find the key free.
        for subscribe in held {
            let home = self.home(&subscribe.key);
            self.mail(host, home, Mail::Subscribe(Subscribe { hops: 0, ..subscribe }));
        }
        for query in claims {
            let home = self.home(&Target::Infohash(query.infohash));
            self.mail(host, home, Mail::Claim(query));
        }
    }

    fn play(&mut self, id: StreamId, generation: Generation, engine: EngineId, path: &str) {
        let sid = Sid::of(path);
        let source = self.source_of(sid);
        let stream = self.streams.get_mut(&id).expect("it is carrying out");
        stream.is_paused &= stream.aside == Some(generation);
        let play = Play { sid, engine, has_head: false, has_access: false, bytes: 0, source };
        stream.plays.insert(generation, play);
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
}
