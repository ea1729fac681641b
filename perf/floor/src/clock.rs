//! The clock of the process.

use std::time::Duration;
use std::time::Instant;

/// How long a byte may wait for others to fill a send.
pub(crate) const UNSENT_MAX: Duration = Duration::from_millis(100);

#[expect(clippy::disallowed_methods, reason = "the one place where time is read")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
