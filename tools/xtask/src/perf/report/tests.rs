//! From fixed rounds to fixed pages; and a day's file keeps what was not measured again.

use super::*;
use crate::perf::figures::FIGURES;
use crate::perf::report::sample::outcome;
use crate::perf::report::sample::results;

const ROWS: &str = "\
| one-1000 | 1000 | ringcast | 8.00 | 12.00 (11.00–13.00) | 0.1200 (0.1100–0.1300) | \
sendfile-same: 1.20 (1.10–1.30) | write-64k: 0.60 (0.55–0.65) | 98 | 12 | 62 | 2 | \
1 of 2 met; missed: cpu_s_per_gb of ringcast ≤ 1.1001 × sendfile-same |
| one-1000 | 1000 | sendfile-same | 8.00 | 10.00 | 0.1000 | – | – | 98 | 12 | 62 | 2 | – |
| one-1000 | 1000 | write-64k | 8.00 | 20.00 | 0.2000 | – | – | 98 | 12 | 62 | 2 | – |
";

const TARGETS: &str = "\
| one-1000 | cpu_s_per_gb of ringcast ≤ 1.1001 × sendfile-same | 1.200 (1.100–1.300) | **missed** |
| one-1000 | faults of ringcast ≤ 0 | 0 | met |
";

#[test]
fn the_table_of_fixed_rounds() {
    let page =
        table::page(&results(vec![outcome(&[(0.11, 0.1), (0.13, 0.1)])]), Some("a.svg"), &[]);
    assert!(page.starts_with("# Measured on bench, 2026-07-01\n\n- bench: 2 cores of Some CPU"));
    assert!(page.contains("![CPU seconds per GB](a.svg)"));
    assert!(page.contains(ROWS), "{page}");
    assert!(page.contains(TARGETS), "{page}");
    assert!(
        page.contains("`cargo xtask perf one-1000 --rounds 2 --seconds 15`, release, commit 0123")
    );
    assert!(!page.contains("What does not count"), "everything does");
}

#[test]
fn what_does_not_count_is_said() {
    let mut outcome = outcome(&[(0.11, 0.1), (0.13, 0.1)]);
    outcome.notes.push("round 1 was discarded: 7.0 % steal while ringcast ran".to_owned());
    outcome.rounds[1].runs[0].not_counted = vec!["faults 3, not more than 0".to_owned()];
    let page = table::page(&results(vec![outcome]), None, &[]);
    assert!(page.contains("| 1 of 2 |"), "{page}");
    assert!(page.contains("- one-1000: round 1 was discarded: 7.0 % steal"), "{page}");
    assert!(page.contains("- one-1000, round 2, ringcast: faults 3, not more than 0"), "{page}");
}

#[test]
fn a_bound_of_its_own_stands_beside_the_cost() {
    let mut own = outcome(&[(0.11, 0.1), (0.13, 0.1)]);
    own.scenario.checks.delivery_p99_ms_max = 195.0;
    own.rounds.iter_mut().for_each(|round| round.runs[2].not_counted = vec!["late".to_owned()]);
    let svg = chart::svg(&results(vec![own.clone()])).unwrap();
    assert!(svg.contains(">1 000 viewers, p99 ≤ 195 ms</text>"), "{svg}");
    let page = table::page(&results(vec![own]), None, &[]);
    assert!(page.contains("| 0.1200 (0.1100–0.1300), p99 ≤ 195 |"), "{page}");
    assert!(page.contains("| 0.1000, p99 ≤ 195 |"), "{page}");
    assert!(page.contains("| write-64k | 8.00 | – | – |"), "no figure, no bound: {page}");
}

