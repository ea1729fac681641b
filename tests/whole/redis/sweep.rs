//! What the dead left in places that the living keep alive is taken out, a little at a time, by one
//! of them, and nothing else is.

use super::await_clients;
use super::await_state;
use super::mirrored;
use super::path_of;
use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::Watch;
use crate::rig::eventually;
use crate::rig::redis::Monitor;
use crate::rig::redis::Redis;
use crate::rig::redis::View;
use std::collections::BTreeSet;

/// More than one command may name.
const DEAD: usize = 600;
const MEMBERS_MAX: usize = 256;

fn named(what: &str) -> Vec<String> {
    (0..DEAD).map(|n| format!("{what}:{n}:{n:08x}")).collect()
}

fn put(view: &mut View, verb: &str, key: &str, members: &[String], value: Option<&str>) {
    let mut words = vec![verb, key];
    for member in members {
        words.push(member);
        words.extend(value);
    }
    view.call(&words);
}

#[test]
fn one_of_two_nodes_sweeps_the_dead_in_bounded_steps() {
    let redis = Redis::start();
    let mut view = View::new(redis.client());
    let engine = rig::engine(rig::one_channel(2_106));
    let nodes: [Server; 2] = [0, 1].map(|_| {
        let start = mirrored(&[&engine], &redis.url()).set("PROXY_CLEANUP_INTERVAL", "1");
        let server = start.start().ready();
        await_state(&server, "up");
        server
    });
    let infohash = rig::infohash(2_106);
    let watch = Watch::of(Player::open(nodes[0].address, &path_of(&infohash)));
    await_clients(&mut view, &infohash, &[&watch.id]);
    let owner = eventually("an owner", || view.owner(&infohash));
    let (workers, load) = (view.global("workers"), view.global("engine:e0:load"));
    let clients = view.key(&infohash, "clients");
    let living = eventually("both nodes and the session", || {
        let living = view.members(&workers);
        (living.len() == 2 && view.hash(&load).contains_key(&owner)).then_some(living)
    });
    // Of another program: a stream that nobody here plays, with members that have no record.
    let foreign = rig::infohash(2_107);
    let (theirs, their_owner) = (view.key(&foreign, "clients"), view.key(&foreign, "owner"));
    view.call(&["SET", &their_owner, "orchestrator-1:17"]);
    put(&mut view, "SADD", &theirs, &named("client"), None);

    let monitor = Monitor::of(&redis);
    put(&mut view, "HSET", &load, &named("dead"), Some("1"));
    put(&mut view, "SADD", &clients, &named("ghost"), None);
    put(&mut view, "SADD", &workers, &named("dead"), None);
    eventually("all of the dead to go", || {
        let swept = view.members(&workers) == living
            && view.hash(&load).keys().eq([&owner])
            && view.members(&clients) == [watch.id.clone()];
        swept.then_some(())
    });
    let done = monitor.until_now(&mut redis.client());
    let mut sweepers = BTreeSet::new();
    for done in &done {
        let words: Vec<&str> = done.words.iter().map(String::as_str).collect();
        match *words.as_slice() {
            ["SREM" | "HDEL", key, ref members @ ..] => {
                assert!(members.len() <= MEMBERS_MAX, "{} members of {key}", members.len());
                assert_ne!(key, theirs);
                if key == workers {
                    sweepers.insert(done.by.clone());
                }
            }
            ["SSCAN", _, _, "COUNT", count] => {
                assert!(count.parse::<usize>().unwrap() <= MEMBERS_MAX, "{words:?}");
            }
            ["SCAN" | "HSCAN" | "SSCAN", ..] => panic!("not bounded: {words:?}"),
            _ => {}
        }
    }
    assert_eq!(sweepers.len(), 1, "one of the living: {sweepers:?}");
    assert_eq!(view.members(&theirs).len(), DEAD, "another program's");
    assert_eq!(view.text(&their_owner).as_deref(), Some("orchestrator-1:17"));
    watch.leave_unbroken();
}
