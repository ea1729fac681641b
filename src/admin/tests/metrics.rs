//! The metrics page, with Prometheus' own linter as judge.

use std::io::Write;
use std::process::Command;
use std::process::Stdio;

use crate::admin::metrics::*;
use crate::base::counters::Histogram;

/// What dashboards are built on.
const NAMES: [&str; 32] = [
    "build_info",
    "viewers",
    "streams",
    "engine_sessions",
    "engine_up",
    "ingest_bytes_total",
    "ingest_paused_seconds_total",
    "sent_bytes_total",
    "http_responses_total",
    "stream_starts_total",
    "start_seconds",
    "first_byte_seconds",
    "delivery_latency_seconds",
    "viewer_skips_total",
    "viewer_closed_total",
    "failovers_total",
    "rivals_failed_total",
    "ts_sync_losses_total",
    "redis_up",
    "redis_dropped_total",
    "journal_missed_total",
    "redis_snapshot_bytes_total",
    "redis_snapshot_bytes",
    "redis_snapshot_streams_left_out",
    "streams_primed_total",
    "shard_turn_seconds",
    "send_copied_bytes_total",
    "send_shared_bytes_total",
    "send_zerocopy_bytes_total",
    "memory_bytes",
    "open_files",
    "uptime_seconds",
];

fn busy() -> MetricsSnapshot {
    let start = Histogram::new(START_BOUNDS_US);
    start.record(10_000_000);
    start.record(500_000_000);
    let stream = |index: u64| StreamMetrics {
        stream: format!("{index:040x}"),
        viewers: index,
        ingest_bytes: index * 188,
    };
    MetricsSnapshot {
        version: "0.1.0".to_owned(),
        driver: "uring".to_owned(),
        viewers: 3,
        streams: vec![("active", 2), ("buffering", 0)],
        engines: vec![
            EngineMetrics { engine: "a\"b\\\n".to_owned(), up: true, sessions: 2 },
            EngineMetrics { engine: "127.0.0.1:6878".to_owned(), up: false, sessions: 0 },
        ],
        ingest_paused_us: 1_500_000,
        http_responses: vec![("getstream", 200, 3), ("getstream", 504, 1)],
        stream_starts: vec![("ok", 2), ("offline", 0)],
        start: start.snapshot(),
        viewer_closed: vec![("left", 1), ("slow", 0)],
        failovers: vec![("stall", 0)],
        rivals_failed: vec![("move", 0)],
        shard_turns: vec![Histogram::new(TURN_BOUNDS_US).snapshot(); 2],
        memory: vec![("budget", 1 << 30), ("ring", 1 << 20)],
        per_stream: (0..150).map(stream).collect(),
        ..MetricsSnapshot::default()
    }
}

#[test]
fn every_promised_metric_is_there() {
    let page = render(&busy());
    for name in NAMES {
        assert!(page.contains(&format!("# TYPE ringcast_{name} ")), "{name} is missing");
    }
    assert!(page.contains("ringcast_http_responses_total{route=\"getstream\",code=\"504\"} 1\n"));
    assert!(page.contains("ringcast_ingest_paused_seconds_total 1.5\n"));
}

#[test]
fn histograms_are_cumulative_and_in_seconds() {
    let page = render(&busy());
    for line in [
        "ringcast_start_seconds_bucket{le=\"8\"} 0",
        "ringcast_start_seconds_bucket{le=\"12\"} 1",
        "ringcast_start_seconds_bucket{le=\"120\"} 1",
        "ringcast_start_seconds_bucket{le=\"+Inf\"} 2",
        "ringcast_start_seconds_sum 510",
        "ringcast_start_seconds_count 2",
        "ringcast_first_byte_seconds_bucket{le=\"60\"} 0",
        "ringcast_shard_turn_seconds_bucket{shard=\"1\",le=\"0.00001\"} 0",
    ] {
        assert!(page.contains(&format!("{line}\n")), "{line}\n{page}");
    }
}

#[test]
fn labels_of_streams_are_capped_by_viewers() {
    let page = render(&busy());
    assert_eq!(page.matches("ringcast_stream_viewers{").count(), STREAM_LABELS_MAX);
    assert!(page.contains(&format!("ringcast_stream_viewers{{stream=\"{:040x}\"}} 149\n", 149)));
    assert!(!page.contains(&format!("{:040x}", 49)));
}

#[test]
fn an_idle_server_has_a_page_too() {
    let page = render(&MetricsSnapshot::default());
    assert!(page.contains("ringcast_viewers 0\n"));
    assert!(!page.contains("engine_up"));
}

#[test]
fn promtool_has_nothing_to_say() {
    for snapshot in [busy(), MetricsSnapshot::default()] {
        let spawned = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = spawned else {
            eprintln!("promtool is not installed: the page was not linted");
            return;
        };
        promtool.stdin.take().unwrap().write_all(render(&snapshot).as_bytes()).unwrap();
        let said = promtool.wait_with_output().unwrap();
        let text = [said.stdout, said.stderr].concat();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&text));
        assert!(text.is_empty(), "{}", String::from_utf8_lossy(&text));
    }
}
