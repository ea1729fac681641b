//! What must hold whatever happens: the oracles.
//!
//! - Each reservation goes back exactly once.
//! - Each session that was opened for us gets exactly one stop, or none when it was superseded; it
//!   ends in exactly one outcome, told by whoever owns it at the end.
//! - One player at a time for one infohash.
//! - One failover for each session that died under viewers; who is closed is closed for a reason that
//!   holds (the outage lasted, the third death, a takeover, a kick, a drain).
//! - A viewer who can take something hears something each second.
//! - A stream that nobody has wanted for the grace period is being ended.
//! - No stream stays on an engine that is being drained while another one could have it, and none leaves
//!   an engine for no reason.
//! - In the end nothing is left: no stream, no place on an engine, no entry of a directory.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use ringcast::base::ids::EngineId;
use ringcast::base::ids::Generation;
use ringcast::base::ids::Infohash;
use ringcast::base::time::Instant;
use ringcast::stream::CloseReason;
use ringcast::stream::Input;
use ringcast::stream::Outcome;
use ringcast::stream::State;
use ringcast::stream::Tenure;

use crate::engines::Sid;
use crate::people::Place;
use crate::world::StreamId;
use crate::world::World;

/// Messages and answers on the way.
const SLACK: Duration = Duration::from_secs(2);
/// A second, and the tick after which bytes are sent together.
const SILENCE_MAX: Duration = Duration::from_millis(1_250);
/// An engine that is being drained is left within that time, and as long as the other one takes to
/// give bytes: a try that found none is made again after 10 s.
const LEAVE_WITHIN: Duration = Duration::from_secs(25);
const UNSTABLE_WITHIN: Duration = Duration::from_secs(180);

#[derive(Default)]
struct Account {
    stops: u32,
    outcome: Option<Outcome>,
    /// Its stream is gone with its shard: it is stopped, and nobody tells how it ended.
    is_buried: bool,
    /// Its stop was out when its shard was lost: it may be sent once more.
    may_stop_again: bool,
}

#[derive(Default)]
pub(crate) struct Ledger {
    /// Whose they are, and whether they are back.
    reservations: BTreeMap<u64, (StreamId, bool)>,
    sessions: BTreeMap<Sid, Account>,
    named: BTreeMap<(StreamId, Generation), Sid>,
    handed_over: BTreeSet<(StreamId, Generation)>,
    failed: BTreeSet<(StreamId, Generation)>,
    infohashes: BTreeMap<Sid, Infohash>,
    buried: BTreeSet<StreamId>,
    sid_last: u64,
}

impl Ledger {
    pub(crate) fn new_sid(&mut self) -> Sid {
        self.sid_last += 1;
        Sid(self.sid_last)
    }

    pub(crate) fn is_of(&mut self, sid: Sid, infohash: Infohash) {
        self.infohashes.insert(sid, infohash);
    }

    pub(crate) fn infohash(&self, sid: Sid) -> Infohash {
        self.infohashes[&sid]
    }

    pub(crate) fn granted(&mut self, reservation: u64, stream: StreamId) {
        let before = self.reservations.insert(reservation, (stream, false));
        assert!(before.is_none(), "granted twice");
    }

    pub(crate) fn released(&mut self, reservation: u64) {
        let (_, is_back) = self.reservations.get_mut(&reservation).expect("it was granted");
        assert!(!std::mem::replace(is_back, true), "reservation {reservation} goes back twice");
    }

    /// A reply reached its stream: from here on the session is ours to end. Answers whether the
    /// open had been reported as failed.
    pub(crate) fn opened(&mut self, stream: StreamId, generation: Generation, sid: Sid) -> bool {
        self.sessions.entry(sid).or_default();
        self.names(stream, generation, sid);
        self.failed.contains(&(stream, generation))
    }

    pub(crate) fn open_failed(&mut self, stream: StreamId, generation: Generation) {
        self.failed.insert((stream, generation));
    }

