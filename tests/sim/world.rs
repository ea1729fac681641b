//! The clock, the queue, and everything that exists.
//!
//! One event at a time; a brain's own timers fire between the events, each at its time. Messages
//! between two shards arrive in the order in which they were sent, whatever they take.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use ringcast::base::ids::EngineId;
use ringcast::base::ids::Generation;
use ringcast::base::ids::ShardId;
use ringcast::base::prng::Prng;
use ringcast::base::time::Instant;
use ringcast::engine::pool;
use ringcast::engine::pool::Pool;
use ringcast::engine::spec::Spec;
use ringcast::registry::directory::Directory;
use ringcast::registry::directory::DirectoryConfig;
use ringcast::registry::resolver;
use ringcast::registry::resolver::Resolver;
use ringcast::registry::resolver::ResolverConfig;
use ringcast::ring::SlabCache;
use ringcast::stream::Input;
use ringcast::stream::Tenure;
use ringcast::viewer::CloseReason;

use crate::engines::EngineEvent;
use crate::engines::FakeEngine;
use crate::homes::Mail;
use crate::host::Stream;
use crate::ledger::Ledger;
use crate::lost::Orphan;
use crate::media;
use crate::media::Log;
use crate::people::Person;
use crate::people::Sub;
use crate::plan::Plan;
use crate::sockets::Cause;

/// A world that is not quiet by then never will be.
const QUIET_WITHIN: Duration = Duration::from_secs(400);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct StreamId(pub(crate) u32);

pub(crate) enum Event {
    Mail {
        to: ShardId,
        mail: Mail,
    },
    /// What the driver of a stream's shard brings home.
    Reply {
        stream: StreamId,
        input: Input,
    },
    Engine {
        engine: EngineId,
        event: EngineEvent,
    },
    ProbeDone {
        engine: EngineId,
        generation: Generation,
    },
    QueryDone {
        shard: ShardId,
        input: resolver::Input,
    },
    Come {
        person: usize,
    },
    Leave {
        person: usize,
        visit: u32,
    },
    InitTimeout {
        person: usize,
        visit: u32,
    },
    /// Once a second: restarts, takeovers, kicks.
    Weather,
    Resume {
        stream: StreamId,
    },
    Kick {
        stream: StreamId,
    },
    Drain {
        engine: EngineId,
    },
    Undrain {
        engine: EngineId,
    },
    Lose {
        shard: ShardId,
    },
    TakeOver {
        stream: StreamId,
    },
    /// Redis has said, or ceased to say, whose the stream is.
    Leased {
        stream: StreamId,
        tenure: Tenure,
    },
    Turn {
        shard: ShardId,
        stream: StreamId,
        cause: Cause,
    },
    Abort {
        shard: ShardId,
        stream: StreamId,
        reason: CloseReason,
    },
    Count {
        shard: ShardId,
        stream: StreamId,
    },
    Horizon,
}

pub(crate) struct Shard {
    pub(crate) resolver: Resolver,
    pub(crate) directory: Directory,
    pub(crate) subs: BTreeMap<StreamId, Sub>,
    /// Shards that were lost, and the last stream of each.
    pub(crate) lost: BTreeMap<ShardId, StreamId>,
    /// How often it was lost, and the others, as far as it has heard.
    pub(crate) life: u32,
    pub(crate) lives: BTreeMap<ShardId, u32>,
}

