//! Engines are left while they still play: an operator moves a stream, an engine is drained, a start
//! takes too long. And broadcasts that have stopped moving.

use crate::rig;
use crate::rig::Player;
use crate::rig::Reply;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use serde_json::Value;

const SECOND: u64 = 250_000;

fn path(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(n))
}

fn change(server: &Server, method: &str, path: &str) -> Reply {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    rig::exchange(server.address, head.as_bytes())
}

fn post(server: &Server, path: &str) -> Reply {
    change(server, "POST", path)
}

/// Two engines of one broadcast; the first one is chosen first.
fn twins(n: u32) -> ([Emulator; 2], String) {
    let engines = rig::twins(n);
    let [first, second] = engines.each_ref().map(Emulator::addr);
    (engines, format!("{first},name=a,forwarded {second},name=b"))
}

fn engine_of(server: &Server, n: u32) -> String {
    let row = server.api(&format!("/api/v1/streams/{}", rig::infohash(n)));
    row["engine"].as_str().unwrap_or_default().to_owned()
}

/// Nobody has noticed anything.
fn untouched(server: &Server, players: &mut [Player]) {
    let until = players.iter().map(|player| player.report().bytes).max().unwrap() + 3 * SECOND;
    rig::play_together(players, until);
    for player in &*players {
        let report = player.report();
        assert!(report.is_unbroken() && report.inserted.marks == 0, "{report:?}");
    }
    assert_eq!(server.lines_with(&["viewer end"]), 0);
}

#[test]
fn a_stream_is_moved_and_its_viewers_stay() {
    let (engines, specs) = twins(850);
    let server = rig::both_up(Server::with_specs(&specs).start());
    let mut players: Vec<_> = (0..3).map(|_| Player::open(server.address, &path(850))).collect();
    rig::play_together(&mut players, 3 * SECOND);
    assert_eq!(engine_of(&server, 850), "a");
    let reply = post(&server, &format!("/api/v1/streams/{}/move", rig::infohash(850)));
    assert_eq!(reply.status, 200, "{}", reply.text());
    eventually("the move", || (engine_of(&server, 850) == "b").then_some(()));
    untouched(&server, &mut players);
    rig::await_stops(&engines[0], 1);
    // And to a named one.
    let back = format!("/api/v1/streams/{}/move?engine=a", rig::infohash(850));
    assert_eq!(post(&server, &back).status, 200);
    eventually("the way back", || (engine_of(&server, 850) == "a").then_some(()));
    untouched(&server, &mut players);
    assert_eq!(server.labelled_metric("ringcast_failovers_total", "moved"), 2.0);
    let there = post(&server, &back);
    let message = rig::Refusal::no_cors(400, "bad_request").check("where it is", &there);
    assert!(message.contains("is on a already"), "{message}");
    let unknown = format!("/api/v1/streams/{}/move?engine=nobody", rig::infohash(850));
    assert_eq!(post(&server, &unknown).status, 404);
    let absent = format!("/api/v1/streams/{}/move", rig::infohash(899));
    assert_eq!(post(&server, &absent).status, 404);
}

#[test]
fn a_drained_engine_is_left_by_everybody() {
    let (engines, specs) = twins(851);
    let server = rig::both_up(Server::with_specs(&specs).start());
    let mut players = [Player::open(server.address, &path(851))];
    players[0].play(2 * SECOND);
    assert_eq!(engine_of(&server, 851), "a");
    assert_eq!(post(&server, "/api/v1/engines/a/drain").status, 200);
    eventually("the move", || (engine_of(&server, 851) == "b").then_some(()));
    untouched(&server, &mut players);
    rig::await_stops(&engines[0], 1);
    assert_eq!(engines[1].control().sessions_open(), 1);
    // Taken back, it is there for the next one to be drained.
    assert_eq!(post(&server, "/api/v1/engines/a/drain?draining=false").status, 200);
    assert_eq!(post(&server, "/api/v1/engines/b/drain").status, 200);
    rig::while_they_play(&mut players, || {
        eventually("the way back", || (engine_of(&server, 851) == "a").then_some(()));
    });
    untouched(&server, &mut players);
    // With both of them drained there is nowhere to go: it plays on, and that is said.
    assert_eq!(post(&server, "/api/v1/engines/a/drain").status, 200);
    rig::while_they_play(&mut players, || {
        server.await_line(&["stream not moved", "engine=a", "reason="]);
    });
    untouched(&server, &mut players);
}

