//! A results file that was never measured, for tests of what is made of one.

use crate::perf::host::Host;
use crate::perf::record::FORMAT;
use crate::perf::record::Outcome;
use crate::perf::record::Results;
use crate::perf::record::Round;
use crate::perf::record::Run;
use crate::perf::scenario::Scenario;

const SCENARIO: &str = r#"
    title = "1 000 viewers"
    where = "loopback"
    streams = 1
    viewers = 1000
    bitrate_bps = 8_000_000
    ramp_ms = 1
    settle_ms = 1
    seconds = 15
    rounds = 2
    check = 16
    [[contender]]
    name = "ringcast"
    program = "ringcast"
    [[contender]]
    name = "sendfile-same"
    program = "floor"
    kind = "sendfile"
    send = "same"
    [[contender]]
    name = "write-64k"
    program = "floor"
    kind = "write"
    send = 65536
    [[target]]
    figure = "cpu_s_per_gb"
    to = "sendfile-same"
    max = 1.1001
    [[target]]
    figure = "faults"
    max = 0
"#;

/// CPU per GB of ringcast and of its floor, by round; the other floor costs 0.2.
pub(crate) fn outcome(costs: &[(f64, f64)]) -> Outcome {
    let run = |contender: &str, cost: f64| {
        let figures = [
            ("gbit_per_s", 8.0),
            ("cpu_percent", cost * 100.0),
            ("cpu_s_per_gb", cost),
            ("delivery_p99_ms", 98.4),
            ("first_byte_p99_ms", 12.3),
            ("rss_end_mib", 61.5),
            ("faults", 0.0),
        ];
        Run {
            contender: contender.to_owned(),
            viewers: 1_000,
            figures: figures.map(|(name, value)| (name.to_owned(), value)).into(),
            ..Run::default()
        }
    };
    let round = |(number, (own, floor)): (u32, &(f64, f64))| Round {
        number,
        runs: vec![run("ringcast", *own), run("sendfile-same", *floor), run("write-64k", 0.2)],
    };
    Outcome {
        scenario: Scenario::parse("one-1000", SCENARIO).unwrap(),
        commit: "0123456789ab".to_owned(),
        started_at: "2026-07-01T12:00:00Z".to_owned(),
        profile: "release".to_owned(),
        load_average: 0.25,
        rounds: (1..).zip(costs).map(round).collect(),
        notes: Vec::new(),
    }
}

pub(crate) fn results(outcomes: Vec<Outcome>) -> Results {
    let host = Host {
        name: "bench".to_owned(),
        kernel: "6.18.1".to_owned(),
        cpu: "Some CPU".to_owned(),
        cores: 2,
        memory_bytes: 16 << 30,
        governor: "performance".to_owned(),
        rustc: "rustc 1.90.0".to_owned(),
        open_files: "1024/1048576".to_owned(),
        locked_memory: "8388608/8388608".to_owned(),
        ..Host::default()
    };
    Results { format: FORMAT, date: "2026-07-01".to_owned(), host, scenarios: outcomes }
}
