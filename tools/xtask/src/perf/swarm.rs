//! The swarm: how it is asked, and what it reports.
//!
//! The whole report stays in the results as it came; the fields that figures are made of are
//! named here. A missing value is `null` there and `None` here.

use crate::perf::scenario::Contender;
use crate::perf::scenario::Scenario;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct SwarmReport {
    pub(crate) playing: u64,
    pub(crate) refused: u64,
    pub(crate) closed_early: u64,
    pub(crate) window_s: f64,
    pub(crate) bytes: Option<u64>,
    pub(crate) bytes_per_viewer: Option<PerViewer>,
    pub(crate) cpu_s: Option<f64>,
    pub(crate) cpu_wait_s: Option<f64>,
    pub(crate) cpu_s_per_gb: Option<f64>,
    pub(crate) rss_bytes: Option<Rss>,
    pub(crate) context_switches: Option<Switches>,
    pub(crate) steal_percent: Option<f64>,
    pub(crate) swarm_cpu_s: Option<f64>,
    pub(crate) swarm_late_ms_max: Option<f64>,
    pub(crate) first_byte_ms: Option<Times>,
    pub(crate) churn_first_byte_ms: Option<Times>,
    pub(crate) storm_first_byte_ms: Option<Times>,
    pub(crate) delivery_ms: Option<Times>,
    pub(crate) gap_ms: Option<Times>,
    pub(crate) checked: Option<Checked>,
    pub(crate) metrics: Option<BTreeMap<String, f64>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct PerViewer {
    pub(crate) min: f64,
    pub(crate) p50: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Rss {
    pub(crate) end: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Switches {
    pub(crate) voluntary: u64,
    pub(crate) involuntary: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Times {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) max: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Checked {
    pub(crate) viewers: u64,
    pub(crate) wrong_packets: u64,
    pub(crate) lost_packets: u64,
    pub(crate) undeclared_gaps: u64,
    pub(crate) declared_gaps: u64,
    pub(crate) misaligned: u64,
    pub(crate) bad_starts: u64,
}

impl Checked {
    pub(crate) fn faults(&self) -> u64 {
        self.wrong_packets + self.lost_packets + self.undeclared_gaps
    }
}

impl SwarmReport {
    /// An empty list of times is `null` or has `n` 0 and nothing else.
    pub(crate) fn parse(value: &serde_json::Value) -> Result<Self, String> {
        let report: Self = serde_json::from_value(value.clone())
            .map_err(|error| format!("the swarm's report: {error}"))?;
        if report.window_s <= 0.0 {
            return Err("the swarm's report: there was no window".to_owned());
        }
        Ok(report)
    }
}

/// The load of a scenario, as arguments.
pub(crate) fn load_of(scenario: &Scenario, contender: &Contender, viewers: u32) -> Vec<String> {
    let mut words = Vec::new();
    let mut option = |name: &str, value: u64| {
        words.push(name.to_owned());
        words.push(value.to_string());
    };
    option("--streams", u64::from(scenario.streams));
    option("--viewers", u64::from(viewers));
    option("--ramp-ms", scenario.ramp_ms);
    option("--settle-ms", scenario.settle_ms);
    option("--seconds", scenario.seconds);
    let some = [
        ("--check", u64::from(scenario.check)),
        ("--stuck", u64::from(contender.stuck_percent)),
        ("--pausing", u64::from(scenario.pausing)),
        ("--pause-ms", scenario.pause_ms),
        ("--churn", u64::from(scenario.churn_per_s)),
        ("--storm", u64::from(scenario.storm)),
    ];
    for (name, value) in some.into_iter().filter(|(_, value)| *value > 0) {
        option(name, value);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perf::figures;

    const REPORT: &str = r#"{"viewers":50,"playing":50,"refused":0,"closed_early":0,"window_s":5.0,
        "bytes":250000000,"bytes_per_viewer":{"min":4990000,"p50":5000000,"max":5010000},
        "cpu_s":0.05,"cpu_wait_s":0.01,"cpu_s_per_gb":0.2,"threads":3,
        "rss_bytes":{"start":1048576,"end":2097152},
        "context_switches":{"voluntary":100,"involuntary":5},"steal_percent":0.1,
        "swarm_cpu_s":0.5,"swarm_late_ms_max":7.5,"first_byte_ms":{"n":50,"p50":1.0,"p90":2.0,"p99":3.0,"max":4.0},
        "storm_first_byte_ms":null,"delivery_ms":{"n":9,"p50":40.0,"p90":80,"p99":99.5,"max":101},
        "gap_ms":{"n":0,"p50":null,"p90":null,"p99":null,"max":null},
        "checked":{"viewers":4,"bytes":20000000,"wrong_packets":0,"lost_packets":1,
        "undeclared_gaps":1,"declared_gaps":0,"misaligned":0,"bad_starts":0},
        "metrics":{"ringcast_viewer_skips_total":3,"ringcast_sent_bytes_total":250000000,"ringcast_sends_total":2500}}"#;

    #[test]
    fn figures_are_made_of_a_report() {
        let value = serde_json::from_str(REPORT).unwrap();
        let report = SwarmReport::parse(&value).unwrap();
        let figures = figures::of_swarm(&report, 8_000_000);
        let expected = [
            ("cpu_percent", 1.0),
            ("cpu_wait_percent", 0.2),
            ("swarm_cpu_percent", 10.0),
            ("gbit_per_s", 0.4),
            ("mean_send_bytes", 100_000.0),
            ("context_switches_per_s", 21.0),
            ("bytes_share", 1.0),
            ("bytes_share_min", 0.998),
            ("server_skips", 3.0),
            ("rss_end_mib", 2.0),
            ("delivery_p99_ms", 99.5),
            ("swarm_late_ms_max", 7.5),
            ("faults", 2.0),
        ];
        for (name, value) in expected {
            assert_eq!(figures.get(name).copied(), Some(value), "{name}");
        }
        assert!(!figures.contains_key("gap_max_ms"), "nothing was measured");
        assert!(!figures.contains_key("storm_first_byte_max_ms"));
    }

    #[test]
    fn a_report_without_a_window_is_none() {
        let mut value: serde_json::Value = serde_json::from_str(REPORT).unwrap();
        value["rss_bytes"] = serde_json::Value::Null;
        value["checked"] = serde_json::Value::Null;
        let bare = figures::of_swarm(&SwarmReport::parse(&value).unwrap(), 1);
        assert!(!bare.contains_key("rss_end_mib") && !bare.contains_key("faults"));
        value["window_s"] = 0.into();
        assert!(SwarmReport::parse(&value).unwrap_err().contains("no window"));
        assert!(SwarmReport::parse(&serde_json::json!({})).unwrap_err().contains("missing field"));
    }
}
