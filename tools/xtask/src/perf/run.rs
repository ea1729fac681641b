//! One contender under one load: engine, server, swarm, and what they said.
//!
//! Everything that is started here has ended when the function returns. A run that could not be
//! made is an error; one that was made and does not count says why in its record.

use crate::perf::figures;
use crate::perf::figures::Figures;
use crate::perf::figures::mib;
use crate::perf::machine;
use crate::perf::machine::Launch;
use crate::perf::machine::Process;
use crate::perf::machine::Side;
use crate::perf::plan;
use crate::perf::record::Run;
use crate::perf::rig;
use crate::perf::scenario::Contender;
use crate::perf::scenario::Place;
use crate::perf::scenario::Program;
use crate::perf::scenario::Scenario;
use crate::perf::swarm;
use crate::perf::swarm::SwarmReport;
use serde_json::Value;
use std::fs;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// In the namespace of the rig nobody else has a port.
const ENGINE_PORT_OF_RIG: u16 = 6878;
/// How long the swarm waits for first bytes, and some for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The probe looks this long before the window should end.
const PROBE_BEFORE_END: Duration = Duration::from_millis(500);

/// Where the programs are and what they may use.
pub(crate) struct Bench {
    pub(crate) programs: PathBuf,
    pub(crate) scratch: PathBuf,
    pub(crate) cores: usize,
    /// What the programs were built from.
    pub(crate) commit: String,
}

/// A server with its engine, ready for viewers.
pub(crate) struct Stand {
    pub(crate) engine: Process,
    pub(crate) server: Process,
    pub(crate) addr: SocketAddr,
    pub(crate) load_cpus: String,
    rss_idle_bytes: Option<u64>,
}

/// What the server says of itself near the end of the window.
#[derive(Default)]
pub(crate) struct Probe {
    pub(crate) rss_bytes: Option<u64>,
    /// Of a core, on average since the window should have begun.
    pub(crate) engine_share: Option<f64>,
    pub(crate) status: Value,
}

/// When the window should be, from the start of the swarm.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) window_from: Duration,
    pub(crate) window: Duration,
}

impl Schedule {
    fn end(self) -> Duration {
        self.window_from + self.window
    }
}

impl Bench {
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.scratch.join("logs")
    }
}

pub(crate) fn run(
    bench: &Bench,
    scenario: &Scenario,
    contender: &Contender,
    viewers: u32,
    send_bytes: Option<u64>,
) -> Result<Run, String> {
    let mut run = Run { contender: contender.name.clone(), viewers, ..Run::default() };
    run.send_bytes = send_bytes;
    match scenario.place {
        Place::Loopback => {
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, machine::free_port()?));
            let mut stand = Stand::start(bench, scenario, contender, addr, send_bytes)?;
            on_loopback(bench, scenario, contender, &mut stand, &mut run)?;
            stand.survived()?;
        }
        Place::Rig => rig::run(bench, scenario, contender, &mut run)?,
    }
    run.not_counted = not_counted(scenario, contender, &run.figures);
    if scenario.place == Place::Rig {
        run.not_counted.extend(rig::not_counted(contender, &run));
    }
    Ok(run)
}

fn on_loopback(
    bench: &Bench,
    scenario: &Scenario,
    contender: &Contender,
    stand: &mut Stand,
    run: &mut Run,
) -> Result<(), String> {
    let swarm =
        Launch::new(scenario.place, Side::Client, &stand.load_cpus, &bench.program("swarm"))
            .args(["--target", &stand.addr.to_string()])
            .args(swarm::load_of(scenario, contender, run.viewers));
    let schedule = Schedule {
        window_from: Duration::from_millis(scenario.ramp_ms + scenario.settle_ms),
        window: Duration::from_secs(scenario.seconds),
    };
    let (value, probe) = stand.watch(bench, swarm, contender, schedule, run)?;
    let parsed = SwarmReport::parse(&value)?;
    run.figures = figures::of_swarm(&parsed, scenario.bitrate_bps);
    run.swarm = value;
    stand.memory(probe, run);
    Ok(())
}

