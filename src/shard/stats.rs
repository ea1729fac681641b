//! What a shard counts. Plain numbers of one thread; other shards get a copy when they ask.

use crate::admin::metrics::FIRST_BYTE_BOUNDS_US;
use crate::admin::metrics::LATENCY_BOUNDS_US;
use crate::admin::metrics::START_BOUNDS_US;
use crate::admin::metrics::TURN_BOUNDS_US;
use crate::base::counters::Histogram;
use crate::base::counters::HistogramSnapshot;
use crate::base::ids::ShardId;
use crate::router::PLAY_LABEL;
use crate::shard::audience::Path;
use crate::stream::Failure;
use crate::stream::Outcome;
use crate::stream::Purpose;
use crate::viewer::CloseReason;
use std::collections::BTreeMap;

pub(crate) struct Stats {
    pub(crate) viewers: u64,
    pub(crate) ingest_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) copied_bytes: u64,
    pub(crate) shared_bytes: u64,
    pub(crate) zerocopy_bytes: u64,
    pub(crate) paused_us: u64,
    pub(crate) skips: u64,
    pub(crate) closed: [u64; CloseReason::ALL.len()],
    pub(crate) stops: u64,
    pub(crate) sessions_over: BTreeMap<&'static str, u64>,
    pub(crate) starts_ok: u64,
    pub(crate) starts_failed: u64,
    /// Streams that began with what Redis had of them.
    pub(crate) primed: u64,
    pub(crate) failovers: BTreeMap<&'static str, u64>,
    pub(crate) rivals_failed: BTreeMap<&'static str, u64>,
    pub(crate) responses: BTreeMap<(&'static str, u16), u64>,
    pub(crate) submit_errors: u64,
    pub(crate) sync_losses_gone: u64,
    pub(crate) accepts_shed: u64,
    pub(crate) turn: Histogram<{ TURN_BOUNDS_US.len() }>,
    pub(crate) first_byte: Histogram<{ FIRST_BYTE_BOUNDS_US.len() }>,
    pub(crate) start: Histogram<{ START_BOUNDS_US.len() }>,
    pub(crate) latency: Histogram<{ LATENCY_BOUNDS_US.len() }>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            viewers: 0,
            ingest_bytes: 0,
            sent_bytes: 0,
            copied_bytes: 0,
            shared_bytes: 0,
            zerocopy_bytes: 0,
            paused_us: 0,
            skips: 0,
            closed: [0; CloseReason::ALL.len()],
            stops: 0,
            sessions_over: BTreeMap::new(),
            starts_ok: 0,
            starts_failed: 0,
            primed: 0,
            failovers: Failure::NAMES.map(|reason| (reason, 0)).into(),
            rivals_failed: Purpose::ALL.map(|purpose| (purpose.as_str(), 0)).into(),
            responses: BTreeMap::from([((PLAY_LABEL, 200), 0)]),
            submit_errors: 0,
            sync_losses_gone: 0,
            accepts_shed: 0,
            turn: Histogram::new(TURN_BOUNDS_US),
            first_byte: Histogram::new(FIRST_BYTE_BOUNDS_US),
            start: Histogram::new(START_BOUNDS_US),
            latency: Histogram::new(LATENCY_BOUNDS_US),
        }
    }
}

impl Stats {
    /// Bytes that a socket accepted, and which way they had come.
    pub(crate) fn sent(&mut self, way: Path, n: usize) {
        let n = n as u64;
        self.sent_bytes += n;
        match way {
            Path::Copy => self.copied_bytes += n,
            Path::Shared => self.shared_bytes += n,
            Path::Probing | Path::ZeroCopy => self.zerocopy_bytes += n,
        }
    }

    pub(crate) fn respond(&mut self, route: &'static str, code: u16) {
        *self.responses.entry((route, code)).or_default() += 1;
    }

    pub(crate) fn session_over(&mut self, outcome: Outcome) {
        *self.sessions_over.entry(outcome.as_str()).or_default() += 1;
    }

    pub(crate) fn failover(&mut self, reason: &'static str) {
        debug_assert!(self.failovers.contains_key(reason), "{reason} is in the list of labels");
        *self.failovers.entry(reason).or_default() += 1;
    }
}

/// A shard's numbers at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ShardMetrics {
    pub(crate) shard: ShardId,
    pub(crate) send_path: &'static str,
    pub(crate) viewers: u64,
    pub(crate) viewer_bytes: u64,
    pub(crate) streams_by_state: BTreeMap<&'static str, u64>,
    /// Playback sessions open, by engine's name; known to the pool alone.
    pub(crate) engines: Vec<EngineMetrics>,
    pub(crate) ingest_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) copied_bytes: u64,
    pub(crate) shared_bytes: u64,
    pub(crate) zerocopy_bytes: u64,
    /// Sends that were asked of the kernel, whatever it took.
    pub(crate) sends: u64,
    pub(crate) paused_us: u64,
    pub(crate) skips: u64,
    pub(crate) sync_losses: u64,
    pub(crate) primed: u64,
    pub(crate) closed: BTreeMap<&'static str, u64>,
    pub(crate) starts: BTreeMap<&'static str, u64>,
    pub(crate) failovers: BTreeMap<&'static str, u64>,
    pub(crate) rivals_failed: BTreeMap<&'static str, u64>,
    pub(crate) responses: BTreeMap<(&'static str, u16), u64>,
    pub(crate) ring_bytes: u64,
    pub(crate) turn: HistogramSnapshot,
    pub(crate) first_byte: HistogramSnapshot,
    pub(crate) start: HistogramSnapshot,
    pub(crate) latency: HistogramSnapshot,
}

#[derive(Clone, Debug)]
pub(crate) struct EngineMetrics {
    pub(crate) name: String,
    pub(crate) up: bool,
    pub(crate) sessions: u64,
}
