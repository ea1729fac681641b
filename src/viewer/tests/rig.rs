//! A ring, a clock, and players whose sockets accept what the test says.

use std::time::Duration;

use crate::base::sizes::PACKET_BYTES;
use crate::base::time::Instant;
use crate::ring::Pinned;
use crate::ring::Reader;
use crate::viewer::Entry;
use crate::viewer::Plan;
use crate::viewer::Policy;
use crate::viewer::Viewer;
use crate::viewer::tests::checker::Report;
use crate::viewer::tests::checker::check;
use crate::viewer::tests::source::FRAME_US;
use crate::viewer::tests::source::Shape;
use crate::viewer::tests::source::Source;

pub(super) const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n";
pub(super) const JOIN_US: u64 = 1_000_000;

pub(super) struct Rig {
    pub(super) source: Source,
    pub(super) reader: Reader,
    pub(super) policy: Policy,
    pub(super) now: Instant,
    pub(super) out: Vec<u8>,
}

pub(super) struct Player {
    pub(super) viewer: Viewer,
    pub(super) received: Vec<u8>,
    pub(super) sending: Option<Pinned>,
}

impl Entry for Player {
    fn viewer(&mut self) -> &mut Viewer {
        &mut self.viewer
    }
}

impl Player {
    pub(super) fn new(now: Instant) -> Self {
        Self { viewer: Viewer::new(now, None), received: Vec::new(), sending: None }
    }

    pub(super) fn body(&self) -> &[u8] {
        self.received.strip_prefix(HEAD).expect("the head comes first")
    }
}

impl Rig {
    pub(super) fn new(shape: Shape) -> Self {
        let source = Source::new(shape);
        let reader = Reader::new(source.ring(), 0);
        Self {
            source,
            reader,
            policy: Policy::default(),
            now: Instant::from_micros(10_000_000),
            out: Vec::new(),
        }
    }

    /// So many frames pass, at their own pace.
    pub(super) fn live(&mut self, frames: u64) {
        for _ in 0..frames {
            assert!(self.source.frames(1), "the ring is full");
            self.pass(Duration::from_micros(FRAME_US));
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// A player that got its first bytes whole.
    pub(super) fn player(&mut self) -> Player {
        let mut player = Player::new(self.now);
        assert!(self.start(&mut player));
        self.accept_inline(&mut player, usize::MAX);
        player
    }

    pub(super) fn start(&mut self, player: &mut Player) -> bool {
        let turn = self.reader.turn(None);
        player.viewer.try_start(&turn, &self.policy, JOIN_US, HEAD, &mut self.out, self.now)
    }

    /// One plan. A send is pinned and waits in `sending`, an inline waits in `out`.
    pub(super) fn plan(&mut self, player: &mut Player, tick: bool) -> Plan {
        let mut turn = self.reader.turn(player.viewer.cursor());
        let plan = player.viewer.plan(&turn, &self.policy, tick, &mut self.out, self.now);
        if let Plan::Send { offset, len_max } = plan {
            player.sending = Some(turn.pin(offset, len_max));
        }
        assert_eq!(plan == Plan::Inline, !self.out.is_empty());
        plan
    }

    /// The socket accepts at most `n` of the inline.
    pub(super) fn accept_inline(&mut self, player: &mut Player, n: usize) -> usize {
        let n = n.min(self.out.len());
        player.received.extend_from_slice(&self.out[..n]);
        player.viewer.inline_sent(&self.out, n, self.now);
        n
    }

    /// The socket accepts at most `n` of what is in flight; nothing is WouldBlock.
    pub(super) fn accept_sent(&mut self, player: &mut Player, n: usize) -> usize {
        let pinned = player.sending.take().expect("a send is in flight");
        let n = n.min(pinned.len());
        player.received.extend_from_slice(&pinned.as_slice()[..n]);
        if n == 0 {
            player.viewer.blocked(self.now);
        } else {
            player.viewer.ring_done(&pinned, n, self.now);
        }
        self.reader.done(pinned);
        n
    }

    /// Plans and accepts until there is nothing to send, `n` bytes at a time; the last plan.
    pub(super) fn drain(&mut self, player: &mut Player, n: usize) -> Plan {
        loop {
            match self.plan(player, true) {
                Plan::Inline => self.accept_inline(player, n),
                Plan::Send { .. } => self.accept_sent(player, n),
                plan @ (Plan::Park | Plan::Wait | Plan::Until(_) | Plan::Close(_)) => return plan,
            };
        }
    }

    /// The ring goes on until it has overtaken this player.
    pub(super) fn overtake(&mut self, player: &Player) {
        let cursor = player.viewer.cursor().expect("started").next_multiple_of(PACKET_BYTES as u64);
        while self.source.tail() < cursor + 1 {
            self.live(1);
        }
    }

    pub(super) fn check(&self, player: &Player) -> Report {
        check(&self.source, player.body())
    }
}
