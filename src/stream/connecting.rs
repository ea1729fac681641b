//! The open, and whose infohash it turned out to be.
//!
//! A reply that comes after nobody wants it is not lost: its session is stopped, or taken up by
//! whoever has come back in the meantime.

use std::time::Duration;

use super::Adoption;
use super::Session;
use super::State;
use super::attempt::Attempt;
use super::attempt::Phase;
use super::input::Failure;
use super::input::Opened;
use super::input::Parting;
use super::output::Code;
use super::output::Outcome;
use super::output::Output;
use super::search::Search;
use super::search::Verdict;
use super::stops::Late;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::time::Instant;

/// The driver answers an open within START_TIMEOUT; past this it never will.
const OPEN_MARGIN: Duration = Duration::from_secs(10);
/// A warm engine has given its first byte by then, and need not be asked how it is.
const FIRST_STAT_AFTER: Duration = Duration::from_secs(1);

impl Session {
    pub(super) fn fire_attempt(&mut self, now: Instant) {
        let Some(attempt) = &self.attempt else { return };
        match attempt.phase {
            Phase::Held => {
                if !self.stops.on(attempt.engine) {
                    self.open(now);
                }
            }
            Phase::Opening { deadline } if deadline <= now => {
                self.on_open_failed(attempt.generation, &Failure::Silent, now);
            }
            Phase::Opening { .. } if attempt.status.due().is_some_and(|due| due <= now) => {
                self.ask_status(now);
            }
            Phase::PlayDue(at) if at <= now => self.play(),
            Phase::Opening { .. }
            | Phase::Claiming
            | Phase::PlayDue(_)
            | Phase::Playing(_)
            | Phase::Body(_) => {}
        }
        self.fire_stat(now);
    }

    /// It takes its time: does it live? One that does not say so in time hangs.
    fn ask_status(&mut self, now: Instant) {
        let Some(attempt) = &mut self.attempt else { return };
        let (generation, engine) = (attempt.generation, attempt.engine);
        if attempt.status.is_asked() {
            return self.on_open_failed(generation, &Failure::Silent, now);
        }
        attempt.status.asked(now);
        self.emit(Output::AskStatus { generation, engine });
    }

    fn open(&mut self, now: Instant) {
        let pid = self.player_id();
        let target = self.target.clone();
        let deadline = now + self.settings.start_timeout + OPEN_MARGIN;
        let Some(attempt) = &mut self.attempt else { return };
        attempt.phase = Phase::Opening { deadline };
        attempt.status.start(self.settings.stall_timeout, now);
        let (generation, engine) = (attempt.generation, attempt.engine);
        self.emit(Output::Open { generation, engine, target, pid });
    }

