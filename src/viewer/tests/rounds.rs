//! Rounds over all viewers of a stream: when they come, whom they serve, in what order.

use std::time::Duration;

use crate::viewer::CloseReason;
use crate::viewer::Fanout;
use crate::viewer::Plan;
use crate::viewer::plan_all;
use crate::viewer::plan_one;
use crate::viewer::tests::rig::Player;
use crate::viewer::tests::rig::Rig;
use crate::viewer::tests::source::Shape;

const LARGE: Shape = Shape {
    slab_packets: 1_024,
    cap_slabs: 40,
    video_packets: 52,
    group_frames: 12,
    psi_frames: 3,
    pmt_filler: 0,
    programs: 1,
    rare_frames: 25,
};

/// A shard with one stream whose sockets accept everything.
struct Shard {
    rig: Rig,
    fanout: Fanout,
    players: Vec<Player>,
    /// (player, what it was told), in order.
    said: Vec<(usize, Plan)>,
}

impl Shard {
    fn new(shape: Shape, players: usize) -> Self {
        let mut rig = Rig::new(shape);
        rig.live(60);
        let mut fanout = Fanout::new(&rig.policy);
        fanout.note_head(rig.source.head(), rig.now, rig.now, rig.now);
        let players = (0..players).map(|_| rig.player()).collect();
        Self { rig, fanout, players, said: Vec::new() }
    }

    fn note_head(&mut self) {
        let (head, now) = (self.rig.source.head(), self.rig.now);
        self.fanout.note_head(head, now, now, now);
    }

    fn round(&mut self) {
        let Self { rig, fanout, players, said } = self;
        let mut numbers = (0..players.len()).collect::<Vec<_>>().into_iter();
        let lowest = fanout.lowest_cursor(false);
        let mut turn = rig.reader.turn(lowest);
        let now = rig.now;
        let mut last = (usize::MAX, std::ptr::null());
        plan_all(
            fanout,
            &mut turn,
            &rig.policy,
            players.iter_mut(),
            &mut rig.out,
            now,
            &mut |player, plan, turn, out| {
                if last.1 != std::ptr::from_ref(player) {
                    // Players without a word are passed over here too.
                    last = (numbers.next().expect("a player"), std::ptr::from_ref(player));
                }
                said.push((last.0, plan));
                match plan {
                    Plan::Send { offset, len_max } => {
                        player.sending = Some(turn.pin(offset, len_max))
                    }
                    Plan::Inline => {
                        player.received.extend_from_slice(out);
                        player.viewer.inline_sent(out, out.len(), now);
                    }
                    Plan::Close(_) => {}
                    Plan::Park | Plan::Wait | Plan::Until(_) => panic!("{plan:?} asks for nothing"),
                }
            },
        );
    }

    /// What is in flight is accepted, and those players planned again, until nothing is.
    fn complete(&mut self) {
        self.complete_by(usize::MAX);
    }

    /// As [`Self::complete`], so many bytes at a time.
    fn complete_by(&mut self, bytes: usize) {
        for number in 0..self.players.len() {
            while self.players[number].sending.is_some() {
                let player = &mut self.players[number];
                self.rig.accept_sent(player, bytes);
                let lowest = self.fanout.lowest_cursor(false);
                let mut turn = self.rig.reader.turn(lowest);
                let said = &mut self.said;
                plan_one(
                    &mut self.fanout,
                    &mut turn,
                    &self.rig.policy,
                    player,
                    &mut self.rig.out,
                    self.rig.now,
                    &mut |player, plan, turn, _| {
                        said.push((number, plan));
                        let Plan::Send { offset, len_max } = plan else { panic!("{plan:?}") };
                        player.sending = Some(turn.pin(offset, len_max));
                    },
                );
            }
        }
    }
}

