//! The life of a server that is changed, restarted, stopped for a while, or has nowhere to write.

use crate::rig;
use crate::rig::Player;
use crate::rig::Refusal;
use crate::rig::Server;
use crate::rig::eventually;
use rustix::process::Signal;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const SECOND: u64 = 250_000;

/// A settings file of this test's own.
struct File(std::path::PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let file =
            Self(std::env::temp_dir().join(format!("ringcast-{}-{name}", std::process::id())));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn sighup_changes_what_may_change_and_drops_nobody() {
    let engines = [rig::engine(rig::one_channel(1_700)), rig::engine(rig::one_channel(1_700))];
    let spec = |n: usize| format!("engines = [\"{},name=e{n}\"]\n", engines[n].addr());
    let file = File::new("reload.toml", &spec(0));
    let secret = File::new("reload-token", "first-token");
    let token = format!("api_token_file = \"{}\"\n", secret.0.display());
    let server = Server::with(&[])
        .unset("RINGCAST_ENGINES")
        .arg("--config")
        .arg(file.0.to_str().unwrap())
        .start()
        .ready();
    let path = Server::play(&rig::content_id(1_700));
    let mut player = Player::open(server.address, &path);
    player.play(SECOND);
    let reload = |text: &str, line: &[&str]| {
        let before = server.lines_with(line);
        file.write(text);
        server.signal(Signal::HUP);
        eventually("the reload", || (server.lines_with(line) > before).then_some(()));
    };
    let done = ["reload: the settings were read again"];

    // Limits and access.
    reload(&format!("{}max_viewers = 1\n", spec(0)), &done);
    let refused = eventually("the new limit", || {
        Some(rig::get(server.address, &path)).filter(|reply| reply.status != 200)
    });
    let message = Refusal::new(503, "no_capacity").check("one more", &refused);
    assert!(message.contains("RINGCAST_MAX_VIEWERS"), "{message}");
    reload(&format!("{}allow = \"127.0.0.2\"\n", spec(0)), &done);
    let refused = eventually("the new list", || {
        Some(rig::get(server.address, "/metrics")).filter(|reply| reply.status != 200)
    });
    Refusal::no_cors(403, "forbidden").check("an address that is out now", &refused);
    assert!(player.play_on(SECOND).is_unbroken(), "who is in stays in");

    // Settings that cannot be used: one line, and the old ones stay.
    let bad = format!("{}allow = \"nonsense\"\nmax_viewers = -1\n", spec(0));
    reload(&bad, &["reload: the old settings stay", "RINGCAST_ALLOW", "RINGCAST_MAX_VIEWERS"]);
    let status = |path: &str| rig::get(server.address, path).status;
    eventually("the list on every shard", || (status("/metrics") == 403).then_some(()));

    // Tokens, engines, and what needs a restart.
    reload(&format!("{}{token}slow_viewer = \"close\"\n", spec(1)), &done);
    server.await_line(&["WARN", "RINGCAST_SLOW_VIEWER", "needs a restart"]);
    let api = |token: &str| {
        let head = format!("Authorization: Bearer {token}\r\n");
        let request = format!("GET /api/v1/engines HTTP/1.1\r\nHost: x\r\n{head}\r\n");
        rig::exchange(server.address, request.as_bytes())
    };
    eventually("the new engine", || {
        let listed = api("first-token").text();
        (listed.contains("\"id\":\"e1\",") && listed.contains("\"state\":\"up\"")).then_some(())
    });
    eventually("the token asked for", || (status("/api/v1/engines") == 401).then_some(()));
    std::fs::write(&secret.0, "second-token").unwrap();
    reload(&format!("{}{token}", spec(1)), &done);
    eventually("the new token", || (api("second-token").status == 200).then_some(()));
    eventually("not the old one", || (api("first-token").status == 401).then_some(()));
    assert_eq!(server.lines_with(&["-token\""]), 0);
    assert!(
        player.play_on(SECOND).is_unbroken(),
        "its engine is out of the pool, its session is not"
    );
    player.leave();
    rig::await_stops(&engines[0], 1);
    assert_eq!(Player::open(server.address, &path).status, 200);
    assert_eq!(engines[1].control().counters().getstreams, 1);
}

/// A server that is handed this socket, as systemd does it.
fn handed(listener: &TcpListener, engine: &ace_emulator::Emulator) -> Server {
    rustix::io::fcntl_setfd(listener, rustix::io::FdFlags::empty()).unwrap();
    // Debian's sh knows descriptors of one digit only.
    let mut command = Command::new("bash");
    let script =
        format!("exec 3<&{}; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"", listener.as_raw_fd());
    command.args(["-c", &script, env!("CARGO_BIN_EXE_ringcast")]);
    let specs = format!("{},name=e0", engine.addr());
    Server::from_command(command, &specs).set("RINGCAST_SHARDS", "3").start()
}

#[test]
fn a_restart_behind_a_socket_that_stays_open_refuses_nobody() {
    let engine = rig::engine(rig::one_channel(1_701));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = handed(&listener, &engine).ready();
    assert_eq!(server.address, address);
    let path = Server::play(&rig::content_id(1_701));
    let mut players: Vec<Player> = (0..12).map(|_| Player::open(address, &path)).collect();
    rig::play_together(&mut players, SECOND);
    let rows = server.api("/api/v1/viewers");
    let shards: std::collections::BTreeSet<u64> = rows["viewers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["shard"].as_u64().unwrap())
        .collect();
    assert_eq!(shards.len(), 3, "every shard has viewers, whoever accepted them");

    // Somebody asks all the time.
    let over = Arc::new(AtomicBool::new(false));
    let asking = Arc::clone(&over);
    let asker = std::thread::spawn(move || {
        let mut statuses = Vec::new();
        while !asking.load(Relaxed) {
            let mut socket = TcpStream::connect(address).expect("nobody is refused");
            socket.set_read_timeout(Some(rig::PATIENCE)).unwrap();
            socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("it is taken");
            let mut reply = String::new();
            socket.read_to_string(&mut reply).expect("an answer, not a reset");
            statuses.push(reply.split(' ').nth(1).map(str::to_owned));
        }
        statuses
    });
    rig::while_they_play(&mut players, || {
        for _ in 0..2 {
            assert!(handed(&listener, &engine).ready().stop().success());
        }
    });
    // The first one ends at last, and a fourth is there.
    server.signal(Signal::TERM);
    for report in rig::play_out_together(&mut players) {
        assert!(report.is_unbroken(), "{report:?}");
    }
    let mut server = server;
    assert!(server.wait().success());
    let last = handed(&listener, &engine).ready();
    assert_eq!(Player::open(address, &path).status, 200);
    over.store(true, Relaxed);
    let statuses = asker.join().expect("it was never refused and always answered");
    assert!(statuses.len() > 20, "{}", statuses.len());
    assert!(statuses.iter().all(|status| status.as_deref() == Some("200")), "{statuses:?}");
    drop(last);
}

#[test]
fn what_is_handed_over_must_be_a_socket_that_listens() {
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_ringcast"));
    let output = Server::from_command(command, "127.0.0.1:1").output();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("LISTEN_FDS") && said.contains("descriptor 3"), "{said}");
}

/// A starved host stops everything for a while; nobody loses anything for it.
#[test]
fn a_process_that_is_stopped_for_two_seconds_loses_nobody_and_nothing() {
    let engine = rig::engine(rig::one_channel(1_702));
    let server = Server::with(&[&engine]).start().ready();
    let path = Server::play(&rig::content_id(1_702));
    let mut players: Vec<Player> = (0..6).map(|_| Player::open(server.address, &path)).collect();
    rig::play_together(&mut players, 2 * SECOND);
    server.signal(Signal::STOP);
    assert!(rig::throughout(Duration::from_secs(2), || true));
    server.signal(Signal::CONT);
    rig::play_together(&mut players, 8 * SECOND);
    for player in &players {
        assert!(player.report().is_unbroken(), "{:?}", player.report());
    }
    assert_eq!(server.lines_with(&["viewer end"]), 0);
    assert_eq!(server.lines_with(&["engine down"]), 0);
    let counters = engine.control().counters();
    assert_eq!((counters.getstreams, counters.stops), (1, 0));
}

/// The log's disk is full: the server serves.
#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let engine = rig::engine(rig::one_channel(1_703));
    let (_reserved, address) = rig::reserve();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringcast"))
        .args(["serve", "--listen", &address.to_string(), "--shards", "2", "--memory", "64MiB"])
        .args(["--engine", &engine.addr().to_string(), "--log-level", "debug"])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(full())
        .stderr(full())
        .spawn()
        .unwrap();
    eventually("an engine that answers", || {
        let mut socket = TcpStream::connect(address).ok()?;
        socket.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
        let mut reply = String::new();
        socket.read_to_string(&mut reply).ok()?;
        reply.starts_with("HTTP/1.1 200").then_some(())
    });
    let mut player = Player::open(address, &Server::play(&rig::content_id(1_703)));
    assert!(player.play(2 * SECOND).is_unbroken());
    player.leave();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let ended = eventually("the server to end", || child.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
    rig::await_stops(&engine, 1);
}
