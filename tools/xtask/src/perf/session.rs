//! A scenario from its first round to its last: who runs, what is repeated, what is said.
//!
//! A round in which the hypervisor took too much is thrown away whole, since its contenders are
//! compared with each other, and repeated at most twice.

use crate::perf::host;
use crate::perf::plan;
use crate::perf::plan::MeanSends;
use crate::perf::record::Outcome;
use crate::perf::record::Round;
use crate::perf::record::Run;
use crate::perf::record::Step;
use crate::perf::run;
use crate::perf::run::Bench;
use crate::perf::scenario::Contender;
use crate::perf::scenario::Scenario;

const REPEATS_MAX: u32 = 2;
/// The kernel's own work on a core makes a thread wait a little.
const WAIT_PERCENT_QUIET: f64 = 5.0;

enum Attempt {
    /// What could be run, and why the rest could not.
    Made(Round, Vec<String>),
    /// Steal, in percent, and in whose run.
    Stolen(f64, String),
}

/// The errors are what could not be run; what could is kept. The rest of a round goes on without
/// a contender that failed, and there is no further round.
pub(crate) fn measure(bench: &Bench, scenario: &Scenario, profile: &str) -> (Outcome, Vec<String>) {
    let mut outcome = Outcome {
        scenario: scenario.clone(),
        commit: bench.commit.clone(),
        started_at: host::now_utc(),
        profile: profile.to_owned(),
        load_average: host::load_average(),
        rounds: Vec::new(),
        notes: Vec::new(),
    };
    let (contenders, notes) = plan::able(scenario, bench.cores);
    outcome.notes = notes;
    let mut means = MeanSends::default();
    for number in 1..=scenario.rounds {
        let order = plan::order(&contenders, number);
        let made = steady_round(bench, scenario, &order, number, &mut means, &mut outcome.notes);
        let Some((round, failures)) = made else { continue };
        if !round.runs.is_empty() {
            outcome.rounds.push(round);
        }
        if !failures.is_empty() {
            outcome.notes.extend(failures.iter().map(|why| format!("round {number}: {why}")));
            let name = &scenario.name;
            return (outcome, failures.iter().map(|why| format!("{name}: {why}")).collect());
        }
    }
    (outcome, Vec::new())
}

/// `None` when it was stolen from each time.
fn steady_round(
    bench: &Bench,
    scenario: &Scenario,
    order: &[&Contender],
    number: u32,
    means: &mut MeanSends,
    notes: &mut Vec<String>,
) -> Option<(Round, Vec<String>)> {
    for _ in 0..=REPEATS_MAX {
        match attempt(bench, scenario, order, number, means, notes) {
            Attempt::Made(round, failures) => return Some((round, failures)),
            Attempt::Stolen(percent, whose) => {
                let note =
                    format!("round {number} was discarded: {percent:.1} % steal while {whose} ran");
                println!("xtask: {}: {note}", scenario.name);
                notes.push(note);
            }
        }
    }
    None
}

fn attempt(
    bench: &Bench,
    scenario: &Scenario,
    order: &[&Contender],
    number: u32,
    means: &mut MeanSends,
    notes: &mut Vec<String>,
) -> Attempt {
    let mut round = Round { number, runs: Vec::new() };
    let mut failures = Vec::new();
    for contender in order {
        let run = means
            .size_for(contender)
            .and_then(|size| loaded(bench, scenario, contender, size, number));
        let run = match run {
            Ok(run) => run,
            Err(why) => {
                eprintln!("xtask: {}: {why}", scenario.name);
                failures.push(why);
                continue;
            }
        };
        notes.extend(crowded(number, &run));
        means.saw(&contender.name, run.figure("mean_send_bytes"));
        let steal = run.figure("steal_percent").unwrap_or(0.0);
        if steal > scenario.checks.steal_percent_max {
            return Attempt::Stolen(steal, contender.name.clone());
        }
        round.runs.push(run);
    }
    Attempt::Made(round, failures)
}

/// A number that was taken beside others is no number; only a person can tell whose fault it is.
fn crowded(number: u32, run: &Run) -> Option<String> {
    let waited = run.figure("cpu_wait_percent").filter(|waited| *waited > WAIT_PERCENT_QUIET)?;
    let who = &run.contender;
    let note = format!("round {number}: {who} waited {waited:.0} % of the window for its core");
    println!("xtask: {note}: what else runs there?");
    Some(note)
}

/// One contender at the scenario's load, or step by step to the last that holds.
fn loaded(
    bench: &Bench,
    scenario: &Scenario,
    contender: &Contender,
    send_bytes: Option<u64>,
    number: u32,
) -> Result<Run, String> {
    let mut best: Option<Run> = None;
    let mut steps = Vec::new();
    for viewers in scenario.sizes() {
        let run = match run::run(bench, scenario, contender, viewers, send_bytes) {
            Ok(run) => run,
            // Too much for the server or for the load: the steps before it are measured all the same.
            Err(why) if best.is_some() => {
                println!("xtask: {} at {viewers} viewers: {why}", contender.name);
                steps.push(Step { viewers, not_counted: vec![why], ..Step::default() });
                break;
            }
            Err(why) => return Err(why),
        };
        println!("{}", line(scenario, number, &run));
        steps.push(step(&run));
        let holds = run.counts();
        if holds || best.is_none() {
            best = Some(run);
        }
        if !holds {
            break;
        }
    }
    let mut best = best.ok_or("there is no load")?;
    if !scenario.steps.is_empty() {
        let capacity = if best.counts() { f64::from(best.viewers) } else { 0.0 };
        crate::perf::figures::put(&mut best.figures, "capacity_viewers", Some(capacity));
        best.steps = steps;
    }
    Ok(best)
}

fn step(run: &Run) -> Step {
    Step {
        viewers: run.viewers,
        figures: run.figures.clone(),
        not_counted: run.not_counted.clone(),
    }
}

/// What a person who waits wants to see.
fn line(scenario: &Scenario, number: u32, run: &Run) -> String {
    let figure = |name: &str, decimals: usize| {
        run.figure(name).map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}"))
    };
    let size = run.send_bytes.map_or_else(String::new, |bytes| format!(" ({bytes} bytes a send)"));
    let mut line = format!(
        "{} {number}/{}: {}{size}, {} viewers: {} Gbit/s, {} % of a core, {} s/GB, p99 {} ms",
        scenario.name,
        scenario.rounds,
        run.contender,
        run.viewers,
        figure("gbit_per_s", 3),
        figure("cpu_percent", 2),
        figure("cpu_s_per_gb", 4),
        figure("delivery_p99_ms", 0),
    );
    if !run.counts() {
        line.push_str("; does not count: ");
        line.push_str(&run.not_counted.join(", "));
    }
    line
}
