//! An engine that dies, cuts, stalls or forgets a session in the middle of a stream: its viewers
//! get an orderly end, its session is stopped at most once, and the channel is open again.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::End;
use ace_emulator::Knob;

const SECOND: u64 = 250_000;

/// Whole packets without a gap, then FIN, and a line that says why.
fn ended_by_engine(server: &Server, players: &mut [Player]) {
    for player in &mut *players {
        let report = player.play_to_the_end();
        assert!(report.is_unbroken(), "{report:?}");
    }
    let lines = eventually("a line for each viewer", || {
        let lines = server.lines_with(&["viewer end", "reason=engine_gone"]);
        (lines >= players.len()).then_some(lines)
    });
    assert_eq!(lines, players.len());
}

fn plays_again(server: &Server, id: &str) {
    let mut player = Player::open(server.address, &Server::play(id));
    assert_eq!(player.status, 200, "{}", player.head);
    assert!(player.play(4 * SECOND).is_unbroken());
    player.leave();
}

#[test]
fn a_killed_engine_ends_its_viewers_in_order_and_serves_again_when_it_is_back() {
    let engine = rig::engine(rig::one_channel(100));
    let server = Server::with(&[&engine]).start().ready();
    let path = Server::play(&rig::content_id(100));
    let mut players: Vec<_> = (0..4).map(|_| Player::open(server.address, &path)).collect();
    players.iter_mut().for_each(|player| {
        player.play(4 * SECOND);
    });
    engine.control().kill();
    ended_by_engine(&server, &mut players);
    // What each of them saw last is what the engine sent last.
    let last: Vec<_> = players.iter().map(|player| player.report().last_index).collect();
    assert!(last.iter().all(|index| *index == last[0]), "{last:?}");
    eventually("no stream", || (server.count("streams") == 0).then_some(()));

    let refused = rig::get(server.address, &path);
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "no_engine"));
    assert!(refused.header("retry-after").is_some());

    engine.control().restart(0).unwrap();
    eventually("the engine is up again", || {
        (server.api("/api/v1/engines")["engines"][0]["state"] == "up").then_some(())
    });
    plays_again(&server, &rig::content_id(100));
    rig::await_stops(&engine, 1);
    assert_eq!(engine.control().counters().sessions_opened, 2);
}

#[test]
fn however_a_body_ends_its_session_is_stopped_once_and_the_next_viewer_gets_a_new_one() {
    let channels = |config: Config, n| {
        config.channel(Channel::signed(&rig::infohash(n)).bitrate_bps(2_000_000))
    };
    let config = (110..113).fold(rig::one_channel(109), channels);
    let engine = rig::engine(config);
    let server = Server::with(&[&engine]).start().ready();
    let ends = [
        (Knob::CutAfterBytes, 1_100_001_u64),
        (Knob::ResetAfterBytes, 1_100_002),
        (Knob::EndAfterBytes, 1_100_003),
    ];
    for (at, (knob, bytes)) in ends.into_iter().enumerate() {
        let id = rig::infohash(110 + at as u32);
        engine.control().set_next_for(&id, 1, knob, bytes);
        let path = format!("/ace/getstream?infohash={id}");
        let mut players: Vec<_> = (0..3).map(|_| Player::open(server.address, &path)).collect();
        let reports: Vec<_> = players.iter_mut().map(Player::play_to_the_end).collect();
        for report in &reports {
            assert!(report.is_unbroken(), "{knob:?}: {report:?}");
            assert_eq!(report.last_index, reports[0].last_index, "{knob:?}: the same last packet");
        }
        rig::await_stops(&engine, at as u64 * 2 + 1);
        eventually("the end of every viewer is told", || {
            let ended = ["viewer end", &format!("stream={id}"), "reason=engine_gone"];
            (server.lines_with(&ended) == 3).then_some(())
        });
        plays_again(&server, &id);
        rig::await_stops(&engine, at as u64 * 2 + 2);
    }
    let counters = engine.control().counters();
    assert_eq!((counters.sessions_opened, counters.double_stops), (6, 0), "{counters:?}");
}

