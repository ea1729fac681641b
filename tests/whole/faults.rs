//! Faults under the server: a bad road to its engine, a kernel that refuses, little memory.

use crate::rig;
use crate::rig::FaultProxy;
use crate::rig::MemoryGroup;
use crate::rig::Player;
use crate::rig::Refusal;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use std::process::Command;
use std::time::Duration;

const SECOND: u64 = 250_000;

fn through(road: &FaultProxy) -> Server {
    Server::with_specs(&format!("{},name=e0", road.address)).start().ready()
}

#[test]
fn an_engine_behind_a_bad_road_is_relayed_byte_for_byte() {
    let engine = rig::engine(rig::one_channel(1_900));
    let road = FaultProxy::to(engine.addr());
    road.slices(211);
    let server = through(&road);
    let mut player = Player::open(server.address, &Server::play(&rig::content_id(1_900)));
    assert!(player.play(3 * SECOND).is_unbroken(), "{:?}", player.report());
    road.latency(Duration::from_millis(30));
    assert!(player.play_on(SECOND).is_unbroken(), "{:?}", player.report());
    road.latency(Duration::ZERO);
    road.slices(0);
    // Silence: a null packet every second, and not one byte lost.
    road.stall(true);
    let nulls = player.report().inserted.nulls;
    player.await_nulls(nulls + 2);
    road.stall(false);
    assert!(player.play_on(3 * SECOND).is_unbroken(), "{:?}", player.report());
    assert_eq!(server.count("viewers"), 1);
    assert_eq!(engine.control().counters().getstreams, 1, "it was the road, not the engine");
}

/// The road to the engine is cut, in either way, while the engine itself goes on: the same one is
/// asked once more, and the player does not notice.
#[test]
fn a_road_to_an_engine_that_is_cut_costs_a_player_nothing() {
    for (n, cut) in [(1_909, FaultProxy::reset as fn(&_)), (1_910, FaultProxy::half_close)] {
        let engine = rig::engine(rig::one_channel(n));
        let road = FaultProxy::to(engine.addr());
        let server = through(&road);
        let mut player = Player::open(server.address, &Server::play(&rig::content_id(n)));
        player.play(3 * SECOND);
        cut(&road);
        let report = player.play_on(4 * SECOND);
        assert!(report.is_unbroken() && report.inserted.marks == 0, "{report:?}");
        assert_eq!(server.lines_with(&["viewer end"]), 0);
        let row = server.api("/api/v1/streams")["streams"][0].clone();
        assert_eq!((&row["failovers"], &row["discontinuities"]), (&1.into(), &0.into()), "{row}");
        let counters = engine.control().counters();
        let sessions = (counters.sessions_opened, engine.control().sessions_open());
        assert_eq!((sessions, counters.double_stops), ((2, 1), 0), "{counters:?}");
        assert!(player.play_on(SECOND).is_unbroken());
    }
}

#[test]
fn damaged_bytes_of_an_engine_end_nothing() {
    let engine = rig::engine(rig::one_channel(1_901));
    let road = FaultProxy::to(engine.addr());
    let server = through(&road);
    let path = Server::play(&rig::content_id(1_901));
    let mut player = Player::open(server.address, &path);
    player.play(SECOND);
    // A wrong byte in 5 000: some of them are sync bytes, some the sizes of chunks.
    road.damage_every(4_999);
    let before = player.report().bytes;
    while player.report().bytes < before + 4 * SECOND {
        if player.step().map_or(true, |n| n == 0) {
            break; // A chunk's size was hit too often: the stream has ended, which is in order.
        }
    }
    road.damage_every(0);
    // What is damaged is inside of packets: those are whole, and in step.
    assert_eq!(player.report().misaligned_bytes, 0, "{:?}", player.report());
    assert!(player.report().source_packets > 0, "{:?}", player.report());
    assert!(server.lines_with(&["panicked"]) == 0);
    // An engine that was left rests for twenty seconds, and a viewer waits for ten of them.
    let patience = 2 * rig::PATIENCE;
    let mut again = rig::eventually_within(patience, "the channel again", || {
        let player = Player::ask(server.address, &path).begin_within(rig::PATIENCE)?;
        (player.status == 200).then_some(player)
    });
    // Behind what is still damaged in the ring everything is as it was.
    again.play_on(4 * SECOND);
    let mut newcomer = Player::open(server.address, &path);
    assert!(newcomer.play(SECOND).is_unbroken(), "{:?}", newcomer.report());
}

/// `strace` makes the kernel refuse: with `calls` as in its `-e inject`.
fn refusing(inject: &str, engine: &ace_emulator::Emulator) -> Server {
    let mut command = strace(inject);
    command.arg(env!("CARGO_BIN_EXE_ringcast"));
    Server::from_command(command, &format!("{},name=e0", engine.addr())).start()
}

fn strace(inject: &str) -> Command {
    let name = inject.split(':').next().unwrap();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={name}")]);
    command.args(["-e", &format!("inject={inject}")]);
    command
}

