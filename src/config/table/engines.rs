//! Rows: the AceStream engines.

use super::Group::Engines;
use super::Key;
use super::Row;
use crate::config::kind::Kind;

pub(super) const ROWS: &[Row] = &[
    Row::new(
        Key::Engines,
        Engines,
        ("RINGCAST_ENGINES", "engine"),
        Kind::Engines,
        "127.0.0.1:6878",
        "AceStream engines: a host, dns:NAME:PORT, orchestrator:URL or file:PATH",
    )
    .reload()
    .essential(),
    Row::new(
        Key::MaxStreamsPerEngine,
        Engines,
        ("RINGCAST_MAX_STREAMS_PER_ENGINE", "max-streams-per-engine"),
        Kind::Count { min: 0, max: 10_000, word: None },
        "0",
        "Sessions that one engine may have, where its SPEC has no max=; 0 is no limit",
    )
    .reload(),
    Row::new(
        Key::HedgeAfter,
        Engines,
        ("RINGCAST_HEDGE_AFTER", "hedge-after"),
        Kind::Duration { min_ms: 1_000, max_ms: 60_000, word: Some("off") },
        "off",
        "Start a second engine for a stream that its first one has opened, and shows no picture of \
         by then",
    ),
];
