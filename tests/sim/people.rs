//! Viewers as people: they come, wait, give up, watch, leave, return; and what the shard that
//! accepted them does for them.

use std::time::Duration;

use ringcast::base::ids::Generation;
use ringcast::base::ids::Infohash;
use ringcast::base::ids::ShardId;
use ringcast::base::ids::Target;
use ringcast::base::time::Instant;
use ringcast::registry::resolver::Resolution;
use ringcast::stream::Answer;
use ringcast::stream::CloseReason;
use ringcast::viewer;

use crate::homes::Mail;
use crate::homes::RingHandle;
use crate::homes::Subscribe;
use crate::homes::Visit;
use crate::sockets::Cause;
use crate::sockets::Feed;
use crate::world::Event;
use crate::world::StreamId;
use crate::world::World;

/// After the end of a stream a slow viewer is cut.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// One shard's handle on a stream.
pub(crate) struct Sub {
    pub(crate) host: ShardId,
    key: Target,
    /// Everybody was answered or closed: newcomers ask anew.
    is_dead: bool,
    pub(crate) wait_answer: Option<Answer>,
    pub(crate) feed: Feed,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Away,
    Resolving { target: Target },
    Subscribing,
    Waiting(StreamId),
    Started(StreamId),
}

pub(crate) struct Person {
    pub(crate) shard: ShardId,
    pub(crate) visit: u32,
    pub(crate) place: Place,
    /// `None`: something that nobody else is known to want.
    channel: Option<usize>,
    /// What is asked for next, if that is settled.
    pub(crate) wish: Option<Target>,
    came_at: Instant,
    asked: Option<Target>,
}

impl Person {
    pub(crate) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            visit: 0,
            place: Place::Away,
            channel: None,
            wish: None,
            came_at: Instant::ZERO,
            asked: None,
        }
    }

    pub(crate) fn is_away(&self) -> bool {
        self.place == Place::Away
    }

    pub(crate) fn watches(&self, id: StreamId) -> bool {
        self.place == Place::Waiting(id) || self.place == Place::Started(id)
    }

    pub(crate) fn wants_the_same(&mut self) {
        self.wish.clone_from(&self.asked);
    }

    fn is_asking(&self) -> bool {
        matches!(self.place, Place::Resolving { .. } | Place::Subscribing | Place::Waiting(_))
    }
}

impl World {
    pub(crate) fn come(&mut self, person: usize) {
        if self.is_over || !self.people[person].is_away() {
            return;
        }
        let (channel, target) = match self.people[person].wish.take() {
            Some(target) => (None, target),
            None => self.plan.target(&mut self.prng),
        };
        let now = self.now;
        let at = &mut self.people[person];
        at.visit += 1;
        at.channel = channel;
        at.came_at = now;
        at.asked = Some(target.clone());
        at.place = Place::Resolving { target: target.clone() };
        let visit = Visit { person, visit: at.visit };
        let from = at.shard;
        self.trace(|| format!("person {person} comes for {target:?}"));
        if matches!(target, Target::Infohash(_)) {
            self.subscribe_person(person, target);
        } else {
            let home = self.home(&target);
            self.mail(from, home, Mail::Resolve { visit, target });
        }
        let stay_ms = match self.prng.below(4) {
            0 => self.prng.below(2_000),
            1 => self.prng.below(10_000),
            _ => self.prng.below(90_000),
        };
        let visit = visit.visit;
        self.after(Duration::from_millis(stay_ms), Event::Leave { person, visit });
        self.after(self.plan.settings.init_timeout, Event::InitTimeout { person, visit });
    }

