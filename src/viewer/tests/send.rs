//! Sends of ring bytes: cut anywhere, coalesced, one at a time, up to the end.

use crate::base::sizes::PACKET_BYTES;
use crate::viewer::CloseReason;
use crate::viewer::Plan;
use crate::viewer::tests::rig::Rig;
use crate::viewer::tests::source::Shape;

/// Slabs as large as in earnest, frames of 40 KB.
const LARGE: Shape = Shape {
    slab_packets: 1_024,
    cap_slabs: 40,
    video_packets: 210,
    group_frames: 12,
    psi_frames: 3,
    pmt_filler: 0,
    programs: 1,
    rare_frames: 25,
};

#[test]
fn every_size_of_partial_send_gives_the_same_bytes() {
    let mut rig = Rig::new(Shape { pmt_filler: 200, ..Shape::default() });
    rig.live(60);
    let mut whole = rig.player();
    rig.drain(&mut whole, usize::MAX);
    assert_eq!(rig.check(&whole).end, rig.source.head());
    for n in 1..=400 {
        let mut player = rig.player();
        assert_eq!(rig.drain(&mut player, n), Plan::Park);
        assert!(player.received == whole.received, "sends of {n} bytes");
    }
}

#[test]
fn the_first_bytes_may_be_cut_anywhere() {
    let mut rig = Rig::new(Shape::default());
    rig.live(40);
    let mut whole = rig.player();
    rig.drain(&mut whole, usize::MAX);
    for n in 0..500 {
        let mut player = crate::viewer::tests::rig::Player::new(rig.now);
        assert!(rig.start(&mut player));
        rig.accept_inline(&mut player, n);
        player.viewer.blocked(rig.now);
        assert_eq!(rig.plan(&mut player, true), Plan::Wait);
        player.viewer.writable(rig.now);
        rig.drain(&mut player, usize::MAX);
        assert!(player.received == whole.received, "{n} bytes of the head");
    }
}

#[test]
fn sends_end_on_a_packet_boundary_and_slabs_do_not_cut_them() {
    let mut rig = Rig::new(LARGE);
    rig.live(60);
    let slab_bytes = rig.source.arena.slab_bytes() as u64;
    let mut player = rig.player();
    let (mut accepted, mut crossed) = (1, 0);
    while let plan @ Plan::Send { .. } = rig.plan(&mut player, true) {
        let Plan::Send { offset, len_max } = plan else { break };
        assert_eq!((offset + len_max as u64) % PACKET_BYTES as u64, 0);
        assert!(len_max <= rig.policy.send_bytes_max);
        let pinned = player.sending.as_ref().expect("in flight");
        assert_eq!(pinned.end(), offset + len_max as u64);
        crossed += u32::from(offset / slab_bytes < (pinned.end() - 1) / slab_bytes);
        rig.accept_sent(&mut player, accepted);
        accepted = accepted * 7 % 250_000 + 1;
    }
    assert!(crossed > 0);
    assert_eq!(rig.check(&player).end, rig.source.head());
}

#[test]
fn one_send_at_a_time() {
    let mut rig = Rig::new(Shape::default());
    rig.live(60);
    let mut player = rig.player();
    assert!(matches!(rig.plan(&mut player, true), Plan::Send { .. }));
    assert!(player.viewer.in_flight());
    rig.live(10);
    assert_eq!(rig.plan(&mut player, true), Plan::Wait);
    assert_eq!(rig.plan(&mut player, false), Plan::Wait);
    rig.accept_sent(&mut player, usize::MAX);
    assert!(!player.viewer.in_flight());
    assert!(matches!(rig.plan(&mut player, true), Plan::Send { .. }));
    rig.accept_sent(&mut player, usize::MAX);
}

