//! Whatever becomes of Redis, nobody who watches notices: a server with Redis is compared with one
//! without, on the same machine at the same time.

use super::SECOND;
use super::await_clients;
use super::await_state;
use super::mirrored;
use super::path_of;
use super::state_of;
use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::Start;
use crate::rig::Watch;
use crate::rig::eventually;
use crate::rig::redis::Delay;
use crate::rig::redis::Redis;
use crate::rig::redis::View;
use ace_emulator::Channel;
use ace_emulator::Emulator;
use std::time::Duration;

/// What a single join may take where the one beside it took no time at all.
const JOIN: Duration = Duration::from_millis(300);
/// What a player may wait for its next byte where the one beside it never waited: a piece comes
/// every 131 ms, and is held for 100 ms at most.
const GAP: Duration = Duration::from_millis(300);
/// By how much a machine that is busy with other tests may make one server slower than another, at
/// the worst of its moments.
const SLACK: u32 = 5;
/// A join is over when there is a picture: the tables and some of it.
const FIRST_BYTES: u64 = 10_000;
/// And in the middle of several: nobody is always unlucky.
const JOINS: usize = 5;
const SLACK_OF_MANY: u32 = 2;
/// A join from a ring takes some milliseconds; whoever waited for Redis would take half a second.
const WARM_JOIN: Duration = Duration::from_millis(100);
/// Of a server's deliveries that are late, as many more may be with Redis than without.
const LATE_MORE_MAX: f64 = 0.15;
/// And as many more waits that are felt: what Redis held back would come again and again, where a
/// busy machine is unlucky once.
const LONG_GAPS_MORE_MAX: u64 = 2;

/// What a server says of the pieces that it has handed on: those that it held longer than it should.
struct Handed {
    all: f64,
    late: f64,
}

impl Handed {
    fn of(server: &Server) -> Self {
        let scrape = rig::Scrape::of(server);
        let all = scrape.get("ringcast_delivery_latency_seconds_count");
        // More than twice the 100 ms for which bytes may wait for company.
        let in_time = scrape.get("ringcast_delivery_latency_seconds_bucket{le=\"0.25\"}");
        Self { all, late: all - in_time }
    }

    fn late_share_since(&self, before: &Self) -> f64 {
        let all = self.all - before.all;
        assert!(all > 0.0, "nothing was handed on");
        (self.late - before.late) / all
    }
}

fn engine(n: u32) -> Emulator {
    let cold = Channel::signed(&rig::infohash(n + 1)).bitrate_bps(2_000_000);
    rig::engine(rig::one_channel(n).channel(cold))
}

/// One server with Redis and one without, each with an engine of the same channels.
pub(super) struct Weather {
    n: u32,
    engines: [Emulator; 2],
    pub(super) server: Server,
    calm: Server,
}

impl Weather {
    pub(super) fn new(n: u32, start: impl FnOnce(&Emulator) -> Start) -> Self {
        let engines = [engine(n), engine(n)];
        let server = start(&engines[0]).start().ready();
        let calm = Server::with(&[&engines[1]]).start().ready();
        Self { n, engines, server, calm }
    }

    /// A join on both at once; how long each took to its first bytes.
    fn join(&self, n: u32) -> ([Watch; 2], [Duration; 2]) {
        let path = path_of(&rig::infohash(n));
        let one = |server: &Server| {
            let (address, path) = (server.address, path.clone());
            std::thread::spawn(move || {
                let begun = rig::stopwatch();
                let mut player = Player::open(address, &path);
                player.play(FIRST_BYTES);
                let took = begun.elapsed();
                (Watch::of(player), took)
            })
        };
        let joins = [one(&self.server), one(&self.calm)];
        let [(told, told_in), (calm, calm_in)] = joins.map(|join| join.join().expect("a join"));
        ([told, calm], [told_in, calm_in])
    }

    /// Several joins one after the other, on both at once; the median of each.
    fn joins(&self, n: u32) -> [Duration; 2] {
        let mut took = [Vec::new(), Vec::new()];
        for _ in 0..JOINS {
            let (watches, each) = self.join(n);
            took.iter_mut().zip(each).for_each(|(took, one)| took.push(one));
            for watch in watches {
                watch.leave_unbroken();
            }
        }
        took.map(|mut took| {
            took.sort_unstable();
            took[JOINS / 2]
        })
    }

