//! The numbers of one run, by name: what tables show and targets are set on.
//!
//! Each is made once, here, from what the swarm and the probes reported. A figure that was not
//! measured is absent; it is never zero.

use std::collections::BTreeMap;

use crate::perf::swarm::SwarmReport;

pub(crate) type Figures = BTreeMap<String, f64>;

pub(crate) struct Figure {
    pub(crate) name: &'static str,
    /// Counts only when the run did: nothing lost, nothing late.
    pub(crate) cost: bool,
    pub(crate) stands: Stands,
    pub(crate) meaning: &'static str,
}

/// Which of several rounds a target is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    Median,
    /// One fault is a fault.
    Most,
    /// One viewer too few is one too few.
    Least,
}

pub(crate) const FIGURES: &[Figure] = &[
    cost("cpu_s_per_gb", "CPU seconds of all threads of the server per 10^9 bytes of body"),
    cost("cpu_percent", "of one core, all threads of the server"),
    plain(
        "cpu_wait_percent",
        "of the window in which the server could run and did not get its core",
    ),
    plain("engine_cpu_percent", "of one core, the engine"),
    plain("swarm_cpu_percent", "of one core, the swarm"),
    plain("gbit_per_s", "body bits received by all viewers"),
    plain("mean_send_bytes", "bytes per system call that sends"),
    plain("context_switches_per_s", "of the server, voluntary and not"),
    plain("delivery_p50_ms", "emission of a packet to its receipt"),
    plain("delivery_p99_ms", "emission of a packet to its receipt"),
    plain("gap_max_ms", "longest time between two receives of one checked viewer"),
    plain("first_byte_p99_ms", "GET to the first byte of the body"),
    plain("churn_first_byte_p99_ms", "the same of those who joined in the window, one by one"),
    plain("storm_first_byte_p99_ms", "the same of those who came in the storm"),
    plain("storm_first_byte_max_ms", "the same, the last one"),
    least("bytes_per_viewer_min", "body bytes in the window, of those who stayed for all of it"),
    plain("bytes_per_viewer_p50", "body bytes in the window"),
    plain("bytes_share", "of what the bit rate owes a viewer in the window, the median viewer"),
    least("bytes_share_min", "the same, the viewer that got least"),
    least("playing", "viewers that received at the window's end"),
    worst("refused", "viewers that got no body"),
    worst("closed_early", "viewers whose connection ended before they left"),
    worst("faults", "wrong and lost packets and undeclared gaps of the checked viewers"),
    worst("bad_starts", "checked viewers that began elsewhere than at PAT, PMT, random access"),
    worst("skips", "declared gaps of the checked viewers"),
    worst("server_skips", "skips that the server declared in the window, to any viewer"),
    worst("server_closed", "viewers that ended in the window, as the server counts them"),
    plain("rss_idle_mib", "resident memory before the first viewer"),
    plain("rss_end_mib", "resident memory at the window's end"),
    plain("rss_over_ring_mb", "resident memory less the rings, 10^6 bytes"),
    plain("viewer_memory_bytes", "user memory per viewer, as the server accounts it"),
    plain("capacity_viewers", "the most viewers with nothing lost or late"),
    plain("swarm_late_ms_max", "the swarm's own lateness: it had too little of its core"),
    plain("steal_percent", "time that the hypervisor gave to others"),
];

const fn plain(name: &'static str, meaning: &'static str) -> Figure {
    Figure { name, cost: false, stands: Stands::Median, meaning }
}

const fn cost(name: &'static str, meaning: &'static str) -> Figure {
    Figure { name, cost: true, stands: Stands::Median, meaning }
}

const fn worst(name: &'static str, meaning: &'static str) -> Figure {
    Figure { name, cost: false, stands: Stands::Most, meaning }
}

const fn least(name: &'static str, meaning: &'static str) -> Figure {
    Figure { name, cost: false, stands: Stands::Least, meaning }
}

pub(crate) fn find(name: &str) -> Option<&'static Figure> {
    FIGURES.iter().find(|figure| figure.name == name)
}

/// What one stream owes one viewer in the window.
pub(crate) fn bytes_owed(bitrate_bps: u64, window_s: f64) -> f64 {
    bitrate_bps as f64 / 8.0 * window_s
}

