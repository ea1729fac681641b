//! Viewers that the ring has overtaken.

use std::time::Duration;

use crate::ts::packet::Packet;
use crate::viewer::CloseReason;
use crate::viewer::Plan;
use crate::viewer::SlowViewer;
use crate::viewer::tests::rig::Player;
use crate::viewer::tests::rig::Rig;
use crate::viewer::tests::source::AUDIO;
use crate::viewer::tests::source::Shape;
use crate::viewer::tests::source::VIDEO;

/// Without the catch-up cap, which has its own tests.
fn uncapped(shape: Shape) -> Rig {
    let mut rig = Rig::new(shape);
    rig.policy.catchup_rate = 0.0;
    rig
}

/// A player whose socket stopped `bytes` after its point.
fn stopped_after(rig: &mut Rig, bytes: usize) -> Player {
    let mut player = rig.player();
    let mut left = bytes;
    while left > 0 {
        assert!(matches!(rig.plan(&mut player, true), Plan::Send { .. }));
        left -= rig.accept_sent(&mut player, left);
    }
    player
}

#[test]
fn every_cut_of_a_packet_is_mended_before_the_skip() {
    for shape in [
        Shape::default(),
        Shape { pmt_filler: 250, ..Shape::default() },
        Shape { programs: 2, ..Shape::default() },
    ] {
        let mut rig = uncapped(shape);
        rig.live(60);
        for cut in 0..188 {
            // 37 packets: so that the cut walks through pictures, sound and tables.
            let mut player = stopped_after(&mut rig, 37 * 188 * (cut % 3) + 189 * cut + 188);
            let missed = player.viewer.cursor().expect("started").next_multiple_of(188);
            rig.overtake(&player);
            rig.live(cut as u64 % 7);
            rig.drain(&mut player, usize::MAX);
            let report = rig.check(&player);
            assert_eq!(report.skips.len(), 1);
            // Where a PAT of our own equals the one missed, it counts as that one.
            assert!(report.skips[0].0 >= missed && report.skips[0].0 <= missed + 188, "{report:?}");
            assert_eq!(report.end, rig.source.head());
            assert_eq!(player.viewer.skips(), 1);
        }
    }
}

#[test]
fn a_skip_may_be_accepted_in_any_pieces() {
    let mut rig = uncapped(Shape::default());
    rig.live(60);
    for n in 1..=400 {
        let mut player = stopped_after(&mut rig, 10_000 + n);
        rig.overtake(&player);
        rig.drain(&mut player, n);
        let report = rig.check(&player);
        assert_eq!((report.skips.len(), report.end), (1, rig.source.head()));
    }
}

#[test]
fn a_ring_larger_than_what_is_looked_at_is_skipped_in_as_well() {
    // Six megabytes, and points from its end to its beginning.
    let shape = Shape { slab_packets: 1_024, video_packets: 400, ..Shape::default() };
    for behind in [0, 1, 3, 60] {
        let mut rig = uncapped(shape);
        rig.live(60);
        let mut player = stopped_after(&mut rig, 10_000);
        rig.overtake(&player);
        player.viewer.set_join_us(behind * 1_000_000);
        rig.drain(&mut player, usize::MAX);
        let report = rig.check(&player);
        assert_eq!((report.skips.len(), report.end), (1, rig.source.head()));
    }
}

#[test]
fn overtaken_again_and_again() {
    let mut rig = uncapped(Shape { pmt_filler: 200, ..Shape::default() });
    rig.live(60);
    // Before anything of the ring was sent, while the skip itself is cut, and after few bytes.
    for first in 0..3 {
        let mut player = stopped_after(&mut rig, first * 500);
        for round in 0..20 {
            rig.overtake(&player);
            assert_eq!(rig.plan(&mut player, true), Plan::Inline);
            rig.accept_inline(&mut player, 100 + 331 * round);
            if round % 3 == 0 {
                rig.overtake(&player);
                while rig.plan(&mut player, true) == Plan::Inline {
                    rig.accept_inline(&mut player, usize::MAX);
                }
                rig.accept_sent(&mut player, 700 * round + 1);
            }
        }
        rig.drain(&mut player, usize::MAX);
        let report = rig.check(&player);
        assert_eq!(report.end, rig.source.head());
        // Skips with nothing of the stream in between look like one.
        assert!(report.skips.len() >= 6 && player.viewer.skips() >= 20);
    }
}

#[test]
fn tables_that_changed_in_between_arrive_with_the_skip() {
    let mut rig = uncapped(Shape { pmt_filler: 10, ..Shape::default() });
    rig.live(60);
    for round in 0..40 {
        let mut player = stopped_after(&mut rig, 189 * round + 2_000);
        rig.live(round as u64 % 4);
        rig.source.change_tables();
        rig.overtake(&player);
        rig.drain(&mut player, usize::MAX);
        let report = rig.check(&player);
        assert_eq!((report.skips.len(), report.end), (1, rig.source.head()));
    }
}