    pub(crate) fn names(&mut self, stream: StreamId, generation: Generation, sid: Sid) {
        let known = self.named.insert((stream, generation), sid);
        assert!(known.is_none_or(|known| known == sid), "one generation, one session");
    }

    /// A stop ends the newest session of the content on its engine: that must not be another one
    /// of the same stream, which knew of both. Two that are being stopped at once may end each other:
    /// an open that was given up succeeds while the stop of the next one is on its way.
    pub(crate) fn check_stop_of(&self, stream: StreamId, sid: Sid, ended: Option<Sid>) {
        let Some(ended) = ended.filter(|ended| *ended != sid) else { return };
        let is_ours = self.named.iter().any(|((of, _), named)| *of == stream && *named == ended);
        let account = self.sessions.get(&ended);
        let is_wanted = account.is_some_and(|it| it.outcome.is_none() && it.stops == 0);
        assert!(!is_ours || !is_wanted, "{stream:?} ends its own {ended:?} by stopping {sid:?}");
    }

    pub(crate) fn handed_over(&mut self, stream: StreamId, generation: Generation) {
        self.handed_over.insert((stream, generation));
    }

    pub(crate) fn stopped(&mut self, sid: Sid) {
        let account = self.sessions.get_mut(&sid).expect("only what was opened is stopped");
        assert_eq!(account.outcome, None, "{sid:?} is stopped after its end");
        if std::mem::take(&mut account.may_stop_again) {
            return;
        }
        account.stops += 1;
        assert_eq!(account.stops, 1, "{sid:?} is stopped twice");
    }

    /// The stop was not sent: another session had taken its place.
    pub(crate) fn not_stopped(&mut self, sid: Sid) {
        let account = self.sessions.get_mut(&sid).expect("only what was opened is stopped");
        account.stops = account.stops.saturating_sub(1);
        if account.is_buried {
            account.outcome = Some(Outcome::Superseded);
        }
    }

    pub(crate) fn over(&mut self, stream: StreamId, generation: Generation, outcome: Outcome) {
        let sid = self.named[&(stream, generation)];
        assert!(!self.handed_over.contains(&(stream, generation)), "no longer its own");
        let account = self.sessions.get_mut(&sid).expect("only what was opened ends");
        assert_eq!(account.outcome, None, "{sid:?} ends twice");
        account.outcome = Some(outcome);
        let stops = u32::from(outcome != Outcome::Superseded);
        assert_eq!(account.stops, stops, "{sid:?} is {outcome:?}");
    }

    /// A stream went with its shard: its heir gives back what it held, and stops its sessions.
    pub(crate) fn buried(&mut self, id: StreamId) {
        self.buried.insert(id);
        let its = self.reservations.values_mut().filter(|(stream, _)| *stream == id);
        its.for_each(|(_, is_back)| *is_back = true);
        for account in self.open_of(id) {
            account.is_buried = true;
            account.may_stop_again = false;
            account.stops = 0;
        }
    }

    pub(crate) fn is_buried(&self, id: StreamId) -> bool {
        self.buried.contains(&id)
    }

    pub(crate) fn is_handed_over(&self, id: StreamId, sid: Sid) -> bool {
        let is_it = |name: &&(StreamId, Generation)| name.0 == id && self.named[*name] == sid;
        self.handed_over.iter().any(|name| is_it(&name))
    }

    /// It was granted to a stream that is gone.
    pub(crate) fn released_of_buried(&mut self, reservation: u64) {
        self.reservations.get_mut(&reservation).expect("it was granted").1 = true;
    }

    /// The stops that were out may not have been sent: they are sent again, unless it is the moment
    /// in which they are given up.
    pub(crate) fn stops_lost(&mut self, id: StreamId) {
        self.open_of(id).for_each(|account| account.may_stop_again = account.stops > 0);
    }

