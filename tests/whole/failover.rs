//! An engine dies, stalls, forgets or is taken over under its viewers, and they keep watching: on
//! another engine, or on the same one when it is back.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::Watch;
use crate::rig::eventually;
use crate::rig::tool::Tool;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use std::time::Duration;

const SECOND: u64 = 250_000;
/// Without a packet of the stream after a death, where another engine has the broadcast.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// Of that, on a machine that does other things as well; measured ones are below half of it.
const SLACK: u32 = 2;

fn start(engines: &[Emulator; 2]) -> Server {
    rig::both_up(Server::with(&[&engines[0], &engines[1]]).start())
}

fn path(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(n))
}

fn four_players(server: &Server, n: u32) -> Vec<Player> {
    let mut players: Vec<_> = (0..4).map(|_| Player::open(server.address, &path(n))).collect();
    rig::play_together(&mut players, 4 * SECOND);
    players
}

/// The one that plays, and the other one.
fn serving(engines: &[Emulator; 2]) -> (&Emulator, &Emulator) {
    let [first, second] = engines;
    if first.control().readers() > 0 { (first, second) } else { (second, first) }
}

/// Everybody gets so much more of the stream.
fn all_go_on(players: &mut [Player], bytes: u64) {
    let until = players.iter().map(|player| player.report().bytes).max().unwrap() + bytes;
    rig::play_together(players, until);
}

fn nobody_was_closed(server: &Server, players: &[Player]) {
    assert_eq!(server.lines_with(&["viewer end"]), 0);
    assert_eq!(server.count("viewers"), players.len() as u64);
}

fn facts(server: &Server, n: u32) -> (u64, u64) {
    let row = server.api(&format!("/api/v1/streams/{}", rig::infohash(n)));
    (row["failovers"].as_u64().unwrap(), row["discontinuities"].as_u64().unwrap())
}

/// Four seconds of stream for everybody; the longest that anybody was without a packet of it, and
/// without any byte at all.
fn watched(watches: &[Watch]) -> (Duration, Duration) {
    rig::watch_together(watches, 4 * SECOND);
    let worst = |of: fn(&Watch) -> Duration| watches.iter().map(of).max().unwrap();
    (worst(Watch::worst_quiet), worst(Watch::worst_gap))
}

#[test]
fn an_engine_killed_while_another_has_the_broadcast_costs_nobody_a_packet() {
    rig::steadily(killed_with_an_overlap);
}

fn killed_with_an_overlap() {
    let engines = rig::twins(800);
    let server = start(&engines);
    let watches: Vec<_> = four_players(&server, 800).into_iter().map(Watch::of).collect();
    let (dying, other) = serving(&engines);
    dying.control().kill();
    let (quiet, _) = watched(&watches);
    rig::say(&format!(
        "an engine was killed: nobody was without its stream for longer than {quiet:?}"
    ));
    assert!(quiet <= QUIET_MAX * SLACK, "{quiet:?}");
    let players: Vec<_> = watches.into_iter().map(Watch::end).collect();
    for player in &players {
        let report = player.report();
        assert!(report.is_unbroken(), "{report:?}");
        assert_eq!(report.inserted.marks, 0, "nothing happened: {report:?}");
    }
    nobody_was_closed(&server, &players);
    assert_eq!(facts(&server, 800), (1, 0));
    assert_eq!(other.control().counters().sessions_opened, 1);
    server.await_line(&["stream goes on", "join=overlap"]);
    // Who comes now plays as well.
    let mut late = Player::open(server.address, &path(800));
    assert!(late.play(SECOND).is_unbroken());
}

/// The other engine has the same broadcast, three seconds late: it is waited for with a null packet
/// each second, and not a packet is lost or repeated.
#[test]
fn an_engine_that_lags_behind_the_one_that_died_is_waited_for() {
    rig::steadily(killed_while_the_other_lags);
}

fn killed_while_the_other_lags() {
    const LAG: Duration = Duration::from_secs(3);
    let engines = rig::twins(811);
    engines[1].control().set(Knob::LagMs, LAG.as_millis() as u64);
    let specs = format!("{},name=a,forwarded {},name=b", engines[0].addr(), engines[1].addr());
    let server = rig::both_up(Server::with_specs(&specs).start());
    let watches: Vec<_> = four_players(&server, 811).into_iter().map(Watch::of).collect();
    engines[0].control().kill();
    let (quiet, gap) = watched(&watches);
    rig::say(&format!(
        "the other engine lags by {LAG:?}: quiet for {quiet:?}, a byte every {gap:?}"
    ));
    let lag_max = LAG + QUIET_MAX * SLACK;
    assert!(quiet >= LAG - Duration::from_secs(1) && quiet <= lag_max, "{quiet:?}");
    assert!(gap <= QUIET_MAX * SLACK, "a sign of life each second: {gap:?}");
    let players: Vec<_> = watches.into_iter().map(Watch::end).collect();
    for player in &players {
        let report = player.report();
        assert!(report.is_unbroken() && report.inserted.marks == 0, "{report:?}");
        assert!(report.inserted.nulls >= 2, "{report:?}");
    }
    nobody_was_closed(&server, &players);
    assert_eq!(facts(&server, 811), (1, 0));
}

