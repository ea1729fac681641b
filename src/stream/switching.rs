//! A session that died under its viewers: they are kept, and another one is looked for.
//!
//! Kept until OUTAGE_TIMEOUT and within the budget of deaths; then they are closed with the reason.
//! The bytes of the next session follow those of the last one in the same ring.

use super::Session;
use super::State;
use super::attempt::Attempt;
use super::attempt::Phase;
use super::budget::Blame;
use super::draining::Forced;
use super::input::Failure;
use super::output::CloseReason;
use super::output::Code;
use super::output::Output;
use super::search::Search;
use super::search::Tenure;
use crate::base::ids::EngineId;
use crate::base::time::Instant;

impl Session {
    pub(super) fn died(&mut self, failure: &Failure, now: Instant) {
        let Some(engine) = self.engine() else { return };
        let is_takeover = matches!(failure, Failure::TakenOver(_) | Failure::MalformedHead);
        let blame = if *failure == Failure::ShardLost {
            Blame::Ours
        } else if is_takeover && self.contest.forgives() {
            Blame::Forgiven
        } else {
            Blame::Engine
        };
        if self.budget.died(engine, blame, now) {
            return self.end_unstable(failure, is_takeover, now);
        }
        self.emit(Output::Failover { from: engine, reason: failure.as_str() });
        let mut search = self.switching_search(now);
        self.dispose(failure.parting(), now);
        self.state = State::Switching;
        self.leaving = None;
        if self.fall_back(now) {
            search.next_at = None;
            self.search = Some(search);
            return;
        }
        let next = search.failed(failure, engine, false, &mut self.contest, now);
        self.search = Some(search);
        self.follow(next, now);
    }

    /// A session that had ended without a reason had been taken over: it is not opened again there
    /// as if nothing had happened.
    pub(super) fn on_superseded(&mut self, engine: EngineId, now: Instant) {
        if self.contest.forgives() {
            self.budget.forgive(engine);
        }
        self.contest.taken(engine, now);
        let Some(search) = &mut self.search else { return };
        search.superseded(engine, now);
        let waits_there =
            |attempt: &Attempt| attempt.engine == engine && attempt.phase == Phase::Held;
        if self.attempt.as_ref().is_some_and(waits_there) {
            let text = "another session of the content runs on the engine".to_owned();
            self.attempt_failed(&Failure::TakenOver(text), now);
        }
    }

    /// Redis has said, or ceased to say, whose the stream is.
    pub(super) fn on_tenure(&mut self, tenure: Tenure, now: Instant) {
        self.contest.set_tenure(tenure);
        if let Some(search) = self.search.as_mut().filter(|_| tenure == Tenure::Owner) {
            search.hurry(now);
        }
    }

    pub(super) fn switching_search(&self, now: Instant) -> Search {
        let deadline = now + self.settings.outage_timeout;
        let resting = self.engine().map(|engine| self.budget.resting(engine, now));
        Search::switching(now, deadline, resting.unwrap_or_default())
    }

    fn end_unstable(&mut self, failure: &Failure, is_takeover: bool, now: Instant) {
        let engine = self.engine();
        if let Some(engine) = engine.filter(|_| is_takeover) {
            self.emit(Output::EngineTakenOver { engine });
        }
        let message = format!("{} before a picture came: try again", failure.text());
        let refuse = self.answer(Code::EngineRefused, message, engine);
        let close = Some(CloseReason::Unstable);
        let parting = failure.parting();
        let forced = Forced { refuse, close, error: true, is_final: false, parting };
        self.force_end(forced, now);
    }

    /// When the session that is to follow counts as silent: it was opened and neither gives bytes
    /// nor has peers nor grows. A start may wait for its swarm; viewers who are kept may not.
    pub(super) fn lifeless_deadline(&self) -> Option<Instant> {
        let attempt = self.attempt.as_ref()?;
        let is_asked = match attempt.phase {
            Phase::PlayDue(_) | Phase::Playing(_) | Phase::Body(_) => true,
            Phase::Held | Phase::Opening { .. } | Phase::Claiming => false,
        };
        let is_switching = self
            .search
            .as_ref()
            .is_some_and(|search| search.is_switching() && !search.is_lacking());
        if !is_asked || !is_switching || self.flow.paused_since.is_some() {
            return None;
        }
        let alive_at = self.health.alive_at.unwrap_or(Instant::ZERO);
        let since = attempt.opened_at.max(alive_at).max(self.flow.last_byte_at);
        Some(since + self.settings.stall_timeout)
    }

    pub(super) fn fire_lifeless(&mut self, now: Instant) {
        if self.lifeless_deadline().is_some_and(|at| at <= now) {
            self.attempt_failed(&Failure::Silent, now);
        }
    }
}
