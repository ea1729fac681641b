//! Rows: how long a stream is kept, waited for and given up.

use super::Group::Streams;
use super::Key;
use super::Row;
use crate::config::kind::Kind;

const HOUR_MS: u64 = 3_600_000;

const fn time(min_ms: u64, max_ms: u64) -> Kind {
    Kind::Duration { min_ms, max_ms, word: None }
}

pub(super) const ROWS: &[Row] = &[
    Row::new(
        Key::BufferTtl,
        Streams,
        ("PROXY_BUFFER_TTL", "proxy-buffer-ttl"),
        time(1_000, HOUR_MS),
        "60",
        "Seconds of stream kept at most, in memory (RINGCAST_MEMORY may keep less) and as \
         snapshots in Redis",
    )
    .essential(),
    Row::new(
        Key::InitTimeout,
        Streams,
        ("PROXY_INIT_TIMEOUT", "proxy-init-timeout"),
        time(100, 600_000),
        "30",
        "How long a viewer waits for the first picture before 504",
    )
    .essential(),
    Row::new(
        Key::GracePeriod,
        Streams,
        ("PROXY_GRACE_PERIOD", "proxy-grace-period"),
        time(0, HOUR_MS),
        "5",
        "How long a stream outlives its last viewer; one who returns within it continues",
    )
    .essential(),
    Row::new(
        Key::CleanupInterval,
        Streams,
        ("PROXY_CLEANUP_INTERVAL", "proxy-cleanup-interval"),
        time(1_000, 24 * HOUR_MS),
        "60",
        "How often orphaned Redis keys are swept",
    ),
    Row::new(
        Key::StartTimeout,
        Streams,
        ("RINGCAST_START_TIMEOUT", "start-timeout"),
        time(100, 600_000),
        "60s",
        "How long a start goes on without a byte while its engine shows peers or growth",
    ),
    Row::new(
        Key::OutageTimeout,
        Streams,
        ("RINGCAST_OUTAGE_TIMEOUT", "outage-timeout"),
        time(0, HOUR_MS),
        "90s",
        "How long viewers are kept on null packets while no engine takes the stream",
    ),
    Row::new(
        Key::StallTimeout,
        Streams,
        ("RINGCAST_STALL_TIMEOUT", "stall-timeout"),
        time(100, 600_000),
        "20s",
        "Silence of an engine after which the stream moves to another",
    ),
    Row::new(
        Key::MaxStreams,
        Streams,
        ("RINGCAST_MAX_STREAMS", "max-streams"),
        Kind::Count { min: 0, max: 100_000, word: None },
        "0",
        "Streams at once; 0 is no limit of its own",
    )
    .reload(),
];
