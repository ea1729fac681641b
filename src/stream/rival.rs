//! A second session beside the one that plays or is being started, on another engine.
//!
//! Two reasons: the stream is to *move* (`moving` says when), and the viewers stay with the first
//! session until the second one can follow it; or the start takes too long (*hedge*), counted from its
//! beginning whatever the first engine has said by then, and whichever can be played first wins. Either
//! way the loser is stopped. A rival that fails costs nothing, and is told; when the first session
//! dies, the rival takes its place in the search.
//!
//! Invariants: a rival is never on the engine of the first session; it exists only beside another
//! attempt; its bytes wait outside of the ring until it is promoted.

use std::time::Duration;

use super::Asking;
use super::Session;
use super::attempt::Attempt;
use super::attempt::Phase;
use super::initializing::GRANT_MAX;
use super::input::Failure;
use super::input::Opened;
use super::input::Parting;
use super::moving::Purpose;
use super::output::Output;
use super::output::Wish;
use super::state::State;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::time::Instant;

/// A rival that prebuffers is asked again after so long.
const PLAY_AGAIN: Duration = Duration::from_millis(1_500);

#[derive(Debug)]
pub(super) struct Rival {
    pub(super) purpose: Purpose,
    pub(super) attempt: Attempt,
    /// Given up by then.
    deadline: Instant,
}

impl Session {
    /// A session plays that another one could be put beside.
    fn plays(&self) -> bool {
        let is_body = |attempt: &Attempt| matches!(attempt.phase, Phase::Body(_));
        self.search.is_none() && self.attempt.as_ref().is_some_and(is_body)
    }

    fn may_rival(&self) -> bool {
        self.rival.is_none() && self.asking.is_none() && self.ending.is_none() && self.is_claimed
    }

    pub(super) fn rival_deadline(&self) -> Option<Instant> {
        let leaving = self.leaving.and_then(|leaving| leaving.next_at());
        let leaving = leaving.filter(|_| self.may_rival() && self.plays());
        let rival = self.rival.as_ref();
        let own = rival.map(|rival| rival.deadline);
        let attempt = rival.and_then(|rival| rival.attempt.deadline());
        [leaving, self.hedge_at(), own, attempt].into_iter().flatten().min()
    }

    /// The engine has had its time, and nothing says that it will need only a little more.
    fn hedge_at(&self) -> Option<Instant> {
        let after = self.settings.hedge_after?;
        let attempt = self.attempt.as_ref()?;
        // Whose it is must be known before a second one is opened.
        let is_asked = attempt.phase != Phase::Claiming;
        let is_starting = !self.flow.access_point && self.state != State::Switching;
        let may = is_asked && is_starting && !self.hedged && !self.health.grows;
        (may && self.may_rival()).then(|| self.born + after)
    }

    pub(super) fn fire_rival(&mut self, now: Instant) {
        if self.hedge_at().is_some_and(|at| at <= now) {
            self.hedged = true;
            self.ask_rival(Purpose::Hedge, Wish::Spare, now);
        }
        let plays = self.plays() && self.may_rival();
        if let Some(leaving) = self.leaving.as_mut().filter(|_| plays)
            && let Some(wish) = leaving.take_due(now)
        {
            self.ask_rival(Purpose::Move, wish, now);
        }
        let Some(rival) = &self.rival else { return };
        match rival.attempt.phase {
            _ if rival.deadline <= now => {
                self.rival_fails("no picture in time", Parting::Stop, now)
            }
            Phase::Held if !self.stops.on(rival.attempt.engine) => self.open_rival(now),
            Phase::Opening { deadline } if deadline <= now => {
                self.rival_fails("the engine did not answer", Parting::Stop, now);
            }
            Phase::PlayDue(at) if at <= now => self.play_rival(),
            Phase::Held
            | Phase::Opening { .. }
            | Phase::Claiming
            | Phase::PlayDue(_)
            | Phase::Playing(_)
            | Phase::Body(_) => {}
        }
    }

