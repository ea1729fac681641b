//! A `ringcast serve` of its own, on a port of its own, with its log at hand.

use super::PATIENCE;
use super::client;
use super::eventually;
use ace_emulator::Emulator;
use serde_json::Value;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::net::SocketAddr;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;

pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Log {
    /// Keeps what is said, line by line, until its end.
    fn follow(log: &Arc<Self>, output: impl Read + Send + 'static) {
        let log = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                log.lines.lock().unwrap().push(line);
                log.grown.notify_all();
            }
        });
    }
}

/// How a server is to be started; the defaults make time-outs short.
pub(crate) struct Start {
    command: Command,
}

impl Server {
    /// Two shards, the shortest sensible time-outs, nothing of the caller's environment.
    pub(crate) fn with(engines: &[&Emulator]) -> Start {
        let specs: Vec<String> = engines
            .iter()
            .enumerate()
            .map(|(n, engine)| format!("{},name=e{n}", engine.addr()))
            .collect();
        Self::with_specs(&specs.join(" "))
    }

    /// As `RINGCAST_ENGINES` is written.
    pub(crate) fn with_specs(specs: &str) -> Start {
        Self::from_command(Command::new(env!("CARGO_BIN_EXE_ringcast")), specs)
    }

    /// `command` runs the server in its own way (strace, a namespace): its arguments come first.
    ///
    /// A player that a test does not read is nobody who is stuck, unless the test is about that.
    pub(crate) fn from_command(mut command: Command, specs: &str) -> Start {
        command.arg("serve").env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let start = Start { command };
        start
            .set("RINGCAST_LISTEN", "127.0.0.1:0")
            .set("RINGCAST_ENGINES", specs)
            .set("RINGCAST_SHARDS", "2")
            .set("RINGCAST_MEMORY", "256MiB")
            .set("RINGCAST_JOIN_SECONDS", "1")
            .set("PROXY_GRACE_PERIOD", "500ms")
            .set("PROXY_INIT_TIMEOUT", "10")
            .set("RINGCAST_SEND_STALL_TIMEOUT", "120")
    }

    /// Every address that it listens on, in the order of the setting.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let lines = self.lines();
        let said = lines.iter().filter_map(|line| line.split("listening on http://").nth(1));
        said.map(|text| text.trim().parse().expect("an address")).collect()
    }

    /// `ringcast demo`, which brings its own engine.
    pub(crate) fn demo() -> Start {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringcast"));
        command.arg("demo").env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        Start { command }.set("RINGCAST_SHARDS", "2")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The path of a player's request.
    pub(crate) fn play(id: &str) -> String {
        format!("/ace/getstream?id={id}")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn api(&self, path: &str) -> Value {
        let reply = client::get(self.address, path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{path}: {}", reply.text()))
    }

    /// A number of `/api/v1/status`.
    pub(crate) fn count(&self, field: &str) -> u64 {
        self.api("/api/v1/status")[field].as_u64().unwrap_or_else(|| panic!("no {field}"))
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let reply = client::get(self.address, "/metrics");
        let text = reply.text();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no metric {name} in:\n{text}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }

    /// The value of the line of a metric that has `label` among its labels.
    pub(crate) fn labelled_metric(&self, name: &str, label: &str) -> f64 {
        let reply = client::get(self.address, "/metrics");
        let text = reply.text();
        let begin = format!("{name}{{");
        let line = text.lines().find(|line| line.starts_with(&begin) && line.contains(label));
        let line = line.unwrap_or_else(|| panic!("no {name} with {label} in:\n{text}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }

    /// Waits for an answering engine, so that a first request is not a boot race.
    pub(crate) fn ready(self) -> Self {
        eventually("an engine that answers", || {
            (client::get(self.address, "/readyz").status == 200).then_some(())
        });
        self
    }

    /// The first log line that has all of `parts`, awaited.
    pub(crate) fn await_line(&self, parts: &[&str]) -> String {
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            let found = lines.iter().find(|line| parts.iter().all(|part| line.contains(part)));
            if let Some(line) = found {
                return line.clone();
            }
            let (guard, waited) = self.log.grown.wait_timeout(lines, PATIENCE).unwrap();
            lines = guard;
            if waited.timed_out() {
                let text = lines.join("\n");
                // Whoever is dropped for it reads them too.
                drop(lines);
                panic!("no line with {parts:?} in:\n{text}");
            }
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        // A test that fails while it looks at them wants to see them, too.
        self.log.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn lines_with(&self, parts: &[&str]) -> usize {
        let lines = self.lines();
        lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("our own child");
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the server to end", || self.child.try_wait().expect("our own child"))
    }

    /// Waits until so many log lines have all of `parts`; more are a failure. A line is written when
    /// what it says has happened, and is read here some time later.
    pub(crate) fn await_lines(&self, n: usize, parts: &[&str]) {
        eventually(&format!("{n} lines with {parts:?}"), || {
            (self.lines_with(parts) >= n).then_some(())
        });
        assert_eq!(self.lines_with(parts), n, "lines with {parts:?}");
    }

    /// Waits for so many viewers, of whom those who leave count until their sockets are closed.
    pub(crate) fn await_viewers(&self, n: u64) {
        eventually(&format!("{n} viewers"), || (self.count("viewers") == n).then_some(()));
    }

    /// Descriptors of the process when nobody comes or goes.
    pub(crate) fn open_files_at_rest(&self) -> usize {
        eventually("a quiet server", || {
            let files = self.open_files();
            let is_quiet = || self.open_files() == files;
            super::throughout(std::time::Duration::from_millis(200), is_quiet).then_some(files)
        })
    }

    /// Descriptors of the process now.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// The processes that were started for this server: itself, or whoever runs it.
    fn family(&self) -> Vec<u32> {
        let mut family = vec![self.pid()];
        let mut at = 0;
        while at < family.len() {
            let path = format!("/proc/{0}/task/{0}/children", family[at]);
            let children = std::fs::read_to_string(path).unwrap_or_default();
            family.extend(
                children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()),
            );
            at += 1;
        }
        family
    }

    /// CPU time that the server, and whoever runs it, has used.
    pub(crate) fn cpu_of_family(&self) -> std::time::Duration {
        let ticks = self.family().into_iter().map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
            let numbers = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
            numbers.sum::<u64>()
        });
        std::time::Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// Ends a server that somebody else runs: SIGTERM to the innermost process.
    pub(crate) fn end_family(mut self) -> ExitStatus {
        let pid = *self.family().last().expect("itself at least");
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.expect("a process of ours");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("our own");
        self.wait()
    }

    pub(crate) fn rss_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap();
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap() * 4_096
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{}\n---", self.lines().join("\n"));
        }
    }
}

impl Start {
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn unset(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.command.arg(arg);
        self
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(mut self) -> Server {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the built binary starts");
        let log = Arc::new(Log::default());
        Log::follow(&log, child.stdout.take().expect("piped"));
        Log::follow(&log, child.stderr.take().expect("piped"));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { child, address, log };
        let line = server.await_line(&["listening on http://"]);
        let text = line.rsplit("http://").next().expect("the address");
        server.address = text.trim().parse().expect("an address");
        server
    }

    /// For a server that is expected to end by itself: how, and what it said.
    pub(crate) fn output(mut self) -> std::process::Output {
        self.command.stdin(Stdio::null()).output().expect("the built binary starts")
    }
}
