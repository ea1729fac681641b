//! An engine that answers `get_status` and fails whatever is asked of it.
//!
//! Three failures in a row that are its own (not a content's, not another player's) make it rest:
//! it is chosen only where there is no other. One session at a time finds out whether it is better:
//! the first choice after the pause. A session that gives bytes ends it.

use std::fmt;
use std::time::Duration;

use crate::base::time::Instant;

const FAILURES_MAX: u32 = 3;
pub(super) const REST_MIN: Duration = Duration::from_secs(10);
pub(super) const REST_MAX: Duration = Duration::from_secs(60);

/// Others are chosen first until then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rest {
    pub until: Instant,
    /// What it failed with at last.
    pub reason: String,
}

#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// How often it has rested since it last did what it was asked.
    rests: u32,
    rest: Option<Rest>,
    /// One session finds out.
    is_tried: bool,
}

impl Breaker {
    /// A session has given bytes: answers alone prove nothing.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// True when it rests from now on.
    pub(super) fn failed(&mut self, reason: &dyn fmt::Display, now: Instant) -> bool {
        self.failures += 1;
        if self.failures < FAILURES_MAX || (self.is_resting(now) && !self.is_tried) {
            return false;
        }
        self.is_tried = false;
        let pause = (REST_MIN * 2_u32.pow(self.rests.min(8))).min(REST_MAX);
        self.rests += 1;
        self.rest = Some(Rest { until: now + pause, reason: reason.to_string() });
        // The next one that fails after the pause is the third.
        self.failures = FAILURES_MAX - 1;
        true
    }

    /// Who is chosen after a pause finds out; until then the others come first again.
    pub(super) fn chosen(&mut self, now: Instant) {
        if let Some(rest) = self.rest.as_mut().filter(|rest| rest.until <= now) {
            rest.until = now + REST_MIN;
            self.is_tried = true;
        }
    }

    /// It may be over.
    pub(super) fn rest(&self) -> Option<&Rest> {
        self.rest.as_ref()
    }

    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_row_rest_from_ten_to_sixty_seconds() {
        let mut now = Instant::from_micros(1);
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(&"broken", now) && !breaker.failed(&"broken", now));
        let mut pauses = Vec::new();
        for _ in 0..4 {
            assert!(breaker.failed(&"broken", now));
            assert!(!breaker.failed(&"broken", now), "it rests already");
            let mut seconds = 0;
            while breaker.is_resting(now) {
                now = now + Duration::from_secs(1);
                seconds += 1;
            }
            pauses.push(seconds);
        }
        assert_eq!(pauses, [10, 20, 40, 60]);
        breaker.succeeded();
        assert!(!breaker.failed(&"broken", now) && !breaker.failed(&"broken", now));
    }

    #[test]
    fn one_finds_out_and_the_others_wait() {
        let mut now = Instant::from_micros(1);
        let mut breaker = Breaker::default();
        (0..3).for_each(|_| {
            breaker.failed(&"broken", now);
        });
        now = now + REST_MIN;
        assert!(!breaker.is_resting(now));
        breaker.chosen(now);
        assert_eq!(breaker.rest().map(|rest| rest.reason.as_str()), Some("broken"));
        assert!(breaker.is_resting(now), "until it is known");
        now = now + Duration::from_secs(2);
        assert!(breaker.failed(&"broken", now), "no better");
        assert!(breaker.is_resting(now + Duration::from_secs(19)));
    }
}