/// What has happened over all seeds: a sweep in which nothing happens proves nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) events: u64,
    pub(crate) streams: u64,
    pub(crate) sessions: u64,
    pub(crate) stops: u64,
    pub(crate) superseded: u64,
    pub(crate) lost: u64,
    pub(crate) adopted: u64,
    pub(crate) merged: u64,
    pub(crate) late_opens: u64,
    pub(crate) started: u64,
    pub(crate) refused: u64,
    pub(crate) closed: u64,
    pub(crate) offline: u64,
    pub(crate) revived: u64,
    pub(crate) failovers: u64,
    pub(crate) rivals: u64,
    pub(crate) promoted: u64,
    pub(crate) overlaps: u64,
    pub(crate) jumps: u64,
    pub(crate) unstable: u64,
    pub(crate) outages: u64,
    pub(crate) nulls: u64,
    pub(crate) busy: u64,
    pub(crate) skips: u64,
    pub(crate) slow: u64,
    /// Streams that left an engine because it was being drained.
    pub(crate) vacated: u64,
    pub(crate) shards_lost: u64,
    pub(crate) inherited: u64,
    pub(crate) claims_lost: u64,
    /// An heir's wish arrived before its word that it is one.
    pub(crate) heirs_ahead: u64,
    pub(crate) leases_changed: u64,
    pub(crate) contended: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.streams += other.streams;
        self.sessions += other.sessions;
        self.stops += other.stops;
        self.superseded += other.superseded;
        self.lost += other.lost;
        self.adopted += other.adopted;
        self.merged += other.merged;
        self.late_opens += other.late_opens;
        self.started += other.started;
        self.refused += other.refused;
        self.closed += other.closed;
        self.offline += other.offline;
        self.revived += other.revived;
        self.failovers += other.failovers;
        self.rivals += other.rivals;
        self.promoted += other.promoted;
        self.overlaps += other.overlaps;
        self.jumps += other.jumps;
        self.unstable += other.unstable;
        self.outages += other.outages;
        self.nulls += other.nulls;
        self.busy += other.busy;
        self.skips += other.skips;
        self.slow += other.slow;
        self.vacated += other.vacated;
        self.shards_lost += other.shards_lost;
        self.inherited += other.inherited;
        self.claims_lost += other.claims_lost;
        self.heirs_ahead += other.heirs_ahead;
        self.leases_changed += other.leases_changed;
        self.contended += other.contended;
    }

    pub(crate) fn assert_something_happened(&self, seeds: u64) {
        let each = [
            self.sessions,
            self.stops,
            self.superseded,
            self.lost,
            self.adopted,
            self.merged,
            self.late_opens,
            self.started,
            self.refused,
            self.closed,
            self.offline,
            self.revived,
            self.failovers,
            self.rivals,
            self.promoted,
            self.overlaps,
            self.jumps,
            self.unstable,
            self.outages,
            self.nulls,
            self.busy,
            self.skips,
            self.vacated,
            self.shards_lost,
            self.inherited,
            self.claims_lost,
            self.leases_changed,
            self.contended,
        ];
        assert!(each.iter().all(|count| *count > 0), "a sweep without one of these: {self:?}");
        // It takes three shards, two keys and a full mailbox: some three in 10 000 worlds.
        let is_long = seeds >= 50_000;
        assert!(self.heirs_ahead > 0 || !is_long, "no heir was heard of by what it asked");
    }
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) plan: Plan,
    pub(crate) prng: Prng,
    pub(crate) queue: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    links: BTreeMap<(ShardId, ShardId), Instant>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) pool: Pool,
    pub(crate) engines: Vec<FakeEngine>,
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    /// Which shard each of them is on, or was.
    pub(crate) hosts: BTreeMap<StreamId, ShardId>,
    pub(crate) orphans: Vec<Orphan>,
    /// Streams that were being worked on, or ending, when their shard was lost.
    pub(crate) may_end: BTreeSet<StreamId>,
    /// What went into each ring.
    pub(crate) logs: BTreeMap<StreamId, Log>,
    /// One for each shard.
    pub(crate) caches: Vec<SlabCache>,
    pub(crate) stream_next: u32,
    /// Who asked the pool what: a number for each question.
    pub(crate) asks: BTreeMap<u64, crate::homes::Ask>,
    pub(crate) ask_next: u64,
    pub(crate) people: Vec<Person>,
    /// Engines that are being drained, and when they were taken back.
    pub(crate) drained: BTreeSet<EngineId>,
    pub(crate) undrained_at: BTreeMap<EngineId, Instant>,
    pub(crate) ledger: Ledger,
    pub(crate) counts: Totals,
    pub(crate) is_over: bool,
    is_traced: bool,
}

