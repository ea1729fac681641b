//! Who plays what: reuse, second readers, takeover, stop, expiry, death.

use ace_emulator::Emulator;
use ace_emulator::Knob;
use ace_emulator::SessionState;
use ace_emulator::Verifier;

use crate::client::Body;
use crate::client::End;
use crate::client::INFOHASH;
use crate::client::OTHER;
use crate::client::body_of;
use crate::client::config;
use crate::client::content_path;
use crate::client::emulator;
use crate::client::get;
use crate::client::open;
use crate::client::path_of;
use crate::client::post;
use crate::client::status_of;

const UNKNOWN: &str = "{\"response\": null, \"error\": \"unknown playback session id\"}";
const OK: &str = "{\"response\": \"ok\", \"error\": null}";

#[test]
fn the_same_pid_gets_its_session_again() {
    let emulator = emulator();
    let first = open(emulator.addr(), INFOHASH, "a");
    assert_eq!(open(emulator.addr(), INFOHASH, "a"), first);
    let counters = emulator.control().counters();
    assert_eq!((counters.sessions_opened, counters.sessions_reused), (1, 1));
}

#[test]
fn a_second_reader_gets_two_status_lines() {
    let emulator = emulator();
    let addr = emulator.addr();
    let session = open(addr, INFOHASH, "a");
    let mut first = Body::open(addr, &content_path(addr, &session));
    first.read(100_000);
    let second = get(addr, &content_path(addr, &session));
    let lines: Vec<&str> = second.lines().take(3).collect();
    assert_eq!(lines[..2], ["HTTP/1.1 200 OK", "HTTP/1.1 200 OK"]);
    assert!(lines[2].starts_with("Server: "));
    assert!(first.read(2_000_000).len() >= 2_000_000);
    assert_eq!(emulator.control().counters().second_readers, 1);
    drop(first);
    assert!(emulator.control().wait_for(2_000, |control| control.readers() == 0));
    assert!(Body::open(addr, &content_path(addr, &session)).read(188).len() >= 188);
}

#[test]
fn a_newer_session_takes_over() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    let first = open(addr, INFOHASH, "a");
    let mut body = Body::open(addr, &content_path(addr, &first));
    body.read(100_000);
    let second = open(addr, INFOHASH, "b");
    assert_ne!(first["playback_session_id"], second["playback_session_id"]);
    assert_eq!(body.rest().1, End::LastChunk);
    assert_eq!(body.after_end(2_000), End::Fin);
    assert_eq!(status_of(&get(addr, &path_of(&first["playback_url"]))), "403");
    // Both stat URLs report the session that plays.
    get(addr, &path_of(&first["stat_url"]));
    let stat = get(addr, &path_of(&first["stat_url"]));
    assert!(stat.contains(second["playback_session_id"].as_str().unwrap()), "{stat}");
    assert_eq!(control.counters().sessions_superseded, 1);
    // A stop by either ends both.
    let mut body = Body::open(addr, &content_path(addr, &second));
    body.read(100_000);
    let stop = format!("{}?method=stop", path_of(&first["command_url"]));
    assert_eq!(body_of(&get(addr, &stop)), OK);
    assert_eq!(body.rest().1, End::LastChunk);
    for session in [&first, &second] {
        assert_eq!(body_of(&get(addr, &path_of(&session["stat_url"]))), UNKNOWN);
    }
    assert_eq!(control.counters().superseded_stops, 1);
    assert_eq!(control.sessions_open(), 0);
}

#[test]
fn the_takeover_knob_and_a_foreign_takeover() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    control.set(Knob::TakeoverMode, "reset");
    let mut body = Body::start(addr, INFOHASH, "a");
    body.read(100_000);
    assert!(control.take_over(INFOHASH));
    assert_eq!(body.rest().1, End::Reset);
    assert!(!control.take_over(OTHER));
    assert_eq!(control.counters().sessions_superseded, 1);
}

#[test]
fn a_pid_plays_one_content_at_a_time() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    open(addr, INFOHASH, "tv");
    open(addr, OTHER, "tv");
    assert_eq!(control.sessions_open(), 1);
    open(addr, INFOHASH, "another");
    assert_eq!(control.sessions_open(), 2);
    assert_eq!(control.counters().sessions_stopped, 1);
}

#[test]
fn stop_ends_the_body_as_the_knob_says() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    let modes = [
        ("open", End::LastChunk, End::Silence),
        ("close", End::LastChunk, End::Fin),
        ("cut", End::Fin, End::Fin),
        ("reset", End::Reset, End::Fin),
    ];
    for (mode, end, after) in modes {
        control.set(Knob::StopMode, mode);
        let session = open(addr, INFOHASH, mode);
        let mut body = Body::open(addr, &content_path(addr, &session));
        body.read(100_000);
        let stop = format!("{}?method=stop", path_of(&session["command_url"]));
        assert_eq!(body_of(&get(addr, &stop)), OK);
        assert_eq!(body.rest().1, end, "{mode}");
        assert_eq!(body.after_end(150), after, "{mode}");
        assert_eq!(body_of(&get(addr, &stop)), UNKNOWN);
        assert_eq!(status_of(&get(addr, &path_of(&session["playback_url"]))), "500");
    }
    let counters = control.counters();
    assert_eq!((counters.stops, counters.double_stops, counters.sessions_stopped), (8, 4, 4));
    assert!(control.sessions().iter().all(|session| session.stops == 2));
    assert!(control.wait_for(2_000, |control| control.connections_open() == 0));
}

