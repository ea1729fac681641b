//! The end of the process: every engine session is stopped once, and soon enough for a container.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::eventually;
use crate::slow::NARROW;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use rustix::process::Signal;
use std::time::Duration;

/// A container is killed 10 s after its SIGTERM; the contract says 8.
const DRAIN_MAX: Duration = Duration::from_secs(8);

fn engine_with(channels: std::ops::Range<u32>) -> Emulator {
    let add = |config: Config, n| {
        config.channel(Channel::signed(&rig::infohash(n)).bitrate_bps(1_000_000))
    };
    rig::engine(channels.fold(Config::default().knob(Knob::BurstBytes, 300_000_u64), add))
}

fn by_infohash(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(n))
}

#[test]
fn sigterm_stops_every_session_once_and_ends_every_viewer_in_order() {
    rig::steadily(every_session_is_stopped_once);
}

fn every_session_is_stopped_once() {
    let engines = [engine_with(300..312), engine_with(300..312)];
    let server = Server::with(&[&engines[0], &engines[1]]).start().ready();
    // Two viewers each, so that they sit on both shards.
    let mut players: Vec<_> =
        (0..24).map(|n| Player::open(server.address, &by_infohash(300 + n % 12))).collect();
    rig::play_together(&mut players, 150_000);
    let opened: Vec<u64> =
        engines.iter().map(|engine| engine.control().counters().sessions_opened).collect();
    assert_eq!(opened.iter().sum::<u64>(), 12);
    let waiting = Player::ask(server.address, &by_infohash(399));
    eventually("its start", || {
        let asked = engines.iter().map(|engine| engine.control().counters().getstreams);
        (asked.sum::<u64>() == 13).then_some(())
    });
    let begun = rig::stopwatch();
    server.signal(Signal::TERM);
    let refused = waiting.reply();
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "shutting_down"));
    for report in rig::play_out_together(&mut players) {
        assert!(report.is_unbroken(), "{report:?}");
    }
    let mut server = server;
    assert!(server.wait().success());
    // Every engine answers at once: nothing is waited out.
    assert!(begun.elapsed() < DRAIN_MAX / 2, "{:?}", begun.elapsed());
    server.await_lines(24, &["viewer end", "reason=drain"]);
    for engine in &engines {
        let counters = engine.control().counters();
        assert_eq!(counters.stops, counters.sessions_opened, "{counters:?}");
        assert_eq!((counters.double_stops, engine.control().sessions_open()), (0, 0));
    }
}

/// Players whose windows are shut, with more waiting for them than any buffer takes: nobody waits
/// for them for longer than a container waits for us.
#[test]
fn sigterm_does_not_wait_for_players_who_take_nothing() {
    rig::steadily(an_end_with_windows_shut);
}

fn an_end_with_windows_shut() {
    let channels = (350..353).fold(Config::default(), |config, n| {
        config.channel(Channel::signed(&rig::infohash(n)).bitrate_bps(8_000_000))
    });
    let engine = rig::engine(channels.knob(Knob::BurstBytes, 2_000_000_u64));
    let server = Server::with(&[&engine]).start().ready();
    let mut players: Vec<_> =
        (350..353).map(|n| Player::open(server.address, &by_infohash(n))).collect();
    rig::play_together(&mut players, 150_000);
    let stuck: Vec<rig::Asked> = rig::while_they_play(&mut players, || {
        let ask = |n: u32| Player::ask_narrow(server.address, &by_infohash(350 + n % 3), NARROW);
        let stuck = (0..24).map(ask).collect();
        eventually("two seconds that nobody takes", || {
            let listed = server.api("/api/v1/viewers");
            let rows = listed["viewers"].as_array()?;
            let behind = |row: &&serde_json::Value| row["seconds_behind"].as_f64() >= Some(2.0);
            (rows.iter().filter(behind).count() >= 24).then_some(())
        });
        stuck
    });
    let begun = rig::stopwatch();
    server.signal(Signal::TERM);
    for report in rig::play_out_together(&mut players) {
        assert!(report.is_unbroken(), "{report:?}");
    }
    let mut server = server;
    assert!(server.wait().success());
    let took = begun.elapsed();
    eprintln!("ended {took:?} after SIGTERM, with 24 shut windows");
    assert!(took < DRAIN_MAX, "{took:?}");
    server.await_lines(27, &["viewer end", "reason=drain"]);
    let counters = engine.control().counters();
    assert_eq!((counters.stops, counters.double_stops), (3, 0), "{counters:?}");
    assert_eq!(engine.control().sessions_open(), 0);
    drop(stuck);
}

