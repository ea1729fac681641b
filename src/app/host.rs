//! The host's features as the facts that defaults depend on.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;

use crate::config::Facts;
use crate::net::host::Features;
use crate::net::host::OPEN_FILES_MAX;

pub fn facts(features: &Features, environment: &[(OsString, OsString)]) -> Facts {
    let journal = environment.iter().find(|(name, _)| name == "JOURNAL_STREAM");
    Facts {
        ram_bytes: features.memory_bytes,
        cgroup_memory_bytes: features.cgroup_memory_bytes,
        // A boot raises soft to hard.
        nofile: features.files.hard.min(OPEN_FILES_MAX),
        cores: features.cpus.len().max(1),
        cpu_quota: features.cgroup_cpus,
        journal: journal.is_some_and(|(_, value)| value.to_str() == stderr_place().as_deref()),
    }
}

/// `device:inode` of stderr, the form of `JOURNAL_STREAM`.
fn stderr_place() -> Option<String> {
    let place = std::fs::metadata("/proc/self/fd/2").ok()?;
    Some(format!("{}:{}", place.dev(), place.ino()))
}