/// The other engine has another broadcast under that name.
#[test]
fn a_move_without_an_overlap_is_one_declared_discontinuity() {
    let channel = Channel::signed(&rig::infohash(858)).tag(78).bitrate_bps(2_000_000);
    let engines = [rig::engine(rig::one_channel(858)), rig::engine(rig::quick(channel))];
    let specs = format!("{},name=a,forwarded {},name=b", engines[0].addr(), engines[1].addr());
    let server = rig::both_up(Server::with_specs(&specs).start());
    let mut players: Vec<_> = (0..2).map(|_| Player::open(server.address, &path(858))).collect();
    rig::play_together(&mut players, 2 * SECOND);
    assert_eq!(post(&server, &format!("/api/v1/streams/{}/move", rig::infohash(858))).status, 200);
    rig::while_they_play(&mut players, || {
        server.await_line(&["stream goes on", "engine=b", "join=jump"]);
    });
    let until = players.iter().map(|player| player.report().bytes).max().unwrap() + 4 * SECOND;
    rig::play_together(&mut players, until);
    for player in &players {
        let report = player.report();
        assert!(report.is_lawful(), "{report:?}");
        assert_eq!((report.switches, report.gap_count), (1, 0), "{report:?}");
    }
    assert_eq!(server.lines_with(&["viewer end"]), 0);
    rig::await_stops(&engines[0], 1);
}

/// An engine that answers its status and refuses whatever is asked of it.
#[test]
fn an_engine_that_fails_three_times_is_asked_no_more_for_a_while() {
    let channels = (1..5).map(|n| Channel::signed(&rig::infohash(860 + n)).bitrate_bps(2_000_000));
    let config = || channels.clone().fold(rig::one_channel(860), ace_emulator::Config::channel);
    let engines = [rig::engine(config()), rig::engine(config())];
    let specs = format!("{},name=a,forwarded {},name=b", engines[0].addr(), engines[1].addr());
    let server =
        rig::both_up(Server::with_specs(&specs).set("PROXY_GRACE_PERIOD", "100ms").start());
    engines[0].control().set(Knob::Premium, true);
    for n in 1..5 {
        let mut player = Player::open(server.address, &path(860 + n));
        assert_eq!(player.status, 200, "the other engine has it");
        player.play(SECOND);
        // The first one is chosen for having nothing to do.
        player.leave();
        rig::await_stops(&engines[1], u64::from(n));
    }
    assert_eq!(engines[0].control().counters().getstreams, 3, "then it rests");
    let rest = |name: &str| {
        let rows = server.api("/api/v1/engines");
        let row = rows["engines"].as_array().unwrap().iter().find(|row| row["id"] == name);
        row.unwrap()["rest"].clone()
    };
    let a = rest("a");
    assert!(a["reason"].as_str().is_some_and(|text| text.contains("premium")), "{a}");
    assert!(a["until"].as_f64().is_some_and(|until| until > 1e9), "{a}");
    assert_eq!(rest("b"), Value::Null);
    // Until an operator says otherwise.
    let ended = |name: &str| change(&server, "DELETE", &format!("/api/v1/engines/{name}/rest"));
    assert_eq!((ended("b").status, ended("c").status), (404, 404), "what does not rest");
    let reply = ended("a");
    assert_eq!((reply.status, &*reply.text()), (200, "{\"id\":\"a\"}"));
    assert_eq!((rest("a"), ended("a").status), (Value::Null, 404));
    let mut player = Player::open(server.address, &path(864));
    player.play(SECOND);
    assert_eq!(engines[0].control().counters().getstreams, 4, "it is asked again");
}

