//! Random schedules of everything that can happen to a stream and its players, from a seed. The
//! oracle is the checker: whatever happened, every player's bytes are allowed ones.

use std::time::Duration;

use crate::base::prng::Prng;
use crate::viewer::CloseReason;
use crate::viewer::Fanout;
use crate::viewer::Plan;
use crate::viewer::plan_all;
use crate::viewer::plan_one;
use crate::viewer::tests::rig::HEAD;
use crate::viewer::tests::rig::Player;
use crate::viewer::tests::rig::Rig;
use crate::viewer::tests::source::Shape;

/// On every run; `SIM_SEEDS=5000` for more, `SIM_SEED=17` for one.
const SEEDS: u64 = 60;
const STEPS: u64 = 400;
const PLAYERS_MAX: usize = 6;

#[test]
fn every_player_gets_allowed_bytes_on_every_schedule() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let one = number("SIM_SEED");
    let seeds = one.map_or(0..number("SIM_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let mut skips = 0;
    let mut nulls = 0;
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.finish();
        for player in &world.players {
            let checked = std::panic::AssertUnwindSafe(|| world.rig.check(player));
            let Ok(report) = std::panic::catch_unwind(checked) else {
                panic!("seed {seed}: bytes that a player must not get, see above")
            };
            assert_eq!(report.nulls as u32, player.viewer.nulls(), "seed {seed}");
            skips += report.skips.len();
            nulls += report.nulls;
        }
    }
    // The schedules reach what they are there for.
    let reached = skips > 100 && nulls > 100;
    assert!(one.is_some() || reached, "{skips} skips, {nulls} null packets");
}