impl Stand {
    pub(crate) fn start(
        bench: &Bench,
        scenario: &Scenario,
        contender: &Contender,
        addr: SocketAddr,
        send_bytes: Option<u64>,
    ) -> Result<Self, String> {
        let place = scenario.place;
        let (server_cpus, load_cpus) = plan::cpus(contender.shards, bench.cores);
        let port = if place == Place::Rig { ENGINE_PORT_OF_RIG } else { machine::free_port()? };
        let engine_addr = format!("127.0.0.1:{port}");
        let engine = Launch::new(place, Side::Server, &load_cpus, &bench.program("ace-emulator"))
            .args(["--listen", &engine_addr, "--any-infohash", "--cold-start", "0"])
            .args(["--bitrate", &scenario.bitrate_bps.to_string()])
            .args(["--burst", &scenario.burst_bytes.to_string()])
            .args(["--knob", &format!("piece_bytes={}", scenario.piece_bytes)]);
        let mut engine = engine.start("engine", &bench.logs())?;
        engine.says("listening on")?;
        let server = match contender.program {
            Program::Ringcast => {
                ringcast(bench, contender, place, &server_cpus, addr, &engine_addr)
            }
            Program::Floor => {
                floor(bench, contender, place, &server_cpus, addr, &engine_addr, send_bytes)?
            }
        };
        let mut server = server.start(&contender.name, &bench.logs())?;
        match contender.program {
            Program::Ringcast => server.until("answer of /readyz", || {
                machine::get(place, &load_cpus, addr, "/readyz").is_ok()
            })?,
            Program::Floor => server.says("listening on")?,
        }
        let rss_idle_bytes = machine::rss_bytes(server.pid());
        Ok(Self { engine, server, addr, load_cpus, rss_idle_bytes })
    }

    /// The swarm from start to end, with one look at the server before its window closes.
    pub(crate) fn watch(
        &self,
        bench: &Bench,
        swarm: Launch,
        contender: &Contender,
        schedule: Schedule,
        run: &mut Run,
    ) -> Result<(Value, Probe), String> {
        let report = bench.scratch.join("swarm.json");
        // A report of an earlier run must not pass for this one's.
        let _ = fs::remove_file(&report);
        let mut swarm = swarm.args(["--report", &report.to_string_lossy()]);
        swarm = swarm.args(["--pid", &self.server.pid().to_string()]);
        let serves_metrics = contender.program == Program::Ringcast;
        if serves_metrics {
            swarm = swarm.arg("--metrics");
        }
        let commands = [self.engine.command(), self.server.command()].map(str::to_owned);
        run.commands.extend(commands);
        run.commands.push(swarm.text());
        let mut swarm = swarm.start("swarm", &bench.logs())?;
        let mut probe = Probe::default();
        let looks = [schedule.window_from, schedule.end().saturating_sub(PROBE_BEFORE_END)];
        let engine = || Some((machine::now(), machine::cpu_s(self.engine.pid())?));
        let mut engine_before = None;
        swarm.ends(schedule.end() + PATIENCE, &looks, |look| {
            if look == 0 {
                engine_before = engine();
                return;
            }
            probe.rss_bytes = machine::rss_bytes(self.server.pid());
            probe.engine_share = engine_before.zip(engine()).map(|(before, after)| {
                (after.1 - before.1) / after.0.duration_since(before.0).as_secs_f64()
            });
            if serves_metrics {
                probe.status = self.status();
            }
        })?;
        let text = fs::read_to_string(&report).map_err(|error| format!("swarm: {error}"))?;
        let value = serde_json::from_str(&text).map_err(|error| format!("swarm: {error}"))?;
        Ok((value, probe))
    }

    pub(crate) fn place(&self) -> Place {
        if self.addr.ip().is_loopback() { Place::Loopback } else { Place::Rig }
    }

    fn status(&self) -> Value {
        let page = machine::get(self.place(), &self.load_cpus, self.addr, "/api/v1/status");
        page.ok().and_then(|body| serde_json::from_str(&body).ok()).unwrap_or(Value::Null)
    }

