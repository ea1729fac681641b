//! Bytes, silence and the engine's own account of them.
//!
//! Silence is the engine's only while we read: a full ring stops the clock. A hard signal (end of
//! body, unknown session, takeover) acts at once; only silence waits for STALL_TIMEOUT.

use std::time::Duration;

use super::Session;
use super::State;
use super::attempt::Phase;
use super::input::Failure;
use super::input::StatFacts;
use super::output::Output;
use crate::base::ids::Generation;
use crate::base::time::Instant;

/// A piece comes every 1 to 3 s: longer is silence worth looking at.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// In a row, before the first byte: the engine hangs or has died.
const STAT_FAILURES_MAX: u32 = 3;

impl Session {
    pub(super) fn on_bytes(&mut self, generation: Generation, n: u64, now: Instant) {
        let Some(attempt) = self.attempt.as_mut().filter(|a| a.play() == Some(generation)) else {
            return;
        };
        if n == 0 {
            return;
        }
        attempt.phase = Phase::Body(generation);
        self.flow.last_byte_at = now;
        self.flow.bytes_total = self.flow.bytes_total.saturating_add(n);
        if self.search.is_some() {
            self.on_first_bytes(now);
        } else if self.state == State::Stalled {
            self.state = State::Active;
        }
    }

    /// Bytes that wait to be placed behind those of the last session.
    pub(super) fn on_staged(&mut self, generation: Generation, now: Instant) {
        if self.attempt.as_ref().is_some_and(|a| a.play() == Some(generation)) {
            self.flow.last_byte_at = now;
        }
    }

    pub(super) fn on_ring_full(&mut self, now: Instant) {
        self.flow.paused_since.get_or_insert(now);
        if self.state == State::Stalled {
            self.state = State::Active;
        }
    }

    pub(super) fn on_ring_resumed(&mut self, now: Instant) {
        let Some(since) = self.flow.paused_since.take() else { return };
        self.flow.last_byte_at = now;
        // Nor is an outage what the ring had no room for.
        if let Some(search) = self.search.as_mut().filter(|search| search.is_switching()) {
            search.deadline = search.deadline + now.since(since);
        }
    }

    pub(super) fn silence_deadline(&self) -> Option<Instant> {
        if self.search.is_some() || self.ending.is_some() || self.flow.paused_since.is_some() {
            return None;
        }
        let after = match self.state {
            State::Active => SILENT_AFTER.min(self.settings.stall_timeout),
            State::Buffering | State::Stalled => self.settings.stall_timeout,
            State::Initializing
            | State::Connecting
            | State::Switching
            | State::Draining
            | State::Stopped
            | State::Error => return None,
        };
        Some(self.flow.last_byte_at + after)
    }

    pub(super) fn fire_silence(&mut self, now: Instant) {
        if self.silence_deadline().is_none_or(|at| at > now) {
            return;
        }
        if now.since(self.flow.last_byte_at) >= self.settings.stall_timeout {
            return self.died(&Failure::Silent, now);
        }
        self.state = State::Stalled;
        if let Some(attempt) = &mut self.attempt {
            attempt.stat.hurry(now);
        }
    }

    pub(super) fn fire_stat(&mut self, now: Instant) {
        let Some(attempt) = &mut self.attempt else { return };
        if attempt.stat.due().is_none_or(|due| due > now) {
            return;
        }
        attempt.stat.asked(now);
        let (generation, engine) = (attempt.generation, attempt.engine);
        let path = attempt.opened.as_ref().map(|opened| opened.stat_path.clone());
        let path = path.unwrap_or_default();
        self.emit(Output::PollStat { generation, engine, path });
    }

    pub(super) fn on_stat(&mut self, generation: Generation, facts: StatFacts, now: Instant) {
        if !self.stat_answered(generation, now) {
            return;
        }
        let Some(attempt) = &mut self.attempt else { return };
        attempt.stat.failures = 0;
        let ours = attempt.opened.as_ref().map(|opened| opened.playback_session_id.as_str());
        let is_another = match (ours, facts.playback_session_id.as_deref()) {
            (Some(ours), Some(current)) if !ours.is_empty() && !current.is_empty() => {
                ours != current
            }
            (_, _) => false,
        };
        if is_another {
            let text = "another session of the content runs on the engine".to_owned();
            return self.session_failed(&Failure::TakenOver(text), now);
        }
        self.health.take(facts, now);
        if let Some(frozen) = self.health.frozen_changed(self.state == State::Active, now) {
            self.emit(Output::Frozen(frozen));
        }
    }

    pub(super) fn on_stat_failed(
        &mut self,
        generation: Generation,
        failure: &Failure,
        now: Instant,
    ) {
        if !self.stat_answered(generation, now) {
            return;
        }
        match failure {
            Failure::Gone(_) | Failure::TakenOver(_) => self.session_failed(failure, now),
            Failure::Refused | Failure::Silent | Failure::Cut | Failure::ShardLost => {
                let Some(attempt) = &mut self.attempt else { return };
                attempt.stat.failures += 1;
                if attempt.stat.failures >= STAT_FAILURES_MAX && self.search.is_some() {
                    self.attempt_failed(&Failure::Silent, now);
                }
            }
            // Words that say nothing about whether the session lives, or no question at all.
            Failure::Lack(_)
            | Failure::Prebuffering(_)
            | Failure::Content(_)
            | Failure::Engine(_)
            | Failure::MalformedHead => {}
        }
    }

    fn stat_answered(&mut self, generation: Generation, now: Instant) -> bool {
        let silent = now.since(self.flow.last_byte_at) > SILENT_AFTER;
        let fast = self.search.is_some() || silent;
        let Some(attempt) = self.attempt.as_mut().filter(|a| a.generation == generation) else {
            return false;
        };
        attempt.stat.answered(fast, now)
    }
}