#[test]
fn without_an_overlap_there_is_exactly_one_declared_discontinuity() {
    let engines = [rig::engine(rig::one_channel(801)), {
        let channel = Channel::signed(&rig::infohash(801)).tag(77).bitrate_bps(2_000_000);
        rig::engine(rig::quick(channel))
    }];
    // The first of them plays.
    let specs = format!("{},name=a,forwarded {},name=b", engines[0].addr(), engines[1].addr());
    let server = rig::both_up(Server::with_specs(&specs).start());
    let mut players = four_players(&server, 801);
    engines[0].control().kill();
    all_go_on(&mut players, 8 * SECOND);
    for player in &players {
        let report = player.report();
        assert!(report.is_lawful(), "{report:?}");
        assert_eq!((report.switches, report.gap_count), (1, 0), "{report:?}");
    }
    nobody_was_closed(&server, &players);
    assert_eq!(facts(&server, 801), (1, 1));
    server.await_line(&["stream goes on", "join=jump"]);
}

/// Kills the only engine, and has it back after so long, cold.
fn restarted(n: u32, down_ms: u64, cold_ms: u64) {
    let engine = rig::engine(rig::one_channel(n));
    let server = Server::with(&[&engine]).start().ready();
    let mut players = four_players(&server, n);
    let control = engine.control();
    control.set(Knob::ColdStartMs, cold_ms);
    control.set(Knob::IdAcceptsInfohash, true);
    let back = {
        let control = control.clone();
        std::thread::spawn(move || control.restart(down_ms).unwrap())
    };
    // Nobody is left without a sign of life meanwhile.
    for player in &mut players {
        player.await_nulls(2);
    }
    back.join().unwrap();
    all_go_on(&mut players, 4 * SECOND);
    for player in &players {
        let report = player.report();
        assert!(report.is_lawful() && report.gap_count <= 1, "{report:?}");
    }
    nobody_was_closed(&server, &players);
    let (failovers, jumps) = facts(&server, n);
    assert!(failovers == 1 && jumps <= 1, "{failovers} {jumps}");
    assert_eq!(control.sessions_open(), 1);
}

#[test]
fn the_only_engine_restarts_and_nobody_is_closed() {
    restarted(802, 2_000, 1_500);
}

#[test]
fn the_only_engine_restarts_slowly_and_nobody_is_closed() {
    if rig::is_deep() {
        restarted(803, 15_000, 20_000);
    }
}

#[test]
fn a_stalled_engine_is_left_and_stopped_once() {
    let engines = rig::twins(804);
    let start = Server::with(&[&engines[0], &engines[1]]).set("RINGCAST_STALL_TIMEOUT", "1500ms");
    let server = rig::both_up(start.start());
    let mut players = four_players(&server, 804);
    let (stalled, other) = serving(&engines);
    stalled.control().set(Knob::Starve, true);
    all_go_on(&mut players, 4 * SECOND);
    for player in &players {
        let report = player.report();
        assert!(report.is_unbroken() && report.inserted.marks == 0, "{report:?}");
    }
    nobody_was_closed(&server, &players);
    rig::await_stops(stalled, 1);
    assert_eq!((other.control().sessions_open(), facts(&server, 804)), (1, (1, 0)));
    let failovers = server.labelled_metric("ringcast_failovers_total", "silent");
    assert_eq!(failovers, 1.0);
}

#[test]
fn the_only_engine_stalls_and_is_opened_again() {
    let engine = rig::engine(rig::one_channel(810));
    let server = Server::with(&[&engine]).set("RINGCAST_STALL_TIMEOUT", "1500ms").start().ready();
    let mut players = four_players(&server, 810);
    engine.control().set(Knob::Starve, true);
    let stalled_at = rig::stopwatch();
    eventually("another session", || {
        (engine.control().counters().sessions_opened == 2).then_some(())
    });
    // Not before its time: less a second for bytes that were underway.
    assert!(stalled_at.elapsed().as_millis() >= 500, "{:?}", stalled_at.elapsed());
    for player in &mut players {
        player.await_nulls(1);
    }
    engine.control().clear(Knob::Starve);
    all_go_on(&mut players, 2 * SECOND);
    for player in &players {
        assert!(player.report().is_unbroken(), "{:?}", player.report());
    }
    nobody_was_closed(&server, &players);
    let counters = engine.control().counters();
    assert_eq!((counters.stops, counters.double_stops), (1, 0), "{counters:?}");
    assert_eq!(facts(&server, 810), (1, 0));
}

