//! What settings with the default `auto` are computed from. Plain values: whoever loads the
//! settings has looked at the host; nothing here does.

use crate::base::sizes::GIB;
use crate::base::sizes::MIB;
use crate::base::sizes::SHARDS_MAX;

/// Ring memory that `auto` never goes below or above.
pub const MEMORY_BYTES_MIN: u64 = 32 * MIB;
pub const MEMORY_AUTO_BYTES_MAX: u64 = 4 * GIB;

/// Open files that are not viewers: listeners, rings, log, journal, Redis, the API.
const FILES_RESERVED: u64 = 256;
/// Each engine may have a session, its stat poll, a probe and a stop under way at once.
const FILES_PER_ENGINE: u64 = 4;

/// This host, as far as defaults depend on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Facts {
    pub ram_bytes: u64,
    /// The smallest memory limit of the cgroups above us, when there is one.
    pub cgroup_memory_bytes: Option<u64>,
    /// The open-files limit after raising soft to hard.
    pub nofile: u64,
    /// Cores in the affinity mask.
    pub cores: usize,
    /// The cgroup CPU quota in cores, when there is one.
    pub cpu_quota: Option<f64>,
    /// `JOURNAL_STREAM` names our own stderr.
    pub journal: bool,
}

impl Default for Facts {
    /// A modest host, so that tests do not depend on theirs.
    fn default() -> Self {
        Self {
            ram_bytes: 8 * GIB,
            cgroup_memory_bytes: None,
            nofile: 65_536,
            cores: 4,
            cpu_quota: None,
            journal: false,
        }
    }
}

impl Facts {
    /// A quarter of min(RAM, cgroup limit), at most 4 GiB, at least 32 MiB, in whole MiB.
    pub fn memory_auto_bytes(&self) -> u64 {
        let usable = self.ram_bytes.min(self.cgroup_memory_bytes.unwrap_or(u64::MAX));
        let quarter = (usable / 4).clamp(MEMORY_BYTES_MIN, MEMORY_AUTO_BYTES_MAX);
        quarter / MIB * MIB
    }

    /// One shard for each core that we may use; a quota of 1.5 cores keeps two shards busy.
    pub fn shards_auto(&self) -> usize {
        let quota = self.cpu_quota.map_or(usize::MAX, |cores| cores.ceil().max(1.0) as usize);
        self.cores.min(quota).clamp(1, SHARDS_MAX)
    }

    /// Pinning helps only when each core of the mask has its shard and no quota moves them.
    pub fn pin_auto(&self, shards: usize) -> bool {
        self.cpu_quota.is_none() && shards == self.cores
    }

    /// As many viewers as open files are left over.
    pub fn viewers_auto(&self, engines: usize) -> u32 {
        let reserved = FILES_RESERVED + FILES_PER_ENGINE * engines as u64;
        u32::try_from(self.nofile.saturating_sub(reserved)).unwrap_or(u32::MAX).max(1)
    }
}
