//! A scenario from its first round to its last: who runs, what is repeated, what is said.
//!
//! A round in which the hypervisor took too much, or a server waited for its core, is thrown away
//! whole, since its contenders are compared with each other, and repeated at most twice.

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

enum Attempt {
    /// What could be run, and why the rest could not.
    Made(Round, Vec<String>),
    /// Somebody else had the core, and in whose run.
    Disturbed(String),
}

/// What one contender's load came to.
enum Loaded {
    Measured(Box<Run>),
    Disturbed(String),
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
    let disturbed = outcome.rounds.is_empty() && !contenders.is_empty();
    let failure = disturbed.then(|| format!("{}: no round was quiet", scenario.name));
    (outcome, failure.into_iter().collect())
}

/// `None` when it was disturbed each time.
fn steady_round(
    bench: &Bench,
    scenario: &Scenario,
    order: &[&Contender],
    number: u32,
    means: &mut MeanSends,
    notes: &mut Vec<String>,
) -> Option<(Round, Vec<String>)> {
    for _ in 0..=REPEATS_MAX {
        match attempt(bench, scenario, order, number, means) {
            Attempt::Made(round, failures) => return Some((round, failures)),
            Attempt::Disturbed(why) => {
                let note = format!("round {number} was discarded: {why}");
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
) -> Attempt {
    let mut round = Round { number, runs: Vec::new() };
    let mut failures = Vec::new();
    for contender in order {
        let run = means
            .size_for(contender)
            .and_then(|size| loaded(bench, scenario, contender, size, number));
        let run = match run {
            Ok(Loaded::Measured(run)) => run,
            Ok(Loaded::Disturbed(why)) => return Attempt::Disturbed(why),
            Err(why) => {
                eprintln!("xtask: {}: {why}", scenario.name);
                failures.push(why);
                continue;
            }
        };
        means.saw(&contender.name, run.figure("mean_send_bytes"));
        round.runs.push(*run);
    }
    Attempt::Made(round, failures)
}

/// A number that was taken beside others is no number. Every step is asked, since a disturbed one
/// that fails would end its contender's round too early.
fn disturbance(scenario: &Scenario, contender: &Contender, run: &Run) -> Option<String> {
    let checks = &scenario.checks;
    let who = match scenario.steps.is_empty() {
        true => run.contender.clone(),
        false => format!("{} at {} viewers", run.contender, run.viewers),
    };
    let of = |figure: &str, max: f64| run.figure(figure).filter(|percent| *percent > max);
    if let Some(steal) = of("steal_percent", checks.steal_percent_max) {
        return Some(format!("{steal:.1} % steal while {who} ran"));
    }
    // Threads of all shards wait, each for a core of its own.
    let shards = f64::from(contender.shards);
    let waited = of("cpu_wait_percent", checks.cpu_wait_percent_max * shards)? / shards;
    Some(format!("{who} waited {waited:.1} % of the window for its core: what else ran there?"))
}

/// One contender at the scenario's load, or step by step to the last that holds.
fn loaded(
    bench: &Bench,
    scenario: &Scenario,
    contender: &Contender,
    send_bytes: Option<u64>,
    number: u32,
) -> Result<Loaded, String> {
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
        if let Some(why) = disturbance(scenario, contender, &run) {
            return Ok(Loaded::Disturbed(why));
        }
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
    Ok(Loaded::Measured(Box::new(best)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perf::figures;

    fn run(contender: &str, viewers: u32, measured: &[(&str, f64)]) -> Run {
        let mut run = Run { contender: contender.to_owned(), viewers, ..Run::default() };
        for (name, value) in measured {
            figures::put(&mut run.figures, name, Some(*value));
        }
        run
    }

    #[test]
    fn who_shared_its_core_was_disturbed() {
        let text = include_str!("../../../../perf/scenarios/one-1000.toml");
        let mut scenario = Scenario::parse("one-1000", text).unwrap();
        let why = |scenario: &Scenario, measured: &[(&str, f64)]| {
            let contender = &scenario.contenders[0];
            disturbance(scenario, contender, &run("ringcast", 1_000, measured))
        };
        assert_eq!(why(&scenario, &[]), None);
        assert_eq!(why(&scenario, &[("steal_percent", 4.0), ("cpu_wait_percent", 5.0)]), None);
        let steal = why(&scenario, &[("steal_percent", 4.1)]);
        assert_eq!(steal.as_deref(), Some("4.1 % steal while ringcast ran"));
        let waited = why(&scenario, &[("cpu_wait_percent", 11.0)]).unwrap();
        assert!(waited.starts_with("ringcast waited 11.0 % of the window for its core"));
        scenario.contenders[0].shards = 4;
        assert_eq!(why(&scenario, &[("cpu_wait_percent", 11.0)]), None, "2.75 % of each core");
        scenario.quick();
        assert_eq!(why(&scenario, &[("steal_percent", 50.0), ("cpu_wait_percent", 90.0)]), None);
    }

    #[test]
    fn a_step_is_asked_whether_or_not_it_held() {
        let text = include_str!("../../../../perf/scenarios/capacity.toml");
        let scenario = Scenario::parse("capacity", text).unwrap();
        let mut failed = run("ringcast", 3_500, &[("steal_percent", 9.0)]);
        failed.not_counted = vec!["delivery_p99_ms 900 ms, not more than 250".to_owned()];
        let why = disturbance(&scenario, &scenario.contenders[0], &failed);
        assert_eq!(why.as_deref(), Some("9.0 % steal while ringcast at 3500 viewers ran"));
    }
}
