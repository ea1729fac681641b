//! A shard that vanishes, as after a panic: what was on it, what its heir goes on with, and what the
//! others make of it.
//!
//! Its viewers are lost, its tasks, and what its resolver was asked. Its mail, its directory and the
//! pool go on, and so does each stream that has played and is watched elsewhere, unless somebody was
//! at work on it in that moment. The others forget what ended, and ask again.

use std::sync::Arc;
use std::time::Duration;

use ringcast::base::ids::Generation;
use ringcast::base::ids::ShardId;
use ringcast::base::ids::Target;
use ringcast::engine::pool;
use ringcast::registry::home;
use ringcast::registry::resolver::Resolver;
use ringcast::registry::resolver::ResolverConfig;
use ringcast::stream::Input;
use ringcast::stream::State;
use ringcast::viewer::CloseReason;

use crate::engines::EngineEvent;
use crate::engines::Sid;
use crate::homes::Ask;
use crate::homes::Mail;
use crate::homes::Subscribe;
use crate::host::Stream;
use crate::media::Ingest;
use crate::people::Place;
use crate::world::Event;
use crate::world::StreamId;
use crate::world::World;

/// Streams that go on, with their keys.
pub(crate) type Kept = Arc<[(StreamId, Vec<Target>)]>;

/// A ring whose stream is gone, until nobody reads it any more.
pub(crate) struct Orphan {
    stream: StreamId,
    host: ShardId,
    ingest: Ingest,
}

impl World {
    pub(crate) fn lose(&mut self, lost: ShardId) {
        if self.is_over {
            return;
        }
        self.trace(|| format!("{lost:?} is lost"));
        self.counts.shards_lost += 1;
        self.lose_people(lost);
        let claim = self.lose_claim(lost);
        self.lose_tasks(lost);
        let at = &mut self.shards[usize::from(lost.0)];
        at.resolver = Resolver::new(ResolverConfig::default());
        at.life += 1;
        let life = at.life;
        at.lives.insert(lost, life);
        let last = StreamId(self.stream_next - 1);
        let hosted = self.streams.iter().filter(|(_, stream)| stream.host == lost);
        let hosted: Vec<StreamId> = hosted.map(|(id, _)| *id).collect();
        let (kept, dead): (Vec<_>, Vec<_>) =
            hosted.into_iter().partition(|id| self.goes_on(*id, lost));
        let reservations = kept.iter().flat_map(|id| self.streams[id].session.reservations());
        let held = reservations.map(pool::Reservation).collect();
        let release = Box::new(pool::Input::ReleaseAll { owner: lost, kept: held });
        self.mail(lost, ShardId(0), Mail::PoolInput(release));
        for id in dead {
            self.bury(id);
        }
        let kept: Kept = kept.iter().map(|id| (*id, self.streams[id].keys.clone())).collect();
        for to in (0..self.shards.len() as u8).map(ShardId).filter(|to| *to != lost) {
            // A mailbox is full: others hear of the heir before it does.
            if self.plan.faults.mailbox_full > 0 && self.prng.chance(500) {
                let us = self.prng.below(1_000_000);
                self.slow_down(lost, to, us);
            }
            self.mail(
                lost,
                to,
                Mail::ShardLost { shard: lost, life, kept: Arc::clone(&kept), last },
            );
        }
        if let Some((to, mail)) = claim {
            self.mail(lost, to, mail);
        }
        self.forget_keys(lost, lost, &kept, last);
        for (id, _) in kept.iter() {
            self.inherit(*id, lost);
        }
    }

    fn lose_people(&mut self, lost: ShardId) {
        for person in 0..self.people.len() {
            if self.people[person].shard != lost || self.people[person].is_away() {
                continue;
            }
            let place = std::mem::replace(&mut self.people[person].place, Place::Away);
            self.trace(|| format!("person {person} is lost {place:?}"));
            if let Place::Waiting(stream) | Place::Started(stream) = place {
                let sub = self.shards[usize::from(lost.0)].subs.get_mut(&stream);
                sub.expect("a seat has a handle").feed.leave(person);
            }
            if self.prng.chance(700) {
                // Players ask again at once.
                self.people[person].wants_the_same();
                self.after_us(0, 100_000, Event::Come { person });
            } else {
                self.maybe_return(person);
            }
        }
        self.shards[usize::from(lost.0)].subs.clear();
    }

    /// One claim that it was to look at next is the one that it had in hand: whose that was is told.
    fn lose_claim(&mut self, lost: ShardId) -> Option<(ShardId, Mail)> {
        let in_hand = self.prng.chance(500);
        let next = self.queue.iter().find_map(|(at, event)| match event {
            Event::Mail { to, mail: Mail::Claim(query) | Mail::Merge(query) } if *to == lost => {
                Some((*at, query.clone()))
            }
            _ => None,
        });
        let (at, query) = next.filter(|_| in_hand)?;
        self.queue.remove(&at);
        self.counts.claims_lost += 1;
        let (stream, generation) = (query.stream, query.generation);
        Some((query.host, Mail::ClaimLost { stream, generation }))
    }

