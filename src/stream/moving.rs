//! When a stream that plays is to leave its engine, and how often that is tried.
//!
//! An operator's wish is tried once. An engine that is being drained is left: it is tried again and
//! again until that has happened or the engine is taken back. One does not make the other forgotten,
//! and what does not succeed is told, once for as long as it goes on.

use std::time::Duration;

use super::Session;
use super::input::Parting;
use super::output::Wish;
use crate::base::ids::EngineId;
use crate::base::time::Instant;

/// A stream whose engine is being drained, and that found no other, looks again.
const LEAVE_AGAIN: Duration = Duration::from_secs(10);

/// What a second session is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    Hedge,
    Move,
}

impl Purpose {
    /// Every label, so that a graph begins before the first event.
    pub const ALL: [Self; 2] = [Self::Hedge, Self::Move];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hedge => "hedge",
            Self::Move => "move",
        }
    }
}

/// The stream is to leave its engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    /// An operator's, until it was tried.
    asked: Option<Wish>,
    /// The engine is being drained.
    insists: bool,
    /// That it does not succeed was said.
    is_told: bool,
    next_at: Option<Instant>,
}

impl Leaving {
    pub(super) const fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Option<Wish> {
        self.next_at.take_if(|at| *at <= now)?;
        Some(self.asked.unwrap_or(Wish::Any))
    }
}

impl Session {
    pub(super) fn on_move(&mut self, to: Option<EngineId>, now: Instant) {
        if self.ending.is_some() || (to.is_some() && self.engine() == to) {
            return;
        }
        let rival = self.rival.as_ref().filter(|rival| rival.purpose == Purpose::Move);
        if rival.is_some_and(|rival| to.is_some_and(|to| rival.attempt.engine != to)) {
            self.drop_rival(Parting::Stop, now);
        }
        let insists = self.leaving.is_some_and(|leaving| leaving.insists);
        let asked = Some(to.map_or(Wish::Any, Wish::Only));
        self.leaving = Some(Leaving { asked, insists, is_told: false, next_at: Some(now) });
    }

    pub(super) fn on_leave(&mut self, engine: EngineId, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        let is_on_the_way = self.rival.as_ref().is_some_and(|r| r.attempt.engine == engine);
        if is_on_the_way {
            self.drop_rival(Parting::Stop, now);
        }
        let before = self.leaving;
        if self.engine() == Some(engine) {
            let asked = before.and_then(|leaving| leaving.asked);
            let next_at = Some(now);
            self.leaving = Some(Leaving { asked, insists: true, is_told: false, next_at });
        } else if let Some(leaving) = self.leaving.as_mut().filter(|_| is_on_the_way) {
            leaving.next_at = Some(now);
        }
    }

    pub(super) fn on_stay(&mut self, engine: EngineId, now: Instant) {
        if self.engine() != Some(engine) {
            return;
        }
        let Some(leaving) = &mut self.leaving else { return };
        leaving.insists = false;
        if leaving.asked.is_some() {
            return;
        }
        self.leaving = None;
        if self.rival.as_ref().is_some_and(|rival| rival.purpose == Purpose::Move) {
            self.drop_rival(Parting::Stop, now);
        }
    }

    /// Whether that is worth a word.
    pub(super) fn move_failed(&mut self, now: Instant) -> bool {
        let Some(leaving) = &mut self.leaving else { return false };
        let was_asked = leaving.asked.take().is_some();
        let is_news = was_asked || !std::mem::replace(&mut leaving.is_told, true);
        // What an operator wanted in vain says nothing about the other engines.
        let again = if was_asked { Duration::ZERO } else { LEAVE_AGAIN };
        leaving.next_at = Some(now + again);
        if !leaving.insists {
            self.leaving = None;
        }
        is_news
    }
}
