//! How much memory and CPU there is: of the machine, and of our control group.
//!
//! A limit counts when any group between ours and the root sets it; the least one wins. Both
//! versions of control groups are read, because containers still run on either.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// What version 1 says for "no limit" is this or more.
const V1_UNLIMITED_BYTES: u64 = 1 << 62;

pub(super) fn memory_bytes() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

pub(super) fn cgroup_memory_bytes() -> Option<u64> {
    let v2 = groups("", "/sys/fs/cgroup").into_iter().map(|group| group.join("memory.max"));
    let v1 = groups("memory", "/sys/fs/cgroup/memory")
        .into_iter()
        .map(|group| group.join("memory.limit_in_bytes"));
    v2.chain(v1).filter_map(read_u64).filter(|bytes| *bytes < V1_UNLIMITED_BYTES).min()
}

pub(super) fn cgroup_cpus() -> Option<f64> {
    let v2 = groups("", "/sys/fs/cgroup")
        .into_iter()
        .filter_map(|group| quota(&fs::read_to_string(group.join("cpu.max")).ok()?));
    let v1 = groups("cpu", "/sys/fs/cgroup/cpu").into_iter().filter_map(|group| {
        let period = read_u64(group.join("cpu.cfs_period_us"))?;
        quota(&format!("{} {period}", read_u64(group.join("cpu.cfs_quota_us"))?))
    });
    v2.chain(v1).reduce(f64::min)
}

/// "200000 100000" is two cores, "max 100000" is no quota.
pub(super) fn quota(text: &str) -> Option<f64> {
    let (quota_us, period_us) = text.trim().split_once(' ')?;
    let (quota_us, period_us) = (quota_us.parse::<u64>().ok()?, period_us.parse::<u64>().ok()?);
    (quota_us > 0 && period_us > 0).then(|| quota_us as f64 / period_us as f64)
}

pub(super) fn read_u64(path: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Our group of a controller and all above it, as folders. In a container our own path may be
/// that of the host and not exist; then the root of what we see is our group.
fn groups(controller: &str, root: &str) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own_group(&text, controller).unwrap_or("/").trim_start_matches('/');
    let root = Path::new(root);
    let own = root.join(path);
    own.ancestors().take_while(|group| group.starts_with(root)).map(Path::to_path_buf).collect()
}

/// Lines are `number:controllers:path`; version 2 has no controllers.
pub(super) fn own_group<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let controllers = parts.nth(1)?;
        controllers.split(',').any(|name| name == controller).then(|| parts.next())?
    })
}
