//! Players that are too slow for the ring, that read nothing, that leave in the middle of a packet:
//! what they get, how they end, and that nobody beside them notices.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::eventually;
use crate::rig::server::Start;
use ace_emulator::Channel;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use ace_emulator::Report;
use serde_json::Value;

/// Of the channels here, a second: a ring of 8 MiB, the smallest there is, is a good two seconds.
pub(crate) const SECOND: u64 = 4_000_000;

pub(crate) const NARROW: usize = 8 * 1024;

pub(crate) fn engine(n: u32) -> Emulator {
    let channel = Channel::signed(&rig::infohash(n)).tag(n).bitrate_bps(SECOND * 8).gop_ms(400);
    rig::engine(rig::quick(channel))
}

fn path(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(n))
}

/// The smallest rings.
pub(crate) fn small(start: Start) -> Start {
    start
        .set("RINGCAST_MEMORY", "32MiB")
        .set("PROXY_BUFFER_TTL", "1")
        .set("RINGCAST_JOIN_SECONDS", "500ms")
}

fn row(server: &Server, id: &str) -> Option<Value> {
    let listed = server.api("/api/v1/viewers");
    listed["viewers"].as_array().unwrap().iter().find(|row| row["id"] == id).cloned()
}

/// Plays `live` on, and lets `slow` read one byte for eight of it, until the ring has gone past
/// the slow one by far.
pub(crate) fn fall_behind(live: &mut Player, slow: &mut Player) {
    let until = live.report().bytes + 3 * SECOND;
    while live.report().bytes < until {
        live.play_on(80_000);
        let want = slow.report().bytes + 10_000;
        while slow.report().bytes < want && slow.step_of(10_000).expect("the stream goes on") > 0 {}
    }
}

/// Reads on until the skip has come, and a little behind it.
pub(crate) fn play_past_skip(slow: &mut Player) -> Report {
    while slow.report().gap_count == 0 {
        assert!(slow.step().expect("the stream goes on") > 0, "ended: {:?}", slow.report());
    }
    slow.play_on(200_000)
}

pub(crate) fn a_slow_viewer_skips(server: &Server, n: u32) {
    let mut live = Player::open(server.address, &path(n));
    live.play(SECOND);
    let mut slow = Player::ask_narrow(server.address, &path(n), NARROW).begin();
    let id = slow.id();
    fall_behind(&mut live, &mut slow);
    let before = row(server, &id).expect("it is still there");
    assert!(before["seconds_behind"].as_f64().unwrap() > 1.0, "{before}");
    let report = play_past_skip(&mut slow);
    assert!(report.is_lawful(), "{report:?}");
    assert_eq!(report.gaps_off_access_point, 0, "{report:?}");
    assert!(report.inserted.marks >= 2 * report.gap_count, "{report:?}");
    let row = row(server, &id).expect("it is still there");
    // One more may be on its way to this player.
    let skips = row["skips"].as_u64().unwrap();
    assert!((report.gap_count..=report.gap_count + 1).contains(&skips), "{row} {report:?}");
    let counted = server.metric("ringcast_viewer_skips_total");
    assert!((skips as f64..=skips as f64 + 1.0).contains(&counted), "{row} {counted}");
    let report = live.report();
    assert!(report.is_unbroken(), "the other one lost nothing: {report:?}");
    slow.leave();
    let line = server.await_line(&["viewer end", &format!("viewer={id} ")]);
    assert!(line.contains("reason=left"), "{line}");
    assert!(!line.contains("skips=0"), "{line}");
    assert!(server.metric("ringcast_viewer_skips_total") >= 1.0, "a counter only grows");
}

#[test]
fn a_viewer_slower_than_the_stream_gets_a_declared_and_counted_skip() {
    rig::steadily(|| {
        let engine = engine(200);
        let server = small(Server::with(&[&engine])).start().ready();
        a_slow_viewer_skips(&server, 200);
    });
}

#[test]
fn where_slow_is_the_end_a_slow_viewer_is_closed_as_slow() {
    rig::steadily(a_slow_viewer_is_closed);
}