    /// What was asked of engines is done or not, and nobody hears of it.
    fn lose_tasks(&mut self, lost: ShardId) {
        let is_its = |world: &Self, id: &StreamId| {
            world.streams.get(id).is_some_and(|stream| stream.host == lost)
        };
        let asked = self.queue.iter().filter(|(_, event)| match event {
            Event::Engine { event, .. } => is_its(self, &event.stream()),
            Event::QueryDone { shard, .. } => *shard == lost,
            Event::Mail { mail, .. } => mail.is_query_of(lost) || mail.is_release_of(lost),
            _ => false,
        });
        for at in asked.map(|(at, _)| *at).collect::<Vec<_>>() {
            let event = self.queue.remove(&at).expect("just seen");
            if let Event::Engine { engine, event } = event
                && matches!(event, EngineEvent::Open { .. } | EngineEvent::Stop { .. })
                && self.prng.chance(500)
            {
                self.engine_event(engine, event);
            }
        }
        let answers = self.queue.iter().filter(|(_, event)| match event {
            Event::Reply { stream, .. } => is_its(self, stream),
            _ => false,
        });
        for at in answers.map(|(at, _)| *at).collect::<Vec<_>>() {
            self.queue.remove(&at);
        }
    }

    fn goes_on(&mut self, id: StreamId, lost: ShardId) -> bool {
        let in_hand = self.prng.chance(100);
        let stream = self.streams.get_mut(&id).expect("it is hosted there");
        stream.subscribed.remove(&lost);
        stream.session.check_invariants();
        let is_ending = !stream.session.accepts_viewers() || stream.keys.is_empty();
        let is_watched = !stream.subscribed.is_empty();
        let has_played = stream.session.first_packet_at().is_some();
        if in_hand || is_ending {
            self.may_end.insert(id);
        }
        has_played && is_watched && !in_hand && !is_ending
    }

    /// Its sessions are stopped, its viewers elsewhere hear of it.
    fn bury(&mut self, id: StreamId) {
        self.trace(|| format!("{id:?} ends with its shard"));
        let stream = self.streams.remove(&id).expect("it was hosted there");
        let Stream { host, session, mut ingest, claims, .. } = stream;
        self.ledger.buried(id);
        for owed in session.owed() {
            let (generation, sid) = (Generation::default(), Sid::of(&owed.path));
            self.counts.stops += 1;
            // The word that another stream has taken it over may still be on its way: that one then loses
            // its session, and goes on with another.
            if !self.ledger.is_handed_over(id, sid) {
                self.ledger.stopped(sid);
            }
            let asks = owed.unless_replaced.is_some();
            let stop = EngineEvent::Stop { stream: id, generation, sid, asks };
            self.stop_engine(owed.engine, stop);
        }
        for query in claims {
            let home = self.home(&Target::Infohash(query.infohash));
            self.mail(host, home, Mail::Claim(query));
        }
        ingest.end();
        self.orphans.push(Orphan { stream: id, host, ingest });
    }

    /// The heir's word to a stream that goes on.
    fn inherit(&mut self, id: StreamId, lost: ShardId) {
        self.counts.inherited += 1;
        let now = self.now;
        let stream = self.streams.get_mut(&id).expect("it is kept");
        stream.plays.clear();
        stream.is_paused = false;
        stream.inherited_at.push(now);
        self.ledger.stops_lost(id);
        self.feed(id, Input::Inherited);
        self.feed(id, Input::ShardLost { shard: lost });
    }

    pub(crate) fn shard_lost(
        &mut self,
        here: ShardId,
        lost: ShardId,
        life: u32,
        kept: &Kept,
        last: StreamId,
    ) {
        self.forget_keys(here, lost, kept, last);
        if self.begins(here, lost, life) {
            self.forget_viewers_of(here, lost);
        }
        let goes_on = |id: &StreamId| kept.iter().any(|(one, _)| one == id);
        let subs = self.shards[usize::from(here.0)].subs.iter();
        let over = subs.filter(|(id, sub)| sub.host == lost && **id <= last && !goes_on(id));
        for id in over.map(|(id, _)| *id).collect::<Vec<_>>() {
            for person in self.waiting_on(here, id) {
                self.unseat(person, id);
                self.ask_anew(person);
            }
            self.end_viewers(here, id, CloseReason::ShardLost);
        }
        for person in 0..self.people.len() {
            let at = &self.people[person];
            let is_asking = matches!(at.place, Place::Resolving { .. } | Place::Subscribing);
            if at.shard == here && is_asking {
                self.ask_anew(person);
            }
        }
    }

