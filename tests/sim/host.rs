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
use ringcast::stream::Contest;
use ringcast::stream::Failure;
use ringcast::stream::Input;
use ringcast::stream::Session;
use ringcast::stream::Setup;
use ringcast::stream::State;
use ringcast::stream::Tenure;

use crate::engines::Sid;
use crate::homes::ClaimQuery;
use crate::homes::Mail;
use crate::homes::RingHandle;
use crate::homes::Subscribe;
use crate::media::Ingest;
use crate::media::Log;
use crate::media::Source;
use crate::media::Taken;
use crate::sockets::Cause;
use crate::world::Event;
use crate::world::StreamId;
use crate::world::World;

pub(crate) struct Stream {
    pub(crate) host: ShardId,
    pub(crate) session: Session,
    /// Under which the directories know it.
    pub(crate) keys: Vec<Target>,
    /// Whoever came while it was ending.
    pub(crate) held: Vec<Subscribe>,
    pub(crate) claims: Vec<ClaimQuery>,
    /// Who was ever sent a handle.
    pub(crate) subscribed: BTreeSet<ShardId>,
    /// The bodies asked for and not closed.
    pub(crate) plays: BTreeMap<Generation, Play>,
    /// The viewers were told; an end without it must find none.
    pub(crate) is_forced: bool,
    /// In this turn.
    pub(crate) has_stopped: bool,
    pub(crate) ingest: Ingest,
    /// The body that is read beside the ring.
    pub(crate) aside: Option<Generation>,
    /// It was promoted in this turn.
    pub(crate) promoted: Option<Generation>,
    pub(crate) is_paused: bool,
    /// When and why a session died under the viewers.
    pub(crate) deaths: Vec<(Instant, &'static str)>,
    /// Bytes went into the ring since the last of them.
    pub(crate) is_alive: bool,
    pub(crate) was_kicked: bool,
    pub(crate) warm_until: Instant,
    pub(crate) was_superseded: bool,
    /// What Redis has said last.
    pub(crate) tenure: Tenure,
    /// Since when no person anywhere has watched or waited.
    pub(crate) deserted_since: Option<Instant>,
    pub(crate) started_at: Instant,
    /// An operator has moved it since it came to its engine.
    pub(crate) is_move_asked: bool,
    /// Since when it could leave an engine that is being drained.
    pub(crate) could_leave: Option<(EngineId, Instant)>,
    /// When its shard was lost.
    pub(crate) inherited_at: Vec<Instant>,
}

pub(crate) struct Play {
    pub(crate) sid: Sid,
    pub(crate) engine: EngineId,
    pub(crate) has_head: bool,
    pub(crate) has_access: bool,
    /// That went into the ring.
    pub(crate) bytes: u64,
    pub(crate) source: Source,
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
            is_claimed: matches!(key, Target::Infohash(_)),
            seed: self.prng.next_u64(),
            settings: self.plan.settings,
            contest: Contest::new(self.tenure_at_first()),
        };
        self.trace(|| format!("{id:?} starts on {host:?} for {key:?}"));
        let stream = Stream {
            host,
            session: Session::new(setup, self.now),
            keys: vec![key],
            held: Vec::new(),
            claims: Vec::new(),
            subscribed: BTreeSet::new(),
            plays: BTreeMap::new(),
            is_forced: false,
            has_stopped: false,
            ingest: Ingest::new(self.shards.len()),
            aside: None,
            promoted: None,
            is_paused: false,
            deaths: Vec::new(),
            is_alive: false,
            was_kicked: false,
            warm_until: Instant::ZERO,
            was_superseded: false,
            tenure: self.tenure_at_first(),
            deserted_since: None,
            started_at: self.now,
            is_move_asked: false,
            could_leave: None,
            inherited_at: Vec::new(),
        };
        self.streams.insert(id, stream);
        self.logs.insert(id, Log::default());
        self.hosts.insert(id, host);
        if self.plan.has_redis {
            self.after_us(0, 500_000, Event::Leased { stream: id, tenure: Tenure::Owner });
        }
        self.drain(id);
    }

    /// Until Redis has confirmed a lease, another node's word holds.
    fn tenure_at_first(&self) -> Tenure {
        if self.plan.has_redis { Tenure::Other } else { Tenure::Alone }
    }

    pub(crate) fn leased(&mut self, id: StreamId, tenure: Tenure) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.tenure = tenure;
            self.counts.leases_changed += 1;
        }
        self.feed(id, Input::Tenure(tenure));
    }

    /// A viewer's shard asks to get in.
    pub(crate) fn join(&mut self, here: ShardId, subscribe: Subscribe) {
        if !self.is_asked_by_the_living(here, &subscribe) {
            return;
        }
        let found = self
            .streams
            .iter_mut()
            .find(|(_, stream)| stream.host == here && stream.keys.contains(&subscribe.key));
        let Some((id, stream)) = found else {
            // It has just ended: the directory hears of it before it hears this.
            let home = self.home(&subscribe.key);
            let hops = subscribe.hops + 1;
            return self.mail(here, home, Mail::Subscribe(Subscribe { hops, ..subscribe }));
        };
        if !stream.session.accepts_viewers() {
            stream.held.push(subscribe);
            return;
        }
        let Subscribe { visit, key, .. } = subscribe;
        let (id, ring) = (*id, RingHandle(stream.ingest.ring()));
        stream.deserted_since = None;
        if stream.session.state() == State::Draining {
            self.counts.revived += 1;
            stream.is_forced = false;
        }
        let shard = self.people[visit.person].shard;
        stream.subscribed.insert(shard);
        self.feed(id, Input::Attached { shard, count: 1, waiting: 1 });
        self.mail(here, shard, Mail::Attached { visit, stream: id, key, ring });
    }
    pub(crate) fn counted(&mut self, id: StreamId, shard: ShardId, count: u32, waiting: u32) {
        let accepts = |stream: &Stream| stream.session.accepts_viewers();
        if self.streams.get(&id).is_some_and(accepts) {
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
    pub(crate) fn granted(
        &mut self,
        stream: StreamId,
        generation: Generation,
        engine: EngineId,
        reservation: u64,
        name: String,
    ) {
        if self.streams.contains_key(&stream) {
            return self.feed(stream, Input::Granted { generation, engine, reservation, name });
        }
        assert!(self.ledger.is_buried(stream), "{stream:?} ended before the pool answered it");
        self.ledger.released_of_buried(reservation);
        let host = self.hosts[&stream];
        self.mail(host, ShardId(0), Mail::ReleaseReservation { reservation });
    }
    pub(crate) fn claimed(&mut self, id: StreamId, generation: Generation, infohash: Infohash) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return assert!(self.ledger.is_buried(id), "a claim is waited for");
        };
        stream.keys.push(Target::Infohash(infohash));
        self.feed(id, Input::Claimed { generation });
    }
    /// A claim to the infohash of a stream that runs here.
    pub(crate) fn merge(&mut self, here: ShardId, query: ClaimQuery) {
        if self.is_lost(here, query.host, query.stream) {
            return;
        }
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
            self.ledger.adopts(id, reservation, Sid::of(&opened.command_path));
            let passed = pool::Reservation(reservation);
            let pass = Box::new(pool::Input::Pass { reservation: passed, to: here });
            self.mail(here, ShardId(0), Mail::PoolInput(pass));
            let stream = self.streams.get_mut(&id).expect("it is asked");
            // Between two sessions it ends nothing: the outage has begun with the first one's death.
            if std::mem::take(&mut stream.is_alive) {
                stream.deaths.push((self.now, "adopted"));
            }
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
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.was_superseded |= is_takeover(&input);
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
                // What waits of a second body goes when the session says so.
                stream.plays.remove(generation);
            }
            _ => {}
        }
        self.feed(id, input);
    }
    /// Bytes of a body: into the ring, then the session and the shards are told.
    pub(crate) fn ingest(&mut self, id: StreamId, generation: Generation) {
        let held_back = self.prng.below(400) as usize;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let host = stream.host;
        let Some(play) = stream.plays.get_mut(&generation) else { return };
        let cache = &mut self.caches[usize::from(host.0)];
        let bytes = play.source.piece(self.now, held_back);
        if stream.aside == Some(generation) {
            if stream.ingest.take_aside(&bytes, self.now) {
                self.feed(id, Input::Ready { generation });
            }
            return;
        }
        assert!(stream.ingest.has_room(bytes.len(), cache), "the reading was paused before");
        self.take(id, generation, &bytes);
    }

    fn take(&mut self, id: StreamId, generation: Generation, bytes: &[u8]) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let host = stream.host;
        let Some(play) = stream.plays.get_mut(&generation) else { return };
        let cache = &mut self.caches[usize::from(host.0)];
        let log = self.logs.get_mut(&id).expect("as old as its stream");
        let Taken { bytes, has_access, evict_below } =
            stream.ingest.take(bytes, cache, log, self.now);
        let is_first = has_access && !std::mem::replace(&mut play.has_access, has_access);
        play.bytes += bytes;
        for shard in stream.subscribed.iter().copied().collect::<Vec<_>>() {
            if let Some(below) = evict_below {
                self.mail(host, shard, Mail::Evict { stream: id, below });
            }
            if self.prng.chance(self.plan.faults.bell_lost) {
                continue;
            }
            let bell = Event::Turn { shard, stream: id, cause: Cause::Bell };
            self.after_us(0, self.plan.mail_delay_us_max / 10 + 1, bell);
        }
        let stream = self.streams.get_mut(&id).expect("it takes bytes");
        stream.is_alive |= bytes > 0;
        let input = match bytes {
            0 => Input::Staged { generation },
            n => Input::Bytes { generation, n },
        };
        self.feed(id, input);
        if is_first {
            self.feed(id, Input::AccessPoint { generation });
        }
    }
    /// What was read beside the ring goes into it, before anything else does.
    pub(crate) fn place_promoted(&mut self, id: StreamId, generation: Generation) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let cache = &mut self.caches[usize::from(stream.host.0)];
        if stream.ingest.has_room(0, cache) {
            self.take(id, generation, &[]);
        }
    }

    /// Room for the largest piece.
    pub(crate) fn has_room(&mut self, id: StreamId) -> bool {
        if self.prng.chance(self.plan.faults.arena_full) {
            return false;
        }
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        let cache = &mut self.caches[usize::from(stream.host.0)];
        stream.ingest.has_room(self.plan.piece_bytes_max(), cache)
    }
    pub(crate) fn kick(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.was_kicked = true;
        }
        self.feed(id, Input::Kick { reason: CloseReason::Kicked });
    }
    pub(crate) fn warm(&mut self, id: StreamId, until: Instant) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.warm_until = until;
        }
        self.feed(id, Input::Warm { until });
    }
    pub(crate) fn vacate(&mut self, here: ShardId, engine: EngineId, leave: bool) {
        let hosted = self.streams.iter().filter(|(_, stream)| stream.host == here);
        for id in hosted.map(|(id, _)| *id).collect::<Vec<_>>() {
            let input = if leave { Input::Leave { engine } } else { Input::Stay { engine } };
            self.feed(id, input);
        }
    }
    pub(crate) fn move_on(&mut self, id: StreamId) {
        let engine = EngineId(1 + self.prng.below(self.engines.len() as u64) as u32);
        let to = self.prng.chance(500).then_some(engine);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.is_move_asked = true;
        }
        self.feed(id, Input::Move { to });
    }
    pub(crate) fn resume(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.is_paused = false;
            self.feed(id, Input::RingResumed);
        }
    }
}

/// Somebody else has the content on that engine, says the engine.
#[expect(clippy::wildcard_enum_match_arm, reason = "only failures say so")]
fn is_takeover(input: &Input) -> bool {
    let failure = match input {
        Input::OpenFailed { failure, .. }
        | Input::PlayFailed { failure, .. }
        | Input::BodyEnded { failure, .. }
        | Input::StatFailed { failure, .. } => failure,
        _ => return false,
    };
    matches!(failure, Failure::TakenOver(_) | Failure::MalformedHead)
}
