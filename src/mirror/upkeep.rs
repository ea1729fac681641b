//! When to connect, when to ask whether Redis lives, and when to give a connection up: a brain
//! without I/O.
//!
//! Invariants: there is one connection at a time, or one try; every one has a number of its own,
//! and so has what follows its end, so that a late answer is recognised.

use crate::base::time::Instant;
use std::time::Duration;

/// How fresh Redis is must be known at every cold start.
const PING_EVERY: Duration = Duration::from_secs(1);

/// Without any answer for this long the mirror says that Redis is down.
const SILENCE_MAX: Duration = Duration::from_secs(3);

const RECONNECT_MIN: Duration = Duration::from_millis(200);

/// With its jitter well below a lease, which so outlives a Redis that is away for a moment.
const RECONNECT_MAX: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Away { until: Instant },
    Connecting,
    Up { ping_at: Instant, is_pinging: bool, heard_at: Instant },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Connect,
    Ping,
    /// It has been silent for too long.
    GiveUp,
}

#[derive(Debug)]
pub(super) struct Upkeep {
    state: State,
    number: u64,
    delay: Duration,
}

impl Upkeep {
    pub(super) const fn new(now: Instant) -> Self {
        Self { state: State::Away { until: now }, number: 0, delay: RECONNECT_MIN }
    }

    /// Of the connection, or of the try.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        match self.state {
            State::Away { until } => until,
            State::Connecting => Instant::NEVER,
            State::Up { is_pinging: true, heard_at, .. } => heard_at + SILENCE_MAX,
            State::Up { ping_at, heard_at, .. } => ping_at.min(heard_at + SILENCE_MAX),
        }
    }

    /// What is to be done now; it counts as begun.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Step> {
        match &mut self.state {
            State::Away { until } if now >= *until => {
                self.state = State::Connecting;
                self.number += 1;
                Some(Step::Connect)
            }
            State::Up { heard_at, .. } if now.since(*heard_at) >= SILENCE_MAX => Some(Step::GiveUp),
            State::Up { ping_at, is_pinging, .. } if now >= *ping_at && !*is_pinging => {
                *is_pinging = true;
                *ping_at = now + PING_EVERY;
                Some(Step::Ping)
            }
            State::Away { .. } | State::Connecting | State::Up { .. } => None,
        }
    }

    pub(super) const fn connected(&mut self, now: Instant) {
        self.state = State::Up { ping_at: now, is_pinging: false, heard_at: now };
        self.delay = RECONNECT_MIN;
    }

    /// Any answer says that it lives.
    pub(super) const fn heard(&mut self, now: Instant) {
        if let State::Up { heard_at, .. } = &mut self.state {
            *heard_at = now;
        }
    }

    /// A ping has come to its end, with an answer or without.
    pub(super) const fn pinged(&mut self) {
        if let State::Up { is_pinging, .. } = &mut self.state {
            *is_pinging = false;
        }
    }

    /// The connection is gone, or was not made: another one after a while, which `random` spreads,
    /// so that not all nodes come at once.
    pub(super) fn lost(&mut self, now: Instant, random: u64) {
        let delay_ms = self.delay.as_millis() as u64;
        let jitter = Duration::from_millis(random % (delay_ms + 1));
        self.state = State::Away { until: now + self.delay / 2 + jitter };
        self.number += 1;
        self.delay = (self.delay * 2).min(RECONNECT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn one_try_at_a_time_and_each_later_than_the_last() {
        let mut upkeep = Upkeep::new(at(0));
        let mut now = at(0);
        let mut waits = Vec::new();
        for n in 0..6 {
            assert_eq!(upkeep.handle_timeout(now), Some(Step::Connect));
            assert_eq!(upkeep.poll_timeout(), Instant::NEVER);
            assert_eq!(upkeep.handle_timeout(now + SILENCE_MAX), None, "one is on its way");
            let number = upkeep.number();
            upkeep.lost(now, n % 2 * u64::MAX);
            assert!(upkeep.number() > number, "its answer would be late");
            let next = upkeep.poll_timeout();
            let before = next.checked_sub(Duration::from_millis(1)).unwrap();
            assert_eq!(upkeep.handle_timeout(before), None);
            waits.push(next.since(now));
            now = next;
        }
        assert!(waits[0] >= RECONNECT_MIN / 2, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= RECONNECT_MAX * 3 / 2), "{waits:?}");
        assert!(waits[4] >= RECONNECT_MAX / 2, "{waits:?}");
        upkeep.connected(now);
        upkeep.lost(now, 0);
        assert_eq!(upkeep.poll_timeout().since(now), RECONNECT_MIN / 2, "as at first");
    }

    #[test]
    fn silence_is_noticed_and_one_ping_is_out() {
        let mut upkeep = Upkeep::new(at(0));
        assert_eq!(upkeep.handle_timeout(at(0)), Some(Step::Connect));
        upkeep.connected(at(100));
        assert_eq!(upkeep.handle_timeout(at(100)), Some(Step::Ping));
        assert_eq!(upkeep.handle_timeout(at(1_500)), None, "one is out");
        upkeep.pinged();
        assert_eq!(upkeep.handle_timeout(at(1_500)), Some(Step::Ping));
        assert_eq!(upkeep.poll_timeout(), at(3_100));
        upkeep.heard(at(3_000));
        assert_eq!(upkeep.handle_timeout(at(3_100)), None, "something was answered");
        assert_eq!(upkeep.handle_timeout(at(6_000)), Some(Step::GiveUp));
        upkeep.lost(at(6_000), 0);
        upkeep.heard(at(6_001));
        upkeep.pinged();
        assert_eq!(upkeep.handle_timeout(at(6_050)), None, "a late answer brings nothing back");
    }
}
