//! What rounds amount to: spreads, ratios within rounds, targets met or missed.
//!
//! A ratio is made of two runs of the same round and only then summed up; a ratio of two medians
//! would compare different minutes.

use crate::perf::figures;
use crate::perf::figures::Stands;
use crate::perf::record::Outcome;
use crate::perf::record::Round;
use crate::perf::record::Run;
use crate::perf::scenario::Contender;
use crate::perf::scenario::Program;
use crate::perf::scenario::Target;
use crate::perf::stats::Spread;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// And why there is none.
    Open(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judged {
    /// `CPU s/GB of ringcast ≤ 1.10 × sendfile`
    pub(crate) text: String,
    pub(crate) of: String,
    pub(crate) measured: Option<Spread>,
    pub(crate) decimals: usize,
    pub(crate) verdict: Verdict,
}

/// A figure of a contender over the rounds; costs only of runs that count.
pub(crate) fn spread(outcome: &Outcome, contender: &str, name: &str) -> Option<Spread> {
    Spread::of(outcome.runs_of(contender).filter_map(|run| usable(run, name)))
}

/// Of CPU per byte, to another contender in the same round.
pub(crate) fn ratio(outcome: &Outcome, of: &str, to: &str, name: &str) -> Option<Spread> {
    Spread::of(outcome.rounds.iter().filter_map(|round| ratio_in(round, of, to, name)))
}

/// The floors of a scenario that a ringcast contender is compared with: those that send as it
/// does, and those of their own size.
pub(crate) fn floors<'a>(
    outcome: &'a Outcome,
    contender: &Contender,
) -> (Vec<&'a Contender>, Vec<&'a Contender>) {
    let name = contender.name.clone();
    let floors = outcome.scenario.contenders.iter().filter(|one| one.program == Program::Floor);
    let mine = |floor: &&Contender| floor.same_as.as_ref().is_none_or(|same| *same == name);
    floors.filter(mine).partition(|floor| floor.is_same())
}

pub(crate) fn judge(outcome: &Outcome) -> Vec<Judged> {
    outcome.scenario.targets.iter().map(|target| judged(outcome, target)).collect()
}

fn judged(outcome: &Outcome, target: &Target) -> Judged {
    let measured = match &target.to {
        Some(to) => ratio(outcome, &target.of, to, &target.figure),
        None => spread(outcome, &target.of, &target.figure),
    };
    let other = target.or.as_ref().and_then(|or| {
        Some((standing(spread(outcome, &target.of, &or.figure)?, &or.figure), or.max))
    });
    let verdict = match measured {
        None => Verdict::Open(why_open(outcome, target)),
        Some(spread) => {
            let value = standing(spread, &target.figure);
            let good = target.max.is_none_or(|max| value <= max)
                && target.min.is_none_or(|min| value >= min);
            let spared = other.is_some_and(|(value, max)| value <= max);
            if good || spared { Verdict::Met } else { Verdict::Missed }
        }
    };
    let decimals = if target.to.is_some() { 3 } else { decimals(&target.figure) };
    Judged { text: text(target), of: target.of.clone(), measured, decimals, verdict }
}

/// The number that a target is held against.
fn standing(spread: Spread, figure: &str) -> f64 {
    match figures::find(figure).map_or(Stands::Median, |figure| figure.stands) {
        Stands::Median => spread.median,
        Stands::Most => spread.max,
        Stands::Least => spread.min,
    }
}

fn ratio_in(round: &Round, of: &str, to: &str, name: &str) -> Option<f64> {
    let below = usable(round.run_of(to)?, name).filter(|value| *value > 0.0)?;
    Some(usable(round.run_of(of)?, name)? / below)
}

fn usable(run: &Run, name: &str) -> Option<f64> {
    let costs = figures::find(name).is_some_and(|figure| figure.cost);
    if costs && !run.counts() {
        return None;
    }
    run.figure(name)
}

fn why_open(outcome: &Outcome, target: &Target) -> String {
    let mut reasons = Vec::new();
    for name in std::iter::once(&target.of).chain(&target.to) {
        let mut runs = outcome.runs_of(name).peekable();
        if runs.peek().is_none() {
            reasons.push(format!("{name} did not run"));
            continue;
        }
        let first = runs.find(|run| !run.counts());
        reasons.extend(first.map(|run| format!("{name}: {}", run.not_counted.join(", "))));
    }
    if reasons.is_empty() { "not measured".to_owned() } else { reasons.join("; ") }
}

pub(crate) fn decimals(figure: &str) -> usize {
    match figure {
        "cpu_s_per_gb" => 4,
        "cpu_percent" | "gbit_per_s" | "bytes_share" | "bytes_share_min" => 2,
        _ => 0,
    }
}

fn text(target: &Target) -> String {
    let (sign, bound) = match (target.max, target.min) {
        (Some(max), _) => ("≤", max),
        (None, min) => ("≥", min.unwrap_or_default()),
    };
    let mut text = format!("{} of {} {sign} {bound}", target.figure, target.of);
    if let Some(to) = &target.to {
        text.push_str(&format!(" × {to}"));
    }
    if let Some(or) = &target.or {
        text.push_str(&format!(", or {} ≤ {}", or.figure, or.max));
    }
    text
}

#[cfg(test)]
mod tests;
