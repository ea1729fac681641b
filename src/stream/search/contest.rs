//! Who else has opened the content on our engines, and when we may go back there.
//!
//! An engine plays a content once: who opens it last has it, and whoever had it has lost it. Two that
//! both go back at once would take it from each other for ever. What is done depends on what Redis
//! has said of the stream:
//!
//! | | an engine that was taken | with no other engine: back after | at most, in 180 s | then |
//! |---|---|---|---|---|
//! | without Redis | not within 60 s | 1 s | once | `taken_over` |
//! | the confirmed owner | not within 60 s | 1 s | 12 times | `taken_over` |
//! | anybody else | not within 60 s | 10 s and a part of 10 s more | twice | `contended` |
//!
//! It outlives the stream's sessions and is handed to the next stream of the content, so that a player
//! that comes back at once does not begin the contest anew.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::ids::EngineId;
use crate::base::prng::Prng;
use crate::base::time::Instant;
use crate::stream::output::CloseReason;

const SHUN: Duration = Duration::from_secs(60);
const WITHIN: Duration = Duration::from_secs(180);
pub(super) const QUICK: Duration = Duration::from_secs(1);
const PATIENT: Duration = Duration::from_secs(10);
const PATIENT_SPREAD_MS: u64 = 10_000;

const ALONE_MAX: usize = 1;
/// The owner outlasts those who are not: another node that keeps to these rules takes the content three
/// times within the first minute, and once in each of the two that follow. That is ten for two of
/// them; what takes it more often keeps to no rules.
const OWNER_MAX: usize = 12;
const OTHERS_MAX: usize = 2;

/// What is known of the stream's lease, as far as engines are contended for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tenure {
    /// Without Redis there are no other nodes that could know.
    #[default]
    Alone,
    /// Redis has confirmed it.
    Owner,
    /// Unowned, unknown, another node's, or another program's.
    Other,
}

#[derive(Clone, Debug)]
pub struct Contest {
    tenure: Tenure,
    /// Engines on which another session has taken our place, and when it last did.
    taken: BTreeMap<EngineId, Instant>,
    /// When a contested engine was gone back to, and whether that was after the long wait.
    returns: Vec<(Instant, bool)>,
}

impl Default for Contest {
    fn default() -> Self {
        Self::new(Tenure::Alone)
    }
}

impl Contest {
    pub const fn new(tenure: Tenure) -> Self {
        Self { tenure, taken: BTreeMap::new(), returns: Vec::new() }
    }

    /// For the next stream of the content.
    #[must_use]
    pub fn of(self, tenure: Tenure) -> Self {
        Self { tenure, ..self }
    }

    /// Nothing of it matters any more.
    pub fn is_over(&self, now: Instant) -> bool {
        let returns = self.returns.iter().map(|(at, _)| at);
        self.taken.values().chain(returns).all(|at| now.since(*at) >= WITHIN)
    }

    pub(in crate::stream) const fn set_tenure(&mut self, tenure: Tenure) {
        self.tenure = tenure;
    }

    /// A session that was taken over counts against the stream only where nobody else knows the rules.
    pub(in crate::stream) const fn forgives(&self) -> bool {
        match self.tenure {
            Tenure::Alone => false,
            Tenure::Owner | Tenure::Other => true,
        }
    }

    pub(in crate::stream) fn taken(&mut self, engine: EngineId, now: Instant) {
        self.taken.retain(|_, at| now.since(*at) < SHUN);
        self.taken.insert(engine, now);
    }

    /// Engines that are not gone back to while there is another one.
    pub(in crate::stream) fn shunned(&self, now: Instant) -> Vec<EngineId> {
        let shunned = self.taken.iter().filter(|(_, at)| now.since(**at) < SHUN);
        shunned.map(|(engine, _)| *engine).collect()
    }

    /// When the first of them may be gone back to all the same.
    pub(super) fn shunned_until(&self, now: Instant) -> Instant {
        let until = self.taken.values().map(|at| *at + SHUN).filter(|until| *until > now);
        until.min().unwrap_or(Instant::NEVER)
    }

    /// Who took it last.
    pub(super) fn rival_on(&self) -> Option<EngineId> {
        self.taken.iter().max_by_key(|(_, at)| **at).map(|(engine, _)| *engine)
    }

    /// There is no other engine: how long until one that was taken is gone back to, if that is to be
    /// tried once more.
    pub(super) fn pause(&self, prng: &mut Prng, now: Instant) -> Option<Duration> {
        let spread = Duration::from_millis(prng.below(PATIENT_SPREAD_MS));
        let (pause, returns_max) = match self.tenure {
            Tenure::Alone => (QUICK, ALONE_MAX),
            Tenure::Owner => (QUICK, OWNER_MAX),
            Tenure::Other => (PATIENT + spread, OTHERS_MAX),
        };
        let is_counted = |(at, patient): &&(Instant, bool)| {
            *patient == self.is_patient() && now.since(*at) < WITHIN
        };
        (self.returns.iter().filter(is_counted).count() < returns_max).then_some(pause)
    }

    /// It is gone back to.
    pub(super) fn returned(&mut self, now: Instant) {
        self.returns.retain(|(at, _)| now.since(*at) < WITHIN);
        self.returns.push((now, self.is_patient()));
    }

    const fn is_patient(&self) -> bool {
        match self.tenure {
            Tenure::Alone | Tenure::Owner => false,
            Tenure::Other => true,
        }
    }

    /// How the viewers end.
    pub(super) const fn end(&self) -> (CloseReason, &'static str) {
        match self.tenure {
            Tenure::Alone | Tenure::Owner => {
                (CloseReason::TakenOver, "another player opens the same content on the engine")
            }
            Tenure::Other => {
                let text =
                    "another node plays the same content on the engine, and there is no other";
                (CloseReason::Contended, text)
            }
        }
    }
}
