//! What the mirror costs, and whom: 200 streams of 25 viewers that come and go, with Redis and
//! without, and other crowds for the slope, one after the other on the same machine. Five minutes,
//! so only for `--deep`.

use super::await_state;
use crate::rig;
use crate::rig::Server;
use crate::rig::Start;
use crate::rig::eventually;
use crate::rig::redis::Client;
use crate::rig::redis::Redis;
use crate::rig::redis::info;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// About the least of which the emulator makes a stream.
const BITRATE_BPS: u64 = 250_000;
/// Of a hundred viewers one leaves and comes again each second.
const LEAVE_PER_CENT: u64 = 1;
/// Within the time that a crowd takes to come: what is in Redis stands when it is measured.
const BUFFER_TTL: &str = "12";
const WINDOW: Duration = Duration::from_secs(20);
/// Within the window, so that its churn is in what is measured.
const SAMPLED: Duration = Duration::from_secs(10);

/// By how much the delivery may be slower beside a Redis, on a machine that does everything at
/// once: the swarm, the engine, the server and Redis.
const SLACK: f64 = 5.0;
/// Delivery below this is not compared.
const DELIVERY_MS: f64 = 150.0;

fn engine() -> Emulator {
    let config = Config::default()
        .knob(Knob::AnyInfohash, true)
        .knob(Knob::AnyBitrateBps, BITRATE_BPS)
        .knob(Knob::BurstBytes, 125_000)
        .knob(Knob::PieceBytes, 4_096);
    rig::engine(config)
}

#[derive(Clone, Copy)]
struct Crowd {
    streams: u64,
    viewers: u64,
    /// `RINGCAST_SNAPSHOT_MEMORY`; without it there are none.
    snapshots: Option<&'static str>,
}

impl std::fmt::Display for Crowd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { streams, viewers, snapshots } = self;
        write!(f, "{streams} streams, {viewers} viewers, ")?;
        match snapshots {
            Some(memory) => write!(f, "snapshots of {memory} at most"),
            None => write!(f, "no snapshots"),
        }
    }
}

/// The figures of a crowd; `meanwhile` runs when all of them play.
fn crowd<T>(start: Start, crowd: Crowd, meanwhile: impl FnOnce(&Server) -> T) -> (Value, T) {
    let Crowd { streams, viewers, snapshots } = crowd;
    let start = match snapshots {
        Some(memory) => start.set("RINGCAST_SNAPSHOT_MEMORY", memory),
        None => start.set("RINGCAST_SNAPSHOTS", "off"),
    };
    let start = start.set("PROXY_BUFFER_TTL", BUFFER_TTL);
    let ramp_ms = (3 * viewers).max(12_000);
    let server = start.set("RINGCAST_MEMORY", "2GiB").start().ready();
    let swarm = Path::new(env!("CARGO_BIN_EXE_ringcast")).with_file_name("swarm");
    assert!(swarm.is_file(), "run: cargo build -p swarm");
    let report = std::env::temp_dir().join(format!("ringcast-swarm-{}.json", server.pid()));
    let mut swarm = Command::new(swarm)
        .args(["--target", &server.address.to_string(), "--path", "/ace/getstream?infohash={id}"])
        .args(["--streams", &streams.to_string(), "--viewers", &viewers.to_string()])
        .args(["--check", "200", "--ramp-ms", &ramp_ms.to_string(), "--settle-ms", "2000"])
        .args(["--seconds", &WINDOW.as_secs().to_string()])
        .args(["--churn", &(viewers * LEAVE_PER_CENT / 100).to_string()])
        .args(["--pid", &server.pid().to_string(), "--metrics", "--report"])
        .arg(&report)
        .spawn()
        .expect("the swarm");
    rig::eventually_within(Duration::from_secs(120), "everybody", || {
        (server.count("viewers") >= enough(viewers)).then_some(())
    });
    let found = meanwhile(&server);
    assert!(swarm.wait().expect("our own child").success());
    // In order, so that its sessions are stopped before the next crowd comes.
    assert!(server.stop().success());
    let figures = std::fs::read(&report).expect("a report");
    let _ = std::fs::remove_file(&report);
    (serde_json::from_slice(&figures).expect("a report in JSON"), found)
}