    fn ask_rival(&mut self, purpose: Purpose, wish: Wish, now: Instant) {
        let generation = self.next_generation();
        let deadline = now + GRANT_MAX;
        self.asking = Some(Asking { generation, deadline, rival: Some(purpose) });
        let mut exclude: Vec<EngineId> = self.engine().into_iter().collect();
        if !matches!(wish, Wish::Only(_)) {
            exclude.extend(self.contest.shunned(now));
        }
        self.emit(Output::Select { generation, exclude, prefer: None, wish });
    }

    /// The pool has granted it.
    pub(super) fn rival_granted(&mut self, purpose: Purpose, attempt: Attempt, now: Instant) {
        let (engine, reservation) = (attempt.engine, attempt.reservation);
        let has_reason = match purpose {
            Purpose::Hedge => !self.flow.access_point,
            Purpose::Move => self.leaving.is_some(),
        };
        let is_wanted = has_reason && self.attempt.is_some() && self.ending.is_none();
        self.names.insert(engine, attempt.name.clone());
        if is_wanted && self.engine() != Some(engine) {
            let deadline = now + self.settings.start_timeout;
            self.rival = Some(Rival { purpose, attempt, deadline });
            return;
        }
        if is_wanted {
            self.rival_failed(purpose, Some(engine), "it is there already", now);
        }
        self.emit(Output::Release { reservation });
    }

    /// There is none, or it came to nothing.
    pub(super) fn rival_failed(
        &mut self,
        purpose: Purpose,
        engine: Option<EngineId>,
        reason: &str,
        now: Instant,
    ) {
        let is_news = match purpose {
            Purpose::Hedge => true,
            Purpose::Move => self.move_failed(now),
        };
        if is_news && self.ending.is_none() {
            self.emit(Output::RivalFailed { purpose, engine, reason: reason.to_owned() });
        }
    }

    fn open_rival(&mut self, now: Instant) {
        let pid = self.player_id();
        let target = self.target.clone();
        let deadline = now + self.settings.start_timeout;
        let Some(rival) = &mut self.rival else { return };
        rival.attempt.phase = Phase::Opening { deadline };
        let (generation, engine) = (rival.attempt.generation, rival.attempt.engine);
        self.emit(Output::Open { generation, engine, target, pid });
    }

    /// True when the open was the rival's.
    pub(super) fn rival_opened(
        &mut self,
        generation: Generation,
        opened: &Opened,
        now: Instant,
    ) -> bool {
        let Some(rival) = self.rival.as_mut().filter(|r| r.attempt.generation == generation) else {
            return false;
        };
        if !matches!(rival.attempt.phase, Phase::Opening { .. }) {
            return true;
        }
        let engine = rival.attempt.engine;
        let is_wanted = opened.infohash == self.infohash && opened.is_playable();
        let path = opened.command_path.clone();
        rival.attempt.opened = Some(opened.clone());
        rival.attempt.opened_at = now;
        rival.attempt.phase = Phase::PlayDue(now);
        self.supersede_late(engine);
        if !is_wanted {
            self.rival_fails("it opened another content", Parting::Stop, now);
        } else if !path.is_empty() {
            self.emit(Output::SetActivityTimeout { generation, engine, path });
        }
        true
    }

    fn play_rival(&mut self) {
        let play = self.next_generation();
        let Some(rival) = &mut self.rival else { return };
        rival.attempt.phase = Phase::Playing(play);
        let engine = rival.attempt.engine;
        let opened = rival.attempt.opened.as_ref().expect("what is played was opened");
        let path = opened.playback_path.clone();
        self.emit(Output::PlayAside { generation: play, engine, path });
    }

    /// True when the order was the rival's.
    pub(super) fn rival_over(
        &mut self,
        generation: Generation,
        failure: &Failure,
        now: Instant,
    ) -> bool {
        let Some(rival) = self.rival.as_mut().filter(|rival| {
            let is_open = matches!(rival.attempt.phase, Phase::Opening { .. });
            let opens = is_open && rival.attempt.generation == generation;
            opens || rival.attempt.play() == Some(generation)
        }) else {
            return false;
        };
        let play = rival.attempt.play();
        if let Some(generation) = play {
            rival.attempt.phase = Phase::PlayDue(now + PLAY_AGAIN);
            // Its connection is gone, what waited of it is not.
            self.emit(Output::CloseBody { generation });
        }
        let is_prebuffering =
            matches!(failure, Failure::Prebuffering(_) | Failure::Silent | Failure::Lack(_));
        if play.is_none() || !is_prebuffering {
            self.rival_fails(failure.text(), failure.parting(), now);
        }
        true
    }