    fn open_of(&mut self, id: StreamId) -> impl Iterator<Item = &mut Account> {
        let Self { named, handed_over, sessions, .. } = self;
        let own = named.iter().filter(move |(name, _)| name.0 == id && !handed_over.contains(name));
        let own: BTreeSet<Sid> = own.map(|(_, sid)| *sid).collect();
        let open = sessions.iter_mut().filter(move |(sid, _)| own.contains(sid));
        open.map(|(_, account)| account).filter(|account| account.outcome.is_none())
    }

    /// Another stream has it from here on, also when it was about to be stopped for one that is gone.
    pub(crate) fn adopts(&mut self, id: StreamId, reservation: u64, sid: Sid) {
        self.reservations.insert(reservation, (id, false));
        let account = self.sessions.get_mut(&sid).expect("it was opened");
        if std::mem::take(&mut account.is_buried) {
            account.stops = 0;
            account.outcome = None;
        }
    }

    /// What is worth a line in a trace: not the pulse.
    pub(crate) fn is_noteworthy(&self, input: &Input) -> bool {
        !matches!(input, Input::Bytes { .. } | Input::Stat { .. })
    }

    fn check_end(&self) {
        for (reservation, (_, is_back)) in &self.reservations {
            assert!(is_back, "reservation {reservation} was never given back");
        }
        for (sid, account) in &self.sessions {
            let is_stopped = account.is_buried && account.stops == 1;
            assert!(account.outcome.is_some() || is_stopped, "{sid:?} has no end");
        }
    }
}

impl World {
    /// One session per infohash: nobody else plays what is about to be played. The stream itself may
    /// play it on one other engine: a rival stands beside its first session until one of them wins.
    pub(crate) fn check_single_player(&self, id: StreamId, engine: EngineId, sid: Sid) {
        let infohash = self.ledger.infohashes[&sid];
        for (other, stream) in &self.streams {
            if *other == id {
                let engines: Vec<_> = stream.plays.values().map(|play| play.engine).collect();
                let is_beside = engines.iter().all(|other| *other != engine) && engines.len() < 2;
                assert!(is_beside, "{id:?} plays on {engines:?}, and now on {engine:?}");
                continue;
            }
            for play in stream.plays.values() {
                let is_same = self.ledger.infohashes[&play.sid] == infohash;
                assert!(!is_same, "{id:?} and {other:?} both play {infohash}");
            }
        }
    }

    /// Started viewers are closed for a reason that holds.
    pub(crate) fn check_close(&mut self, id: StreamId, reason: CloseReason) {
        let stream = &self.streams[&id];
        let now = self.now;
        match reason {
            CloseReason::EngineGone => {
                let (died, _) = stream.deaths.last().expect("a session has died");
                let kept = now.since(*died);
                assert!(kept >= self.plan.settings.outage_timeout, "closed after {kept:?}");
                self.check_inherited(id);
                self.counts.outages += 1;
            }
            CloseReason::Unstable => {
                // Takeovers have rules of their own where other nodes keep to them.
                let is_forgiven = stream.tenure != Tenure::Alone;
                let recent = |at: &&(Instant, &str)| {
                    now.since(at.0) < UNSTABLE_WITHIN
                        && !matches!(at.1, "adopted" | "moved" | "shard_lost")
                        && !(is_forgiven && is_takeover(at.1))
                };
                let deaths = stream.deaths.iter().filter(recent).count();
                assert!(deaths == 2 || is_forgiven && deaths > 2, "{deaths}, and this one");
                self.counts.unstable += 1;
            }
            CloseReason::TakenOver | CloseReason::Contended => {
                let is_so =
                    stream.was_superseded || stream.deaths.iter().any(|it| is_takeover(it.1));
                assert!(is_so, "nobody took it over: {:?}", stream.deaths);
                let is_contended = reason == CloseReason::Contended;
                assert_eq!(is_contended, stream.tenure == Tenure::Other, "who gives way");
                self.counts.contended += u64::from(is_contended);
            }
            CloseReason::Kicked => assert!(stream.was_kicked),
            CloseReason::Drain => assert!(self.is_over && self.plan.drains),
            CloseReason::Error => panic!("nobody says {reason:?}"),
        }
    }

