//! The limit of open files: what is kept back, who is told, and whose fault it is not.

use crate::rig;
use crate::rig::Meddling;
use crate::rig::Player;
use crate::rig::Refusal;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

const SECOND: u64 = 250_000;

fn path(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(n))
}

/// A server that may have so many files.
fn with_files(files: usize, engines: &[&Emulator]) -> rig::Start {
    let mut command = Command::new("prlimit");
    command.args([&format!("--nofile={files}:{files}"), env!("CARGO_BIN_EXE_ringcast")]);
    let specs =
        engines.iter().enumerate().map(|(n, engine)| format!("{},name=e{n}", engine.addr()));
    let specs: Vec<String> = specs.collect();
    Server::from_command(command, &specs.join(" ")).set("RINGCAST_MAX_VIEWERS", "0")
}

fn full(what: &str, reply: &rig::Reply) {
    let message = Refusal::new(503, "no_capacity").check(what, reply);
    assert!(message.contains("open files") && message.contains("LimitNOFILE"), "{message}");
}

/// Nobody of ours was lost, and no engine was blamed for what we had not.
fn nobody_is_blamed(server: &Server) {
    assert_eq!(server.lines_with(&["engine down"]), 0);
    assert_eq!(server.lines_with(&["fails what is asked of it"]), 0);
    assert_eq!(server.api("/api/v1/offline")["total"], 0, "nothing is off the air");
}

/// Connections come until there is no place for any, and yet there is a descriptor for all that a dozen
/// streams need when their engine dies.
#[test]
fn with_connections_at_their_limit_a_killed_engine_is_followed_by_another() {
    const FILES: usize = 256;
    let streams = 1_660..1_672;
    let channels = |epoch_us: Option<_>| {
        let quick = rig::quick(Channel::signed(&rig::infohash(1_660)).bitrate_bps(400_000));
        let config = streams.clone().skip(1).fold(quick, |config, n| {
            config.channel(Channel::signed(&rig::infohash(n)).bitrate_bps(400_000))
        });
        let config = config.knob(Knob::BurstBytes, 200_000_u64);
        match epoch_us {
            Some(at) => config.epoch_us(at),
            None => config,
        }
    };
    let first = rig::engine(channels(None));
    let second = rig::engine(channels(Some(first.control().epoch_us())));
    let server = rig::both_up(with_files(FILES, &[&first, &second]).start());
    let mut players: Vec<Player> =
        streams.clone().map(|n| Player::open(server.address, &path(n))).collect();
    let crowd = rig::while_they_play(&mut players, || {
        let mut crowd = Vec::new();
        let reply = loop {
            // Nobody reads them: they only hold their places.
            let asked = Player::ask(server.address, &path(1_660)).begin();
            if asked.status != 200 {
                break asked;
            }
            crowd.push(asked);
        };
        assert_eq!(reply.status, 503, "{}", reply.head);
        assert!(crowd.len() > 50, "{} places", crowd.len());
        // As OPERATING.md shares them out: ours, two shards', two engines', and five a stream.
        let places = FILES - 96 - 8 * 2 - 4 * 2 - 5 * streams.len();
        assert!(crowd.len() + streams.len() <= places, "{} of {places}", crowd.len());
        first.control().kill();
        server.await_lines(
            usize::try_from(first.control().counters().sessions_opened).unwrap(),
            &["stream goes on"],
        );
        crowd
    });
    let until = players.iter().map(|player| player.report().bytes).max().unwrap() + 100_000;
    rig::play_together(&mut players, until);
    assert!(players.iter().all(|player| player.report().is_unbroken()));
    assert_eq!(server.lines_with(&["viewer end"]), 0);
    assert_eq!(server.lines_with(&["engine down", "engine=e1"]), 0);
    assert_eq!(server.lines_with(&["nothing is left"]), 0, "nothing was lacking");
    drop(crowd);
    eventually("a place again", || {
        let player = Player::ask(server.address, &path(1_660)).begin_within(rig::PATIENCE)?;
        (player.status == 200).then_some(())
    });
}