    pub(super) fn rival_head(&mut self, generation: Generation) {
        if let Some(rival) = &mut self.rival
            && rival.attempt.phase == Phase::Playing(generation)
        {
            rival.attempt.phase = Phase::Body(generation);
        }
    }

    /// What waits of the rival can be played from here on: it wins.
    pub(super) fn on_ready(&mut self, generation: Generation, now: Instant) {
        let Some(rival) = self.rival.take_if(|r| r.attempt.play() == Some(generation)) else {
            return;
        };
        if rival.purpose == Purpose::Move {
            let reason = "moved";
            if let Some(from) = self.engine() {
                self.emit(Output::Failover { from, reason });
            }
            self.budget.total = self.budget.total.saturating_add(1);
        }
        self.leaving = None;
        self.dispose(Parting::Stop, now);
        self.promote(rival.attempt, now);
    }

    /// The rival's session is the stream's from here on.
    fn promote(&mut self, mut attempt: Attempt, now: Instant) {
        self.health.forget();
        self.flow.last_byte_at = now;
        if attempt.opened.as_ref().is_some_and(|opened| !opened.stat_path.is_empty()) {
            attempt.stat.start(now);
        }
        if matches!(attempt.phase, Phase::Opening { .. }) {
            // It is what is waited for now: whether its engine lives is asked.
            attempt.status.start(self.settings.stall_timeout, now);
        }
        if let Some(play) = attempt.play() {
            attempt.phase = Phase::Body(play);
            self.emit(Output::Promote { generation: play });
        }
        self.attempt = Some(attempt);
    }

    /// The first session has failed, and was disposed of: the rival takes its place in the search.
    /// False when there is none.
    pub(super) fn fall_back(&mut self, now: Instant) -> bool {
        if let Some(asking) = &mut self.asking {
            // What is on its way is for the search now.
            asking.rival = None;
            return true;
        }
        let Some(rival) = self.rival.take() else { return false };
        self.promote(rival.attempt, now);
        true
    }

    fn rival_fails(&mut self, reason: &str, parting: Parting, now: Instant) {
        if let Some(rival) = self.rival.take() {
            self.rival_ends(rival, reason, parting, now);
        }
    }

    /// It came to nothing.
    pub(super) fn rival_ends(
        &mut self,
        rival: Rival,
        reason: &str,
        parting: Parting,
        now: Instant,
    ) {
        let (purpose, engine) = (rival.purpose, rival.attempt.engine);
        self.dispose_of(rival.attempt, parting, now);
        self.rival_failed(purpose, Some(engine), reason, now);
    }

    /// It is not wanted any more, and has not failed.
    pub(super) fn drop_rival(&mut self, parting: Parting, now: Instant) {
        if let Some(rival) = self.rival.take() {
            self.dispose_of(rival.attempt, parting, now);
        }
    }

    /// The first session has shown a picture: nobody else is needed for that.
    pub(super) fn drop_hedge(&mut self, now: Instant) {
        if self.rival.as_ref().is_some_and(|rival| rival.purpose == Purpose::Hedge) {
            self.drop_rival(Parting::Stop, now);
        }
    }

    pub(super) fn check_rival(&self) {
        let Some(rival) = &self.rival else { return };
        rival.attempt.check_invariants();
        assert!(self.ending.is_none() && self.asking.is_none());
        let attempt = self.attempt.as_ref().expect("a rival stands beside an attempt");
        assert_ne!(attempt.engine, rival.attempt.engine, "two sessions of one content");
        assert!(!self.stops.holds(rival.attempt.reservation), "one reservation, one holder");
    }
}
