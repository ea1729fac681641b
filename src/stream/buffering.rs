//! From the opened session to its first bytes.
//!
//! A prebuffering engine answers nothing, or 500: the same path is asked again until START_TIMEOUT,
//! and that is no failure; nor is a lack of ours. Everything else ends the attempt, and the search
//! decides what is next.

use std::time::Duration;

use super::Session;
use super::State;
use super::attempt::Phase;
use super::input::Failure;
use super::output::Output;
use crate::base::ids::Generation;
use crate::base::ids::Target;
use crate::base::time::Instant;

/// The same path again after 1 to 2 s: drawn, so that many streams do not ask in step.
const PLAY_AGAIN_MS_MIN: u64 = 1_000;
const PLAY_AGAIN_MS_SPREAD: u64 = 1_000;

impl Session {
    pub(super) fn play(&mut self) {
        let play = self.next_generation();
        let Some(attempt) = &mut self.attempt else { return };
        attempt.phase = Phase::Playing(play);
        let engine = attempt.engine;
        let opened = attempt.opened.as_ref().expect("what is played was opened");
        let path = opened.playback_path.clone();
        self.emit(Output::Play { generation: play, engine, path });
        if self.flow.first_packet_at.is_some() {
            self.emit(Output::Splice { generation: play });
        }
    }

    pub(super) fn on_play_head(&mut self, generation: Generation) {
        self.rival_head(generation);
        if let Some(attempt) = self.attempt.as_mut()
            && attempt.phase == Phase::Playing(generation)
        {
            attempt.phase = Phase::Body(generation);
            if let Some(search) = &mut self.search {
                search.lacks(None);
            }
        }
    }

    /// No head, or the end of the body.
    pub(super) fn on_play_over(&mut self, generation: Generation, failure: &Failure, now: Instant) {
        if self.rival_over(generation, failure, now) {
            return;
        }
        let Some(attempt) = self.attempt.as_mut().filter(|a| a.play() == Some(generation)) else {
            return;
        };
        // Nothing of it is left that could be closed.
        attempt.phase = Phase::PlayDue(now);
        self.flow.paused_since = None;
        let is_prebuffering =
            matches!(failure, Failure::Prebuffering(_) | Failure::Silent | Failure::Lack(_));
        if is_prebuffering && let Some(search) = &mut self.search {
            search.lacks(failure.lack());
            let again_ms = PLAY_AGAIN_MS_MIN + self.prng.below(PLAY_AGAIN_MS_SPREAD);
            attempt.phase = Phase::PlayDue(now + Duration::from_millis(again_ms));
            return;
        }
        self.session_failed(failure, now);
    }

    pub(super) fn session_failed(&mut self, failure: &Failure, now: Instant) {
        if self.search.is_some() {
            self.attempt_failed(failure, now);
        } else {
            self.died(failure, now);
        }
    }

    /// The attempt ends without having given a byte.
    pub(super) fn attempt_failed(&mut self, failure: &Failure, now: Instant) {
        let Some(engine) = self.engine() else { return };
        self.dispose(failure.parting(), now);
        if self.fall_back(now) {
            return;
        }
        let is_id = matches!(self.target, Target::Id(_));
        if let Some(search) = &mut self.search {
            let next = search.failed(failure, engine, is_id, &mut self.contest, now);
            self.follow(next, now);
        }
    }

    /// The first bytes of an attempt: the search is over.
    pub(super) fn on_first_bytes(&mut self, now: Instant) {
        self.search = None;
        if self.flow.first_packet_at.is_none() {
            self.flow.first_packet_at = Some(now);
            let engine_name = self.engine_name().unwrap_or_default().to_owned();
            let first_packet_ms =
                u64::try_from(now.since(self.born).as_millis()).unwrap_or(u64::MAX);
            self.emit(Output::StartLog { engine_name, first_packet_ms });
            self.emit(Output::ClearOffline);
        }
        self.state = if self.flow.access_point { State::Active } else { State::Buffering };
    }

    pub(super) fn on_access_point(&mut self, generation: Generation, now: Instant) {
        let is_ours = self.attempt.as_ref().is_some_and(|a| a.play() == Some(generation));
        if !is_ours || self.search.is_some() {
            return;
        }
        self.flow.access_point = true;
        self.drop_hedge(now);
        if self.state == State::Buffering {
            self.state = State::Active;
        }
    }
}
