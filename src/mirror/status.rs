//! What the mirror shows of itself: words that one thread writes and every other reads.

use crate::base::counters::Counter;
use crate::base::time::Instant;
use crate::mirror::snapshots::desk::Desk;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It has never been connected.
    Connecting,
    Up,
    Down,
}

/// Younger than this, Redis is worth waiting for at a cold start.
pub const FRESH_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub struct Status {
    state: AtomicU8,
    last_reply_us: Counter,
    lag_ms: Counter,
    dropped: Counter,
    /// What shards had to tell of their rings and found no room. Each of them counts here.
    not_shelved: AtomicU64,
    /// Commands that were carried out, and bytes of them.
    commands: Counter,
    bytes: Counter,
    /// Bytes of chunks that were copied out, those that Redis has of them, streams left out.
    snapshot_bytes: Counter,
    snapshot_alive_bytes: Counter,
    snapshot_left_out: Counter,
}

impl Status {
    pub fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::Connecting,
            1 => State::Up,
            _ => State::Down,
        }
    }

    pub fn set_state(&self, state: State) {
        let word = match state {
            State::Connecting => 0,
            State::Up => 1,
            State::Down => 2,
        };
        self.state.store(word, Relaxed);
    }

    /// Whether Redis has answered a moment ago.
    pub fn is_fresh(&self, now: Instant) -> bool {
        let last = Instant::from_micros(self.last_reply_us.get());
        self.state() == State::Up && now.since(last) < FRESH_MAX
    }

    pub fn replied(&self, now: Instant) {
        self.last_reply_us.set(now.as_micros());
    }

    pub fn lag_ms(&self) -> u64 {
        self.lag_ms.get()
    }

    pub fn set_lag(&self, lag: Duration) {
        self.lag_ms.set(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
    }

    /// Records, events and chunks that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.get() + self.not_shelved.load(Relaxed)
    }

    pub(super) fn not_shelved(&self) {
        self.not_shelved.fetch_add(1, Relaxed);
    }

    pub fn set_dropped(&self, dropped: u64) {
        self.dropped.set(dropped);
    }

    pub fn commands(&self) -> u64 {
        self.commands.get()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    pub(super) fn set_snapshots(&self, desk: &Desk<'_>) {
        self.snapshot_bytes.set(desk.cut_bytes());
        self.snapshot_alive_bytes.set(desk.alive_bytes());
        self.snapshot_left_out.set(desk.left_out() as u64);
    }

    /// Bytes of chunks that were copied out.
    pub fn snapshot_bytes(&self) -> u64 {
        self.snapshot_bytes.get()
    }

    /// Of these, what Redis has.
    pub fn snapshot_alive_bytes(&self) -> u64 {
        self.snapshot_alive_bytes.get()
    }

    /// Streams that the budget leaves out.
    pub fn snapshot_left_out(&self) -> u64 {
        self.snapshot_left_out.get()
    }

    pub fn wrote(&self, commands: usize, bytes: usize) {
        self.commands.add(commands as u64);
        self.bytes.add(bytes as u64);
    }
}