    /// Whoever can take something has had something within the last second.
    fn check_silence(&self) {
        for shard in &self.shards {
            for (id, sub) in &shard.subs {
                if let Some(silence) = sub.feed.longest_silence(self.now) {
                    assert!(
                        silence <= SILENCE_MAX,
                        "a viewer of {id:?} heard nothing {silence:?}: {}",
                        sub.feed.describe()
                    );
                }
            }
        }
    }

    /// A stream leaves an engine because an operator says so, or because it is being drained.
    pub(crate) fn check_moved(&mut self, id: StreamId, from: EngineId) {
        let is_told = |at: &Instant| self.now.since(*at) <= SLACK;
        let is_drained =
            self.drained.contains(&from) || self.undrained_at.get(&from).is_some_and(is_told);
        let stream = self.streams.get_mut(&id).expect("it moves");
        let is_asked = std::mem::take(&mut stream.is_move_asked);
        assert!(is_asked || is_drained, "{id:?} leaves {from:?}, and nobody wants it to");
        self.counts.vacated += u64::from(is_drained);
    }

    fn check_drained(&mut self) {
        let Self { streams, drained, plan, engines, now, .. } = self;
        let ids = (1..=engines.len() as u32).map(EngineId);
        let is_any_free = ids.filter(|engine| !drained.contains(engine)).count() > 0;
        for (id, stream) in streams {
            let plays = matches!(stream.session.state(), State::Active | State::Stalled);
            let engine = stream.session.engine().filter(|engine| plays && drained.contains(engine));
            let channel = plan.channels.iter().find(|c| c.infohash == stream.session.infohash());
            let channel = channel.filter(|channel| is_any_free && plan.can_leave(channel));
            let Some((engine, channel)) = engine.zip(channel) else {
                stream.could_leave = None;
                continue;
            };
            let since = stream.could_leave.filter(|(on, _)| *on == engine);
            let (_, since) = *stream.could_leave.insert(since.unwrap_or((engine, *now)));
            let until = since + LEAVE_WITHIN + channel.warm_up;
            assert!(
                *now <= until,
                "{id:?} is on {engine:?}, which is being drained, since {since:?}"
            );
        }
    }

    /// After every step.
    pub(crate) fn check(&mut self) {
        self.check_silence();
        self.check_drained();
        self.check_resumed();
        let (now, settings) = (self.now, self.plan.settings);
        for (id, stream) in &mut self.streams {
            let is_deserted = !self.people.iter().any(|person| person.watches(*id));
            let since = *stream.deserted_since.get_or_insert(now);
            if !is_deserted {
                stream.deserted_since = None;
                continue;
            }
            if stream.session.state() == State::Draining {
                continue;
            }
            let (from, patience) = match stream.session.first_packet_at() {
                Some(first) => (first.max(since), settings.grace_period),
                None => (stream.started_at.max(since), settings.start_timeout),
            };
            let until = (from + patience).max(stream.warm_until);
            assert!(
                now <= until + SLACK * 2,
                "{id:?} is {:?}, and nobody has wanted it since {since:?}",
                stream.session.state()
            );
        }
    }

    pub(crate) fn check_end(&self) {
        self.ledger.check_end();
        assert_eq!(self.pool.sessions(), 0, "a place on an engine is held for nobody");
        for shard in &self.shards {
            assert_eq!(shard.directory.len(), 0, "a key is held for nobody");
        }
        assert!(self.people.iter().all(|person| person.place == Place::Away));
    }
}

fn is_takeover(reason: &str) -> bool {
    matches!(reason, "taken_over" | "malformed_head")
}