fn a_slow_viewer_is_closed() {
    let engine = engine(210);
    let start = small(Server::with(&[&engine])).set("RINGCAST_SLOW_VIEWER", "close");
    let server = start.start().ready();
    let mut live = Player::open(server.address, &path(210));
    live.play(SECOND);
    let mut slow = Player::ask_narrow(server.address, &path(210), NARROW).begin();
    let id = slow.id();
    while server.lines_with(&["viewer end", &format!("viewer={id} "), "reason=slow"]) == 0 {
        let bytes = live.report().bytes;
        assert!(bytes < 8 * SECOND, "the ring went past it three times: {:?}", row(&server, &id));
        live.play_on(80_000);
        let _ = slow.step_of(5_000);
    }
    let report = slow.play_out();
    assert!(report.is_unbroken(), "what it got is in order: {report:?}");
    assert_eq!(server.metric("ringcast_viewer_closed_total{reason=\"slow\"}"), 1.0);
    assert_eq!(server.metric("ringcast_viewer_skips_total"), 0.0);
    assert!(live.report().is_unbroken(), "{:?}", live.report());
    eventually("only the other one", || row(&server, &id).is_none().then_some(()));
    assert_eq!(server.lines_with(&["viewer end"]), 1);
}

#[test]
fn a_viewer_that_reads_nothing_is_closed_as_stuck_and_twenty_beside_it_lose_nothing() {
    rig::steadily(twenty_beside_three_that_are_stuck);
}

fn twenty_beside_three_that_are_stuck() {
    let channel = Channel::signed(&rig::infohash(220)).tag(220).bitrate_bps(4_000_000);
    let engine = rig::engine(rig::quick(channel).knob(Knob::BurstBytes, 2_000_000));
    let start = small(Server::with(&[&engine])).set("RINGCAST_SEND_STALL_TIMEOUT", "1500ms");
    let server = start.start().ready();
    let mut fast: Vec<Player> = (0..20).map(|_| Player::open(server.address, &path(220))).collect();
    let begun = rig::stopwatch();
    let stuck: Vec<Player> =
        (0..3).map(|_| Player::ask_narrow(server.address, &path(220), NARROW).begin()).collect();
    while server.lines_with(&["viewer end", "reason=stuck"]) < 3 {
        assert!(begun.elapsed() < rig::PATIENCE, "{:?}", server.api("/api/v1/viewers"));
        for player in &mut fast {
            player.play_on(10_000);
        }
    }
    // What the timeout is counted from is that the socket was full: two kernels' worth of bytes.
    assert!(begun.elapsed().as_millis() > 1_400, "{:?}", begun.elapsed());
    for player in &mut fast {
        let report = player.play_on(100_000);
        assert!(report.is_unbroken(), "{report:?}");
    }
    for player in &stuck {
        let viewer = format!("viewer={} ", player.id());
        server.await_line(&["viewer end", &viewer, "reason=stuck"]);
    }
    assert_eq!(server.metric("ringcast_viewer_closed_total{reason=\"stuck\"}"), 3.0);
    server.await_viewers(20);
    for mut player in stuck {
        // The first bytes are in the player's own kernel; they are in order.
        let report = player.play_out();
        assert!(report.bytes == 0 || report.is_unbroken(), "{report:?}");
    }
}

/// A socket has room again only when a good part of what it holds was acknowledged: a slow player's
/// takes longer for that than the limit, and it acknowledges all the time.
#[test]
fn a_viewer_that_acknowledges_a_little_all_the_time_is_not_stuck() {
    let channel = Channel::signed(&rig::infohash(225)).tag(225).bitrate_bps(4_000_000);
    let engine = rig::engine(rig::quick(channel).knob(Knob::BurstBytes, 2_000_000));
    let start = small(Server::with(&[&engine])).set("RINGCAST_SEND_STALL_TIMEOUT", "4");
    let server = start.start().ready();
    let mut live = Player::open(server.address, &path(225));
    let mut slow = Player::ask_narrow(server.address, &path(225), NARROW).begin();
    let mut still = Player::ask_narrow(server.address, &path(225), NARROW).begin();
    let id = slow.id();
    // The one that reads nothing is closed, and from then on the slow one has twice as long.
    let dead = still.id();
    let mut closed_at = None;
    while closed_at.is_none_or(|at| live.report().bytes < at + 3 * 500_000) {
        live.play_on(10_000);
        let _ = slow.step_of(700);
        let line = ["viewer end", &format!("viewer={dead} "), "reason=stuck"];
        if closed_at.is_none() && server.lines_with(&line) > 0 {
            closed_at = Some(live.report().bytes);
        }
        assert!(live.report().bytes < 40 * 500_000, "{:?}", row(&server, &dead));
    }
    assert_eq!(
        server.lines_with(&["viewer end", &format!("viewer={id} ")]),
        0,
        "{:?}",
        server.lines()
    );
    still.play_out();
}

