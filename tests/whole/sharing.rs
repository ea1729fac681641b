//! One engine session per channel, however many watch it and however they ask.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Knob;

const SECOND: u64 = 250_000;

#[test]
fn a_single_client_plays_and_leaves() {
    let engine = rig::engine(rig::one_channel(1));
    let server = Server::with(&[&engine]).start().ready();
    let mut player = Player::open(server.address, &Server::play(&rig::content_id(1)));
    assert_eq!(player.status, 200);
    assert_eq!(player.header("content-type"), Some("video/mp2t"));
    assert_eq!(player.header("connection"), Some("close"));
    assert!(player.header("content-length").is_none());
    assert!(player.header("x-ringcast-viewer").is_some());
    let report = player.play(6 * SECOND);
    assert!(report.is_unbroken(), "{report:?}");
    assert_eq!(server.count("viewers"), 1);
    assert_eq!(server.count("engine_sessions"), 1);
    player.leave();
    server.await_line(&["viewer end", "reason=left"]);
    eventually("the session to be stopped", || {
        (engine.control().sessions_open() == 0).then_some(())
    });
    assert_eq!(engine.control().counters().stops, 1);
    eventually("no stream", || (server.count("streams") == 0).then_some(()));
    assert!(server.stop().success());
}

#[test]
fn many_clients_share_one_session_and_one_connection() {
    let engine = rig::engine(rig::one_channel(2));
    let server = Server::with(&[&engine]).start().ready();
    let path = Server::play(&rig::content_id(2));
    let mut players: Vec<Player> = (0..10).map(|_| Player::open(server.address, &path)).collect();
    rig::play_together(&mut players, 6 * SECOND);
    for player in &players {
        assert!(player.report().is_unbroken(), "{:?}", player.report());
    }
    assert_eq!(engine.control().counters().getstreams, 1);
    assert_eq!(engine.control().readers(), 1);
    assert_eq!(server.count("viewers"), 10);
    let listed = server.api(&format!("/api/v1/viewers?stream={}", rig::infohash(2)));
    assert_eq!(listed["total"], 10);
    let ids: std::collections::BTreeSet<_> =
        listed["viewers"].as_array().unwrap().iter().map(|row| row["id"].to_string()).collect();
    assert_eq!(ids.len(), 10, "every connection has an id of its own");
}

#[test]
fn a_return_within_the_grace_period_continues_on_the_same_session() {
    let engine = rig::engine(rig::one_channel(3));
    let server = Server::with(&[&engine]).set("PROXY_GRACE_PERIOD", "20").start().ready();
    let path = Server::play(&rig::content_id(3));
    let mut first = Player::open(server.address, &path);
    first.play(SECOND);
    first.leave();
    server.await_line(&["viewer end"]);
    let mut second = Player::open(server.address, &path);
    assert!(second.play(4 * SECOND).is_unbroken());
    assert_eq!(engine.control().counters().getstreams, 1);
    assert_eq!(engine.control().counters().stops, 0);
}

#[test]
fn a_thousand_first_requests_open_one_session() {
    let channel = Channel::signed(&rig::infohash(4))
        .content_id(&rig::content_id(4))
        .bitrate_bps(1_000_000)
        .cold_start_ms(1_500);
    let engine = rig::engine(rig::quick(channel));
    let server = Server::with(&[&engine]).start().ready();
    let path = Server::play(&rig::content_id(4));
    let asked: Vec<_> = (0..1_000).map(|_| Player::ask(server.address, &path)).collect();
    let mut players: Vec<Player> = asked.into_iter().map(rig::Asked::begin).collect();
    assert_eq!(engine.control().counters().getstreams, 1);
    for player in &mut players {
        let report = player.play(20_000);
        assert_eq!(player.status, 200);
        assert!(report.starts_with_pat_pmt_rap, "{report:?}");
    }
    drop(players);
    eventually("one stop", || (engine.control().sessions_open() == 0).then_some(()));
    assert_eq!(engine.control().counters().stops, 1);
}

#[test]
fn head_opens_nothing() {
    let engine = rig::engine(rig::one_channel(5));
    let server = Server::with(&[&engine]).start().ready();
    for id in [rig::content_id(5), rig::infohash(5), rig::content_id(99)] {
        for _ in 0..34 {
            let path = Server::play(&id);
            let head = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let reply = rig::request(server.address, &head);
            assert_eq!(reply.status, 200);
            assert!(reply.header("x-ringcast-viewer").is_none());
            assert!(reply.body.is_empty());
        }
    }
    let counters = engine.control().counters();
    assert_eq!((counters.getstreams, counters.heads), (0, 0));
}

#[test]
fn every_name_of_a_content_is_one_session() {
    let engine = rig::engine(rig::one_channel(6));
    let server = Server::with(&[&engine]).start().ready();
    let (infohash, content) = (rig::infohash(6), rig::content_id(6));
    let paths = [
        Server::play(&content),
        Server::play(&infohash),
        format!("/ace/getstream?infohash={infohash}"),
        format!("/ace/getstream?content_id={content}"),
        format!("/ace/getstream/?id=acestream://{}", content.to_uppercase()),
    ];
    let asked: Vec<_> = paths.iter().map(|path| Player::ask(server.address, path)).collect();
    let mut players: Vec<Player> = asked.into_iter().map(rig::Asked::begin).collect();
    for player in &mut players {
        assert_eq!(player.status, 200, "{}", player.head);
        assert!(player.play(2 * SECOND).is_unbroken());
    }
    assert_eq!(engine.control().counters().sessions_opened, 1);
    assert_eq!(server.count("streams"), 1);
}

#[test]
fn streams_spread_over_engines_within_their_limits() {
    let channels = |config: Config| {
        (10..22).fold(config, |config, n| {
            config.channel(Channel::signed(&rig::infohash(n)).bitrate_bps(400_000))
        })
    };
    let config = || channels(Config::default().knob(Knob::BurstBytes, 200_000));
    let engines = [rig::engine(config()), rig::engine(config()), rig::engine(config())];
    let specs = format!(
        "{},name=a,max=4 {},name=b,forwarded,max=4 {},name=c,max=4",
        engines[0].addr(),
        engines[1].addr(),
        engines[2].addr()
    );
    let server = Server::with_specs(&specs).start().ready();
    eventually("three engines up", || {
        let rows = server.api("/api/v1/engines");
        let up = rows["engines"].as_array()?.iter().filter(|row| row["state"] == "up").count();
        (up == 3).then_some(())
    });
    let first =
        Player::open(server.address, &format!("/ace/getstream?infohash={}", rig::infohash(10)));
    assert_eq!(first.status, 200);
    assert_eq!(engines[1].control().sessions_open(), 1, "the forwarded one of equals");
    // 200 racing starts of 12 channels: each once, never more than four an engine.
    let asked: Vec<_> = (0..200)
        .map(|n| {
            let id = rig::infohash(10 + n % 12);
            Player::ask(server.address, &format!("/ace/getstream?infohash={id}"))
        })
        .collect();
    let players: Vec<Player> = asked.into_iter().map(rig::Asked::begin).collect();
    assert!(players.iter().all(|player| player.status == 200));
    for engine in &engines {
        assert_eq!(engine.control().sessions_open(), 4);
        assert_eq!(engine.control().counters().sessions_opened, 4);
    }
    let one_more =
        rig::get(server.address, &format!("/ace/getstream?infohash={}", rig::infohash(99)));
    assert_eq!(one_more.status, 503);
    assert!(one_more.error_message().contains("max"), "{}", one_more.text());
    assert!(one_more.header("retry-after").is_some());
}