#[test]
fn flame_graphs_that_are_there_are_linked() {
    let folder = std::env::temp_dir().join(format!("xtask-perf-{}-flames", std::process::id()));
    let mut other = outcome(&[(0.3, 0.3)]);
    other.scenario.name = "one-50".to_owned();
    let day = || results(vec![outcome(&[(0.11, 0.1)]), other.clone()]);
    let page = save(day(), &folder).unwrap();
    assert!(!fs::read_to_string(page).unwrap().contains("Flame graphs"));
    for name in ["2026-07-01-bench-one-1000-flame.svg", "2026-07-01-bench-2-one-50-flame.svg"] {
        fs::write(folder.join(name), "<svg/>").unwrap();
    }
    let page = fs::read_to_string(save(day(), &folder).unwrap()).unwrap();
    let links = "\n## Flame graphs\n\n- [one-1000](2026-07-01-bench-one-1000-flame.svg)\n\n## Com";
    assert!(page.contains(links), "{page}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn every_scenario_has_its_scale() {
    let mut dear = outcome(&[(8.0, 4.0)]);
    dear.scenario.name = "one-1".to_owned();
    let svg = chart::svg(&results(vec![dear, outcome(&[(0.1, 0.05)])])).unwrap();
    let bars = |class: &str| -> Vec<&str> {
        let start = format!("<rect class=\"{class}\" ");
        let bars = svg.split(start.as_str()).skip(1);
        bars.map(|bar| bar.split("width=\"").nth(1).unwrap().split('"').next().unwrap()).collect()
    };
    // 470 wide: 8 of 8 and 0.1 of 0.2; then 4 and 0.2 of 8, 0.05 and 0.2 of 0.2.
    assert_eq!(bars("r"), ["470", "235"]);
    assert_eq!(bars("f"), ["235", "12", "118", "470"]);
}

#[test]
fn the_chart_of_fixed_rounds() {
    let svg = chart::svg(&results(vec![outcome(&[(0.11, 0.1), (0.13, 0.1)])])).unwrap();
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 162\""));
    assert!(svg.contains("prefers-color-scheme:dark"));
    // 470 wide for 0.2: the median of 0.12 is 282, its ends at 458 and 506.
    assert!(
        svg.contains("<rect class=\"r\" x=\"200\" y=\"84\" width=\"282\" height=\"14\"/>"),
        "{svg}"
    );
    assert!(svg.contains("d=\"M458 91H506\""), "{svg}");
    assert_eq!(svg.matches("<rect class=\"f\"").count(), 2);
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    assert!(svg.ends_with("</svg>\n"));
    assert!(chart::svg(&results(Vec::new())).is_none());
}

#[test]
fn a_day_keeps_what_was_not_measured_again() {
    let folder = std::env::temp_dir().join(format!("xtask-perf-{}-day", std::process::id()));
    let mut other = outcome(&[(0.3, 0.3)]);
    other.scenario.name = "one-50".to_owned();
    other.scenario.viewers = 50;
    save(results(vec![outcome(&[(0.11, 0.1)])]), &folder).unwrap();
    save(results(vec![other]), &folder).unwrap();
    let page = save(results(vec![outcome(&[(0.10, 0.1), (0.10, 0.1)])]), &folder).unwrap();
    let json = folder.join("2026-07-01-bench.json");
    let kept = load(&json).unwrap();
    let names: Vec<&str> = kept.scenarios.iter().map(|one| one.scenario.name.as_str()).collect();
    assert_eq!(names, ["one-50", "one-1000"]);
    assert_eq!(kept.scenarios[1].rounds.len(), 2, "the newer one");
    assert!(fs::read_to_string(&page).unwrap().contains("| one-50 | 50 | ringcast |"));
    assert!(page.with_extension("svg").exists());
    fs::write(&json, "{}").unwrap();
    let why = save(results(Vec::new()), &folder).unwrap_err();
    assert!(why.contains("move it away to begin a new one"), "{why}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_readme_explains_every_figure() {
    let readme = fs::read_to_string(crate::cargo::root().join("perf/README.md")).unwrap();
    for figure in FIGURES {
        assert!(readme.contains(&format!("`{}`", figure.name)), "perf/README.md: {}", figure.name);
    }
}