    pub(super) fn player_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.prng.next_u64(), self.prng.next_u64())
    }

    /// A session of an open that had failed is replaced there by a newer one.
    pub(super) fn supersede_late(&mut self, engine: EngineId) {
        for late in self.stops.take_late(engine) {
            let outcome = Outcome::Superseded;
            self.emit(Output::SessionOver { generation: late.generation, engine, outcome });
        }
    }

    pub(super) fn on_opened(&mut self, generation: Generation, opened: Opened, now: Instant) {
        if self.rival_opened(generation, &opened, now) {
            return;
        }
        let Some(attempt) = self.attempt.as_mut().filter(|a| a.generation == generation) else {
            return self.on_late_opened(generation, opened, now);
        };
        if !matches!(attempt.phase, Phase::Opening { .. }) {
            return;
        }
        let engine = attempt.engine;
        let claimed = opened.infohash;
        let refused = unplayable(&opened);
        attempt.opened = Some(opened);
        attempt.opened_at = now;
        attempt.phase = Phase::PlayDue(now);
        self.supersede_late(engine);
        if self.ending.is_some() {
            return self.stop_lingering(now);
        }
        self.health.forget();
        let is_same = self.is_claimed && claimed == self.infohash;
        let is_switching = self.search.as_ref().is_some_and(Search::is_switching);
        if is_switching && (refused.is_some() || !is_same) {
            let text = refused.map_or("the engine opened another content", |(_, text)| text);
            return self.attempt_failed(&Failure::Engine(text.to_owned()), now);
        }
        if let Some(search) = &mut self.search {
            search.reached = true;
        }
        if let Some((code, message)) = refused {
            let message = message.to_owned();
            let verdict = Verdict { engine: Some(engine), ..Verdict::new(code, message) };
            return self.fail(verdict, now);
        }
        if is_same {
            return self.begin_play(now);
        }
        if let Some(attempt) = &mut self.attempt {
            attempt.phase = Phase::Claiming;
        }
        self.emit(Output::Claim { generation, engine, infohash: claimed });
    }

    /// An open that was reported as failed has succeeded after all.
    fn on_late_opened(&mut self, generation: Generation, opened: Opened, now: Instant) {
        let Some(engine) = self.stops.late_opened(generation) else { return };
        let late = Late { generation, engine, opened };
        let rival = self.rival.as_ref().map(|rival| &rival.attempt);
        let rival = rival.filter(|attempt| attempt.engine == engine);
        match rival.or(self.attempt.as_ref()) {
            Some(attempt) if attempt.engine == engine && attempt.opened.is_some() => {
                // One download per content: a stop of either would kill ours.
                let outcome = Outcome::Superseded;
                self.emit(Output::SessionOver { generation, engine, outcome });
            }
            Some(attempt) if attempt.engine == engine && attempt.is_uncertain() => {
                self.stops.defer(late);
            }
            Some(_) | None => self.stop_late(late, now),
        }
    }

    pub(super) fn stop_late(&mut self, late: Late, now: Instant) {
        let Late { generation, engine, opened } = late;
        let (path, unless_replaced) = (opened.command_path.clone(), opened.unless_replaced());
        self.stops.begin(generation, engine, None, opened, now);
        self.emit(Output::Stop { generation, engine, path, unless_replaced });
    }

    pub(super) fn on_open_failed(
        &mut self,
        generation: Generation,
        failure: &Failure,
        now: Instant,
    ) {
        if self.rival_over(generation, failure, now) {
            return;
        }
        let is_ours = self.attempt.as_ref().is_some_and(|attempt| {
            attempt.generation == generation && matches!(attempt.phase, Phase::Opening { .. })
        });
        if !is_ours {
            return;
        }
        if self.ending.is_some() {
            return self.stop_lingering(now);
        }
        self.attempt_failed(failure, now);
    }

    pub(super) fn on_claimed(&mut self, generation: Generation, now: Instant) {
        let Some(attempt) = self.claiming(generation) else { return };
        let infohash = attempt.opened.as_ref().map(|opened| opened.infohash);
        attempt.phase = Phase::PlayDue(now);
        if self.ending.is_some() {
            return self.stop_lingering(now);
        }
        let infohash = infohash.unwrap_or(self.infohash);
        if std::mem::replace(&mut self.infohash, infohash) != infohash {
            // What is beside it was opened as something else.
            self.drop_rival(Parting::Stop, now);
        }
        self.is_claimed = true;
        self.begin_play(now);
    }

    pub(super) fn on_merge_into(
        &mut self,
        generation: Generation,
        infohash: Infohash,
        adopted: bool,
        now: Instant,
    ) {
        let Some(attempt) = self.claiming(generation) else { return };
        attempt.phase = Phase::PlayDue(now);
        if adopted {
            // Session and reservation are the other stream's from here on.
            let engine = attempt.engine;
            self.attempt = None;
            self.stops.remember(generation, engine, true);
        }
        if self.ending.is_some() {
            return self.stop_lingering(now);
        }
        self.emit(Output::MoveViewers { infohash });
        self.end_merged(now);
    }

    /// Whoever was answering it is gone: it is asked again.
    pub(super) fn on_claim_lost(&mut self, generation: Generation) {
        let Some(attempt) = self.claiming(generation) else { return };
        let engine = attempt.engine;
        let Some(infohash) = attempt.opened.as_ref().map(|opened| opened.infohash) else { return };
        self.emit(Output::Claim { generation, engine, infohash });
    }

    fn claiming(&mut self, generation: Generation) -> Option<&mut Attempt> {
        self.attempt.as_mut().filter(|attempt| {
            attempt.generation == generation && matches!(attempt.phase, Phase::Claiming)
        })
    }

    /// Whether a session of `infohash` that another stream has opened on `engine` is ours to take.
    pub fn adoption(&self, engine: EngineId, infohash: Infohash) -> Adoption {
        if self.ending.as_ref().is_some_and(|ending| !ending.may_revive()) {
            return Adoption::Later;
        }
        let Some(attempt) = &self.attempt else {
            // Between two sessions an open one is what is looked for, wherever it is; but a stop of
            // ours that is on its way to that engine may end it there.
            return match (&self.search, self.asking) {
                (Some(_), Some(_)) => Adoption::Later,
                (Some(_), None) if self.stops.on(engine) => Adoption::Later,
                (Some(_), None) => Adoption::Yes,
                (None, _) => Adoption::No,
            };
        };
        if attempt.engine != engine {
            return Adoption::No;
        }
        let is_same = attempt.opened.as_ref().is_none_or(|ours| ours.infohash == infohash);
        match attempt.phase {
            _ if !is_same => Adoption::No,
            Phase::Held | Phase::Opening { .. } | Phase::Claiming => Adoption::Later,
            Phase::PlayDue(_) | Phase::Playing(_) | Phase::Body(_) => Adoption::Yes,
        }
    }

    /// Another stream's open on our engine has superseded our session, or comes while we look for
    /// one: the newer one is ours.
    pub(super) fn on_adopt(
        &mut self,
        engine: EngineId,
        reservation: u64,
        name: String,
        opened: Opened,
        now: Instant,
    ) {
        let generation = self.next_generation();
        let ours = match &self.attempt {
            Some(attempt) => {
                attempt.engine == engine && attempt.opened.is_some() && !attempt.is_uncertain()
            }
            None => self.search.is_some() && self.asking.is_none(),
        };
        if !ours || self.ending.is_some() {
            self.stops.remember(generation, engine, true);
            let (path, unless_replaced) = (opened.command_path.clone(), opened.unless_replaced());
            self.stops.begin(generation, engine, Some(reservation), opened, now);
            return self.emit(Output::Stop { generation, engine, path, unless_replaced });
        }
        self.drop_rival(Parting::Stop, now);
        self.dispose(Parting::Superseded, now);
        self.names.insert(engine, name.clone());
        let mut attempt = Attempt::new(generation, engine, reservation, name);
        attempt.phase = Phase::PlayDue(now);
        attempt.opened = Some(opened);
        attempt.opened_at = now;
        self.attempt = Some(attempt);
        if let Some(search) = &mut self.search {
            search.found();
            search.reached = true;
        } else {
            let mut search = self.switching_search(now);
            search.found();
            self.search = Some(search);
            self.state = State::Switching;
        }
        self.begin_play(now);
    }

    pub(super) fn begin_play(&mut self, now: Instant) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.phase = Phase::PlayDue(now);
        let (generation, engine) = (attempt.generation, attempt.engine);
        let opened = attempt.opened.as_ref();
        let path = opened.map(|opened| opened.command_path.clone()).unwrap_or_default();
        if opened.is_some_and(|opened| !opened.stat_path.is_empty()) {
            attempt.stat.start(now + FIRST_STAT_AFTER);
        }
        if self.state != State::Switching {
            self.state = State::Buffering;
        }
        if !path.is_empty() {
            self.emit(Output::SetActivityTimeout { generation, engine, path });
        }
    }
}

/// What is not relayed, whatever the engine makes of it.
const fn unplayable(opened: &Opened) -> Option<(Code, &'static str)> {
    if !opened.live {
        return Some((Code::NotLive, "video on demand is not relayed"));
    }
    if opened.encrypted {
        return Some((Code::Encrypted, "the content is encrypted"));
    }
    if opened.hls {
        return Some((Code::HlsSource, "the source is HLS, which is not relayed"));
    }
    None
}
