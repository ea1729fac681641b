//! One viewer's trouble is nobody else's: crowds that take nothing, crowds that come and go, hosts
//! that vanish.

use crate::rig;
use crate::rig::FaultProxy;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::eventually;
use crate::slow::NARROW;
use ace_emulator::Channel;
use ace_emulator::Knob;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

const SECOND: u64 = 500_000;

/// With a crowd and without, by turns.
const ROUNDS: usize = 3;

/// Connections of a warm-up, and what memory may differ by after it, however many there were.
const CROWD: usize = 1_000;
const SLACK_PERCENT: u64 = 2;

fn engine(n: u32) -> ace_emulator::Emulator {
    let channel = Channel::signed(&rig::infohash(n)).tag(n).bitrate_bps(SECOND * 8);
    rig::engine(rig::quick(channel))
}

fn path(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(n))
}

fn field(line: &str, name: &str) -> u64 {
    let value = line.split(&format!(" {name}=")).nth(1).unwrap_or_else(|| panic!("{line}"));
    value.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{line}"))
}

/// The 99th percentile of what these players' packets took since they were emitted; it begins anew.
fn p99(players: &mut [Player]) -> Duration {
    let mut all = players[0].report().latency;
    players[1..].iter().for_each(|player| all.merge(&player.report().latency));
    players.iter_mut().for_each(Player::reset_latency);
    Duration::from_micros(all.percentile_us(99.0))
}

/// Players whose windows are shut: each is closed as stuck, with how long its window held us back in
/// its line, and those beside them lose not a byte and wait no longer for any.
#[test]
fn a_crowd_with_shut_windows_costs_the_others_nothing() {
    rig::steadily(a_crowd_with_shut_windows);
}

fn a_crowd_with_shut_windows() {
    let (crowd, players, quiet_s) = if rig::is_deep() { (500, 50, 8) } else { (150, 10, 1) };
    let engine = engine(1_800);
    let server =
        Server::with(&[&engine]).set("RINGCAST_SEND_STALL_TIMEOUT", "1500ms").start().ready();
    let mut fast: Vec<Player> =
        (0..players).map(|_| Player::open(server.address, &path(1_800))).collect();
    rig::play_together(&mut fast, 2 * SECOND);
    // By turns, so that whatever else the machine does is in both; the middle one of each counts.
    let mut rounds: [(Duration, Duration); ROUNDS] = std::array::from_fn(|round| {
        p99(&mut fast);
        rig::while_they_play(&mut fast, || rig::throughout(Duration::from_secs(quiet_s), || true));
        let alone = p99(&mut fast);
        let stuck = rig::while_they_play(&mut fast, || {
            let ask = |_| Player::ask_narrow(server.address, &path(1_800), NARROW);
            let stuck: Vec<rig::Asked> = (0..crowd).map(ask).collect();
            server.await_lines((round + 1) * crowd, &["viewer end", "reason=stuck"]);
            stuck
        });
        let beside = p99(&mut fast);
        eprintln!("p99 {alone:?} alone, {beside:?} beside {} that are stuck", stuck.len());
        (alone, beside)
    });
    rounds.sort_by_key(|(alone, _)| *alone);
    let alone = rounds[ROUNDS / 2].0;
    rounds.sort_by_key(|(_, beside)| *beside);
    let beside = rounds[ROUNDS / 2].1;
    rig::say(&format!("{crowd} that are stuck: p99 {alone:?} alone, {beside:?} beside them"));
    assert!(
        beside <= 3 * alone.max(Duration::from_millis(100)),
        "who is stuck makes the others wait: {rounds:?}"
    );
    for player in &fast {
        assert!(player.report().is_unbroken(), "{:?}", player.report());
    }
    for line in server.lines().iter().filter(|line| line.contains("reason=stuck")) {
        assert!(field(line, "rwnd_limited_ms") > 500, "{line}");
        assert!(field(line, "bytes") > 0, "{line}");
    }
    server.await_viewers(players as u64);
    assert_eq!(engine.control().counters().contents, 1);
}

/// Everybody leaves and as many come, at one moment.
#[test]
fn a_crowd_that_leaves_while_another_comes_ends_no_stream() {
    let crowd = if rig::is_deep() { 3_000 } else { 300 };
    let engine = engine(1_801);
    // Those of the crowd that nobody reads are not closed for that.
    let start = Server::with(&[&engine]).set("RINGCAST_SEND_STALL_TIMEOUT", "120");
    let server = start.start().ready();
    let mut stays = Player::open(server.address, &path(1_801));
    let address = server.address;
    let ask = || (0..crowd).map(|_| Player::ask(address, &path(1_801))).collect::<Vec<_>>();
    let mut come = rig::while_they_play(std::slice::from_mut(&mut stays), || {
        let leaves: Vec<Player> = ask().into_iter().map(rig::Asked::begin).collect();
        let gone = std::thread::spawn(move || leaves.into_iter().for_each(Player::leave));
        let come: Vec<Player> = ask().into_iter().map(rig::Asked::begin).collect();
        gone.join().unwrap();
        assert!(come.iter().all(|player| player.status == 200));
        server.await_viewers(crowd + 1);
        come
    });
    for player in come.iter_mut().step_by(10) {
        let report = player.play(50_000);
        assert!(report.is_unbroken(), "{report:?}");
    }
    assert!(stays.play_on(SECOND).is_unbroken(), "{:?}", stays.report());
    let counters = engine.control().counters();
    assert_eq!((counters.getstreams, counters.stops), (1, 0), "one session all the time");
    server.await_lines(crowd as usize, &["viewer end", "reason=left"]);
}