#[test]
fn sessions_expire_unless_somebody_asks() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    control.set(Knob::IdleExpiryMs, 400_u64);
    let session = open(addr, INFOHASH, "a");
    let stat = path_of(&session["stat_url"]);
    let until = ace_emulator::now_us() + 900_000;
    while ace_emulator::now_us() < until {
        assert_ne!(body_of(&get(addr, &stat)), UNKNOWN);
    }
    let state = |state: SessionState| {
        control.wait_for(3_000, |control| control.sessions()[0].state == state)
    };
    assert!(state(SessionState::Expired));
    assert_eq!(control.counters().sessions_expired, 1);
    assert_eq!(body_of(&get(addr, &stat)), UNKNOWN);
    // A reader that starves is active; a poll that skips activity does not help.
    let session = open(addr, OTHER, "b");
    control.set(Knob::Starve, true);
    let body = Body::open(addr, &content_path(addr, &session));
    assert!(!control.wait_for(900, |control| control.sessions_open() == 0));
    drop(body);
    let skip = format!("{}?skip_player_activity=1", path_of(&session["stat_url"]));
    assert!(control.wait_for(3_000, |control| {
        get(addr, &skip);
        control.sessions_open() == 0
    }));
}

#[test]
fn the_activity_timeout_is_the_sessions_own() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    let session = open(addr, INFOHASH, "a");
    let command = path_of(&session["command_url"]);
    let set = format!("{command}?method=set_player_activity_timeout&timeout=60");
    assert_eq!(body_of(&get(addr, &set)), OK);
    assert_eq!(body_of(&get(addr, &format!("{command}?method=liveseek&pos=1"))), OK);
    control.set_for(INFOHASH, Knob::IdleExpiryMs, 100_u64);
    assert!(!control.wait_for(900, |control| control.sessions_open() == 0));
    assert_eq!(control.sessions()[0].timeout_ms, Some(60_000));
    assert!(control.expire(INFOHASH));
    assert_eq!(body_of(&get(addr, &command)), UNKNOWN);
}

#[test]
fn a_kill_resets_everybody_and_a_restart_forgets() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    let session = open(addr, INFOHASH, "a");
    let mut body = Body::open(addr, &content_path(addr, &session));
    body.read(100_000);
    let mut waiting = crate::client::connect(addr, 2_000);
    assert!(control.wait_for(2_000, |control| control.connections_open() == 2));
    emulator.kill();
    assert_eq!(body.rest().1, End::Reset);
    assert_eq!(crate::client::read_to_end(&mut waiting).1, End::Reset);
    assert!(std::net::TcpStream::connect(addr).is_err());
    assert_eq!((control.connections_open(), control.sessions_open()), (0, 0));
    emulator.restart().unwrap();
    assert_eq!(emulator.addr(), addr);
    assert_eq!(body_of(&get(addr, &path_of(&session["stat_url"]))), UNKNOWN);
    assert_eq!(status_of(&get(addr, &path_of(&session["playback_url"]))), "500");
    assert_eq!(control.counters().sessions_lost, 1);
    assert!(Body::start(addr, INFOHASH, "b").read(188).len() >= 188);
    // Over HTTP: answered, then dead, then there again.
    assert_eq!(status_of(&post(addr, "/emulator/restart?down_ms=50", "")), "200");
    assert!(control.wait_for(3_000, |control| control.counters().sessions_lost == 2));
    assert!(control.wait_for(3_000, |_| std::net::TcpStream::connect(addr).is_ok()));
}

#[test]
fn events_end_with_the_session() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    open(addr, INFOHASH, "a");
    let path = format!("/ace/event/{INFOHASH}/{}", ace_emulator::md5_hex(b"a"));
    let poll = std::thread::spawn(move || get(addr, &path));
    assert!(control.wait_for(2_000, |control| control.counters().events == 1));
    control.expire(INFOHASH);
    assert_eq!(body_of(&poll.join().unwrap()), UNKNOWN);
}

#[test]
fn two_emulators_of_one_broadcast_serve_the_same_bytes() {
    let one = emulator();
    let shared = config().epoch_us(one.control().epoch_us());
    let two = Emulator::start(shared).unwrap();
    let config = one.control().signed_config(INFOHASH);
    assert_eq!(config, two.control().signed_config(INFOHASH));
    let mut last = 0;
    for emulator in [&one, &two] {
        let mut verifier = Verifier::expecting(config.unwrap());
        verifier.feed(&Body::start(emulator.addr(), INFOHASH, "a").read(500_000));
        let report = verifier.report();
        assert_eq!((report.wrong_packets, report.gap_count), (0, 0));
        assert!(report.first_index.unwrap() >= last);
        last = report.first_index.unwrap();
    }
}
