//! Processes of a run: started on their cores, watched by id, ended whatever happens.
//!
//! A `Process` that goes out of scope is killed and waited for. Where `setpriv` is there, the
//! kernel kills it too when this program dies. Nothing is ever ended by name.

use crate::cargo::with_files;
use crate::perf::scenario::Place;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;

const LOOK_EVERY: Duration = Duration::from_millis(50);
const READY_WITHIN: Duration = Duration::from_secs(15);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Of a log, in an error.
const TAIL_BYTES: usize = 600;

/// Which namespace: on loopback there is only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    command: String,
}

/// A command on its cores in its namespace. `words` is what a person would type.
pub(crate) struct Launch {
    words: Vec<String>,
    env: Vec<(String, String)>,
}

impl Launch {
    pub(crate) fn new(place: Place, side: Side, cpus: &str, program: &Path) -> Self {
        let mut words = Vec::new();
        if place == Place::Rig {
            let space = if side == Side::Server { "rcsrv" } else { "rccli" };
            words.extend(["ip", "netns", "exec", space].map(str::to_owned));
        }
        words.extend(["taskset", "-c", cpus].map(str::to_owned));
        words.push(program.to_string_lossy().into_owned());
        Self { words, env: Vec::new() }
    }

    pub(crate) fn arg(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    pub(crate) fn args<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As it could be typed again.
    pub(crate) fn text(&self) -> String {
        let set = self.env.iter().map(|(name, value)| format!("{name}={value}"));
        set.chain(self.words.iter().cloned()).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn start(&self, name: &str, logs: &Path) -> Result<Process, String> {
        let log = logs.join(format!("{name}.log"));
        let unusable = |error: std::io::Error| format!("{}: {error}", log.display());
        fs::create_dir_all(logs).map_err(unusable)?;
        let out = File::create(&log).map_err(unusable)?;
        let err = out.try_clone().map_err(unusable)?;
        let mut command = self.command();
        let child = command.stdout(out).stderr(err).spawn();
        let child = child.map_err(|error| format!("{name}: cannot start: {error}"))?;
        Ok(Process { name: name.to_owned(), child, log, command: self.text() })
    }

    /// Runs to its end and gives what it wrote on stdout.
    pub(crate) fn output(&self, name: &str) -> Result<String, String> {
        let out = self.command().output().map_err(|error| format!("{name}: {error}"))?;
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&out.stderr);
        Err(format!("{name} ({}): {}", out.status, said.trim()))
    }

    fn command(&self) -> Command {
        let mut words = self.words.clone();
        if dies_with_us() {
            words.splice(0..0, ["setpriv", "--pdeathsig", "KILL"].map(str::to_owned));
        }
        let mut command = with_files(&words[0]);
        command.args(&words[1..]);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["RINGCAST_", "PROXY_", "ACEXY_"].iter().any(|start| text.starts_with(start)) {
                command.env_remove(&name);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

fn dies_with_us() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "true"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

impl Process {
    /// `sh`, `setpriv`, `ip` and `taskset` each become the next one: it is the program's own.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// Until its log has `words`, which it writes when it serves.
    pub(crate) fn says(&mut self, words: &str) -> Result<(), String> {
        let log = self.log.clone();
        self.until(words, || fs::read_to_string(&log).is_ok_and(|text| text.contains(words)))
    }

    /// Until `there` is true, while it lives.
    pub(crate) fn until(
        &mut self,
        what: &str,
        mut there: impl FnMut() -> bool,
    ) -> Result<(), String> {
        let deadline = now() + READY_WITHIN;
        while !there() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.ended_with(status));
            }
            if now() > deadline {
                let seconds = READY_WITHIN.as_secs();
                let tail = self.tail();
                return Err(format!("{}: no {what:?} within {seconds} s{tail}", self.name));
            }
            pause(LOOK_EVERY);
        }
        Ok(())
    }

    /// Its end within `limit`; on the way `look` is called with 0, 1, … when each of `looks` has
    /// passed.
    pub(crate) fn ends(
        &mut self,
        limit: Duration,
        looks: &[Duration],
        mut look: impl FnMut(usize),
    ) -> Result<(), String> {
        let started = now();
        let mut next = 0;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return if status.success() { Ok(()) } else { Err(self.ended_with(status)) };
            }
            if started.elapsed() > limit {
                let tail = self.tail();
                return Err(format!("{}: not done after {} s{tail}", self.name, limit.as_secs()));
            }
            if looks.get(next).is_some_and(|after| started.elapsed() >= *after) {
                look(next);
                next += 1;
            }
            pause(LOOK_EVERY);
        }
    }

    pub(crate) fn is_alive(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(self.ended_with(status)),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn ended_with(&self, status: ExitStatus) -> String {
        format!("{} ended ({status}){}", self.name, self.tail())
    }

    fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let text = text.trim();
        let mut from = text.len().saturating_sub(TAIL_BYTES);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        if text.is_empty() { String::new() } else { format!(": {}", &text[from..]) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of loopback that nobody has now.
pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map(|addr| addr.port()).map_err(|error| error.to_string())
}

/// The body of a 200.
pub(crate) fn get(
    place: Place,
    load_cpus: &str,
    addr: SocketAddr,
    path: &str,
) -> Result<String, String> {
    match place {
        Place::Loopback => get_here(addr, path),
        Place::Rig => {
            let seconds = ANSWER_WITHIN.as_secs().to_string();
            let curl = Launch::new(place, Side::Server, load_cpus, Path::new("curl"));
            let curl = curl.args(["-sSf", "-m", &seconds]).arg(format!("http://{addr}{path}"));
            curl.output(path)
        }
    }
}

fn get_here(addr: SocketAddr, path: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("GET {path}: {error}");
    let mut stream = TcpStream::connect_timeout(&addr, ANSWER_WITHIN).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
    let head = format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).map_err(failed)?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).map_err(failed)?;
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    let status = head.lines().next().unwrap_or("");
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("GET {path}: {status}"));
    }
    Ok(body.to_owned())
}

pub(crate) fn rss_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
}

/// CPU seconds that the living threads of a process have used.
pub(crate) fn cpu_s(pid: u32) -> Option<f64> {
    let mut run_ns = 0_u64;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread that ends meanwhile has nothing to say.
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).unwrap_or_default();
        run_ns += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Some(run_ns as f64 / 1e9)
}

#[expect(
    clippy::disallowed_methods,
    reason = "it waits for programs; the product's clock is not here"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[expect(clippy::disallowed_methods, reason = "it times programs; the product's clock is not here")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
