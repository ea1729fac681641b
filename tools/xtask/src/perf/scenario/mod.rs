//! What is measured: one TOML file of `perf/scenarios/`, read, checked and explained when wrong.
//!
//! Says only what the load is and who serves it. Never starts anything. A name that is no figure,
//! a floor without a kind or a target on a contender that is not there is an error here, not a
//! hole in a table half an hour later.

use crate::perf::figures;
use serde::Deserialize;
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Of scenarios that name none.
const DELIVERY_P99_MS_MAX: f64 = 130.0;
/// More than threads of all cores of a machine can wait.
const ANY_PERCENT: f64 = 1e6;

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The file's name without `.toml`.
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) title: String,
    #[serde(rename = "where")]
    pub(crate) place: Place,
    pub(crate) streams: u32,
    pub(crate) viewers: u32,
    pub(crate) bitrate_bps: u64,
    /// Viewers one after the other, as long as nothing is lost or late; `viewers` is the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<u32>,
    pub(crate) ramp_ms: u64,
    pub(crate) settle_ms: u64,
    pub(crate) seconds: u64,
    pub(crate) rounds: u32,
    /// So many viewers are read and verified packet by packet; on the rig they are further ones.
    pub(crate) check: u32,
    #[serde(default)]
    pub(crate) pausing: u32,
    #[serde(default)]
    pub(crate) pause_ms: u64,
    #[serde(default)]
    pub(crate) churn_per_s: u32,
    #[serde(default)]
    pub(crate) storm: u32,
    /// How the engine hands the stream over.
    #[serde(default = "piece_bytes")]
    pub(crate) piece_bytes: u64,
    #[serde(default = "burst_bytes")]
    pub(crate) burst_bytes: u64,
    #[serde(default)]
    pub(crate) checks: Checks,
    #[serde(rename = "contender")]
    pub(crate) contenders: Vec<Contender>,
    #[serde(default, rename = "target")]
    pub(crate) targets: Vec<Target>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    Loopback,
    /// Two namespaces and a card that acknowledges everything: `perf/nicsink`.
    Rig,
}

/// What must hold for a CPU figure to count.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Checks {
    pub(crate) delivery_p99_ms_max: f64,
    pub(crate) refused_max: f64,
    pub(crate) closed_early_max: f64,
    /// Of what the stream's bit rate owes a viewer in the window; 0 where viewers come and go.
    pub(crate) bytes_share_min: f64,
    /// Above either, the round is another's as well as ours.
    pub(crate) steal_percent_max: f64,
    /// Of each shard's core; the kernel's own work there makes a thread wait a little.
    pub(crate) cpu_wait_percent_max: f64,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) program: Program,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<FloorKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) send: Option<SendSize>,
    /// Whose mean send; the first ringcast when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) same_as: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) stuck_percent: u32,
    #[serde(default = "one")]
    pub(crate) shards: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Program {
    Ringcast,
    Floor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FloorKind {
    Write,
    Sendfile,
    Zerocopy,
    Relay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "send is \"same\" or a number of bytes")]
pub(crate) enum SendSize {
    Same(Same),
    Bytes(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Same {
    Same,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    pub(crate) figure: String,
    /// The first contender when absent.
    #[serde(default)]
    pub(crate) of: String,
    /// The target is on the ratio to this contender in the same round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) min: Option<f64>,
    /// Met as well when this other figure is small enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) or: Option<Alternative>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alternative {
    pub(crate) figure: String,
    pub(crate) max: f64,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            delivery_p99_ms_max: DELIVERY_P99_MS_MAX,
            refused_max: 0.0,
            closed_early_max: 0.0,
            bytes_share_min: 0.95,
            steal_percent_max: 4.0,
            cpu_wait_percent_max: 5.0,
        }
    }
}

impl FloorKind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Sendfile => "sendfile",
            Self::Zerocopy => "zerocopy",
            Self::Relay => "relay",
        }
    }
}

