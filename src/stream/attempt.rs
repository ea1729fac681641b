//! One try on one engine: from the engine that was granted to the end of its body.
//!
//! Invariants: `opened` is there from `Claiming` on; a `Play` is outstanding or running exactly
//! in `Playing` and `Body`; while the outcome of an order is not known (`is_uncertain`) nothing of
//! the attempt may be thrown away, because a session may come into being that must be stopped.

use super::input::Opened;
use super::stat::StatClock;
use super::stat::StatusClock;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::time::Instant;

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) generation: Generation,
    pub(super) engine: EngineId,
    pub(super) reservation: u64,
    pub(super) name: String,
    pub(super) phase: Phase,
    pub(super) opened: Option<Opened>,
    pub(super) opened_at: Instant,
    /// Whether the engine lives is asked while it does not answer the open.
    pub(super) status: StatusClock,
    pub(super) stat: StatClock,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Waits until the engine has let go of our earlier sessions: a stop of an old one would kill
    /// the new one, both being the same content.
    Held,
    /// Unanswered at the deadline, the open counts as failed.
    Opening {
        deadline: Instant,
    },
    /// Without a deadline of its own: whoever answers may have taken the session over, and two
    /// owners would stop it twice. When a shard dies with the question, its heir says so.
    Claiming,
    /// Opened; the next `Play` goes out at that time.
    PlayDue(Instant),
    /// Asked for the body, and no head yet.
    Playing(Generation),
    Body(Generation),
}

impl Attempt {
    pub(super) fn new(
        generation: Generation,
        engine: EngineId,
        reservation: u64,
        name: String,
    ) -> Self {
        Self {
            generation,
            engine,
            reservation,
            name,
            phase: Phase::Held,
            opened: None,
            opened_at: Instant::ZERO,
            status: StatusClock::default(),
            stat: StatClock::default(),
        }
    }

    pub(super) const fn play(&self) -> Option<Generation> {
        match self.phase {
            Phase::Playing(play) | Phase::Body(play) => Some(play),
            Phase::Held | Phase::Opening { .. } | Phase::Claiming | Phase::PlayDue(_) => None,
        }
    }

    pub(super) const fn is_uncertain(&self) -> bool {
        matches!(self.phase, Phase::Opening { .. } | Phase::Claiming)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Opening { deadline } => {
                Some(self.status.due().map_or(deadline, |due| due.min(deadline)))
            }
            Phase::PlayDue(at) => Some(at),
            Phase::Held | Phase::Claiming | Phase::Playing(_) | Phase::Body(_) => None,
        };
        [own, self.stat.due()].into_iter().flatten().min()
    }

    pub(super) fn check_invariants(&self) {
        let is_opened = match self.phase {
            Phase::Held | Phase::Opening { .. } => false,
            Phase::Claiming | Phase::PlayDue(_) | Phase::Playing(_) | Phase::Body(_) => true,
        };
        assert_eq!(self.opened.is_some(), is_opened, "{:?}", self.phase);
    }
}
