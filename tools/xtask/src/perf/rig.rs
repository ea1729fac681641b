//! A run on the card that is none: `perf/nicsink` swallows and acknowledges what goes out.
//!
//! The many viewers are held: real handshakes and requests, then nobody reads. Delivery and
//! content are measured by the few checked viewers, which stand in the server's own namespace
//! and reach it without the card. Bytes are counted by the card.

use crate::perf::figures;
use crate::perf::figures::put;
use crate::perf::machine;
use crate::perf::machine::Launch;
use crate::perf::machine::Process;
use crate::perf::machine::Side;
use crate::perf::record::Run;
use crate::perf::run::Bench;
use crate::perf::run::Schedule;
use crate::perf::run::Stand;
use crate::perf::scenario::Contender;
use crate::perf::scenario::Place;
use crate::perf::scenario::Program;
use crate::perf::scenario::Scenario;
use crate::perf::swarm;
use crate::perf::swarm::SwarmReport;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

const PORT: u16 = 8878;
const PATIENCE: Duration = Duration::from_secs(60);

/// The card is up while this lives.
struct Card<'a> {
    bench: &'a Bench,
    server: SocketAddr,
    _tick: Process,
}

struct Counted {
    at: Instant,
    bytes: u64,
    all: Value,
}

/// What a healthy run leaves at 0: what was sent again or given up, and connections that the server
/// ended.
const CARD_FAULTS: &[&str] =
    &["retransmitted_segments", "repeated_bytes", "queue_refused", "not_emitted", "closed"];

impl<'a> Card<'a> {
    fn up(bench: &'a Bench, load_cpus: &str) -> Result<Self, String> {
        let said = nicsink(bench, &["up", "--port", &PORT.to_string()])?;
        let server = address(&said)?;
        let tick = Launch::new(Place::Loopback, Side::Server, load_cpus, &bench.program("nicsink"));
        let tick = tick.args(["tick", "--seconds", "3600"]).start("tick", &bench.logs())?;
        Ok(Self { bench, server, _tick: tick })
    }

    fn counted(&self) -> Result<Counted, String> {
        let text = nicsink(self.bench, &["stats"])?;
        let all: Value =
            serde_json::from_str(&text).map_err(|error| format!("nicsink stats: {error}"))?;
        let bytes = all["bytes"].as_u64().ok_or("nicsink stats: no bytes")?;
        Ok(Counted { at: machine::now(), bytes, all })
    }
}

impl Drop for Card<'_> {
    fn drop(&mut self) {
        if let Err(why) = nicsink(self.bench, &["down"]) {
            eprintln!("xtask: {why}");
        }
    }
}

pub(crate) fn run(
    bench: &Bench,
    scenario: &Scenario,
    contender: &Contender,
    run: &mut Run,
) -> Result<(), String> {
    let (_, load_cpus) = crate::perf::plan::cpus(contender.shards, bench.cores);
    let card = Card::up(bench, &load_cpus)?;
    let mut stand = Stand::start(bench, scenario, contender, card.server, run.send_bytes)?;
    let held = hold(bench, scenario, contender, &stand, run)?;
    machine::pause(Duration::from_millis(scenario.ramp_ms + scenario.settle_ms));
    let before = card.counted()?;
    let checked = Launch::new(Place::Rig, Side::Server, &stand.load_cpus, &bench.program("swarm"))
        .args(["--target", &card.server.to_string()])
        .args(checked_load(scenario));
    let settle = Duration::from_millis(scenario.settle_ms);
    let schedule = Schedule { window_from: settle, window: Duration::from_secs(scenario.seconds) };
    let (value, probe) = stand.watch(bench, checked, contender, schedule, run)?;
    let after = card.counted()?;
    let parsed = SwarmReport::parse(&value)?;
    run.swarm = value;
    let served_per_s = served_per_s(&before, &after);
    per_byte(scenario, &parsed, served_per_s, run);
    let all = probe.status["viewers"].as_u64();
    let there = all.map(|all| all.saturating_sub(u64::from(scenario.check)) as f64);
    // Of the held ones; the report was of the checked.
    put(&mut run.figures, "playing", there);
    put(&mut run.figures, "refused", there.map(|there| f64::from(run.viewers) - there));
    stand.memory(probe, run);
    run.card = after.all;
    stand.survived()?;
    drop(held);
    Ok(())
}

/// A run in which segments were lost or sent again, or viewers were not served to the end, says
/// nothing of what serving them costs. Of the floors only the card can tell.
pub(crate) fn not_counted(contender: &Contender, run: &Run) -> Vec<String> {
    let of_card = |name: &'static str| (name, run.card[name].as_u64().map(|count| count as f64));
    let mut counts: Vec<_> = CARD_FAULTS.iter().copied().map(of_card).collect();
    if contender.program == Program::Ringcast {
        let of_server = ["server_skips", "server_closed"];
        counts.extend(of_server.map(|name| (name, run.figure(name))));
    }
    let reason = |(name, count): (&str, Option<f64>)| match count {
        None => Some(format!("{name} was not counted")),
        Some(0.0) => None,
        Some(count) => Some(format!("{name} {count:.0}, not 0")),
    };
    counts.into_iter().filter_map(reason).collect()
}

/// Handshake and request of everybody; they stay until they are dropped.
fn hold(
    bench: &Bench,
    scenario: &Scenario,
    contender: &Contender,
    stand: &Stand,
    run: &mut Run,
) -> Result<Process, String> {
    let mut scenario = scenario.clone();
    scenario.check = 0;
    // The harness ends it.
    scenario.seconds += 2 * PATIENCE.as_secs();
    let held = Launch::new(Place::Rig, Side::Client, &stand.load_cpus, &bench.program("swarm"))
        .args(["--target", &stand.addr.to_string(), "--hold"])
        .args(swarm::load_of(&scenario, contender, run.viewers));
    run.commands.push(held.text());
    held.start("held", &bench.logs())
}

