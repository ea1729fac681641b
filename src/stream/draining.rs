//! The end of a stream, and the ways back from it.
//!
//! Two ends: *asked for* (nobody has watched for the grace period: every shard is asked, and one
//! viewer anywhere calls it off) and *forced* (the engine, an operator or the process ends it: the
//! viewers are answered, the session is stopped at once, and the shards are asked until they have
//! let go).
//!
//! An open whose reply is outstanding cannot be stopped. The stream then *lingers*: it waits for
//! the reply, and a viewer who comes meanwhile takes it up, unless an operator or the process
//! wanted the end.

use std::time::Duration;

use super::Session;
use super::State;
use super::attempt::Attempt;
use super::audience::Verdict;
use super::input::Parting;
use super::output::Answer;
use super::output::CloseReason;
use super::output::Code;
use super::output::Outcome;
use super::output::Output;
use super::search::Search;
use super::stat::StatusClock;
use super::stops::Stopping;
use crate::base::ids::Generation;
use crate::base::ids::ShardId;
use crate::base::time::Instant;

/// A shard that was busy while the stream ended is told again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Stat is asked once a second: a shorter grace period must not end a start between two answers.
const STAT_SEEN_AFTER: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Ending {
    error: bool,
    /// Waits for the reply to an open or a claim.
    pub(super) lingering: bool,
    /// An operator or the process wants it: no viewer brings it back.
    is_final: bool,
    /// Said again to a shard that was busy.
    words: Option<(Answer, Option<CloseReason>)>,
    pub(super) ask_again_at: Option<Instant>,
    has_let_go: bool,
}

impl Ending {
    pub(super) const fn may_revive(&self) -> bool {
        self.lingering && !self.is_final
    }
}

/// An end that nobody is asked about.
pub(super) struct Forced {
    pub(super) refuse: Answer,
    pub(super) close: Option<CloseReason>,
    pub(super) error: bool,
    pub(super) is_final: bool,
    pub(super) parting: Parting,
}

impl Session {
    pub(super) fn on_attached(&mut self, shard: ShardId, count: u32, waiting: u32, now: Instant) {
        if !self.accepts_viewers() {
            return;
        }
        self.audience.attach(shard, count, waiting, now);
        if self.ending.is_some() {
            self.revive(now);
        }
    }

    pub(super) fn on_viewers(&mut self, shard: ShardId, count: u32, waiting: u32, now: Instant) {
        if !self.accepts_viewers() {
            return;
        }
        self.audience.set(shard, count, waiting, now);
        if self.ending.is_some() && !self.audience.is_empty() {
            self.revive(now);
        }
    }

    /// Somebody wants what we were about to stop when its reply comes.
    fn revive(&mut self, now: Instant) {
        let is_opened = self.opened().is_some();
        self.ending = None;
        // Whoever joined had the ring to play, and is kept.
        let mut search = match self.flow.first_packet_at {
            Some(_) => self.switching_search(now),
            None => Search::new(now, now + self.settings.start_timeout),
        };
        search.next_at = None;
        search.reached = is_opened;
        self.search = Some(search);
        self.state = State::Connecting;
    }

    /// When nobody has wanted the stream for long enough. Before the first packet peers and growth
    /// count as a reason to warm on; after it the grace period runs from that packet at the
    /// earliest.
    pub(super) fn grace_deadline(&self) -> Option<Instant> {
        let is_deserted = self.audience.is_counted() && self.audience.is_empty();
        if !is_deserted || self.ending.is_some() || self.audience.is_closing() {
            return None;
        }
        let since = self.audience.empty_since();
        let grace = self.settings.grace_period;
        if let Some(first_packet_at) = self.flow.first_packet_at {
            return Some((since.max(first_packet_at) + grace).max(self.warm_until));
        }
        let since = self.health.alive_at.map_or(since, |alive_at| alive_at.max(since));
        let patience = if self.opened().is_some() { grace.max(STAT_SEEN_AFTER) } else { grace };
        Some((since + patience).max(self.warm_until))
    }

