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
    /// A takeover, where those have rules of their own.
    is_forgiven: bool,
}

#[derive(Debug, Default)]
pub(super) struct Budget {
    /// The newest ones, oldest first.
    deaths: Vec<Death>,
    pub(super) total: u32,
}

impl Budget {
    /// Whether this death is one too many.
    pub(super) fn died(&mut self, engine: EngineId, is_forgiven: bool, now: Instant) -> bool {
        self.deaths.retain(|death| now.since(death.at) < WITHIN);
        self.deaths.push(Death { at: now, engine, is_forgiven });
        self.total = self.total.saturating_add(1);
        let counted = self.deaths.iter().filter(|death| !death.is_forgiven).count();
        !is_forgiven && counted >= DEATHS_MAX
    }

    /// The last death on this engine turns out to have been a takeover.
    pub(super) fn forgive(&mut self, engine: EngineId) {
        if let Some(death) = self.deaths.iter_mut().rev().find(|death| death.engine == engine) {
            death.is_forgiven = true;
        }
    }

    /// Engines that rest, besides the one that died last, and until when.
    pub(super) fn resting(&self, last: EngineId, now: Instant) -> Vec<(EngineId, Instant)> {
        let others = self.deaths.iter().filter(|death| death.engine != last);
        let until = others.map(|death| (death.engine, death.at + REST));
        until.filter(|(_, until)| *until > now).collect()
    }
}
