//! A stream's entry in the book.

use super::leases::Held;
use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;
use crate::base::time::Wall;
use crate::mirror::lease::Standing;
use crate::mirror::outbox::Gate;
use crate::mirror::outbox::Rates;
use crate::mirror::records::ViewerStats;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Entry {
    /// Where it runs.
    pub(super) shard: Option<usize>,
    pub(super) content_id: Option<Infohash>,
    pub(super) engine: Option<String>,
    /// The generation of the last facts.
    pub(super) generation: u32,
    pub(super) started: bool,
    is_stopping: bool,
    /// Its end was called off, and Redis may still say that it is stopping.
    is_revived: bool,
    /// Something of it was not written; it is told again when the stream is ours.
    pub(super) is_owed: bool,
    pub(super) failover: Option<(String, &'static str)>,
    /// While the stream runs here.
    pub(super) lease: Option<Held>,
    /// What was last known when the stream was over: who lingers is still taken off.
    pub(super) last_gate: Option<(Gate, bool)>,
    pub(super) viewers: BTreeMap<ViewerId, Seen>,
}

/// What of a viewer is kept here.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Seen {
    pub(super) generation: u32,
    connected_ms: u64,
    bytes_sent: u64,
    updated_ms: u64,
}

impl Seen {
    pub(super) const fn new(connected_at: Wall, stats: &ViewerStats, generation: u32) -> Self {
        Self {
            generation,
            connected_ms: connected_at.unix_ms(),
            bytes_sent: stats.bytes_sent,
            updated_ms: stats.updated_at.unix_ms(),
        }
    }

    /// The rates since it came and since the last time; bytes a millisecond are thousands a second.
    pub(super) fn note(&mut self, stats: &ViewerStats) -> Rates {
        let at = stats.updated_at.unix_ms();
        let rate = |bytes: u64, from: u64| match at.saturating_sub(from) {
            0 => 0.0,
            elapsed_ms => bytes as f64 / elapsed_ms as f64,
        };
        let rates = Rates {
            average: rate(stats.bytes_sent, self.connected_ms),
            current: rate(stats.bytes_sent.saturating_sub(self.bytes_sent), self.updated_ms),
        };
        (self.bytes_sent, self.updated_ms) = (stats.bytes_sent, at);
        rates
    }
}

impl Entry {
    pub(super) fn note_state(&mut self, state: &str) {
        let is_stopping = state == "stopping";
        let was_stopping = std::mem::replace(&mut self.is_stopping, is_stopping);
        self.is_revived = !is_stopping && (self.is_revived || was_stopping);
    }

    /// Once.
    pub(super) const fn take_revived(&mut self) -> bool {
        std::mem::replace(&mut self.is_revived, false)
    }

    pub(super) fn gate(&self) -> Gate {
        match &self.lease {
            Some(held) => gate_of(held.brain.standing()),
            None => self.last_gate.map_or(Gate::Later, |(gate, _)| gate),
        }
    }

    /// Whether the stream's chunks may still be written: they bear their epoch, and who follows
    /// reads none of an older one.
    pub(super) fn may_own(&self) -> bool {
        self.is_owner() || self.lease.as_ref().is_some_and(|held| is_unknown(held.brain.standing()))
    }

    /// Whether the stream's own keys are ours to write, as far as Redis has confirmed it.
    pub(super) fn is_owner(&self) -> bool {
        match &self.lease {
            Some(held) => is_owner(held.brain.standing()),
            None => self.last_gate.is_some_and(|(_, is_owner)| is_owner),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lease.is_none() && self.viewers.is_empty()
    }
}

pub(super) const fn gate_of(standing: &Standing) -> Gate {
    match standing {
        Standing::Owned { .. } | Standing::Held { .. } | Standing::Released => Gate::Write,
        Standing::Unknown { epoch } => {
            if *epoch > 0 {
                Gate::Write
            } else {
                Gate::Later
            }
        }
        Standing::Unowned => Gate::Later,
        Standing::Foreign { .. } => Gate::Drop,
    }
}

/// An owner that was not confirmed in time, a stopped process for one: somebody else may be it.
pub(super) const fn is_unknown(standing: &Standing) -> bool {
    match standing {
        Standing::Unknown { .. } => true,
        Standing::Owned { .. }
        | Standing::Unowned
        | Standing::Held { .. }
        | Standing::Foreign { .. }
        | Standing::Released => false,
    }
}

pub(super) const fn is_owner(standing: &Standing) -> bool {
    match standing {
        Standing::Owned { .. } => true,
        Standing::Unowned
        | Standing::Unknown { .. }
        | Standing::Held { .. }
        | Standing::Foreign { .. }
        | Standing::Released => false,
    }
}
