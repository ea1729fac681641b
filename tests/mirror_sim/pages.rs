//! One node's book between shards that know the truth and a Redis that may lose everything, and that
//! another node uses, too.
//!
//! Checked: nobody is told to stop a viewer or a stream unless somebody said so; at the end, when
//! nothing is bad any more, Redis says exactly which viewers there are of each stream, and how
//! many, with all fields of each; what has ended is not there, or ends by itself.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use ringcast::base::ids::Infohash;
use ringcast::base::ids::ViewerId;
use ringcast::base::prng::Prng;
use ringcast::base::time::Instant;
use ringcast::base::time::Wall;
use ringcast::mirror::Order;
use ringcast::mirror::Record;
use ringcast::mirror::book::Book;
use ringcast::mirror::book::Input;
use ringcast::mirror::book::Output;
use ringcast::mirror::book::Page;
use ringcast::mirror::book::Question;
use ringcast::mirror::lease::Ask;
use ringcast::mirror::lease::Reply;
use ringcast::mirror::lease::Verb;
use ringcast::mirror::outbox::Inbound;
use ringcast::mirror::outbox::Outbox;
use ringcast::mirror::outbox::Table;
use ringcast::mirror::outbox::ViewerWrite;
use ringcast::mirror::outbox::Waker;
use ringcast::mirror::outbox::queue;
use ringcast::mirror::records::StreamFacts;
use ringcast::mirror::records::StreamOver;
use ringcast::mirror::records::ViewerFacts;
use ringcast::mirror::records::ViewerGone;
use ringcast::mirror::records::ViewerStats;

use crate::Seen;
use crate::redis::Redis;

const STEP: Duration = Duration::from_millis(100);
const BAD_STEPS: u64 = 900;
const CALM_STEPS: u64 = 900;
const SHARDS: usize = 2;
const STREAMS: u64 = 4;
const VIEWERS_MAX: usize = 16;
const ME: &str = "here:1:00000001";
const THERE: &str = "there:1:00000002";

/// A viewer's record ends by itself, unless it is refreshed.
const CLIENT_TTL: Duration = Duration::from_secs(20);
const REFRESH_STEPS: u64 = 50;
const THEIR_STEPS: u64 = 30;

struct Quiet;

impl Waker for Quiet {
    fn wake(&self) {}
}

#[derive(Default)]
struct Shard {
    streams: BTreeSet<u8>,
    viewers: BTreeMap<ViewerId, u8>,
    telling: Option<u32>,
}

/// A viewer's record.
#[derive(Clone, Copy)]
struct Client {
    until: Instant,
    /// Not only the numbers that are refreshed.
    is_whole: bool,
}

struct World {
    prng: Prng,
    bad: [u64; 7],
    book: Book,
    shards: Vec<(Shard, Outbox, Inbound)>,
    leases: BTreeMap<Infohash, Redis>,
    /// What the other node owns, as far as it knows.
    theirs: BTreeMap<Infohash, u64>,
    /// Members of each stream's set.
    clients: BTreeMap<Infohash, BTreeMap<ViewerId, Client>>,
    counts: BTreeMap<Infohash, usize>,
    link_up: bool,
    page: Option<Page>,
    stalled_until: Instant,
    now: Instant,
    steps: u64,
    is_calm: bool,
    next_viewer: u64,
    seen: Seen,
}

