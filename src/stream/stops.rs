//! Sessions that are being stopped, and attempts that are over.
//!
//! A stop that nobody confirms is counted lost after a while, so that no reservation is held for
//! ever. The attempts that are over are remembered for a while, because an open that was reported
//! as failed may still succeed: such a session must be stopped, and only once.

use std::collections::VecDeque;
use std::time::Duration;

use super::heir::Owed;
use super::input::Opened;
use super::output::Output;
use super::output::UnlessReplaced;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::time::Instant;

/// The driver gives a stop 3 s.
const STOP_MAX: Duration = Duration::from_secs(5);
/// A start of 60 s makes at most one attempt in 250 ms; an answer comes within the start.
const PAST_ATTEMPTS_MAX: usize = 256;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stopping {
    pub(super) generation: Generation,
    pub(super) engine: EngineId,
    /// `None` when it went back before: the open had been reported as failed.
    pub(super) reservation: Option<u64>,
    path: String,
    unless_replaced: Option<UnlessReplaced>,
    deadline: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Past {
    generation: Generation,
    engine: EngineId,
    /// Its open was answered: another answer to it is an echo.
    opened: bool,
}

/// A session that came of an open that had failed, on an engine that is asked again at this
/// moment: the newer open supersedes it, if it succeeds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Late {
    pub(super) generation: Generation,
    pub(super) engine: EngineId,
    pub(super) opened: Opened,
}

#[derive(Debug, Default)]
pub(super) struct Stops {
    running: Vec<Stopping>,
    past: VecDeque<Past>,
    late: Vec<Late>,
}

impl Stops {
    pub(super) fn begin(
        &mut self,
        generation: Generation,
        engine: EngineId,
        reservation: Option<u64>,
        opened: Opened,
        now: Instant,
    ) {
        debug_assert!(self.running.iter().all(|stop| stop.generation != generation));
        let unless_replaced = opened.unless_replaced();
        let (path, deadline) = (opened.command_path, now + STOP_MAX);
        let stopping =
            Stopping { generation, engine, reservation, path, unless_replaced, deadline };
        self.running.push(stopping);
    }

    /// Nobody knows whether these were sent: asked first, they are sent again.
    pub(super) fn again(&mut self, now: Instant) -> Vec<Output> {
        let again = self.running.iter_mut().map(|stop| {
            stop.deadline = now + STOP_MAX;
            let Stopping { generation, engine, path, unless_replaced, .. } = stop.clone();
            Output::Stop { generation, engine, path, unless_replaced }
        });
        again.collect()
    }

    /// Which sessions they are: those that are being stopped, and those that will be.
    pub(super) fn owed(&self) -> impl Iterator<Item = Owed> {
        let running = self.running.iter().map(|stop| Owed {
            engine: stop.engine,
            path: stop.path.clone(),
            unless_replaced: stop.unless_replaced.clone(),
        });
        running.chain(self.late.iter().map(|late| Owed::of(late.engine, &late.opened)))
    }

    pub(super) fn reservations(&self) -> impl Iterator<Item = u64> {
        self.running.iter().filter_map(|stop| stop.reservation)
    }

    pub(super) fn done(&mut self, generation: Generation) -> Option<Stopping> {
        let at = self.running.iter().position(|stop| stop.generation == generation)?;
        Some(self.running.remove(at))
    }

    pub(super) fn overdue(&mut self, now: Instant) -> Option<Stopping> {
        let at = self.running.iter().position(|stop| stop.deadline <= now)?;
        Some(self.running.remove(at))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.running.iter().map(|stop| stop.deadline).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn on(&self, engine: EngineId) -> bool {
        self.running.iter().any(|stop| stop.engine == engine)
    }

    pub(super) fn remember(&mut self, generation: Generation, engine: EngineId, opened: bool) {
        if self.past.len() == PAST_ATTEMPTS_MAX {
            self.past.pop_front();
        }
        self.past.push_back(Past { generation, engine, opened });
    }

    /// The engine of an attempt that was given up and turns out to have been opened; asking again
    /// finds nothing.
    pub(super) fn late_opened(&mut self, generation: Generation) -> Option<EngineId> {
        let past = self.past.iter_mut().find(|past| past.generation == generation)?;
        (!std::mem::replace(&mut past.opened, true)).then_some(past.engine)
    }

    pub(super) fn defer(&mut self, late: Late) {
        self.late.push(late);
    }

    pub(super) fn take_late(&mut self, engine: EngineId) -> Vec<Late> {
        self.late.extract_if(.., |late| late.engine == engine).collect()
    }

    pub(super) fn holds(&self, reservation: u64) -> bool {
        self.running.iter().any(|stop| stop.reservation == Some(reservation))
    }
}