    /// Whether an heir is heard of for the first time.
    fn begins(&mut self, here: ShardId, shard: ShardId, life: u32) -> bool {
        let known = self.shards[usize::from(here.0)].lives.entry(shard).or_insert(0);
        let is_news = life > *known;
        *known = life.max(*known);
        is_news
    }

    /// What an heir asks may arrive, by way of a third, before its own word that it is one.
    pub(crate) fn is_asked_by_the_living(&mut self, here: ShardId, subscribe: &Subscribe) -> bool {
        let from = self.people[subscribe.visit.person].shard;
        if self.begins(here, from, subscribe.life) {
            self.counts.heirs_ahead += 1;
            self.forget_viewers_of(here, from);
        }
        self.shards[usize::from(here.0)].lives[&from] == subscribe.life
    }

    fn forget_viewers_of(&mut self, here: ShardId, lost: ShardId) {
        let hosted = self.streams.iter_mut().filter(|(_, stream)| stream.host == here);
        let mut ids = Vec::new();
        for (id, stream) in hosted {
            stream.subscribed.remove(&lost);
            ids.push(*id);
        }
        for id in ids {
            self.feed(id, Input::ShardLost { shard: lost });
        }
    }

    fn forget_keys(&mut self, here: ShardId, lost: ShardId, kept: &Kept, last: StreamId) {
        let shards = self.shards.len();
        let at = &mut self.shards[usize::from(here.0)];
        at.directory.release_shard(lost);
        at.lost.insert(lost, last);
        for key in kept.iter().flat_map(|(_, keys)| keys) {
            if home(key, shards) == here {
                at.directory.claim(key, lost);
            }
        }
    }

    /// Its claimant was lost.
    pub(crate) fn is_lost(&self, here: ShardId, host: ShardId, stream: StreamId) -> bool {
        let last = self.shards[usize::from(here.0)].lost.get(&host);
        last.is_some_and(|last| stream <= *last)
    }

    /// Rings that nobody reads any more go.
    pub(crate) fn drop_orphans(&mut self) {
        let Self { orphans, shards, caches, logs, counts, queue, .. } = self;
        let is_read = |orphan: &Orphan| {
            let is_sent = |event: &Event| match event {
                Event::Mail { mail: Mail::Attached { stream, .. }, .. } => *stream == orphan.stream,
                _ => false,
            };
            let is_served = shards.iter().any(|shard| shard.subs.contains_key(&orphan.stream));
            is_served || queue.values().any(is_sent)
        };
        for mut orphan in orphans.extract_if(.., |orphan| !is_read(orphan)) {
            orphan.ingest.close(&mut caches[usize::from(orphan.host.0)]);
            let log = logs.remove(&orphan.stream).expect("as old as its stream");
            counts.overlaps += log.overlaps;
            counts.jumps += log.jumps;
        }
    }

    /// Where no engine fails, a stream that lost its shard plays again as soon as a session can.
    pub(crate) fn check_resumed(&self) {
        if !self.plan.is_kind() {
            return;
        }
        let switching = self.streams.values().filter(|s| s.session.state() == State::Switching);
        for stream in switching {
            let Some(lost_at) = stream.inherited_at.last() else { continue };
            let waited = self.now.since(*lost_at);
            assert!(waited <= self.again(stream), "{:?} is not asked for", stream.keys);
        }
    }

    /// What a new session takes.
    fn again(&self, stream: &Stream) -> Duration {
        let infohash = stream.session.infohash();
        let channel = self.plan.channels.iter().find(|one| one.infohash == infohash);
        channel.map_or(Duration::ZERO, |one| one.warm_up) + Duration::from_secs(6)
    }

    /// And before its viewers are given up.
    pub(crate) fn check_inherited(&self, id: StreamId) {
        let stream = &self.streams[&id];
        let again = self.again(stream);
        let times = stream.inherited_at.len() as u32 + 1;
        let has_time = again * times < self.plan.settings.outage_timeout;
        assert!(!self.plan.is_kind() || !has_time, "{id:?} is given up and could play");
    }

    /// Only what was being worked on, or ending, ends for those who watch it elsewhere.
    pub(crate) fn check_lost(&self, person: usize, id: StreamId) {
        assert!(self.may_end.contains(&id), "person {person} is lost, and need not be");
    }
}

impl Mail {
    fn is_query_of(&self, lost: ShardId) -> bool {
        let ask = match self {
            Self::Ask(ask, _) | Self::PoolReply { ask, .. } => ask,
            _ => return false,
        };
        matches!(ask, Ask::Query { shard, .. } if *shard == lost)
    }

    /// To itself: what it says is so already.
    fn is_release_of(&self, lost: ShardId) -> bool {
        matches!(self, Self::ReleaseKey { host, .. } if *host == lost)
    }
}
