//! Whole runs against a server with known faults: does the swarm find them, and nothing else?

mod server;

use clap::Parser;

use crate::course;
use crate::course::Outcome;
use crate::options::Options;
use server::Faults;
use server::Server;

fn run(server: &Server, arguments: &str) -> Result<Outcome, String> {
    let target = server.addr;
    let fixed = format!("swarm --target {target} --ramp-ms 50 --settle-ms 50 --seconds 0.6");
    let words = fixed.split(' ').chain(arguments.split(' '));
    let options = Options::try_parse_from(words).map_err(|error| error.to_string())?;
    crate::block_on(course::run(options))?
}

#[test]
fn a_good_server_is_found_good_and_every_key_is_there() {
    let server = Server::start(Faults::default());
    let pid = std::process::id();
    let arguments = format!("--viewers 12 --streams 3 --check 4 --metrics --pid {pid}");
    let outcome = run(&server, &arguments).unwrap();
    let report = &outcome.report;
    assert_eq!((report.viewers, report.playing), (12, 12));
    assert_eq!((report.refused, report.closed_early), (0, 0));
    let checked = report.checked.as_ref().unwrap();
    assert_eq!(checked.first_fault, None);
    assert_eq!((checked.viewers, checked.wrong_packets, checked.lost_packets), (4, 0, 0));
    assert_eq!((checked.bad_starts, checked.misaligned, checked.undeclared_gaps), (0, 0, 0));
    assert_eq!(report.first_byte_ms.unwrap().n, 12);
    // 0.6 s with a send every 20 ms to each of four; each sends all there is.
    let (delivery, gap) = (report.delivery_ms.unwrap(), report.gap_ms.unwrap());
    assert!(delivery.n >= 20 && delivery.p50 < 300.0, "{delivery:?}");
    assert!(gap.n >= 20 && gap.p50 >= 5.0 && gap.p50 < 300.0, "{gap:?}");
    let spread = report.bytes_per_viewer.unwrap();
    assert!(spread.min > 300_000 && spread.max < 1_200_000, "{spread:?}");
    assert!(report.bytes.unwrap() >= 12 * spread.min);
    assert!(report.metrics.as_ref().unwrap()["ringcast_sent_bytes_total"] > 0.0);
    assert!(report.threads.unwrap() > 1 && report.rss_bytes.unwrap().end > 0);

    let json = serde_json::to_value(report).unwrap();
    for key in "viewers playing refused closed_early window_s bytes bytes_per_viewer cpu_s \
                cpu_wait_s cpu_s_per_gb threads rss_bytes context_switches steal_percent \
                swarm_cpu_s first_byte_ms storm_first_byte_ms delivery_ms gap_ms checked metrics"
        .split_whitespace()
    {
        assert!(json.get(key).is_some(), "{key} is missing");
    }
    assert!(json["storm_first_byte_ms"].is_null());
    for key in ["n", "p50", "p90", "p99", "max"] {
        assert!(json["delivery_ms"][key].is_number(), "{key}");
    }
    let summary = crate::summary::of(&outcome);
    assert!(summary.lines().count() >= 6, "{summary}");
    assert!(summary.starts_with("viewers     12 of 12 playing"), "{summary}");
}

#[test]
fn a_flipped_bit_is_a_wrong_packet() {
    let server = Server::start(Faults { flip_bit_at: Some(300), ..Faults::default() });
    let report = run(&server, "--viewers 3 --check 2").unwrap().report;
    let checked = report.checked.unwrap();
    assert_eq!((checked.wrong_packets, checked.lost_packets), (2, 0));
    assert!(checked.first_fault.unwrap().contains("wrong packet"));
}

#[test]
fn a_lost_range_is_counted() {
    let server = Server::start(Faults { lose: Some((300, 7)), ..Faults::default() });
    let checked = run(&server, "--viewers 2 --check 1").unwrap().report.checked.unwrap();
    assert_eq!((checked.wrong_packets, checked.lost_packets, checked.undeclared_gaps), (0, 7, 1));
}

#[test]
fn a_start_in_the_middle_and_a_wrong_stream_are_found() {
    let server = Server::start(Faults { lose: Some((0, 3)), ..Faults::default() });
    let checked = run(&server, "--viewers 1 --check 1").unwrap().report.checked.unwrap();
    assert_eq!(checked.bad_starts, 1);
    let server = Server::start(Faults { wrong_tag: true, ..Faults::default() });
    let checked = run(&server, "--viewers 1 --check 1").unwrap().report.checked.unwrap();
    assert!(checked.wrong_packets > 100, "{checked:?}");
}

