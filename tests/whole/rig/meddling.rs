//! A kernel that refuses a running server something, for a while: strace, attached to it.

use super::Server;
use std::io::BufRead;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

pub(crate) struct Meddling {
    child: Child,
    log: PathBuf,
}

impl Meddling {
    /// From now on the call fails, as in strace's `-e inject`. None, with a line for who reads the run,
    /// where a running process cannot be traced.
    pub(crate) fn with(server: &Server, inject: &str) -> Option<Self> {
        let name = inject.split(':').next().expect("a call");
        let log = format!("ringcast-{}-{name}.strace", server.pid());
        let log = std::env::temp_dir().join(log);
        let mut command = Command::new("strace");
        command.args(["-f", "-e", &format!("trace={name}"), "-e", &format!("inject={inject}")]);
        command.arg("-o").arg(&log).args(["-p", &server.pid().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("strace");
        let mut said = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("its words");
        if !line.contains("attached") {
            super::say(&format!("NOT RUN: a running server cannot be traced ({})", line.trim()));
            let _ = child.wait();
            return None;
        }
        // What else it says is of no interest, and must not fill the pipe.
        std::thread::spawn(move || said.lines().map_while(Result::ok).for_each(drop));
        Some(Self { child, log })
    }

    /// How often the call was made.
    pub(crate) fn calls(&self) -> usize {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter(|line| line.contains("INJECTED")).count()
    }
}

impl Drop for Meddling {
    /// The server goes on as if nothing had been.
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}