#[test]
fn a_full_socket_is_left_alone_until_it_is_writable() {
    let mut rig = Rig::new(Shape::default());
    rig.live(60);
    let mut player = rig.player();
    assert!(matches!(rig.plan(&mut player, true), Plan::Send { .. }));
    rig.accept_sent(&mut player, 0);
    assert!(player.viewer.is_blocked());
    let cursor = player.viewer.cursor();
    assert_eq!(rig.plan(&mut player, true), Plan::Wait);
    player.viewer.writable(rig.now);
    // A late event of the same kind says nothing new.
    player.viewer.writable(rig.now);
    assert!(
        matches!(rig.plan(&mut player, true), Plan::Send { offset, .. } if Some(offset) == cursor)
    );
    rig.accept_sent(&mut player, 1_000);
    player.viewer.blocked(rig.now);
    assert_eq!(rig.plan(&mut player, true), Plan::Wait);
    player.viewer.writable(rig.now);
    rig.drain(&mut player, usize::MAX);
    assert_eq!(rig.check(&player).end, rig.source.head());
}

#[test]
fn little_waits_for_the_tick_and_much_does_not() {
    let mut rig = Rig::new(LARGE);
    rig.live(30);
    let mut player = rig.player();
    rig.drain(&mut player, usize::MAX);
    let head = rig.source.head();
    while rig.source.head() - head < rig.policy.coalesce_bytes {
        assert_eq!(rig.plan(&mut player, false), Plan::Park);
        rig.live(1);
    }
    assert!(matches!(rig.plan(&mut player, false), Plan::Send { .. }));
    rig.accept_sent(&mut player, usize::MAX);
    rig.drain(&mut player, usize::MAX);
    rig.source.packet();
    assert_eq!(rig.plan(&mut player, false), Plan::Park);
    assert!(matches!(rig.plan(&mut player, true), Plan::Send { len_max: 188, .. }));
    rig.accept_sent(&mut player, usize::MAX);
    assert_eq!(rig.check(&player).end, rig.source.head());
}

#[test]
fn an_ended_ring_is_sent_to_its_end() {
    let mut rig = Rig::new(Shape::default());
    rig.live(60);
    let mut player = rig.player();
    rig.drain(&mut player, usize::MAX);
    rig.source.packet();
    rig.source.end();
    player.viewer.end_with(CloseReason::Unstable);
    // Without a tick, and cut.
    assert!(matches!(rig.plan(&mut player, false), Plan::Send { len_max: 188, .. }));
    rig.accept_sent(&mut player, 100);
    assert!(matches!(rig.plan(&mut player, false), Plan::Send { len_max: 88, .. }));
    rig.accept_sent(&mut player, 88);
    assert!(!player.viewer.is_closed());
    assert_eq!(rig.plan(&mut player, false), Plan::Close(CloseReason::Unstable));
    assert!(player.viewer.is_closed());
    assert_eq!(rig.plan(&mut player, true), Plan::Wait);
    assert_eq!(player.viewer.next_deadline(), None);
    assert_eq!(rig.check(&player).end, rig.source.head());
}

#[test]
fn an_end_behind_the_turns_back_loses_nothing() {
    let mut rig = Rig::new(Shape::default());
    rig.live(60);
    let mut player = rig.player();
    rig.drain(&mut player, usize::MAX);
    // The turn has read its head when the writer commits its last packet and ends.
    let turn = rig.reader.turn(player.viewer.cursor());
    rig.source.packet();
    rig.source.end();
    assert!(turn.ended() && turn.head() < turn.ring().head());
    let plan = player.viewer.plan(&turn, &rig.policy, true, &mut rig.out, rig.now);
    drop(turn);
    assert_eq!(plan, Plan::Park);
    assert_eq!(rig.drain(&mut player, usize::MAX), Plan::Close(CloseReason::EngineGone));
    assert_eq!(rig.check(&player).end, rig.source.head());
}

#[test]
fn names_are_those_of_the_contract() {
    let names: Vec<_> = CloseReason::ALL.iter().map(|reason| reason.name()).collect();
    let contract = "left slow stuck kicked drain engine_gone unstable contended taken_over \
                    shard_lost error";
    assert_eq!(names.join(" "), contract);
    for (index, reason) in CloseReason::ALL.iter().enumerate() {
        assert_eq!(reason.index(), index);
    }
}
