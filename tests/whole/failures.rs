//! An engine that is gone for good, and the many ways in which a body ends: viewers get an orderly
//! end or go on, a session is stopped at most once, and the channel is open again.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::End;
use ace_emulator::Knob;

const SECOND: u64 = 250_000;

fn plays_again(server: &Server, id: &str) {
    let mut player = Player::open(server.address, &Server::play(id));
    assert_eq!(player.status, 200, "{}", player.head);
    assert!(player.play(4 * SECOND).is_unbroken());
    player.leave();
}

#[test]
fn an_engine_that_stays_away_ends_its_viewers_in_order_and_serves_again_when_it_is_back() {
    let engine = rig::engine(rig::one_channel(100));
    let server = Server::with(&[&engine]).set("RINGCAST_OUTAGE_TIMEOUT", "2").start().ready();
    let path = Server::play(&rig::content_id(100));
    let opened = rig::stopwatch();
    let mut players: Vec<_> = (0..4).map(|_| Player::open(server.address, &path)).collect();
    rig::play_together(&mut players, 4 * SECOND);
    let away_since = rig::stopwatch();
    engine.control().kill();
    for report in rig::play_out_together(&mut players) {
        assert!(report.is_unbroken(), "{report:?}");
        let nulls_max = 1 + opened.elapsed().as_secs();
        assert!((1..=nulls_max).contains(&report.inserted.nulls), "a sign of life: {report:?}");
    }
    assert!(away_since.elapsed().as_millis() >= 1_500, "{:?}", away_since.elapsed());
    server.await_lines(4, &["viewer end", "reason=engine_gone"]);
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
fn however_a_body_ends_its_session_is_stopped_once_and_another_one_follows() {
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
        rig::play_together(&mut players, 8 * SECOND);
        for player in players {
            let report = player.report();
            assert!(report.is_unbroken() && report.inserted.marks == 0, "{knob:?}: {report:?}");
            player.leave();
        }
        rig::await_stops(&engine, at as u64 * 2 + 2);
    }
    server.await_lines(9, &["viewer end", "reason=left"]);
    let counters = engine.control().counters();
    assert_eq!((counters.sessions_opened, counters.double_stops), (6, 0), "{counters:?}");
}

#[test]
fn a_viewer_that_reads_nothing_does_not_hinder_what_follows() {
    let channel = Channel::signed(&rig::infohash(150)).bitrate_bps(16_000_000);
    let config = Config::default().knob(Knob::BurstBytes, 8_000_000_u64).channel(channel);
    let engine = rig::engine(config);
    let server = Server::with(&[&engine])
        .set("RINGCAST_JOIN_SECONDS", "3")
        // It is not for standing still that this one might be closed.
        .set("RINGCAST_SEND_STALL_TIMEOUT", "60")
        .start()
        .ready();
    let path = format!("/ace/getstream?infohash={}", rig::infohash(150));
    let stuck = Player::open(server.address, &path);
    let mut first = Player::open(server.address, &path);
    // Past what the kernel takes for one that reads nothing.
    first.play(8_000_000);
    assert!(engine.control().end_body(&rig::infohash(150), End::Cut));
    first.play_on(8_000_000);
    assert!(first.report().is_unbroken(), "{:?}", first.report());
    let mut second = Player::ask(server.address, &path).begin();
    assert_eq!(second.status, 200, "{}", second.head);
    assert!(second.play(4_000_000).is_unbroken());
    assert_eq!(server.lines_with(&["viewer end"]), 0, "the stuck one stays");
    assert_eq!(engine.control().counters().sessions_opened, 2);
    let rows = server.api("/api/v1/streams");
    assert_eq!(rows["total"], 1, "one row a channel: {rows}");
    stuck.leave();
    eventually("its end", || (server.lines_with(&["viewer end"]) >= 1).then_some(()));
}