#[test]
fn the_tick_is_so_many_bytes_or_so_long_after_the_first() {
    let mut shard = Shard::new(LARGE, 1);
    shard.round();
    shard.complete();
    assert!(!shard.fanout.due(shard.rig.now));
    // By time: from the first byte on, not from the last.
    shard.rig.source.packet();
    shard.note_head();
    let first = shard.rig.now;
    assert_eq!(shard.fanout.next_tick(), Some(first + shard.rig.policy.coalesce_after));
    shard.rig.pass(Duration::from_millis(60));
    shard.rig.source.packet();
    shard.note_head();
    assert_eq!(shard.fanout.next_tick(), Some(first + shard.rig.policy.coalesce_after));
    assert!(!shard.fanout.due(shard.rig.now));
    shard.rig.pass(Duration::from_millis(40));
    assert!(shard.fanout.due(shard.rig.now));
    shard.round();
    shard.complete();
    assert!(!shard.fanout.due(shard.rig.now));
    // By bytes: at once.
    let head = shard.rig.source.head();
    while shard.rig.source.head() - head < shard.rig.policy.coalesce_bytes {
        assert!(!shard.fanout.due(shard.rig.now));
        shard.rig.source.packet();
        shard.note_head();
    }
    assert!(shard.fanout.due(shard.rig.now));
    shard.round();
    shard.complete();
    assert_eq!(shard.rig.check(&shard.players[0]).end, shard.rig.source.head());
}

#[test]
fn a_tick_comes_with_the_piece_after_which_it_would_have_to_wait_for_nothing() {
    let mut shard = Shard::new(LARGE, 1);
    shard.round();
    shard.complete();
    let after = shard.rig.policy.coalesce_after;
    let apart = Duration::from_micros(after.as_micros() as u64 * 2 / 11);
    let mut ticks = Vec::new();
    for _ in 0..40 {
        shard.rig.pass(apart);
        shard.rig.source.packet();
        shard.note_head();
        if shard.fanout.due(shard.rig.now) {
            ticks.push(shard.rig.now);
            shard.round();
            shard.complete();
        }
    }
    // Five distances fit into the wait, a sixth would not: six pieces, with the last of them.
    let steady: Vec<_> = ticks.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(steady.len() >= 4 && steady[1..].iter().all(|gap| *gap == apart * 6), "{steady:?}");
    // A piece that does not come is not waited for any longer than before.
    shard.rig.pass(after);
    shard.round();
    shard.complete();
    shard.rig.source.packet();
    shard.note_head();
    let first = shard.rig.now;
    assert_eq!(shard.fanout.next_tick(), Some(first + after));
    shard.rig.pass(after);
    assert!(shard.fanout.due(shard.rig.now));
}

#[test]
fn a_round_serves_everybody_in_order_and_once() {
    let mut shard = Shard::new(LARGE, 5);
    shard.round();
    shard.complete();
    shard.said.clear();
    let head = shard.rig.source.head();
    shard.rig.live(2);
    shard.note_head();
    shard.rig.pass(Duration::from_millis(100));
    assert!(shard.fanout.due(shard.rig.now));
    shard.round();
    let whole = (shard.rig.source.head() - head) as usize;
    assert_eq!(shard.said.len(), 5);
    for (number, said) in shard.said.iter().enumerate() {
        assert_eq!(*said, (number, Plan::Send { offset: head, len_max: whole }));
    }
    assert_eq!(shard.players[4].sending.as_ref().map(crate::ring::Pinned::len), Some(whole));
    // A second round finds everybody's socket busy.
    shard.said.clear();
    shard.round();
    assert_eq!(shard.said, []);
    shard.complete();
}

#[test]
fn bytes_that_have_waited_elsewhere_wait_no_longer() {
    let mut shard = Shard::new(LARGE, 1);
    shard.round();
    shard.complete();
    let after = shard.rig.policy.coalesce_after;
    let since = shard.rig.now;
    shard.rig.source.packet();
    shard.rig.pass(after / 3);
    let (head, now) = (shard.rig.source.head(), shard.rig.now);
    shard.fanout.note_head(head, now, since, now);
    assert_eq!(shard.fanout.next_tick(), Some(since + after));
    // What comes on top changes nothing: the oldest counts.
    shard.rig.source.packet();
    shard.rig.pass(after / 3);
    shard.note_head();
    assert_eq!(shard.fanout.next_tick(), Some(since + after));
    shard.rig.pass(after / 2);
    shard.round();
    shard.complete();
    let since = shard.rig.now;
    shard.rig.source.packet();
    shard.rig.pass(after);
    let (head, now) = (shard.rig.source.head(), shard.rig.now);
    shard.fanout.note_head(head, now, since, now);
    assert!(shard.fanout.due(now));
}

