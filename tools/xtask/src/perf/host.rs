//! What the numbers were measured on, as far as it changes them.
//!
//! Reads `/proc` and `/sys` and asks git and rustc. Changes nothing: `perf/host.md` says what is
//! worth changing.

use crate::cargo::root;
use serde::Deserialize;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::process::Stdio;

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// Under a hypervisor; its name is not always told.
    pub(crate) virtual_machine: bool,
    pub(crate) governor: String,
    pub(crate) memory_bytes: u64,
    pub(crate) page_bytes: u64,
    pub(crate) huge_pages: String,
    pub(crate) rustc: String,
    pub(crate) open_files: String,
    pub(crate) locked_memory: String,
    /// As of /sys/devices/system/cpu/vulnerabilities, those that cost something.
    pub(crate) mitigations: BTreeMap<String, String>,
    pub(crate) sysctls: BTreeMap<String, String>,
}

const SYSCTLS: &[&str] = &[
    "kernel.io_uring_disabled",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "vm.overcommit_memory",
];

pub(crate) fn host() -> Host {
    let cpuinfo = read("/proc/cpuinfo");
    let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    Host {
        name: name(),
        kernel: read("/proc/sys/kernel/osrelease"),
        cpu: after_colon(&cpuinfo, "model name"),
        cores: cores(),
        virtual_machine: after_colon(&cpuinfo, "flags").split(' ').any(|flag| flag == "hypervisor"),
        governor: if governor.is_empty() { "not told".to_owned() } else { governor },
        memory_bytes: kib(&after_colon(&read("/proc/meminfo"), "MemTotal")),
        page_bytes: said("getconf", &["PAGESIZE"]).parse().unwrap_or(0),
        huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled"),
        rustc: said("rustc", &["--version"]),
        open_files: limit("Max open files"),
        locked_memory: limit("Max locked memory"),
        mitigations: mitigations(),
        sysctls: SYSCTLS
            .iter()
            .map(|name| {
                ((*name).to_owned(), read(&format!("/proc/sys/{}", name.replace('.', "/"))))
            })
            .filter(|(_, value)| !value.is_empty())
            .collect(),
    }
}

impl Host {
    /// The lines under a table.
    pub(crate) fn lines(&self) -> Vec<String> {
        let gib = self.memory_bytes as f64 / 1_073_741_824.0;
        let machine = if self.virtual_machine { "a virtual machine" } else { "no hypervisor" };
        let on = |state: &&String| state.starts_with("Mitigation") || state.starts_with("Vulner");
        let count = self.mitigations.values().filter(on).count();
        let known = |name: &str| self.sysctls.get(name).map_or("not told", String::as_str);
        vec![
            format!("{}: {} cores of {}, {gib:.0} GiB, {machine}", self.name, self.cores, self.cpu),
            format!("Linux {}, {}, governor {}", self.kernel, self.rustc, self.governor),
            format!(
                "tcp_wmem {}, tcp_rmem {}, {}, open files {}, locked memory {}",
                known("net.ipv4.tcp_wmem"),
                known("net.ipv4.tcp_rmem"),
                known("net.ipv4.tcp_congestion_control"),
                self.open_files,
                self.locked_memory
            ),
            format!("{count} CPU vulnerabilities apply to it (each with its state in the JSON)"),
        ]
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Busy for anything else than us, as far as the last minute tells.
pub(crate) fn load_average() -> f64 {
    read("/proc/loadavg").split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// `2026-07-01T12:00:00Z`
pub(crate) fn now_utc() -> String {
    said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])
}

/// The commit, with a `+` when files differ from it; results of a run do not count.
pub(crate) fn commit() -> String {
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"]);
    let clean = said("git", &["status", "--porcelain", "--", ".", ":!perf/results"]).is_empty();
    if clean { commit } else { format!("{commit}+") }
}

fn name() -> String {
    let name = read("/proc/sys/kernel/hostname").to_lowercase();
    let plain =
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' });
    let plain: String = plain.collect();
    if plain.is_empty() { "host".to_owned() } else { plain }
}

fn mitigations() -> BTreeMap<String, String> {
    let folder = fs::read_dir("/sys/devices/system/cpu/vulnerabilities");
    let mut found = BTreeMap::new();
    for entry in folder.into_iter().flatten().flatten() {
        let state = fs::read_to_string(entry.path()).unwrap_or_default().trim().to_owned();
        if state != "Not affected" {
            found.insert(entry.file_name().to_string_lossy().into_owned(), state);
        }
    }
    found
}

/// Soft and hard.
fn limit(name: &str) -> String {
    let limits = read("/proc/self/limits");
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
    line.split_whitespace().take(2).collect::<Vec<_>>().join("/")
}

fn after_colon(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or("");
    line.split_once(':').map_or("", |(_, value)| value.trim()).to_owned()
}

fn kib(text: &str) -> u64 {
    text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().replace('\t', " ")
}

/// What a program says, or nothing.
fn said(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    let out = command.args(args).current_dir(root()).stderr(Stdio::null()).output();
    out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linux_host_is_described() {
        let host = host();
        assert!(!host.kernel.is_empty() && !host.name.is_empty());
        assert!(host.memory_bytes > 1 << 20 && host.cores >= 1);
        assert!(host.open_files.contains('/'), "{}", host.open_files);
        assert_eq!(host.lines().len(), 4);
    }

    #[test]
    fn values_stand_behind_colons() {
        assert_eq!(after_colon("MemTotal:   8192 kB\nx: y", "MemTotal"), "8192 kB");
        assert_eq!(kib("8192 kB"), 8_388_608);
        assert_eq!(after_colon("", "MemTotal"), "");
    }
}