    pub(crate) fn leave(&mut self, person: usize, visit: u32) {
        let at = &mut self.people[person];
        if at.visit != visit || at.is_away() {
            return;
        }
        let place = std::mem::replace(&mut at.place, Place::Away);
        let from = at.shard;
        self.trace(|| format!("person {person} leaves {place:?}"));
        match place {
            Place::Resolving { target } => {
                let home = self.home(&target);
                let visit = Visit { person, visit };
                self.mail(from, home, Mail::CancelResolve { visit });
            }
            Place::Waiting(stream) | Place::Started(stream) => {
                self.unseat(person, stream);
            }
            Place::Subscribing | Place::Away => {}
        }
        self.maybe_return(person);
    }

    pub(crate) fn maybe_return(&mut self, person: usize) {
        if self.prng.chance(600) {
            let grace_ms = self.plan.settings.grace_period.as_millis() as u64;
            let pause_ms = match self.prng.below(4) {
                0 => self.prng.below(500),
                // When the shards are being asked.
                3 => grace_ms - 100 + self.prng.below(400),
                1 => self.prng.below(10_000),
                _ => self.prng.below(60_000),
            };
            self.after(Duration::from_millis(pause_ms), Event::Come { person });
        }
    }

    /// The visit, if the person is still on it.
    fn on_visit(&mut self, visit: Visit) -> Option<usize> {
        let at = &self.people[visit.person];
        (at.visit == visit.visit && !at.is_away()).then_some(visit.person)
    }

    pub(crate) fn resolved(&mut self, visit: Visit, resolution: Resolution) {
        let Some(person) = self.on_visit(visit) else { return };
        let key = match resolution {
            Resolution::Infohash(infohash) | Resolution::Assumed { infohash, .. } => {
                Target::Infohash(infohash)
            }
            Resolution::AsGiven(target) => target,
            Resolution::Busy => panic!("so few people cannot fill the resolver"),
        };
        self.subscribe_person(person, key);
    }

    fn subscribe_person(&mut self, person: usize, key: Target) {
        let shard = self.people[person].shard;
        let subs = &self.shards[usize::from(shard.0)].subs;
        let known = subs.iter().find(|(_, sub)| sub.key == key && !sub.is_dead);
        if let Some(stream) = known.map(|(stream, _)| *stream) {
            return self.seat(person, stream);
        }
        self.people[person].place = Place::Subscribing;
        let visit = Visit { person, visit: self.people[person].visit };
        let home = self.home(&key);
        let life = self.shards[usize::from(shard.0)].life;
        self.mail(shard, home, Mail::Subscribe(Subscribe { visit, life, key, hops: 0 }));
    }

    pub(crate) fn attached(
        &mut self,
        here: ShardId,
        visit: Visit,
        stream: StreamId,
        key: Target,
        ring: RingHandle,
    ) {
        let host = self.hosts[&stream];
        let is_asked = self.on_visit(visit).is_some();
        let subs = &mut self.shards[usize::from(here.0)].subs;
        if !is_asked && !subs.contains_key(&stream) {
            // Nobody here remembers.
            return self.count(here, stream);
        }
        let sub = subs.entry(stream).or_insert_with(|| {
            let feed = Feed::new(ring.0, here);
            Sub { host, key, is_dead: false, wait_answer: None, feed }
        });
        sub.is_dead = false;
        if let Some(person) = self.on_visit(visit)
            && self.people[person].place == Place::Subscribing
        {
            return self.seat(person, stream);
        }
        self.count(here, stream);
    }

    /// Gives a person a place at a stream that this shard has a handle on.
    fn seat(&mut self, person: usize, stream: StreamId) {
        let at = &mut self.people[person];
        at.place = Place::Waiting(stream);
        let visit = Visit { person, visit: at.visit };
        let shard = at.shard;
        let sub = self.shards[usize::from(shard.0)].subs.get_mut(&stream);
        sub.expect("a handle").feed.seat(visit, self.now);
        self.count(shard, stream);
        self.after(Duration::ZERO, Event::Turn { shard, stream, cause: Cause::Bell });
    }