#[test]
fn a_stalled_engine_ends_its_viewers_after_the_stall_timeout() {
    let engine = rig::engine(rig::one_channel(120));
    let server = Server::with(&[&engine]).set("RINGCAST_STALL_TIMEOUT", "2500ms").start().ready();
    let path = Server::play(&rig::content_id(120));
    let mut players: Vec<_> = (0..3).map(|_| Player::open(server.address, &path)).collect();
    players.iter_mut().for_each(|player| {
        player.play(4 * SECOND);
    });
    engine.control().set(Knob::Starve, true);
    let silent_since = rig::stopwatch();
    ended_by_engine(&server, &mut players);
    // Not before its time: less a second for bytes that were underway.
    assert!(silent_since.elapsed().as_millis() >= 1_500, "{:?}", silent_since.elapsed());
    let nulls: Vec<u64> = players.iter().map(|player| player.report().inserted.nulls).collect();
    assert!(nulls.iter().all(|nulls| (1..=4).contains(nulls)), "null packets: {nulls:?}");
    rig::await_stops(&engine, 1);
    engine.control().clear(Knob::Starve);
    plays_again(&server, &rig::content_id(120));
    rig::await_stops(&engine, 2);
}

#[test]
fn a_session_that_the_engine_has_forgotten_is_over_at_once() {
    let engine = rig::engine(rig::one_channel(130));
    let server = Server::with(&[&engine]).start().ready();
    let path = Server::play(&rig::content_id(130));
    let mut expired = [Player::open(server.address, &path)];
    expired[0].play(4 * SECOND);
    // The body ends with its last chunk and an open socket, as an engine's does.
    assert!(engine.control().expire(&rig::infohash(130)));
    ended_by_engine(&server, &mut expired);
    eventually("no stream", || (server.count("streams") == 0).then_some(()));

    // The body goes on, but the session is not known any more.
    engine.control().set(Knob::StatUnknown, true);
    let mut unknown = Player::open(server.address, &path);
    let report = unknown.play_to_the_end();
    assert!(report.is_unbroken(), "{report:?}");
    server.await_line(&["viewer end", "reason=engine_gone"]);
    engine.control().clear(Knob::StatUnknown);
    eventually("the session to be gone", || (engine.control().sessions_open() == 0).then_some(()));
    plays_again(&server, &rig::content_id(130));
    eventually("the session to be gone", || (engine.control().sessions_open() == 0).then_some(()));
    let counters = engine.control().counters();
    assert_eq!(counters.sessions_opened, 3);
    assert!(counters.stops <= 3 && counters.double_stops == 0, "{counters:?}");
}

#[test]
fn a_session_taken_over_by_somebody_else_is_not_stopped() {
    let engine = rig::engine(rig::one_channel(140));
    let server = Server::with(&[&engine]).start().ready();
    let mut player = Player::open(server.address, &Server::play(&rig::content_id(140)));
    player.play(4 * SECOND);
    assert!(engine.control().take_over(&rig::infohash(140)));
    let report = player.play_to_the_end();
    assert!(report.is_unbroken(), "{report:?}");
    server.await_line(&["viewer end"]);
    eventually("no stream", || (server.count("streams") == 0).then_some(()));
    let counters = engine.control().counters();
    assert_eq!(counters.stops, 0, "a stop kills the other one's session: {counters:?}");
    assert_eq!(engine.control().sessions_open(), 1);
    assert_eq!(server.count("engine_sessions"), 0);
}

#[test]
fn a_viewer_that_reads_nothing_does_not_keep_its_channel_closed() {
    let channel = Channel::signed(&rig::infohash(150)).bitrate_bps(16_000_000);
    let config = Config::default().knob(Knob::BurstBytes, 8_000_000_u64).channel(channel);
    let engine = rig::engine(config);
    let server = Server::with(&[&engine]).set("RINGCAST_JOIN_SECONDS", "3").start().ready();
    let path = format!("/ace/getstream?infohash={}", rig::infohash(150));
    let stuck = Player::open(server.address, &path);
    let mut first = Player::open(server.address, &path);
    // Past what the kernel takes for one that reads nothing.
    first.play(8_000_000);
    assert!(engine.control().end_body(&rig::infohash(150), End::Cut));
    assert!(first.play_to_the_end().is_unbroken());
    let mut second = Player::ask(server.address, &path).begin();
    assert_eq!(second.status, 200, "{}", second.head);
    assert!(second.play(4_000_000).is_unbroken());
    assert_eq!(server.lines_with(&["viewer end", "reason=engine_gone"]), 1, "the stuck one stays");
    assert_eq!(engine.control().counters().sessions_opened, 2);
    let rows = server.api("/api/v1/streams");
    assert_eq!(rows["total"], 1, "one row a channel: {rows}");
    stuck.leave();
    eventually("its end", || (server.lines_with(&["viewer end"]) >= 2).then_some(()));
}
