//! Silence, stuck sockets, and the catch-up cap: all by the clock that the test holds.

use std::time::Duration;

use crate::viewer::CloseReason;
use crate::viewer::Plan;
use crate::viewer::tests::rig::Player;
use crate::viewer::tests::rig::Rig;
use crate::viewer::tests::source::Shape;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn silence_gives_one_null_packet_a_second() {
    let mut rig = Rig::new(Shape::default());
    rig.live(60);
    let mut player = rig.player();
    assert_eq!(rig.drain(&mut player, usize::MAX), Plan::Park);
    for count in 1..=30 {
        let due = rig.now + SECOND;
        assert_eq!(player.viewer.next_deadline(), Some(due));
        rig.pass(SECOND - Duration::from_micros(1));
        assert_eq!(rig.plan(&mut player, true), Plan::Park);
        rig.pass(Duration::from_micros(1));
        assert_eq!(rig.plan(&mut player, false), Plan::Inline);
        assert_eq!(rig.out.len(), 188);
        // Cut, it is finished before anything else.
        rig.accept_inline(&mut player, 188 - count);
        assert_eq!(rig.drain(&mut player, usize::MAX), Plan::Park);
        assert_eq!(player.viewer.nulls(), count as u32);
    }
    rig.live(10);
    rig.drain(&mut player, usize::MAX);
    let report = rig.check(&player);
    assert_eq!((report.nulls, report.end), (30, rig.source.head()));
}

#[test]
fn bytes_that_flow_are_no_silence() {
    let mut rig = Rig::new(Shape::default());
    rig.live(60);
    let mut player = rig.player();
    for _ in 0..100 {
        rig.drain(&mut player, usize::MAX);
        rig.live(20);
    }
    assert_eq!(player.viewer.nulls(), 0);
    // Behind the head there is no silence either, however long the socket takes.
    assert!(matches!(rig.plan(&mut player, true), Plan::Send { .. }));
    rig.pass(SECOND * 5);
    rig.accept_sent(&mut player, 100);
    rig.pass(SECOND * 5);
    assert!(matches!(rig.plan(&mut player, true), Plan::Send { .. }));
    rig.accept_sent(&mut player, usize::MAX);
    rig.drain(&mut player, usize::MAX);
    assert_eq!(rig.check(&player).nulls, 0);
}

#[test]
fn nobody_gets_a_null_packet_first() {
    let mut rig = Rig::new(Shape { group_frames: 100, ..Shape::default() });
    let mut player = Player::new(rig.now);
    rig.pass(SECOND * 10);
    assert_eq!(rig.plan(&mut player, true), Plan::Park);
    assert_eq!(player.viewer.next_deadline(), None);
    rig.live(1);
    assert!(rig.start(&mut player));
    rig.accept_inline(&mut player, 10);
    rig.pass(SECOND * 10);
    rig.drain(&mut player, usize::MAX);
    assert_eq!(rig.check(&player).nulls, 0);
}

#[test]
fn who_acknowledges_lives_though_the_socket_takes_nothing_yet() {
    let mut rig = Rig::new(Shape::default());
    rig.live(60);
    let stall = rig.policy.send_stall;
    let mut player = rig.player();
    player.viewer.acknowledged(rig.now);
    assert!(!player.viewer.is_waiting(), "nothing is waited for");
    assert!(matches!(rig.plan(&mut player, true), Plan::Send { .. }));
    rig.accept_sent(&mut player, 0);
    for _ in 0..5 {
        rig.pass(stall - Duration::from_micros(1));
        assert!(player.viewer.is_waiting());
        player.viewer.acknowledged(rig.now);
        assert_eq!(rig.plan(&mut player, true), Plan::Wait);
        assert_eq!(player.viewer.next_deadline(), Some(rig.now + stall));
    }
    rig.pass(stall);
    assert_eq!(rig.plan(&mut player, true), Plan::Close(CloseReason::Stuck));
}

#[test]
fn a_socket_that_accepts_nothing_is_stuck() {
    let mut rig = Rig::new(Shape::default());
    rig.live(60);
    let stall = rig.policy.send_stall;
    let just_before = stall - Duration::from_micros(1);

    let mut in_flight = rig.player();
    assert!(matches!(rig.plan(&mut in_flight, true), Plan::Send { .. }));
    assert_eq!(in_flight.viewer.next_deadline(), Some(rig.now + stall));
    let mut blocked = rig.player();
    assert!(matches!(rig.plan(&mut blocked, true), Plan::Send { .. }));
    rig.accept_sent(&mut blocked, 0);
    let mut never_started = Player::new(rig.now);
    assert!(rig.start(&mut never_started));
    rig.accept_inline(&mut never_started, 0);
    never_started.viewer.blocked(rig.now);
    rig.pass(just_before);
    for player in [&mut in_flight, &mut blocked, &mut never_started] {
        assert_eq!(rig.plan(player, true), Plan::Wait);
    }
    rig.pass(Duration::from_micros(1));
    for player in [&mut in_flight, &mut blocked, &mut never_started] {
        assert_eq!(rig.plan(player, true), Plan::Close(CloseReason::Stuck));
        assert_eq!(rig.plan(player, true), Plan::Wait);
    }
    // What was in flight still comes back.
    rig.accept_sent(&mut in_flight, 0);
}