/// Some are always on their way.
const fn enough(viewers: u64) -> u64 {
    viewers - viewers / 100
}

struct Cost {
    commands_per_s: f64,
    scripts_per_s: f64,
    bytes_in_per_s: f64,
    bytes_out_per_s: f64,
    redis_memory_bytes: f64,
    keys: i64,
    lag_p99_ms: u64,
    mirror_cpu_percent: f64,
    redis_cpu_percent: f64,
    left_out: f64,
    dropped: u64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "  Redis: {:.0} commands/s, {:.0} scripts among them and what these do; {:.1} % of a core",
            self.commands_per_s, self.scripts_per_s, self.redis_cpu_percent
        )?;
        let (bytes_in, bytes_out) = (self.bytes_in_per_s, self.bytes_out_per_s);
        writeln!(f, "  Redis: {bytes_in:.0} bytes/s in, {bytes_out:.0} out")?;
        writeln!(f, "  Redis: {} keys, {:.0} bytes of memory", self.keys, self.redis_memory_bytes)?;
        let (lag, dropped) = (self.lag_p99_ms, self.dropped);
        writeln!(f, "  mirror: {:.1} % of a core, lag p99 {lag} ms", self.mirror_cpu_percent)?;
        write!(f, "  mirror: {dropped} dropped, {} streams left out", self.left_out)
    }
}

fn figure(client: &mut Client, section: &str, name: &str) -> f64 {
    info(client, section, name).and_then(|text| text.parse().ok()).expect(name)
}

/// Seconds of CPU that threads of this name have had.
fn thread_cpu_s(pid: u32, name: &str) -> Option<f64> {
    cpu_s(pid, |comm| comm == name)
}

fn process_cpu_s(pid: u32) -> Option<f64> {
    cpu_s(pid, |_| true)
}

fn cpu_s(pid: u32, counts: impl Fn(&str) -> bool) -> Option<f64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of_name = tasks.flatten().map(|task| task.path()).filter(|path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| counts(comm.trim_end()))
    });
    let ns = of_name.filter_map(|path| {
        let schedstat = std::fs::read_to_string(path.join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    });
    Some(ns.sum::<u64>() as f64 / 1e9)
}

/// How often a script has been called.
fn scripts(client: &mut Client) -> f64 {
    let stat = info(client, "commandstats", "cmdstat_eval").unwrap_or_default();
    let calls = stat.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
    calls.map_or(0.0, |calls| calls.parse().expect("a number"))
}

fn cost(server: &Server, redis: &Redis) -> Cost {
    const COUNTED: [&str; 3] =
        ["total_commands_processed", "total_net_input_bytes", "total_net_output_bytes"];
    let mut client = redis.client();
    let mut look = || {
        let [commands, bytes_in, bytes_out] =
            COUNTED.map(|name| figure(&mut client, "stats", name));
        let mirror = thread_cpu_s(server.pid(), "mirror").expect("a thread");
        let own = process_cpu_s(redis.pid()).expect("a process");
        [commands, bytes_in, bytes_out, scripts(&mut client), mirror, own]
    };
    let mut lags = Vec::new();
    let mut looks = 0_u32;
    let begun = rig::stopwatch();
    let before = look();
    let up = rig::throughout(SAMPLED, || {
        looks += 1;
        // Asking is work, too.
        if !looks.is_multiple_of(8) {
            return true;
        }
        let status = server.api("/api/v1/status");
        lags.push(status["redis"]["lag_ms"].as_u64().expect("a lag"));
        status["redis"]["state"] == "up"
    });
    assert!(up, "{:#?}", server.lines_with(&["edis"]));
    let after = look();
    let seconds = begun.elapsed().as_secs_f64();
    lags.sort_unstable();
    let per_s = |at: usize| (after[at] - before[at]) / seconds;
    Cost {
        commands_per_s: per_s(0),
        scripts_per_s: per_s(3),
        bytes_in_per_s: per_s(1),
        bytes_out_per_s: per_s(2),
        redis_memory_bytes: figure(&mut client, "memory", "used_memory"),
        keys: client.call(&["DBSIZE"]).number(),
        lag_p99_ms: lags[lags.len() * 99 / 100],
        mirror_cpu_percent: per_s(4) * 100.0,
        redis_cpu_percent: per_s(5) * 100.0,
        left_out: server.metric("ringcast_redis_snapshot_streams_left_out"),
        dropped: server.api("/api/v1/status")["redis"]["dropped_total"].as_u64().unwrap(),
    }
}

