//! Two processes and one Redis.

use super::SECOND;
use super::await_clients;
use super::await_state;
use super::mirrored;
use super::path_of;
use super::with_short_times;
use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::Watch;
use crate::rig::eventually;
use crate::rig::redis::Delay;
use crate::rig::redis::Redis;
use crate::rig::redis::View;
use ace_emulator::Channel;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use rustix::process::Signal;

fn pair(redis: &Redis, n: u32) -> ([Emulator; 2], [Server; 2]) {
    let engines = [rig::engine(rig::one_channel(n)), rig::engine(rig::one_channel(n))];
    let servers = [0, 1].map(|at| {
        let server = mirrored(&[&engines[at]], &redis.url()).start().ready();
        await_state(&server, "up");
        server
    });
    (engines, servers)
}

/// The nodes do not know where to reach each other: each plays for itself, and each leaves the
/// other's records alone.
#[test]
fn two_processes_share_one_redis_and_not_their_viewers() {
    let redis = Redis::start();
    let (engines, [one, two]) = pair(&redis, 2_100);
    let infohash = rig::infohash(2_100);
    let mut view = View::new(redis.client());
    let here = Watch::of(Player::open(one.address, &path_of(&infohash)));
    await_clients(&mut view, &infohash, &[&here.id]);
    let owner = eventually("an owner", || view.owner(&infohash));
    let epoch = view.epoch(&infohash);
    let there = Watch::of(Player::open(two.address, &path_of(&infohash)));
    await_clients(&mut view, &infohash, &[&here.id, &there.id]);
    let worker = |view: &mut View, id: &str| view.client(&infohash, id)["worker_id"].clone();
    let (first, second) = (worker(&mut view, &here.id), worker(&mut view, &there.id));
    assert_ne!(first, second);
    assert_eq!(owner, first);
    let workers = view.global("workers");
    let mut both = [first.clone(), second.clone()];
    both.sort();
    assert_eq!(view.members(&workers), both);
    for name in &both {
        let key = view.key(&infohash, &format!("worker:{name}"));
        eventually("one viewer on each", || {
            (view.text(&key).as_deref() == Some("1")).then_some(())
        });
    }
    // The second one does not take what is held, not after several refreshes either.
    let leases = rig::throughout(std::time::Duration::from_millis(3_500), || {
        view.owner(&infohash).as_deref() == Some(&*first) && view.epoch(&infohash) == epoch
    });
    assert!(leases, "{:?} {:?}", view.owner(&infohash), view.epoch(&infohash));
    let metadata = view.metadata(&infohash);
    assert_eq!(metadata["owner"], first);

    // The owner goes in order; the other's viewer, record and stream stay, and the lease is its.
    here.leave_unbroken();
    assert!(one.stop().success());
    await_clients(&mut view, &infohash, &[&there.id]);
    eventually("the other one to own it", || {
        (view.owner(&infohash).as_deref() == Some(&*second)).then_some(())
    });
    assert!(view.epoch(&infohash) > epoch, "a new owner has a new epoch");
    eventually("the worker to be gone", || {
        (view.members(&workers) == [second.clone()]).then_some(())
    });
    there.await_more(SECOND);
    assert!(view.state(&infohash).as_deref() == Some("active"));
    there.leave_unbroken();
    engines.iter().for_each(|engine| rig::await_stops(engine, 1));
}

/// What a process that is gone leaves behind goes too: by its time to live, and what has to be
/// looked for by the other one's sweep.
#[test]
fn what_a_killed_process_left_behind_goes() {
    let redis = Redis::start();
    let (_engines, [mut one, two]) = pair(&redis, 2_102);
    let infohash = rig::infohash(2_102);
    let mut view = View::new(redis.client());
    let mut ghosts: Vec<Player> =
        (0..3).map(|_| Player::open(one.address, &path_of(&infohash))).collect();
    let ids: Vec<String> = ghosts.iter().map(Player::id).collect();
    rig::play_together(&mut ghosts, SECOND);
    await_clients(&mut view, &infohash, &[&ids[0], &ids[1], &ids[2]]);
    let first = eventually("an owner", || view.owner(&infohash));
    one.signal(Signal::KILL);
    one.wait();
    // Two seconds, and the ghosts' time begins.
    let there = Watch::of(Player::open(two.address, &path_of(&infohash)));
    await_clients(&mut view, &infohash, &[&there.id]);
    let owner =
        eventually("the lease to pass", || view.owner(&infohash).filter(|owner| *owner != first));
    assert_eq!(owner, view.client(&infohash, &there.id)["worker_id"]);
    // Of a worker whose name another node has swept already.
    let load = view.global("engine:e0:load");
    view.call(&["HSET", &load, "gone:7:00000007", "3"]);
    eventually("its sessions to go, and only those", || {
        let load = view.hash(&load);
        (!load.contains_key("gone:7:00000007") && load.contains_key(&owner)).then_some(())
    });
    let worker = view.key(&infohash, &format!("worker:{first}"));
    eventually("its count to go", || (!view.exists(&worker)).then_some(()));
    there.leave_unbroken();
}