    /// Joins, leaves and starts while `trouble` lasts; all is well, and known, after `repair`.
    pub(super) fn passes<R>(
        &self,
        redis: &mut R,
        look: impl Fn(&R) -> View,
        trouble: impl FnOnce(&mut R),
        repair: impl FnOnce(&mut R),
    ) {
        let (warm, cold) = (rig::infohash(self.n), rig::infohash(self.n + 1));
        await_state(&self.server, "up");
        let ([stays, calm], _) = self.join(self.n);
        let leaver = Watch::of(Player::open(self.server.address, &path_of(&warm)));
        await_clients(&mut look(redis), &warm, &[&stays.id, &leaver.id]);
        [&stays, &calm].iter().for_each(|watch| watch.forget());

        trouble(redis);
        let before = [Handed::of(&self.server), Handed::of(&self.calm)];
        let ([cold_told, cold_calm], cold_joins) = self.join(self.n + 1);
        let ([warm_told, warm_calm], _) = self.join(self.n);
        let warm_joins = self.joins(self.n);
        leaver.leave_unbroken();
        stays.await_more(3 * SECOND);
        let gaps = [stays.worst_gap(), calm.worst_gap()];
        let long_gaps = [stays.long_gaps(), calm.long_gaps()];
        let handed = [Handed::of(&self.server), Handed::of(&self.calm)];
        let late = [0, 1].map(|at| handed[at].late_share_since(&before[at]));
        let said = state_of(&self.server);

        repair(redis);
        let repaired = rig::stopwatch();
        let mut view = look(redis);
        await_clients(&mut view, &warm, &[&stays.id, &warm_told.id]);
        await_clients(&mut view, &cold, &[&cold_told.id]);
        eventually("both states and owners", || {
            let right = |view: &mut View, infohash: &str| {
                view.state(infohash).as_deref() == Some("active") && view.owner(infohash).is_some()
            };
            (right(&mut view, &warm) && right(&mut view, &cold)).then_some(())
        });
        await_state(&self.server, "up");
        eprintln!(
            "redis was {said}; right again after {:?}; with Redis, without: a cold join \
             {cold_joins:?}, warm joins {warm_joins:?}, longest gaps {gaps:?}, long ones \
             {long_gaps:?}, late {late:?}",
            repaired.elapsed()
        );
        let no_slower =
            |what: &str, [told, without]: [Duration; 2], least: Duration, slack: u32| {
                let most = slack * without.max(least);
                assert!(told < most, "{what} took {told:?}, without Redis {without:?}");
            };
        no_slower("a cold join", cold_joins, JOIN, SLACK);
        no_slower("most warm joins", warm_joins, WARM_JOIN, SLACK_OF_MANY);
        no_slower("the longest gap", gaps, GAP, SLACK);
        let [told, without] = long_gaps;
        assert!(told <= without + LONG_GAPS_MORE_MAX, "{told} long gaps, without Redis {without}");
        assert!(late[0] <= late[1] + LATE_MORE_MAX, "late with Redis, and without: {late:?}");
        for watch in [stays, calm, cold_told, cold_calm, warm_told, warm_calm] {
            watch.await_more(SECOND / 4);
            let report = watch.leave_unbroken();
            assert_eq!((report.lost_packets, report.inserted.marks), (0, 0), "{report:?}");
            assert_eq!(report.inserted.nulls, 0, "nobody was kept waiting: {report:?}");
        }
        self.engines.iter().for_each(|engine| rig::await_stops(engine, 2));
    }
}

fn weather(n: u32, trouble: impl FnOnce(&mut Redis), repair: impl FnOnce(&mut Redis)) -> Weather {
    let mut redis = Redis::start();
    let url = redis.url();
    let weather = Weather::new(n, |engine| mirrored(&[engine], &url));
    weather.passes(&mut redis, |redis| View::new(redis.client()), trouble, repair);
    weather
}

#[test]
fn redis_is_killed_and_comes_back_empty() {
    let mut redis = Redis::start();
    let url = redis.url();
    let weather = Weather::new(2_050, |engine| mirrored(&[engine], &url));
    let mut epoch = None;
    let look = |redis: &Redis| View::new(redis.client());
    let trouble = |redis: &mut Redis| {
        let mut view = View::new(redis.client());
        let infohash = rig::infohash(2_050);
        eventually("an owner", || view.owner(&infohash));
        // As after a long life.
        let key = view.key(&infohash, "owner:epoch");
        epoch = view.text(&key).map(|text| text.parse::<u64>().unwrap());
        redis.kill();
        await_state(&weather.server, "down");
    };
    weather.passes(&mut redis, look, trouble, Redis::restart);
    let after = View::new(redis.client()).epoch(&rig::infohash(2_050));
    assert!(after > epoch, "epochs never start again: {epoch:?}, then {after:?}");
}

#[test]
fn redis_is_frozen() {
    weather(2_052, |redis| redis.freeze(), |redis| redis.thaw());
}