pub(crate) fn put(figures: &mut Figures, name: &str, value: Option<f64>) {
    assert!(find(name).is_some(), "{name} is not in the list of figures");
    if let Some(value) = value.filter(|value| value.is_finite()) {
        figures.insert(name.to_owned(), value);
    }
}

/// Everything that a report of the swarm says.
pub(crate) fn of_swarm(report: &SwarmReport, bitrate_bps: u64) -> Figures {
    let mut figures = delivery_of(report);
    let mut set = |name, value| put(&mut figures, name, value);
    let window_s = report.window_s;
    set("cpu_s_per_gb", report.cpu_s_per_gb);
    let percent = |seconds: Option<f64>| seconds.map(|seconds| seconds / window_s * 100.0);
    set("cpu_percent", percent(report.cpu_s));
    set("cpu_wait_percent", percent(report.cpu_wait_s));
    set("swarm_cpu_percent", percent(report.swarm_cpu_s));
    set("gbit_per_s", report.bytes.map(|bytes| bytes as f64 * 8.0 / window_s / 1e9));
    set("mean_send_bytes", mean_send_bytes(report.metrics.as_ref()));
    let switches = report.context_switches.as_ref();
    let switches = switches.map(|counts| counts.voluntary + counts.involuntary);
    set("context_switches_per_s", switches.map(|count| count as f64 / window_s));
    let each = report.bytes_per_viewer.as_ref();
    set("bytes_per_viewer_min", each.map(|each| each.min));
    set("bytes_per_viewer_p50", each.map(|each| each.p50));
    set("bytes_share", each.map(|each| each.p50 / bytes_owed(bitrate_bps, window_s)));
    set("bytes_share_min", each.map(|each| each.min / bytes_owed(bitrate_bps, window_s)));
    let counted = |name: &str| report.metrics.as_ref().and_then(|all| all.get(name)).copied();
    set("server_skips", counted("ringcast_viewer_skips_total"));
    set("server_closed", counted("ringcast_viewer_closed_total"));
    set("rss_end_mib", report.rss_bytes.as_ref().map(|rss| mib(rss.end)));
    set("steal_percent", report.steal_percent);
    set("swarm_late_ms_max", report.swarm_late_ms_max);
    figures
}

/// What the checked viewers saw, and who came and stayed.
pub(crate) fn delivery_of(report: &SwarmReport) -> Figures {
    let mut figures = Figures::new();
    let mut set = |name, value| put(&mut figures, name, value);
    let delivery = report.delivery_ms.as_ref();
    set("delivery_p50_ms", delivery.and_then(|times| times.p50));
    set("delivery_p99_ms", delivery.and_then(|times| times.p99));
    set("gap_max_ms", report.gap_ms.as_ref().and_then(|times| times.max));
    set("first_byte_p99_ms", report.first_byte_ms.as_ref().and_then(|times| times.p99));
    let churn = report.churn_first_byte_ms.as_ref();
    set("churn_first_byte_p99_ms", churn.and_then(|times| times.p99));
    let storm = report.storm_first_byte_ms.as_ref();
    set("storm_first_byte_p99_ms", storm.and_then(|times| times.p99));
    set("storm_first_byte_max_ms", storm.and_then(|times| times.max));
    set("playing", Some(report.playing as f64));
    set("refused", Some(report.refused as f64));
    set("closed_early", Some(report.closed_early as f64));
    if let Some(checked) = &report.checked {
        set("faults", Some(checked.faults() as f64));
        set("bad_starts", Some((checked.misaligned + checked.bad_starts) as f64));
        set("skips", Some(checked.declared_gaps as f64));
    }
    figures
}

pub(crate) fn mean_send_bytes(metrics: Option<&BTreeMap<String, f64>>) -> Option<f64> {
    let metrics = metrics?;
    let sends = metrics.get("ringcast_sends_total").copied().filter(|sends| *sends > 0.0)?;
    Some(metrics.get("ringcast_sent_bytes_total")? / sends)
}

/// What is resident besides the rings, in 10^6 bytes. Twins are files that nobody maps: charged to
/// the budget, but not resident.
pub(crate) fn over_ring_mb(rss_bytes: u64, ring_bytes: u64) -> f64 {
    (rss_bytes as f64 - ring_bytes as f64) / 1e6
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
