//! Rows: what is said, and how.

use super::Group::Logging;
use super::Key;
use super::Row;
use crate::config::kind::Kind;

pub(super) const ROWS: &[Row] = &[
    Row::new(
        Key::Log,
        Logging,
        ("RINGCAST_LOG", "log"),
        Kind::Choice(&["text", "json", "journald"]),
        "text",
        "Form of the log lines on stderr",
    )
    .means("journald when stderr is the journal"),
    Row::new(
        Key::LogLevel,
        Logging,
        ("RINGCAST_LOG_LEVEL", "log-level"),
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        "info",
        "The least important lines that are still written",
    ),
    Row::new(
        Key::LogAddresses,
        Logging,
        ("RINGCAST_LOG_ADDRESSES", "log-addresses"),
        Kind::Choice(&["full", "masked", "off"]),
        "full",
        "Viewers' addresses in logs, API and Redis: they are personal data",
    ),
];
