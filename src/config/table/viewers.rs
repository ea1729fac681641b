//! Rows: what a viewer gets, and how many there may be.

use super::Group::Viewers;
use super::Key;
use super::Row;
use crate::config::kind::Kind;

const fn limit(word: Option<&'static str>) -> Kind {
    Kind::Count { min: 0, max: 1_048_576, word }
}

pub(super) const ROWS: &[Row] = &[
    Row::new(
        Key::JoinSeconds,
        Viewers,
        ("RINGCAST_JOIN_SECONDS", "join-seconds"),
        Kind::Duration { min_ms: 0, max_ms: 3_600_000, word: Some("auto") },
        "auto",
        "How far behind live a viewer starts: more starts faster and bridges longer gaps",
    )
    .means("3 s, or twice the longest gap between engine reads"),
    Row::new(
        Key::CatchupRate,
        Viewers,
        ("RINGCAST_CATCHUP_RATE", "catchup-rate"),
        Kind::Factor { min: 1.1, max: 1_000.0, word: Some("off") },
        "4",
        "How many times the stream's bitrate a viewer behind live may get",
    ),
    Row::new(
        Key::SlowViewer,
        Viewers,
        ("RINGCAST_SLOW_VIEWER", "slow-viewer"),
        Kind::Choice(&["skip", "close"]),
        "skip",
        "What happens to a viewer too slow for the buffer: a declared skip, or the end",
    ),
    Row::new(
        Key::SendStallTimeout,
        Viewers,
        ("RINGCAST_SEND_STALL_TIMEOUT", "send-stall-timeout"),
        Kind::Duration { min_ms: 100, max_ms: 600_000, word: None },
        "20s",
        "How long a viewer may acknowledge nothing that waits for it before it is closed",
    ),
    Row::new(
        Key::Send,
        Viewers,
        ("RINGCAST_SEND", "send"),
        Kind::Choice(&["auto", "copy", "shared", "zerocopy"]),
        "auto",
        "How bytes go out: copied, from shared pages (sendfile), or by zero-copy sends",
    ),
    Row::new(
        Key::MaxViewers,
        Viewers,
        ("RINGCAST_MAX_VIEWERS", "max-viewers"),
        limit(Some("auto")),
        "auto",
        "Viewers at once; 0 is no limit of its own",
    )
    .means("the open-files limit less 256 and 4 for each engine")
    .reload()
    .essential(),
    Row::new(
        Key::MaxViewersPerIp,
        Viewers,
        ("RINGCAST_MAX_VIEWERS_PER_IP", "max-viewers-per-ip"),
        limit(None),
        "0",
        "Viewers of one address at once; 0 is no limit (behind NAT everybody is one address)",
    )
    .reload(),
    Row::new(
        Key::MaxStartsPerIp,
        Viewers,
        ("RINGCAST_MAX_STARTS_PER_IP", "max-starts-per-ip"),
        limit(Some("auto")),
        "auto",
        "Cold starts in flight for one address (IPv6: for one /64); 0 is no limit",
    )
    .means("8 when RINGCAST_ALLOW is any, else 0")
    .reload(),
];
