//! The low-water mark of an engine's socket: how much is to be there before it wakes its shard.
//!
//! An engine writes pieces of some 16 KiB, and the viewers are served once a tick. A stream that
//! comes evenly is therefore read once a tick as well: until then its bytes wait in the kernel,
//! which costs nobody a turn. It changes when a byte is read, not when it is sent: what has waited
//! counts from when it may have come.
//!
//! Invariant: no byte waits for more than a tick and a quarter. A stream that does not keep to its
//! rate is read as it comes, for some seconds.

use crate::base::sizes::KIB;
use crate::base::time::Instant;
use crate::viewer::Policy;
use std::time::Duration;

/// Less is read as it comes: two pieces.
const LOW_WATER_BYTES_MIN: u64 = 32 * KIB;

/// The socket holds at least so many times what is waited for, or the engine would be stopped.
const BUFFER_PER_WAIT: u64 = 4;

/// A mark is told anew when it is off by more than one part in so many. A coarser step would keep the
/// first, low estimate of a bitrate: one piece fewer in each send was 16 % more CPU for a thousand
/// viewers.
const RETOLD_PART: u64 = 64;

/// At a start, and after a tick in which too little came.
const UNEVEN_FOR: Duration = Duration::from_secs(5);

pub(super) struct LowWater {
    /// What the socket was told; 1 = whatever comes, as sockets are to begin with.
    low_bytes: u64,
    /// What is read next may have waited since the last read.
    waits: bool,
    tick: Duration,
    not_before: Instant,
}

impl LowWater {
    pub(super) fn new(now: Instant) -> Self {
        let (waits, tick) = (false, Duration::ZERO);
        Self { low_bytes: 1, waits, tick, not_before: now + UNEVEN_FOR }
    }

    /// Now and then: a tick's worth of this stream, if it comes evenly. What the socket is to be
    /// told, if that changes.
    pub(super) fn tune(
        &mut self,
        buffer_bytes: u64,
        bitrate_bps: u64,
        policy: &Policy,
        now: Instant,
    ) -> Option<u64> {
        if now < self.not_before {
            return None;
        }
        let tick_us = policy.coalesce_after.as_micros() as u64;
        let tick_bytes = bitrate_bps / 8 * tick_us / 1_000_000;
        let wish = tick_bytes.min(policy.coalesce_bytes).min(buffer_bytes / BUFFER_PER_WAIT);
        let wish = if wish < LOW_WATER_BYTES_MIN { 1 } else { wish };
        if wish.abs_diff(self.low_bytes) <= self.low_bytes / RETOLD_PART {
            return None;
        }
        self.low_bytes = wish;
        self.waits = wish > 1;
        self.tick = policy.coalesce_after;
        Some(wish)
    }

    /// When bytes that are there must be read, however few they are.
    pub(super) fn deadline(&self, last_read: Instant, policy: &Policy) -> Option<Instant> {
        let after = policy.coalesce_after;
        (self.low_bytes > 1).then(|| last_read + after + after / 4)
    }

    /// Too little came. What the socket is to be told.
    pub(super) fn give_up(&mut self, now: Instant) -> u64 {
        self.not_before = now + UNEVEN_FOR;
        self.low_bytes = 1;
        self.low_bytes
    }

    /// Since when bytes that are read now count as waiting: a tick's worth is due at once, and what
    /// is less of it since the last read.
    pub(super) fn read(&mut self, bytes: usize, last_read: Instant, now: Instant) -> Instant {
        let since = match (self.waits, bytes as u64 >= self.low_bytes) {
            (false, _) => now,
            (true, false) => last_read,
            (true, true) => last_read.min(now.checked_sub(self.tick).unwrap_or(Instant::ZERO)),
        };
        self.waits = self.low_bytes > 1;
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBPS: u64 = 1_000_000;
    const ROOMY: u64 = 4 << 20;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn low_water() -> (LowWater, Policy) {
        let policy = Policy { coalesce_after: Duration::from_millis(100), ..Policy::default() };
        (LowWater::new(at(0)), policy)
    }

    #[test]
    fn a_stream_is_read_by_the_tick_once_it_has_come_for_some_seconds() {
        let (mut low_water, policy) = low_water();
        assert_eq!(low_water.tune(ROOMY, 8 * MBPS, &policy, at(4_999)), None);
        assert_eq!(low_water.deadline(at(4_990), &policy), None);
        assert_eq!(low_water.read(16_384, at(4_990), at(5_000)), at(5_000));
        assert_eq!(low_water.tune(ROOMY, 8 * MBPS, &policy, at(5_000)), Some(100_000));
        assert_eq!(low_water.deadline(at(5_000), &policy), Some(at(5_125)));
        assert_eq!(low_water.read(100_000, at(5_000), at(5_098)), at(4_998), "due at once");
        assert_eq!(low_water.read(120_000, at(5_098), at(5_298)), at(5_098), "and overdue");
        // A bitrate is measured: a little more or less is not worth telling.
        assert_eq!(low_water.tune(ROOMY, 8_100_000, &policy, at(6_000)), None);
        assert_eq!(low_water.tune(ROOMY, 10 * MBPS, &policy, at(7_000)), Some(125_000));
    }

    #[test]
    fn never_more_than_a_send_nor_than_the_socket_holds_easily() {
        let (mut low_water, policy) = low_water();
        let most = policy.coalesce_bytes;
        assert_eq!(low_water.tune(ROOMY, 80 * MBPS, &policy, at(5_000)), Some(most));
        assert_eq!(low_water.tune(200_000, 80 * MBPS, &policy, at(6_000)), Some(50_000));
        assert_eq!(low_water.tune(100_000, 80 * MBPS, &policy, at(7_000)), Some(1));
        assert_eq!(low_water.tune(ROOMY, MBPS, &policy, at(8_000)), None, "too slow to wait for");
    }

    #[test]
    fn one_that_comes_unevenly_is_read_as_it_comes_for_some_seconds() {
        let (mut low_water, policy) = low_water();
        assert!(low_water.tune(ROOMY, 8 * MBPS, &policy, at(5_000)).is_some());
        assert_eq!(low_water.give_up(at(5_125)), 1);
        assert_eq!(low_water.deadline(at(5_125), &policy), None);
        // What is there has waited; what comes then has not.
        assert_eq!(low_water.read(1, at(5_000), at(5_126)), at(5_000));
        assert_eq!(low_water.read(16_384, at(5_126), at(5_142)), at(5_142));
        assert_eq!(low_water.tune(ROOMY, 8 * MBPS, &policy, at(10_124)), None);
        assert_eq!(low_water.tune(ROOMY, 8 * MBPS, &policy, at(10_125)), Some(100_000));
    }
}