#[test]
fn only_accepted_bytes_give_a_socket_more_time() {
    let mut rig = Rig::new(Shape { cap_slabs: 200, ..Shape::default() });
    rig.live(60);
    let mut player = rig.player();
    // Writable again and again, but nothing is accepted.
    for _ in 0..19 {
        assert!(matches!(rig.plan(&mut player, true), Plan::Send { .. }));
        rig.accept_sent(&mut player, 0);
        rig.pass(SECOND);
        player.viewer.writable(rig.now);
    }
    // One byte is.
    assert!(matches!(rig.plan(&mut player, true), Plan::Send { .. }));
    rig.accept_sent(&mut player, 1);
    player.viewer.blocked(rig.now);
    rig.pass(SECOND * 19);
    assert_eq!(rig.plan(&mut player, true), Plan::Wait);
    assert_eq!(player.viewer.next_deadline(), Some(rig.now + SECOND));
    player.viewer.writable(rig.now);
    assert!(matches!(rig.plan(&mut player, true), Plan::Send { .. }));
    rig.accept_sent(&mut player, 0);
    rig.pass(SECOND);
    assert_eq!(rig.plan(&mut player, true), Plan::Close(CloseReason::Stuck));
}

#[test]
fn an_inline_send_refused_again_gets_no_more_time() {
    let mut rig = Rig::new(Shape::default());
    rig.live(60);
    let mut player = Player::new(rig.now);
    assert!(rig.start(&mut player));
    for _ in 0..20 {
        rig.accept_inline(&mut player, 0);
        player.viewer.blocked(rig.now);
        rig.pass(SECOND);
        player.viewer.writable(rig.now);
        assert_eq!(rig.plan(&mut player, true), Plan::Inline);
    }
    rig.accept_inline(&mut player, 0);
    player.viewer.blocked(rig.now);
    assert_eq!(rig.plan(&mut player, true), Plan::Close(CloseReason::Stuck));
}

#[test]
fn a_long_silence_does_not_count_against_the_socket() {
    let mut rig = Rig::new(Shape::default());
    rig.live(60);
    let mut player = rig.player();
    rig.drain(&mut player, usize::MAX);
    rig.pass(SECOND * 100);
    assert_eq!(rig.plan(&mut player, true), Plan::Inline);
    rig.accept_inline(&mut player, 0);
    player.viewer.blocked(rig.now);
    rig.pass(rig.policy.send_stall - Duration::from_micros(1));
    assert_eq!(rig.plan(&mut player, true), Plan::Wait);
    rig.pass(Duration::from_micros(1));
    assert_eq!(rig.plan(&mut player, true), Plan::Close(CloseReason::Stuck));
}

/// 8.4 Mbit/s in slabs as large as in earnest, 40 s of it.
fn broad() -> Rig {
    let shape =
        Shape { slab_packets: 1_024, cap_slabs: 220, video_packets: 221, ..Shape::default() };
    Rig::new(shape)
}

#[test]
fn the_join_burst_goes_at_full_speed() {
    let mut rig = broad();
    rig.live(250);
    let mut player = Player::new(rig.now);
    let turn = rig.reader.turn(None);
    assert!(player.viewer.try_start(&turn, &rig.policy, 8_000_000, b"", &mut rig.out, rig.now));
    drop(turn);
    rig.accept_inline(&mut player, usize::MAX);
    assert_eq!(rig.drain(&mut player, usize::MAX), Plan::Park);
    assert!(player.received.len() > 8_000_000);
}

#[test]
fn catching_up_is_capped() {
    let mut rig = broad();
    rig.live(100);
    let mut player = rig.player();
    rig.drain(&mut player, usize::MAX);
    let started = player.received.len();
    // Ten seconds behind, and no burst to excuse it.
    rig.live(250);
    let rate = rig.source.bitrate_bps / 8 * 4;
    let begin = rig.now;
    loop {
        match rig.drain(&mut player, usize::MAX) {
            Plan::Park => break,
            Plan::Until(at) => {
                assert!(at > rig.now);
                assert_eq!(player.viewer.next_deadline(), Some(at));
                rig.now = at;
            }
            plan @ (Plan::Send { .. } | Plan::Inline | Plan::Wait | Plan::Close(_)) => {
                panic!("{plan:?}")
            }
        }
        let passed_us = rig.now.since(begin).as_micros() as u64;
        let allowed = rate * passed_us / 1_000_000 + rate / 4 + 256 * 1024;
        let sent = (player.received.len() - started) as u64;
        assert!(sent <= allowed, "{sent} bytes after {passed_us} us");
    }
    let passed = rig.now.since(begin);
    // A quarter of a second is lent; the rest of 10 s at four times the bitrate takes 2.25 s.
    assert!(passed > Duration::from_millis(2_100), "{passed:?}");
    assert!(passed < Duration::from_millis(2_300), "{passed:?}");
    assert_eq!(rig.check(&player).end, rig.source.head());
}

#[test]
fn live_is_never_capped_and_no_rate_is_no_cap() {
    let mut rig = broad();
    rig.live(100);
    let mut player = rig.player();
    rig.drain(&mut player, usize::MAX);
    for _ in 0..40 {
        // What an engine gives in pieces goes out in pieces.
        rig.live(20);
        assert_eq!(rig.drain(&mut player, usize::MAX), Plan::Park);
    }
    rig.policy.catchup_rate = 0.0;
    rig.live(500);
    assert_eq!(rig.drain(&mut player, usize::MAX), Plan::Park);
    rig.policy.catchup_rate = 4.0;
    rig.source.bitrate_bps = 0;
    rig.live(500);
    assert_eq!(rig.drain(&mut player, usize::MAX), Plan::Park);
}

#[test]
fn an_ended_ring_is_not_capped() {
    let mut rig = broad();
    rig.live(100);
    let mut player = rig.player();
    rig.drain(&mut player, usize::MAX);
    rig.live(500);
    rig.source.end();
    assert_eq!(rig.drain(&mut player, usize::MAX), Plan::Close(CloseReason::EngineGone));
}