/// Two names of one content: what is wanted of the one is wanted of the other once that is known.
#[test]
fn warmth_goes_with_a_stream_into_the_one_that_it_turns_out_to_be() {
    let other = Channel::signed(&rig::infohash(870)).bitrate_bps(2_000_000);
    let config = rig::one_channel(859).channel(other).knob(Knob::UnknownMediaFiles, true);
    let engine = rig::engine(config);
    let server = Server::with(&[&engine]).set("PROXY_GRACE_PERIOD", "100ms").start().ready();
    let mut players = [Player::open(server.address, &path(859))];
    players[0].play(SECOND);
    let warm = format!("/api/v1/streams/{}/warm?seconds=60", rig::content_id(859));
    assert_eq!(post(&server, &warm).status, 200);
    rig::while_they_play(&mut players, || {
        eventually("the merge", || {
            let opened = engine.control().counters().sessions_opened == 2;
            (opened && server.count("streams") == 1).then_some(())
        });
    });
    let [player] = players;
    player.leave();
    eventually("nobody", || (server.count("viewers") == 0).then_some(()));
    // Another one that nobody wants ends, later.
    let mut passing = Player::open(server.address, &path(870));
    passing.play(SECOND);
    passing.leave();
    server.await_line(&["viewer end", &rig::infohash(870)]);
    eventually("its end", || (server.count("streams") == 1).then_some(()));
    let row = server.api("/api/v1/streams")["streams"][0].clone();
    assert_eq!((&row["id"], &row["viewers"]), (&rig::infohash(859).into(), &0.into()));
    assert_eq!(row["state"], "active");
}

#[test]
fn a_move_to_an_engine_that_cannot_costs_nothing() {
    let (engines, specs) = twins(852);
    let server = rig::both_up(Server::with_specs(&specs).start());
    engines[1].control().set(Knob::JsonError, "failed to load content");
    let mut players = [Player::open(server.address, &path(852))];
    players[0].play(2 * SECOND);
    assert_eq!(post(&server, &format!("/api/v1/streams/{}/move", rig::infohash(852))).status, 200);
    eventually("it to be tried", || {
        (engines[1].control().counters().getstreams == 1).then_some(())
    });
    server.await_line(&["stream not moved", "engine=a", "to=b", "failed to load content"]);
    assert_eq!(server.labelled_metric("ringcast_rivals_failed_total", "move"), 1.0);
    untouched(&server, &mut players);
    assert_eq!(engine_of(&server, 852), "a");
    let counters = engines[0].control().counters();
    assert_eq!((counters.stops, counters.sessions_opened), (0, 1));
}

/// The first of two engines is slow in one way or another.
fn hedged(
    n: u32,
    after: &str,
    slow: Knob,
    value: impl Into<ace_emulator::Value>,
) -> ([Emulator; 2], Server) {
    let (engines, specs) = twins(n);
    engines[0].control().set(slow, value);
    let start = Server::with_specs(&specs).set("RINGCAST_HEDGE_AFTER", after);
    let patience = if after == "off" { "2" } else { "10" };
    (engines, rig::both_up(start.set("PROXY_INIT_TIMEOUT", patience).start()))
}

#[test]
fn a_slow_start_is_hedged_only_where_that_is_asked_for() {
    let (engines, server) = hedged(854, "off", Knob::SilentPrebuf, true);
    assert_eq!(Player::open(server.address, &path(854)).status, 504);
    assert_eq!(engines[1].control().counters().getstreams, 0);

    let silent = hedged(853, "1s", Knob::SilentPrebuf, true);
    // This one has not answered the open when it has lost: what it opens after all is stopped then.
    let late = hedged(871, "1s", Knob::ResolveMs, 3_000_u64);
    for (n, (engines, server)) in [(853, silent), (871, late)] {
        let mut player = Player::open(server.address, &path(n));
        assert_eq!(player.status, 200, "{}", player.head);
        assert!(player.play(2 * SECOND).is_unbroken(), "{:?}", player.report());
        assert_eq!(engine_of(&server, n), "b");
        rig::while_they_play(std::slice::from_mut(&mut player), || {
            rig::await_stops(&engines[0], 1)
        });
        let counters = engines[0].control().counters();
        assert_eq!((counters.sessions_opened, counters.contents), (1, 0), "{counters:?}");
        let facts = server.api(&format!("/api/v1/streams/{}", rig::infohash(n)));
        assert_eq!((&facts["failovers"], &facts["discontinuities"]), (&0.into(), &0.into()));
        assert_eq!(engines[1].control().sessions_open(), 1);
        assert!(player.play_on(SECOND).is_unbroken(), "the loser's stop is nobody else's");
    }
}

