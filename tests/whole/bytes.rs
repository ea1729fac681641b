//! The bytes that a player gets: the engine's packets, every one of them, in order, from tables
//! and a random access point on; and what is added when the engine has nothing to say.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use ace_emulator::now_us;
use ace_emulator::signed::Video;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

const PACKET: u64 = 188;

/// A channel that cannot be taken for another one.
fn tagged(n: u32, bitrate_bps: u64) -> Channel {
    Channel::signed(&rig::infohash(n)).tag(n).bitrate_bps(bitrate_bps)
}

fn path(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(n))
}

/// How far the first packet of a player lies behind live, now.
fn behind_s(engine: &Emulator, n: u32, player: &Player) -> f64 {
    let config = engine.control().signed_config(&rig::infohash(n)).unwrap();
    let first = player.report().first_index.expect("a packet came");
    let emitted_us = config.epoch_us + config.emission_offset_us(first);
    now_us().saturating_sub(emitted_us) as f64 / 1e6
}

#[test]
fn fifty_viewers_get_every_byte_however_the_engine_writes() {
    // (channel, knob, bytes, framing): single bytes, one less and one more than a packet, and
    // chunks whose heads lie anywhere.
    let odd = [
        (100, Knob::WriteBytes, 1, "close"),
        (101, Knob::WriteBytes, 187, "length"),
        (102, Knob::WriteBytes, 189, "chunked"),
        (103, Knob::ChunkBytes, 7, "chunked"),
        (104, Knob::ChunkBytes, 4_093, "chunked"),
    ];
    let config = Config::default().knob(Knob::BurstBytes, 150_000).knob(Knob::PieceBytes, 6_001);
    let engine =
        rig::engine(odd.iter().fold(config, |config, row| config.channel(tagged(row.0, 300_000))));
    for (n, knob, bytes, framing) in odd {
        engine.control().set_for(&rig::infohash(n), knob, bytes);
        engine.control().set_for(&rig::infohash(n), Knob::BodyMode, framing);
    }
    let server = Server::with(&[&engine]).start().ready();
    // Ten rounds, each a little later in the stream than the one before.
    let mut players: Vec<(u32, Player)> = Vec::new();
    for _ in 0..10 {
        for (n, ..) in odd {
            players.push((n, Player::open(server.address, &path(n))));
        }
        let (_, clock) = &mut players[0];
        clock.play_on(6_001);
    }
    let mut starts = std::collections::BTreeSet::new();
    for (n, player) in &mut players {
        let report = player.play(250_000);
        assert!(report.is_unbroken(), "{n}: {report:?}");
        assert_eq!(player.source(), engine.control().signed_config(&rig::infohash(*n)), "{n}");
        starts.insert((*n, report.first_index));
    }
    assert!(starts.len() > odd.len(), "everybody started at the same packet: {starts:?}");
    assert_eq!(engine.control().counters().contents, 5);
    assert!(server.metric("ringcast_ts_sync_losses_total") == 0.0);
}

