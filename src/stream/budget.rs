//! How often a session may die under its viewers before the stream counts as unstable, and what is
//! remembered of the engines on which it did.
//!
//! A death is a session that had given bytes; a start that never gave any is not one.

use std::time::Duration;

use crate::base::ids::EngineId;
use crate::base::time::Instant;

const DEATHS_MAX: usize = 3;
const WITHIN: Duration = Duration::from_secs(180);
/// An engine that was left is not gone back to before.
const REST: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
struct Death {
    at: Instant,
    engine: EngineId,
    blame: Blame,
}

/// Whose doing a death was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// It counts, and its engine rests.
    Engine,
    /// A takeover, where those have rules of their own: it does not count.
    Forgiven,
    /// The shard that read it was lost: it does not count, and says nothing of its engine.
    Ours,
}

#[derive(Debug, Default)]
pub(super) struct Budget {
    /// The newest ones, oldest first.
    deaths: Vec<Death>,
    pub(super) total: u32,
}

impl Budget {
    /// Whether this death is one too many.
    pub(super) fn died(&mut self, engine: EngineId, blame: Blame, now: Instant) -> bool {
        self.deaths.retain(|death| now.since(death.at) < WITHIN);
        self.deaths.push(Death { at: now, engine, blame });
        self.total = self.total.saturating_add(1);
        let counted = self.deaths.iter().filter(|death| death.blame == Blame::Engine).count();
        blame == Blame::Engine && counted >= DEATHS_MAX
    }

    /// The last death on this engine turns out to have been a takeover.
    pub(super) fn forgive(&mut self, engine: EngineId) {
        if let Some(death) = self.deaths.iter_mut().rev().find(|death| death.engine == engine) {
            death.blame = Blame::Forgiven;
        }
    }

    /// Engines that rest, besides the one that died last, and until when.
    pub(super) fn resting(&self, last: EngineId, now: Instant) -> Vec<(EngineId, Instant)> {
        let others = self.deaths.iter();
        let others = others.filter(|death| death.engine != last && death.blame != Blame::Ours);
        let until = others.map(|death| (death.engine, death.at + REST));
        until.filter(|(_, until)| *until > now).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_loss_of_ours_is_not_counted_and_no_engine_rests_for_it() {
        let (one, two) = (EngineId(0), EngineId(1));
        let mut budget = Budget::default();
        for second in 0..4 {
            assert!(!budget.died(one, Blame::Ours, at(second)));
        }
        assert!(budget.resting(two, at(4)).is_empty());
        assert!(!budget.died(one, Blame::Engine, at(5)));
        assert_eq!(budget.resting(two, at(6)), [(one, at(5) + REST)]);
        assert!(!budget.died(two, Blame::Engine, at(7)));
        assert!(budget.died(one, Blame::Engine, at(8)));
    }
}