#[test]
fn redis_pauses_its_clients() {
    let pause = |redis: &mut Redis| {
        redis.client().call(&["CLIENT", "PAUSE", "4000"]);
    };
    // Nobody is answered until then, whoever asks for the end of it included.
    let go_on = |redis: &mut Redis| {
        redis.client().call(&["PING"]);
    };
    weather(2_054, pause, go_on);
}

/// It answers whoever looks, and takes nothing.
#[test]
fn redis_pauses_those_who_write() {
    let pause = |redis: &mut Redis| {
        redis.client().call(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    };
    let go_on = |redis: &mut Redis| {
        redis.client().call(&["CLIENT", "UNPAUSE"]);
    };
    weather(2_066, pause, go_on);
}

#[test]
fn redis_is_full_and_evicts_nothing() {
    let limit = |redis: &mut Redis, bytes: &str| {
        let mut client = redis.client();
        client.call(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
        client.call(&["CONFIG", "SET", "maxmemory", bytes]);
    };
    let weather = weather(2_056, |redis| limit(redis, "1"), |redis| limit(redis, "0"));
    let said = weather.server.lines_with(&["WARN", "refuses", "OOM"]);
    assert_eq!(said, 1, "once, and not each time: {:#?}", weather.server.lines());
}

#[test]
fn redis_is_slow() {
    let redis = Redis::start();
    let mut slow = Delay::before(redis.address(), 0);
    let url = slow.url();
    let weather = Weather::new(2_058, |engine| mirrored(&[engine], &url));
    let look = |_: &Delay| View::new(redis.client());
    weather.passes(&mut slow, look, |slow| slow.set_ms(700), |slow| slow.set_ms(0));
}

/// A container is killed 10 s after its SIGTERM; the contract says 8.
#[test]
fn the_end_does_not_wait_for_a_frozen_redis() {
    let redis = Redis::start();
    let engine = engine(2_064);
    let server = mirrored(&[&engine], &redis.url()).start().ready();
    await_state(&server, "up");
    let infohash = rig::infohash(2_064);
    // Read all the time: one that takes nothing when the server ends is broken off after a second.
    let watch = Watch::of(Player::open(server.address, &path_of(&infohash)));
    watch.await_more(SECOND);
    await_clients(&mut View::new(redis.client()), &infohash, &[&watch.id]);
    redis.freeze();
    let begun = rig::stopwatch();
    assert!(server.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    eventually("its end", || watch.has_ended().then_some(()));
    assert!(watch.end().report().is_unbroken());
    rig::await_stops(&engine, 1);
    redis.thaw();
}

#[test]
fn redis_is_not_there_yet() {
    let mut redis = Redis::start();
    redis.kill();
    let engine = engine(2_060);
    let server = mirrored(&[&engine], &redis.url()).start().ready();
    let infohash = rig::infohash(2_060);
    let watch = Watch::of(Player::open(server.address, &path_of(&infohash)));
    watch.await_more(2 * SECOND);
    let state = state_of(&server);
    assert!(state == "connecting" || state == "down", "{state}");
    assert!(server.metric("ringcast_redis_up") == 0.0);
    redis.restart();
    let mut view = View::new(redis.client());
    await_clients(&mut view, &infohash, &[&watch.id]);
    eventually("an owner", || view.owner(&infohash));
    await_state(&server, "up");
    assert!(server.metric("ringcast_redis_up") == 1.0);
    watch.leave_unbroken();
    // One line when it was away, one when it came: not one for every try.
    let said = server.lines().iter().filter(|line| line.to_lowercase().contains("redis")).count();
    assert!(said <= 5, "{:#?}", server.lines());
}

#[test]
fn a_wrong_password_is_said_once_and_keeps_nobody_from_playing() {
    let redis = Redis::with(&["requirepass sesame"]);
    let engine = engine(2_062);
    let url = format!("redis://:swordfish@{}", redis.address());
    let server = mirrored(&[&engine], &url).start().ready();
    let infohash = rig::infohash(2_062);
    let watch = Watch::of(Player::open(server.address, &path_of(&infohash)));
    let warning = server.await_line(&["WARN", "Redis down", "assword"]);
    assert!(warning.contains(&redis.address().to_string()), "it says where: {warning}");
    watch.await_more(4 * SECOND);
    await_state(&server, "down");
    watch.leave_unbroken();
    rig::await_stops(&engine, 1);
    assert!(server.lines_with(&["WARN", "edis"]) <= 2, "{:#?}", server.lines());
    assert_eq!(server.lines_with(&["swordfish"]), 0, "{:#?}", server.lines());
    // As soon as the password is the right one, it is used.
    let mut client = redis.client();
    client.call(&["AUTH", "sesame"]);
    client.call(&["CONFIG", "SET", "requirepass", "swordfish"]);
    await_state(&server, "up");
    assert!(server.stop().success());
}