struct World {
    rig: Rig,
    fanout: Fanout,
    players: Vec<Player>,
    random: Prng,
    /// Of a thousand: how often a socket is full. Some worlds are kind, some are not.
    full: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Prng::new(seed);
        let shape = Shape {
            slab_packets: [8, 16, 64, 100][random.below(4) as usize],
            cap_slabs: 12 + random.below(60),
            video_packets: 2 + random.below(10) as usize,
            group_frames: 4 + random.below(20),
            psi_frames: 1 + random.below(4),
            pmt_filler: [0, 0, 60, 300][random.below(4) as usize],
            programs: 1 + random.below(2) as u16,
            rare_frames: 1,
        };
        // A counter can only be known of a PID that shows in the ring.
        let ring_packets = shape.slab_packets as u64 * shape.cap_slabs;
        let frame_packets = shape.video_packets as u64 + 8;
        let shape = Shape { rare_frames: (ring_packets / frame_packets / 3).max(1), ..shape };
        let mut rig = Rig::new(shape);
        rig.policy.coalesce_bytes = [188, 4_000, 20_000][random.below(3) as usize];
        rig.policy.send_bytes_max = [100, 3_000, 40_000][random.below(3) as usize];
        rig.policy.catchup_rate = [0.0, 4.0][random.below(2) as usize];
        let fanout = Fanout::new(&rig.policy);
        let full = [0, 50, 500][random.below(3) as usize];
        Self { rig, fanout, players: Vec::new(), random, full }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=5 => self.receive(),
            6..=11 => self.complete_one(),
            12..=14 => self.unblock_one(),
            15 => self.join(),
            16 if self.random.chance(200) => self.rig.source.change_tables(),
            17 if self.random.chance(200) => self.silence(),
            _ => self.rig.pass(Duration::from_millis(self.random.below(150))),
        }
        let (head, now) = (self.rig.source.head(), self.rig.now);
        self.fanout.note_head(head, now, now, now);
        if self.fanout.due(self.rig.now) {
            self.round();
        }
    }

    fn receive(&mut self) {
        let frames = 1 + self.random.below(6);
        while !self.rig.source.frames(frames) {
            // Too much is condemned: whatever is in flight has to go.
            for at in 0..self.players.len() {
                self.complete(at);
            }
        }
    }

    /// Nothing comes for some seconds, while the sockets go on.
    fn silence(&mut self) {
        for _ in 0..self.random.below(100) {
            self.rig.pass(Duration::from_millis(100));
            for at in 0..self.players.len() {
                self.complete(at);
                self.players[at].viewer.writable(self.rig.now);
                self.plan_again(at);
            }
        }
    }

    fn join(&mut self) {
        if self.players.len() == PLAYERS_MAX {
            return;
        }
        let mut player = Player::new(self.rig.now);
        if self.rig.start(&mut player) {
            let n = self.random.below(400) as usize;
            self.rig.accept_inline(&mut player, HEAD.len() + n);
            self.fanout.note_viewer(&player.viewer);
            self.players.push(player);
        }
    }

    fn complete_one(&mut self) {
        if !self.players.is_empty() {
            let at = self.random.below(self.players.len() as u64) as usize;
            self.complete(at);
            self.plan_again(at);
        }
    }

    fn complete(&mut self, at: usize) {
        let player = &mut self.players[at];
        let Some(sending) = &player.sending else { return };
        let len = sending.len();
        let n = accepted(&mut self.random, self.full, len);
        self.rig.accept_sent(player, n);
        if n > 0 && n < len {
            player.viewer.blocked(self.rig.now);
        }
    }

    fn unblock_one(&mut self) {
        if !self.players.is_empty() {
            let at = self.random.below(self.players.len() as u64) as usize;
            self.players[at].viewer.writable(self.rig.now);
            self.plan_again(at);
        }
    }

    fn plan_again(&mut self, at: usize) {
        let Self { rig, fanout, players, random, full } = self;
        fanout.note_head(rig.source.head(), rig.now, rig.now, rig.now);
        let mut turn = rig.reader.turn(fanout.lowest_cursor(false));
        let now = rig.now;
        plan_one(
            fanout,
            &mut turn,
            &rig.policy,
            &mut players[at],
            &mut rig.out,
            now,
            &mut |player, plan, turn, out| act(player, plan, turn, out, now, random, *full),
        );
    }

    fn round(&mut self) {
        let Self { rig, fanout, players, random, full } = self;
        let mut turn = rig.reader.turn(fanout.lowest_cursor(false));
        let now = rig.now;
        plan_all(
            fanout,
            &mut turn,
            &rig.policy,
            players.iter_mut(),
            &mut rig.out,
            now,
            &mut |player, plan, turn, out| act(player, plan, turn, out, now, random, *full),
        );
    }

    /// The ring ends, the sockets take everything: each player gets all of it and is closed.
    fn finish(&mut self) {
        self.rig.source.end();
        self.full = 0;
        for at in 0..self.players.len() {
            if self.players[at].sending.is_some() {
                self.rig.accept_sent(&mut self.players[at], usize::MAX);
            }
            let player = &mut self.players[at];
            let was_closed = player.viewer.is_closed();
            player.viewer.writable(self.rig.now);
            let last = self.rig.drain(player, usize::MAX);
            if was_closed {
                assert_eq!(last, Plan::Wait);
                continue;
            }
            let stuck = last == Plan::Close(CloseReason::Stuck);
            assert!(stuck || last == Plan::Close(CloseReason::EngineGone), "{last:?}");
            let cursor = player.viewer.cursor();
            assert!(
                stuck
                    || cursor == Some(self.rig.source.head())
                    || cursor < Some(self.rig.source.tail())
            );
            assert_eq!(player.viewer.bytes_sent(), player.received.len() as u64);
        }
        assert_eq!(self.rig.reader.in_flight(), 0);
    }
}

fn act(
    player: &mut Player,
    plan: Plan,
    turn: &mut crate::ring::Turn<'_>,
    out: &[u8],
    now: crate::base::time::Instant,
    random: &mut Prng,
    full: u64,
) {
    match plan {
        Plan::Send { offset, len_max } => player.sending = Some(turn.pin(offset, len_max)),
        Plan::Inline => {
            let n = accepted(random, full, out.len());
            player.received.extend_from_slice(&out[..n]);
            player.viewer.inline_sent(out, n, now);
            if n < out.len() {
                player.viewer.blocked(now);
            }
        }
        Plan::Close(reason) => assert_eq!(reason, CloseReason::Stuck),
        Plan::Park | Plan::Wait | Plan::Until(_) => panic!("{plan:?} asks for nothing"),
    }
}

/// All of it, nothing, or any part: small parts as often as large ones.
fn accepted(random: &mut Prng, full: u64, len: usize) -> usize {
    if random.chance(full) {
        return 0;
    }
    if random.chance(500) {
        return len;
    }
    let bound = [10, 188, 400, len as u64][random.below(4) as usize];
    (1 + random.below(bound) as usize).min(len)
}