#[test]
fn one_byte_at_a_time_is_slow_but_whole() {
    let engine = rig::engine(rig::one_channel(230));
    let server = Server::with(&[&engine]).start().ready();
    let mut players = [
        Player::open(server.address, &path(230)),
        Player::ask_narrow(server.address, &path(230), 2_048).begin(),
    ];
    for player in &mut players {
        while player.report().bytes < 150_000 {
            assert_eq!(player.step_of(1).expect("the stream goes on"), 1);
        }
        let report = player.play(700_000);
        assert!(report.is_unbroken(), "{report:?}");
    }
}

#[test]
fn leaving_in_the_middle_of_a_packet_is_noticed_and_disturbs_nobody() {
    let engine = rig::engine(rig::one_channel(240));
    let server = Server::with(&[&engine]).start().ready();
    let mut stays = Player::open(server.address, &path(240));
    for round in 0..30_u64 {
        let mut leaves = Player::open(server.address, &path(240));
        // 57 bytes into some packet; the rest of what came is never read.
        while leaves.report().bytes < 188 * round + 57 {
            let missing = 188 * round + 57 - leaves.report().bytes;
            leaves.step_of(missing as usize).expect("the stream goes on");
        }
        assert_eq!(leaves.report().tail_partial_bytes, 57);
        match round % 3 {
            0 => leaves.leave(),
            1 => drop(leaves),
            // Only says that it will send no more.
            _ => leaves.socket().shutdown(std::net::Shutdown::Write).unwrap(),
        }
        stays.play_on(20_000);
    }
    server.await_lines(30, &["viewer end", "reason=left"]);
    server.await_viewers(1);
    let report = stays.play_on(100_000);
    assert!(report.is_unbroken(), "{report:?}");
    assert_eq!(engine.control().counters().contents, 1);
}

/// Every speed from a standstill to half of what is needed, with odd reads, so that sockets fill and
/// empty at every place of a packet, and skips follow skips.
#[test]
fn slow_players_of_every_kind_get_lawful_streams() {
    rig::steadily(slow_players_of_every_kind);
}

fn slow_players_of_every_kind() {
    let engine = engine(250);
    let server = small(Server::with(&[&engine])).start().ready();
    let mut live = Player::open(server.address, &path(250));
    live.play(SECOND / 2);
    let mut slow: Vec<Player> = (1..=12)
        .map(|n| Player::ask_narrow(server.address, &path(250), n * 3_001).begin())
        .collect();
    let mut random = 1_u64;
    let until = live.report().bytes + 5 * SECOND;
    while live.report().bytes < until {
        live.play_on(80_000);
        for (n, player) in slow.iter_mut().enumerate() {
            let mut left = n * 4_000;
            while left > 0 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let part = (1 + (random >> 33) as usize % 9_000).min(left);
                left -= player.step_of(part).expect("the stream goes on").min(left);
            }
        }
    }
    let mut gaps = 0;
    for player in &mut slow {
        let report = play_past_skip(player);
        assert!(report.is_lawful(), "{report:?}");
        assert_eq!(report.gaps_off_access_point, 0, "{report:?}");
        gaps += report.gap_count;
    }
    assert!(gaps >= 12, "{gaps}");
    assert!(server.metric("ringcast_viewer_skips_total") >= gaps as f64);
    assert!(live.report().is_unbroken(), "{:?}", live.report());
    assert_eq!(server.count("viewers"), 13);
}
