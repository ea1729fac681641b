//! The life of the process: its port, its descriptors, its shards, its memory, its log.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::time::Duration;

const SECOND: u64 = 250_000;

#[test]
fn a_second_server_on_the_port_ends_and_takes_no_viewer() {
    let engine = rig::engine(rig::one_channel(1_301));
    let server = Server::with(&[&engine]).start().ready();
    let path = Server::play(&rig::content_id(1_301));
    let mut player = Player::open(server.address, &path);
    player.play(2 * SECOND);
    for _ in 0..3 {
        let address = server.address.to_string();
        let second = Server::with(&[&engine]).set("RINGCAST_LISTEN", &address).output();
        assert_eq!(second.status.code(), Some(1));
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(said.contains(&address), "it names the port: {said}");
        // A newcomer finds the first one, every time.
        assert_eq!(Player::open(server.address, &path).status, 200);
    }
    assert!(player.play(6 * SECOND).is_unbroken());
}

/// What a player may do instead of watching.
fn misbehave(server: &Server, n: usize) {
    let path = Server::play(&rig::content_id(1_302));
    match n % 5 {
        // Says nothing and goes.
        0 => drop(TcpStream::connect(server.address).unwrap()),
        // Half a head.
        1 => {
            let mut socket = TcpStream::connect(server.address).unwrap();
            socket.write_all(b"GET /ace/getstream?id=").unwrap();
        }
        // Asks for what never starts, and goes while it waits.
        2 => Player::ask(server.address, &Server::play(&rig::infohash(1_399))).leave(),
        // Asks and goes before the first byte, with an RST where the kernel sends one.
        3 => drop(Player::ask(server.address, &path)),
        // Watches a moment.
        _ => {
            let mut player = Player::open(server.address, &path);
            player.step().unwrap();
            player.leave();
        }
    }
}

#[test]
fn two_thousand_abortive_connections_leave_nothing_behind() {
    let engine = rig::engine(rig::one_channel(1_302));
    let server = Server::with(&[&engine]).set("PROXY_GRACE_PERIOD", "60").start().ready();
    let mut watching = Player::open(server.address, &Server::play(&rig::content_id(1_302)));
    watching.play(2 * SECOND);
    // A first round, so that tables and caches have their size.
    (0..200).for_each(|n| misbehave(&server, n));
    server.await_viewers(1);
    let files = server.open_files_at_rest();
    let before = server.rss_bytes();
    rig::while_they_play(std::slice::from_mut(&mut watching), || {
        (0..2_000).for_each(|n| misbehave(&server, n));
        server.await_viewers(1);
    });
    eventually("the descriptors back where they were", || {
        (server.open_files() <= files + 1).then_some(())
    });
    let grown = server.rss_bytes().saturating_sub(before);
    // The ring goes on filling meanwhile: 60 s of 2 Mbit/s are 19 MB.
    assert!(grown < 32 << 20, "{grown} bytes more than before");
    assert!(watching.report().is_unbroken(), "{:?}", watching.report());
}

#[test]
fn every_peer_sees_its_connection_end() {
    let engine = rig::engine(rig::one_channel(1_303));
    let server = Server::with(&[&engine]).start().ready();
    let path = Server::play(&rig::content_id(1_303));
    let mut sockets = Vec::new();
    for n in 0..60 {
        let mut socket = TcpStream::connect(server.address).unwrap();
        let request = match n % 3 {
            0 => "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            1 => "nonsense\r\n\r\n".to_owned(),
            _ => format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        };
        socket.write_all(request.as_bytes()).unwrap();
        if n % 3 == 2 {
            socket.shutdown(Shutdown::Write).unwrap();
        }
        socket.set_read_timeout(Some(rig::PATIENCE)).unwrap();
        sockets.push(socket);
    }
    for mut socket in sockets {
        // Until the end, whichever it is: a peer that is forgotten would time out here.
        let end = socket.read_to_end(&mut Vec::new());
        let kind = end.as_ref().err().map(std::io::Error::kind);
        assert!(
            end.is_ok() || kind == Some(std::io::ErrorKind::ConnectionReset),
            "neither FIN nor RST: {end:?}"
        );
    }
}

#[test]
fn viewers_of_one_channel_sit_on_many_shards() {
    let engine = rig::engine(rig::one_channel(1_304));
    let server = Server::with(&[&engine]).set("RINGCAST_SHARDS", "4").start().ready();
    let path = Server::play(&rig::content_id(1_304));
    let mut players: Vec<Player> = (0..40).map(|_| Player::open(server.address, &path)).collect();
    rig::play_together(&mut players, 4 * SECOND);
    for player in &players {
        assert!(player.report().is_unbroken(), "{:?}", player.report());
    }
    assert_eq!(server.count("shards"), 4);
    assert_eq!(engine.control().counters().getstreams, 1);
    let listed = server.api("/api/v1/viewers");
    let rows = listed["viewers"].as_array().unwrap();
    let shards: std::collections::BTreeSet<u64> =
        rows.iter().map(|row| row["shard"].as_u64().unwrap()).collect();
    assert!(shards.len() >= 2, "the kernel spreads 40 connections: {shards:?}");
    drop(players);
    eventually("one stop", || (engine.control().sessions_open() == 0).then_some(()));
    assert_eq!(engine.control().counters().stops, 1);
}