#[test]
fn the_clock_is_marked_first_and_everything_fits() {
    let mut rig = uncapped(Shape { programs: 2, pmt_filler: 250, ..Shape::default() });
    rig.live(60);
    for round in 0..50 {
        let mut player = stopped_after(&mut rig, 189 * round + 1);
        rig.overtake(&player);
        assert_eq!(rig.plan(&mut player, true), Plan::Inline);
        assert!(rig.out.len() <= 64 * 188, "{} bytes", rig.out.len());
        let rest = rig.out.len() % 188;
        let (packets, _) = rig.out[rest..].as_chunks::<188>();
        let packets = packets.iter().map(|bytes| Packet::new(bytes).expect("synced"));
        let marks: Vec<_> =
            packets.filter(|packet| packet.discontinuity()).map(|packet| packet.pid()).collect();
        assert_eq!(marks[0], VIDEO);
        assert!(marks.contains(&AUDIO));
        rig.accept_inline(&mut player, usize::MAX);
        rig.drain(&mut player, usize::MAX);
        rig.check(&player);
    }
}

#[test]
fn with_the_other_policy_slow_is_the_end() {
    let mut rig = uncapped(Shape::default());
    rig.policy.slow = SlowViewer::Close;
    rig.live(60);
    let mut player = stopped_after(&mut rig, 1_000);
    rig.overtake(&player);
    assert_eq!(rig.plan(&mut player, true), Plan::Close(CloseReason::Slow));
    assert_eq!(rig.plan(&mut player, true), Plan::Wait);

    let mut blocked = stopped_after(&mut rig, 1_000);
    blocked.viewer.blocked(rig.now);
    rig.overtake(&blocked);
    assert_eq!(rig.plan(&mut blocked, true), Plan::Close(CloseReason::Slow));
}

#[test]
fn a_blocked_viewer_is_not_skipped_before_it_can_take_it() {
    let mut rig = uncapped(Shape::default());
    rig.live(60);
    let mut player = stopped_after(&mut rig, 1_000);
    player.viewer.blocked(rig.now);
    rig.overtake(&player);
    assert_eq!(rig.plan(&mut player, true), Plan::Wait);
    rig.live(30);
    player.viewer.writable(rig.now);
    rig.drain(&mut player, usize::MAX);
    assert_eq!(rig.check(&player).skips.len(), 1);
}

#[test]
fn a_send_in_flight_survives_being_overtaken() {
    let mut rig = uncapped(Shape::default());
    rig.live(60);
    let mut player = stopped_after(&mut rig, 1_000);
    assert!(matches!(rig.plan(&mut player, true), Plan::Send { .. }));
    assert!(!player.viewer.must_evict(0));
    rig.overtake(&player);
    assert!(player.viewer.must_evict(rig.source.tail()));
    assert_eq!(rig.plan(&mut player, true), Plan::Wait);
    rig.accept_sent(&mut player, 777);
    assert!(!player.viewer.must_evict(rig.source.tail()));
    rig.drain(&mut player, usize::MAX);
    assert_eq!(rig.check(&player).skips.len(), 1);
}

#[test]
fn without_a_point_the_viewer_waits_with_a_whole_packet() {
    let shape = Shape { cap_slabs: 4, group_frames: 100, ..Shape::default() };
    let mut rig = uncapped(shape);
    rig.live(3);
    let mut player = stopped_after(&mut rig, 1_000);
    rig.overtake(&player);
    // No point above the tail: the rest of the packet goes, then silence.
    assert_eq!(rig.plan(&mut player, true), Plan::Inline);
    assert_eq!(rig.out.len(), 188 - 1_000 % 188);
    rig.accept_inline(&mut player, usize::MAX);
    assert_eq!(rig.plan(&mut player, true), Plan::Park);
    rig.pass(Duration::from_millis(1_000));
    assert_eq!(rig.drain(&mut player, usize::MAX), Plan::Park);
    assert_eq!((player.viewer.nulls(), player.viewer.skips()), (1, 0));
    while rig.source.access.len() < 2 {
        rig.live(1);
    }
    rig.drain(&mut player, usize::MAX);
    let report = rig.check(&player);
    assert_eq!((report.skips.len(), report.nulls, report.end), (1, 1, rig.source.head()));
}

#[test]
fn without_a_point_or_a_packet_there_is_no_null_packet_either() {
    let shape = Shape { cap_slabs: 4, group_frames: 100, ..Shape::default() };
    let mut rig = uncapped(shape);
    rig.live(3);
    let mut player = rig.player();
    rig.overtake(&player);
    rig.pass(Duration::from_secs(10));
    assert_eq!(rig.plan(&mut player, true), Plan::Park);
    assert_eq!(player.viewer.next_deadline(), None);
    while rig.source.access.len() < 2 {
        rig.live(1);
    }
    rig.drain(&mut player, usize::MAX);
    assert_eq!(rig.check(&player).end, rig.source.head());
}

#[test]
fn without_a_point_an_ended_ring_ends_the_viewer() {
    let shape = Shape { cap_slabs: 4, group_frames: 100, ..Shape::default() };
    let mut rig = uncapped(shape);
    rig.live(3);
    let mut player = stopped_after(&mut rig, 1_000);
    rig.overtake(&player);
    rig.source.end();
    assert_eq!(rig.drain(&mut player, 3), Plan::Close(CloseReason::EngineGone));
    assert_eq!(rig.check(&player).skips.len(), 0);
    assert_eq!(player.body().len() % 188, 0);
}
