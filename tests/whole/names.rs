//! Where engines come from: names that move, lists that change.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

fn channel(n: u32) -> Config {
    let channel = Channel::signed(&rig::infohash(n)).bitrate_bps(1_000_000);
    Config::default().knob(Knob::BurstBytes, 300_000_u64).channel(channel)
}

fn engine_at(n: u32, address: &str) -> Emulator {
    rig::engine(channel(n).listen(address.parse::<SocketAddr>().unwrap()))
}

fn by_infohash(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(n))
}

/// All at once: who looks finds the old text or the new one.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ringcast-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// A server that sees `hosts` as its /etc/hosts: a mount namespace of its own.
fn with_hosts(hosts: &Path, specs: &str) -> Server {
    let mut command = Command::new("unshare");
    let script = format!("mount --bind {} /etc/hosts && exec \"$0\" \"$@\"", hosts.display());
    command.args(["--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_ringcast")]);
    Server::from_command(command, specs).start()
}

fn moved(spec: impl Fn(u16) -> String, n: u32) {
    let first = engine_at(n, "127.0.0.2:0");
    let port = first.addr().port();
    let hosts = scratch(&format!("hosts-{n}"));
    std::fs::write(&hosts, "127.0.0.2 engine.test\n").unwrap();
    let server = with_hosts(&hosts, &spec(port)).ready();
    let mut player = Player::open(server.address, &by_infohash(n));
    assert!(player.play(100_000).is_unbroken());
    // The container comes back with another address: the old one refuses from now on.
    let second = engine_at(n, &format!("127.0.0.3:{port}"));
    std::fs::write(&hosts, "127.0.0.3 engine.test\n").unwrap();
    first.kill();
    // Whoever watches waits on null packets and goes on from there.
    server.await_line(&["stream goes on"]);
    let before = player.report().bytes;
    while player.report().bytes < before + 200_000 {
        player.step().expect("the stream goes on");
    }
    let report = player.report();
    assert!(report.is_lawful(), "{report:?}");
    assert_eq!(second.control().counters().getstreams, 1);
    assert_eq!(server.lines_with(&["INFO  viewer end"]), 0);
    std::fs::remove_file(&hosts).unwrap();
}

#[test]
fn an_engine_name_that_moves_is_followed() {
    moved(|port| format!("engine.test:{port}"), 1_401);
}

#[test]
fn a_dns_source_that_moves_is_followed() {
    moved(|port| format!("dns:engine.test:{port}"), 1_402);
}

#[test]
fn every_address_of_a_dns_source_is_an_engine() {
    let first = engine_at(1_403, "127.0.0.2:0");
    let second = engine_at(1_403, &format!("127.0.0.3:{}", first.addr().port()));
    let hosts = scratch("hosts-1403");
    std::fs::write(&hosts, "127.0.0.2 engines.test\n127.0.0.3 engines.test\n").unwrap();
    let server = with_hosts(&hosts, &format!("dns:engines.test:{}", first.addr().port())).ready();
    eventually("two engines up", || {
        let rows = server.api("/api/v1/engines");
        let rows = rows["engines"].as_array()?.clone();
        (rows.len() == 2 && rows.iter().all(|row| row["state"] == "up")).then_some(())
    });
    drop((second, std::fs::remove_file(&hosts)));
}

#[test]
fn a_file_of_engines_is_read_again_when_it_changes() {
    let (one, two) = (rig::engine(channel(1_404)), rig::engine(channel(1_404)));
    let list = scratch("engines-1404");
    std::fs::write(&list, format!("# ours\n{},name=one\n", one.addr())).unwrap();
    let server = Server::with_specs(&format!("file:{}", list.display())).start().ready();
    let names = |server: &Server| {
        let rows = server.api("/api/v1/engines");
        let rows = rows["engines"].as_array().unwrap().clone();
        rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&server), ["one"]);
    replace(&list, &format!("{},name=one\n{},name=two\n", one.addr(), two.addr()));
    eventually("the second engine", || (names(&server) == ["one", "two"]).then_some(()));
    // A list that cannot be read keeps the last good one.
    replace(&list, "no such thing as, this=line\n");
    server.await_line(&["WARN", "engines-1404"]);
    assert_eq!(names(&server), ["one", "two"]);
    assert_eq!(Player::open(server.address, &by_infohash(1_404)).status, 200);
    std::fs::remove_file(&list).unwrap();
}

#[test]
fn an_orchestrators_list_decides_who_serves() {
    let engines: Vec<Emulator> = (0..4).map(|_| rig::engine(channel(1_405))).collect();
    let row = |n: usize, forwarded: bool, health: &str, draining: bool| {
        format!(
            "{{\"container_name\":\"e{n}\",\"host\":\"127.0.0.1\",\"port\":{},\
             \"forwarded\":{forwarded},\"health_status\":\"{health}\",\"draining\":{draining}}}",
            engines[n].addr().port()
        )
    };
    let rows = [
        row(0, false, "healthy", false),
        row(1, true, "healthy", false),
        row(2, true, "unhealthy", false),
        row(3, true, "healthy", true),
    ];
    let list = rig::Web::json(&format!("[{}]", rows.join(",")));
    let spec = format!("orchestrator:http://{}/api/v1/engines", list.address);
    let server = Server::with_specs(&spec).start().ready();
    eventually("the listed engines", || {
        let rows = server.api("/api/v1/engines");
        let up = rows["engines"].as_array()?.iter().filter(|row| row["state"] == "up").count();
        (up >= 3).then_some(())
    });
    assert_eq!(Player::open(server.address, &by_infohash(1_405)).status, 200);
    let asked: Vec<u64> =
        engines.iter().map(|engine| engine.control().counters().getstreams).collect();
    assert_eq!(asked, [0, 1, 0, 0], "forwarded, healthy and staying");
}