#[test]
fn damage_costs_what_is_damaged_and_is_counted() {
    let engine = rig::engine(rig::quick(tagged(110, 2_000_000)).channel(tagged(111, 2_000_000)));
    let control = engine.control();
    let (between, within) = (rig::infohash(110), rig::infohash(111));
    // In the burst, behind the first GOP that anybody can start with.
    for infohash in [&between, &within] {
        control.set_for(infohash, Knob::MisalignedBytes, 1_001_u64);
        control.set_for(infohash, Knob::GarbageBytes, 10_007_u64);
    }
    control.set_for(&between, Knob::GarbageAtBytes, 5_000 * PACKET);
    control.set_for(&within, Knob::GarbageAtBytes, 5_000 * PACKET + 181);
    control.set_for(&within, Knob::FlipBitAtBytes, 5_500 * PACKET);
    // From the first packet that there is, however late they come.
    let server = Server::with(&[&engine]).set("RINGCAST_JOIN_SECONDS", "30").start().ready();

    let mut clean = Player::open(server.address, &path(110));
    let report = clean.play(1_300_000);
    assert!(report.is_unbroken(), "garbage between packets costs none: {report:?}");
    assert_eq!(server.metric("ringcast_ts_sync_losses_total"), 1.0);

    let mut hurt = Player::open(server.address, &path(111));
    let report = hurt.play(1_300_000);
    assert!(report.starts_with_pat_pmt_rap, "{report:?}");
    assert_eq!(report.misaligned_bytes, 0, "{report:?}");
    // The packet that the garbage cut, and the one that lost its sync byte.
    assert_eq!(report.wrong_packets, 1, "{report:?}");
    assert_eq!((report.gap_count, report.lost_packets), (1, 1), "{report:?}");
    assert_eq!(report.switches + report.inserted.marks, 0);
    assert_eq!(server.metric("ringcast_ts_sync_losses_total"), 3.0);
    let config = control.signed_config(&within).unwrap();
    assert_eq!(hurt.source(), Some(config));

    clean.leave();
    hurt.leave();
    eventually("both streams to end", || (server.count("streams") == 0).then_some(()));
    assert_eq!(server.metric("ringcast_ts_sync_losses_total"), 3.0, "a counter only grows");
}

#[test]
fn every_codec_starts_at_tables_and_a_random_access_point_whenever_one_joins() {
    let kinds = [Video::H264, Video::Hevc, Video::Mpeg2, Video::None];
    let numbered = || (120..).zip(kinds);
    let config = numbered().fold(
        Config::default().knob(Knob::BurstBytes, 400_000).knob(Knob::PieceBytes, 9_000),
        |config, (n, video)| config.channel(tagged(n, 800_000).video(video).gop_ms(1_000)),
    );
    let engine = rig::engine(config);
    let server = Server::with(&[&engine]).start().ready();
    let mut players = Vec::new();
    let mut starts = std::collections::BTreeSet::new();
    let mut clock = Player::open(server.address, &path(120));
    clock.play(300_000);
    for _ in 0..6 {
        for (n, _) in numbered() {
            let player = Player::open(server.address, &path(n));
            assert_eq!(player.status, 200);
            players.push((n, player));
        }
        // Half a GOP later.
        clock.play_on(50_000);
    }
    for (n, player) in &mut players {
        let report = player.play(160_000);
        assert!(report.is_unbroken(), "{n}: {report:?}");
        starts.insert((*n, report.first_index));
    }
    assert!(starts.len() >= 12, "three GOPs went by: {starts:?}");
    assert_eq!(engine.control().counters().contents, 4);
}

#[test]
fn seekback_starts_so_many_seconds_behind_live_within_the_ring() {
    let gop_s = 1.0;
    let channel = tagged(130, 2_000_000).gop_ms(1_000);
    // Twenty seconds of the past come with the burst.
    let engine = rig::engine(rig::quick(channel).knob(Knob::BurstBytes, 5_000_000));
    let server = Server::with(&[&engine]).start().ready();
    let all = format!("{}&seekback=3000", path(130));
    let mut first = Player::open(server.address, &all);
    first.play(4_900_000);
    let oldest = first.report().first_index;
    let wanted = [
        ("", 1.0),
        ("&seekback=0", 1.0),
        ("&seekback=6", 6.0),
        ("&delay=11", 11.0),
        ("&seekback=15&pid=x", 15.0),
    ];
    for (extra, seconds) in wanted {
        let asked = rig::stopwatch();
        let mut player = Player::open(server.address, &format!("{}{extra}", path(130)));
        player.play(20_000);
        // It began at some moment since it asked.
        let behind_now_s = behind_s(&engine, 130, &player);
        let behind_then_s = behind_now_s - asked.elapsed().as_secs_f64();
        // An access point is at most a GOP away; live is a piece and a busy machine away.
        let most_s = seconds + gop_s + 3.0;
        let is_there = behind_now_s >= seconds && behind_then_s < most_s;
        assert!(is_there, "{extra}: {behind_then_s} to {behind_now_s} s, {seconds} to {most_s}");
        let report = player.play(500_000);
        assert!(report.is_unbroken(), "{extra}: {report:?}");
    }
    let mut beyond = Player::open(server.address, &all);
    let report = beyond.play(4_000_000);
    assert!(report.is_unbroken(), "{report:?}");
    assert_eq!(report.first_index, oldest, "more than there is: the oldest there is");
}