#[test]
fn a_stop_that_hangs_is_waited_for_and_not_for_ever() {
    rig::steadily(a_stop_that_hangs);
}

fn a_stop_that_hangs() {
    let engine = engine_with(320..323);
    engine.control().set(Knob::HangStop, true);
    let server = Server::with(&[&engine]).start().ready();
    let players: Vec<_> =
        (320..323).map(|n| Player::open(server.address, &by_infohash(n))).collect();
    let begun = rig::stopwatch();
    let mut server = server;
    server.signal(Signal::INT);
    assert!(server.wait().success());
    assert!(begun.elapsed() < DRAIN_MAX, "{:?}", begun.elapsed());
    let counters = engine.control().counters();
    assert_eq!((counters.stops, counters.double_stops), (3, 0), "{counters:?}");
    drop(players);
}

#[test]
fn sigterm_during_a_cold_start_stops_what_was_opened() {
    rig::steadily(an_end_during_a_cold_start);
}

fn an_end_during_a_cold_start() {
    let channel = Channel::signed(&rig::infohash(330)).cold_start_ms(60_000);
    let engine = rig::engine(rig::quick(channel));
    let server = Server::with(&[&engine]).start().ready();
    let waiting = Player::ask(server.address, &by_infohash(330));
    assert!(engine.control().wait_for(60_000, |control| control.counters().playbacks == 1));
    let begun = rig::stopwatch();
    assert!(server.stop().success());
    assert!(begun.elapsed() < DRAIN_MAX / 2, "{:?}", begun.elapsed());
    assert_eq!(waiting.reply().status, 503);
    rig::await_stops(&engine, 1);
}

/// The engine has not even said what it opened: its reply is waited for, and then stopped.
#[test]
fn sigterm_during_an_opening_waits_for_its_reply() {
    rig::steadily(an_end_during_an_opening);
}

fn an_end_during_an_opening() {
    let channel = Channel::signed(&rig::infohash(340));
    let engine = rig::engine(rig::quick(Channel { resolve_ms: 2_000, ..channel }));
    let server = Server::with(&[&engine]).start().ready();
    let waiting = Player::ask(server.address, &by_infohash(340));
    assert!(engine.control().wait_for(60_000, |control| control.counters().getstreams == 1));
    let begun = rig::stopwatch();
    assert!(server.stop().success());
    assert!(begun.elapsed() < DRAIN_MAX, "{:?}", begun.elapsed());
    assert_eq!(waiting.reply().status, 503);
    rig::await_stops(&engine, 1);
}

/// An engine that never replies is not waited for beyond the 8 s.
#[test]
fn sigterm_during_an_opening_that_hangs_ends_in_time() {
    rig::steadily(an_end_during_an_opening_that_hangs);
}

fn an_end_during_an_opening_that_hangs() {
    let engine = engine_with(350..351);
    engine.control().set(Knob::HangGetstream, true);
    let server = Server::with(&[&engine]).start().ready();
    let waiting = Player::ask(server.address, &by_infohash(350));
    assert!(engine.control().wait_for(60_000, |control| control.counters().getstreams == 1));
    let begun = rig::stopwatch();
    assert!(server.stop().success());
    assert!(begun.elapsed() < DRAIN_MAX + Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(waiting.reply().status, 503);
}

#[test]
fn an_idle_server_and_one_without_engines_end_at_once() {
    rig::steadily(idle_servers_end);
}

fn idle_servers_end() {
    let engine = engine_with(360..361);
    for server in [Server::with(&[&engine]).start().ready(), Server::with_specs("none").start()] {
        let begun = rig::stopwatch();
        assert!(server.stop().success());
        assert!(begun.elapsed() < DRAIN_MAX / 2, "{:?}", begun.elapsed());
    }
}
