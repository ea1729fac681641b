//! Redis servers of the tests' own: started on free ports, without persistence, in folders that go
//! with them; killed, frozen and restarted as the tests ask. Read by a client that shares nothing
//! with the server under test.

mod cluster;
mod delay;
mod monitor;
mod resp;
mod sentinel;
mod subscriber;
mod view;

pub(crate) use cluster::Cluster;
pub(crate) use delay::Delay;
pub(crate) use monitor::Monitor;
pub(crate) use resp::Client;
pub(crate) use resp::Place;
pub(crate) use resp::Reply;
pub(crate) use sentinel::Sentinel;
pub(crate) use subscriber::Message;
pub(crate) use subscriber::Subscriber;
pub(crate) use view::View;

use super::eventually;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;

/// Ports for servers that are restarted on the same one: below those that the kernel gives to
/// connections, so that nobody takes one in between. A node of a cluster also takes the one 10 000
/// above.
const FIRST_PORT: u16 = 11_000;
const PORTS: u16 = 10_000;

/// The server that the tests run: `RINGCAST_TEST_REDIS`, else what the package installs.
pub(crate) fn program() -> String {
    std::env::var("RINGCAST_TEST_REDIS").unwrap_or_else(|_| "redis-server".to_owned())
}

/// One server process.
pub(crate) struct Redis {
    child: Child,
    command: Vec<String>,
    folder: Folder,
    pub(crate) port: u16,
    lines: Vec<String>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With these lines of configuration.
    pub(crate) fn with(lines: &[&str]) -> Self {
        Self::of(&[&program()], lines)
    }

    /// Another command that takes the same configuration.
    pub(crate) fn of(command: &[&str], lines: &[&str]) -> Self {
        Self::start_within(10, command, lines)
            .unwrap_or_else(|| panic!("{command:?} does not start; is its package installed?"))
    }

    /// With lines that another server than the package's may be built without.
    pub(crate) fn with_what_not_all_know(lines: &[&str]) -> Option<Self> {
        let is_another = std::env::var_os("RINGCAST_TEST_REDIS").is_some();
        if is_another {
            Self::start_within(3, &[&program()], lines)
        } else {
            Some(Self::with(lines))
        }
    }

    fn start_within(tries: usize, command: &[&str], lines: &[&str]) -> Option<Self> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let (command, lines): (Vec<String>, Vec<String>) = (owned(command), owned(lines));
        (0..tries).find_map(|_| {
            let port = free_port();
            let folder = Folder::new(port);
            let mut child = spawn(&command, &folder, port, &lines);
            if answers(&mut child, port) {
                let (command, lines) = (command.clone(), lines.clone());
                return Some(Self { child, command, folder, port, lines });
            }
            let _ = child.kill();
            let _ = child.wait();
            None
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn place(&self) -> Place {
        Place::Tcp(self.address())
    }

    /// A file of its folder, where it also looks for names without a path.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.place()).expect("a Redis that runs")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("our own child");
    }

    pub(crate) fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on its port; it has forgotten everything.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.command, &self.folder, self.port, &self.lines);
        assert!(answers(&mut self.child, self.port), "it started here before");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Of the line `name:` of `INFO section`.
pub(crate) fn info(client: &mut Client, section: &str, name: &str) -> Option<String> {
    let text = client.ask(&["INFO", section]).ok()?.text()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
}

fn spawn(words: &[String], folder: &Folder, port: u16, lines: &[String]) -> Child {
    let path = folder.0.join("redis.conf");
    let own = format!("port {port}\nbind 127.0.0.1\nsave \"\"\nappendonly no\nloglevel warning\n");
    std::fs::write(&path, own + &lines.join("\n") + "\n").expect("a file in its folder");
    let (program, arguments) = words.split_first().expect("a program");
    let mut command = Command::new(program);
    command.arg(path).args(arguments).current_dir(&folder.0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Waits until this very process answers; false when it ended instead.
fn answers(child: &mut Child, port: u16) -> bool {
    let place = Place::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
    eventually("Redis to answer or to end", || {
        if child.try_wait().expect("our own child").is_some() {
            return Some(false);
        }
        let mut client = Client::connect(&place).ok()?;
        // One that wants a password says so, which is an answer.
        let reply = client.ask(&["PING"]).ok()?;
        let own = info(&mut client, "server", "process_id");
        let refused = matches!(&reply, Reply::Error(text) if text.starts_with("NOAUTH"));
        (refused || own == Some(child.id().to_string())).then_some(true)
    })
}

pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() * 31 % u32::from(PORTS)).unwrap();
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT + start.wrapping_add(step) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A folder that is gone with its owner.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(port: u16) -> Self {
        let name = format!("ringcast-{}-redis-{port}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder among the temporary ones");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
