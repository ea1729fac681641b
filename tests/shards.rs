//! A shard that panics: the real server in this process, so that a shard can be asked to. Its viewers
//! are lost, those of the others watch on, and a new shard goes on in its place.

#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

#[path = "support/fleet.rs"]
#[allow(dead_code, reason = "each test that includes it uses its part")]
mod fleet;

use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use ace_emulator::Verifier;
use fleet::PATIENCE;
use fleet::SHARDS;
use fleet::Server;
use ringcast::base::ids::Infohash;
use ringcast::base::ids::ShardId;
use ringcast::base::ids::Target;
use ringcast::net::egress::Driver;
use ringcast::net::runtime::RuntimeDriver;
use ringcast::registry::home;
use ringcast::shard::Chore;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;

const BITRATE_BPS: u64 = 4_000_000;
/// A player that is not read while others are is nobody who is stuck.
const GRACE: &[(&str, &str)] =
    &[("PROXY_GRACE_PERIOD", "500ms"), ("RINGCAST_SEND_STALL_TIMEOUT", "120")];

struct Player {
    socket: TcpStream,
    shard: u8,
    verifier: Verifier,
}

impl Player {
    fn open(server: &Server, stream: Infohash) -> Self {
        let mut socket = TcpStream::connect(server.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(socket, "GET /ace/getstream?infohash={stream} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            // As `read` itself does not: what a ring of this thread's left behind interrupts it.
            socket.read_exact(&mut byte).expect("a head");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let id = head.lines().find_map(|line| line.strip_prefix("X-Ringcast-Viewer: ")).unwrap();
        let shard = u8::from_str_radix(&id[..2], 16).unwrap();
        Self { socket, shard, verifier: Verifier::new() }
    }

    fn step(&mut self) -> std::io::Result<usize> {
        let mut buffer = [0; 65_536];
        let n = match self.socket.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return self.step(),
            read => read?,
        };
        self.verifier.feed(&buffer[..n]);
        Ok(n)
    }

    /// Plays so many bytes more.
    fn play_on(&mut self, bytes: u64) {
        let until = self.verifier.report().bytes + bytes;
        while self.verifier.report().bytes < until {
            assert!(self.step().expect("the stream goes on") > 0, "the stream ended");
        }
        // The engine begins its next session within what this one was sent of the last.
        assert!(self.verifier.report().is_unbroken(), "{:?}", self.verifier.report());
    }

    fn play_out(&mut self) {
        while self.step().is_ok_and(|n| n > 0) {}
    }
}

fn is_ok(server: &Server, path: &str) -> bool {
    server.get(path).is_ok_and(|reply| reply.starts_with("HTTP/1.1 200"))
}

/// Players of a stream on both shards, at least two on each.
fn players(server: &Server, stream: Infohash) -> Vec<Player> {
    let mut players = Vec::new();
    let enough =
        |players: &[Player], shard| players.iter().filter(|p| p.shard == shard).count() > 1;
    while !(enough(&players, 0) && enough(&players, 1)) {
        players.push(Player::open(server, stream));
        assert!(players.len() < 100, "the kernel spreads connections");
    }
    players
}

fn stream_of(shard: u8) -> Infohash {
    let found = (0..).map(|n| Infohash::from_bytes([n; 20]));
    found.into_iter().find(|id| home(&Target::Infohash(*id), SHARDS) == ShardId(shard)).unwrap()
}

fn a_lost_shard_is_followed_by_a_new_one(lost: u8, egress: Driver, runtime: RuntimeDriver) {
    let (mine, other) = (stream_of(lost), stream_of(1 - lost));
    let config = [mine, other].iter().fold(Config::default(), |config, id| {
        config.channel(Channel::signed(&id.to_string()).bitrate_bps(BITRATE_BPS))
    });
    // Five seconds of the past: what a busy machine may take to ask again is among them.
    let engine = Emulator::start(config.knob(Knob::BurstBytes, 2_500_000_u64)).unwrap();
    let server = Server::start(&engine, GRACE, egress, runtime);
    while !is_ok(&server, "/readyz") {}
    // On the other shard those of both streams watch on.
    let all = players(&server, mine).into_iter().chain(players(&server, other));
    let mut all: Vec<(bool, Player)> = all.map(|player| (player.shard != lost, player)).collect();
    all.iter_mut().for_each(|(_, player)| player.play_on(100_000));
    let begun = all.iter().filter(|(stays, _)| *stays).count();
    assert!(begun >= 4);
    server.fleet.panic_in(ShardId(lost));
    for (stays, player) in &mut all {
        if *stays {
            // Their shard is another one: they notice nothing, though one stream has lost its reader.
            player.play_on(BITRATE_BPS / 4);
        } else {
            // Their connection ends, one way or the other, and does not hang.
            player.play_out();
        }
    }
    // Whoever comes is served, by both, of both streams.
    for stream in [mine, other] {
        let mut again = players(&server, stream);
        again.iter_mut().for_each(|player| player.play_on(100_000));
    }
    for _ in 0..40 {
        assert!(is_ok(&server, "/healthz"), "nobody is left alone on a dead listener");
    }
    let lost = "ringcast_viewer_closed_total{reason=\"shard_lost\"}";
    let (here, gone) = (server.metric(lost) as usize, all.len() - begun);
    assert_eq!(here, gone, "those of the lost shard, and nobody else");
    assert_eq!(server.metric("ringcast_failovers_total{reason=\"shard_lost\"}"), 1.0);
    drop(all);
    let patience = u64::try_from(PATIENCE.as_millis()).unwrap();
    let done = engine.control().wait_for(patience, |control| control.sessions_open() == 0);
    assert!(done, "no session is left: {:?}", engine.control().counters());
    assert!(server.fleet.chores.try_iter().all(|chore| !matches!(chore, Chore::Ended { .. })));
    server.stop();
}

#[test]
fn the_shard_with_the_pool_is_followed_by_a_new_one() {
    a_lost_shard_is_followed_by_a_new_one(0, Driver::Auto, RuntimeDriver::Auto);
}

#[test]
fn another_shard_is_followed_by_a_new_one() {
    a_lost_shard_is_followed_by_a_new_one(1, Driver::Auto, RuntimeDriver::Auto);
}

#[test]
fn without_io_uring_it_is_the_same() {
    a_lost_shard_is_followed_by_a_new_one(1, Driver::Epoll, RuntimeDriver::Legacy);
}

#[test]
fn a_shard_that_panics_again_soon_ends() {
    let engine = Emulator::start(Config::default()).unwrap();
    let server = Server::start(&engine, GRACE, Driver::Auto, RuntimeDriver::Auto);
    server.fleet.panic_in(ShardId(1));
    // It is there again when forty in a row are answered: half of them come to it.
    let mut answered = 0;
    while answered < 40 {
        answered = if is_ok(&server, "/healthz") { answered + 1 } else { 0 };
    }
    server.fleet.panic_in(ShardId(1));
    let ended = std::iter::from_fn(|| server.fleet.chores.recv_timeout(PATIENCE).ok())
        .find(|chore| matches!(chore, Chore::Ended { .. }));
    assert!(matches!(ended, Some(Chore::Ended { shard: ShardId(1), clean: false })), "{ended:?}");
    server.fleet.drain();
    let ended = server.fleet.chores.recv_timeout(PATIENCE);
    assert!(matches!(ended, Ok(Chore::Ended { shard: ShardId(0), clean: true })), "{ended:?}");
}
