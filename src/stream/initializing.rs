//! Which engine: asking the pool, and what follows when none can be had.
//!
//! At most one question is out, and it is waited for even when nobody wants the answer any more,
//! because a grant holds a reservation that must go back.

use std::time::Duration;

use super::Asking;
use super::Session;
use super::State;
use super::attempt::Attempt;
use super::draining::Forced;
use super::input::Failure;
use super::input::Parting;
use super::output::CloseReason;
use super::output::Code;
use super::output::Output;
use super::output::Wish;
use super::search::Next;
use super::search::Verdict;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Target;
use crate::base::time::Instant;

/// The pool answers within two mailbox turns; this long means that its shard has died.
pub(super) const GRANT_MAX: Duration = Duration::from_secs(10);

impl Session {
    pub(super) fn search_deadline(&self) -> Option<Instant> {
        let search = self.search.as_ref()?;
        let waits = self.asking.is_none() && self.attempt.is_none();
        // The same content again on the same engine: its old session must be gone first.
        let ask_at = search.ask_due(|engine| self.stops.on(engine)).filter(|_| waits);
        let is_held = search.is_switching() && self.flow.paused_since.is_some();
        let deadline = Some(search.deadline).filter(|_| !is_held);
        [ask_at, deadline].into_iter().flatten().min()
    }

    pub(super) fn fire_search(&mut self, now: Instant) {
        if let Some(asking) = self.asking.take_if(|asking| asking.deadline <= now) {
            if let Some(purpose) = asking.rival {
                self.rival_failed(purpose, None, "the pool did not answer", now);
            } else if let Some(search) = &mut self.search {
                search.next_at = Some(now);
            }
        }
        let Some(search) = &self.search else { return };
        let is_held = search.is_switching() && self.flow.paused_since.is_some();
        if search.deadline <= now && !is_held {
            let verdict = search.timed_out(self.health.text(), self.attempt.is_some());
            return self.fail(verdict, now);
        }
        let waits = self.asking.is_none() && self.attempt.is_none();
        let ask_at = search.ask_due(|engine| self.stops.on(engine)).filter(|_| waits);
        if ask_at.is_some_and(|at| at <= now) {
            self.ask(now);
        }
    }

    fn ask(&mut self, now: Instant) {
        debug_assert!(self.attempt.is_none() && self.asking.is_none());
        let generation = self.next_generation();
        self.asking = Some(Asking { generation, deadline: now + GRANT_MAX, rival: None });
        let stops = &self.stops;
        let Some(search) = &mut self.search else { return };
        search.asks(|engine| stops.on(engine), now);
        self.reopening = None;
        let exclude = search.excluded(&self.contest, now);
        let prefer = search.prefer;
        self.emit(Output::Select { generation, exclude, prefer, wish: Wish::Any });
    }

    pub(super) fn on_granted(
        &mut self,
        generation: Generation,
        engine: EngineId,
        reservation: u64,
        name: String,
        now: Instant,
    ) {
        let asked = self.asking.take_if(|asking| asking.generation == generation);
        let Some(asked) = asked else {
            let held = self.attempt.as_ref().is_some_and(|a| a.reservation == reservation)
                || self.rival.as_ref().is_some_and(|r| r.attempt.reservation == reservation);
            if !held && !self.stops.holds(reservation) {
                self.emit(Output::Release { reservation });
            }
            return;
        };
        if let Some(purpose) = asked.rival {
            let attempt = Attempt::new(generation, engine, reservation, name);
            return self.rival_granted(purpose, attempt, now);
        }
        let Some(search) = &mut self.search else {
            return self.emit(Output::Release { reservation });
        };
        search.granted();
        self.names.insert(engine, name.clone());
        self.attempt = Some(Attempt::new(generation, engine, reservation, name));
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
        let Some(asked) = self.asking.take_if(|asking| asking.generation == generation) else {
            return;
        };
        if let Some(purpose) = asked.rival {
            self.rival_failed(purpose, None, text, now);
        } else if let Some(search) = &mut self.search {
            let contest = (&mut self.contest, &mut self.prng);
            let next = search.denied(no_engine, text, retry_after, contest, now);
            self.follow(next, now);
        }
    }

    pub(super) fn follow(&mut self, next: Next, now: Instant) {
        match next {
            Next::Ask => {}
            Next::Reopen(engine) => {
                let generation = self.next_generation();
                self.reopening = Some((generation, engine));
                self.emit(Output::AskStatus { generation, engine });
            }
            Next::AskAsInfohash => {
                if let Target::Id(value) = self.target {
                    self.target = Target::Infohash(value);
                }
            }
            Next::End(verdict) => self.fail(verdict, now),
        }
    }

    /// Whether an engine lives that is to be asked again, or that does not answer an open.
    pub(super) fn on_status(&mut self, generation: Generation, answers: bool, now: Instant) {
        if let Some((_, engine)) = self.reopening.filter(|(asked, _)| *asked == generation) {
            self.reopening = None;
            if let Some(search) = &mut self.search {
                search.status(engine, answers, now);
            }
            return;
        }
        let stall_timeout = self.settings.stall_timeout;
        let Some(attempt) = self.attempt.as_mut().filter(|a| a.generation == generation) else {
            return;
        };
        if !attempt.status.is_asked() {
            return;
        }
        if answers {
            attempt.status.start(stall_timeout, now);
        } else {
            self.on_open_failed(generation, &Failure::Silent, now);
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
        let is_lost = matches!(verdict.close, CloseReason::TakenOver | CloseReason::Contended);
        if let Some(engine) = verdict.engine.filter(|_| is_lost) {
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
        let close = self.flow.first_packet_at.map(|_| verdict.close);
        let forced =
            Forced { refuse: answer, close, error: true, is_final: false, parting: Parting::Stop };
        self.force_end(forced, now);
    }
}
