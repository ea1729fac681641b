//! `cargo xtask perf`: what a scenario costs, next to the cheapest programs that can be written.
//!
//! Scenarios are TOML files in `perf/scenarios`. Each is run in interleaved rounds, server on its
//! core, load on the others; the raw rounds are kept and tables are made of them. It measures and
//! says; a missed target is a result, not a failure. What could not be run is a failure.

mod figures;
mod host;
mod machine;
mod options;
mod plan;
mod record;
mod report;
mod rig;
mod run;
mod scenario;
mod session;
mod stats;
mod swarm;
mod verdict;

use crate::cargo::cargo;
use crate::cargo::root;
use crate::perf::options::Options;
use crate::perf::record::FORMAT;
use crate::perf::record::Results;
use crate::perf::run::Bench;
use crate::perf::scenario::Place;
use crate::perf::scenario::Scenario;
use std::path::Path;
use std::path::PathBuf;

pub(crate) use options::USAGE;

/// Above it something else is running, and the numbers are of both.
const LOAD_AVERAGE_QUIET: f64 = 0.5;

pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    let options = Options::parse(words)?;
    if let Some(json) = &options.render {
        let page = report::render(&report::load(json)?, json)?;
        println!("{}", page.display());
        return Ok(());
    }
    if options.figures {
        for figure in figures::FIGURES {
            println!("{:<24} {}", figure.name, figure.meaning);
        }
        return Ok(());
    }
    let all = scenario::load(&root().join("perf/scenarios"))?;
    if options.list {
        list(&all);
        return Ok(());
    }
    let scenarios = chosen(&options, all)?;
    if options.programs.is_none() {
        build(&options, &scenarios)?;
    }
    let load = host::load_average();
    if load > LOAD_AVERAGE_QUIET && options.is_for_the_record() {
        println!("xtask: the machine is not idle (load average {load}); numbers will show it");
    }
    measure_all(&options, &scenarios)
}

fn measure_all(options: &Options, scenarios: &[Scenario]) -> Result<(), String> {
    let target = target_folder();
    let built = target.join(if options.dev { "debug" } else { "release" });
    let programs = options.programs.clone().unwrap_or(built);
    let scratch = target.join("perf");
    let commit = options.commit.clone().unwrap_or_else(host::commit);
    let bench = Bench { programs, scratch: scratch.clone(), cores: host::cores(), commit };
    let folder = options.out.clone().unwrap_or_else(|| match options.is_for_the_record() {
        true => root().join("perf/results"),
        false => scratch,
    });
    let date = host::now_utc().chars().take("2026-01-01".len()).collect::<String>();
    let host = host::host();
    let mut failures = Vec::new();
    let mut page = None;
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        println!("xtask: {}: {}", scenario.name, scenario.title);
        let (outcome, failed) = session::measure(&bench, scenario, options.profile());
        failures.extend(failed);
        if outcome.rounds.is_empty() {
            continue;
        }
        outcomes.push(outcome.clone());
        // After each, so that an interrupted night is not lost.
        let results = Results {
            format: FORMAT,
            date: date.clone(),
            host: host.clone(),
            scenarios: vec![outcome],
        };
        page = Some(report::save(results, &folder)?);
    }
    if outcomes.iter().any(|outcome| !outcome.scenario.targets.is_empty()) {
        println!("{}", report::targets(outcomes.iter()));
    }
    if let Some(page) = page {
        println!("xtask: {}", page.display());
    }
    if failures.is_empty() { Ok(()) } else { Err(format!("not run: {}", failures.join("; "))) }
}

fn list(all: &[Scenario]) {
    for scenario in all {
        let place = match scenario.place {
            Place::Loopback => "loopback",
            Place::Rig => "rig",
        };
        println!("{:<12} {place:<9} {}", scenario.name, scenario.title);
    }
}

/// The scenarios that are to run, as they are to run.
fn chosen(options: &Options, all: Vec<Scenario>) -> Result<Vec<Scenario>, String> {
    let known = |name: &String| all.iter().any(|scenario| scenario.name == *name);
    if let Some(unknown) = options.scenarios.iter().find(|name| !known(name)) {
        let names: Vec<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
        return Err(format!("no scenario {unknown}; there are {}", names.join(", ")));
    }
    let named = |scenario: &Scenario| {
        options.scenarios.is_empty() || options.scenarios.contains(&scenario.name)
    };
    // The rig needs root and a compiler for the kernel; --quick means the loopback ones unless
    // it is named.
    let fits = |scenario: &Scenario| {
        !options.quick || scenario.place == Place::Loopback || !options.scenarios.is_empty()
    };
    let mut chosen: Vec<Scenario> =
        all.iter().filter(|one| named(one) && fits(one)).cloned().collect();
    for scenario in &mut chosen {
        if options.quick {
            scenario.quick();
        }
        scenario.rounds = options.rounds.unwrap_or(scenario.rounds);
        scenario.seconds = options.seconds.unwrap_or(scenario.seconds);
    }
    Ok(chosen)
}

fn build(options: &Options, scenarios: &[Scenario]) -> Result<(), String> {
    let mut command = cargo();
    command.args(["build", "-q", "--locked", "--bins", "--profile", options.profile()]);
    command.args(["-p", "ringcast", "-p", "ace-emulator", "-p", "swarm", "-p", "floor"]);
    if scenarios.iter().any(|scenario| scenario.place == Place::Rig) {
        command.args(["-p", "nicsink"]);
    }
    println!("xtask: building ({})", options.profile());
    let status = command.status().map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err("the programs do not build".to_owned()) }
}

fn target_folder() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    named.map_or_else(|| root().join("target"), |folder| root().join::<&Path>(folder.as_ref()))
}
