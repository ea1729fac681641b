//! What the mirror costs, and whom: 200 streams of 25 viewers that come and go, with Redis and
//! without, one after the other on the same machine. A minute, so only for `--deep`.

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

const STREAMS: u64 = 200;
const VIEWERS: u64 = 25 * STREAMS;
const BITRATE_BPS: u64 = 100_000;
const LEAVE_PER_S: u64 = 50;
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
        .knob(Knob::BurstBytes, 50_000)
        .knob(Knob::PieceBytes, 4_096);
    rig::engine(config)
}

/// The figures of a crowd; `meanwhile` runs when all of them play.
fn crowd<T>(start: Start, meanwhile: impl FnOnce(&Server) -> T) -> (Value, T) {
    let server = start.set("RINGCAST_MEMORY", "2GiB").start().ready();
    let swarm = Path::new(env!("CARGO_BIN_EXE_ringcast")).with_file_name("swarm");
    assert!(swarm.is_file(), "run: cargo build -p swarm");
    let report = std::env::temp_dir().join(format!("ringcast-swarm-{}.json", server.pid()));
    let mut swarm = Command::new(swarm)
        .args(["--target", &server.address.to_string(), "--path", "/ace/getstream?infohash={id}"])
        .args(["--streams", &STREAMS.to_string(), "--viewers", &VIEWERS.to_string()])
        .args(["--check", "200", "--ramp-ms", "15000", "--settle-ms", "2000"])
        .args(["--seconds", &WINDOW.as_secs().to_string(), "--churn", &LEAVE_PER_S.to_string()])
        .args(["--pid", &server.pid().to_string(), "--metrics", "--report"])
        .arg(&report)
        .spawn()
        .expect("the swarm");
    rig::eventually_within(Duration::from_secs(120), "everybody", || {
        (server.count("viewers") >= VIEWERS).then_some(())
    });
    let found = meanwhile(&server);
    assert!(swarm.wait().expect("our own child").success());
    let figures = std::fs::read(&report).expect("a report");
    let _ = std::fs::remove_file(&report);
    (serde_json::from_slice(&figures).expect("a report in JSON"), found)
}

struct Cost {
    commands_per_s: f64,
    bytes_in_per_s: f64,
    bytes_out_per_s: f64,
    redis_memory_bytes: f64,
    keys: i64,
    lag_p99_ms: u64,
    mirror_cpu_percent: f64,
    dropped: u64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "Redis: {:.0} commands/s", self.commands_per_s)?;
        writeln!(
            f,
            "Redis: {:.0} bytes/s in, {:.0} out",
            self.bytes_in_per_s, self.bytes_out_per_s
        )?;
        writeln!(f, "Redis: {} keys, {:.0} bytes of memory", self.keys, self.redis_memory_bytes)?;
        writeln!(f, "mirror: lag p99 {} ms, {} dropped", self.lag_p99_ms, self.dropped)?;
        write!(f, "mirror: {:.1} % of a core", self.mirror_cpu_percent)
    }
}

fn figure(client: &mut Client, section: &str, name: &str) -> f64 {
    info(client, section, name).and_then(|text| text.parse().ok()).expect(name)
}

/// Seconds of CPU that threads of this name have had.
fn thread_cpu_s(pid: u32, name: &str) -> Option<f64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of_name = tasks.flatten().map(|task| task.path()).filter(|path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    });
    let ns = of_name.filter_map(|path| {
        let schedstat = std::fs::read_to_string(path.join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    });
    Some(ns.sum::<u64>() as f64 / 1e9)
}

fn cost(server: &Server, redis: &Redis) -> Cost {
    const COUNTED: [&str; 3] =
        ["total_commands_processed", "total_net_input_bytes", "total_net_output_bytes"];
    let mut client = redis.client();
    let mut look = || {
        let counted = COUNTED.map(|name| figure(&mut client, "stats", name));
        (counted, thread_cpu_s(server.pid(), "mirror").expect("a thread"))
    };
    let mut lags = Vec::new();
    let begun = rig::stopwatch();
    let (before, cpu_before) = look();
    rig::throughout(SAMPLED, || {
        let status = server.api("/api/v1/status");
        lags.push(status["redis"]["lag_ms"].as_u64().expect("a lag"));
        status["redis"]["state"] == "up"
    });
    let (after, cpu_after) = look();
    let seconds = begun.elapsed().as_secs_f64();
    lags.sort_unstable();
    let per_s = |at: usize| (after[at] - before[at]) / seconds;
    Cost {
        commands_per_s: per_s(0),
        bytes_in_per_s: per_s(1),
        bytes_out_per_s: per_s(2),
        redis_memory_bytes: figure(&mut client, "memory", "used_memory"),
        keys: client.call(&["DBSIZE"]).number(),
        lag_p99_ms: lags[lags.len() * 99 / 100],
        mirror_cpu_percent: (cpu_after - cpu_before) / seconds * 100.0,
        dropped: server.api("/api/v1/status")["redis"]["dropped_total"].as_u64().unwrap(),
    }
}

#[test]
fn two_hundred_streams_of_twenty_five() {
    if std::env::var_os("RINGCAST_TEST_DEEP").is_none() {
        println!("NOT RUN: what the mirror costs (RINGCAST_TEST_DEEP=1, or --deep)");
        return;
    }
    let engine = engine();
    let (without, ()) = crowd(Server::with(&[&engine]), |_| ());
    eventually("no session", || (engine.control().sessions_open() == 0).then_some(()));
    let redis = Redis::start();
    let start = Server::with(&[&engine]).set("RINGCAST_REDIS_URL", &redis.url());
    let (with, cost) = crowd(start, |server| {
        await_state(server, "up");
        cost(server, &redis)
    });
    println!("{STREAMS} streams, {VIEWERS} viewers, {LEAVE_PER_S} a second leave and come");
    println!("{cost}");
    for (name, run) in [("without Redis", &without), ("with Redis", &with)] {
        println!(
            "{name}: delivery {} gap {} server CPU {} s, checked {}",
            run["delivery_ms"], run["gap_ms"], run["cpu_s"], run["checked"]
        );
        let checked = &run["checked"];
        for nothing in ["wrong_packets", "lost_packets", "undeclared_gaps", "misaligned"] {
            assert_eq!(checked[nothing], 0, "{name}: {checked}");
        }
        assert_eq!(run["playing"], VIEWERS, "{name}");
    }
    assert_eq!(cost.dropped, 0);
    let p99 = |run: &Value| run["delivery_ms"]["p99"].as_f64().expect("a percentile");
    let (told, calm) = (p99(&with), p99(&without));
    assert!(told < SLACK * calm.max(DELIVERY_MS), "delivery {told} ms, without Redis {calm} ms");
}
