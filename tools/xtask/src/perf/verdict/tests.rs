//! Ratios are made within rounds, and targets are held against what stands.

use super::*;
use crate::perf::report::sample;

fn verdicts(outcome: &Outcome) -> Vec<Verdict> {
    judge(outcome).into_iter().map(|judged| judged.verdict).collect()
}

#[test]
fn ratios_are_of_the_same_round() {
    // Round 1: 0.11 to 0.10, round 2: 0.22 to 0.25. A ratio of medians would be 0.94.
    let outcome = sample::outcome(&[(0.11, 0.10), (0.22, 0.25)]);
    let ratio = ratio(&outcome, "ringcast", "sendfile-same", "cpu_s_per_gb").unwrap();
    assert!((ratio.min - 0.88).abs() < 1e-9 && (ratio.max - 1.1).abs() < 1e-9, "{ratio:?}");
    assert!((ratio.median - 0.99).abs() < 1e-9);
}

#[test]
fn targets_are_met_and_missed() {
    assert_eq!(verdicts(&sample::outcome(&[(0.11, 0.10)])), [Verdict::Met, Verdict::Met]);
    assert_eq!(verdicts(&sample::outcome(&[(0.12, 0.10)])), [Verdict::Missed, Verdict::Met]);
}

#[test]
fn costs_of_a_run_that_does_not_count_are_no_costs() {
    let mut outcome = sample::outcome(&[(0.05, 0.10), (0.11, 0.10)]);
    outcome.rounds[0].runs[0].not_counted = vec!["delivery_p99_ms 900 ms".to_owned()];
    let ratio = ratio(&outcome, "ringcast", "sendfile-same", "cpu_s_per_gb").unwrap();
    assert!((ratio.min - 1.1).abs() < 1e-9, "only round 2 has one: {ratio:?}");
    assert!(spread(&outcome, "ringcast", "delivery_p99_ms").is_some(), "that was measured");
    outcome.rounds.remove(1);
    let open = Verdict::Open("ringcast: delivery_p99_ms 900 ms".to_owned());
    assert_eq!(verdicts(&outcome)[0], open);
    outcome.rounds.clear();
    let open = Verdict::Open("ringcast did not run; sendfile-same did not run".to_owned());
    assert_eq!(verdicts(&outcome)[0], open);
}

#[test]
fn one_fault_in_five_rounds_is_a_fault() {
    let mut outcome = sample::outcome(&[(0.1, 0.1), (0.1, 0.1), (0.1, 0.1)]);
    outcome.rounds[1].runs[0].figures.insert("faults".to_owned(), 1.0);
    assert_eq!(verdicts(&outcome)[1], Verdict::Missed);
}

#[test]
fn one_viewer_too_few_in_one_round_is_too_few() {
    let mut outcome = sample::outcome(&[(0.1, 0.1), (0.1, 0.1), (0.1, 0.1)]);
    let text = "figure = \"playing\"\nof = \"ringcast\"\nmin = 2000";
    outcome.scenario.targets = vec![toml::from_str(text).unwrap()];
    for (round, playing) in outcome.rounds.iter_mut().zip([2_000.0, 2_000.0, 1_999.0]) {
        round.runs[0].figures.insert("playing".to_owned(), playing);
    }
    assert_eq!(verdicts(&outcome), [Verdict::Missed]);
    outcome.rounds.remove(2);
    assert_eq!(verdicts(&outcome), [Verdict::Met]);
}

#[test]
fn a_small_figure_spares_the_ratio() {
    let mut outcome = sample::outcome(&[(0.2, 0.1)]);
    let text = r#"figure = "cpu_s_per_gb"
        to = "sendfile-same"
        of = "ringcast"
        max = 1.3
        or = { figure = "cpu_percent", max = 0.3 }"#;
    outcome.scenario.targets = vec![toml::from_str(text).unwrap()];
    assert_eq!(verdicts(&outcome), [Verdict::Missed]);
    outcome.rounds[0].runs[0].figures.insert("cpu_percent".to_owned(), 0.29);
    assert_eq!(verdicts(&outcome), [Verdict::Met]);
    let text = &judge(&outcome)[0].text;
    assert_eq!(text, "cpu_s_per_gb of ringcast ≤ 1.3 × sendfile-same, or cpu_percent ≤ 0.3");
}
