//! A small server and real clients through a rig of their own: what is swallowed, what is
//! delivered, how connections end, and that nothing is left behind.
//!
//! It needs root (or sudo without a password), clang, bpftool and libbpf's headers; without them it
//! fails and names what lacks.

#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

mod zero_copy;

use rustix::net::sockopt::Timeout;
use rustix::thread::LinkNameSpaceType;
use serde_json::Value;
use std::fs;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const PORT: u16 = 8878;
const SEND: usize = 64 << 10;
const PLAIN_BYTES: usize = 4 << 20;
const ZERO_COPY_BYTES: usize = 4 << 20;
const PAGE_BYTES: usize = 300_000;
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n";
const STREAM: &str = "GET /ace/getstream?id=0 HTTP/1.1\r\n\r\n";

/// Nothing here takes longer, so whoever waits so long waits for ever.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(8));

struct Rig {
    name: String,
    ticks: Child,
}

impl Rig {
    fn up() -> Self {
        let name = format!("t{}", std::process::id());
        nicsink(&name, &["check"]);
        let said = nicsink(&name, &["up"]);
        assert_eq!(said.trim(), "server=10.9.0.1 client=10.9.0.2 plain=10.9.0.3");
        assert_eq!(said, nicsink(&name, &["up"]), "a rig that stands stays");
        let mut ticks = Command::new(env!("CARGO_BIN_EXE_nicsink"));
        ticks.args(["--name", &name, "tick", "--seconds", "30"]);
        Self { name, ticks: ticks.spawn().unwrap() }
    }

    fn stats(&self) -> Value {
        serde_json::from_str(&nicsink(&self.name, &["stats"])).unwrap()
    }

    /// A thread in one of the namespaces; its sockets belong there.
    fn start<T: Send + 'static>(
        &self,
        side: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let namespace = fs::File::open(format!("/run/netns/{}{side}", self.name)).unwrap();
        thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            work()
        })
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.ticks.kill().unwrap();
        self.ticks.wait().unwrap();
        nicsink(&self.name, &["down"]);
    }
}

fn nicsink(name: &str, verb: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nicsink"));
    let out = command.args(["--name", name]).args(verb).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The same test again, by somebody who may make namespaces.
fn as_root(test: &str) {
    let this = std::env::current_exe().unwrap();
    let again = Command::new("sudo").arg("-n").arg(this).args(["--exact", test]).status();
    let again = again.expect("it must be root, and sudo is not installed");
    assert!(again.success(), "it must be root; sudo -n: {again}");
}

/// A page of bytes that tell their places.
fn page(bytes: usize) -> Vec<u8> {
    (0_u32..).flat_map(u32::to_be_bytes).take(bytes).collect()
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(PATIENCE).unwrap();
    socket.set_write_timeout(PATIENCE).unwrap();
    let mut request = [0; 256];
    let length = socket.read(&mut request).unwrap();
    assert!(request[..length].ends_with(b"\r\n\r\n"));
    socket.write_all(HEAD).unwrap();
    socket
}

fn ask(address: &str, request: &str) -> TcpStream {
    let mut socket = TcpStream::connect((address, PORT)).unwrap();
    socket.set_read_timeout(PATIENCE).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut head = [0; HEAD.len()];
    socket.read_exact(&mut head).unwrap();
    assert_eq!(head, HEAD, "the head is delivered");
    socket
}

/// The end of what the socket still gets.
fn rest(socket: &mut TcpStream) -> Result<Vec<u8>, ErrorKind> {
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).map(|_| rest).map_err(|error| error.kind())
}

/// One read. The end of a ring's work interrupts one.
fn heard(socket: &mut TcpStream) -> Result<usize, ErrorKind> {
    loop {
        match socket.read(&mut [0]).map_err(|error| error.kind()) {
            Err(ErrorKind::Interrupted) => {}
            heard => return heard,
        }
    }
}

