//! How often a session may die under its viewers before the stream counts as unstable.
//!
//! A death is a session that had given bytes; a start that never gave any is not one.

use std::time::Duration;

use crate::base::time::Instant;

const DEATHS_MAX: usize = 3;
const WITHIN: Duration = Duration::from_secs(180);

#[derive(Debug, Default)]
pub(super) struct Budget {
    /// The newest ones, oldest first.
    deaths: Vec<Instant>,
    pub(super) total: u32,
}

impl Budget {
    /// Whether this death is one too many.
    pub(super) fn died(&mut self, now: Instant) -> bool {
        self.deaths.retain(|death| now.since(*death) < WITHIN);
        self.deaths.push(now);
        self.total = self.total.saturating_add(1);
        self.deaths.len() >= DEATHS_MAX
    }
}
