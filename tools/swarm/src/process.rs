//! What a process has used, from /proc: every thread's time on and waiting for a CPU, memory,
//! context switches; and what the hypervisor took from all.
//!
//! A thread that ended between two samples takes its last time with it: it is counted as lost.

use std::collections::BTreeMap;
use std::fs;

const NS: f64 = 1e9;

/// A process at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    threads: BTreeMap<u32, Thread>,
    pub(crate) rss_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    run_ns: u64,
    wait_ns: u64,
    voluntary: u64,
    involuntary: u64,
}

/// What lies between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spent {
    pub(crate) run_s: f64,
    pub(crate) wait_s: f64,
    pub(crate) voluntary: u64,
    pub(crate) involuntary: u64,
    /// At the end.
    pub(crate) threads: u64,
    pub(crate) threads_lost: u64,
}

pub(crate) fn sample(pid: u32) -> Result<Sample, String> {
    let gone = |error: std::io::Error| format!("the server's process {pid}: {error}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(gone)?;
    let rss_kib = field(&status, "VmRSS:").unwrap_or(0);
    let mut found = Sample { threads: BTreeMap::new(), rss_bytes: rss_kib << 10 };
    for entry in fs::read_dir(format!("/proc/{pid}/task")).map_err(gone)?.flatten() {
        let Some(tid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A thread may end between the listing and the reading.
        let schedstat = fs::read_to_string(entry.path().join("schedstat"));
        let status = fs::read_to_string(entry.path().join("status"));
        if let (Ok(schedstat), Ok(status)) = (schedstat, status) {
            found.threads.insert(tid, thread(&schedstat, &status));
        }
    }
    if found.threads.is_empty() {
        return Err(format!("the server's process {pid}: no thread with a schedstat"));
    }
    Ok(found)
}

fn thread(schedstat: &str, status: &str) -> Thread {
    let mut numbers = schedstat.split_whitespace().map(|word| word.parse().unwrap_or(0));
    Thread {
        run_ns: numbers.next().unwrap_or(0),
        wait_ns: numbers.next().unwrap_or(0),
        voluntary: field(status, "voluntary_ctxt_switches:").unwrap_or(0),
        involuntary: field(status, "nonvoluntary_ctxt_switches:").unwrap_or(0),
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Sample {
    pub(crate) fn until(&self, end: &Sample) -> Spent {
        let mut spent = Spent { threads: end.threads.len() as u64, ..Spent::default() };
        let (mut run_ns, mut wait_ns) = (0, 0);
        for (tid, now) in &end.threads {
            let then = self.threads.get(tid).copied().unwrap_or_default();
            run_ns += now.run_ns.saturating_sub(then.run_ns);
            wait_ns += now.wait_ns.saturating_sub(then.wait_ns);
            spent.voluntary += now.voluntary.saturating_sub(then.voluntary);
            spent.involuntary += now.involuntary.saturating_sub(then.involuntary);
        }
        spent.run_s = run_ns as f64 / NS;
        spent.wait_s = wait_ns as f64 / NS;
        let lost = self.threads.keys().filter(|tid| !end.threads.contains_key(tid));
        spent.threads_lost = lost.count() as u64;
        spent
    }
}

/// The time of all CPUs, in ticks: stolen and altogether.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Host {
    stolen: u64,
    all: u64,
}

impl Host {
    pub(crate) fn sample() -> Host {
        Host::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// user nice system idle iowait irq softirq steal; guest time is in user already.
    fn parse(stat: &str) -> Host {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
        let ticks = line.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let ticks: Vec<u64> = ticks.take(8).collect();
        Host { stolen: ticks.get(7).copied().unwrap_or(0), all: ticks.iter().sum() }
    }

    /// `None` where nothing was counted in between.
    pub(crate) fn steal_percent_until(self, end: Host) -> Option<f64> {
        let all = end.all.checked_sub(self.all).filter(|all| *all > 0)?;
        Some(100.0 * end.stolen.saturating_sub(self.stolen) as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_added_up_and_lost_ones_counted() {
        let status = "voluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n";
        let early = thread("1000000000 500000000 10", status);
        let late = thread("4000000000 500000000 20", status);
        let start = Sample { threads: [(1, early), (2, early)].into(), rss_bytes: 0 };
        let end = Sample { threads: [(1, late), (3, early)].into(), rss_bytes: 0 };
        let spent = start.until(&end);
        assert_eq!((spent.run_s, spent.wait_s), (4.0, 0.5));
        assert_eq!((spent.voluntary, spent.involuntary), (7, 2));
        assert_eq!((spent.threads, spent.threads_lost), (2, 1));
    }

    #[test]
    fn this_process_can_be_sampled_and_none_cannot() {
        let now = sample(std::process::id()).unwrap();
        assert!(now.rss_bytes > 0 && !now.threads.is_empty());
        assert!(sample(u32::MAX).unwrap_err().contains("the server's process"));
    }

    #[test]
    fn steal_is_a_share_of_everything() {
        let start = Host::parse("cpu  10 0 0 90 0 0 0 0 0 0\ncpu0 1 1\n");
        let end = Host::parse("cpu  20 0 0 170 0 0 0 10 0 0\n");
        assert_eq!(start.steal_percent_until(end), Some(10.0));
        assert_eq!(start.steal_percent_until(start), None);
    }
}
