//! What a key's home shard does: resolve, find, claim; and what shard 0 does besides: the pool.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ringcast::base::ids::EngineId;
use ringcast::base::ids::Generation;
use ringcast::base::ids::Infohash;
use ringcast::base::ids::ShardId;
use ringcast::base::ids::Target;
use ringcast::engine::pool;
use ringcast::engine::reply::Failure as EngineFailure;
use ringcast::engine::reply::Status;
use ringcast::registry::directory::Claim;
use ringcast::registry::directory::Start;
use ringcast::registry::home;
use ringcast::registry::resolver;
use ringcast::registry::resolver::QueryId;
use ringcast::registry::resolver::QueryReply;
use ringcast::registry::resolver::Resolution;
use ringcast::ring::Ring;
use ringcast::stream::Answer;
use ringcast::stream::CloseReason;
use ringcast::stream::Code;
use ringcast::stream::Input;
use ringcast::stream::Opened;

use crate::lost::Kept;
use crate::world::Event;
use crate::world::StreamId;
use crate::world::World;

/// Which visit of which person.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Visit {
    pub(crate) person: usize,
    pub(crate) visit: u32,
}

impl Visit {
    fn token(self) -> u64 {
        (self.person as u64) << 32 | u64::from(self.visit)
    }

    fn from_token(token: u64) -> Self {
        Self { person: (token >> 32) as usize, visit: token as u32 }
    }
}

/// Somebody's wish for a stream, on its way to who has it.
#[derive(Clone, Debug)]
pub(crate) struct Subscribe {
    pub(crate) visit: Visit,
    /// How often that person's shard had been lost before.
    pub(crate) life: u32,
    pub(crate) key: Target,
    pub(crate) hops: u32,
}

/// A session that turned out to be of another infohash.
#[derive(Clone, Debug)]
pub(crate) struct ClaimQuery {
    pub(crate) stream: StreamId,
    pub(crate) host: ShardId,
    pub(crate) generation: Generation,
    pub(crate) infohash: Infohash,
    pub(crate) engine: EngineId,
    pub(crate) reservation: u64,
    pub(crate) name: String,
    pub(crate) opened: Opened,
}

/// A ring, in a message.
#[derive(Clone)]
pub(crate) struct RingHandle(pub(crate) Arc<Ring>);

impl fmt::Debug for RingHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ring at {}", self.0.head())
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Mail {
    Resolve { visit: Visit, target: Target },
    CancelResolve { visit: Visit },
    Resolved { visit: Visit, resolution: Resolution },
    Subscribe(Subscribe),
    Join(Subscribe),
    Attached { visit: Visit, stream: StreamId, key: Target, ring: RingHandle },
    Rejected { visit: Visit, answer: Answer },
    Counts { from: ShardId, stream: StreamId, count: u32, waiting: u32 },
    Evict { stream: StreamId, below: u64 },
    WaitAnswer { stream: StreamId, answer: Answer },
    Refuse { stream: StreamId, answer: Answer },
    CloseViewers { stream: StreamId, reason: CloseReason },
    MoveViewers { stream: StreamId, infohash: Infohash },
    MayClose { stream: StreamId, close_generation: Generation },
    Closing { from: ShardId, stream: StreamId, close_generation: Generation, is_idle: bool },
    Claim(ClaimQuery),
    Merge(ClaimQuery),
    Claimed { stream: StreamId, generation: Generation, infohash: Infohash },
    MergeInto { stream: StreamId, generation: Generation, infohash: Infohash, adopted: bool },
    ReleaseKey { key: Target, host: ShardId },
    Mark { key: Target, is_offline: bool },
    Ask(Ask, Box<pool::Select>),
    PoolReply { ask: Ask, granted: Result<Granted, Denied> },
    ReleaseReservation { reservation: u64 },
    PoolInput(Box<pool::Input>),
    Vacate { engine: EngineId, leave: bool },
    ClaimLost { stream: StreamId, generation: Generation },
    ShardLost { shard: ShardId, life: u32, kept: Kept, last: StreamId },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    Session { shard: ShardId, stream: StreamId, generation: Generation },
    Query { shard: ShardId, query: QueryId, id: Infohash },
}