    pub(crate) fn unseat(&mut self, person: usize, stream: StreamId) {
        let shard = self.people[person].shard;
        let sub = self.shards[usize::from(shard.0)].subs.get_mut(&stream);
        let (skips, nulls) = sub.expect("a seat has a handle").feed.leave(person);
        self.counts.skips += skips;
        self.counts.nulls += nulls;
        self.count(shard, stream);
    }

    /// The first bytes have gone out.
    pub(crate) fn starts(&mut self, person: usize, stream: StreamId) {
        self.trace(|| format!("person {person} starts on {stream:?}"));
        assert_eq!(self.people[person].place, Place::Waiting(stream));
        self.people[person].place = Place::Started(stream);
        self.counts.started += 1;
        self.count(self.people[person].shard, stream);
    }

    /// The shard ends the connection.
    pub(crate) fn is_closed(
        &mut self,
        person: usize,
        stream: StreamId,
        reason: viewer::CloseReason,
    ) {
        self.trace(|| format!("person {person} is closed: {reason:?}"));
        self.people[person].place = Place::Away;
        self.counts.closed += 1;
        self.counts.slow += u64::from(reason == viewer::CloseReason::Slow);
        if reason == viewer::CloseReason::ShardLost {
            self.check_lost(person, stream);
        }
        self.unseat(person, stream);
        self.maybe_return(person);
    }

    /// The owner is told at the end of the turn: what happens in between is one message, and
    /// other messages may be ahead of it.
    fn count(&mut self, here: ShardId, stream: StreamId) {
        let us_max = self.plan.mail_delay_us_max * 2 + 1;
        self.after_us(0, us_max, Event::Count { shard: here, stream });
    }

    pub(crate) fn tell_count(&mut self, here: ShardId, stream: StreamId) {
        let Some(host) = self.streams.get(&stream).map(|stream| stream.host) else { return };
        let at = |person: &&Person| person.shard == here;
        let watching = self.people.iter().filter(at).filter(|p| p.watches(stream)).count();
        let waiting = Place::Waiting(stream);
        let waiting = self.people.iter().filter(at).filter(|p| p.place == waiting).count();
        let (count, waiting) = (watching as u32, waiting as u32);
        self.mail(here, host, Mail::Counts { from: here, stream, count, waiting });
    }

    pub(crate) fn waiting_on(&self, here: ShardId, stream: StreamId) -> Vec<usize> {
        let is_there = |p: &Person| p.shard == here && p.place == Place::Waiting(stream);
        (0..self.people.len()).filter(|person| is_there(&self.people[*person])).collect()
    }

    /// Newcomers ask anew.
    fn is_dead(&mut self, here: ShardId, stream: StreamId) {
        if let Some(sub) = self.shards[usize::from(here.0)].subs.get_mut(&stream) {
            sub.is_dead = true;
        }
        self.count(here, stream);
    }

    pub(crate) fn refuse(&mut self, here: ShardId, stream: StreamId, answer: &Answer) {
        for person in self.waiting_on(here, stream) {
            self.unseat(person, stream);
            self.send_away(person, answer);
        }
        self.is_dead(here, stream);
    }

    /// Who has everything is closed in the next turns, who is slow a little later.
    pub(crate) fn close_viewers(&mut self, here: ShardId, stream: StreamId, reason: CloseReason) {
        let reason = match reason {
            CloseReason::EngineGone => viewer::CloseReason::EngineGone,
            CloseReason::Unstable => viewer::CloseReason::Unstable,
            CloseReason::Contended => viewer::CloseReason::Contended,
            CloseReason::TakenOver => viewer::CloseReason::TakenOver,
            CloseReason::Kicked => viewer::CloseReason::Kicked,
            CloseReason::Drain => viewer::CloseReason::Drain,
            CloseReason::Error => viewer::CloseReason::Error,
        };
        self.end_viewers(here, stream, reason);
    }

