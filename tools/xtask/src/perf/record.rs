//! What was run, as it is kept: raw rounds, by scenario, one file for a host and a day.
//!
//! A later run of a scenario takes the place of the day's earlier one; the others stay.

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
