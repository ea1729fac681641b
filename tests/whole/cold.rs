//! A channel that takes its time to start, and players that do not wait for it.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use std::io::Read;
use std::time::Duration;
use std::time::Instant;

const SECOND: u64 = 250_000;

const PATIENCE_MS: u64 = rig::PATIENCE.as_millis() as u64;

fn cold(n: u32, ms: u64) -> Emulator {
    let channel = Channel::signed(&rig::infohash(n))
        .content_id(&rig::content_id(n))
        .bitrate_bps(2_000_000)
        .cold_start_ms(ms);
    rig::engine(rig::quick(channel))
}

/// A player that waits for a head for `patience`, then hangs up. True when it got one.
fn impatient(server: &Server, path: &str, patience: Duration) -> Option<Player> {
    let asked = Player::ask(server.address, path);
    asked.begin_within(patience)
}

#[expect(clippy::disallowed_methods, reason = "a player's own pause between two tries")]
fn sleep_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(rig::stopwatch()));
}

/// 25 s, 8 s and 10 s, ten times as fast.
#[test]
fn a_player_that_gives_up_and_comes_back_gets_its_picture_when_the_start_is_done() {
    let engine = cold(200, 2_500);
    let server = Server::with(&[&engine]).start().ready();
    let path = Server::play(&rig::content_id(200));
    let begun = rig::stopwatch();
    let mut tries = 0;
    let mut player = loop {
        tries += 1;
        if let Some(player) = impatient(&server, &path, Duration::from_millis(800)) {
            break player;
        }
        assert!(tries < 10, "no picture");
        sleep_until(begun + Duration::from_millis(1_000 * tries));
    };
    assert_eq!(player.status, 200, "{}", player.head);
    // Two tries end before the start can be done.
    assert!(tries >= 3, "the picture came at try {tries}");
    assert!(player.play(3 * SECOND).is_unbroken());
    let counters = engine.control().counters();
    assert_eq!((counters.getstreams, counters.sessions_opened), (1, 1), "{counters:?}");
    assert_eq!(counters.stops, 0);
    // Who has given up in the moment in which the picture came has begun, and ended.
    server.await_line(&["viewer start", &player.id()]);
    let (starts, ends) = (server.lines_with(&["viewer start"]), server.lines_with(&["viewer end"]));
    assert!(ends < starts, "who never had a picture was no viewer: {starts} starts, {ends} ends");
    player.leave();
    rig::await_stops(&engine, 1);
}

/// Between two tries there is nobody for longer than the grace period: peers keep the start.
#[test]
fn a_start_with_peers_outlives_the_grace_period() {
    rig::steadily(a_start_with_peers);
}

fn a_start_with_peers() {
    let engine = cold(201, 4_000);
    let server = Server::with(&[&engine]).set("PROXY_GRACE_PERIOD", "0").start().ready();
    let path = Server::play(&rig::content_id(201));
    let impatient = Player::ask(server.address, &path);
    // It is asked for the second time when the first answer has come, which speaks of peers.
    assert!(engine.control().wait_for(PATIENCE_MS, |c| c.counters().stats >= 2));
    assert!(impatient.is_silent());
    impatient.leave();
    eventually("nobody", || (server.count("viewers") == 0).then_some(()));
    // Nobody waits, and the start goes on: the engine is asked how it is, a second later.
    let asked = engine.control().counters().stats;
    assert!(engine.control().wait_for(10_000, |c| c.counters().stats > asked));
    let mut player = Player::open(server.address, &path);
    assert!(player.play(2 * SECOND).is_unbroken());
    assert_eq!(engine.control().counters().sessions_opened, 1);
    assert_eq!(engine.control().counters().stops, 0);
}

