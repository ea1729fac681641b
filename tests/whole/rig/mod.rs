//! What the whole-program tests stand on: a server process, a player's socket, an engine.

#![allow(dead_code, unused_imports, reason = "each file of tests uses its part")]

pub(crate) mod apart;
mod cgroup;
mod client;
mod fault;
mod meddling;
mod metrics;
pub(crate) mod redis;
mod refusal;
pub(crate) mod server;
mod steady;
pub(crate) mod tool;
mod watch;
mod web;

pub(crate) use apart::EngineApart;
pub(crate) use cgroup::MemoryGroup;
pub(crate) use client::Asked;
pub(crate) use client::Player;
pub(crate) use client::Reply;
pub(crate) use client::connect;
pub(crate) use client::connect_from;
pub(crate) use client::exchange;
pub(crate) use client::get;
pub(crate) use client::request;
pub(crate) use client::reserve;
pub(crate) use client::whole_reply;
pub(crate) use fault::FaultProxy;
pub(crate) use meddling::Meddling;
pub(crate) use metrics::Scrape;
pub(crate) use refusal::Refusal;
pub(crate) use server::Server;
pub(crate) use server::Start;
pub(crate) use steady::steadily;
pub(crate) use watch::Watch;
pub(crate) use watch::watch_together;
pub(crate) use web::Web;
pub(crate) use web::json;

use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Report;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// Whatever is awaited comes within this, or the test has failed: thirty times what a loaded
/// two-core machine was seen to need. Nobody waits so long but for what does not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An infohash that says which test it belongs to.
pub(crate) fn infohash(n: u32) -> String {
    format!("{:032x}{n:08x}", 0xace0_u32)
}

pub(crate) fn content_id(n: u32) -> String {
    format!("{:032x}{n:08x}", 0xc0de_u32)
}

pub(crate) fn engine(config: Config) -> Emulator {
    Emulator::start(config).expect("the emulated engine starts")
}

/// One warm channel of 2 Mbit/s in small pieces, with a content id.
pub(crate) fn one_channel(n: u32) -> Config {
    let channel = Channel::signed(&infohash(n)).content_id(&content_id(n)).bitrate_bps(2_000_000);
    quick(channel)
}

/// A second of burst, eight pieces a second: a test sees both within two seconds.
pub(crate) fn quick(channel: Channel) -> Config {
    use ace_emulator::Knob;
    Config::default()
        .knob(Knob::BurstBytes, 1_000_000)
        .knob(Knob::PieceBytes, 32 * 1024)
        .channel(channel)
}

/// Two engines of one broadcast, byte for byte.
pub(crate) fn twins(n: u32) -> [Emulator; 2] {
    let first = engine(one_channel(n));
    let second = engine(one_channel(n).epoch_us(first.control().epoch_us()));
    [first, second]
}

/// The server, once it knows both of its engines.
pub(crate) fn both_up(server: Server) -> Server {
    eventually("both engines up", || {
        let rows = server.api("/api/v1/engines");
        let up = rows["engines"].as_array()?.iter().filter(|row| row["state"] == "up").count();
        (up == 2).then_some(())
    });
    server
}

/// The counters of an engine once it has `n` stops behind it and no session left.
pub(crate) fn await_stops(engine: &Emulator, n: u64) {
    let control = engine.control();
    let done = |control: &ace_emulator::Control| {
        control.sessions_open() == 0 && control.counters().stops >= n
    };
    let patience = u64::try_from(PATIENCE.as_millis()).unwrap();
    assert!(control.wait_for(patience, done), "{n} stops: {:?}", control.counters());
    assert_eq!(control.counters().stops, n, "{:?}", control.counters());
}

/// Lets all of them play until each has so many bytes, a little each in turn: nobody falls behind.
pub(crate) fn play_together(players: &mut [Player], bytes: u64) {
    while players.iter().any(|player| player.report().bytes < bytes) {
        for player in &mut *players {
            let had = player.report().bytes;
            let until = bytes.min(had + 64 * 1024);
            assert!(had >= until || player.play(until).bytes > had, "ended: {:?}", player.report());
        }
    }
}

/// Plays them all to their orderly ends, each on a thread of its own; what each saw.
pub(crate) fn play_out_together(players: &mut [Player]) -> Vec<Report> {
    std::thread::scope(|scope| {
        let each = players.iter_mut().map(|player| scope.spawn(|| player.play_to_the_end()));
        let each: Vec<_> = each.collect();
        each.into_iter().map(|thread| thread.join().expect("an orderly end")).collect()
    })
}

/// Does `work` while these go on being read, each on a thread of its own: who is not read for as long
/// as a ring lasts is a slow viewer, whatever the test was waiting for.
pub(crate) fn while_they_play<T>(players: &mut [Player], work: impl FnOnce() -> T) -> T {
    /// Says so also when the work has failed.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for player in players {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    assert!(player.step().expect("the stream goes on") > 0, "the stream ended");
                }
            });
        }
        let _over = Over(&is_over);
        work()
    })
}

/// Looks until `look` finds something. Only for facts that live in another process and send no
/// event of their own.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, look)
}

#[expect(clippy::disallowed_methods, reason = "another process's state has no event to await")]
pub(crate) fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < patience, "waited {patience:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A line for who reads the run, past the capture of the test runner.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).expect("a standard error");
}

/// What takes too long for every run is done by `cargo xtask test --deep`.
pub(crate) fn is_deep() -> bool {
    std::env::var_os("RINGCAST_TEST_DEEP").is_some()
}

/// True when `condition` holds during all of `span`.
#[expect(clippy::disallowed_methods, reason = "that nothing happens has no event")]
pub(crate) fn throughout(span: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < span {
        if !condition() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

#[expect(clippy::disallowed_methods, reason = "a test's own stopwatch")]
pub(crate) fn stopwatch() -> Instant {
    Instant::now()
}
