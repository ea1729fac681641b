//! The catch-up cap: how many bytes a viewer that is behind may get now.
//!
//! Debt is kept as time. Every byte accepted beyond the join burst moves `paid_at` on by what it
//! costs at the rate; a viewer whose `paid_at` is not in the future owes nothing. The rate is a
//! multiple of the stream's own bitrate, so that a viewer at live never meets the cap.

use std::time::Duration;

use crate::base::sizes::PACKET_BYTES;
use crate::base::time::Instant;
use crate::viewer::policy::Policy;

/// How far in debt a viewer may go: a quarter of a second at four times the bitrate is one second
/// of stream, what a live source may deliver at once.
const DEBT_MAX: Duration = Duration::from_millis(250);

/// Bytes a second; zero is no cap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Rate(u32);

pub(super) enum Allowance {
    Bytes(u64),
    Until(Instant),
}

impl Rate {
    pub(super) const UNLIMITED: Self = Self(0);

    /// Unknown bitrates are not capped.
    pub(super) fn of(policy: &Policy, bitrate_bps: u64) -> Self {
        if policy.catchup_rate > 0.0 && bitrate_bps > 0 {
            // Below once the bitrate nobody could ever catch up. The cast saturates.
            Self((bitrate_bps as f64 / 8.0 * policy.catchup_rate.max(1.0)) as u32)
        } else {
            Self::UNLIMITED
        }
    }

    /// What may be sent of `wanted` bytes. Never a sliver: when only little is allowed, later.
    pub(super) fn allowance(self, wanted: u64, paid_at: Instant, now: Instant) -> Allowance {
        if self == Self::UNLIMITED || paid_at <= now {
            return Allowance::Bytes(wanted);
        }
        let bytes_a_second = u64::from(self.0);
        let bytes_of = |time: Duration| time.as_micros() as u64 * bytes_a_second / 1_000_000;
        let debt = paid_at.since(now);
        let allowed = bytes_of(DEBT_MAX.saturating_sub(debt));
        let worthwhile = wanted.min(bytes_of(DEBT_MAX) / 2).max(PACKET_BYTES as u64);
        if allowed >= worthwhile {
            return Allowance::Bytes(wanted.min(allowed));
        }
        // Rounded up, so that the bytes are allowed when the time has come.
        let lacking_us = (worthwhile - allowed).saturating_mul(1_000_000).div_ceil(bytes_a_second);
        let over_us = debt.saturating_sub(DEBT_MAX).as_micros() as u64;
        Allowance::Until(now + Duration::from_micros(lacking_us + over_us + 1))
    }

    /// `paid_at` after so many bytes.
    pub(super) fn pay(self, paid_at: Instant, bytes: u64, now: Instant) -> Instant {
        if self == Self::UNLIMITED {
            return paid_at;
        }
        let cost_us = bytes.saturating_mul(1_000_000) / u64::from(self.0);
        paid_at.max(now) + Duration::from_micros(cost_us)
    }
}