pub(crate) fn run(seed: u64, is_traced: bool) -> Seen {
    let mut prng = Prng::new(seed ^ 0xB00C);
    let bad = std::array::from_fn(|_| if prng.chance(500) { 0 } else { 1 + prng.below(30) });
    // Room for all that there is at once, and so little more that it overflows now and then.
    let entries_max = SHARDS * VIEWERS_MAX + STREAMS as usize + prng.below(60) as usize;
    let records_max = VIEWERS_MAX + STREAMS as usize + 2 + prng.below(20) as usize;
    let shard = |_| {
        let (outbox, inbound) = queue(records_max, std::sync::Arc::new(Quiet));
        (Shard::default(), outbox, inbound)
    };
    let mut world = World {
        prng,
        bad,
        book: Book::new(ME, Wall::from_unix_ms(0), SHARDS, Table::new(entries_max)),
        shards: (0..SHARDS).map(shard).collect(),
        leases: BTreeMap::new(),
        theirs: BTreeMap::new(),
        clients: BTreeMap::new(),
        counts: BTreeMap::new(),
        link_up: false,
        page: None,
        stalled_until: Instant::ZERO,
        now: Instant::from_micros(1_000_000_000),
        steps: 0,
        is_calm: false,
        next_viewer: 0,
        seen: Seen::default(),
    };
    for _ in 0..BAD_STEPS {
        world.step();
    }
    world.is_calm = true;
    for _ in 0..CALM_STEPS {
        world.step();
    }
    if is_traced {
        println!("{:?}", world.seen);
    }
    world.check_the_end();
    world.seen
}

fn stream(n: u8) -> Infohash {
    Infohash::from_bytes([n + 1; 20])
}

impl World {
    fn bad(&mut self, fault: usize) -> bool {
        !self.is_calm && self.prng.chance(self.bad[fault])
    }

    fn step(&mut self) {
        self.now = self.now + STEP;
        self.steps += 1;
        if !self.is_calm {
            self.live();
        }
        self.refresh();
        self.tell_all();
        for at in 0..SHARDS {
            if self.bad(0) {
                self.stalled_until = self.now + Duration::from_millis(self.prng.below(5_000));
            }
            if self.now < self.stalled_until {
                continue; // The mirror's thread does not get to it.
            }
            while let Some(record) = self.shards[at].2.pop() {
                self.input(Input::Told { shard: at, record });
            }
            if self.shards[at].2.take_overflow() {
                self.input(Input::Overflow);
            }
        }
        self.redis_step();
        self.other_node();
        self.book.handle_timeout(self.now);
        self.outputs();
    }

    /// Streams and viewers come and go.
    fn live(&mut self) {
        let n = self.prng.below(STREAMS) as u8;
        let owner = usize::from(n) % SHARDS;
        if self.prng.chance(100) {
            let is_new = self.shards[owner].0.streams.insert(n);
            if is_new {
                self.tell(owner, Record::Stream(Box::new(self.facts(n))));
            }
        }
        let at = self.prng.below(SHARDS as u64) as usize;
        let has_room = self.shards[at].0.viewers.len() < VIEWERS_MAX;
        if has_room && self.prng.chance(400) && self.shards[owner].0.streams.contains(&n) {
            self.next_viewer += 1;
            let id = ViewerId((at as u64) << 56 | self.next_viewer);
            self.shards[at].0.viewers.insert(id, n);
            let viewer = self.viewer(id, n, true);
            self.tell(at, viewer);
        }
        if self.prng.chance(200)
            && let Some((id, n)) = self.shards[at].0.viewers.pop_first()
        {
            self.tell_gone(at, id, n);
        }
        if self.prng.chance(20) && self.shards[owner].0.streams.remove(&n) {
            for at in 0..SHARDS {
                let theirs = self.shards[at].0.viewers.clone();
                for (id, _) in theirs.into_iter().filter(|(_, of)| *of == n) {
                    self.shards[at].0.viewers.remove(&id);
                    self.tell_gone(at, id, n);
                }
            }
            let over = StreamOver { facts: self.facts(n), reason: "idle", error: None };
            self.tell(owner, Record::StreamOver(Box::new(over)));
        }
    }

    fn tell(&mut self, at: usize, record: Record) {
        self.shards[at].1.tell(record);
    }

    fn tell_gone(&mut self, at: usize, id: ViewerId, n: u8) {
        let gone = ViewerGone {
            id,
            infohash: stream(n),
            agent: String::new(),
            reason: "left",
            bytes_sent: 0,
            seconds: 0.0,
            at: self.wall(),
        };
        self.tell(at, Record::ViewerGone(Box::new(gone)));
    }

    fn wall(&self) -> Wall {
        Wall::from_unix_ms(self.now.as_micros() / 1_000)
    }