    pub(super) fn fire_grace(&mut self, now: Instant) {
        if self.grace_deadline().is_some_and(|at| at <= now) {
            self.ask_to_close(now);
        }
        let ask_again_at = self.ending.as_ref().and_then(|ending| ending.ask_again_at);
        if ask_again_at.is_some_and(|at| at <= now) {
            self.say_and_ask(now);
        }
    }

    fn ask_to_close(&mut self, now: Instant) {
        let close_generation = self.next_generation();
        match self.audience.ask(close_generation) {
            Some(shards) => self.emit(Output::MayClose { close_generation, shards }),
            None => self.closed(now),
        }
    }

    pub(super) fn on_idle(&mut self, shard: ShardId, close: Generation, now: Instant) {
        let verdict = self.audience.idle(shard, close, now);
        self.decide(verdict, now);
    }

    pub(super) fn on_busy(&mut self, close: Generation, now: Instant) {
        let verdict = self.audience.busy(close, now);
        self.decide(verdict, now);
    }

    pub(super) fn on_shard_lost(&mut self, shard: ShardId, now: Instant) {
        let verdict = self.audience.lost(shard, now);
        self.decide(verdict, now);
    }

    fn decide(&mut self, verdict: Verdict, now: Instant) {
        match verdict {
            Verdict::Open => {}
            Verdict::Closed => self.closed(now),
            Verdict::Cancelled => {
                if let Some(ending) = &mut self.ending {
                    ending.ask_again_at = Some(now + ASK_AGAIN_AFTER);
                }
            }
        }
    }

    /// No shard holds the stream any more.
    fn closed(&mut self, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        if let Some(search) = &self.search
            && self.flow.first_packet_at.is_none()
        {
            let after = now.since(search.since);
            let answer = self.timeout_answer();
            // Without a stat nothing is known against the content, and peers speak for it.
            if self.health.facts.as_ref().is_some_and(|facts| facts.peers == 0) {
                self.emit(Output::MarkOffline(answer.clone()));
            }
            let reason = self.health.log_text();
            let status = answer.code.status();
            let engine_name = answer.engine;
            self.emit(Output::FailLog { engine_name, after, answer: status, reason });
        }
        self.end(Ending::asked_for(), Parting::Stop, now);
    }

    /// A stream whose content runs elsewhere: its viewers have been sent there.
    pub(super) fn end_merged(&mut self, now: Instant) {
        self.audience.dismiss(now);
        self.end(Ending::asked_for(), Parting::Stop, now);
        self.ask_to_close(now);
    }

    pub(super) fn force_end(&mut self, forced: Forced, now: Instant) {
        let Forced { refuse, close, error, is_final, parting } = forced;
        self.audience.dismiss(now);
        self.say(refuse.clone(), close);
        let words = Some((refuse, close));
        let ending = Ending { error, is_final, words, ..Ending::asked_for() };
        self.end(ending, parting, now);
        self.ask_to_close(now);
    }

    fn end(&mut self, mut ending: Ending, parting: Parting, now: Instant) {
        self.leaving = None;
        self.drop_rival(Parting::Stop, now);
        self.search = None;
        self.state = State::Draining;
        ending.lingering = self.attempt.as_ref().is_some_and(Attempt::is_uncertain);
        let lingering = ending.lingering;
        if let Some(attempt) = &mut self.attempt {
            // Its reply is waited for, however long it takes.
            attempt.status = StatusClock::default();
        }
        self.ending = Some(ending);
        if !lingering {
            self.dispose(parting, now);
        }
    }

    fn say_and_ask(&mut self, now: Instant) {
        let Some(ending) = &mut self.ending else { return };
        ending.ask_again_at = None;
        if let Some((refuse, close)) = ending.words.clone() {
            self.say(refuse, close);
        }
        self.ask_to_close(now);
    }

    fn say(&mut self, refuse: Answer, close: Option<CloseReason>) {
        self.emit(Output::Refuse(refuse));
        if let Some(reason) = close {
            self.emit(Output::CloseViewers(reason));
        }
    }

    pub(super) fn on_kick(&mut self, reason: CloseReason, now: Instant) {
        let message = "the stream was stopped by the operator".to_owned();
        self.end_finally(Code::NothingToPlay, message, reason, now);
    }