#[test]
fn what_a_tick_released_is_not_held_again() {
    let mut shard = Shard::new(LARGE, 2);
    shard.round();
    shard.complete();
    shard.said.clear();
    let head = shard.rig.source.head();
    (0..10).for_each(|_| shard.rig.source.packet());
    shard.note_head();
    shard.rig.pass(Duration::from_millis(100));
    shard.round();
    // Meanwhile the head moves on by less than a tick.
    shard.rig.source.packet();
    shard.note_head();
    // A send ends early: the socket has no more room, or the stream goes on elsewhere in memory.
    shard.complete_by(5 * 188);
    let first = |number| (number, Plan::Send { offset: head, len_max: 10 * 188 });
    let second = |number| (number, Plan::Send { offset: head + 5 * 188, len_max: 6 * 188 });
    assert_eq!(shard.said, [first(0), first(1), second(0), second(1)]);
    // Who has more than was released waits for the tick.
    shard.rig.source.packet();
    shard.note_head();
    assert!(!shard.fanout.released(&shard.players[0].viewer));
    assert!(!shard.fanout.due(shard.rig.now));
}

#[test]
fn silence_wakes_the_shard_for_all_at_once() {
    let mut shard = Shard::new(LARGE, 50);
    shard.round();
    // They finished within 5 ms of each other.
    for number in 0..50 {
        shard.rig.pass(Duration::from_micros(100));
        let mut others = shard.players.split_off(number + 1);
        shard.complete();
        shard.players.append(&mut others);
    }
    shard.said.clear();
    let begin = shard.rig.now;
    let mut rounds = 0;
    while shard.rig.now.since(begin) < Duration::from_secs(20) {
        let at = shard.fanout.next_tick().expect("silence has a deadline");
        assert!(at > shard.rig.now, "{at:?}");
        shard.rig.now = at;
        assert!(shard.fanout.due(at));
        shard.round();
        rounds += 1;
    }
    assert!(rounds <= 45, "{rounds} rounds in 20 s");
    for player in &shard.players {
        assert!((19..=20).contains(&player.viewer.nulls()), "{}", player.viewer.nulls());
        assert_eq!(shard.rig.check(player).nulls as u32, player.viewer.nulls());
    }
}

#[test]
fn the_lowest_cursor_is_never_too_high() {
    let mut shard = Shard::new(LARGE, 3);
    assert_eq!(shard.fanout.lowest_cursor(false), None);
    shard.round();
    let lowest = shard.players.iter().filter_map(|player| player.viewer.cursor()).min();
    assert_eq!(shard.fanout.lowest_cursor(false), lowest);
    assert_eq!(shard.fanout.lowest_cursor(true), None);
    shard.complete();
    assert!(shard.fanout.lowest_cursor(false) <= lowest);
    shard.rig.pass(Duration::from_secs(1));
    shard.round();
    assert_eq!(shard.fanout.lowest_cursor(false), Some(shard.rig.source.head()));
    let late = shard.rig.player();
    shard.fanout.note_viewer(&late.viewer);
    assert_eq!(shard.fanout.lowest_cursor(false), late.viewer.cursor());
}

#[test]
fn the_end_lets_everything_go_and_closes() {
    let mut shard = Shard::new(LARGE, 3);
    shard.round();
    shard.complete();
    shard.said.clear();
    shard.rig.source.packet();
    shard.note_head();
    shard.rig.source.end();
    assert!(!shard.fanout.due(shard.rig.now));
    shard.fanout.note_end();
    assert!(shard.fanout.due(shard.rig.now));
    shard.players[1].viewer.end_with(CloseReason::Contended);
    shard.round();
    assert!(shard.said.iter().all(|(_, plan)| matches!(plan, Plan::Send { len_max: 188, .. })));
    for player in &mut shard.players {
        shard.rig.accept_sent(player, usize::MAX);
    }
    shard.said.clear();
    shard.round();
    let close = |number, reason| (number, Plan::Close(reason));
    let gone = CloseReason::EngineGone;
    assert_eq!(shard.said, [close(0, gone), close(1, CloseReason::Contended), close(2, gone)]);
    shard.said.clear();
    shard.round();
    assert_eq!(shard.said, []);
}
