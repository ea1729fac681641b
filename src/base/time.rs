//! The one clock. Brains take an [`Instant`] as an argument and never come here for it.
//!
//! Invariant: an `Instant` never goes back within a process (CLOCK_MONOTONIC), and a stopped
//! process does not stop it: after SIGSTOP the clock has simply moved on.

use std::fmt;
use std::ops::Add;
use std::ops::Sub;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::SystemTime;

/// Microseconds since the process started reading the clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    pub const ZERO: Self = Self(0);
    /// A deadline that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Zero when `earlier` is in fact later: late completions must not panic a brain.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    pub const fn checked_sub(self, d: Duration) -> Option<Self> {
        match self.0.checked_sub(d.as_micros() as u64) {
            Some(us) => Some(Self(us)),
            None => None,
        }
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

static EPOCH: OnceLock<std::time::Instant> = OnceLock::new();

/// Reads the clock. Called once per shard turn and by drivers, never by a brain.
#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
pub fn now() -> Instant {
    let epoch = *EPOCH.get_or_init(std::time::Instant::now);
    // + 1 s, so that "a second before the start" can be said.
    let us = u64::try_from(epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
    Instant(us.saturating_add(1_000_000))
}

/// Wall-clock time, for records that people and other programs read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Wall {
    unix_ms: u64,
}

impl Wall {
    pub const fn from_unix_ms(unix_ms: u64) -> Self {
        Self { unix_ms }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
    pub fn now() -> Self {
        let since =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
    }

    pub const fn unix_ms(self) -> u64 {
        self.unix_ms
    }

    /// Unix seconds with 3 decimals, the form of every time in the API and in Redis.
    pub fn unix_seconds(self) -> f64 {
        self.unix_ms as f64 / 1000.0
    }
}