impl Contender {
    pub(crate) fn is_same(&self) -> bool {
        matches!(self.send, Some(SendSize::Same(_)))
    }
}

impl Scenario {
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let wrong = |why: &dyn std::fmt::Display| format!("perf/scenarios/{name}.toml: {why}");
        let mut scenario: Self = toml::from_str(text).map_err(|error| wrong(&error))?;
        if !scenario.name.is_empty() {
            return Err(wrong(&"the name is the file's name, it is not written in it"));
        }
        name.clone_into(&mut scenario.name);
        scenario.fill_in();
        scenario.check().map_err(|why| wrong(&why))?;
        Ok(scenario)
    }

    pub(crate) fn contender(&self, name: &str) -> Option<&Contender> {
        self.contenders.iter().find(|contender| contender.name == name)
    }

    /// The sizes of the load, one after the other.
    pub(crate) fn sizes(&self) -> Vec<u32> {
        if self.steps.is_empty() { vec![self.viewers] } else { self.steps.clone() }
    }

    /// One stream that everybody watches from beginning to end: what the chart compares.
    pub(crate) fn is_plain(&self) -> bool {
        let odd = self.churn_per_s + self.storm + self.pausing;
        self.streams == 1 && self.steps.is_empty() && odd == 0 && !self.has_stuck()
    }

    /// The bound of delivery under which its CPU figures count, where it is not everybody's.
    pub(crate) fn own_bound_ms(&self) -> Option<f64> {
        let bound = self.checks.delivery_p99_ms_max;
        (self.check > 0 && bound.to_bits() != DELIVERY_P99_MS_MAX.to_bits()).then_some(bound)
    }

    fn has_stuck(&self) -> bool {
        self.contenders.iter().any(|contender| contender.stuck_percent > 0)
    }

    /// Small enough to show within seconds that everything starts, speaks and ends.
    pub(crate) fn quick(&mut self) {
        self.streams = self.streams.min(2);
        self.viewers = 2;
        if self.has_stuck() {
            // One is checked; of eleven others one is stuck.
            self.viewers = 12;
        }
        if !self.steps.is_empty() {
            self.steps = vec![2, 3];
        }
        self.ramp_ms = 100;
        self.settle_ms = 500;
        self.seconds = 1;
        self.rounds = 1;
        self.check = 1;
        self.pausing = self.pausing.min(1);
        self.pause_ms = self.pause_ms.min(300);
        self.churn_per_s = self.churn_per_s.min(2);
        self.storm = self.storm.min(2);
        self.targets.clear();
        // It is asked whether the harness works, on a machine that may do anything else.
        self.checks.steal_percent_max = ANY_PERCENT;
        self.checks.cpu_wait_percent_max = ANY_PERCENT;
    }

    fn fill_in(&mut self) {
        let first = self.contenders.first().map(|contender| contender.name.clone());
        let served = self.contenders.iter().find(|one| one.program == Program::Ringcast);
        let served = served.map(|contender| contender.name.clone());
        for target in &mut self.targets {
            if target.of.is_empty() {
                target.of = first.clone().unwrap_or_default();
            }
        }
        for contender in &mut self.contenders {
            if contender.is_same() && contender.same_as.is_none() {
                contender.same_as.clone_from(&served);
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let positive = [
            ("streams", u64::from(self.streams)),
            ("viewers", u64::from(self.viewers)),
            ("bitrate_bps", self.bitrate_bps),
            ("seconds", self.seconds),
            ("rounds", u64::from(self.rounds)),
            ("piece_bytes", self.piece_bytes),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{field} must be at least 1"));
        }
        if !self.steps.is_sorted() || self.steps.first().is_some_and(|first| *first != self.viewers)
        {
            return Err("steps must rise and begin with viewers".to_owned());
        }
        if (self.pausing > 0) != (self.pause_ms > 0) {
            return Err("pausing and pause_ms go together".to_owned());
        }
        if self.place == Place::Rig && self.check == 0 {
            return Err("on the rig the checked viewers are the only ones that measure".to_owned());
        }
        if self.contenders.is_empty() {
            return Err("there is no [[contender]]".to_owned());
        }
        self.check_contenders()?;
        self.targets.iter().try_for_each(|target| self.check_target(target))
    }

    fn check_contenders(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for contender in &self.contenders {
            let name = &contender.name;
            if !names.insert(name) {
                return Err(format!("there are two contenders named {name}"));
            }
            contender.check().map_err(|why| format!("contender {name}: {why}"))?;
            let Some(same) = &contender.same_as else { continue };
            if self.contender(same).is_none_or(|other| other.program != Program::Ringcast) {
                return Err(format!(
                    "contender {name}: same_as = {same:?} is no ringcast contender"
                ));
            }
        }
        Ok(())
    }

    fn check_target(&self, target: &Target) -> Result<(), String> {
        let figure = &target.figure;
        let alternative = target.or.as_ref().map(|or| &or.figure);
        for name in std::iter::once(figure).chain(alternative) {
            if figures::find(name).is_none() {
                let known: Vec<&str> = figures::FIGURES.iter().map(|one| one.name).collect();
                return Err(format!("target: no figure {name:?}; there are {}", known.join(", ")));
            }
        }
        for name in std::iter::once(&target.of).chain(&target.to) {
            if self.contender(name).is_none() {
                return Err(format!("target {figure}: there is no contender {name:?}"));
            }
        }
        if target.max.is_some() == target.min.is_some() {
            return Err(format!("target {figure}: exactly one of max and min"));
        }
        Ok(())
    }
}

impl Contender {
    fn check(&self) -> Result<(), String> {
        match self.program {
            Program::Ringcast => {
                if self.kind.is_some() || self.send.is_some() || self.same_as.is_some() {
                    return Err("kind, send and same_as are a floor's".to_owned());
                }
            }
            Program::Floor => {
                if self.kind.is_none() {
                    return Err(
                        "a floor needs kind = write, sendfile, zerocopy or relay".to_owned()
                    );
                }
                if !self.env.is_empty() || self.shards != 1 {
                    return Err("env and shards are ringcast's".to_owned());
                }
                match self.send {
                    None => return Err("a floor needs send = \"same\" or bytes".to_owned()),
                    Some(SendSize::Bytes(0)) => return Err("send = 0".to_owned()),
                    Some(SendSize::Bytes(_) | SendSize::Same(_)) => {}
                }
            }
        }
        let plain =
            |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
        if self.name.is_empty() || !self.name.bytes().all(plain) {
            return Err("a name is of a-z, 0-9 and -".to_owned());
        }
        let ours = |name: &String| name.starts_with("RINGCAST_") || name.starts_with("PROXY_");
        if let Some(other) = self.env.keys().find(|name| !ours(name)) {
            return Err(format!("env: {other} is no setting of ringcast"));
        }
        if self.shards == 0 || self.stuck_percent > 90 {
            return Err("shards is at least 1, stuck_percent at most 90".to_owned());
        }
        Ok(())
    }
}

/// Every scenario of the folder, loopback before the rig, small before large.
pub(crate) fn load(folder: &Path) -> Result<Vec<Scenario>, String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut scenarios = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let text = fs::read_to_string(&path).map_err(unreadable)?;
        scenarios.push(Scenario::parse(&name.unwrap_or_default(), &text)?);
    }
    scenarios.sort_by_key(Scenario::order);
    Ok(scenarios)
}

impl Scenario {
    pub(crate) fn order(&self) -> (Place, u32, u32, String) {
        (self.place, self.streams, self.viewers, self.name.clone())
    }
}

fn piece_bytes() -> u64 {
    // 16 ms of 8 Mbit/s: the source is never what makes a packet late.
    16_384
}

fn burst_bytes() -> u64 {
    2_000_000
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests;
