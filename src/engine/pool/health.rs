//! Whether one engine answers: probes, strikes and the pace of asking again.
//!
//! It decides when a probe is due and what an answer means; it sends none itself. Invariant: at
//! most one probe is out, and only the answer that carries its generation counts.

use std::time::Duration;

use crate::base::ids::Generation;
use crate::base::time::Instant;

/// An engine that answers is asked again after this.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(10);
/// `get_status` within this, or the engine hangs.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// After a strike, and the first pause of an engine that is down; doubles to [`RETRY_MAX`].
pub(super) const RETRY_MIN: Duration = Duration::from_secs(1);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(5);
/// One refused connection may be a full backlog; two are an engine that is not there.
const REFUSED_MAX: u32 = 2;
/// A slow engine misses one probe; three are 15 s of silence.
const UNANSWERED_MAX: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EngineState {
    /// Never asked, or asked and not yet known.
    Unknown,
    Up,
    Down,
}

impl EngineState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What an observation changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Change {
    Nothing,
    WentUp,
    WentDown,
}

#[derive(Debug)]
pub(super) struct Health {
    state: EngineState,
    reason: Option<String>,
    refused: u32,
    unanswered: u32,
    pause: Duration,
    next_probe: Instant,
    last_probe: Option<Instant>,
    /// The deadline of the probe that is out.
    probing: Option<Instant>,
    generation: Generation,
    last_ok: Option<Instant>,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: EngineState::Unknown,
            reason: None,
            refused: 0,
            unanswered: 0,
            pause: RETRY_MIN,
            next_probe: now,
            last_probe: None,
            probing: None,
            generation: Generation::default(),
            last_ok: None,
        }
    }

    pub(super) fn state(&self) -> EngineState {
        self.state
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    pub(super) fn last_ok(&self) -> Option<Instant> {
        self.last_ok
    }

    /// Up and without a strike since it last answered.
    pub(super) fn is_good(&self) -> bool {
        self.state == EngineState::Up && self.refused == 0 && self.unanswered == 0
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.probing.is_none() && self.next_probe <= now
    }

    /// When [`Self::is_due`] or [`Self::is_overdue`] may next become true.
    pub(super) fn next_event(&self) -> Instant {
        self.probing.unwrap_or(self.next_probe)
    }

    pub(super) fn begin_probe(&mut self, now: Instant) -> (Generation, Instant) {
        assert!(self.probing.is_none(), "one probe at a time");
        self.generation = self.generation.next();
        let deadline = now + PROBE_TIMEOUT;
        self.probing = Some(deadline);
        self.last_probe = Some(now);
        (self.generation, deadline)
    }

    /// The probe that is out has missed its deadline.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.probing.is_some_and(|deadline| deadline <= now)
    }

    /// Takes the answer of this generation; false for a late one.
    pub(super) fn end_probe(&mut self, generation: Generation) -> bool {
        self.probing.is_some() && self.generation == generation && self.probing.take().is_some()
    }

    /// Forgets the probe that is out: its answer would come from another address.
    pub(super) fn abandon_probe(&mut self) {
        self.probing = None;
    }

    /// Asks soon, but no more than once in [`RETRY_MIN`].
    pub(super) fn ask_soon(&mut self, now: Instant) {
        let at = self.last_probe.map_or(now, |last| (last + RETRY_MIN).max(now));
        self.next_probe = self.next_probe.min(at);
    }

    /// Asks at once: there is an address that was not tried yet.
    pub(super) fn ask_now(&mut self, now: Instant) {
        self.next_probe = now;
    }

    /// The probe could not be sent for want of something of ours: what it is stays as it was.
    pub(super) fn not_asked(&mut self, now: Instant) {
        self.next_probe = now + RETRY_MIN;
    }

    /// It answered, or gave bytes.
    pub(super) fn answered(&mut self, now: Instant) -> Change {
        self.refused = 0;
        self.unanswered = 0;
        self.pause = RETRY_MIN;
        self.reason = None;
        self.last_ok = Some(now);
        self.next_probe = now + PROBE_EVERY;
        let before = std::mem::replace(&mut self.state, EngineState::Up);
        if before == EngineState::Up { Change::Nothing } else { Change::WentUp }
    }

    /// No connection. An engine that never answered has no credit to lose.
    pub(super) fn refused(&mut self, reason: &str, now: Instant) -> Change {
        self.refused += 1;
        let out = self.refused >= REFUSED_MAX || self.state == EngineState::Unknown;
        self.strike(out, reason, now)
    }

    /// A connection and no good answer.
    pub(super) fn unanswered(&mut self, reason: &str, now: Instant) -> Change {
        self.unanswered += 1;
        self.strike(self.unanswered >= UNANSWERED_MAX, reason, now)
    }

    /// There is nothing to ask: its name has no address.
    pub(super) fn unreachable(&mut self, reason: &str, now: Instant) -> Change {
        self.strike(true, reason, now)
    }

    fn strike(&mut self, out: bool, reason: &str, now: Instant) -> Change {
        if !out && self.state != EngineState::Down {
            self.next_probe = now + RETRY_MIN;
            return Change::Nothing;
        }
        self.next_probe = now + self.pause;
        self.pause = (self.pause * 2).min(RETRY_MAX);
        self.reason = Some(reason.to_owned());
        let before = std::mem::replace(&mut self.state, EngineState::Down);
        if before == EngineState::Down { Change::Nothing } else { Change::WentDown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Instant = Instant::from_micros(1_000_000);

    fn up() -> Health {
        let mut health = Health::new(T0);
        assert_eq!(health.answered(T0), Change::WentUp);
        health
    }

    #[test]
    fn a_late_answer_is_not_an_answer() {
        let mut health = Health::new(T0);
        assert!(health.is_due(T0));
        let (first, deadline) = health.begin_probe(T0);
        assert!(!health.is_due(T0) && !health.is_overdue(T0));
        assert!(health.is_overdue(deadline));
        health.abandon_probe();
        let (second, _) = health.begin_probe(deadline);
        assert!(!health.end_probe(first));
        assert!(health.end_probe(second));
        assert!(!health.end_probe(second));
    }

    #[test]
    fn two_refusals_or_three_silences_are_down() {
        let mut health = up();
        assert_eq!(health.refused("refused", T0), Change::Nothing);
        assert!(!health.is_good() && health.state() == EngineState::Up);
        assert_eq!(health.refused("refused", T0), Change::WentDown);
        assert_eq!(health.refused("refused", T0), Change::Nothing);
        assert_eq!(health.answered(T0), Change::WentUp);
        assert!(health.is_good() && health.reason().is_none());

        let mut health = up();
        assert_eq!(health.unanswered("hung", T0), Change::Nothing);
        assert_eq!(health.unanswered("hung", T0), Change::Nothing);
        assert_eq!(health.unanswered("hung", T0), Change::WentDown);
        assert_eq!(health.reason(), Some("hung"));
    }

    #[test]
    fn a_probe_that_could_not_be_sent_is_no_strike_and_is_not_sent_at_once() {
        let mut health = up();
        for _ in 0..9 {
            let (generation, _) = health.begin_probe(T0);
            assert!(health.end_probe(generation));
            health.not_asked(T0);
            assert!(health.is_good() && !health.is_due(T0));
            assert_eq!(health.next_event(), T0 + RETRY_MIN);
        }
    }

    #[test]
    fn an_engine_that_never_answered_is_down_at_the_first_refusal() {
        assert_eq!(Health::new(T0).refused("refused", T0), Change::WentDown);
    }

    #[test]
    fn down_is_asked_from_one_to_five_seconds_apart() {
        let mut health = up();
        let _ = health.refused("", T0);
        let pauses: Vec<u64> = (0..5)
            .map(|_| {
                let _ = health.refused("", T0);
                health.next_event().since(T0).as_secs()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        health.begin_probe(T0);
        health.abandon_probe();
        health.ask_soon(T0);
        assert_eq!(health.next_event(), T0 + RETRY_MIN);
    }
}