#[test]
fn chunks_come_off_a_body() {
    let server = Server::start(Faults { chunked: true, ..Faults::default() });
    let report = run(&server, "--viewers 4 --check 2").unwrap().report;
    let checked = report.checked.unwrap();
    assert_eq!(checked.first_fault, None);
    assert!(checked.bytes > 600_000);
}

#[test]
fn stuck_viewers_read_no_more_and_stay() {
    let server = Server::start(Faults::default());
    let report = run(&server, "--viewers 7 --check 1 --stuck 50 --settle-ms 200").unwrap().report;
    assert_eq!((report.playing, report.closed_early), (7, 0));
    assert_eq!((report.stuck.viewers, report.stuck.closed), (3, 0));
    // 500 KB of the past at once: they have stopped before the window begins.
    let spread = report.bytes_per_viewer.unwrap();
    let reading = 4 * spread.min..=4 * spread.max;
    assert!(reading.contains(&report.bytes.unwrap()), "{} {spread:?}", report.bytes.unwrap());
}

#[test]
fn who_zaps_joins_another_stream() {
    let server = Server::start(Faults::default());
    let report = run(&server, "--viewers 6 --streams 2 --check 2 --churn 20").unwrap().report;
    // The join of the last leaver may not be over when the window is.
    assert!(report.playing >= 5 && report.closed_early == 0 && report.refused == 0);
    let joined = report.churn_first_byte_ms.unwrap().n;
    assert!((7..=12).contains(&joined), "{joined}");
    assert_eq!(report.first_byte_ms.unwrap().n, 6 + joined);
    assert_eq!(report.checked.unwrap().first_fault, None);
    let joins = server.joins();
    assert!(joins[&1] > 4 && joins[&2] > 4, "{joins:?}");
}

#[test]
fn a_storm_joins_and_is_timed_apart() {
    let server = Server::start(Faults::default());
    let report = run(&server, "--viewers 2 --storm 10 --seconds 2.2").unwrap().report;
    assert_eq!((report.viewers, report.playing), (12, 12));
    assert_eq!(report.first_byte_ms.unwrap().n, 2);
    assert_eq!(report.storm_first_byte_ms.unwrap().n, 10);
}

#[test]
fn who_pauses_is_verified_but_not_timed() {
    let server = Server::start(Faults::default());
    let report = run(&server, "--viewers 2 --pausing 2 --pause-ms 300").unwrap().report;
    let checked = report.checked.unwrap();
    assert_eq!((checked.viewers, checked.first_fault), (2, None));
    assert!(checked.bytes > 800_000);
    assert_eq!((report.delivery_ms, report.gap_ms), (None, None));
}

#[test]
fn who_holds_reads_nothing() {
    let server = Server::start(Faults::default());
    let report = run(&server, "--viewers 3 --hold --metrics").unwrap().report;
    assert_eq!((report.playing, report.closed_early), (3, 0));
    assert_eq!((report.first_byte_ms, report.checked), (None, None));
    assert!(report.bytes.unwrap() > 0);
}

#[test]
fn a_server_that_closes_has_closed_early() {
    let server = Server::start(Faults { close_after: Some(4_000), ..Faults::default() });
    let report = run(&server, "--viewers 4 --check 1").unwrap().report;
    assert_eq!((report.playing, report.closed_early), (0, 4));
    assert_eq!(report.checked.unwrap().first_fault, None);
}

#[test]
fn what_cannot_be_measured_says_why() {
    let server = Server::start(Faults { refuse: true, ..Faults::default() });
    let why = run(&server, "--viewers 2").err().unwrap();
    assert!(
        why.contains("404 Not Found {\"error\": \"no such stream\"} (id 00000001abab"),
        "{why}"
    );
    let gone = server.addr;
    drop(server);
    let words = format!("swarm --target {gone} --viewers 1 --ramp-ms 0 --settle-ms 0");
    let options = Options::try_parse_from(words.split(' ')).unwrap();
    // Its listener is closed by its own thread, which may still be about to.
    let why = crate::block_on(course::run(options)).unwrap().err().unwrap();
    assert!(why.starts_with("no viewer plays: "), "{why}");
    let wrong = |words: &str| Options::try_parse_from(words.split(' ')).unwrap_err().to_string();
    assert!(wrong("swarm --target 127.0.0.1:1 --viewers 1 --id 12").contains("40 hexadecimal"));
    assert!(wrong("swarm --target nowhere --viewers 1").contains("ADDR:PORT"));
}
