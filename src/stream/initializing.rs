//! Which engine: asking the pool, and what follows when none can be had.
//!
//! At most one question is out, and it is waited for even when nobody wants the answer any more,
//! because a grant holds a reservation that must go back.

use std::time::Duration;

use super::Asking;
use super::Session;
use super::State;
use super::attempt::Attempt;
use super::attempt::Phase;
use super::draining::Forced;
use super::input::Parting;
use super::output::CloseReason;
use super::output::Code;
use super::output::Output;
use super::search::Next;
use super::search::Verdict;
use super::stat::StatClock;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Target;
use crate::base::time::Instant;

/// The pool answers within two mailbox turns; this long means that its shard has died.
const GRANT_MAX: Duration = Duration::from_secs(10);

impl Session {
    pub(super) fn search_deadline(&self) -> Option<Instant> {
        let search = self.search.as_ref()?;
        let next_at = search.next_at.filter(|_| !self.must_wait_for_stop());
        Some(next_at.map_or(search.deadline, |at| at.min(search.deadline)))
    }

    /// The same content again on the same engine: its old session must be gone first.
    fn must_wait_for_stop(&self) -> bool {
        let prefer = self.search.as_ref().and_then(|search| search.prefer);
        prefer.is_some_and(|engine| self.stops.on(engine))
    }

    pub(super) fn fire_search(&mut self, now: Instant) {
        if self.asking.is_some_and(|asking| asking.deadline <= now) {
            self.asking = None;
            if let Some(search) = &mut self.search {
                search.next_at = Some(now);
            }
        }
        let Some(search) = &self.search else { return };
        if search.deadline <= now {
            let verdict = search.timed_out(self.health.text());
            return self.fail(verdict, now);
        }
        if search.next_at.is_some_and(|at| at <= now) && !self.must_wait_for_stop() {
            self.ask(now);
        }
    }

    fn ask(&mut self, now: Instant) {
        debug_assert!(self.attempt.is_none() && self.asking.is_none());
        let generation = self.next_generation();
        self.asking = Some(Asking { generation, deadline: now + GRANT_MAX });
        let Some(search) = &mut self.search else { return };
        search.next_at = None;
        let exclude = search.exclude.clone();
        let prefer = search.prefer;
        self.emit(Output::Select { generation, exclude, prefer });
    }

    pub(super) fn on_granted(
        &mut self,
        generation: Generation,
        engine: EngineId,
        reservation: u64,
        name: String,
    ) {
        let asked = self.asking.is_some_and(|asking| asking.generation == generation);
        if !asked {
            let held = self.attempt.as_ref().is_some_and(|a| a.reservation == reservation);
            if !held && !self.stops.holds(reservation) {
                self.emit(Output::Release { reservation });
            }
            return;
        }
        self.asking = None;
        let Some(search) = &mut self.search else {
            return self.emit(Output::Release { reservation });
        };
        search.granted();
        self.names.insert(engine, name.clone());
        self.attempt = Some(Attempt {
            generation,
            engine,
            reservation,
            name,
            phase: Phase::Held,
            opened: None,
            stat: StatClock::default(),
        });
        if self.state != State::Switching {
            self.state = State::Connecting;
        }
    }

    pub(super) fn on_denied(
        &mut self,
        generation: Generation,
        no_engine: bool,
        text: &str,
        retry_after: Duration,
        now: Instant,
    ) {
        if self.asking.is_none_or(|asking| asking.generation != generation) {
            return;
        }
        self.asking = None;
        if let Some(search) = &mut self.search {
            let next = search.denied(no_engine, text, retry_after, now);
            self.follow(next, now);
        }
    }

    pub(super) fn follow(&mut self, next: Next, now: Instant) {
        match next {
            Next::Ask => {}
            Next::AskAsInfohash => {
                if let Target::Id(value) = self.target {
                    self.target = Target::Infohash(value);
                }
            }
            Next::End(verdict) => self.fail(verdict, now),
        }
    }

    /// The search has no way on: everybody is answered.
    pub(super) fn fail(&mut self, verdict: Verdict, now: Instant) {
        let since = self.search.as_ref().map_or(self.born, |search| search.since);
        let answer = self.answer(verdict.code, verdict.message, verdict.engine.or(self.engine()));
        let reason = match verdict.code {
            Code::NothingToPlay => self.health.log_text(),
            Code::NotLive
            | Code::Encrypted
            | Code::HlsSource
            | Code::EngineRefused
            | Code::NoEngine
            | Code::NoCapacity
            | Code::NoMemory
            | Code::ShuttingDown => answer.message.clone(),
        };
        if let Some(engine) = verdict.engine.filter(|_| verdict.taken_over) {
            self.emit(Output::EngineTakenOver { engine });
        }
        if verdict.offline {
            self.emit(Output::MarkOffline(answer.clone()));
        }
        self.emit(Output::FailLog {
            engine_name: answer.engine.clone(),
            after: now.since(since),
            answer: answer.code.status(),
            reason,
        });
        let close = match (self.flow.first_packet_at, verdict.taken_over) {
            (None, _) => None,
            (Some(_), true) => Some(CloseReason::TakenOver),
            (Some(_), false) => Some(CloseReason::EngineGone),
        };
        let forced =
            Forced { refuse: answer, close, error: true, is_final: false, parting: Parting::Stop };
        self.force_end(forced, now);
    }
}
