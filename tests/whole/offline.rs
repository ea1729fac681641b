//! What cannot be played, and what its viewers are told.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use serde_json::Value;
use std::time::Duration;

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
    let slack = Duration::from_millis(500);
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

/// What an engine has been asked, but for whether it lives.
fn asked(engine: &Emulator) -> u64 {
    let had = engine.control().counters();
    had.media_files + had.getstreams + had.playbacks + had.stats + had.commands
}

/// By content id, and by an `id=` that is an infohash.
fn ways(content_of: u32, infohash_of: u32) -> [String; 6] {
    let (content_id, known, own) =
        (rig::content_id(content_of), rig::infohash(content_of), rig::infohash(infohash_of));
    [
        format!("/ace/getstream?id={content_id}"),
        format!("/ace/getstream?content_id={}", content_id.to_uppercase()),
        format!("/ace/getstream?infohash={known}"),
        format!("/ace/getstream?id={known}"),
        format!("/ace/getstream?id={own}"),
        format!("/ace/getstream?infohash={own}"),
    ]
}

/// Everybody is refused from memory, the last one within so long; how long each waited for that.
fn refused_from_memory(server: &Server, paths: &[String], rounds: usize) -> Vec<Duration> {
    let mut waits = Vec::new();
    for path in (0..rounds).flat_map(|_| paths) {
        let begun = rig::stopwatch();
        let reply = rig::get(server.address, path);
        waits.push(begun.elapsed());
        let what = format!("{path}: {}", reply.text());
        assert_eq!((reply.status, &*reply.error_code()), (504, "nothing_to_play"), "{what}");
        assert!(reply.error_message().ends_with("(asked a moment ago)"), "{what}");
        let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&seconds), "{what}");
    }
    waits
}

/// A mark lasts ten seconds; nothing is said of who asks later than this after it was made.
const MARK: Duration = Duration::from_secs(9);

#[test]
fn who_asks_again_is_told_at_once_and_the_channel_recovers_by_itself() {
    rig::steadily(who_asks_again);
}

fn who_asks_again() {
    let config = rig::one_channel(450).channel(Channel::signed(&rig::infohash(449)));
    let engine = rig::engine(config);
    engine.control().set(Knob::JsonError, "failed to load content");
    let server = Server::with(&[&engine]).set("RINGCAST_SHARDS", "3").start().ready();
    let paths = ways(450, 449);
    let begun = rig::stopwatch();
    for path in [&paths[0], &paths[4]] {
        let first = rig::get(server.address, path);
        assert_eq!(first.status, 502, "{}", first.text());
    }
    let rows = rig::eventually("both marks", || {
        let page = server.api("/api/v1/offline");
        (page["total"] == 2).then(|| page["offline"].as_array().unwrap().clone())
    });
    let content_id = |n| {
        let row = rows.iter().find(|row| row["id"] == rig::infohash(n));
        row.expect("its row")["content_id"].clone()
    };
    assert_eq!((content_id(450), content_id(449)), (rig::content_id(450).into(), Value::Null));
    let before = engine.control().counters();
    let had = asked(&engine);
    let mut waits = refused_from_memory(&server, &paths, 10);
    // Nor is it asked when it would not answer.
    engine.control().set(Knob::HangMediaFiles, true);
    engine.control().set(Knob::HangGetstream, true);
    waits.extend(refused_from_memory(&server, &paths, 10));
    waits.sort_unstable();
    let (median, worst) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    rig::say(&format!("an offline channel is refused in {median:?}, at worst {worst:?}"));
    assert!(begun.elapsed() < MARK, "too slow to say anything: {:?}", begun.elapsed());
    assert_eq!(asked(&engine), had, "{:?}", engine.control().counters());
    assert!(median < Duration::from_millis(50), "{median:?}");
    // They are back: the first to ask after the pause finds out, and what an id means as well.
    engine.control().clear(Knob::HangMediaFiles);
    engine.control().clear(Knob::HangGetstream);
    engine.control().clear(Knob::JsonError);
    for (n, path) in [(1, &paths[0]), (2, &paths[4])] {
        let mut player = rig::eventually("it to be asked for again", || {
            let player = Player::ask(server.address, path).begin();
            (player.status == 200).then_some(player)
        });
        assert!(player.play(20_000).starts_with_pat_pmt_rap);
        let now = engine.control().counters();
        let more = (now.media_files - before.media_files, now.getstreams - before.getstreams);
        assert_eq!(more, (n, n), "each asked for once");
    }
    assert_eq!(server.api("/api/v1/offline")["total"], 0);
}

/// Engines say what an id means only when the stream is opened, or do not say it at all.
#[test]
fn what_no_engine_could_look_up_is_answered_from_memory_as_well() {
    let config = rig::one_channel(446)
        .channel(Channel::offline(&rig::infohash(447)).content_id(&rig::content_id(447)))
        .channel(Channel::signed(&rig::infohash(448)))
        .knob(Knob::HangMediaFiles, true);
    let engine = rig::engine(config);
    // What is not to be had as a content id is asked for as an infohash.
    for id in [rig::infohash(446), rig::content_id(446), rig::infohash(448)] {
        engine.control().set_for(&id, Knob::JsonError, "failed to load content");
    }
    let server = Server::with(&[&engine])
        .set("RINGCAST_SHARDS", "3")
        .set("PROXY_INIT_TIMEOUT", "5")
        .set("PROXY_GRACE_PERIOD", "100ms")
        .start()
        .ready();
    let by = |id: String| format!("/ace/getstream?id={id}");
    let paths = [by(rig::content_id(446)), by(rig::content_id(447)), by(rig::infohash(448))];
    let begun = rig::stopwatch();
    let first = paths.each_ref().map(|path| Player::ask(server.address, path));
    let told = first.map(|asked| asked.reply().status);
    assert_eq!(told, [502, 504, 502]);
    let rows = rig::eventually("the marks", || {
        let page = server.api("/api/v1/offline");
        (page["total"] == 3).then(|| page["offline"].as_array().unwrap().clone())
    });
    // Under the infohash where an engine has named one.
    let ids = [rig::content_id(446), rig::infohash(447), rig::infohash(448)];
    assert!(ids.iter().all(|id| rows.iter().any(|row| row["id"] == id.as_str())), "{rows:?}");
    rig::await_stops(&engine, 1);
    // Each lookup took three seconds before there was anything to mark.
    let in_time = || begun.elapsed() < Duration::from_secs(3) + MARK;
    let had = asked(&engine);
    let mut rounds = 0;
    while rounds < 5 && in_time() {
        refused_from_memory(&server, &paths, 1);
        rounds += 1;
    }
    assert!(rounds > 0 && in_time(), "too slow to say anything");
    assert_eq!(asked(&engine), had, "{:?}", engine.control().counters());
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
