//! Rows: what of this host is used.

use super::Group::Machine;
use super::Key;
use super::Row;
use crate::base::sizes::GIB;
use crate::base::sizes::SHARDS_MAX;
use crate::config::facts::MEMORY_BYTES_MIN;
use crate::config::kind::Kind;

pub(super) const ROWS: &[Row] = &[
    Row::new(
        Key::Shards,
        Machine,
        ("RINGCAST_SHARDS", "shards"),
        Kind::Count { min: 1, max: SHARDS_MAX as u64, word: Some("auto") },
        "auto",
        "Threads that serve, one for each core",
    )
    .means("the cores of the affinity mask and the CPU quota"),
    Row::new(
        Key::Pin,
        Machine,
        ("RINGCAST_PIN", "pin"),
        Kind::Choice(&["auto", "on", "off"]),
        "auto",
        "Pin each shard to its core",
    )
    .means("on when no CPU quota is set and the shards fill the mask"),
    Row::new(
        Key::Memory,
        Machine,
        ("RINGCAST_MEMORY", "memory"),
        Kind::Size { min: MEMORY_BYTES_MIN, max: 1_024 * GIB, word: Some("auto") },
        "auto",
        "Memory for the streams' last seconds",
    )
    .means("a quarter of RAM or of the cgroup's limit, 32 MiB to 4 GiB")
    .essential(),
    Row::new(
        Key::StateDir,
        Machine,
        ("RINGCAST_STATE_DIR", "state-dir"),
        Kind::Path,
        "",
        "Directory of the journal of open engine sessions, which a restart sweeps",
    )
    .means("$STATE_DIRECTORY, else $XDG_STATE_HOME/ringcast, else off"),
];
