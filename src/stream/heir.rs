//! A stream that outlives the shard that carried its orders out.
//!
//! The heir of that shard has the brain and the ring, and no task: no order that was out is answered
//! any more, and every connection to an engine is broken. So each of them counts as failed, in the way
//! in which it may have failed, and the stream goes on from there.

use super::Session;
use super::attempt::Phase;
use super::input::Failure;
use super::input::Opened;
use super::output::Output;
use super::output::UnlessReplaced;
use super::stat::StatusClock;
use crate::base::ids::EngineId;
use crate::base::time::Instant;

const LOST: Failure = Failure::ShardLost;

/// A session that an engine holds for a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owed {
    pub engine: EngineId,
    /// What it is stopped with.
    pub path: String,
    pub unless_replaced: Option<UnlessReplaced>,
}

impl Owed {
    pub(super) fn of(engine: EngineId, opened: &Opened) -> Self {
        let (path, unless_replaced) = (opened.command_path.clone(), opened.unless_replaced());
        Self { engine, path, unless_replaced }
    }
}

impl Session {
    /// All that is known of: whoever buries the stream stops them.
    pub fn owed(&self) -> Vec<Owed> {
        let rival = self.rival.as_ref().map(|rival| &rival.attempt);
        let attempts = self.attempt.as_ref().into_iter().chain(rival);
        let opened = attempts.filter_map(|one| Some(Owed::of(one.engine, one.opened.as_ref()?)));
        opened.chain(self.stops.owed()).collect()
    }

    pub(super) fn on_inherited(&mut self, now: Instant) {
        if let Some(asking) = self.asking.take() {
            // A grant that is on its way goes back by itself.
            if let Some(purpose) = asking.rival {
                self.rival_failed(purpose, None, LOST.text(), now);
            } else if let Some(search) = &mut self.search {
                search.next_at = Some(now);
            }
        }
        let stops = self.stops.again(now);
        self.outputs.extend(stops);
        if let Some((generation, engine)) = self.reopening {
            self.emit(Output::AskStatus { generation, engine });
        }
        if let Some(rival) = self.rival.take() {
            self.rival_ends(rival, LOST.text(), LOST.parting(), now);
        }
        let Some(attempt) = &self.attempt else { return };
        match attempt.phase {
            Phase::Opening { .. } => self.open_again(now),
            Phase::Playing(play) | Phase::Body(play) => {
                self.on_play_over(play, &LOST, now);
            }
            // The clock runs on; and a claim that is lost is said to be.
            Phase::Held | Phase::PlayDue(_) | Phase::Claiming => {}
        }
    }

    /// The engine may have opened it, and nobody heard. The same engine is asked again: that ends
    /// what it may have opened.
    fn open_again(&mut self, now: Instant) {
        if self.ending.is_some() {
            return self.stop_lingering(now);
        }
        let renewed = self.next_generation();
        let Some(attempt) = &mut self.attempt else { return };
        let before = std::mem::replace(&mut attempt.generation, renewed);
        attempt.phase = Phase::Held;
        attempt.status = StatusClock::default();
        let engine = attempt.engine;
        self.stops.remember(before, engine, false);
    }
}
