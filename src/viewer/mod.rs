//! Floor 3: what one player connection gets next. A pure decision over a ring that others write.
//!
//! A [`Viewer`] is a cursor with a few clocks. It opens no socket, reads no clock, pins no memory
//! and waits for nothing: the shard asks [`Viewer::plan`], does what it says, and reports what the
//! socket accepted. What a socket gets is, in this order and nothing else:
//!
//! 1. the HTTP head, the tables valid at the join point, then the ring from a random access point;
//! 2. after the ring has overtaken the cursor: the rest of a cut packet, tables with stepped
//!    counters, marks, then the ring from a newer random access point;
//! 3. null packets while the head stands still.
//!
//! Invariants: at most one send is outstanding; bytes of our own begin only on a packet boundary of
//! what was sent; the cursor never goes back; a deadline moves only when a socket accepted bytes.

mod arrivals;
mod fanout;
mod join;
mod list;
mod pace;
mod plan;
mod policy;
mod side;
mod skip;

use crate::base::sizes::PACKET_BYTES;
use crate::base::time::Instant;
use crate::ring::Pinned;
use crate::ring::Turn;

pub use fanout::Fanout;
pub use list::Entry;
pub use list::plan_all;
pub use list::plan_one;
use pace::Rate;
pub use policy::CloseReason;
pub use policy::JoinSeconds;
pub use policy::Plan;
pub use policy::Policy;
pub use policy::SlowViewer;
use side::Side;
pub use skip::Following;

const PACKET: u64 = PACKET_BYTES as u64;

/// One player connection. The first cache line is all that a plan at the head touches.
#[repr(C)]
#[derive(Debug)]
pub struct Viewer {
    /// The next ring byte that the socket has not accepted. Within a packet after a cut send.
    cursor: u64,
    /// Where the head was at the start: up to here the catch-up cap does not count.
    burst_end: u64,
    /// The bytes accepted are paid for until then (see [`pace`]).
    paid_at: Instant,
    last_accepted: Instant,
    waiting_since: Instant,
    wake_at: Instant,
    side: Option<Box<Side>>,
    rate: Rate,
    phase: Phase,
    socket: Socket,
    /// The socket was handed bytes, or refused some, and has accepted none since.
    waiting: bool,
    end_reason: CloseReason,

    bytes_sent: u64,
    created_at: Instant,
    started_at: Instant,
    join_us: u64,
    skips: u32,
    nulls: u32,
    seekback_seconds: Option<u32>,
}

const _: () = assert!(size_of::<Viewer>() <= 256);
const _: () = assert!(std::mem::offset_of!(Viewer, bytes_sent) <= 64);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No random access point yet, and no status line.
    Joining,
    /// Nothing of the ring was accepted yet.
    Started,
    Playing,
    /// The plan said `Close`.
    Closed,
}