/// An engine that never answers the open has nothing that could be stopped, and nobody waits for it.
#[test]
fn a_start_that_hangs_in_the_open_is_hedged() {
    let (engines, server) = hedged(874, "1s", Knob::HangGetstream, true);
    let mut player = Player::open(server.address, &path(874));
    assert!(player.play(2 * SECOND).is_unbroken(), "{:?}", player.report());
    assert_eq!(engine_of(&server, 874), "b");
    player.leave();
    rig::await_stops(&engines[1], 1);
    assert_eq!(engines[0].control().counters().stops, 0);
}

/// Its stat says that it downloads: it needs only a little more. An engine's first stat says nothing yet,
/// and it is asked once a second.
#[test]
fn a_start_that_grows_is_not_hedged() {
    let (engines, server) = hedged(875, "3s", Knob::ColdStartMs, 5_000_u64);
    let mut player = Player::open(server.address, &path(875));
    assert!(player.play(SECOND).is_unbroken(), "{:?}", player.report());
    assert_eq!(engine_of(&server, 875), "a");
    assert_eq!(engines[1].control().counters().getstreams, 0);
}

/// Nobody watches, and the next one to come finds it running.
#[test]
fn a_channel_is_warmed_before_anybody_comes() {
    let engine = rig::engine(rig::one_channel(856).knob(Knob::ColdStartMs, 500_u64));
    let server = Server::with(&[&engine]).set("PROXY_GRACE_PERIOD", "100ms").start().ready();
    let warm = format!("/api/v1/streams/{}/warm", rig::content_id(856));
    let reply = post(&server, &format!("{warm}?seconds=60"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let row = || server.api("/api/v1/streams")["streams"][0].clone();
    eventually("it to run", || (row()["state"] == "active").then_some(()));
    assert_eq!(row()["viewers"], 0);
    for _ in 0..2 {
        let mut player = Player::open(server.address, &Server::play(&rig::content_id(856)));
        assert!(player.play(SECOND).is_unbroken());
        player.leave();
        eventually("nobody", || (row()["viewers"] == 0).then_some(()));
    }
    assert_eq!(engine.control().counters().sessions_opened, 1);
    // The last word counts: it ends when that is over.
    assert_eq!(post(&server, &format!("{warm}?seconds=1")).status, 200);
    rig::await_stops(&engine, 1);
    assert_eq!(post(&server, &format!("{warm}?seconds=0")).status, 400);
}

/// Warming is not forcing: a channel that does not start is given up like any other.
#[test]
fn what_cannot_be_warmed_says_so() {
    let engine = rig::engine(rig::one_channel(857));
    engine.control().set_for(&rig::infohash(857), Knob::JsonError, "failed to load content");
    let server = Server::with(&[&engine]).start().ready();
    let warm = format!("/api/v1/streams/{}/warm", rig::infohash(857));
    assert_eq!(post(&server, &warm).status, 200);
    server.await_line(&["stream failed", &rig::infohash(857)]);
    eventually("the mark", || (server.api("/api/v1/offline")["total"] == 1).then_some(()));
    let asked = engine.control().counters().getstreams;
    assert_eq!(post(&server, &warm).status, 200);
    server.await_line(&["stream not warmed", &rig::infohash(857), "failed to load content"]);
    assert_eq!(engine.control().counters().getstreams, asked, "no engine is asked again");
    assert_eq!(server.api("/api/v1/streams")["total"], 0);
}

#[test]
fn a_recording_that_is_sent_as_live_is_reported() {
    let engine = rig::engine(rig::one_channel(855));
    engine.control().set(Knob::LiveLastAgeS, 3_600_u64);
    let server = Server::with(&[&engine]).start().ready();
    let mut player = Player::open(server.address, &path(855));
    player.play(2 * SECOND);
    server.await_line(&["stream frozen", &rig::infohash(855)]);
    let row = server.api(&format!("/api/v1/streams/{}", rig::infohash(855)));
    assert_eq!(row["frozen"], true, "{row}");
    assert_eq!(server.metric("ringcast_streams_frozen"), 1.0);
}