/// As Kodi does, and ffprobe before ffmpeg.
#[test]
fn a_probe_and_the_player_behind_it_are_one_session() {
    let engine = cold(202, 1_000);
    let server = Server::with(&[&engine]).set("PROXY_GRACE_PERIOD", "20").start().ready();
    let path = Server::play(&rig::content_id(202));
    let probe = Player::open(server.address, &path);
    assert!(probe.raw(1_024).len() >= 1_024, "and the rest is thrown away unread: a reset");
    server.await_line(&["viewer end", "reason=left"]);
    let mut player = Player::open(server.address, &path);
    assert!(player.play(3 * SECOND).is_unbroken());
    let counters = engine.control().counters();
    assert_eq!((counters.getstreams, counters.contents, counters.stops), (1, 1, 0), "{counters:?}");
}

/// Nobody comes back: what was opened is stopped, once, though it never played.
#[test]
fn a_start_that_nobody_wants_any_more_is_stopped_once() {
    let engine = cold(203, 60_000);
    engine.control().set(Knob::Peers, 0_u64);
    engine.control().set(Knob::SilentPrebuf, true);
    let server = Server::with(&[&engine]).start().ready();
    let path = Server::play(&rig::content_id(203));
    assert!(impatient(&server, &path, Duration::from_millis(500)).is_none());
    rig::await_stops(&engine, 1);
    eventually("no stream", || (server.count("streams") == 0).then_some(()));
    assert_eq!(server.count("engine_sessions"), 0);

    // Also one whose opening is still unanswered when the last viewer goes.
    let channel = Channel::signed(&rig::infohash(204)).bitrate_bps(2_000_000);
    engine.control().put_channel(Channel { resolve_ms: 3_000, ..channel }).unwrap();
    let path = format!("/ace/getstream?infohash={}", rig::infohash(204));
    let asked = Player::ask(server.address, &path);
    assert!(engine.control().wait_for(PATIENCE_MS, |c| c.counters().getstreams == 2));
    asked.leave();
    assert!(engine.control().wait_for(PATIENCE_MS, |c| c.counters().sessions_opened == 2));
    rig::await_stops(&engine, 2);
    assert_eq!(engine.control().counters().double_stops, 0);
}

/// The reply to an opening that nobody waited for any more is taken up by who has come since.
#[test]
fn a_viewer_takes_up_what_the_last_one_left_behind() {
    let channel = Channel::signed(&rig::infohash(205)).bitrate_bps(2_000_000);
    let channel = Channel { resolve_ms: 3_000, ..channel };
    let engine = rig::engine(rig::quick(channel));
    let server = Server::with(&[&engine]).set("PROXY_GRACE_PERIOD", "0").start().ready();
    let path = format!("/ace/getstream?infohash={}", rig::infohash(205));
    let asked = Player::ask(server.address, &path);
    assert!(engine.control().wait_for(PATIENCE_MS, |c| c.counters().getstreams == 1));
    asked.leave();
    eventually("nobody", || (server.count("viewers") == 0).then_some(()));
    let mut player = Player::open(server.address, &path);
    assert_eq!(player.status, 200, "{}", player.head);
    assert!(player.play(2 * SECOND).is_unbroken());
    let counters = engine.control().counters();
    assert_eq!((counters.getstreams, counters.stops), (1, 0), "{counters:?}");
}

/// A player that is refused a head for want of a picture has been sent nothing at all.
#[test]
fn not_a_byte_before_the_picture() {
    rig::steadily(not_a_byte_before);
}

fn not_a_byte_before() {
    let engine = cold(206, 1_500);
    let server = Server::with(&[&engine]).start().ready();
    let path = Server::play(&rig::content_id(206));
    let player = Player::ask(server.address, &path);
    let mut socket = player.socket().try_clone().unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let error = socket.read(&mut [0; 1]).expect_err("nothing is sent");
    assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    socket.set_read_timeout(Some(rig::PATIENCE)).unwrap();
    let mut player = player.begin();
    assert_eq!(player.status, 200);
    assert!(player.play(SECOND).starts_with_pat_pmt_rap);
}