/// The server of all conversations, in their order.
fn serve(streamed: &mpsc::Sender<()>, listening: &mpsc::Sender<()>) -> zero_copy::Report {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).unwrap();
    rustix::net::sockopt::set_socket_timeout(&listener, Timeout::Recv, PATIENCE).unwrap();
    listening.send(()).unwrap();

    let mut stream = accept(&listener);
    let chunk = page(SEND);
    for _ in 0..PLAIN_BYTES / SEND {
        stream.write_all(&chunk).unwrap();
    }
    let report = zero_copy::send(stream.as_fd(), &chunk, ZERO_COPY_BYTES / SEND);
    drop(stream);

    for _ in 0..2 {
        accept(&listener).write_all(&page(PAGE_BYTES)).unwrap();
    }

    let mut left = accept(&listener);
    zero_copy::send(left.as_fd(), &chunk, 1);
    streamed.send(()).unwrap();
    assert_eq!(
        heard(&mut left),
        Err(ErrorKind::ConnectionReset),
        "a client that closes is seen leaving"
    );

    let mut loud = accept(&listener);
    rustix::net::sockopt::set_socket_keepalive(&loud, true).unwrap();
    rustix::net::sockopt::set_tcp_keepidle(&loud, Duration::from_secs(1)).unwrap();
    rustix::net::sockopt::set_tcp_keepintvl(&loud, Duration::from_secs(1)).unwrap();
    rustix::net::sockopt::set_tcp_keepcnt(&loud, 1).unwrap();
    loud.write_all(&chunk).unwrap();
    streamed.send(()).unwrap();
    loud.set_read_timeout(Some(Duration::from_millis(2_500))).unwrap();
    let silent = Err(ErrorKind::WouldBlock);
    assert_eq!(heard(&mut loud), silent, "its words are dropped, its keepalive answered");
    streamed.send(()).unwrap();
    loud.set_read_timeout(PATIENCE).unwrap();
    assert_eq!(
        heard(&mut loud),
        Err(ErrorKind::ConnectionReset),
        "one that spoke and resets is, too"
    );
    report
}

fn watch(streamed: &mpsc::Receiver<()>, listening: &mpsc::Receiver<()>) {
    listening.recv().unwrap();
    let mut stream = ask("10.9.0.1", STREAM);
    let ended = rest(&mut stream);
    assert_eq!(ended, Err(ErrorKind::ConnectionReset), "the server's close is seen, and no data");

    let metrics = "GET /metrics HTTP/1.1\r\n\r\n";
    for (address, request) in [("10.9.0.1", metrics), ("10.9.0.3", STREAM)] {
        let got = rest(&mut ask(address, request)).unwrap();
        assert!(got == page(PAGE_BYTES), "a whole page: {} bytes", got.len());
    }

    let left = ask("10.9.0.1", STREAM);
    streamed.recv().unwrap();
    drop(left);

    let mut loud = ask("10.9.0.1", STREAM);
    streamed.recv().unwrap();
    loud.write_all(b"more").unwrap();
    streamed.recv().unwrap();
    rustix::net::sockopt::set_socket_linger(&loud, Some(Duration::ZERO)).unwrap();
    drop(loud);
}

#[test]
fn a_server_streams_through_it() {
    if !rustix::process::geteuid().is_root() {
        return as_root("a_server_streams_through_it");
    }
    let rig = Rig::up();
    let (listening, is_listening) = mpsc::channel();
    let (streamed, is_streamed) = mpsc::channel();
    let server = rig.start("srv", move || serve(&streamed, &listening));
    let client = rig.start("cli", move || watch(&is_streamed, &is_listening));
    let (report, watched) = (server.join(), client.join());
    watched.unwrap();
    let report = report.unwrap();
    assert_eq!((report.bytes, report.copied), (ZERO_COPY_BYTES, 0), "nothing is copied");

    let stats = rig.stats();
    let count = |name: &str| stats[name].as_u64().unwrap();
    let swallowed = (PLAIN_BYTES + ZERO_COPY_BYTES + 2 * SEND) as u64;
    assert_eq!([count("bytes"), count("acked_bytes")], [swallowed; 2], "{stats}");
    assert_eq!([count("connections"), count("closed"), count("left")], [3, 1, 2], "{stats}");
    assert!(count("client_dropped") > 0, "{stats}");
    for never in ["repeated_bytes", "retransmitted_segments", "queue_refused", "not_emitted"] {
        assert_eq!(count(never), 0, "{never}: {stats}");
    }
    assert!(count("queue") <= 1, "at most the last client's end waits for its tick: {stats}");

    let name = rig.name.clone();
    drop(rig);
    for left in [format!("/run/netns/{name}srv"), format!("/run/nicsink/{name}")] {
        assert!(!Path::new(&left).exists(), "{left} is left behind");
    }
    nicsink(&name, &["down"]);
}