impl World {
    pub(crate) fn new(seed: u64, is_traced: bool) -> Self {
        let mut prng = Prng::new(seed);
        let plan = Plan::draw(&mut prng);
        let shard = || Shard {
            resolver: Resolver::new(ResolverConfig::default()),
            directory: Directory::new(DirectoryConfig::default()),
            subs: BTreeMap::new(),
            lost: BTreeMap::new(),
            life: 0,
            lives: BTreeMap::new(),
        };
        let config = pool::PoolConfig {
            streams_per_engine_max: plan.streams_per_engine_max,
            ..pool::PoolConfig::default()
        };
        let mut world = Self {
            now: Instant::from_micros(1_000_000),
            shards: (0..plan.shards).map(|_| shard()).collect(),
            pool: Pool::new(config),
            engines: (0..plan.engines).map(|_| FakeEngine::default()).collect(),
            people: Vec::new(),
            drained: BTreeSet::new(),
            undrained_at: BTreeMap::new(),
            prng,
            queue: BTreeMap::new(),
            serial: 0,
            links: BTreeMap::new(),
            streams: BTreeMap::new(),
            hosts: BTreeMap::new(),
            orphans: Vec::new(),
            may_end: BTreeSet::new(),
            logs: BTreeMap::new(),
            caches: (0..plan.shards).map(|_| SlabCache::new(media::arena())).collect(),
            stream_next: 1,
            plan,
            asks: BTreeMap::new(),
            ask_next: 1,
            ledger: Ledger::default(),
            counts: Totals::default(),
            is_over: false,
            is_traced,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let specs = (0..self.engines.len())
            .map(|n| format!("10.0.0.{}:6878", n + 1).parse::<Spec>().expect("an address"))
            .collect();
        self.feed_pool(pool::Input::Configure(specs));
        for person in 0..self.plan.people {
            let shard = ShardId(self.prng.below(self.shards.len() as u64) as u8);
            self.people.push(Person::new(shard));
            let at_ms = self.prng.below(self.plan.horizon.as_millis() as u64);
            self.after(Duration::from_millis(at_ms), Event::Come { person });
        }
        self.after(Duration::from_secs(1), Event::Weather);
        self.after(self.plan.horizon, Event::Horizon);
    }

    pub(crate) fn run(&mut self) {
        let end = self.now + self.plan.horizon + QUIET_WITHIN;
        while !self.is_quiet() {
            let at = self.next_event().expect("the pool probes for ever");
            assert!(at <= end, "not quiet: {}", self.describe());
            assert!(at >= self.now, "time went back");
            self.now = at;
            self.step();
            self.counts.events += 1;
            if !self.orphans.is_empty() {
                self.drop_subs();
                self.drop_orphans();
            }
            self.check();
        }
        self.check_end();
    }

    fn is_quiet(&self) -> bool {
        let is_mail = |event: &Event| matches!(event, Event::Mail { .. });
        self.is_over
            && self.streams.is_empty()
            && self.orphans.is_empty()
            && self.people.iter().all(Person::is_away)
            && !self.queue.values().any(is_mail)
    }

    fn describe(&self) -> String {
        let streams = self.streams.iter().map(|(id, stream)| {
            let session = &stream.session;
            let next = session.poll_timeout();
            format!("{id:?} on {:?} {:?} next {next:?}", stream.host, session.state())
        });
        streams.collect::<Vec<_>>().join("; ")
    }

    fn next_event(&self) -> Option<Instant> {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        let sessions = self.streams.values().filter_map(|stream| stream.session.poll_timeout());
        let resolvers = self.shards.iter().filter_map(|shard| shard.resolver.poll_timeout());
        let brains = sessions.chain(resolvers).chain(self.pool.poll_timeout());
        queued.into_iter().chain(brains).min()
    }

    /// Whatever is due now, one thing of it.
    fn step(&mut self) {
        if let Some(key) = self.queue.keys().next().copied().filter(|(at, _)| *at <= self.now) {
            let event = self.queue.remove(&key).expect("just seen");
            return self.dispatch(event);
        }
        let now = self.now;
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let due = self.streams.iter().find(|(_, s)| is_due(s.session.poll_timeout()));
        if let Some(id) = due.map(|(id, _)| *id) {
            return self.stream_timeout(id);
        }
        if is_due(self.pool.poll_timeout()) {
            self.pool.handle_timeout(now);
            return self.drain_pool();
        }
        for shard in 0..self.shards.len() {
            if is_due(self.shards[shard].resolver.poll_timeout()) {
                self.shards[shard].resolver.handle_timeout(now);
                return self.drain_resolver(ShardId(shard as u8));
            }
        }
        unreachable!("something was due");
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Mail { to, mail } => {
                self.trace(|| format!("{to:?} <- {mail:?}"));
                self.deliver(to, mail);
            }
            Event::Reply { stream, input } => self.reply(stream, input),
            Event::Engine { engine, event } => self.engine_event(engine, event),
            Event::ProbeDone { engine, generation } => self.probe_done(engine, generation),
            Event::QueryDone { shard, input } => {
                self.shards[usize::from(shard.0)].resolver.handle(input, self.now);
                self.drain_resolver(shard);
            }
            Event::Come { person } => self.come(person),
            Event::Leave { person, visit } => self.leave(person, visit),
            Event::InitTimeout { person, visit } => self.init_timeout(person, visit),
            Event::Weather => self.weather(),
            Event::Resume { stream } => self.resume(stream),
            Event::Count { shard, stream } => self.tell_count(shard, stream),
            Event::Turn { shard, stream, cause } => self.turn(shard, stream, cause),
            Event::Abort { shard, stream, reason } => self.abort(shard, stream, reason),
            Event::Kick { stream } => self.kick(stream),
            Event::Drain { engine } => self.drain_engine(engine),
            Event::Undrain { engine } => {
                if self.drained.remove(&engine) {
                    self.undrained_at.insert(engine, self.now);
                }
                self.feed_pool(pool::Input::Drain { engine, draining: false });
            }
            Event::Lose { shard } => self.lose(shard),
            Event::TakeOver { stream } => self.take_over(stream),
            Event::Leased { stream, tenure } => self.leased(stream, tenure),
            Event::Horizon => self.horizon(),
        }
    }

    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), event);
    }

    pub(crate) fn after_us(&mut self, us_min: u64, us_max: u64, event: Event) {
        let us = us_min + self.prng.below(us_max - us_min);
        self.after(Duration::from_micros(us), event);
    }

    /// A mailbox: slow, but in order.
    pub(crate) fn mail(&mut self, from: ShardId, to: ShardId, mail: Mail) {
        let mut delay = self.prng.below(self.plan.mail_delay_us_max);
        if self.prng.chance(self.plan.faults.mailbox_full) {
            delay += self.prng.below(1_000_000);
        }
        let earliest = self.now + Duration::from_micros(delay);
        let last = self.links.get(&(from, to)).copied().unwrap_or(Instant::ZERO);
        let at = earliest.max(last);
        self.links.insert((from, to), at);
        self.after(at.since(self.now), Event::Mail { to, mail });
    }

    pub(crate) fn drain_engine(&mut self, engine: EngineId) {
        self.drained.insert(engine);
        self.feed_pool(pool::Input::Drain { engine, draining: true });
        self.after_us(1_000_000, 90_000_000, Event::Undrain { engine });
    }

    pub(crate) fn slow_down(&mut self, from: ShardId, to: ShardId, us: u64) {
        let at = self.now + Duration::from_micros(us);
        let last = self.links.entry((from, to)).or_insert(at);
        *last = at.max(*last);
    }

    fn horizon(&mut self) {
        self.is_over = true;
        if self.plan.drains {
            for id in self.streams.keys().copied().collect::<Vec<_>>() {
                self.feed(id, Input::Drain);
            }
        }
        for person in 0..self.people.len() {
            let visit = self.people[person].visit;
            let at_us = self.prng.below(5_000_000);
            self.after(Duration::from_micros(at_us), Event::Leave { person, visit });
        }
    }

    fn weather(&mut self) {
        if !self.is_over {
            self.after(Duration::from_secs(1), Event::Weather);
        }
        for engine in 1..=self.engines.len() as u32 {
            if self.prng.chance(self.plan.faults.engine_restarts) {
                self.engine_restarts(EngineId(engine));
            }
            if self.prng.chance(self.plan.faults.engine_drained) {
                self.drain_engine(EngineId(engine));
            }
        }
        for shard in (0..self.shards.len() as u8).map(ShardId) {
            if self.prng.chance(self.plan.faults.shard_lost) {
                self.lose(shard);
                // What is being inherited is lost again.
                if self.prng.chance(300) {
                    self.after_us(0, 3_000_000, Event::Lose { shard });
                }
            }
        }
        for id in self.streams.keys().copied().collect::<Vec<_>>() {
            if self.plan.has_redis && self.prng.chance(self.plan.faults.lease_changed) {
                let is_owner = self.prng.chance(500);
                self.leased(id, if is_owner { Tenure::Owner } else { Tenure::Other });
            }
            if self.prng.chance(self.plan.faults.taken_over) {
                self.take_over(id);
            }
            if self.prng.chance(self.plan.faults.kicked) {
                self.kick(id);
            }
            if self.prng.chance(self.plan.faults.moved) {
                self.move_on(id);
            }
            if self.prng.chance(self.plan.faults.warmed) {
                let until = self.now + Duration::from_micros(self.prng.below(30_000_000));
                self.warm(id, until);
            }
        }
    }

    #[expect(clippy::print_stdout, reason = "a replay is read")]
    pub(crate) fn trace(&self, line: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{:?} {}", self.now, line());
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.counts.clone()
    }
}