#[test]
fn a_session_that_was_taken_over_is_not_fought_for_while_there_is_another_engine() {
    let engines = rig::twins(805);
    let server = start(&engines);
    let mut players = four_players(&server, 805);
    let (taken, other) = serving(&engines);
    assert!(taken.control().take_over(&rig::infohash(805)));
    all_go_on(&mut players, 4 * SECOND);
    assert!(players.iter().all(|player| player.report().is_unbroken()));
    nobody_was_closed(&server, &players);
    assert_eq!(taken.control().counters().stops, 0, "a stop would end the other one's session");
    assert_eq!((taken.control().sessions_open(), other.control().sessions_open()), (1, 1));
}

#[test]
fn a_second_takeover_on_the_only_engine_is_yielded_to_and_said() {
    let engine = rig::engine(rig::one_channel(806));
    let server = Server::with(&[&engine]).start().ready();
    let mut player = Player::open(server.address, &path(806));
    player.play(4 * SECOND);
    assert!(engine.control().take_over(&rig::infohash(806)));
    player.play_on(4 * SECOND);
    assert!(player.report().is_lawful(), "{:?}", player.report());
    assert!(engine.control().take_over(&rig::infohash(806)));
    player.play_to_the_end();
    server.await_line(&["viewer end", "reason=taken_over"]);
    server.await_line(&["engine taken_over"]);
    assert_eq!(engine.control().counters().stops, 0);
}

#[test]
fn a_session_that_the_engine_forgot_is_opened_again_there() {
    let engine = rig::engine(rig::one_channel(807));
    let server = Server::with(&[&engine]).start().ready();
    let mut players = four_players(&server, 807);
    assert!(engine.control().expire(&rig::infohash(807)));
    all_go_on(&mut players, 2 * SECOND);
    // The body goes on, but the stat does not know it.
    engine.control().set_next(1, Knob::StatUnknown, true);
    eventually("the second session's end", || {
        (engine.control().counters().sessions_opened == 3).then_some(())
    });
    all_go_on(&mut players, 4 * SECOND);
    for player in &players {
        assert!(player.report().is_unbroken(), "{:?}", player.report());
    }
    nobody_was_closed(&server, &players);
    let counters = engine.control().counters();
    assert!(counters.stops <= 2 && counters.double_stops == 0, "{counters:?}");
    assert_eq!(facts(&server, 807), (2, 0));
}

#[test]
fn an_engine_that_hangs_at_the_open_is_left_for_another() {
    let engines = rig::twins(808);
    let specs = format!("{},name=a,forwarded {},name=b", engines[0].addr(), engines[1].addr());
    let start = Server::with_specs(&specs).set("RINGCAST_STALL_TIMEOUT", "1");
    let server = rig::both_up(start.start());
    engines[0].control().set(Knob::HangGetstream, true);
    engines[0].control().set(Knob::HangGetStatus, true);
    let begun = rig::stopwatch();
    let mut player = Player::open(server.address, &path(808));
    assert_eq!(player.status, 200, "{}", player.head);
    // A second until it is asked, and five for the answer.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert!(player.play(SECOND).is_unbroken());
}

#[test]
fn players_go_on_behind_a_failover() {
    let channel = || Channel::picture("test card", &rig::infohash(809));
    let config = || {
        Config::default()
            .channel(channel())
            .knob(Knob::BurstBytes, 230_000)
            .knob(Knob::PieceBytes, 4_096)
    };
    let first = rig::engine(config());
    // The same card, far ahead.
    let epoch_us = first.control().epoch_us() - 100_000_000;
    let second = rig::engine(config().epoch_us(epoch_us));
    let engines = [first, second];
    let server = start(&engines);
    let url = server.url(&path(809));
    let mut clock = Player::open(server.address, &path(809));
    clock.play(100_000);
    let tools = [Tool::ffmpeg_lenient(&url, 12), Tool::mpv(&url, 12), Tool::vlc(&url, 12)];
    eventually("the players", || (server.count("viewers") == 4).then_some(()));
    clock.play_on(60_000);
    let (dying, _) = serving(&engines);
    dying.control().kill();
    server.await_line(&["stream goes on", "join="]);
    assert_eq!(facts(&server, 809), (1, 1));
    for played in tools.map(Tool::played) {
        assert!(played.ok && !played.lost_the_stream(), "{}", played.said);
    }
}
