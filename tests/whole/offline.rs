//! What cannot be played, and what its viewers are told.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Knob;

fn by_infohash(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(n))
}

#[test]
fn fifty_viewers_of_a_dead_channel_are_told_why_and_disturb_nobody() {
    rig::steadily(fifty_viewers_of_a_dead_channel);
}

fn fifty_viewers_of_a_dead_channel() {
    let config = (401..403).fold(rig::one_channel(400), |config, n| {
        config.channel(Channel::signed(&rig::infohash(n)).bitrate_bps(2_000_000))
    });
    let engine = rig::engine(config.channel(Channel::offline(&rig::infohash(499))));
    let server = Server::with(&[&engine]).set("PROXY_INIT_TIMEOUT", "3").start().ready();
    let first_byte = |n| {
        let begun = rig::stopwatch();
        let mut player = Player::open(server.address, &by_infohash(n));
        assert!(player.play(20_000).starts_with_pat_pmt_rap);
        begun.elapsed()
    };
    let before = first_byte(401);
    let dead: Vec<_> = (0..50).map(|_| Player::ask(server.address, &by_infohash(499))).collect();
    let during = first_byte(402);
    let slack = std::time::Duration::from_millis(500);
    assert!(during < before * 5 + slack, "{during:?}, and alone {before:?}");
    for asked in dead {
        let reply = asked.reply();
        assert_eq!((reply.status, reply.error_code().as_str()), (504, "nothing_to_play"));
        assert!(reply.error_message().contains("no peers"), "{}", reply.text());
        assert!(reply.header("retry-after").is_some());
    }
    let id = format!("id={}", rig::infohash(499));
    let line = server.await_line(&["stream failed", &id, "answer=504"]);
    assert!(line.contains("reason=\"no peers (prebuf 0 %, peers 0, downloaded 0)\""), "{line}");
    rig::eventually("its session's stop", || {
        let sessions = engine.control().sessions();
        let dead = sessions.iter().find(|session| session.infohash == rig::infohash(499))?;
        (dead.stops == 1).then_some(())
    });
}

#[test]
fn a_start_that_grows_is_said_to_be_buffering() {
    let channel = Channel::signed(&rig::infohash(410)).cold_start_ms(30_000);
    let engine = rig::engine(rig::quick(channel));
    let server = Server::with(&[&engine]).set("PROXY_INIT_TIMEOUT", "6").start().ready();
    let reply = rig::get(server.address, &by_infohash(410));
    assert_eq!(reply.status, 504);
    let message = reply.error_message();
    assert!(message.contains("still buffering") && message.contains(" %"), "{message}");
    assert!(message.contains("4 peers"), "{message}");
}

#[test]
fn an_engines_refusal_is_told_in_its_own_words() {
    let config = (420..424)
        .fold(Config::default(), |config, n| config.channel(Channel::signed(&rig::infohash(n))));
    let engine = rig::engine(config);
    let server = Server::with(&[&engine]).start().ready();
    let cases = [
        (420, Knob::JsonError, "the sky is falling"),
        (421, Knob::JsonErrorObject, "an object says so"),
        (422, Knob::Getstream500, "a plain five hundred"),
    ];
    for (n, knob, text) in cases {
        engine.control().set_for(&rig::infohash(n), knob, text);
        let reply = rig::get(server.address, &by_infohash(n));
        assert_eq!((reply.status, reply.error_code().as_str()), (502, "engine_refused"));
        assert!(reply.error_message().contains(text), "{knob:?}: {}", reply.text());
        assert!(reply.header("retry-after").is_some());
    }
    engine.control().set_for(&rig::infohash(423), Knob::ResponseEmpty, true);
    let reply = rig::get(server.address, &by_infohash(423));
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert_eq!(engine.control().sessions_open(), 0);
}