/// Connections that are made and broken: descriptors and memory end where they began.
#[test]
fn connections_made_and_broken_leave_descriptors_and_memory_where_they_were() {
    let count = if rig::is_deep() { 10_000 } else { 2_000 };
    let engine = engine(1_802);
    let server = Server::with(&[&engine]).start().ready();
    let mut player = Player::open(server.address, &path(1_802));
    player.play(2 * SECOND);
    // The ring must not grow meanwhile: nothing comes any more.
    engine.control().set(Knob::Starve, true);
    let connect = |n: usize| {
        let mut socket = TcpStream::connect(server.address).unwrap();
        if !n.is_multiple_of(3) {
            let head = format!("GET {} HTTP/1.1\r\nHost: x\r\n", path(1_802));
            let end = if n % 3 == 1 { "" } else { "\r\n" };
            socket.write_all(format!("{head}{end}").as_bytes()).unwrap();
        }
        rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
        socket
    };
    let quiet = || {
        server.await_viewers(1);
        (server.open_files_at_rest(), server.rss_bytes())
    };
    // Tables and caches have the size of the largest crowd after one that is larger, and all there at
    // one moment, than any that a busy server can make of those who come one after the other.
    drop((0..CROWD).map(&connect).collect::<Vec<_>>());
    quiet();
    (0..CROWD).for_each(|n| drop(connect(n)));
    let (files, bytes) = quiet();
    for _ in 0..ROUNDS {
        (0..count).for_each(|n| drop(connect(n)));
        let (now, after) = quiet();
        rig::say(&format!(
            "{count} aborts: {files} -> {now} descriptors, {bytes} -> {after} bytes"
        ));
        assert!(now.abs_diff(files) <= 1, "{files} -> {now} descriptors");
        // What leaks does it every time: of all rounds together.
        assert!(after <= bytes + bytes * SLACK_PERCENT / 100, "{bytes} -> {after} bytes");
    }
}

/// A thousand heads, a byte at a time: each is answered 408 at its deadline, players notice nothing,
/// and whoever comes is served at once.
#[test]
fn heads_that_never_end_are_cut_off_and_delay_nobody() {
    rig::steadily(heads_that_never_end);
}

fn heads_that_never_end() {
    let crowd = if rig::is_deep() { 1_000 } else { 300 };
    let engine = engine(1_803);
    let server = Server::with(&[&engine]).start().ready();
    let mut player = Player::open(server.address, &path(1_803));
    player.play(SECOND);
    let begun = rig::stopwatch();
    let mut slow: Vec<TcpStream> = (0..crowd)
        .map(|_| {
            let mut socket = rig::connect(server.address);
            socket.write_all(b"GET /ace/getstream?id=").unwrap();
            socket
        })
        .collect();
    let mut joins = Vec::new();
    while begun.elapsed() < Duration::from_millis(5_500) {
        for socket in &mut slow {
            // Those that were cut off refuse the byte.
            let _ = socket.write_all(b"a");
        }
        player.play_on(SECOND / 4);
        let join = rig::stopwatch();
        Player::open(server.address, &path(1_803)).leave();
        joins.push(join.elapsed());
    }
    joins.sort();
    let half = joins[(joins.len() - 1) / 2];
    eprintln!("{} joins, {:?} at most, half of them {half:?}", joins.len(), joins.last());
    assert!(half < Duration::from_secs(1), "{joins:?}");
    assert!(player.report().is_unbroken(), "{:?}", player.report());
    let mut answered = 0;
    for mut socket in slow {
        let mut reply = Vec::new();
        // The byte that came behind the answer may have turned its end into a reset.
        let _ = socket.read_to_end(&mut reply);
        answered += usize::from(reply.starts_with(b"HTTP/1.1 408"));
    }
    assert!(answered > crowd / 2, "{answered} of {crowd} were told");
    server.await_viewers(1);
}

