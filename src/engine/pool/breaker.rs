//! An engine that answers `get_status` and fails whatever is asked of it.
//!
//! Three failures in a row that are its own (not a content's, not another player's) make it rest:
//! it is chosen only where there is no other. One session at a time finds out whether it is better:
//! the first choice after the pause. A session that gives bytes ends it.

use std::time::Duration;

use crate::base::time::Instant;

const FAILURES_MAX: u32 = 3;
pub(super) const REST_MIN: Duration = Duration::from_secs(10);
pub(super) const REST_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// How often it has rested since it last did what it was asked.
    rests: u32,
    rests_until: Option<Instant>,
    /// One session finds out.
    is_tried: bool,
}

impl Breaker {
    /// A session has given bytes: answers alone prove nothing.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// True when it rests from now on.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures += 1;
        if self.failures < FAILURES_MAX || (self.is_resting(now) && !self.is_tried) {
            return false;
        }
        self.is_tried = false;
        let pause = (REST_MIN * 2_u32.pow(self.rests.min(8))).min(REST_MAX);
        self.rests += 1;
        self.rests_until = Some(now + pause);
        // The next one that fails after the pause is the third.
        self.failures = FAILURES_MAX - 1;
        true
    }

    /// Who is chosen after a pause finds out; until then the others come first again.
    pub(super) fn chosen(&mut self, now: Instant) {
        if self.rests_until.is_some_and(|until| until <= now) {
            self.rests_until = Some(now + REST_MIN);
            self.is_tried = true;
        }
    }

    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_row_rest_from_ten_to_sixty_seconds() {
        let mut now = Instant::from_micros(1);
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(now) && !breaker.failed(now));
        let mut pauses = Vec::new();
        for _ in 0..4 {
            assert!(breaker.failed(now));
            assert!(!breaker.failed(now), "it rests already");
            let mut seconds = 0;
            while breaker.is_resting(now) {
                now = now + Duration::from_secs(1);
                seconds += 1;
            }
            pauses.push(seconds);
        }
        assert_eq!(pauses, [10, 20, 40, 60]);
        breaker.succeeded();
        assert!(!breaker.failed(now) && !breaker.failed(now));
    }

    #[test]
    fn one_finds_out_and_the_others_wait() {
        let mut now = Instant::from_micros(1);
        let mut breaker = Breaker::default();
        (0..3).for_each(|_| {
            breaker.failed(now);
        });
        now = now + REST_MIN;
        assert!(!breaker.is_resting(now));
        breaker.chosen(now);
        assert!(breaker.is_resting(now), "until it is known");
        now = now + Duration::from_secs(2);
        assert!(breaker.failed(now), "no better");
        assert!(breaker.is_resting(now + Duration::from_secs(19)));
    }
}