impl Phase {
    fn is_open(self) -> bool {
        matches!(self, Self::Started | Self::Playing)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Socket {
    Idle,
    RingInFlight,
    /// Between `Plan::Inline` and `inline_sent`.
    InlineInFlight,
    Blocked,
}

impl Viewer {
    pub fn new(now: Instant, seekback_seconds: Option<u32>) -> Self {
        Self {
            cursor: 0,
            burst_end: 0,
            paid_at: Instant::ZERO,
            last_accepted: now,
            waiting_since: now,
            wake_at: Instant::NEVER,
            side: None,
            rate: Rate::UNLIMITED,
            phase: Phase::Joining,
            socket: Socket::Idle,
            waiting: false,
            end_reason: CloseReason::EngineGone,
            bytes_sent: 0,
            created_at: now,
            started_at: Instant::ZERO,
            join_us: 0,
            skips: 0,
            nulls: 0,
            seekback_seconds,
        }
    }

    /// Starts the viewer if a random access point is in the ring: `out` is then `head_bytes`, the
    /// PAT and the PMTs, to be sent inline at once.
    pub fn try_start(
        &mut self,
        turn: &Turn<'_>,
        policy: &Policy,
        join_us: u64,
        head_bytes: &[u8],
        out: &mut Vec<u8>,
        now: Instant,
    ) -> bool {
        assert_eq!(self.phase, Phase::Joining, "a viewer starts once");
        out.clear();
        let seekback_us = u64::from(self.seekback_seconds.unwrap_or(0)) * 1_000_000;
        let Some(point) = join::choose(turn, join_us.max(seekback_us)) else {
            return false;
        };
        out.extend_from_slice(head_bytes);
        point.psi.write_leading(out, point.access.psi_counters());
        self.cursor = point.access.offset;
        self.burst_end = turn.head();
        self.join_us = join_us;
        self.started_at = now;
        self.last_accepted = now;
        self.phase = Phase::Started;
        self.hand_over(Socket::InlineInFlight, policy, now);
        true
    }
}

/// What the socket did.
impl Viewer {
    /// A send of ring bytes came back with `n` accepted. `rest_of_packet` is what `n` cut off the
    /// last packet: it may have left the ring before the next plan.
    pub fn ring_sent(&mut self, n: usize, rest_of_packet: &[u8], now: Instant) {
        assert_eq!(self.socket, Socket::RingInFlight);
        self.socket = Socket::Idle;
        let from = self.cursor;
        self.cursor += n as u64;
        if n > 0 && self.phase == Phase::Started {
            self.phase = Phase::Playing;
        }
        let rest = self.cursor.next_multiple_of(PACKET) - self.cursor;
        assert_eq!(rest_of_packet.len() as u64, rest);
        if rest > 0 {
            self.side.get_or_insert_default().keep_rest(rest_of_packet);
        }
        let billed = self.cursor - from.max(self.burst_end).min(self.cursor);
        self.paid_at = self.rate.pay(self.paid_at, billed, now);
        self.accept(n, now);
    }

    /// [`Self::ring_sent`], with the rest of a cut packet taken from what was sent.
    pub fn ring_done(&mut self, pinned: &Pinned, n: usize, now: Instant) {
        assert_eq!(pinned.offset(), self.cursor);
        let end = self.cursor + n as u64;
        let rest = (end.next_multiple_of(PACKET) - end) as usize;
        self.ring_sent(n, &pinned.as_slice()[n..n + rest], now);
    }

    /// Of `out`, the bytes of `Plan::Inline` or of a start, the socket accepted the first `n`.
    /// What is left is kept and comes first in the next plan.
    pub fn inline_sent(&mut self, out: &[u8], n: usize, now: Instant) {
        assert_eq!(self.socket, Socket::InlineInFlight);
        self.socket = Socket::Idle;
        if n < out.len() {
            self.side.get_or_insert_default().keep_inline(&out[n..]);
        }
        self.accept(n, now);
    }

    /// The socket takes nothing (more): plan `Wait` until [`Self::writable`]. Said of a ring send, in
    /// place of `ring_sent`, or after `ring_sent` or `inline_sent` of a part.
    pub fn blocked(&mut self, now: Instant) {
        assert_ne!(self.socket, Socket::InlineInFlight, "inline_sent comes first");
        self.socket = Socket::Blocked;
        self.wait_from(now);
    }

    pub fn writable(&mut self, _now: Instant) {
        // A late event of a viewer that was not blocked any more says nothing new.
        if self.socket == Socket::Blocked {
            self.socket = Socket::Idle;
        }
    }

    /// The peer has acknowledged some of what its socket holds: it lives, though there is no room for
    /// more yet.
    pub fn acknowledged(&mut self, now: Instant) {
        if self.waiting {
            self.waiting_since = now;
        }
    }

    fn accept(&mut self, n: usize, now: Instant) {
        if n > 0 {
            self.bytes_sent += n as u64;
            self.last_accepted = now;
            self.waiting = false;
        }
    }
}

/// What others may know and set.
impl Viewer {
    /// Why the viewer is closed once the ring has ended and everything of it is sent.
    pub fn end_with(&mut self, reason: CloseReason) {
        self.end_reason = reason;
    }

    /// How far behind live the next skip lands.
    pub fn set_join_us(&mut self, join_us: u64) {
        self.join_us = join_us;
    }

    /// The lowest ring byte that the viewer may still touch; None before it starts.
    pub fn cursor(&self) -> Option<u64> {
        self.started().then_some(self.cursor)
    }

    pub fn started(&self) -> bool {
        self.phase != Phase::Joining && self.started_at != Instant::ZERO
    }

    /// A send of ring bytes is outstanding.
    pub fn in_flight(&self) -> bool {
        self.socket == Socket::RingInFlight
    }

    pub fn is_blocked(&self) -> bool {
        self.socket == Socket::Blocked
    }

    /// Its socket was handed bytes, or refused some, and has accepted none since.
    pub fn is_waiting(&self) -> bool {
        self.waiting && self.phase.is_open()
    }

    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The owner needs the memory that this viewer's send in flight reads: abort it.
    pub fn must_evict(&self, evict_below: u64) -> bool {
        self.in_flight() && self.cursor < evict_below
    }

    /// When to plan again even if nothing happens, as of the last plan.
    pub fn next_deadline(&self) -> Option<Instant> {
        (self.wake_at != Instant::NEVER).then_some(self.wake_at)
    }

    /// How far what the socket accepted is behind what was received, in stream time.
    pub fn lag_us(&self, turn: &Turn<'_>) -> u64 {
        self.cursor().map_or(0, |cursor| join::lag_us(turn, cursor))
    }

    pub fn skips(&self) -> u32 {
        self.skips
    }

    pub fn nulls(&self) -> u32 {
        self.nulls
    }

    /// Everything that the socket accepted, the head too.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    pub fn created_at(&self) -> Instant {
        self.created_at
    }

    pub fn started_at(&self) -> Option<Instant> {
        self.started().then_some(self.started_at)
    }

    /// When its socket last accepted anything.
    pub fn last_accepted(&self) -> Option<Instant> {
        (self.bytes_sent > 0).then_some(self.last_accepted)
    }

    pub fn seekback_seconds(&self) -> Option<u32> {
        self.seekback_seconds
    }
}

#[cfg(test)]
mod tests;
