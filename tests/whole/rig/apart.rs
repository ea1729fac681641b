//! An engine in a process of its own, which can be stopped and killed as one. The process is this test
//! runner once more, asked for the one test that is an engine.

use super::client;
use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::net::SocketAddr;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

/// The channel and the beginning of its broadcast, for the process that is the engine.
const VARIABLE: &str = "RINGCAST_TEST_ENGINE";
const SAYS: &str = "an engine apart listens on ";

pub(crate) struct EngineApart {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl EngineApart {
    /// [`super::one_channel`], of a broadcast that began then. `test` is the name of the test that
    /// calls [`serve`].
    pub(crate) fn start(test: &str, channel: u32, epoch_us: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this very program"));
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        command.env(VARIABLE, format!("{channel} {epoch_us}"));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("this program, once more");
        let said = BufReader::new(child.stderr.take().expect("piped"));
        let mut lines = said.lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.split(SAYS).nth(1)?.trim().parse().ok());
        Self { child, address: address.expect("an engine's address") }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("our own child");
    }

    /// One of its counters; it must be running.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let state = client::get(self.address, "/emulator/state").text();
        let state: Value = serde_json::from_str(&state).expect("its state");
        state["counters"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {state}"))
    }
}

impl Drop for EngineApart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process does: serves until whoever started it is gone. Nothing in the runner itself.
pub(crate) fn serve() {
    let Ok(asked) = std::env::var(VARIABLE) else { return };
    let (channel, epoch_us) = asked.split_once(' ').expect("a channel and an epoch");
    let config = super::one_channel(channel.parse().expect("a number"));
    let engine = super::engine(config.epoch_us(epoch_us.parse().expect("a time")));
    super::say(&format!("{SAYS}{}", engine.addr()));
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