fn is_asked_for() -> bool {
    if !rig::is_deep() {
        rig::say("NOT RUN: what the mirror costs (RINGCAST_TEST_DEEP=1, or --deep)");
    }
    rig::is_deep()
}

/// The p99 of the delivery beside a Redis, and what that had to do.
fn told(engine: &Emulator, wanted: Crowd) -> f64 {
    eventually("no session", || (engine.control().sessions_open() == 0).then_some(()));
    let redis = Redis::start();
    let start = Server::with(&[engine]).set("RINGCAST_REDIS_URL", &redis.url());
    let (run, cost) = crowd(start, wanted, |server| {
        await_state(server, "up");
        cost(server, &redis)
    });
    let p99 = checked("with Redis", wanted, &run);
    rig::say(&cost.to_string());
    assert_eq!(cost.dropped, 0, "{wanted}");
    p99
}

const WHOLE: Crowd = Crowd { streams: 200, viewers: 5_000, snapshots: None };
const AMPLE: Option<&str> = Some("256MiB");

#[test]
fn two_hundred_streams_of_twenty_five() {
    if !is_asked_for() {
        return;
    }
    let engine = engine();
    let (without, ()) = crowd(Server::with(&[&engine]), WHOLE, |_| ());
    let calm = checked("without Redis", WHOLE, &without);
    for wanted in [WHOLE, Crowd { snapshots: AMPLE, ..WHOLE }] {
        let slow = told(&engine, wanted);
        let most = SLACK * calm.max(DELIVERY_MS);
        assert!(slow < most, "{wanted}: delivery {slow} ms, without Redis {calm} ms");
    }
}

/// What it costs against viewers, streams, and the budget of snapshots.
#[test]
fn two_hundred_streams_and_fewer_viewers_or_streams() {
    if !is_asked_for() {
        return;
    }
    let engine = engine();
    let few = Crowd { viewers: 1_000, ..WHOLE };
    for wanted in [
        few,
        Crowd { snapshots: AMPLE, ..few },
        Crowd { snapshots: Some("24MiB"), ..few },
        Crowd { streams: 50, ..few },
    ] {
        told(&engine, wanted);
    }
}

/// Nobody has lost anything. The p99 of the delivery.
fn checked(name: &str, crowd: Crowd, run: &Value) -> f64 {
    let checked = &run["checked"];
    rig::say(&format!(
        "{crowd}, {name}: delivery {} ms, server CPU {} s, {} bytes",
        run["delivery_ms"], run["cpu_s"], run["bytes"]
    ));
    for nothing in ["wrong_packets", "lost_packets", "undeclared_gaps", "misaligned"] {
        assert_eq!(checked[nothing], 0, "{name}: {checked}");
    }
    assert!(run["playing"].as_u64() >= Some(enough(crowd.viewers)), "{name}: {run}");
    run["delivery_ms"]["p99"].as_f64().expect("a percentile")
}