    pub(super) fn on_drain(&mut self, now: Instant) {
        let message = "the server is shutting down".to_owned();
        self.end_finally(Code::ShuttingDown, message, CloseReason::Drain, now);
    }

    fn end_finally(&mut self, code: Code, message: String, reason: CloseReason, now: Instant) {
        if let Some(ending) = &mut self.ending {
            ending.is_final = true;
            return;
        }
        let refuse = self.answer(code, message, None);
        let close = Some(reason);
        let parting = Parting::Stop;
        let forced = Forced { refuse, close, error: false, is_final: true, parting };
        self.force_end(forced, now);
    }

    /// The reply that was lingered for has come: nothing keeps the attempt any more.
    pub(super) fn stop_lingering(&mut self, now: Instant) {
        if let Some(ending) = &mut self.ending {
            ending.lingering = false;
        }
        self.dispose(Parting::Stop, now);
    }

    /// Ends the attempt: its body is closed, its session stopped (unless another one has taken its
    /// place) and its reservation given back as soon as the engine has let go.
    pub(super) fn dispose(&mut self, parting: Parting, now: Instant) {
        if let Some(attempt) = self.attempt.take() {
            self.flow.paused_since = None;
            self.leaving = None;
            self.dispose_of(attempt, parting, now);
        }
    }

    /// The same for one that is not the stream's first.
    pub(super) fn dispose_of(&mut self, attempt: Attempt, parting: Parting, now: Instant) {
        let play = attempt.play();
        let Attempt { generation, engine, reservation, opened, .. } = attempt;
        self.stops.remember(generation, engine, opened.is_some());
        if let Some(play) = play {
            self.emit(Output::CloseBody { generation: play });
        }
        match opened {
            None => {
                self.emit(Output::Release { reservation });
                for late in self.stops.take_late(engine) {
                    self.stop_late(late, now);
                }
            }
            Some(_) if parting == Parting::Superseded => {
                let outcome = Outcome::Superseded;
                self.emit(Output::SessionOver { generation, engine, outcome });
                self.emit(Output::Release { reservation });
            }
            Some(opened) => {
                let asks = parting == Parting::AskThenStop;
                let unless_replaced = opened.unless_replaced().filter(|_| asks);
                let path = opened.command_path.clone();
                self.stops.begin(generation, engine, Some(reservation), opened, now);
                self.emit(Output::Stop { generation, engine, path, unless_replaced });
            }
        }
    }

    pub(super) fn on_stop_done(&mut self, generation: Generation, outcome: Outcome, now: Instant) {
        if let Some(stopping) = self.stops.done(generation) {
            let (engine, is_ours) = (stopping.engine, stopping.reservation.is_some());
            self.stop_over(stopping, outcome);
            if outcome == Outcome::Superseded && is_ours {
                self.on_superseded(engine, now);
            }
        }
    }

    pub(super) fn fire_stops(&mut self, now: Instant) {
        while let Some(stopping) = self.stops.overdue(now) {
            self.stop_over(stopping, Outcome::Lost);
        }
    }

    fn stop_over(&mut self, stopping: Stopping, outcome: Outcome) {
        let Stopping { generation, engine, reservation, .. } = stopping;
        self.emit(Output::SessionOver { generation, engine, outcome });
        if let Some(reservation) = reservation {
            self.emit(Output::Release { reservation });
        }
    }

    pub(super) fn end_if_over(&mut self) {
        let Some(ending) = &mut self.ending else { return };
        if ending.lingering || !self.stops.is_empty() || self.asking.is_some() {
            return;
        }
        if self.audience.has_subscribers() || self.audience.is_closing() {
            if !std::mem::replace(&mut ending.has_let_go, true) {
                self.emit(Output::LetGo);
            }
            return;
        }
        self.state = if ending.error { State::Error } else { State::Stopped };
        self.emit(Output::Ended);
        self.over = true;
    }
}

impl Ending {
    const fn asked_for() -> Self {
        Self {
            error: false,
            lingering: false,
            is_final: false,
            words: None,
            ask_again_at: None,
            has_let_go: false,
        }
    }
}