fn plays_on(server: Server, n: u32) {
    let server = server.ready();
    let mut players: Vec<Player> =
        (0..4).map(|_| Player::open(server.address, &Server::play(&rig::content_id(n)))).collect();
    rig::play_together(&mut players, 4 * SECOND);
    for player in &players {
        assert!(player.report().is_unbroken(), "{:?}", player.report());
    }
    assert_eq!(server.lines_with(&["viewer end"]), 0);
    drop(players);
    eventually("everybody gone", || (server.count("viewers") == 0).then_some(()));
    assert!(server.end_family().success());
}

/// A shard registers a probe, an eventfd, an empty table of buffers and another probe when it starts.
/// What is refused here is the memory of a ring, when that is first to be sent from.
#[test]
fn memory_that_cannot_be_registered_is_sent_otherwise() {
    let engine = crate::slow::engine(1_902);
    let mut command = strace("io_uring_register:error=ENOMEM:when=5+");
    command.arg(env!("CARGO_BIN_EXE_ringcast"));
    let start = Server::from_command(command, &format!("{},name=e0", engine.addr()));
    let server = start.set("RINGCAST_SEND", "zerocopy").start().ready();
    let path = format!("/ace/getstream?infohash={}", rig::infohash(1_902));
    let mut players: Vec<_> = (0..4).map(|_| Player::open(server.address, &path)).collect();
    rig::play_together(&mut players, crate::slow::SECOND);
    server.await_lines(1, &["WARN", "zero-copy sends are off", "registering ring memory"]);
    players
        .iter_mut()
        .for_each(|player| assert!(player.play_on(crate::slow::SECOND).is_unbroken()));
    let sent = |way: &str| server.metric(&format!("ringcast_send_{way}_bytes_total"));
    assert_eq!(sent("zerocopy"), 0.0, "nothing was registered to be sent from");
    assert!(sent("copied") + sent("shared") > 0.0);
    let rows = server.api("/api/v1/viewers");
    for row in rows["viewers"].as_array().unwrap() {
        assert!(row["send_path"] == "shared" || row["send_path"] == "copy", "{row}");
    }
    assert_eq!(server.lines_with(&["viewer end"]), 0);
}

#[test]
fn a_ring_that_is_busy_for_a_moment_is_asked_again() {
    let engine = rig::engine(rig::one_channel(1_903));
    plays_on(refusing("io_uring_enter:error=EBUSY:when=40+25", &engine), 1_903);
}

#[test]
fn without_rings_everything_goes_by_epoll() {
    let engine = rig::engine(rig::one_channel(1_904));
    let server = refusing("io_uring_setup:error=EPERM", &engine);
    let path = server.api("/api/v1/status")["send_path"].as_str().unwrap().to_owned();
    assert!(path.starts_with("epoll"), "{path}");
    plays_on(server, 1_904);
}

/// A container of 64 MiB, of which the rings take what they may.
#[test]
fn sixty_four_mebibytes_are_enough() {
    let group = match MemoryGroup::of(64 << 20) {
        Ok(group) => group,
        Err(why) => {
            rig::say(&format!("NOT RUN: 64 MiB of memory (no control group: {why})"));
            return;
        }
    };
    let channels = (0..3).fold(rig::one_channel(1_905), |config, n| {
        config.channel(Channel::signed(&rig::infohash(1_906 + n)).bitrate_bps(4_000_000))
    });
    let engine = rig::engine(channels);
    let mut command = Command::new("sh");
    let script = format!("{} && exec \"$0\" \"$@\"", group.join());
    command.args(["-c", &script, env!("CARGO_BIN_EXE_ringcast")]);
    let specs = format!("{},name=e0", engine.addr());
    let server = Server::from_command(command, &specs).unset("RINGCAST_MEMORY").start().ready();
    let budget = server.api("/api/v1/status")["memory"]["budget_bytes"].as_u64().unwrap();
    assert!(budget <= 32 << 20, "the limit of the group was not seen: {budget}");
    let mut players: Vec<Player> = (0..12)
        .map(|n| {
            let path = format!("/ace/getstream?infohash={}", rig::infohash(1_905 + n % 3));
            Player::open(server.address, &path)
        })
        .collect();
    rig::play_together(&mut players, 5_000_000);
    for player in &players {
        assert!(player.report().is_unbroken(), "{:?}", player.report());
    }
    // One channel more is refused by its name, and nobody notices.
    let path = format!("/ace/getstream?infohash={}", rig::infohash(1_908));
    let more = rig::get(server.address, &path);
    let message = Refusal::new(503, "no_memory").check("a fourth channel", &more);
    assert!(message.contains("RINGCAST_MEMORY"), "{message}");
    rig::play_together(&mut players, 6_000_000);
    assert!(players.iter().all(|player| player.report().is_unbroken()));
    assert!(server.stop().success());
}
