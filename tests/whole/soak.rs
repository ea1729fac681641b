//! Half an hour of a bad life (`--deep`): players of every kind come and go, roads and engines have
//! their faults, settings are reloaded, and at the end memory and descriptors are where they were.
//!
//! `RINGCAST_SOAK_SECONDS` makes it shorter or longer, and runs it without `--deep`.

use crate::rig;
use crate::rig::FaultProxy;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Knob;
use rustix::process::Signal;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

const SECONDS: u64 = 30 * 60;
const CHANNELS: u32 = 4;
const SECOND: u64 = 125_000;

fn path(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(2_000 + n))
}

/// Descriptors and resident bytes of a server that has nobody.
fn at_rest(server: &Server) -> (usize, u64) {
    eventually("nobody", || (server.count("viewers") + server.count("streams") == 0).then_some(()));
    let files = eventually("a quiet server", || {
        let (one, two) = (server.open_files(), server.open_files());
        (one == two).then_some(one)
    });
    (files, server.rss_bytes())
}

/// One round: somebody of every kind.
fn round(server: &Server, roads: &[FaultProxy], random: &mut u64) {
    let mut below = |n: u64| {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*random >> 33) % n
    };
    let mut players: Vec<Player> = (0..4 + below(8))
        .filter_map(|_| {
            let channel = path(below(u64::from(CHANNELS)) as u32);
            Player::ask(server.address, &channel).begin_within(Duration::from_secs(15))
        })
        .filter(|player| player.status == 200)
        .collect();
    let shut = Player::ask_narrow(server.address, &path(0), 4_096);
    let road = &roads[below(roads.len() as u64) as usize];
    match below(6) {
        0 => road.latency(Duration::from_millis(below(40))),
        1 => road.slices(1 + below(700) as usize),
        2 => road.damage_every(2_000 + below(9_000)),
        3 => road.reset(),
        4 => road.half_close(),
        _ => road.stall(true),
    }
    for _ in 0..below(40) {
        let mut socket = TcpStream::connect(server.address).unwrap();
        let _ = socket.write_all(b"GET /ace/getstream?id=");
    }
    if below(8) == 0 {
        server.signal(Signal::HUP);
    }
    for player in &mut players {
        let until = player.report().bytes + SECOND;
        while player.report().bytes < until && player.step().is_ok_and(|n| n > 0) {}
    }
    road.stall(false);
    road.latency(Duration::ZERO);
    road.slices(0);
    road.damage_every(0);
    drop(shut);
    players.into_iter().for_each(Player::leave);
}

#[test]
fn half_an_hour_of_faults_and_churn_leaves_nothing_behind() {
    let asked = std::env::var("RINGCAST_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let seconds: u64 = asked.unwrap_or(if rig::is_deep() { SECONDS } else { 0 });
    if seconds == 0 {
        return;
    }
    let engines: Vec<_> = (0..2)
        .map(|_| {
            let config = (0..CHANNELS).fold(ace_emulator::Config::default(), |config, n| {
                let channel = Channel::signed(&rig::infohash(2_000 + n));
                config.channel(channel.bitrate_bps(SECOND * 8))
            });
            rig::engine(config.knob(Knob::BurstBytes, 500_000_u64))
        })
        .collect();
    let roads: Vec<_> = engines.iter().map(|engine| FaultProxy::to(engine.addr())).collect();
    let specs = format!("{},name=e0 {},name=e1", roads[0].address, roads[1].address);
    let server = Server::with_specs(&specs)
        .set("RINGCAST_SEND_STALL_TIMEOUT", "2")
        .set("RINGCAST_MEMORY", "64MiB")
        .start()
        .ready();
    let mut random = 7;
    // Tables, caches and rings have their size after the first minute.
    let warm = rig::stopwatch();
    while warm.elapsed() < Duration::from_secs(seconds.min(600) / 10) {
        round(&server, &roads, &mut random);
    }
    let (files, bytes) = at_rest(&server);
    let begun = rig::stopwatch();
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        round(&server, &roads, &mut random);
        rounds += 1;
    }
    let (files_after, bytes_after) = at_rest(&server);
    println!("{rounds} rounds: {files} -> {files_after} files, {bytes} -> {bytes_after} bytes");
    assert!(files_after <= files + 1, "{files} -> {files_after} descriptors");
    assert!(bytes_after <= bytes + (8 << 20), "{bytes} -> {bytes_after} bytes");
    assert_eq!(server.lines_with(&["panicked"]), 0);
    for engine in &engines {
        assert_eq!(engine.control().sessions_open(), 0, "{:?}", engine.control().counters());
    }
    assert!(server.stop().success());
}