    fn facts(&self, n: u8) -> StreamFacts {
        let at = self.wall();
        StreamFacts {
            infohash: stream(n),
            content_id: None,
            state: "active",
            state_changed_at: at,
            started_at: at,
            ready_at: Some(at),
            last_byte_at: Some(at),
            engine: None,
            is_live: true,
            is_encrypted: false,
            bitrate_bps: None,
            bytes_total: 0,
            peers: None,
            told_at: at,
        }
    }

    fn stats(&self, id: ViewerId, n: u8) -> ViewerStats {
        let at = self.wall();
        let infohash = stream(n);
        ViewerStats { id, infohash, last_active: at, bytes_sent: 0, behind_ms: 0, updated_at: at }
    }

    fn viewer(&self, id: ViewerId, n: u8, is_new: bool) -> Record {
        Record::Viewer(Box::new(ViewerFacts {
            stats: self.stats(id, n),
            address: None,
            agent: String::new(),
            name: None,
            connected_at: self.wall(),
            is_new,
        }))
    }

    fn refresh(&mut self) {
        if !self.steps.is_multiple_of(REFRESH_STEPS) {
            return;
        }
        for at in 0..SHARDS {
            for n in self.shards[at].0.streams.clone() {
                self.tell(at, Record::Stream(Box::new(self.facts(n))));
            }
            for (id, n) in self.shards[at].0.viewers.clone() {
                self.tell(at, Record::ViewerStats(self.stats(id, n)));
            }
        }
    }

    /// As the shards do: when there is room for all of it.
    fn tell_all(&mut self) {
        for at in 0..SHARDS {
            let Some(generation) = self.shards[at].0.telling else { continue };
            let shard = &self.shards[at].0;
            let (streams, viewers) = (shard.streams.clone(), shard.viewers.clone());
            if self.shards[at].1.room() <= streams.len() + viewers.len() {
                continue;
            }
            for n in streams {
                self.tell(at, Record::Stream(Box::new(self.facts(n))));
            }
            for (id, n) in viewers {
                let viewer = self.viewer(id, n, false);
                self.tell(at, viewer);
            }
            self.tell(at, Record::Synced { generation });
            self.shards[at].0.telling = None;
        }
    }

    fn input(&mut self, input: Input) {
        self.book.handle(input, self.now);
        self.outputs();
        self.book.table().check_invariants();
    }

    fn outputs(&mut self) {
        while let Some(output) = self.book.poll_output() {
            match output {
                Output::Ask(question) => self.ask(question),
                Output::Order { shard, order } => match order {
                    Order::Primed { .. } => unreachable!("not the book's to say"),
                    Order::TellAll { generation } => {
                        assert_eq!(shard, None);
                        self.seen.resyncs += 1;
                        for (shard, ..) in &mut self.shards {
                            shard.telling = Some(generation);
                        }
                    }
                    Order::Lease { .. } | Order::Loads(_) => {}
                    Order::StopViewer { .. } | Order::StopStream { .. } => {
                        panic!("nobody has asked for {order:?}")
                    }
                },
                Output::LookAtLoads(_)
                | Output::Subscribe(_)
                | Output::Unsubscribe(_)
                | Output::Foreign { .. } => {}
            }
        }
    }

    fn ask(&mut self, question: Question) {
        if !self.link_up || self.bad(1) {
            self.seen.lost += 1;
            return self.book.handle(Input::Lost { question }, self.now);
        }
        let redis = self.leases.entry(question.infohash).or_default();
        let start = question.ask.start(self.now.as_micros() / 1_000, self.next_viewer << 8);
        let reply = redis.run(ME, question.ask.verb, start, self.now);
        self.book.handle(Input::Answered { question, reply }, self.now);
    }

