//! `/metrics`: the Prometheus text of a plain snapshot.
//!
//! The prefix is `ringcast_`, units are base units, counters end in `_total`, no label ever names
//! a viewer, and labels of streams are capped. What cannot be measured is left out; what is
//! merely zero says 0, so that a graph begins before the first event.

mod page;

use page::Page;
use page::counts;
use page::one;

use crate::base::counters::HistogramSnapshot;

pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Streams that get labels of their own, most viewers first.
pub const STREAM_LABELS_MAX: usize = 100;

/// Ring commit to socket accept: microseconds on a quiet host, a coalescing tick (100 ms) when
/// viewers are paced, seconds when they cannot keep up.
pub const LATENCY_BOUNDS_US: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000,
];

/// A shard's turn: longer than a few milliseconds is felt by every viewer of the shard.
pub const TURN_BOUNDS_US: [u64; 13] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000];

/// A cold start, from the first request to the first packet: an engine needs 10 to 25 s.
pub const START_BOUNDS_US: [u64; 14] = [
    250_000,
    500_000,
    1_000_000,
    2_000_000,
    3_000_000,
    5_000_000,
    8_000_000,
    12_000_000,
    20_000_000,
    30_000_000,
    45_000_000,
    60_000_000,
    90_000_000,
    120_000_000,
];

/// From a viewer's request to its first byte: a warm join is milliseconds.
pub const FIRST_BYTE_BOUNDS_US: [u64; 15] = [
    1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_000_000,
    5_000_000, 10_000_000, 20_000_000, 30_000_000, 60_000_000,
];

