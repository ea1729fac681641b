//! How many of what, and what those are told who are too many.

use crate::rig;
use crate::rig::Player;
use crate::rig::Refusal;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Knob;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

const SECOND: u64 = 250_000;

fn ask_from(last: u8, server: &Server, path: &str) -> rig::Asked {
    let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
    let socket = rig::connect_from(source, server.address);
    Player::send_on(socket, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
}

/// Somebody tries a thousand ids, none of which is there; a channel's first viewer does not notice.
#[test]
fn a_thousand_random_ids_of_one_address_leave_a_cold_start_as_it_was() {
    let config = (0..6).fold(rig::one_channel(1_610), |config, n| {
        config.channel(Channel::signed(&rig::infohash(1_611 + n)).bitrate_bps(400_000))
    });
    let engine = rig::engine(config.knob(Knob::ColdStartMs, 200_u64));
    let server = Server::with(&[&engine])
        .set("RINGCAST_MAX_STARTS_PER_IP", "8")
        .set("PROXY_INIT_TIMEOUT", "6")
        .start()
        .ready();
    let cold = |n: u32| {
        let begun = rig::stopwatch();
        let path = format!("/ace/getstream?infohash={}", rig::infohash(n));
        let player = ask_from(9, &server, &path).begin();
        assert_eq!(player.status, 200, "{}", player.head);
        begun.elapsed()
    };
    let before = cold(1_611).max(cold(1_612));
    let flood: Vec<rig::Asked> = (0..1_000)
        .map(|n| {
            let name = if n % 2 == 0 { "id" } else { "infohash" };
            ask_from(7, &server, &format!("/ace/getstream?{name}={}", rig::infohash(900_000 + n)))
        })
        .collect();
    let beside = cold(1_613).max(cold(1_614));
    let (mut limited, mut others) = (0, 0);
    for asked in flood {
        let reply = asked.reply();
        if reply.status == 429 {
            let message = Refusal::new(429, "too_many").check("one too many", &reply);
            assert!(message.contains("RINGCAST_MAX_STARTS_PER_IP"), "{message}");
            limited += 1;
        } else {
            others += 1;
        }
    }
    // The same machine in the same minute: what is beside it may take as long as without, and a little.
    let alone = before.max(cold(1_615)).max(cold(1_616));
    println!("a cold start: {alone:?} alone, {beside:?} beside; {limited} of 1000 refused at once");
    assert!(limited > 800, "{limited} refused, {others} asked for");
    assert!(beside < 3 * alone + Duration::from_millis(500), "{alone:?} alone, {beside:?} beside");
    let started = engine.control().counters().getstreams;
    assert!(started < 250, "the engine was asked {started} times");
}

#[test]
fn one_address_at_its_limit_of_starts_plays_what_runs_and_starts_again_later() {
    let hanging = rig::infohash(1_621);
    let engine = rig::engine(rig::one_channel(1_620));
    for n in [1_621, 1_629] {
        engine.control().set_for(&rig::infohash(n), Knob::HangGetstream, true);
    }
    engine.control().set(Knob::HangMediaFiles, true);
    let server = Server::with(&[&engine])
        .set("RINGCAST_MAX_STARTS_PER_IP", "1")
        .set("PROXY_INIT_TIMEOUT", "4")
        .set("RINGCAST_START_TIMEOUT", "6")
        .start()
        .ready();
    let path = format!("/ace/getstream?infohash={}", rig::infohash(1_620));
    let running = ask_from(5, &server, &path).begin();
    assert_eq!(running.status, 200);
    let waiting = ask_from(6, &server, &format!("/ace/getstream?infohash={hanging}"));
    eventually("its start", || (engine.control().counters().getstreams == 2).then_some(()));
    let other = format!("/ace/getstream?infohash={}", rig::infohash(1_629));
    let by_id = format!("/ace/getstream?id={}", rig::content_id(1_629));
    for second in [&other, &by_id] {
        let reply = ask_from(6, &server, second).reply();
        Refusal::new(429, "too_many").check("a second start", &reply);
    }
    // What runs is no start, on whichever shard.
    for _ in 0..6 {
        assert_eq!(ask_from(6, &server, &path).begin().status, 200);
    }
    // Nor is what somebody else is starting, from the question about its id on.
    let counters = || engine.control().counters();
    let free = [ask_from(8, &server, &other), ask_from(9, &server, &by_id)];
    eventually("the start of another address", || (counters().getstreams == 3).then_some(()));
    eventually("its question", || (counters().media_files == 1).then_some(()));
    let full: Vec<_> = (0..8).map(|n| ask_from(6, &server, [&other, &by_id][n % 2])).collect();
    let answers = free.map(|asked| asked.reply().status);
    assert_eq!(answers[0], 504);
    for (n, asked) in full.into_iter().enumerate() {
        assert_eq!(asked.reply().status, answers[n % 2], "with whoever began it");
    }
    assert_ne!(answers[1], 429);
    assert_eq!(waiting.reply().status, 504);
    eventually("the start given up", || {
        let reply = ask_from(6, &server, &other).reply();
        (reply.status != 429).then_some(())
    });
}

#[test]
fn viewers_of_one_address_have_their_own_limit() {
    let engine = rig::engine(rig::one_channel(1_630));
    let server = Server::with(&[&engine]).set("RINGCAST_MAX_VIEWERS_PER_IP", "2").start().ready();
    let path = Server::play(&rig::content_id(1_630));
    let two: Vec<Player> = (0..2).map(|_| ask_from(3, &server, &path).begin()).collect();
    let reply = ask_from(3, &server, &path).reply();
    let message = Refusal::new(429, "too_many").check("a third", &reply);
    assert!(message.contains("RINGCAST_MAX_VIEWERS_PER_IP"), "{message}");
    assert_eq!(ask_from(4, &server, &path).begin().status, 200);
    drop(two);
    eventually("places again", || {
        (ask_from(3, &server, &path).begin_within(rig::PATIENCE)?.status == 200).then_some(())
    });
}

/// Memory for three rings: the fourth channel is told so, those that play do not notice, and it starts
/// when one of them has gone.
#[test]
fn without_memory_for_another_ring_a_channel_is_refused_and_starts_when_one_has_gone() {
    let config = (1..4).fold(rig::one_channel(1_635), |config, n| {
        config.channel(Channel::signed(&rig::infohash(1_635 + n)).bitrate_bps(2_000_000))
    });
    let engine = rig::engine(config);
    let server = Server::with(&[&engine]).set("RINGCAST_MEMORY", "32MiB").start().ready();
    let path = |n: u32| format!("/ace/getstream?infohash={}", rig::infohash(1_635 + n));
    let mut players: Vec<Player> = (0..3).map(|n| Player::open(server.address, &path(n))).collect();
    rig::play_together(&mut players, SECOND);
    let opened = engine.control().counters().getstreams;
    let reply = rig::get(server.address, &path(3));
    let message = Refusal::new(503, "no_memory").check("a fourth", &reply);
    assert!(message.contains("RINGCAST_MEMORY"), "{message}");
    assert_eq!(
        engine.control().counters().getstreams,
        opened,
        "refused before anything was opened"
    );
    let counted = server.labelled_metric("ringcast_http_responses_total", "code=\"503\"");
    assert!(counted >= 1.0, "{counted}");
    rig::play_together(&mut players, 3 * SECOND);
    assert!(players.iter().all(|player| player.report().is_unbroken()));
    players.remove(0).leave();
    rig::while_they_play(&mut players, || {
        eventually("memory again", || {
            let asked = Player::ask(server.address, &path(3)).begin_within(rig::PATIENCE)?;
            (asked.status == 200).then_some(())
        });
    });
    assert!(players.iter().all(|player| player.report().is_unbroken()));
}

#[test]
fn an_engine_takes_as_many_streams_as_it_may_and_the_next_one_is_told() {
    let config = (1..4).fold(rig::one_channel(1_645), |config, n| {
        config.channel(Channel::signed(&rig::infohash(1_645 + n)).bitrate_bps(1_000_000))
    });
    let engines = [rig::engine(config.clone()), rig::engine(config)];
    let start = Server::with(&[&engines[0], &engines[1]]);
    let server = rig::both_up(start.set("RINGCAST_MAX_STREAMS_PER_ENGINE", "1").start());
    let path = |n: u32| format!("/ace/getstream?infohash={}", rig::infohash(1_645 + n));
    let mut players: Vec<Player> = (0..2).map(|n| Player::open(server.address, &path(n))).collect();
    rig::play_together(&mut players, SECOND);
    for engine in &engines {
        assert_eq!(engine.control().sessions_open(), 1);
    }
    let reply = rig::get(server.address, &path(2));
    let message = Refusal::new(503, "no_capacity").check("a third", &reply);
    assert!(message.contains("RINGCAST_MAX_STREAMS_PER_ENGINE"), "{message}");
    // What runs takes viewers all the same.
    assert_eq!(Player::open(server.address, &path(1)).status, 200);
    rig::play_together(&mut players, 2 * SECOND);
    assert!(players.iter().all(|player| player.report().is_unbroken()));
    players.remove(0).leave();
    rig::while_they_play(&mut players, || {
        eventually("an engine again", || {
            let asked = Player::ask(server.address, &path(2)).begin_within(rig::PATIENCE)?;
            (asked.status == 200).then_some(())
        });
    });
}

/// A server that may have few files: players watch on, whoever is too many is told why.
#[test]
fn without_descriptors_newcomers_get_a_503_and_nobody_else_notices() {
    let engine = rig::engine(rig::one_channel(1_640));
    let mut command = Command::new("prlimit");
    command.args(["--nofile=160:160", env!("CARGO_BIN_EXE_ringcast")]);
    let specs = format!("{},name=e0", engine.addr());
    let server =
        Server::from_command(command, &specs).set("RINGCAST_MAX_VIEWERS", "0").start().ready();
    let path = Server::play(&rig::content_id(1_640));
    let mut player = Player::open(server.address, &path);
    player.play(SECOND);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut crowd: Vec<rig::Asked> =
        (0..60).map(|_| Player::send(server.address, request.as_bytes())).collect();
    let full = eventually("a server that is full", || {
        let mut socket = rig::connect(server.address);
        let _ = write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut reply = String::new();
        let read = socket.read_to_string(&mut reply);
        (read.is_ok() && reply.starts_with("HTTP/1.1 503")).then_some(reply)
    });
    assert!(full.contains("no_capacity") && full.contains("open files"), "{full}");
    assert!(full.to_lowercase().contains("retry-after: "), "{full}");
    assert!(player.play_on(2 * SECOND).is_unbroken());
    crowd.clear();
    eventually("a place again", || {
        let asked = Player::ask(server.address, &path);
        asked.begin_within(Duration::from_secs(5)).filter(|player| player.status == 200)
    });
    assert!(player.play_on(SECOND).is_unbroken());
}

/// The kernel says that there are no descriptors, a hundred times: no connection is lost for it, and
/// no core spins.
#[test]
fn accept_without_descriptors_waits_and_does_not_spin() {
    let engine = rig::engine(rig::one_channel(1_650));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=accept4", "-o", "/dev/null"]);
    command.args(["-e", "inject=accept4:error=EMFILE:when=1..20"]);
    command.arg(env!("CARGO_BIN_EXE_ringcast"));
    let specs = format!("{},name=e0", engine.addr());
    let server = Server::from_command(command, &specs).set("RINGCAST_SHARDS", "1").start();
    let begun = rig::stopwatch();
    let cpu = server.cpu_of_family();
    // Ten pauses of 100 ms are the least that twenty refusals take: two a round.
    assert_eq!(rig::get(server.address, "/healthz").status, 200);
    let (took, cpu) = (begun.elapsed(), server.cpu_of_family() - cpu);
    assert!(took > Duration::from_millis(500), "it was refused: {took:?}");
    assert!(cpu < took / 2, "{cpu:?} of work in {took:?} of waiting");
    let server = server.ready();
    let mut player = Player::open(server.address, &Server::play(&rig::content_id(1_650)));
    assert!(player.play(SECOND).is_unbroken());
    player.leave();
    server.end_family();
}
