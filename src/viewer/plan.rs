//! The decision: what a viewer's socket is handed now.
//!
//! It reads the turn and the viewer and changes only the viewer. Every path ends in exactly one
//! [`Plan`], and sets when the viewer is to be looked at again if nothing happens.

use std::time::Duration;

use crate::base::time::Instant;
use crate::ring::Turn;
use crate::ts::packet::NULL_PACKET;
use crate::viewer::CloseReason;
use crate::viewer::Following;
use crate::viewer::PACKET;
use crate::viewer::Phase;
use crate::viewer::Plan;
use crate::viewer::Policy;
use crate::viewer::SlowViewer;
use crate::viewer::Socket;
use crate::viewer::Viewer;
use crate::viewer::join;
use crate::viewer::pace::Allowance;
use crate::viewer::pace::Rate;
use crate::viewer::skip;

/// A socket that accepted nothing for so long, because there is nothing, gets a null packet.
const SILENCE: Duration = Duration::from_secs(1);

impl Viewer {
    /// What to do now. `tick`: the coalescing tick is due, or let these bytes go before.
    pub fn plan(
        &mut self,
        turn: &Turn<'_>,
        policy: &Policy,
        tick: bool,
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Plan {
        self.plan_with(turn, policy, tick, &mut Following::default(), out, now)
    }

    /// [`Self::plan`] with what skips to the same point share.
    pub fn plan_with(
        &mut self,
        turn: &Turn<'_>,
        policy: &Policy,
        tick: bool,
        following: &mut Following,
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Plan {
        out.clear();
        if !self.phase.is_open() || self.socket != Socket::Idle {
            return self.plan_waiting(turn, policy, now);
        }
        if let Some(side) = &mut self.side
            && side.take_inline(out)
        {
            self.hand_over(Socket::InlineInFlight, policy, now);
            return Plan::Inline;
        }
        let (tail, head) = (turn.tail(), turn.head());
        if self.cursor < tail {
            return self.plan_lapped(turn, policy, following, out, now);
        }
        assert!(self.cursor <= head, "a cursor beyond the head");
        let there = head - self.cursor;
        if there == 0 {
            return self.plan_at_head(is_over(turn), policy, out, now);
        }
        if !tick && there < policy.coalesce_bytes && !turn.ended() {
            // The tick will come: it is at most `coalesce_after` away.
            self.wake_at = Instant::NEVER;
            return Plan::Park;
        }
        self.plan_send(there, turn, policy, now)
    }

    fn plan_waiting(&mut self, turn: &Turn<'_>, policy: &Policy, now: Instant) -> Plan {
        match self.phase {
            Phase::Joining => return Plan::Park,
            Phase::Closed => return Plan::Wait,
            Phase::Started | Phase::Playing => {}
        }
        assert_ne!(self.socket, Socket::InlineInFlight, "an inline send was not answered");
        let stuck_at = self.waiting_since + policy.send_stall;
        if now >= stuck_at {
            return self.close(CloseReason::Stuck);
        }
        let is_lapped = self.socket == Socket::Blocked && self.cursor < turn.tail();
        if is_lapped && policy.slow == SlowViewer::Close {
            return self.close(CloseReason::Slow);
        }
        self.wake_at = stuck_at;
        Plan::Wait
    }

    #[cold]
    fn plan_lapped(
        &mut self,
        turn: &Turn<'_>,
        policy: &Policy,
        following: &mut Following,
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Plan {
        if policy.slow == SlowViewer::Close {
            return self.close(CloseReason::Slow);
        }
        let cut = !self.cursor.is_multiple_of(PACKET);
        if cut {
            let side = self.side.as_ref().expect("a cut send keeps the rest of its packet");
            out.extend_from_slice(side.rest(self.cursor));
        }
        // The cut packet counts as sent: with it the viewer has everything below this boundary.
        let sent_to = self.cursor.next_multiple_of(PACKET);
        if let Some(point) = join::choose(turn, self.join_us) {
            skip::write(turn, &point, sent_to, following, out);
            self.cursor = point.access.offset;
            self.skips += 1;
        } else if cut {
            self.cursor = sent_to;
        } else {
            return self.plan_at_head(is_over(turn), policy, out, now);
        }
        self.hand_over(Socket::InlineInFlight, policy, now);
        Plan::Inline
    }

    /// Everything that may be sent was accepted, and it ended with a whole packet.
    fn plan_at_head(
        &mut self,
        ended: bool,
        policy: &Policy,
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Plan {
        debug_assert_eq!(self.cursor % PACKET, 0);
        if ended {
            return self.close(self.end_reason);
        }
        if self.phase == Phase::Started {
            // Overtaken before the first packet, and no other point yet.
            self.wake_at = Instant::NEVER;
            return Plan::Park;
        }
        let silent_at = self.last_accepted + SILENCE;
        if now < silent_at {
            self.wake_at = silent_at;
            return Plan::Park;
        }
        out.extend_from_slice(&NULL_PACKET);
        self.nulls += 1;
        self.hand_over(Socket::InlineInFlight, policy, now);
        Plan::Inline
    }

    fn plan_send(&mut self, there: u64, turn: &Turn<'_>, policy: &Policy, now: Instant) -> Plan {
        let mut len = there.min(policy.send_bytes());
        self.rate = Rate::UNLIMITED;
        if self.cursor + len > self.burst_end && !turn.ended() {
            self.rate = Rate::of(policy, turn.ring().bitrate_bps());
        }
        if self.cursor >= self.burst_end {
            match self.rate.allowance(len, self.paid_at, now) {
                Allowance::Bytes(allowed) => len = allowed,
                Allowance::Until(at) => {
                    self.wake_at = at;
                    return Plan::Until(at);
                }
            }
        }
        // To a packet boundary, so that what is left of a cut packet is always at hand.
        let mut end = self.cursor + len;
        end -= end % PACKET;
        if end <= self.cursor {
            end = (self.cursor + 1).next_multiple_of(PACKET);
        }
        self.hand_over(Socket::RingInFlight, policy, now);
        Plan::Send { offset: self.cursor, len_max: (end - self.cursor) as usize }
    }

    /// The socket has the word now; it must accept something before the stall timeout. Handing it
    /// the same bytes again does not give it more time.
    pub(super) fn hand_over(&mut self, to: Socket, policy: &Policy, now: Instant) {
        self.socket = to;
        self.wait_from(now);
        self.wake_at = self.waiting_since + policy.send_stall;
    }

    pub(super) fn wait_from(&mut self, now: Instant) {
        if !self.waiting {
            self.waiting = true;
            self.waiting_since = now;
        }
    }

    fn close(&mut self, reason: CloseReason) -> Plan {
        self.phase = Phase::Closed;
        self.wake_at = Instant::NEVER;
        Plan::Close(reason)
    }
}

/// Nothing will come after the head of this turn. The writer may have committed and ended after
/// the turn read its head: an end that is seen makes the head read after it the last one.
fn is_over(turn: &Turn<'_>) -> bool {
    turn.ended() && turn.ring().head() == turn.head()
}