fn checked_load(scenario: &Scenario) -> Vec<String> {
    let options = [
        ("--streams", u64::from(scenario.streams)),
        ("--viewers", u64::from(scenario.check)),
        ("--check", u64::from(scenario.check)),
        ("--ramp-ms", 0),
        ("--settle-ms", scenario.settle_ms),
        ("--seconds", scenario.seconds),
    ];
    options.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]).collect()
}

fn served_per_s(before: &Counted, after: &Counted) -> f64 {
    let seconds = after.at.duration_since(before.at).as_secs_f64();
    after.bytes.saturating_sub(before.bytes) as f64 / seconds
}

/// The checked swarm measured the server's CPU; the bytes are the card's.
fn per_byte(scenario: &Scenario, report: &SwarmReport, served_per_s: f64, run: &mut Run) {
    run.figures = figures::of_swarm(report, scenario.bitrate_bps);
    for own in ["cpu_s_per_gb", "bytes_per_viewer_min", "bytes_per_viewer_p50", "bytes_share_min"] {
        run.figures.remove(own);
    }
    let gb_per_s = served_per_s / 1e9;
    let cpu = report.cpu_s.map(|cpu_s| cpu_s / report.window_s);
    let mut set = |name, value| put(&mut run.figures, name, value);
    set("cpu_s_per_gb", cpu.map(|cpu| cpu / gb_per_s));
    set("gbit_per_s", Some(gb_per_s * 8.0));
    let owed = f64::from(run.viewers) * figures::bytes_owed(scenario.bitrate_bps, 1.0);
    set("bytes_share", Some(served_per_s / owed));
}

/// `server=10.9.0.1 client=10.9.0.2`
fn address(said: &str) -> Result<SocketAddr, String> {
    let word = said.split_whitespace().find_map(|word| word.strip_prefix("server="));
    let ip = word.and_then(|word| word.parse().ok());
    let ip = ip.ok_or_else(|| format!("nicsink up said no server=ADDRESS: {}", said.trim()))?;
    Ok(SocketAddr::new(ip, PORT))
}

fn nicsink(bench: &Bench, args: &[&str]) -> Result<String, String> {
    output(&bench.program("nicsink"), args)
}

fn output(program: &Path, args: &[&str]) -> Result<String, String> {
    let what = format!("nicsink {}", args.join(" "));
    let out = Command::new(program).args(args).current_dir(crate::cargo::root()).output();
    let out = out.map_err(|error| format!("{what}: {error}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    Err(format!("{what}: {}", String::from_utf8_lossy(&out.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_names_its_address() {
        let addr = address("server=10.9.0.1 client=10.9.0.2\n").unwrap();
        assert_eq!(addr.to_string(), "10.9.0.1:8878");
        assert!(address("nothing").unwrap_err().contains("no server=ADDRESS"));
    }

    #[test]
    fn bytes_are_the_cards_and_seconds_the_servers() {
        let at = machine::now();
        let before = Counted { at, bytes: 1_000, all: Value::Null };
        let at = at + Duration::from_secs(2);
        let after = Counted { at, bytes: 2_000_001_000, all: Value::Null };
        let served_per_s = served_per_s(&before, &after);
        let report = SwarmReport { window_s: 10.0, cpu_s: Some(1.0), ..SwarmReport::default() };
        let text = include_str!("../../../../perf/scenarios/rig-1000.toml");
        let scenario = Scenario::parse("rig-1000", text).unwrap();
        let mut run = Run { viewers: 1_000, ..Run::default() };
        per_byte(&scenario, &report, served_per_s, &mut run);
        assert_eq!(run.figure("cpu_s_per_gb"), Some(0.1));
        assert_eq!(run.figure("gbit_per_s"), Some(8.0));
        assert_eq!(run.figure("bytes_share"), Some(1.0));
        assert_eq!(run.figure("cpu_percent"), Some(10.0));
    }

    #[test]
    fn a_card_that_lost_or_a_server_that_skipped_does_not_count() {
        let text = include_str!("../../../../perf/scenarios/rig-1000.toml");
        let scenario = Scenario::parse("rig-1000", text).unwrap();
        let [ringcast, floor] = ["ringcast", "zerocopy-same"].map(|name| {
            scenario.contender(name).unwrap_or_else(|| panic!("{name} is gone from rig-1000"))
        });
        let mut run = Run::default();
        for name in CARD_FAULTS {
            run.card[*name] = 0.into();
        }
        assert!(not_counted(floor, &run).is_empty());
        let silent = ["server_skips was not counted", "server_closed was not counted"];
        assert_eq!(not_counted(ringcast, &run), silent);
        put(&mut run.figures, "server_skips", Some(0.0));
        put(&mut run.figures, "server_closed", Some(2.0));
        assert_eq!(not_counted(ringcast, &run), ["server_closed 2, not 0"]);
        run.figures.clear();
        for name in CARD_FAULTS {
            run.card[*name] = 7.into();
            assert_eq!(not_counted(floor, &run), [format!("{name} 7, not 0")]);
            run.card[*name] = 0.into();
        }
        run.card = Value::Null;
        assert_eq!(not_counted(floor, &run).len(), CARD_FAULTS.len(), "nobody asked the card");
    }
}