/// An engine plays a content for one of them only: the owner goes back to it at once, the other one
/// gives way.
#[test]
fn the_owner_of_a_stream_keeps_the_engine_that_another_node_opens_it_on() {
    let redis = Redis::start();
    let engine = rig::engine(rig::one_channel(2_106));
    let [one, two] = [0, 1].map(|_| {
        let server = mirrored(&[&engine], &redis.url()).start().ready();
        await_state(&server, "up");
        server
    });
    let infohash = rig::infohash(2_106);
    let mut view = View::new(redis.client());
    let here = Watch::of(Player::open(one.address, &path_of(&infohash)));
    let owner = eventually("an owner", || view.owner(&infohash));
    let there = Player::ask(two.address, &path_of(&infohash));
    let is_back = |control: &ace_emulator::Control| control.counters().sessions_opened >= 3;
    assert!(engine.control().wait_for(20_000, is_back), "taken, and taken back");
    here.await_more(4 * SECOND);
    assert_eq!(view.owner(&infohash), Some(owner));
    let counters = engine.control().counters();
    assert_eq!((counters.stops, counters.superseded_stops), (0, 0), "{counters:?}");
    assert!(!here.has_ended(), "its viewers are kept");
    let report = here.end().report();
    assert!(report.is_lawful(), "{report:?}");
    drop(there);
}

/// Each knows what the other one has on the engines that they share.
#[test]
fn nodes_that_share_engines_spread_over_them() {
    let redis = Redis::start();
    let other = || Channel::signed(&rig::infohash(2_109)).bitrate_bps(8 * SECOND);
    let [a, b] = [0, 1].map(|_| rig::engine(rig::one_channel(2_108).channel(other())));
    let specs = format!("{},name=a,forwarded {},name=b", a.addr(), b.addr());
    let start = || {
        let start = with_short_times(Server::with_specs(&specs), &redis.url());
        let server = start.set("PROXY_GRACE_PERIOD", "0").start().ready();
        eventually("both engines to be up", || {
            let rows = server.api("/api/v1/engines");
            let up = rows["engines"].as_array()?.iter().filter(|row| row["state"] == "up").count();
            (up == 2).then_some(())
        });
        server
    };
    let one = start();
    let here = Watch::of(Player::open(one.address, &path_of(&rig::infohash(2_108))));
    assert_eq!(a.control().sessions_open(), 1, "the forwarded one of equals");
    let mut view = View::new(redis.client());
    let load = view.global("engine:a:load");
    eventually("it to be told", || (view.hash(&load).len() == 1).then_some(()));
    // Alone it would begin on the forwarded one, too.
    let two = start();
    eventually("the other node to begin elsewhere", || {
        let player = Player::open(two.address, &path_of(&rig::infohash(2_109)));
        let is_elsewhere = b.control().sessions_open() == 1;
        player.leave();
        eventually("its session to be stopped", || {
            (a.control().sessions_open() + b.control().sessions_open() == 1).then_some(())
        });
        is_elsewhere.then_some(())
    });
    here.leave_unbroken();
}

/// Where there are other nodes, a cold start waits for a moment for the word whose the stream is.
#[test]
fn a_cold_start_among_nodes_opens_when_redis_has_said_whose_it_is() {
    let redis = Redis::start();
    let slow = Delay::before(redis.address(), 0);
    let channels = rig::one_channel(2_104).knob(Knob::AnyInfohash, true);
    let engine = rig::engine(channels.knob(Knob::AnyBitrateBps, 8 * SECOND));
    let start = mirrored(&[&engine], &slow.url());
    let server = start.set("RINGCAST_NODE_URL", "http://10.9.8.7:8878").start().ready();
    await_state(&server, "up");
    // An answer takes longer than an open would: without the wait there would be no owner yet.
    slow.set_ms(75);
    let infohash = rig::infohash(2_104);
    let mut view = View::new(redis.client());
    let asked = Player::ask(server.address, &path_of(&infohash));
    let opened = |control: &ace_emulator::Control| control.counters().sessions_opened > 0;
    assert!(engine.control().wait_for(20_000, opened), "it is opened");
    assert!(view.owner(&infohash).is_some(), "opened before Redis had answered");
    let mut player = asked.begin();
    assert!(player.play(SECOND).is_unbroken());
    player.leave();
    // Without Redis the next one starts as ever.
    drop(redis);
    await_state(&server, "down");
    let mut other = Player::open(server.address, &path_of(&rig::infohash(2_105)));
    assert!(other.play(SECOND).is_unbroken());
}