/// Everything at one moment, shards merged.
#[derive(Clone, Debug, Default)]
pub struct MetricsSnapshot {
    pub version: String,
    /// `uring` or `epoll`.
    pub driver: String,
    pub uptime_seconds: f64,
    pub viewers: u64,
    /// Streams in each state, all states.
    pub streams: Vec<(&'static str, u64)>,
    /// Whose broadcast stands still.
    pub streams_frozen: u64,
    pub engines: Vec<EngineMetrics>,
    pub ingest_bytes: u64,
    pub ingest_paused_us: u64,
    pub sent_bytes: u64,
    /// Route, status code, responses.
    pub http_responses: Vec<(&'static str, u16, u64)>,
    pub stream_starts: Vec<(&'static str, u64)>,
    pub start: HistogramSnapshot,
    pub first_byte: HistogramSnapshot,
    pub delivery_latency: HistogramSnapshot,
    pub viewer_skips: u64,
    pub viewer_closed: Vec<(&'static str, u64)>,
    pub failovers: Vec<(&'static str, u64)>,
    pub rivals_failed: Vec<(&'static str, u64)>,
    pub ts_sync_losses: u64,
    pub redis_up: bool,
    pub redis_lag_ms: u64,
    pub redis_dropped: u64,
    pub redis_snapshot_bytes: u64,
    pub redis_snapshot_alive_bytes: u64,
    pub redis_snapshot_left_out: u64,
    pub streams_primed: u64,
    pub journal_missed: u64,
    /// One for each shard, in order.
    pub shard_turns: Vec<HistogramSnapshot>,
    pub send_copied_bytes: u64,
    pub send_shared_bytes: u64,
    pub send_zerocopy_bytes: u64,
    /// Sends of stream bytes, whatever the sockets took of them.
    pub sends: u64,
    /// Kind, bytes: budget, ring, twin, viewer, resident.
    pub memory: Vec<(&'static str, u64)>,
    pub open_files: u64,
    /// All streams; the cap is taken here.
    pub per_stream: Vec<StreamMetrics>,
}

#[derive(Clone, Debug, Default)]
pub struct EngineMetrics {
    pub engine: String,
    pub up: bool,
    pub sessions: u64,
}

#[derive(Clone, Debug, Default)]
pub struct StreamMetrics {
    /// The infohash.
    pub stream: String,
    pub viewers: u64,
    pub ingest_bytes: u64,
}

pub fn render(snapshot: &MetricsSnapshot) -> String {
    let mut page = Page::default();
    general(&mut page, snapshot);
    engines(&mut page, snapshot);
    streams(&mut page, snapshot);
    viewers(&mut page, snapshot);
    sends(&mut page, snapshot);
    page.text()
}

fn general(page: &mut Page, snapshot: &MetricsSnapshot) {
    let build = vec![("version", snapshot.version.clone()), ("driver", snapshot.driver.clone())];
    page.gauge("build_info", "The running version and its egress driver.", vec![(build, 1.0)]);
    page.gauge("uptime_seconds", "Seconds since the start.", one(snapshot.uptime_seconds));
    page.gauge("open_files", "Open file descriptors.", one(snapshot.open_files as f64));
    page.gauge("memory_bytes", "Memory by what it is for.", counts("kind", &snapshot.memory));
    page.gauge(
        "redis_up",
        "1 when the Redis mirror answers, 0 when it does not or is off.",
        one(f64::from(u8::from(snapshot.redis_up))),
    );
    page.gauge(
        "redis_lag_seconds",
        "How long the oldest record of the Redis mirror has been waiting to be written.",
        one(snapshot.redis_lag_ms as f64 / 1e3),
    );
    page.counter(
        "redis_dropped_total",
        "Records that the Redis mirror dropped because its outbox was full.",
        one(snapshot.redis_dropped as f64),
    );
    page.counter(
        "redis_snapshot_bytes_total",
        "Bytes of streams that were copied out for Redis.",
        one(snapshot.redis_snapshot_bytes as f64),
    );
    page.gauge(
        "redis_snapshot_bytes",
        "Bytes of snapshots that Redis has of this node.",
        one(snapshot.redis_snapshot_alive_bytes as f64),
    );
    page.gauge(
        "redis_snapshot_streams_left_out",
        "Streams without snapshots, because the rate or the memory for them is used up.",
        one(snapshot.redis_snapshot_left_out as f64),
    );
    page.counter(
        "streams_primed_total",
        "Streams that began with what Redis had of them.",
        one(snapshot.streams_primed as f64),
    );
    page.counter(
        "journal_missed_total",
        "Notes that the journal of engine sessions did not write, or not in time.",
        one(snapshot.journal_missed as f64),
    );
    let turns = snapshot.shard_turns.iter().enumerate();
    page.histogram(
        "shard_turn_seconds",
        "Duration of a shard's turn.",
        &TURN_BOUNDS_US,
        turns.map(|(shard, turn)| (vec![("shard", shard.to_string())], turn)),
    );
    let responses = snapshot.http_responses.iter();
    page.counter(
        "http_responses_total",
        "Responses by route and status code.",
        responses
            .map(|(route, code, count)| {
                (vec![("route", (*route).to_owned()), ("code", code.to_string())], *count as f64)
            })
            .collect(),
    );
}

fn engines(page: &mut Page, snapshot: &MetricsSnapshot) {
    let of = |value: fn(&EngineMetrics) -> f64| {
        let engines = snapshot.engines.iter();
        engines.map(|engine| (vec![("engine", engine.engine.clone())], value(engine))).collect()
    };
    page.gauge(
        "engine_up",
        "1 when the engine answered its last probe.",
        of(|engine| f64::from(u8::from(engine.up))),
    );
    page.gauge(
        "engine_sessions",
        "Playback sessions open on the engine.",
        of(|engine| engine.sessions as f64),
    );
}

fn streams(page: &mut Page, snapshot: &MetricsSnapshot) {
    page.gauge("streams", "Streams by state.", counts("state", &snapshot.streams));
    page.gauge(
        "streams_frozen",
        "Streams whose broadcast stands still, or is a recording, while bytes flow.",
        one(snapshot.streams_frozen as f64),
    );
    page.counter(
        "stream_starts_total",
        "Starts of streams by result.",
        counts("result", &snapshot.stream_starts),
    );
    page.histogram(
        "start_seconds",
        "Cold start: from the first request to the first packet.",
        &START_BOUNDS_US,
        [(Vec::new(), &snapshot.start)],
    );
    page.counter(
        "failovers_total",
        "Changes of a running stream's session by reason.",
        counts("reason", &snapshot.failovers),
    );
    page.counter(
        "rivals_failed_total",
        "Second sessions that came to nothing, by what they were for.",
        counts("purpose", &snapshot.rivals_failed),
    );
    page.counter(
        "ingest_bytes_total",
        "Bytes of stream taken from engines.",
        one(snapshot.ingest_bytes as f64),
    );
    page.counter(
        "ingest_paused_seconds_total",
        "Time in which streams did not read their engine: no room, or far ahead.",
        one(snapshot.ingest_paused_us as f64 / 1e6),
    );
    page.counter(
        "ts_sync_losses_total",
        "Times that packet alignment was lost in what an engine sent.",
        one(snapshot.ts_sync_losses as f64),
    );
    let mut ranked: Vec<&StreamMetrics> = snapshot.per_stream.iter().collect();
    ranked.sort_by(|a, b| b.viewers.cmp(&a.viewers).then_with(|| a.stream.cmp(&b.stream)));
    ranked.truncate(STREAM_LABELS_MAX);
    let of = |value: fn(&StreamMetrics) -> u64| {
        let streams = ranked.iter();
        streams
            .map(|stream| (vec![("stream", stream.stream.clone())], value(stream) as f64))
            .collect()
    };
    page.gauge(
        "stream_viewers",
        "Viewers of a stream, for the hundred streams with the most.",
        of(|stream| stream.viewers),
    );
    page.counter(
        "stream_ingest_bytes_total",
        "Bytes of one stream taken from engines, for the same streams.",
        of(|stream| stream.ingest_bytes),
    );
}

fn viewers(page: &mut Page, snapshot: &MetricsSnapshot) {
    page.gauge("viewers", "Viewers connected.", one(snapshot.viewers as f64));
    page.histogram(
        "first_byte_seconds",
        "From a viewer's request to its first byte.",
        &FIRST_BYTE_BOUNDS_US,
        [(Vec::new(), &snapshot.first_byte)],
    );
    page.histogram(
        "delivery_latency_seconds",
        "From the commit to the ring to the beginning of the turn in which the socket took it.",
        &LATENCY_BOUNDS_US,
        [(Vec::new(), &snapshot.delivery_latency)],
    );
    page.counter(
        "viewer_skips_total",
        "Declared skips of viewers too slow for the ring.",
        one(snapshot.viewer_skips as f64),
    );
    page.counter(
        "viewer_closed_total",
        "Viewers that ended, by reason.",
        counts("reason", &snapshot.viewer_closed),
    );
}

fn sends(page: &mut Page, snapshot: &MetricsSnapshot) {
    page.counter(
        "sent_bytes_total",
        "Bytes that viewers' sockets took.",
        one(snapshot.sent_bytes as f64),
    );
    page.counter(
        "sends_total",
        "Sends of stream bytes to viewers' sockets.",
        one(snapshot.sends as f64),
    );
    page.counter(
        "send_copied_bytes_total",
        "Bytes sent by copying.",
        one(snapshot.send_copied_bytes as f64),
    );
    page.counter(
        "send_shared_bytes_total",
        "Bytes sent from shared pages (sendfile).",
        one(snapshot.send_shared_bytes as f64),
    );
    page.counter(
        "send_zerocopy_bytes_total",
        "Bytes sent without a copy (SEND_ZC).",
        one(snapshot.send_zerocopy_bytes as f64),
    );
}
