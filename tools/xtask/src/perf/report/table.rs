//! The tables: a row for a contender, a row for a target, and what does not count and why.

use crate::perf::record::Outcome;
use crate::perf::record::Results;
use crate::perf::scenario::Contender;
use crate::perf::scenario::Place;
use crate::perf::scenario::Program;
use crate::perf::verdict;
use crate::perf::verdict::Judged;
use crate::perf::verdict::Verdict;
use std::fmt::Write;

const NOTHING: &str = "–";

const HEAD: &str = "\
| scenario | viewers | server | Gbit/s | CPU % of a core | CPU s/GB | × floor, same size | \
× floor, its own size | p99 delivery ms | first byte p99 ms | RSS MiB | rounds | targets |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

/// `flames` are scenarios and the files of their flame graphs.
pub(crate) fn page(results: &Results, picture: Option<&str>, flames: &[(&str, String)]) -> String {
    let mut page = format!("# Measured on {}, {}\n\n", results.host.name, results.date);
    for line in results.host.lines() {
        let _ = writeln!(page, "- {line}");
    }
    page.push_str(
        "\nMedian (least–most) of interleaved rounds; what each column means is in \
         [perf/README.md](../README.md). A CPU figure counts when p99 delivery is within 130 ms, or \
         within the bound that stands beside it.\n\n",
    );
    if let Some(picture) = picture {
        let _ = writeln!(page, "![CPU seconds per GB]({picture})\n");
    }
    page.push_str(HEAD);
    for outcome in &results.scenarios {
        for contender in &outcome.scenario.contenders {
            page.push_str(&row(outcome, contender));
        }
    }
    page.push_str("\n## Targets\n\n");
    page.push_str(&targets(results.scenarios.iter()));
    page.push_str(&remarks(results));
    if !flames.is_empty() {
        page.push_str("\n## Flame graphs\n\n");
    }
    for (scenario, file) in flames {
        let _ = writeln!(page, "- [{scenario}]({file})");
    }
    page.push_str("\n## Commands\n\n");
    for outcome in &results.scenarios {
        let _ = writeln!(
            page,
            "- `cargo xtask perf {} --rounds {} --seconds {}`, {}, commit {}, {}, load average {:.2} before",
            outcome.scenario.name,
            outcome.scenario.rounds,
            outcome.scenario.seconds,
            outcome.profile,
            outcome.commit,
            outcome.started_at,
            outcome.load_average,
        );
    }
    page
}

/// Every target with what was measured.
pub(crate) fn targets<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> String {
    let mut text = "| scenario | target | measured | verdict |\n|---|---|---|---|\n".to_owned();
    for outcome in outcomes {
        for judged in verdict::judge(outcome) {
            let measured = judged.measured.map(|spread| spread.text(judged.decimals));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                outcome.scenario.name,
                judged.text,
                measured.as_deref().unwrap_or(NOTHING),
                word(&judged.verdict),
            );
        }
    }
    text
}

fn row(outcome: &Outcome, contender: &Contender) -> String {
    let name = &contender.name;
    let cell = |figure: &str| {
        let spread = verdict::spread(outcome, name, figure);
        spread.map_or_else(|| NOTHING.to_owned(), |it| it.text(verdict::decimals(figure)))
    };
    let (same, own) = match contender.program {
        Program::Ringcast => {
            let (same, own) = verdict::floors(outcome, contender);
            (ratios(outcome, name, &same), ratios(outcome, name, &own))
        }
        Program::Floor => (NOTHING.to_owned(), NOTHING.to_owned()),
    };
    let place = match outcome.scenario.place {
        Place::Loopback => "",
        Place::Rig => " (rig)",
    };
    let cells = [
        format!("{}{place}", outcome.scenario.name),
        viewers(outcome, contender),
        name.clone(),
        cell("gbit_per_s"),
        cell("cpu_percent"),
        cost(outcome, name),
        same,
        own,
        cell("delivery_p99_ms"),
        cell("first_byte_p99_ms"),
        cell("rss_end_mib"),
        rounds(outcome, name),
        verdicts(outcome, name),
    ];
    format!("| {} |\n", cells.join(" | "))
}