#[test]
fn idle_connections_cost_a_player_nothing() {
    let engine = rig::engine(rig::one_channel(1_305));
    let server = Server::with(&[&engine]).start().ready();
    let mut player = Player::open(server.address, &Server::play(&rig::content_id(1_305)));
    let idle: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let report = player.play(8 * SECOND);
    assert!(report.is_unbroken(), "{report:?}");
    assert_eq!(server.count("viewers"), 1);
    drop(idle);
}

#[test]
fn a_full_server_says_which_limit_it_is() {
    let other = Channel::signed(&rig::infohash(1_307)).bitrate_bps(1_000_000);
    let engine = rig::engine(rig::one_channel(1_306).channel(other));
    let server = Server::with(&[&engine])
        .set("RINGCAST_MAX_VIEWERS", "2")
        .set("RINGCAST_MAX_STREAMS", "1")
        .start()
        .ready();
    let path = Server::play(&rig::content_id(1_306));
    let mut first = Player::open(server.address, &path);
    let other = Server::play(&rig::infohash(1_307)).replace("id=", "infohash=");
    let refused = rig::get(server.address, &other);
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "no_capacity"));
    assert!(refused.error_message().contains("RINGCAST_MAX_STREAMS"), "{}", refused.text());
    server.await_viewers(1);
    let second = Player::open(server.address, &path);
    let refused = rig::get(server.address, &path);
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "no_capacity"));
    assert!(refused.error_message().contains("RINGCAST_MAX_VIEWERS"), "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert!(first.play(4 * SECOND).is_unbroken());
    second.leave();
    server.await_viewers(1);
    assert_eq!(Player::open(server.address, &path).status, 200);
}

#[test]
fn a_hostile_player_is_a_harmless_line() {
    let engine = rig::engine(rig::one_channel(1_308));
    let server = Server::with(&[&engine]).start().ready();
    let path = Server::play(&rig::content_id(1_308));
    let escape = format!("GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: a\u{1b}[31mb\r\n\r\n");
    assert_eq!(rig::request(server.address, &escape).status, 400, "no control byte in a head");
    let evil = "<img src=x onerror=alert(1)>\" viewer end reason=kicked \u{202e}";
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {evil}{}\r\n\r\n", "A".repeat(600));
    let mut player = Player::send(server.address, request.as_bytes()).begin();
    assert_eq!(player.status, 200);
    player.play(SECOND);
    let listed = server.api("/api/v1/viewers");
    let agent = listed["viewers"][0]["user_agent"].as_str().unwrap().to_owned();
    assert!(agent.len() <= 256, "{agent}");
    assert!(!agent.contains('\u{1b}') && !agent.contains('\u{202e}'), "{agent:?}");
    player.leave();
    let line = server.await_line(&["INFO  viewer end", "stream="]);
    assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
    assert!(line.contains("reason=left"), "{line}");
}

/// Numbers for a reader; nothing here is a bound.
#[test]
fn numbers() {
    let engine = rig::engine(rig::one_channel(1_309));
    let server = Server::with(&[&engine]).set("RINGCAST_MEMORY", "2GiB").start().ready();
    let idle = server.rss_bytes();
    let path = Server::play(&rig::content_id(1_309));
    let mut first = Player::open(server.address, &path);
    first.play(4 * SECOND);
    let one = server.rss_bytes();
    let mut joins: Vec<Duration> = (0..50)
        .map(|_| {
            let begun = rig::stopwatch();
            let player = Player::open(server.address, &path);
            let took = begun.elapsed();
            player.leave();
            took
        })
        .collect();
    joins.sort();
    let before = server.rss_bytes();
    let many: Vec<Player> = (0..500).map(|_| Player::open(server.address, &path)).collect();
    let after = server.rss_bytes();
    let per_viewer = server.api("/api/v1/status")["memory"]["viewer_bytes"].as_u64().unwrap() / 501;
    println!("idle resident memory, 2 GiB budget: {} KiB", idle / 1_024);
    println!("resident memory with one stream: {} KiB", one / 1_024);
    println!("first byte of a warm join: median {:?}, worst of 50 {:?}", joins[25], joins[49]);
    println!("bytes of a viewer's entry: {per_viewer}");
    println!("resident bytes for each of 500 viewers: {}", (after - before.min(after)) / 500);
    assert!(many.iter().all(|player| player.status == 200));
}
