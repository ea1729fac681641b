//! Where viewers start and what they get first.

use std::time::Duration;

use crate::base::time::Instant;
use crate::ts::packet::Packet;
use crate::viewer::JoinSeconds;
use crate::viewer::Plan;
use crate::viewer::Viewer;
use crate::viewer::tests::rig::HEAD;
use crate::viewer::tests::rig::JOIN_US;
use crate::viewer::tests::rig::Player;
use crate::viewer::tests::rig::Rig;
use crate::viewer::tests::source::FRAME_US;
use crate::viewer::tests::source::Shape;

#[test]
fn nobody_starts_before_a_random_access_point() {
    let mut rig = Rig::new(Shape { group_frames: 1_000, ..Shape::default() });
    let mut player = Player::new(rig.now);
    assert!(!rig.start(&mut player));
    assert_eq!(rig.plan(&mut player, true), Plan::Park);
    assert_eq!(player.viewer.cursor(), None);
    rig.live(1);
    assert!(rig.start(&mut player));
    assert_eq!(player.viewer.cursor(), Some(2 * 188));
}

#[test]
fn the_first_bytes_are_head_tables_and_a_point() {
    for (shape, leading) in [
        (Shape::default(), 2),
        (Shape { pmt_filler: 400, ..Shape::default() }, 4),
        (Shape { programs: 3, ..Shape::default() }, 4),
    ] {
        let mut rig = Rig::new(shape);
        rig.live(100);
        let mut player = rig.player();
        assert_eq!(rig.drain(&mut player, usize::MAX), Plan::Park);
        let report = rig.check(&player);
        assert_eq!(report.end, rig.source.head());
        assert!(report.skips.is_empty());
        assert_eq!(report.leading, leading);
        let first = Packet::new(player.body().first_chunk().expect("a packet")).expect("synced");
        assert_eq!((first.pid(), first.pusi()), (0, true));
    }
}

#[test]
fn a_viewer_starts_the_join_time_behind_live() {
    let shape = Shape { cap_slabs: 200, ..Shape::default() };
    let mut rig = Rig::new(shape);
    rig.live(25 * 20);
    let group_us = shape.group_frames * FRAME_US;
    for behind_us in [0, 400_000, 1_000_000, 3_000_000, 10_000_000] {
        let mut viewer = Viewer::new(rig.now, None);
        let turn = rig.reader.turn(None);
        assert!(viewer.try_start(&turn, &rig.policy, behind_us, HEAD, &mut rig.out, rig.now));
        let lag_us = viewer.lag_us(&turn);
        assert!(lag_us >= behind_us, "{lag_us} < {behind_us}");
        assert!(lag_us < behind_us + group_us, "{lag_us} for {behind_us}");
    }
}

#[test]
fn seekback_starts_further_back_within_the_ring() {
    let mut rig = Rig::new(Shape { cap_slabs: 100, ..Shape::default() });
    rig.live(25 * 60);
    let tail = rig.source.tail();
    assert!(tail > 0);
    let start = |rig: &mut Rig, seconds| {
        let mut viewer = Viewer::new(rig.now, Some(seconds));
        let turn = rig.reader.turn(None);
        assert!(viewer.try_start(&turn, &rig.policy, JOIN_US, HEAD, &mut rig.out, rig.now));
        (viewer.cursor().expect("started"), viewer.lag_us(&turn))
    };
    let (_, lag_us) = start(&mut rig, 5);
    assert!((5_000_000..5_500_000).contains(&lag_us), "{lag_us}");
    let (_, lag_us) = start(&mut rig, 0);
    assert!((1_000_000..1_500_000).contains(&lag_us), "{lag_us}");
    // More than there is: the oldest that is not about to leave.
    let (cursor, _) = start(&mut rig, 3_600);
    let eighth = (rig.source.head() - tail) / 8;
    assert!(cursor >= tail + eighth && cursor < tail + eighth + 20_000, "{cursor}, tail {tail}");
}

#[test]
fn a_young_ring_is_joined_at_its_oldest_point() {
    let mut rig = Rig::new(Shape::default());
    rig.live(15);
    let player = rig.player();
    assert_eq!(player.viewer.cursor(), rig.source.access.first().copied());
}

#[test]
fn join_seconds_follow_the_longest_gap() {
    let gap = Duration::from_millis;
    assert_eq!(JoinSeconds::Auto.us(gap(0)), 3_000_000);
    assert_eq!(JoinSeconds::Auto.us(gap(1_400)), 3_000_000);
    assert_eq!(JoinSeconds::Auto.us(gap(4_000)), 8_000_000);
    assert_eq!(JoinSeconds::Fixed(gap(500)).us(gap(4_000)), 500_000);
}

#[test]
fn tables_that_changed_are_those_of_the_point() {
    let mut rig = Rig::new(Shape { pmt_filler: 10, ..Shape::default() });
    rig.live(40);
    rig.source.change_tables();
    rig.live(5);
    // The newest point a second behind live stands before the change: its tables are the old ones.
    let mut player = rig.player();
    rig.live(60);
    rig.drain(&mut player, usize::MAX);
    assert!(rig.check(&player).skips.is_empty());
    let mut late = rig.player();
    rig.drain(&mut late, usize::MAX);
    rig.check(&late);
    let tables = |player: &Player| player.body()[188..376].to_vec();
    assert_ne!(tables(&player)[4..], tables(&late)[4..]);
}

#[test]
fn seen_from_outside() {
    let mut rig = Rig::new(Shape::default());
    rig.live(50);
    let mut player = Player::new(rig.now);
    assert_eq!(player.viewer.started_at(), None);
    assert_eq!(player.viewer.last_accepted(), None);
    rig.pass(Duration::from_millis(5));
    assert!(rig.start(&mut player));
    assert_eq!(player.viewer.started_at(), Some(rig.now));
    assert_eq!(player.viewer.created_at(), Instant::from_micros(rig.now.as_micros() - 5_000));
    rig.accept_inline(&mut player, usize::MAX);
    rig.drain(&mut player, 1_000);
    assert_eq!(player.viewer.bytes_sent(), player.received.len() as u64);
    assert_eq!(player.viewer.last_accepted(), Some(rig.now));
    let turn = rig.reader.turn(None);
    assert_eq!(player.viewer.lag_us(&turn), 0);
}