#[test]
fn silence_is_filled_with_a_null_packet_a_second() {
    let engine = rig::engine(rig::quick(tagged(140, 2_000_000)).channel(tagged(141, 2_000_000)));
    let control = engine.control();
    // Nothing at all on one channel yet, and silence on the other in a moment.
    control.set_for(&rig::infohash(141), Knob::Starve, true);
    let server = Server::with(&[&engine]).set("PROXY_INIT_TIMEOUT", "60").start().ready();
    let asked = Player::ask(server.address, &path(141));
    let opened = rig::stopwatch();
    let mut players: Vec<Player> =
        (0..3).map(|_| Player::open(server.address, &path(140))).collect();
    for player in &mut players {
        player.play(400_000);
    }
    let begun = rig::stopwatch();
    control.set_for(&rig::infohash(140), Knob::Starve, true);
    players[0].await_nulls(1);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // Four seconds from the last bytes, however late each is read; less a silence before this one.
    let fourth = players[0].await_nulls(4);
    assert!(fourth - begun > Duration::from_millis(1_500), "not a bunch: {:?}", fourth - begun);
    for player in &mut players {
        player.await_nulls(4);
        let report = player.report();
        assert!(report.is_unbroken(), "{report:?}");
    }
    // Who joins now has the ring to play, and hears of the silence afterwards.
    players.push(Player::open(server.address, &path(140)));
    players[3].await_nulls(1);
    assert!(players[3].report().is_unbroken(), "{:?}", players[3].report());
    // Whoever has nothing yet has heard nothing, not even a status line.
    assert!(asked.is_silent());

    control.clear(Knob::Starve);
    let nulls_max = opened.elapsed().as_secs() + 2;
    for player in &mut players {
        let report = player.play_on(600_000);
        assert!(report.is_unbroken(), "{report:?}");
        assert!(report.inserted.nulls <= nulls_max, "{nulls_max} {report:?}");
    }
    let mut asked = asked.begin();
    let report = asked.play(500_000);
    assert!(report.is_unbroken(), "{report:?}");
}

/// Bytes that a viewer who is far behind gets while another one, at live, gets so many; in what time.
fn caught_up_bytes(n: u32, rate: &str, live_bytes: u64) -> (u64, Duration) {
    let engine = rig::engine(rig::quick(tagged(n, 16_000_000)));
    let start = Server::with(&[&engine]).set("RINGCAST_JOIN_SECONDS", "0");
    let server = start.set("RINGCAST_CATCHUP_RATE", rate).start().ready();
    let mut live = Player::open(server.address, &path(n));
    live.play(1_000_000);
    let mut behind = Player::ask_narrow(server.address, &path(n), 16 * 1024).begin();
    // It reads no more until seven megabytes are waiting: three and a half seconds of stream.
    live.play_on(7_000_000);
    let (from, caught) = (behind.report().bytes, AtomicU64::new(0));
    let begun = rig::stopwatch();
    let over = std::sync::atomic::AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                behind.step().expect("the stream goes on");
                caught.store(behind.report().bytes - from, Ordering::Relaxed);
            }
            behind.report()
        });
        live.play_on(live_bytes);
        let caught = (caught.load(Ordering::Relaxed), begun.elapsed());
        over.store(true, Ordering::Relaxed);
        let report = reading.join().unwrap();
        assert!(report.is_unbroken(), "{report:?}");
        caught
    });
    assert!(live.report().is_unbroken(), "{:?}", live.report());
    report
}

#[test]
fn catching_up_is_capped_at_a_multiple_of_the_bitrate() {
    rig::steadily(catching_up_is_capped);
}