    pub(crate) fn end_viewers(
        &mut self,
        here: ShardId,
        stream: StreamId,
        reason: viewer::CloseReason,
    ) {
        self.is_dead(here, stream);
        if let Some(sub) = self.shards[usize::from(here.0)].subs.get_mut(&stream) {
            sub.feed.end_with(reason);
            self.after(Duration::ZERO, Event::Turn { shard: here, stream, cause: Cause::Bell });
            self.after(CLOSE_WITHIN, Event::Abort { shard: here, stream, reason });
        }
    }

    pub(crate) fn abort(&mut self, here: ShardId, stream: StreamId, reason: viewer::CloseReason) {
        for person in 0..self.people.len() {
            let at = &self.people[person];
            if at.shard == here && at.place == Place::Started(stream) {
                self.is_closed(person, stream, reason);
            }
        }
    }

    pub(crate) fn move_viewers(&mut self, here: ShardId, stream: StreamId, infohash: Infohash) {
        self.is_dead(here, stream);
        for person in self.waiting_on(here, stream) {
            self.unseat(person, stream);
            self.subscribe_person(person, Target::Infohash(infohash));
        }
    }

    pub(crate) fn may_close(
        &mut self,
        here: ShardId,
        stream: StreamId,
        close_generation: Generation,
    ) {
        let subs = &mut self.shards[usize::from(here.0)].subs;
        let is_idle = subs.get(&stream).is_none_or(|sub| sub.feed.is_empty());
        if is_idle {
            subs.remove(&stream);
        }
        let Some(host) = self.streams.get(&stream).map(|stream| stream.host) else { return };
        let from = here;
        self.mail(here, host, Mail::Closing { from, stream, close_generation, is_idle });
    }

    /// From the beginning: an answer to what was asked before finds nobody.
    pub(crate) fn ask_anew(&mut self, person: usize) {
        let at = &mut self.people[person];
        at.place = Place::Away;
        at.wants_the_same();
        self.come(person);
    }

    /// A handle whose stream is gone goes with its last viewer.
    pub(crate) fn drop_subs(&mut self) {
        let streams = &self.streams;
        for shard in &mut self.shards {
            shard.subs.retain(|id, sub| streams.contains_key(id) || !sub.feed.is_empty());
        }
    }

    pub(crate) fn rejected(&mut self, visit: Visit, answer: Answer) {
        if let Some(person) = self.on_visit(visit) {
            self.send_away(person, &answer);
        }
    }

    fn send_away(&mut self, person: usize, answer: &Answer) {
        self.trace(|| format!("person {person} is answered {answer:?}"));
        self.check_answer(person, answer);
        self.people[person].place = Place::Away;
        self.counts.refused += 1;
        self.maybe_return(person);
    }

    /// In a world without faults nobody is sent away from a channel that plays.
    fn check_answer(&self, person: usize, answer: &Answer) {
        let at = &self.people[person];
        let Some(channel) = at.channel.map(|channel| &self.plan.channels[channel]) else { return };
        let is_served = !channel.is_dead && !channel.is_vod && self.plan.is_kind();
        let has_time = channel.warm_up + Duration::from_secs(6) < self.plan.settings.init_timeout
            && channel.warm_up + Duration::from_secs(6) < self.plan.settings.start_timeout;
        assert!(
            !is_served || !has_time || self.is_over,
            "person {person}, who came at {:?}, is sent away: {answer:?}",
            at.came_at
        );
    }

    pub(crate) fn init_timeout(&mut self, person: usize, visit: u32) {
        let at = &self.people[person];
        if at.visit != visit || !at.is_asking() {
            return;
        }
        let shard = at.shard;
        let Place::Waiting(stream) = at.place else {
            return self.leave(person, visit);
        };
        let sub = self.shards[usize::from(shard.0)].subs.get(&stream);
        let answer = sub.and_then(|sub| sub.wait_answer.clone());
        match answer {
            Some(answer) => {
                self.unseat(person, stream);
                self.send_away(person, &answer);
            }
            None => self.leave(person, visit),
        }
    }
}
