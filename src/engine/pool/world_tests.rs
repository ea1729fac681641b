//! A random world: engines come, go, refuse and hang; shards select and release. An oracle counts:
//! every select is answered once, no engine is above its limit, nothing is left at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::tests::Bench;
use super::tests::address;
use super::*;
use crate::base::prng::Prng;

#[test]
fn random_worlds_keep_every_promise() {
    for seed in 0..200 {
        World::new(seed).run();
    }
}

struct World {
    prng: Prng,
    bench: Bench,
    held: BTreeMap<Reservation, (EngineId, ShardId)>,
    seed: u64,
}

impl World {
    const SPECS: [&str; 4] = [
        "10.0.0.1,max=2 10.0.0.2,forwarded dns:tasks:6878",
        "10.0.0.1,max=2 10.0.0.2",
        "10.0.0.2 dns:tasks:6878",
        "",
    ];

    fn new(seed: u64) -> Self {
        let bench = Bench::with_limit(Self::SPECS[0], 3);
        Self { prng: Prng::new(seed), bench, held: BTreeMap::new(), seed }
    }

    fn run(&mut self) {
        for _ in 0..300 {
            self.step();
            self.check();
        }
        let held: Vec<_> = self.held.keys().copied().collect();
        for reservation in held {
            self.bench.handle(Input::Release { reservation });
        }
        assert_eq!(self.bench.pool.sessions(), 0, "seed {}", self.seed);
    }

    fn step(&mut self) {
        let shard = ShardId(self.prng.below(3) as u8);
        let ip = format!("10.0.0.{}:6878", 1 + self.prng.below(5));
        let engine = EngineId(1 + self.prng.below(12) as u32);
        match self.prng.below(16) {
            0..=5 => self.select(shard, engine),
            6..=8 => self.release(),
            9 => drop(self.bench.refusing.insert(address(&ip))),
            10 => drop(self.bench.silent.insert(address(&ip))),
            11 => {
                self.bench.refusing.remove(&address(&ip));
                self.bench.silent.remove(&address(&ip));
            }
            12 => {
                let ms = self.prng.below(8_000);
                self.bench.advance(self.bench.now + Duration::from_millis(ms));
            }
            13 => {
                let all = ["10.0.0.3", "10.0.0.4", "10.0.0.5"];
                let from = self.prng.below(3) as usize;
                self.bench.resolve("tasks", &all[from..]);
            }
            14 => self.disturb(shard, engine, &ip),
            _ => {
                let at = self.prng.below(Self::SPECS.len() as u64) as usize;
                self.bench.configure(Self::SPECS[at]);
            }
        }
    }

    fn disturb(&mut self, shard: ShardId, engine: EngineId, ip: &str) {
        let input = match self.prng.below(4) {
            0 => {
                let its = self.held.iter().filter(|(_, (_, owner))| *owner == shard);
                let kept: Vec<_> = its.map(|(at, _)| *at).filter(|at| at.0 % 2 == 0).collect();
                self.held.retain(|at, (_, owner)| *owner != shard || kept.contains(at));
                Input::ReleaseAll { owner: shard, kept }
            }
            1 => Input::ConnectFailed { engine, address: address(ip) },
            2 => Input::Outcome { engine, result: Err(Failure::Silent) },
            _ => Input::Drain { engine, draining: self.prng.chance(500) },
        };
        self.bench.handle(input);
    }

    fn select(&mut self, owner: ShardId, engine: EngineId) {
        let [exclude, prefer_not, query] = [0; 3].map(|_: u8| self.prng.chance(200));
        let result = self.bench.select_with(|select| {
            select.owner = owner;
            select.exclude = if exclude { vec![engine] } else { vec![] };
            select.prefer_not = prefer_not.then_some(engine);
            select.need = if query { Need::Query } else { Need::Session };
        });
        let Ok(granted) = result else { return };
        assert!(!(exclude && granted.engine == engine));
        assert_eq!(granted.reservation.is_none(), query);
        if let Some(reservation) = granted.reservation {
            let old = self.held.insert(reservation, (granted.engine, owner));
            assert!(old.is_none(), "a reservation is granted once");
        }
    }

    fn release(&mut self) {
        let at = self.prng.below(self.held.len() as u64) as usize;
        if let Some(reservation) = self.held.keys().nth(at).copied() {
            self.held.remove(&reservation);
            self.bench.handle(Input::Release { reservation });
        }
    }

    fn check(&self) {
        let mut counts = BTreeMap::<EngineId, u32>::new();
        for (engine, _) in self.held.values() {
            *counts.entry(*engine).or_default() += 1;
        }
        for row in self.bench.pool.rows() {
            let count = counts.remove(&row.id).unwrap_or(0);
            assert_eq!(row.sessions, count, "seed {}: {row:?}", self.seed);
            // An engine keeps its sessions when a reload takes its own max away or gives it one.
            assert!(count <= row.max.unwrap_or(3).max(3), "seed {}: {row:?}", self.seed);
        }
        assert!(counts.is_empty(), "seed {}: reservations on unknown engines", self.seed);
        let up = self.bench.pool.engines_up();
        assert!(up <= self.bench.pool.rows().len());
    }
}