    pub(crate) fn memory(&self, probe: Probe, run: &mut Run) {
        let mut set = |name, value| figures::put(&mut run.figures, name, value);
        set("rss_idle_mib", self.rss_idle_bytes.map(mib));
        set("engine_cpu_percent", probe.engine_share.map(|share| share * 100.0));
        let memory = &probe.status["memory"];
        let of = |field: &str| memory[field].as_u64();
        let over = probe.rss_bytes.zip(of("ring_bytes"));
        set("rss_over_ring_mb", over.map(|(rss, ring)| figures::over_ring_mb(rss, ring)));
        let viewers = probe.status["viewers"].as_u64().filter(|viewers| *viewers > 0);
        let each =
            of("viewer_bytes").zip(viewers).map(|(all, viewers)| all as f64 / viewers as f64);
        set("viewer_memory_bytes", each);
        run.status = probe.status;
        run.rss_probe_bytes = probe.rss_bytes;
    }

    pub(crate) fn survived(&mut self) -> Result<(), String> {
        self.server.is_alive()?;
        self.engine.is_alive()
    }
}

fn ringcast(
    bench: &Bench,
    contender: &Contender,
    place: Place,
    cpus: &str,
    addr: SocketAddr,
    engine: &str,
) -> Launch {
    let mut launch = Launch::new(place, Side::Server, cpus, &bench.program("ringcast"))
        .args(["serve", "--listen", &addr.to_string(), "--engine", engine])
        .args(["--shards", &contender.shards.to_string()]);
    let defaults = [
        ("RINGCAST_MEMORY", "512M"),
        ("RINGCAST_ALLOW", "any"),
        ("RINGCAST_LOG", "text"),
        ("RINGCAST_LOG_LEVEL", "warn"),
        ("RINGCAST_STATE_DIR", "off"),
    ];
    for (name, value) in defaults {
        if !contender.env.contains_key(name) {
            launch = launch.env(name, value);
        }
    }
    contender.env.iter().fold(launch, |launch, (name, value)| launch.env(name, value))
}

fn floor(
    bench: &Bench,
    contender: &Contender,
    place: Place,
    cpus: &str,
    addr: SocketAddr,
    engine: &str,
    send_bytes: Option<u64>,
) -> Result<Launch, String> {
    let kind = contender.kind.ok_or("a floor has a kind")?;
    let bytes = send_bytes.ok_or("a floor has a size")?;
    let launch = Launch::new(place, Side::Server, cpus, &bench.program("floor"));
    let launch = launch.arg(kind.word()).args(["--listen", &addr.to_string()]);
    Ok(launch.args(["--engine", engine, "--send-bytes", &bytes.to_string()]))
}

/// Why the CPU figures of a run say nothing. A floor may begin anywhere in a packet.
pub(crate) fn not_counted(
    scenario: &Scenario,
    contender: &Contender,
    figures: &Figures,
) -> Vec<String> {
    let checks = &scenario.checks;
    let mut reasons = Vec::new();
    let mut most = |name: &str, max: f64, unit: &str| match figures.get(name) {
        None => reasons.push(format!("{name} was not measured")),
        Some(value) if *value > max => {
            reasons.push(format!("{name} {value:.0}{unit}, not more than {max:.0}"));
        }
        Some(_) => {}
    };
    if scenario.check > 0 {
        most("delivery_p99_ms", checks.delivery_p99_ms_max, " ms");
        most("faults", 0.0, "");
        if contender.program == Program::Ringcast {
            most("bad_starts", 0.0, "");
        }
    }
    most("refused", checks.refused_max, "");
    most("closed_early", checks.closed_early_max, "");
    if checks.bytes_share_min > 0.0 {
        let share = figures.get("bytes_share").copied().unwrap_or(0.0);
        if share < checks.bytes_share_min {
            let least = checks.bytes_share_min;
            reasons.push(format!("viewers got {share:.2} of the stream, not {least:.2}"));
        }
    }
    reasons
}
