//! The mirror's brains in a bad world: leases of several nodes, the book of one, and the sessions of
//! several nodes that share an engine.
//!
//! Every run sweeps 256 seeds of each. A seed draws which faults there are (about half are off in
//! each): questions and replies that are lost, late or doubled, connections that break, nodes that
//! are stopped and go on later, a Redis that stops, restarts empty or whose clock leaps, clocks of
//! nodes that disagree, queues that overflow. No socket, no clock, no sleep.
//!
//! `SIM_SEED=n cargo test --test mirror_sim -- --nocapture` replays one seed with what happened;
//! `SIM_SEEDS=n` sweeps that many.

#![allow(clippy::print_stdout, reason = "a seed that is replayed tells what happened")]

mod contention;
mod leases;
mod pages;
mod redis;

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

const SEEDS: u64 = 256;

#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    grants: u64,
    lost: u64,
    takeovers: u64,
    restarts: u64,
    unknown: u64,
    resyncs: u64,
    pages: u64,
    contended: u64,
    fights: u64,
}

impl Seen {
    fn add(&mut self, more: &Self) {
        self.grants += more.grants;
        self.lost += more.lost;
        self.takeovers += more.takeovers;
        self.restarts += more.restarts;
        self.unknown += more.unknown;
        self.resyncs += more.resyncs;
        self.pages += more.pages;
        self.contended += more.contended;
        self.fights += more.fights;
    }
}

fn sweep(name: &str, run: fn(u64, bool) -> Seen) -> Seen {
    let mut all = Seen::default();
    if let Some(seed) = number("SIM_SEED") {
        return run(seed, true);
    }
    for seed in 0..number("SIM_SEEDS").unwrap_or(SEEDS) {
        match catch_unwind(AssertUnwindSafe(|| run(seed, false))) {
            Ok(seen) => all.add(&seen),
            Err(_) => panic!("replay: SIM_SEED={seed} cargo test --test mirror_sim {name}"),
        }
    }
    println!("{name}: {all:?}");
    all
}

#[test]
fn no_epoch_has_two_owners() {
    let seen = sweep("no_epoch_has_two_owners", leases::run);
    if number("SIM_SEED").is_none() {
        let Seen { grants, lost, takeovers, restarts, unknown, .. } = seen;
        assert!(grants > 0 && lost > 0 && takeovers > 0 && restarts > 0 && unknown > 0, "{seen:?}");
    }
}

#[test]
fn redis_says_what_is_so_in_the_end_and_closes_nobody() {
    let seen = sweep("redis_says_what_is_so_in_the_end_and_closes_nobody", pages::run);
    if number("SIM_SEED").is_none() {
        assert!(
            seen.resyncs > 0 && seen.pages > 0 && seen.lost > 0 && seen.restarts > 0,
            "{seen:?}"
        );
    }
}

#[test]
fn nodes_that_share_an_engine_do_not_fight_for_ever() {
    let seen = sweep("nodes_that_share_an_engine_do_not_fight_for_ever", contention::run);
    if number("SIM_SEED").is_none() {
        assert!(seen.contended > 0 && seen.fights > 0, "{seen:?}");
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
