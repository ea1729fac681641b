//! What was run, as it is kept: raw rounds, by scenario, one file for a host and a day.
//!
//! A later run of a scenario takes the place of the day's earlier one; the others stay.

use crate::perf::figures;
use crate::perf::figures::Figures;
use crate::perf::host::Host;
use crate::perf::scenario::Scenario;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

/// Of the file's shape; another shape is not merged with.
pub(crate) const FORMAT: u32 = 1;

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct Results {
    pub(crate) format: u32,
    pub(crate) date: String,
    pub(crate) host: Host,
    pub(crate) scenarios: Vec<Outcome>,
}

/// One scenario's rounds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: Scenario,
    pub(crate) commit: String,
    pub(crate) started_at: String,
    pub(crate) profile: String,
    /// Of the minute before.
    pub(crate) load_average: f64,
    pub(crate) rounds: Vec<Round>,
    /// What was left out or thrown away, and why.
    pub(crate) notes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct Round {
    pub(crate) number: u32,
    pub(crate) runs: Vec<Run>,
}

/// One contender under one load.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct Run {
    pub(crate) contender: String,
    pub(crate) viewers: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) send_bytes: Option<u64>,
    pub(crate) commands: Vec<String>,
    pub(crate) figures: Figures,
    /// Why its CPU figures do not count; empty when they do.
    pub(crate) not_counted: Vec<String>,
    /// The larger and smaller loads of the same contender in this round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<Step>,
    pub(crate) swarm: Value,
    /// On the rig, what the card counted from its beginning to the window's end.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) card: Value,
    /// Resident when the server said its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rss_probe_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) status: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct Step {
    pub(crate) viewers: u32,
    pub(crate) figures: Figures,
    pub(crate) not_counted: Vec<String>,
}

impl Run {
    pub(crate) fn counts(&self) -> bool {
        self.not_counted.is_empty()
    }

    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }
}

impl Run {
    /// Runs were once kept without what was resident at the probe, and their `rss_over_ring_mb`
    /// was less the twin as well, which is not resident. Both follow from what they have.
    fn mend(&mut self) {
        let memory = &self.status["memory"];
        let of = |field: &str| memory[field].as_u64();
        let known = (self.figure("rss_over_ring_mb"), of("ring_bytes"), of("twin_bytes"));
        let (None, (Some(over), Some(ring), Some(twin))) = (self.rss_probe_bytes, known) else {
            return;
        };
        let rss = (over * 1e6).round() as i64 + ring as i64 + twin as i64;
        let Ok(rss) = u64::try_from(rss) else { return };
        self.rss_probe_bytes = Some(rss);
        let over = figures::over_ring_mb(rss, ring);
        figures::put(&mut self.figures, "rss_over_ring_mb", Some(over));
    }
}

impl Round {
    pub(crate) fn run_of(&self, contender: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.contender == contender)
    }
}

impl Outcome {
    pub(crate) fn runs_of(&self, contender: &str) -> impl Iterator<Item = &Run> {
        self.rounds.iter().filter_map(move |round| round.run_of(contender))
    }
}

impl Results {
    /// Figures of older runs, as they are made today.
    pub(crate) fn mend(&mut self) {
        let rounds = self.scenarios.iter_mut().flat_map(|outcome| &mut outcome.rounds);
        rounds.flat_map(|round| &mut round.runs).for_each(Run::mend);
    }

    /// The new outcomes instead of those of the same name; everything else as it was.
    pub(crate) fn merge(&mut self, newer: Self) {
        self.format = newer.format;
        self.date = newer.date;
        self.host = newer.host;
        for outcome in newer.scenarios {
            self.scenarios.retain(|old| old.scenario.name != outcome.scenario.name);
            self.scenarios.push(outcome);
        }
        self.scenarios.sort_by_key(|outcome| outcome.scenario.order());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_run_gets_its_twin_back_once() {
        let old = r#"{"contender":"ringcast","viewers":1,"commands":[],"not_counted":[],
            "figures":{"rss_over_ring_mb":-5.5},"swarm":null,
            "status":{"memory":{"ring_bytes":20000000,"twin_bytes":8000000}}}"#;
        let mut run: Run = serde_json::from_str(old).unwrap();
        run.mend();
        assert_eq!(run.figure("rss_over_ring_mb"), Some(2.5));
        assert_eq!(run.rss_probe_bytes, Some(22_500_000));
        // Kept and read again: it is no old one any more.
        let mut again: Run = serde_json::from_str(&serde_json::to_string(&run).unwrap()).unwrap();
        again.mend();
        assert_eq!(again, run);
    }

    #[test]
    fn a_run_that_lacks_what_is_needed_stays_as_it_is() {
        let figures = Figures::from([("rss_over_ring_mb".to_owned(), 3.0)]);
        let mut run = Run { figures, ..Run::default() };
        run.mend();
        assert_eq!((run.figure("rss_over_ring_mb"), run.rss_probe_bytes), (Some(3.0), None));
    }
}