/// The same by a tool that does nothing else; a quarter of a minute, so for `--deep`.
#[test]
fn slowhttptest_finds_the_service_available_all_the_time() {
    if !rig::is_deep() {
        return;
    }
    let engine = engine(1_806);
    let server = Server::with(&[&engine]).start().ready();
    let mut player = Player::open(server.address, &path(1_806));
    player.play(SECOND);
    let mut command = Command::new("slowhttptest");
    command.args(["-H", "-c", "1000", "-r", "500", "-i", "1", "-x", "24", "-p", "2", "-l", "12"]);
    command.args(["-u", &server.url("/healthz")]).stdin(Stdio::null());
    let output = rig::while_they_play(std::slice::from_mut(&mut player), || {
        command.output().expect("slowhttptest")
    });
    let said = String::from_utf8_lossy(&output.stdout);
    let seen = said.matches("YES").count();
    println!("available {seen} times, unavailable {}", said.matches("NO").count());
    assert!(seen > 1 && !said.contains("NO"), "{said}");
    let refused = server.labelled_metric("ringcast_http_responses_total", "code=\"408\"");
    assert!(refused >= 500.0, "heads that never ended were told so: {refused}");
    assert!(player.report().is_unbroken(), "{:?}", player.report());
    assert_eq!(server.count("viewers"), 1);
}

/// A player's road: in slices, late, stopped for a while, then broken in either way.
#[test]
fn whatever_happens_on_a_players_road_its_bytes_are_in_order_and_its_end_is_seen() {
    let engine = engine(1_804);
    let server = Server::with(&[&engine]).start().ready();
    let road = FaultProxy::to(server.address);
    let mut beside = Player::open(server.address, &path(1_804));
    let mut player = Player::open(road.address, &path(1_804));
    road.slices(97);
    assert!(player.play_on(SECOND / 2).is_unbroken());
    road.slices(0);
    road.latency(Duration::from_millis(20));
    assert!(player.play_on(SECOND / 2).is_unbroken());
    road.latency(Duration::ZERO);
    road.stall(true);
    beside.play_on(SECOND);
    road.stall(false);
    assert!(player.play_on(2 * SECOND).is_unbroken(), "{:?}", player.report());
    let id = player.id();
    road.reset();
    server.await_line(&["viewer end", &id, "reason=left"]);
    let other = Player::open(road.address, &path(1_804));
    let id = other.id();
    road.half_close();
    drop(other);
    server.await_line(&["viewer end", &id, "reason=left"]);
    assert!(beside.play_on(SECOND).is_unbroken());
    server.await_viewers(1);
}

/// The cable is pulled: no FIN comes, no RST, and yet the ghosts are gone in time. In a network of
/// its own, with `ip`, as root; half a minute, so for `--deep`.
#[test]
fn ghosts_are_gone_twenty_seconds_after_the_cable_was_pulled() {
    if !rig::is_deep() {
        return;
    }
    let engine = engine(1_805);
    let name = format!("rc{}", std::process::id() % 10_000);
    let cable = Cable::new(&name);
    let server = Server::with(&[&engine])
        .set("RINGCAST_LISTEN", "0.0.0.0:0")
        .set("RINGCAST_SEND_STALL_TIMEOUT", "60")
        .start()
        .ready();
    let url = format!("http://10.231.77.1:{}{}", server.address.port(), path(1_805));
    let mut far: Vec<std::process::Child> = (0..5)
        .map(|_| {
            let mut curl = Command::new("ip");
            curl.args(["netns", "exec", &name, "curl", "-sN", "-o", "/dev/null", &url]);
            curl.stdin(Stdio::null()).spawn().expect("ip and curl")
        })
        .collect();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    let mut near = Player::open(address, &path(1_805));
    eventually("all of them playing", || (server.lines_with(&["viewer start"]) == 6).then_some(()));
    near.play_on(2 * SECOND);
    cable.pull();
    let begun = rig::stopwatch();
    while server.lines_with(&["viewer end"]) < 5 {
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", server.lines());
        near.play_on(20_000);
    }
    println!("ghosts gone after {:?}", begun.elapsed());
    assert!(begun.elapsed() <= Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(near.report().is_unbroken());
    for child in &mut far {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Two ends of a cable, the other one in a namespace of its own.
struct Cable(String);

impl Cable {
    fn new(name: &str) -> Self {
        let cable = Self(name.to_owned());
        let (here, there) = (format!("{name}a"), format!("{name}b"));
        for line in [
            format!("netns add {name}"),
            format!("link add {here} type veth peer name {there} netns {name}"),
            format!("addr add 10.231.77.1/24 dev {here}"),
            format!("link set {here} up"),
            format!("-n {name} addr add 10.231.77.2/24 dev {there}"),
            format!("-n {name} link set {there} up"),
        ] {
            assert!(ip(&line), "ip {line}: is this run as root?");
        }
        cable
    }

    fn pull(&self) {
        assert!(ip(&format!("-n {} link set {0}b down", self.0)));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        ip(&format!("link del {}a", self.0));
        ip(&format!("netns del {}", self.0));
    }
}

fn ip(line: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(line.split(' ')).stdin(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
