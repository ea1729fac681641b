//! The seeded simulator: the real brains in a bad world with a virtual clock.
//!
//! Every run sweeps 2 000 seeds. A seed draws a world (shards, engines, channels, viewers, settings)
//! and the probability of each fault; about half of the faults are off in each seed, so that rare
//! ones are not drowned. Nothing here opens a socket, reads a clock or sleeps. What the shard does
//! in the product, `homes`, `host` and `people` do here, with messages that take their time.
//!
//! `SIM_SEED=n cargo test --test sim -- --nocapture` replays one seed and prints what happened, behind
//! those from `SIM_FROM=n` on; `SIM_SEEDS=n` sweeps that many; with `SIM_COUNT=1` it goes on behind a
//! failure, and says how many of them fail: for mistakes that are made on purpose.

mod engines;
mod homes;
mod host;
mod ledger;
#[expect(clippy::wildcard_enum_match_arm, reason = "what a lost shard had is picked out of all")]
mod lost;
mod media;
mod orders;
mod people;
mod plan;
mod sockets;
mod world;

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use self::world::Totals;
use self::world::World;

/// Some 20 s of one core.
const SEEDS: u64 = 2_000;

/// Which slabs lie beside each other depends on the worlds before, and with it how long a send may be.
/// So memory is new for every so many seeds, and a seed that fails is replayed from there; new memory
/// for each seed would be more mappings than a process may have.
const SEEDS_PER_ARENA: u64 = 1_000;

fn run(seed: u64, is_traced: bool) -> Totals {
    let mut world = World::new(seed, is_traced);
    world.run();
    let totals = world.totals();
    drop(world);
    let arena = media::arena();
    assert_eq!(arena.slabs_free(), arena.slabs_total(), "memory is held for nobody");
    totals
}

#[test]
fn the_world_may_be_bad() {
    if let Some(seed) = number("SIM_SEED") {
        (number("SIM_FROM").unwrap_or(seed)..seed).for_each(|before| _ = run(before, false));
        run(seed, true);
        return;
    }
    let mut totals = Totals::default();
    let mut failed = Vec::new();
    let counts = number("SIM_COUNT").is_some();
    let begin = number("SIM_FROM").unwrap_or(0);
    let mut from = begin;
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    for seed in begin..begin + seeds {
        if seed - from == SEEDS_PER_ARENA {
            from = seed;
            media::renew_arena();
        }
        match catch_unwind(AssertUnwindSafe(|| run(seed, false))) {
            Ok(seen) => totals.add(&seen),
            Err(_) if counts => {
                failed.push(seed);
                println!("replay: SIM_FROM={from} SIM_SEED={seed} cargo test --test sim");
                // What a world that failed has left behind is no fault of the next one.
                from = seed + 1;
                media::renew_arena();
            }
            Err(_) => panic!("replay: SIM_FROM={from} SIM_SEED={seed} cargo test --test sim"),
        }
    }
    let first = &failed[..failed.len().min(16)];
    assert!(failed.is_empty(), "{} seeds fail, the first are {first:?}", failed.len());
    println!("{totals:?}");
    if begin == 0 {
        totals.assert_something_happened(seeds);
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