impl Ask {
    fn stream(self) -> StreamId {
        match self {
            Self::Session { stream, .. } => stream,
            Self::Query { .. } => unreachable!("a question holds no place"),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) engine: EngineId,
    pub(crate) reservation: Option<u64>,
    pub(crate) name: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Denied {
    pub(crate) no_engine: bool,
    pub(crate) text: String,
    pub(crate) retry_after: Duration,
}

impl World {
    pub(crate) fn home(&self, key: &Target) -> ShardId {
        home(key, self.shards.len())
    }

    pub(crate) fn deliver(&mut self, to: ShardId, mail: Mail) {
        match mail {
            Mail::Resolve { visit, target } => self.resolve(to, visit, target),
            Mail::CancelResolve { visit } => {
                let cancel = resolver::Input::Cancel { token: visit.token() };
                self.shards[usize::from(to.0)].resolver.handle(cancel, self.now);
                self.drain_resolver(to);
            }
            Mail::Resolved { visit, resolution } => self.resolved(visit, resolution),
            Mail::Subscribe(subscribe) => self.subscribe(to, subscribe),
            Mail::Join(subscribe) => self.join(to, subscribe),
            Mail::Attached { visit, stream, key, ring } => {
                self.attached(to, visit, stream, key, ring);
            }
            Mail::Rejected { visit, answer } => self.rejected(visit, answer),
            Mail::Counts { from, stream, count, waiting } => {
                self.counted(stream, from, count, waiting);
            }
            Mail::Evict { stream, below } => self.evict(to, stream, below),
            Mail::WaitAnswer { stream, answer } => {
                if let Some(sub) = self.shards[usize::from(to.0)].subs.get_mut(&stream) {
                    sub.wait_answer = Some(answer);
                }
            }
            Mail::Refuse { stream, answer } => self.refuse(to, stream, &answer),
            Mail::CloseViewers { stream, reason } => self.close_viewers(to, stream, reason),
            Mail::MoveViewers { stream, infohash } => self.move_viewers(to, stream, infohash),
            Mail::MayClose { stream, close_generation } => {
                self.may_close(to, stream, close_generation);
            }
            Mail::Closing { from: shard, stream, close_generation, is_idle } => {
                self.counts.busy += u64::from(!is_idle);
                let input = match is_idle {
                    true => Input::Idle { shard, close_generation },
                    false => Input::Busy { shard, close_generation },
                };
                self.feed(stream, input);
            }
            Mail::Claim(query) => self.claim(to, query),
            Mail::Merge(query) => self.merge(to, query),
            Mail::Claimed { stream, generation, infohash } => {
                self.claimed(stream, generation, infohash);
            }
            Mail::MergeInto { stream, generation, infohash, adopted } => {
                self.feed(stream, Input::MergeInto { generation, infohash, adopted });
            }
            Mail::ReleaseKey { key, host } => {
                let directory = &mut self.shards[usize::from(to.0)].directory;
                assert!(directory.release(&key, host), "{key:?} was not {host:?}'s");
                directory.probe_dropped(&key);
            }
            Mail::Mark { key, is_offline } => self.mark(to, &key, is_offline),
            Mail::Ask(ask, select) => self.ask_pool(ask, *select),
            Mail::PoolReply { ask, granted } => self.pool_replied(ask, granted),
            Mail::ReleaseReservation { reservation } => {
                let reservation = pool::Reservation(reservation);
                self.feed_pool(pool::Input::Release { reservation });
            }
            Mail::PoolInput(input) => self.feed_pool(*input),
            Mail::Vacate { engine, leave } => self.vacate(to, engine, leave),
            Mail::ClaimLost { stream, generation } => {
                self.feed(stream, Input::ClaimLost { generation });
            }
            Mail::ShardLost { shard, life, kept, last } => {
                self.shard_lost(to, shard, life, &kept, last);
            }
        }
    }

    fn resolve(&mut self, shard: ShardId, visit: Visit, target: Target) {
        let at = &mut self.shards[usize::from(shard.0)];
        let live = match &target {
            Target::Id(id) => at.directory.runs_on(&Target::Infohash(*id)).is_some(),
            Target::Infohash(_) | Target::Url(_) | Target::Magnet(_) => false,
        };
        let input = resolver::Input::Resolve { token: visit.token(), target, live };
        at.resolver.handle(input, self.now);
        self.drain_resolver(shard);
    }

    pub(crate) fn drain_resolver(&mut self, shard: ShardId) {
        while let Some(output) = self.shards[usize::from(shard.0)].resolver.poll_output() {
            match output {
                resolver::Output::Query { query, id, exclude, .. } => {
                    let ask = Ask::Query { shard, query, id };
                    let any = pool::Select::any(0, shard, pool::Need::Query);
                    let exclude = exclude.into_iter().collect();
                    let select = pool::Select { stream: Some(id), exclude, ..any };
                    self.mail(shard, ShardId(0), Mail::Ask(ask, Box::new(select)));
                }
                resolver::Output::Resolved { token, resolution } => {
                    let visit = Visit::from_token(token);
                    let to = self.people[visit.person].shard;
                    self.mail(shard, to, Mail::Resolved { visit, resolution });
                }
            }
        }
        self.shards[usize::from(shard.0)].resolver.check_invariants();
    }

    fn subscribe(&mut self, here: ShardId, subscribe: Subscribe) {
        if !self.is_asked_by_the_living(here, &subscribe) {
            return;
        }
        let Subscribe { visit, hops, ref key, .. } = subscribe;
        assert!(hops < 200, "{key:?} is looked for without end");
        let directory = &mut self.shards[usize::from(here.0)].directory;
        if let Some(host) = directory.runs_on(key) {
            return self.mail(here, host, Mail::Join(Subscribe { hops: hops + 1, ..subscribe }));
        }
        if let Start::Offline { reason, retry_after, .. } = directory.may_start(key, self.now) {
            self.counts.offline += 1;
            let answer = Answer {
                code: Code::NothingToPlay,
                message: reason,
                engine: None,
                retry_after_s: Some(retry_after.as_secs() as u32),
            };
            let to = self.people[visit.person].shard;
            return self.mail(here, to, Mail::Rejected { visit, answer });
        }
        assert_eq!(directory.claim(key, here), Claim::Granted);
        self.start_stream(here, key.clone());
        self.join(here, subscribe);
    }

    fn claim(&mut self, here: ShardId, query: ClaimQuery) {
        if self.is_lost(here, query.host, query.stream) {
            return;
        }
        let key = Target::Infohash(query.infohash);
        let directory = &mut self.shards[usize::from(here.0)].directory;
        match directory.claim(&key, query.host) {
            Claim::Granted => {
                let ClaimQuery { stream, host, generation, infohash, .. } = query;
                self.mail(here, host, Mail::Claimed { stream, generation, infohash });
            }
            // Its own shard may have it under another stream.
            Claim::Yours => self.mail(here, query.host, Mail::Merge(query)),
            Claim::Taken(owner) => self.mail(here, owner, Mail::Merge(query)),
            Claim::Full => panic!("the directory holds more than a simulation has"),
        }
    }

    fn mark(&mut self, here: ShardId, key: &Target, is_offline: bool) {
        let directory = &mut self.shards[usize::from(here.0)].directory;
        if is_offline {
            directory.mark_offline(key, "simulated", self.now);
        } else {
            directory.mark_online(key);
        }
        directory.check_invariants();
    }

    fn ask_pool(&mut self, ask: Ask, mut select: pool::Select) {
        select.token = self.ask_next;
        self.ask_next += 1;
        self.asks.insert(select.token, ask);
        self.feed_pool(pool::Input::Select(select));
    }

    pub(crate) fn feed_pool(&mut self, input: pool::Input) {
        self.pool.handle(input, self.now);
        self.drain_pool();
    }

    pub(crate) fn drain_pool(&mut self) {
        while let Some(output) = self.pool.poll_output() {
            match output {
                pool::Output::Probe { engine, generation, .. } => {
                    self.after_us(1_000, 500_000, Event::ProbeDone { engine, generation });
                }
                pool::Output::Granted(granted) => {
                    let reservation = granted.reservation.map(|reservation| reservation.0);
                    if let Some(reservation) = reservation {
                        self.ledger.granted(reservation, self.asks[&granted.token].stream());
                    }
                    let name = granted.name.to_string();
                    let engine = granted.engine;
                    self.answer_ask(granted.token, Ok(Granted { engine, reservation, name }));
                }
                pool::Output::Denied { token, reason, retry_after, .. } => {
                    let no_engine =
                        matches!(reason, pool::Denied::NoEngine | pool::Denied::NoUsableEngine);
                    let text = reason.message();
                    self.answer_ask(token, Err(Denied { no_engine, text, retry_after }));
                }
                pool::Output::Vacate { engine, owner } => {
                    self.mail(ShardId(0), owner, Mail::Vacate { engine, leave: true });
                }
                pool::Output::Stay { engine, owner } => {
                    self.mail(ShardId(0), owner, Mail::Vacate { engine, leave: false });
                }
                pool::Output::EngineUp { .. }
                | pool::Output::EngineDown { .. }
                | pool::Output::Warning { .. }
                | pool::Output::Changed => {}
                pool::Output::Resolve { .. }
                | pool::Output::FetchOrchestrator { .. }
                | pool::Output::WatchFile { .. }
                | pool::Output::UnwatchFile { .. } => unreachable!("engines by address only"),
            }
        }
        self.pool.check_invariants();
    }

    fn answer_ask(&mut self, token: u64, granted: Result<Granted, Denied>) {
        let ask = self.asks.remove(&token).expect("every Select is answered once");
        let to = match ask {
            Ask::Session { shard, .. } | Ask::Query { shard, .. } => shard,
        };
        self.mail(ShardId(0), to, Mail::PoolReply { ask, granted });
    }

    fn pool_replied(&mut self, ask: Ask, granted: Result<Granted, Denied>) {
        match (ask, granted) {
            (Ask::Session { stream, generation, .. }, Ok(granted)) => {
                let Granted { engine, reservation, name } = granted;
                let reservation = reservation.expect("a session holds a place");
                self.granted(stream, generation, engine, reservation, name);
            }
            (Ask::Session { stream, generation, .. }, Err(denied)) => {
                let Denied { no_engine, text, retry_after } = denied;
                self.feed(stream, Input::Denied { generation, no_engine, text, retry_after });
            }
            (Ask::Query { shard, query, id }, Ok(granted)) => {
                self.query_engine(shard, query, id, granted.engine);
            }
            (Ask::Query { shard, query, .. }, Err(_)) => {
                let result = QueryReply::Unreachable;
                let input = resolver::Input::QueryResult { query, engine: None, result };
                self.after(Duration::ZERO, Event::QueryDone { shard, input });
            }
        }
    }

    pub(crate) fn probe_done(&mut self, engine: EngineId, generation: Generation) {
        let result = match self.engines[engine.0 as usize - 1].is_up(self.now) {
            true => Ok(Status { version: None }),
            false => Err(EngineFailure::Refused),
        };
        self.feed_pool(pool::Input::ProbeDone { engine, generation, result });
    }
}