#[test]
fn what_is_not_relayed_is_said_at_once_and_stopped() {
    let channel = |n| Channel::signed(&rig::infohash(n));
    let config = Config::default()
        .channel(Channel { is_live: 0, ..channel(430) })
        .channel(Channel { is_encrypted: true, ..channel(431) })
        .channel(Channel { hls_source: true, ..channel(432) });
    let engine = rig::engine(config);
    let server = Server::with(&[&engine]).start().ready();
    for (at, code) in ["not_live", "encrypted", "hls_source"].into_iter().enumerate() {
        let reply = rig::get(server.address, &by_infohash(430 + at as u32));
        assert_eq!((reply.status, reply.error_code().as_str()), (415, code));
        rig::await_stops(&engine, at as u64 + 1);
    }
    assert_eq!(engine.control().counters().playbacks, 0);
}

#[test]
fn without_an_engine_it_is_said_at_once() {
    let engine = rig::engine(rig::one_channel(440));
    let refusing = Server::with(&[&engine]).start().ready();
    engine.control().set(Knob::Refuse, true);
    rig::eventually("the engine to be down", || {
        let reply = rig::get(refusing.address, &by_infohash(440));
        assert_eq!((reply.status, reply.error_code().as_str()), (503, "no_engine"));
        assert!(reply.header("retry-after").is_some());
        (refusing.lines_with(&["engine down"]) > 0).then_some(())
    });
    let empty = Server::with_specs("none").start();
    let reply = rig::get(empty.address, &by_infohash(440));
    assert_eq!((reply.status, reply.error_code().as_str()), (503, "no_engine"));
    assert!(reply.header("retry-after").is_some());
}

#[test]
fn who_asks_again_is_told_at_once_and_the_channel_recovers_by_itself() {
    let engine = rig::engine(rig::quick(Channel::signed(&rig::infohash(450))));
    engine.control().set_for(&rig::infohash(450), Knob::JsonError, "failed to load content");
    let server = Server::with(&[&engine]).start().ready();
    let first = rig::get(server.address, &by_infohash(450));
    assert_eq!(first.status, 502, "{}", first.text());
    let asked = engine.control().counters().getstreams;
    let begun = rig::stopwatch();
    for _ in 0..20 {
        let reply = rig::get(server.address, &by_infohash(450));
        assert_eq!((reply.status, reply.error_code().as_str()), (504, "nothing_to_play"));
        assert!(reply.error_message().contains("failed to load content"), "{}", reply.text());
        let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&seconds), "{seconds}");
    }
    // Milliseconds each; a start without an answer would take ten seconds.
    assert!(begun.elapsed() < std::time::Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(engine.control().counters().getstreams, asked, "no engine is asked");
    let rows = server.api("/api/v1/offline");
    assert_eq!(
        (&rows["offline"][0]["id"], &rows["total"]),
        (&rig::infohash(450).into(), &1.into())
    );
    // It is back: the first to ask after the pause finds out.
    engine.control().clear(Knob::JsonError);
    let mut player = rig::eventually("it to be asked for again", || {
        let player = Player::ask(server.address, &by_infohash(450)).begin();
        (player.status == 200).then_some(player)
    });
    assert!(player.play(20_000).starts_with_pat_pmt_rap);
    assert_eq!(server.api("/api/v1/offline")["total"], 0);
}

#[test]
fn a_lack_of_our_own_is_not_the_channels_fault() {
    let config = (451..453).fold(Config::default(), |config, n| {
        config.channel(Channel::signed(&rig::infohash(n)).bitrate_bps(2_000_000))
    });
    let engine = rig::engine(config);
    let specs = format!("{},max=1", engine.addr());
    let server = Server::with_specs(&specs).set("PROXY_INIT_TIMEOUT", "1").start().ready();
    let mut player = Player::open(server.address, &by_infohash(451));
    player.play(20_000);
    let refused = rig::get(server.address, &by_infohash(452));
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "no_capacity"));
    assert_eq!(server.api("/api/v1/offline")["total"], 0);
    player.leave();
    rig::await_stops(&engine, 1);
    // The place is free when the engine's answer to the stop has come.
    let mut player = rig::eventually("the other channel", || {
        let player = Player::ask(server.address, &by_infohash(452)).begin();
        (player.status == 200).then_some(player)
    });
    player.play(20_000);
}