/// The kernel has no socket for us: who wants to start something is told which limit that is, what
/// plays goes on, and neither the engine nor a channel is blamed.
#[test]
fn what_we_lack_for_a_connection_is_neither_the_engines_fault_nor_the_channels() {
    let channels = |epoch_us: Option<_>| {
        let more = Channel::signed(&rig::infohash(1_681)).bitrate_bps(1_000_000);
        let config = rig::one_channel(1_680).channel(more);
        match epoch_us {
            Some(at) => config.epoch_us(at),
            None => config,
        }
    };
    let first = rig::engine(channels(None));
    let second = rig::engine(channels(Some(first.control().epoch_us())));
    let server = rig::both_up(Server::with(&[&first, &second]).start());
    let mut player = Player::open(server.address, &path(1_680));
    player.play(SECOND);
    let Some(meddling) = Meddling::with(&server, "socket:error=EMFILE") else { return };
    rig::while_they_play(std::slice::from_mut(&mut player), || {
        let by_id = format!("/ace/getstream?id={}", rig::content_id(1_682));
        for path in [path(1_681), by_id, path(1_681), path(1_683)] {
            full(&path, &rig::get(server.address, &path));
        }
        // Its engine dies meanwhile: it is waited for until a socket can be had again.
        let (dying, _) =
            if first.control().readers() > 0 { (&first, &second) } else { (&second, &first) };
        let asked = meddling.calls();
        dying.control().kill();
        eventually("tries to go on", || (meddling.calls() > asked + 6).then_some(()));
        nobody_is_blamed(&server);
        drop(meddling);
        server.await_line(&["stream goes on"]);
    });
    assert!(player.play_on(2 * SECOND).is_unbroken(), "{:?}", player.report());
    assert_eq!(server.lines_with(&["viewer end"]), 0);
    // No mark keeps it from starting.
    let mut other = Player::open(server.address, &path(1_681));
    assert_eq!(other.status, 200, "{}", other.head);
    assert!(other.play(SECOND).is_unbroken());
}

/// accept4 is forbidden, as by a filter, for ever: the listener is asked now and then, and whoever
/// watches does not notice.
#[test]
fn an_accept_that_is_forbidden_is_tried_now_and_then_and_costs_the_viewers_nothing() {
    let engine = rig::engine(rig::one_channel(1_690));
    let server = Server::with(&[&engine]).start().ready();
    let mut players: Vec<Player> =
        (0..4).map(|_| Player::open(server.address, &path(1_690))).collect();
    rig::play_together(&mut players, SECOND);
    let Some(meddling) = Meddling::with(&server, "accept4:error=EPERM") else { return };
    let begun = rig::stopwatch();
    let waiting: Vec<rig::Asked> =
        (0..8).map(|_| Player::ask(server.address, &path(1_690))).collect();
    rig::play_together(&mut players, 5 * SECOND);
    // Two shards, 10 ms doubling to a second: eight accepts each in the first two seconds.
    let (calls, took) = (meddling.calls(), begun.elapsed());
    assert!(calls > 0, "nobody was forbidden anything");
    let bound = 2 * (8 + usize::try_from(took.as_secs()).unwrap());
    assert!(calls <= bound, "{calls} accepts in {took:?}");
    assert!(waiting.iter().all(rig::Asked::is_silent), "nobody was taken");
    drop(meddling);
    rig::while_they_play(&mut players, || {
        assert!(waiting.into_iter().all(|asked| asked.begin().status == 200));
    });
    assert!(players.iter().all(|player| player.report().is_unbroken()));
    server.await_lines(8, &["viewer end", "reason=left"]);
}

/// One address takes every place there is and says nothing, again and again: whoever asks for
/// something gets in, and those who watch stay.
#[test]
fn an_address_that_holds_every_connection_in_silence_keeps_nobody_out() {
    let engine = rig::engine(rig::one_channel(1_695));
    let server = with_files(200, &[&engine]).start().ready();
    let from =
        |last: u8| rig::connect_from(IpAddr::from(Ipv4Addr::new(127, 0, 0, last)), server.address);
    let mut player = Player::open(server.address, &path(1_695));
    player.play(SECOND);
    let silent: Vec<TcpStream> = (0..300).map(|_| from(7)).collect();
    let is_over = AtomicBool::new(false);
    /// Also when an assertion has failed.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    rig::while_they_play(std::slice::from_mut(&mut player), || {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut more = std::collections::VecDeque::new();
                while !is_over.load(Ordering::Acquire) {
                    more.push_back(from(7));
                    more.drain(..more.len().saturating_sub(200));
                    rig::throughout(Duration::from_millis(20), || true);
                }
            });
            let _over = Over(&is_over);
            let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path(1_695));
            let is_in = || {
                let mut socket = from(8);
                let mut status = [0; 12];
                let is_told = socket.write_all(request.as_bytes()).is_ok()
                    && socket.read_exact(&mut status).is_ok();
                is_told && status.ends_with(b" 200")
            };
            // Until they have been silent for a moment it is a crowd like any other.
            eventually("twenty newcomers in a row", || (0..20).all(|_| is_in()).then_some(()));
        });
    });
    drop(silent);
    assert!(player.play_on(SECOND).is_unbroken(), "{:?}", player.report());
    server.await_viewers(1);
}