fn catching_up_is_capped() {
    // A megabyte goes by: 1.5 of them, a quarter of a second on credit (0.75 MB), and what the
    // two kernels had in their buffers. On a busy machine it takes longer than half a second.
    let capped = || {
        let (bytes, took) = caught_up_bytes(150, "1.5", 1_000_000);
        let bytes_max = 1.5 * 2_000_000.0 * took.as_secs_f64() + 2_000_000.0;
        assert!((bytes as f64) < bytes_max, "{bytes} in {took:?}");
        bytes
    };
    assert!((0..3).any(|_| capped() >= 1_000_000), "nobody catches up");
    // Ten megabytes are there in the end; capped it would be 5.25 of them, and the buffers.
    let free = || caught_up_bytes(151, "off", 3_000_000).0;
    assert!((0..3).any(|_| free() > 8_000_000), "without a cap nobody catches up faster");
}

#[test]
fn a_burst_larger_than_the_ring_laps_nobody() {
    rig::steadily(a_burst_larger_than_the_ring);
}

fn a_burst_larger_than_the_ring() {
    // Thirty megabytes at once, for a ring of eight: it turns over twice.
    let config = rig::quick(tagged(160, 20_000_000)).knob(Knob::BurstBytes, 30_000_000);
    let engine = rig::engine(config);
    let server = Server::with(&[&engine])
        .set("RINGCAST_MEMORY", "32MiB")
        .set("PROXY_BUFFER_TTL", "1")
        .set("RINGCAST_JOIN_SECONDS", "1")
        .start()
        .ready();
    let asked: Vec<_> = (0..5).map(|_| Player::ask(server.address, &path(160))).collect();
    let mut players: Vec<Player> = asked.into_iter().map(rig::Asked::begin).collect();
    players[0].play(10_000);
    assert!(behind_s(&engine, 160, &players[0]) > 8.0, "the burst is played from its beginning");
    rig::play_together(&mut players, 18_000_000);
    for player in &players {
        let report = player.report();
        assert!(report.is_unbroken(), "{report:?}");
    }
    assert_eq!(server.metric("ringcast_viewer_skips_total"), 0.0);
    assert!(server.metric("ringcast_ingest_paused_seconds_total") > 0.0);
    let streams = server.api("/api/v1/streams");
    let ring_bytes = streams["streams"][0]["ring_bytes"].as_u64().unwrap();
    assert!(ring_bytes < 10_000_000, "{streams}");
}

/// More than a turn hands over at once (32 MiB): the plans of some who join are left for the next one.
#[test]
fn a_storm_of_joins_larger_than_a_turn_gives_everybody_every_byte() {
    const VIEWERS: usize = 220;
    const SECOND: u64 = 1_000_000;
    let engine = rig::engine(rig::quick(tagged(120, 8_000_000)).knob(Knob::BurstBytes, 6_000_000));
    let server = Server::with(&[&engine])
        .set("RINGCAST_SHARDS", "1")
        .set("RINGCAST_SEND", "shared")
        .set("RINGCAST_JOIN_SECONDS", "4")
        .start()
        .ready();
    let mut first = Player::open(server.address, &path(120));
    first.play(4 * SECOND);
    // They all ask while the server cannot look, so that one turn finds them together.
    server.signal(rustix::process::Signal::STOP);
    let asked: Vec<_> = (0..VIEWERS).map(|_| Player::ask(server.address, &path(120))).collect();
    server.signal(rustix::process::Signal::CONT);
    let players = rig::while_they_play(std::slice::from_mut(&mut first), || {
        let mut players: Vec<Player> = asked.into_iter().map(rig::Asked::begin).collect();
        rig::play_together(&mut players, SECOND / 2);
        players
    });
    for player in &players {
        assert!(player.report().is_unbroken(), "{:?}", player.report());
    }
    assert!(first.play_on(SECOND / 8).is_unbroken(), "{:?}", first.report());
    assert_eq!(server.count("viewers"), VIEWERS as u64 + 1);
    assert!(server.metric("ringcast_send_shared_bytes_total") > 32.0 * 1_048_576.0);
}
