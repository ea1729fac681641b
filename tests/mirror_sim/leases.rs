//! Several nodes want one stream's lease.
//!
//! Checked after every step: no epoch ever had two owners that knew of it; no two nodes believe in one
//! epoch; while no Redis forgets and no clock leaps, no two running nodes believe that they own;
//! a node's epoch never goes back. At the end, when nothing is bad any more: one owner, or none
//! when everybody has given it back.

use std::collections::BTreeMap;
use std::time::Duration;

use ringcast::base::prng::Prng;
use ringcast::base::time::Instant;
use ringcast::mirror::lease::Ask;
use ringcast::mirror::lease::Input;
use ringcast::mirror::lease::LEASE;
use ringcast::mirror::lease::Lease;
use ringcast::mirror::lease::Output;
use ringcast::mirror::lease::Reply;
use ringcast::mirror::lease::Standing;

use crate::Seen;
use crate::redis::Redis;

const STEP: Duration = Duration::from_millis(50);
const BAD_STEPS: u64 = 2_400;
const CALM_STEPS: u64 = 1_200;

/// In thousandths of each moment.
struct Faults {
    question_lost: u64,
    reply_lost: u64,
    reply_doubled: u64,
    late: u64,
    link_breaks: u64,
    node_stops: u64,
    node_restarts: u64,
    redis_stops: u64,
    redis_restarts: u64,
    clock_leaps: u64,
    releases: u64,
}

impl Faults {
    fn draw(prng: &mut Prng) -> Self {
        let calm = prng.chance(100);
        let mut often = |in_thousand: u64| {
            let is_off = prng.chance(500) || calm;
            let much = 1 + prng.below(in_thousand);
            if is_off { 0 } else { much }
        };
        Self {
            question_lost: often(400),
            reply_lost: often(400),
            reply_doubled: often(300),
            late: often(400),
            link_breaks: often(10),
            node_stops: often(5),
            node_restarts: often(3),
            redis_stops: often(5),
            redis_restarts: often(5),
            clock_leaps: often(5),
            releases: often(5),
        }
    }
}

struct Node {
    name: String,
    lease: Lease,
    /// Its clock's error against the world's, in ms.
    skew_ms: u64,
    link_up: bool,
    stopped_until: Instant,
    epoch: u64,
    released: bool,
}

enum Packet {
    Question { node: usize, life: String, ask: Ask },
    Reply { node: usize, life: String, number: u64, reply: Reply },
}

struct World {
    prng: Prng,
    /// Who first took an epoch for its own.
    believed: BTreeMap<u64, String>,
    faults: Faults,
    redis: Redis,
    redis_stopped_until: Instant,
    nodes: Vec<Node>,
    underway: Vec<(Instant, Packet)>,
    now: Instant,
    is_calm: bool,
    lives: u64,
    seen: Seen,
    is_traced: bool,
}

pub(crate) fn run(seed: u64, is_traced: bool) -> Seen {
    let mut prng = Prng::new(seed);
    let faults = Faults::draw(&mut prng);
    let now = Instant::from_micros(1_000_000_000);
    let mut world = World {
        believed: BTreeMap::new(),
        faults,
        redis: Redis::default(),
        redis_stopped_until: Instant::ZERO,
        nodes: Vec::new(),
        underway: Vec::new(),
        now,
        is_calm: false,
        lives: 0,
        seen: Seen::default(),
        is_traced,
        prng,
    };
    for _ in 0..2 + world.prng.below(2) {
        let node = world.new_node();
        world.nodes.push(node);
    }
    for _ in 0..BAD_STEPS {
        world.step();
    }
    world.is_calm = true;
    for _ in 0..CALM_STEPS {
        world.step();
    }
    world.check_the_end();
    world.seen.takeovers = world.redis.takeovers;
    world.seen.grants = world.redis.granted.len() as u64;
    world.seen
}