/// CPU per byte, and the bound of delivery that it counts under where that is not everybody's.
fn cost(outcome: &Outcome, contender: &str) -> String {
    let figure = "cpu_s_per_gb";
    let Some(spread) = verdict::spread(outcome, contender, figure) else {
        return NOTHING.to_owned();
    };
    let text = spread.text(verdict::decimals(figure));
    match outcome.scenario.own_bound_ms() {
        None => text,
        Some(bound) => format!("{text}, p99 ≤ {bound:.0}"),
    }
}

/// With steps, the most that held.
fn viewers(outcome: &Outcome, contender: &Contender) -> String {
    if outcome.scenario.steps.is_empty() {
        return outcome.scenario.viewers.to_string();
    }
    let capacity = verdict::spread(outcome, &contender.name, "capacity_viewers");
    capacity.map_or_else(|| NOTHING.to_owned(), |spread| spread.text(0))
}

fn ratios(outcome: &Outcome, of: &str, floors: &[&Contender]) -> String {
    let each = floors.iter().filter_map(|floor| {
        let ratio = verdict::ratio(outcome, of, &floor.name, "cpu_s_per_gb")?;
        Some(format!("{}: {}", floor.name, ratio.text(2)))
    });
    let text = each.collect::<Vec<_>>().join("; ");
    if text.is_empty() { NOTHING.to_owned() } else { text }
}

fn rounds(outcome: &Outcome, contender: &str) -> String {
    let all = outcome.runs_of(contender).count();
    let counted = outcome.runs_of(contender).filter(|run| run.counts()).count();
    if all == counted || !outcome.scenario.steps.is_empty() {
        return all.to_string();
    }
    format!("{counted} of {all}")
}

fn verdicts(outcome: &Outcome, contender: &str) -> String {
    let judged: Vec<Judged> = verdict::judge(outcome);
    let mine: Vec<&Judged> = judged.iter().filter(|judged| judged.of == contender).collect();
    if mine.is_empty() {
        return NOTHING.to_owned();
    }
    let met = mine.iter().filter(|judged| judged.verdict == Verdict::Met).count();
    let missed = mine.iter().filter(|judged| judged.verdict == Verdict::Missed);
    let missed: Vec<&str> = missed.map(|judged| judged.text.as_str()).collect();
    let mut text = format!("{met} of {} met", mine.len());
    if !missed.is_empty() {
        let _ = write!(text, "; missed: {}", missed.join("; "));
    }
    text
}

/// Nothing is left out in silence.
fn remarks(results: &Results) -> String {
    let mut lines = Vec::new();
    for outcome in &results.scenarios {
        let name = &outcome.scenario.name;
        lines.extend(outcome.notes.iter().map(|note| format!("- {name}: {note}")));
        for round in &outcome.rounds {
            for run in round.runs.iter().filter(|run| !run.counts()) {
                let why = run.not_counted.join(", ");
                let number = round.number;
                lines.push(format!("- {name}, round {number}, {}: {why}", run.contender));
            }
            lines.extend(round.runs.iter().flat_map(|run| {
                run.steps.iter().filter(|step| !step.not_counted.is_empty()).map(|step| {
                    let why = step.not_counted.join(", ");
                    let (who, viewers) = (&run.contender, step.viewers);
                    format!("- {name}, round {}, {who} at {viewers}: {why}", round.number)
                })
            }));
        }
    }
    lines.dedup();
    if lines.is_empty() {
        return String::new();
    }
    format!("\n## What does not count, and why\n\n{}\n", lines.join("\n"))
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Met => "met".to_owned(),
        Verdict::Missed => "**missed**".to_owned(),
        Verdict::Open(why) => format!("open: {why}"),
    }
}