    /// It plays one of the streams for a while, and has the lease when nobody else has.
    fn other_node(&mut self) {
        let infohash = stream(self.prng.below(STREAMS) as u8);
        if self.bad(5) {
            self.theirs.entry(infohash).or_default();
        } else if self.is_calm || self.prng.chance(5) {
            let epoch = self.theirs.remove(&infohash).unwrap_or(0);
            self.ask_there(infohash, Verb::Release { epoch });
        }
        if !self.steps.is_multiple_of(THEIR_STEPS) {
            return;
        }
        for (infohash, epoch) in self.theirs.clone() {
            let mut reply = self.ask_there(infohash, Verb::Refresh { epoch });
            if epoch == 0 || matches!(reply, Reply::Free { .. }) {
                reply = self.ask_there(infohash, Verb::Acquire { known: epoch });
            }
            if let Reply::Owned { epoch } = reply {
                self.theirs.insert(infohash, epoch);
                self.seen.takeovers += 1;
            }
        }
    }

    fn ask_there(&mut self, infohash: Infohash, verb: Verb) -> Reply {
        let start = Ask { number: 0, verb }.start(self.now.as_micros() / 1_000, self.steps);
        self.leases.entry(infohash).or_default().run(THERE, verb, start, self.now)
    }

    fn redis_step(&mut self) {
        let breaks = self.bad(2);
        if self.link_up && breaks {
            self.link_up = false;
            // What was being written may have been, or not.
            if let Some(page) = self.page.take()
                && self.prng.chance(500)
            {
                self.apply(&page);
            }
            self.input(Input::LinkDown);
        } else if !self.link_up && (self.is_calm || self.prng.chance(100)) {
            self.link_up = true;
            self.input(Input::LinkUp);
        }
        // FLUSHALL: nobody is told.
        if self.bad(6) {
            self.seen.restarts += 1;
            self.forget();
        }
        if self.bad(3) {
            self.seen.restarts += 1;
            self.forget();
            self.link_up = false;
            self.page = None;
            self.input(Input::LinkDown);
        }
        if let Some(page) = self.page.take() {
            let ok = !self.bad(4);
            if ok {
                self.apply(&page);
            }
            self.input(Input::Written { ok });
        }
        if let Some(page) = self.book.page(self.now) {
            self.seen.pages += 1;
            self.page = Some(page);
        }
    }

    fn forget(&mut self) {
        self.leases.values_mut().for_each(Redis::forget);
        self.clients.clear();
        self.counts.clear();
    }

    fn apply(&mut self, page: &Page) {
        for (infohash, writes) in &page.batch.streams {
            let clients = self.clients.entry(*infohash).or_default();
            let until = self.now + CLIENT_TTL;
            for (id, write) in &writes.viewers {
                let before = clients.get(id).filter(|client| client.until > self.now);
                let is_whole = match write {
                    ViewerWrite::Full(..) => true,
                    ViewerWrite::Stats(..) => before.is_some_and(|client| client.is_whole),
                    ViewerWrite::Gone => {
                        clients.remove(id);
                        continue;
                    }
                };
                clients.insert(*id, Client { until, is_whole });
            }
            self.counts.insert(*infohash, page.crowds[infohash].viewers);
        }
    }

    fn check_the_end(&mut self) {
        let now = self.now;
        for n in 0..STREAMS as u8 {
            let owner = usize::from(n) % SHARDS;
            let runs = self.shards[owner].0.streams.contains(&n);
            let all = self.shards.iter().flat_map(|(shard, ..)| &shard.viewers);
            let truth: BTreeSet<ViewerId> =
                all.filter(|(_, of)| **of == n).map(|(id, _)| *id).collect();
            let clients = self.clients.get(&stream(n)).cloned().unwrap_or_default();
            let told: BTreeMap<_, _> = clients.iter().filter(|(_, it)| it.until > now).collect();
            assert!(told.keys().copied().eq(&truth), "viewers of stream {n}");
            let is_whole = told.values().all(|client| client.is_whole);
            assert!(is_whole, "a record of stream {n} has only numbers");
            if !truth.is_empty() {
                assert_eq!(self.counts.get(&stream(n)), Some(&truth.len()));
            }
            let redis = self.leases.entry(stream(n)).or_default();
            assert_eq!(redis.owner(now).is_some(), runs, "the lease of stream {n}");
        }
    }
}