impl World {
    fn new_node(&mut self) -> Node {
        self.lives += 1;
        let skewed = self.prng.chance(500);
        Node {
            name: format!("n:1:{:08x}", self.lives),
            lease: Lease::new(0, true, self.now),
            skew_ms: if skewed { self.prng.below(7_200_000) } else { 3_600_000 },
            link_up: true,
            stopped_until: Instant::ZERO,
            epoch: 0,
            released: false,
        }
    }

    fn chance(&mut self, in_thousand: u64) -> bool {
        !self.is_calm && self.prng.chance(in_thousand)
    }

    fn trace(&self, what: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{:?} {}", self.now, what());
        }
    }

    fn step(&mut self) {
        self.now = self.now + STEP;
        self.bad_luck();
        self.deliver();
        for at in 0..self.nodes.len() {
            self.node_step(at);
        }
        self.check();
    }

    fn bad_luck(&mut self) {
        if self.chance(self.faults.redis_restarts) {
            self.trace(|| "redis restarts empty".to_owned());
            self.seen.restarts += 1;
            self.redis.forget();
        }
        if self.chance(self.faults.redis_stops) {
            self.redis_stopped_until = self.now + Duration::from_millis(self.prng.below(30_000));
        }
        if self.chance(self.faults.clock_leaps) {
            let leap = Duration::from_millis(self.prng.below(20_000));
            self.redis.leap += leap;
            self.trace(|| format!("redis' clock leaps by {leap:?}"));
        }
        for at in 0..self.nodes.len() {
            if self.chance(self.faults.node_stops) {
                let long = Duration::from_millis(self.prng.below(40_000));
                self.nodes[at].stopped_until = self.now + long;
                self.trace(|| format!("{} is stopped for {long:?}", self.nodes[at].name));
            }
            if self.chance(self.faults.node_restarts) {
                self.nodes[at] = self.new_node();
            }
            if self.chance(self.faults.link_breaks) {
                self.nodes[at].link_up = !self.nodes[at].link_up;
                let up = self.nodes[at].link_up;
                self.nodes[at].lease.handle(Input::Link { up }, self.now);
            } else if !self.nodes[at].link_up && (self.is_calm || self.prng.chance(20)) {
                self.nodes[at].link_up = true;
                self.nodes[at].lease.handle(Input::Link { up: true }, self.now);
            }
            if self.chance(self.faults.releases) && !self.nodes[at].released {
                self.trace(|| format!("{} gives it back", self.nodes[at].name));
                self.nodes[at].released = true;
                self.nodes[at].lease.handle(Input::Release, self.now);
            }
        }
    }

    fn node_step(&mut self, at: usize) {
        if self.nodes[at].stopped_until > self.now {
            return;
        }
        let now = self.now;
        if self.nodes[at].lease.poll_timeout().is_some_and(|due| due <= now) {
            self.nodes[at].lease.handle_timeout(now);
        }
        while let Some(output) = self.nodes[at].lease.poll_output() {
            match output {
                Output::Ask(ask) => self.send(at, ask),
                Output::Changed(standing) => {
                    self.trace(|| format!("{}: {standing:?}", self.nodes[at].name));
                    if let Standing::Owned { epoch } = standing {
                        let node = &mut self.nodes[at];
                        assert!(epoch >= node.epoch, "{} goes back to {epoch}", node.name);
                        node.epoch = epoch;
                    }
                    let unknown = matches!(standing, Standing::Unknown { .. });
                    self.seen.unknown += u64::from(unknown);
                }
            }
        }
        self.nodes[at].lease.check_invariants();
        if self.nodes[at].released && self.nodes[at].lease.is_over() && self.prng.chance(20) {
            self.nodes[at] = self.new_node();
        }
    }

    fn delay(&mut self) -> Duration {
        let late = self.chance(self.faults.late);
        Duration::from_millis(self.prng.below(if late { 15_000 } else { 100 }))
    }

    fn send(&mut self, node: usize, ask: Ask) {
        if self.chance(self.faults.question_lost) {
            self.seen.lost += 1;
            return;
        }
        let at = self.now + self.delay();
        let life = self.nodes[node].name.clone();
        self.underway.push((at, Packet::Question { node, life, ask }));
    }

    /// In any order: what was sent over a connection that broke may come after what followed it.
    fn deliver(&mut self) {
        let now = self.now;
        let stopped = self.redis_stopped_until > now;
        let mut due = Vec::new();
        let nodes = &self.nodes;
        self.underway.retain_mut(|(at, packet)| {
            let waits = match packet {
                Packet::Question { .. } => stopped,
                Packet::Reply { node, .. } => nodes[*node].stopped_until > now,
            };
            if *at > now || waits {
                return true;
            }
            let empty = Packet::Reply {
                node: 0,
                life: String::new(),
                number: 0,
                reply: Reply::Free { epoch: 0 },
            };
            due.push(std::mem::replace(packet, empty));
            false
        });
        for packet in due {
            match packet {
                Packet::Question { node, life, ask } => self.answer(node, life, ask),
                Packet::Reply { node, life, number, reply } => {
                    if self.nodes[node].name == life {
                        self.nodes[node].lease.handle(Input::Answered { number, reply }, now);
                    }
                }
            }
        }
    }

    fn answer(&mut self, node: usize, life: String, ask: Ask) {
        let clock_ms = self.now.as_micros() / 1_000 + self.nodes[node].skew_ms;
        let start = ask.start(clock_ms, self.prng.next_u64());
        let reply = self.redis.run(&life, ask.verb, start, self.now);
        self.trace(|| format!("{life} {:?}: {reply:?}", ask.verb));
        let copies = 1 + u64::from(self.chance(self.faults.reply_doubled));
        for _ in 0..copies {
            if self.chance(self.faults.reply_lost) {
                self.seen.lost += 1;
                continue;
            }
            let at = self.now + self.delay();
            let (life, reply) = (life.clone(), reply.clone());
            self.underway.push((at, Packet::Reply { node, life, number: ask.number, reply }));
        }
    }

    fn check(&mut self) {
        let running = self.nodes.iter().filter(|node| node.stopped_until <= self.now);
        let owners: Vec<(&str, u64)> = running
            .filter_map(|node| match node.lease.standing() {
                Standing::Owned { epoch } => Some((node.name.as_str(), *epoch)),
                Standing::Unowned
                | Standing::Unknown { .. }
                | Standing::Held { .. }
                | Standing::Foreign { .. }
                | Standing::Released => None,
            })
            .collect();
        for (at, (name, epoch)) in owners.iter().enumerate() {
            for (other, same) in &owners[at + 1..] {
                assert_ne!(epoch, same, "{name} and {other} believe in one epoch");
            }
        }
        for (name, epoch) in &owners {
            let first = self.believed.entry(*epoch).or_insert_with(|| (*name).to_owned());
            assert_eq!(first, name, "epoch {epoch} has had two owners");
        }
        let remembers = self.faults.redis_restarts == 0 && self.faults.clock_leaps == 0;
        assert!(!remembers || owners.len() <= 1, "two owners: {owners:?}");
    }

    fn check_the_end(&mut self) {
        let in_redis = self.redis.owner(self.now).map(str::to_owned);
        let wanting = self.nodes.iter().filter(|node| !node.released).count();
        let owners: Vec<&Node> = self
            .nodes
            .iter()
            .filter(|node| matches!(node.lease.standing(), Standing::Owned { .. }))
            .collect();
        assert_eq!(
            owners.len(),
            usize::from(wanting > 0),
            "{wanting} want it, calm since a minute"
        );
        assert_eq!(owners.first().map(|node| node.name.clone()), in_redis);
        for node in &self.nodes {
            assert!(!node.released || node.lease.is_over());
            if node.lease.standing().epoch() > 0 && !node.released {
                assert!(node.lease.known() >= node.epoch);
            }
        }
        const { assert!(STEP.as_millis() as u64 * CALM_STEPS > 4 * LEASE.as_millis() as u64) };
    }
}
