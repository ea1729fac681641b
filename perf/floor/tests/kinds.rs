//! Every kind against an engine: what viewers get is what the engine sent, byte for byte.
//!
//! A kind that this kernel forbids fails here; it is not skipped.

#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

mod support;

use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Knob;

use support::Floor;
use support::Player;
use support::name;

const MEGABYTE: usize = 1_000_000;
const SHARED: [&str; 3] = ["write", "sendfile", "zerocopy"];

/// Channels 1, 2 and 3.
fn emulator(bitrate_bps: u64, knobs: &[(Knob, ace_emulator::Value)]) -> Emulator {
    let mut config = Config::default();
    for k in 1..=3 {
        config = config.channel(Channel::signed(&name(k)).bitrate_bps(bitrate_bps));
    }
    config.knobs.extend_from_slice(knobs);
    Emulator::start(config).unwrap()
}

fn three_viewers_of_one_stream(how: &str, knobs: &[(Knob, ace_emulator::Value)]) {
    let engine = emulator(30_000_000, knobs);
    let floor = Floor::start(how, 65_536, engine.addr());
    let mut first = Player::join(&floor, &name(1));
    first.read(MEGABYTE);
    let mut others = [Player::join(&floor, &name(1)), Player::join(&floor, &name(1))];
    for step in 1..=4 {
        first.read(MEGABYTE + step * MEGABYTE / 2);
        others.iter_mut().for_each(|other| other.read(step * MEGABYTE / 2));
    }
    first.assert_exact();
    others.iter().for_each(Player::assert_exact);
    assert_eq!(engine.control().counters().sessions_opened, 1);
}

#[test]
fn write_sends_what_the_engine_sent() {
    three_viewers_of_one_stream("write", &[]);
}

#[test]
fn sendfile_sends_what_the_engine_sent() {
    three_viewers_of_one_stream("sendfile", &[]);
}

#[test]
fn zerocopy_sends_what_the_engine_sent() {
    three_viewers_of_one_stream("zerocopy", &[]);
}

#[test]
fn relay_sends_each_stream_to_its_viewer() {
    let engine = emulator(30_000_000, &[]);
    let floor = Floor::start("relay", 65_536, engine.addr());
    let mut players = [1, 2, 3].map(|k| Player::join(&floor, &name(k)));
    for step in 1..=4 {
        players.iter_mut().for_each(|player| player.read(step * MEGABYTE / 2));
    }
    players.iter().for_each(Player::assert_exact);
    assert_eq!(floor.get(&format!("/?id={}", name(1))).0, "503");
}

#[test]
fn bodies_in_small_chunks_and_in_none() {
    for knobs in [[(Knob::ChunkBytes, 1_000.into())], [(Knob::BodyMode, "close".into())]] {
        three_viewers_of_one_stream("write", &knobs);
        let engine = emulator(30_000_000, &knobs);
        let floor = Floor::start("relay", 30_000, engine.addr());
        let mut player = Player::join(&floor, &name(1));
        player.read(2 * MEGABYTE);
        player.assert_exact();
    }
}

/// A window is 4 MiB: who stops for less loses nothing, though its socket fills meanwhile.
#[test]
fn a_reader_that_stops_goes_on_without_a_gap() {
    for how in SHARED {
        let engine = emulator(30_000_000, &[]);
        let floor = Floor::start(how, 50_000, engine.addr());
        let (mut steady, mut other) =
            (Player::join(&floor, &name(1)), Player::join(&floor, &name(1)));
        for round in 1..=6 {
            steady.read(round * 2 * MEGABYTE);
            other.read(round * 2 * MEGABYTE);
        }
        steady.assert_exact();
        other.assert_exact();
    }
}

/// The file of `sendfile`, the regions of `zerocopy`, the buffer of `write` all come around while
/// somebody's socket is full.
#[test]
fn a_reader_that_stops_for_ever_is_closed_and_nobody_else_notices() {
    for how in SHARED {
        let engine = emulator(40_000_000, &[]);
        let floor = Floor::start(how, 65_536, engine.addr());
        let (mut steady, mut stuck) =
            (Player::join(&floor, &name(1)), Player::join(&floor, &name(1)));
        stuck.read(MEGABYTE / 4);
        steady.read(24 * MEGABYTE);
        steady.assert_exact();
        let bytes = stuck.read_to_end();
        assert!(bytes < 16 * MEGABYTE, "{how}: it got {bytes}");
        stuck.assert_exact();
    }
}

#[test]
fn what_is_less_than_a_send_goes_after_its_time() {
    for how in ["write", "sendfile", "zerocopy", "relay"] {
        let engine = emulator(1_000_000, &[(Knob::BurstBytes, 0.into()), small_pieces()]);
        let floor = Floor::start(how, 1 << 20, engine.addr());
        let mut player = Player::join(&floor, &name(1));
        player.read(40_000);
        player.assert_exact();
    }
}

fn small_pieces() -> (Knob, ace_emulator::Value) {
    (Knob::PieceBytes, 8_192.into())
}

#[test]
fn streams_end_with_their_engine() {
    for how in ["write", "sendfile", "zerocopy", "relay"] {
        let engine = emulator(30_000_000, &[(Knob::EndAfterBytes, 2_000_000.into())]);
        let floor = Floor::start(how, 65_536, engine.addr());
        let mut player = Player::join(&floor, &name(1));
        assert_eq!(player.read_to_end(), 2_000_000, "{how}");
    }
}

#[test]
fn requests_for_nothing_are_refused() {
    let engine = emulator(30_000_000, &[(Knob::Getstream500, "busy".into())]);
    for how in ["write", "relay"] {
        let floor = Floor::start(how, 65_536, engine.addr());
        assert_eq!(floor.get("/").0, "404");
        assert_eq!(floor.get("/ace/getstream?id=x").0, "404");
        let (status, body) = floor.get(&format!("/?id={}", name(1)));
        assert_eq!((status.as_str(), body), ("200", 0), "a stream that the engine refuses");
    }
}

#[test]
fn zerocopy_says_what_it_lacks() {
    let refusal = support::start_without_io_uring("zerocopy");
    assert!(refusal.starts_with("floor: zerocopy needs io_uring"), "{refusal}");
    assert!(refusal.contains("not permitted"), "{refusal}");
}
