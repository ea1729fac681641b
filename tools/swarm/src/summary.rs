//! A run in six lines for people, and a line for each thing that makes it doubtful.

use std::fmt::Write;

use crate::course::Outcome;
use crate::distribution::Percentiles;
use crate::report::GB;
use crate::report::Report;

const MB: f64 = 1e6;
const MIB: f64 = (1 << 20) as f64;
/// Of a core: more than that and the swarm may be what was measured.
const SWARM_BUSY: f64 = 0.9;
/// Of the window: a server that waits longer for a CPU shares its core.
const WAIT_MAX: f64 = 0.1;
/// A hypervisor that takes more spoils the round.
const STEAL_PERCENT_MAX: f64 = 4.0;

pub(crate) fn of(outcome: &Outcome) -> String {
    let report = &outcome.report;
    let mut text = String::new();
    for line in [
        format!("viewers     {}", viewers(report)),
        format!("bytes       {}", bytes(report)),
        format!("server      {}", server(report)),
        format!("first byte  {}", first_byte(report)),
        format!("delivery    {}; gap {}", times(report.delivery_ms), times(report.gap_ms)),
        format!("checked     {}; swarm {}", checked(report), swarm(report)),
    ] {
        let _ = writeln!(text, "{line}");
    }
    for note in notes(outcome) {
        let _ = writeln!(text, "note        {note}");
    }
    text
}

fn viewers(report: &Report) -> String {
    let Report { viewers, playing, refused, closed_early, stuck, .. } = report;
    let mut text = format!("{playing} of {viewers} playing, {refused} refused, ");
    let _ = write!(text, "{closed_early} closed early");
    if stuck.viewers > 0 {
        let _ = write!(text, ", {} stuck ({} closed)", stuck.viewers, stuck.closed);
    }
    text
}

fn bytes(report: &Report) -> String {
    let Some(bytes) = report.bytes else { return "not measured".to_owned() };
    let rate = bytes as f64 * 8.0 / GB / report.window_s;
    let total = bytes as f64 / GB;
    let mut text = format!("{total:.3} GB in {:.2} s, {rate:.2} Gbit/s", report.window_s);
    if let Some(spread) = report.bytes_per_viewer {
        let [min, p50, max] = [spread.min, spread.p50, spread.max].map(|bytes| bytes as f64 / MB);
        let _ = write!(text, "; per viewer {min:.2} / {p50:.2} / {max:.2} MB (min, p50, max)");
    }
    text
}

fn server(report: &Report) -> String {
    let steal = report.steal_percent.map_or(String::new(), |steal| format!("; steal {steal:.1} %"));
    let (Some(cpu_s), Some(wait_s), Some(threads), Some(rss), Some(switches)) = (
        report.cpu_s,
        report.cpu_wait_s,
        report.threads,
        report.rss_bytes,
        report.context_switches,
    ) else {
        return format!("not measured (--pid){steal}");
    };
    let per_gb = report.cpu_s_per_gb.map_or(String::new(), |per_gb| format!(", {per_gb:.4} s/GB"));
    format!(
        "{cpu_s:.3} s CPU{per_gb}, waited {wait_s:.3} s, {threads} threads, RSS {:.1} to {:.1} \
         MiB, switches {} + {} forced{steal}",
        rss.start as f64 / MIB,
        rss.end as f64 / MIB,
        switches.voluntary,
        switches.involuntary,
    )
}

fn first_byte(report: &Report) -> String {
    let mut text = times(report.first_byte_ms);
    let others = [("churn", report.churn_first_byte_ms), ("storm", report.storm_first_byte_ms)];
    for (name, found) in others {
        if found.is_some() {
            let _ = write!(text, "; {name} {}", times(found));
        }
    }
    text
}

fn times(found: Option<Percentiles>) -> String {
    let Some(found) = found else { return "not measured".to_owned() };
    format!("p50 {:.1} p99 {:.1} max {:.1} ms", found.p50, found.p99, found.max)
}

fn checked(report: &Report) -> String {
    let Some(checked) = &report.checked else { return "nobody (--check)".to_owned() };
    format!(
        "{} viewers, {:.1} MB: {} wrong, {} lost, {} + {} declared gaps, {} misaligned, {} bad \
         starts",
        checked.viewers,
        checked.bytes as f64 / MB,
        checked.wrong_packets,
        checked.lost_packets,
        checked.undeclared_gaps,
        checked.declared_gaps,
        checked.misaligned,
        checked.bad_starts,
    )
}

fn swarm(report: &Report) -> String {
    let percent = 100.0 * report.swarm_cpu_s / report.window_s;
    format!("{percent:.0} % of a core, late {:.0} ms at most", report.swarm_late_ms_max)
}

fn notes(outcome: &Outcome) -> Vec<String> {
    let report = &outcome.report;
    let mut notes = outcome.notes.clone();
    if report.swarm_cpu_s > SWARM_BUSY * report.window_s {
        notes.push("the swarm's own core was full: this is not the server's limit".to_owned());
    }
    if let Some(steal) = report.steal_percent.filter(|steal| *steal > STEAL_PERCENT_MAX) {
        notes.push(format!("the hypervisor took {steal:.1} %: discard this round"));
    }
    if let Some(wait_s) = report.cpu_wait_s.filter(|wait_s| *wait_s > WAIT_MAX * report.window_s) {
        notes.push(format!(
            "the server waited {wait_s:.1} s for a CPU: it was not alone on its core"
        ));
    }
    if let Some(lost) = report.threads_lost.filter(|lost| *lost > 0) {
        notes.push(format!("{lost} threads of the server ended: their time is not counted"));
    }
    let fault = report.checked.as_ref().and_then(|checked| checked.first_fault.as_ref());
    notes.extend(fault.map(|fault| format!("first fault: {fault}")));
    notes
}
