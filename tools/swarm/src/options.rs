//! The command line, checked before anything is opened.

use std::net::SocketAddr;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::Duration;

/// Loopback has 28 000 ports to connect from; more than that needs more addresses.
const VIEWERS_MAX: u32 = 64_000;
const WINDOW_S_MAX: f64 = 86_400.0;
/// Beyond it a core does nothing but connect.
const CHURN_MAX: f64 = 5_000.0;

/// Thousands of viewers from one core: load, and what it costs the server.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "swarm", version, args_override_self = true)]
pub(crate) struct Options {
    /// The HTTP server that is measured
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) target: SocketAddr,
    /// Path and query; {id} is the stream's id
    #[arg(long, value_name = "TEMPLATE", default_value = "/ace/getstream?id={id}")]
    pub(crate) path: String,
    /// A stream; may be repeated
    #[arg(long = "id", value_name = "HEX", conflicts_with = "streams", value_parser = id)]
    pub(crate) ids: Vec<String>,
    /// This many generated ids, as `ace-emulator --any-infohash` serves them [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) streams: Option<u32>,
    /// Spread evenly over the streams
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(VIEWERS_MAX)))]
    pub(crate) viewers: u32,
    /// They connect evenly over this time
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    pub(crate) ramp_ms: u64,
    /// From the last viewer's first byte (or refusal, or 15 s) to the window
    #[arg(long, value_name = "MS", default_value_t = 3_000)]
    pub(crate) settle_ms: u64,
    /// The measured window
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// The first K viewers are read and verified packet by packet
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) check: u32,
    /// These stop reading after 256 KiB and stay; never among the checked
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) stuck: u32,
    /// K further checked viewers stop reading for --pause-ms in the middle of the window
    #[arg(long, value_name = "K", default_value_t = 0, requires = "pause_ms")]
    pub(crate) pausing: u32,
    /// How long they pause
    #[arg(long, value_name = "MS", requires = "pausing")]
    pub(crate) pause_ms: Option<u64>,
    /// Viewers that leave per second of the window, each followed by a join
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = churn)]
    pub(crate) churn: f64,
    /// This many more join within one second at the middle of the window
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=i64::from(VIEWERS_MAX)))]
    pub(crate) storm: u32,
    /// Send the GET, then never read and never close
    #[arg(long, conflicts_with_all = ["check", "stuck", "pausing", "churn", "storm"])]
    pub(crate) hold: bool,
    /// The server's process, for its CPU time, memory and context switches
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Also the differences of the counters of its /metrics
    #[arg(long)]
    pub(crate) metrics: bool,
    /// Where /metrics is, when not at the target
    #[arg(long, value_name = "ADDR:PORT", requires = "metrics", value_parser = address)]
    pub(crate) metrics_target: Option<SocketAddr>,
    /// Where the JSON report goes [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// One of the streams.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) id: String,
    /// The tag that its signed packets must have, where the id says so.
    pub(crate) tag: Option<u32>,
}

impl Options {
    /// What the types cannot say.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.path.contains("{id}") || !self.path.starts_with('/') {
            return Err(format!("--path {}: must begin with / and contain {{id}}", self.path));
        }
        if u64::from(self.check) + u64::from(self.pausing) > u64::from(self.viewers) {
            return Err(format!(
                "--check {} and --pausing {} are more than --viewers {}",
                self.check, self.pausing, self.viewers
            ));
        }
        let pause = Duration::from_millis(self.pause_ms.unwrap_or(0));
        if self.pausing > 0 && pause >= self.window() {
            return Err("--pause-ms must be shorter than the window (--seconds)".to_owned());
        }
        Ok(())
    }

    pub(crate) fn streams(&self) -> Vec<Stream> {
        if !self.ids.is_empty() {
            return self.ids.iter().map(|id| Stream { id: id.clone(), tag: None }).collect();
        }
        let generated = |k| Stream { id: format!("{k:08x}{}", "ab".repeat(16)), tag: Some(k) };
        (1..=self.streams.unwrap_or(1)).map(generated).collect()
    }

    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("not ADDR:PORT: {error}"))?;
    found.next().ok_or_else(|| "the name has no address".to_owned())
}

fn id(text: &str) -> Result<String, String> {
    if text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("an id has 40 hexadecimal digits".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    between(text, 0.05, WINDOW_S_MAX)
}

fn churn(text: &str) -> Result<f64, String> {
    between(text, 0.0, CHURN_MAX)
}

fn between(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(format!("not in {least}..={most}"))
}
