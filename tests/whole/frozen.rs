//! An engine's process is stopped (SIGSTOP) or killed (SIGKILL) under a playing stream: a stopped one
//! still completes connections, takes requests, and answers none of them.

use crate::rig;
use crate::rig::EngineApart;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::Watch;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Emulator;
use rustix::process::Signal;
use std::time::Duration;

const SECOND: u64 = 250_000;
const STALL: Duration = Duration::from_millis(1_500);
/// Without a packet of the stream once the death is known.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// A start that is sent to an engine that hangs is taken elsewhere after STALL and five seconds.
const ASKED_MIN: Duration = Duration::from_secs(5);
/// Connections to an engine while it answers none: its status, its session's, a stop, some of it again. Four
/// were seen, and eight in a longer time.
const QUESTIONS_MAX: u64 = 20;

#[test]
fn an_engine_of_its_own() {
    rig::apart::serve();
}

fn path(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(n))
}

/// Four viewers of an engine in a process of its own, and a second engine beside it.
struct Scene {
    fragile: EngineApart,
    other: Emulator,
    server: Server,
    watches: Vec<Watch>,
    n: u32,
}

impl Scene {
    fn new(n: u32) -> Self {
        let more = Channel::signed(&rig::infohash(n + 1)).bitrate_bps(2_000_000);
        let other = rig::engine(rig::one_channel(n).channel(more));
        let fragile =
            EngineApart::start("frozen::an_engine_of_its_own", n, other.control().epoch_us());
        let specs = format!("{},name=a,forwarded {},name=b", fragile.address, other.addr());
        let start = Server::with_specs(&specs).set("RINGCAST_STALL_TIMEOUT", "1500ms");
        let server = rig::both_up(start.start());
        let mut players: Vec<_> = (0..4).map(|_| Player::open(server.address, &path(n))).collect();
        rig::play_together(&mut players, 4 * SECOND);
        assert_eq!((fragile.counter("contents"), other.control().readers()), (1, 0));
        let watches = players.into_iter().map(Watch::of).collect();
        Self { fragile, other, server, watches, n }
    }

    /// Four more seconds for everybody; the longest that anybody was without a packet.
    fn quiet(&self) -> Duration {
        rig::watch_together(&self.watches, 4 * SECOND);
        self.watches.iter().map(Watch::worst_quiet).max().unwrap()
    }

    /// Every packet came, once, on one other session, and nobody was closed; others have come and gone.
    fn all_is_whole(&self, players: &[Player], stops: u64) {
        for player in players {
            let report = player.report();
            assert!(report.is_unbroken() && report.inserted.marks == 0, "{report:?}");
        }
        assert_eq!(self.server.lines_with(&["viewer end"]) as u64, stops, "who left");
        let row = self.server.api(&format!("/api/v1/streams/{}", rig::infohash(self.n)));
        let facts = (&row["failovers"], &row["discontinuities"], &row["engine"]);
        assert_eq!(facts, (&1.into(), &0.into(), &"b".into()));
        let counters = self.other.control().counters();
        assert_eq!((counters.sessions_opened, counters.stops), (1 + stops, stops), "{counters:?}");
    }
}

#[test]
fn an_engine_whose_process_is_killed_costs_nobody_a_packet() {
    rig::steadily(killed);
}

fn killed() {
    let mut scene = Scene::new(820);
    scene.fragile.signal(Signal::KILL);
    let quiet = scene.quiet();
    rig::say(&format!("an engine's process was killed: quiet for {quiet:?}"));
    assert!(quiet <= QUIET_MAX, "{quiet:?}");
    let players: Vec<_> = scene.watches.drain(..).map(Watch::end).collect();
    scene.all_is_whole(&players, 0);
}

#[test]
fn an_engine_whose_process_is_stopped_costs_nobody_a_packet() {
    rig::steadily(stopped);
}

fn stopped() {
    let mut scene = Scene::new(822);
    let before = scene.fragile.counter("connections_accepted");
    scene.fragile.signal(Signal::STOP);
    let quiet = scene.quiet();
    rig::say(&format!("an engine's process was stopped: quiet for {quiet:?}"));
    assert!(quiet <= STALL + QUIET_MAX, "{quiet:?}");
    // When it fell silent it was asked whether it lives, and has five seconds to say so. From then on
    // nobody is sent there, though it counts as up until it has not answered three times.
    rig::watch_together(&scene.watches, 5 * SECOND);
    let begun = rig::stopwatch();
    let mut newcomer = Player::open(scene.server.address, &path(823));
    assert!(newcomer.play(SECOND).is_unbroken());
    assert!(begun.elapsed() < ASKED_MIN, "it was sent there: {:?}", begun.elapsed());
    newcomer.leave();
    eventually("the newcomer's end", || {
        (scene.other.control().counters().stops == 1).then_some(())
    });
    if rig::is_deep() {
        scene.server.await_line(&["engine down", "engine=a"]);
        rig::watch_together(&scene.watches, 20 * SECOND);
    }
    scene.fragile.signal(Signal::CONT);
    // It takes now what had waited for it, and then says how much that was.
    let asked = scene.fragile.counter("connections_accepted") - before;
    rig::say(&format!("a stopped engine was asked {asked} times"));
    assert!(asked <= QUESTIONS_MAX, "{asked}");
    eventually("its session's stop", || (scene.fragile.counter("stops") == 1).then_some(()));
    assert_eq!(scene.fragile.counter("double_stops"), 0);
    let players: Vec<_> = scene.watches.drain(..).map(Watch::end).collect();
    scene.all_is_whole(&players, 1);
}
