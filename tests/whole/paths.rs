//! The ways that bytes can go, each forced in its turn and one found out: players that stop reading
//! and go on get no wrong byte on any of them. And hosts where a way is not to be had: the next one
//! is taken, that is said once, and `doctor` names the fix.

use crate::rig;
use crate::rig::Player;
use crate::rig::Scrape;
use crate::rig::Server;
use crate::rig::Start;
use crate::rig::eventually;
use crate::slow;
use crate::slow::SECOND;
use ace_emulator::Emulator;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

const MIB: u64 = 1 << 20;

/// Five seconds: more than twice the ring, and more than the window of the memory file.
const STOPPED_BYTES: u64 = 5 * SECOND;

/// What the kernels of those who stop take on their behalf: less than the server's sockets hold.
const RECEIVE_BYTES: [usize; 4] = [32 << 10, 64 << 10, 96 << 10, 256 << 10];

fn path(n: u32) -> String {
    format!("/ace/getstream?infohash={}", rig::infohash(n))
}

/// How the viewers' bytes go, as the API and the metrics have it.
#[derive(Debug)]
struct Ways {
    of_server: String,
    of_viewers: BTreeSet<String>,
    copied: f64,
    shared: f64,
    zero_copy: f64,
}

impl Ways {
    fn of(server: &Server) -> Self {
        let status = server.api("/api/v1/status");
        let listed = server.api("/api/v1/viewers");
        let rows = listed["viewers"].as_array().unwrap().iter();
        let of_viewers = rows.map(|row| row["send_path"].as_str().unwrap().to_owned()).collect();
        let scrape = Scrape::of(server);
        let ways = Self {
            of_server: status["send_path"].as_str().unwrap().to_owned(),
            of_viewers,
            copied: scrape.get("ringcast_send_copied_bytes_total"),
            shared: scrape.get("ringcast_send_shared_bytes_total"),
            zero_copy: scrape.get("ringcast_send_zerocopy_bytes_total"),
        };
        let sent = scrape.get("ringcast_sent_bytes_total");
        assert_eq!(ways.sent(), sent, "every byte went one way: {ways:?}");
        ways
    }

    fn sent(&self) -> f64 {
        self.copied + self.shared + self.zero_copy
    }

    fn are(&self, of_server: &str, of_viewers: &str) -> bool {
        self.of_server == of_server && self.of_viewers.iter().eq([of_viewers])
    }
}

/// Memory of the streams' memory files, as the kernel counts it.
fn memory_files_bytes(server: &Server) -> u64 {
    let folder = format!("/proc/{}/fd", server.pid());
    let links = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_twin = |link: &std::path::PathBuf| {
        std::fs::read_link(link).is_ok_and(|to| to.to_string_lossy().contains("ringcast-twin"))
    };
    links.filter(is_twin).map(|link| std::fs::metadata(link).unwrap().blocks() * 512).sum()
}

fn assert_unbroken(player: &Player) {
    let report = player.report();
    assert!(report.is_unbroken(), "{report:?}");
}

fn assert_lawful(player: &Player) {
    let report = player.report();
    assert!(report.is_lawful(), "{report:?}");
}

/// Three play on; four beside them stop reading for five seconds while the ring goes round twice, and
/// go on. What they all got is checked byte for byte.
fn stop_and_go_on(n: u32, mode: &str) -> (Emulator, Server, Ways) {
    let engine = slow::engine(n);
    let start = Server::with(&[&engine]);
    stop_and_go_on_in(n, mode, engine, start)
}

fn stop_and_go_on_in(
    n: u32,
    mode: &str,
    engine: Emulator,
    start: Start,
) -> (Emulator, Server, Ways) {
    let server = slow::small(start).set("RINGCAST_SEND", mode).start().ready();
    let mut live: Vec<Player> = (0..3).map(|_| Player::open(server.address, &path(n))).collect();
    let narrow = |bytes| Player::ask_narrow(server.address, &path(n), bytes).begin();
    live.extend(RECEIVE_BYTES.map(narrow));
    rig::play_together(&mut live, 2 * SECOND);
    let mut stopped = live.split_off(3);
    let until = live[0].report().bytes + STOPPED_BYTES;
    rig::play_together(&mut live, until);
    rig::while_they_play(&mut live, || {
        for player in &mut stopped {
            let report = slow::play_past_skip(player);
            assert!(report.is_lawful(), "{report:?}");
            assert_eq!(report.gaps_off_access_point, 0, "{report:?}");
            assert!(report.inserted.marks >= 2 * report.gap_count, "{report:?}");
        }
    });
    let count = live.len() + stopped.len();
    rig::while_they_play(&mut live, || {
        for _ in 0..8 {
            stopped.iter_mut().for_each(|player| _ = player.play_on(SECOND / 8));
        }
    });
    let skips: u64 = stopped.iter().map(|player| player.report().gap_count).sum();
    stopped.iter().for_each(assert_lawful);
    live.iter().for_each(assert_unbroken);
    // One more may be on its way to each of them.
    let counted = server.metric("ringcast_viewer_skips_total") as u64;
    assert!((skips..=skips + 4).contains(&counted), "{counted} of {skips}");
    assert_eq!((server.count("viewers"), server.lines_with(&["viewer end"])), (count as u64, 0));
    let ways = Ways::of(&server);
    (engine, server, ways)
}

/// The window has moved on twice: what it left behind has been given back.
fn assert_memory_file_is_bounded(server: &Server) {
    let charged = server.api("/api/v1/status")["memory"]["twin_bytes"].as_u64().unwrap();
    let held = memory_files_bytes(server);
    assert!(charged > 0 && held > MIB, "{held} of {charged}");
    // What one read of the engine brings is written before the window moves.
    assert!(held <= charged + MIB, "{held} bytes held, {charged} charged");
}

#[test]
fn by_copy_who_stops_and_goes_on_gets_no_wrong_byte() {
    rig::steadily(|| {
        let (_engine, server, ways) = stop_and_go_on(1_900, "copy");
        assert!(ways.are("io_uring copy", "copy"), "{ways:?}");
        assert_eq!((ways.shared, ways.zero_copy), (0.0, 0.0));
        assert_eq!(memory_files_bytes(&server), 0);
    });
}

#[test]
fn from_the_memory_file_who_stops_and_goes_on_gets_no_wrong_byte() {
    rig::steadily(|| {
        let (_engine, server, ways) = stop_and_go_on(1_901, "shared");
        assert!(ways.are("io_uring shared", "shared"), "{ways:?}");
        assert!(ways.shared > ways.sent() / 2.0 && ways.zero_copy == 0.0, "{ways:?}");
        assert_memory_file_is_bounded(&server);
    });
}

/// Where io_uring is forbidden the same two ways go by epoll.
#[test]
fn by_epoll_who_stops_and_goes_on_gets_no_wrong_byte() {
    let specs = |engine: &Emulator| format!("{},name=e0", engine.addr());
    for (n, mode) in [(1_908, "copy"), (1_909, "shared")] {
        rig::steadily(|| {
            let engine = slow::engine(n);
            let command = without("io_uring_setup", "EPERM", "");
            let start = Server::from_command(command, &specs(&engine));
            let (_engine, _server, ways) = stop_and_go_on_in(n, mode, engine, start);
            assert!(ways.are(&format!("epoll {mode}"), mode), "{ways:?}");
            assert!(mode == "copy" || ways.shared > ways.sent() / 2.0, "{ways:?}");
        });
    }
}

/// What those who stop have not acknowledged stays where it is, in slabs that the ring left long
/// ago, and nobody is closed for it.
#[test]
fn by_zero_copy_who_stops_and_goes_on_gets_no_wrong_byte() {
    rig::steadily(|| {
        let (_engine, server, ways) = stop_and_go_on(1_902, "zerocopy");
        assert!(ways.are("io_uring zerocopy", "zerocopy"), "{ways:?}");
        assert!(ways.zero_copy > 4.0 * SECOND as f64 && ways.shared == 0.0, "{ways:?}");
        assert_eq!(memory_files_bytes(&server), 0);
    });
}

#[test]
fn on_this_host_zero_copy_is_tried_and_the_memory_file_taken() {
    rig::steadily(|| {
        let (_engine, server, ways) = stop_and_go_on(1_903, "auto");
        // Who was never seen to take what it got is not asked.
        assert!(
            ways.of_server == "io_uring zerocopy" && ways.of_viewers.contains("shared"),
            "{ways:?}"
        );
        assert!(ways.shared > ways.sent() / 2.0 && ways.zero_copy > 0.0, "{ways:?}");
        assert_memory_file_is_bounded(&server);
    });
}

#[test]
fn of_those_who_hold_too_much_the_first_are_closed_and_nobody_else_notices() {
    // Where the machine has no time for them they lag, are served by copy, and hold nothing.
    rig::steadily(|| {
        assert!((0..3).any(|_| closed_for_what_they_hold() > 0), "nobody is closed");
    });
}

/// Ten stop one after the other, each with some slabs of the ring in the queue of its socket: in all
/// more than half of it, at which the engine would have to wait. How many are closed for it.
fn closed_for_what_they_hold() -> u64 {
    let engine = slow::engine(1_904);
    let start = slow::small(Server::with(&[&engine])).set("RINGCAST_SEND", "zerocopy");
    let server = start.start().ready();
    let open = |_| Player::ask_narrow(server.address, &path(1_904), 64 << 10).begin();
    let mut playing: Vec<Player> = (0..12).map(open).collect();
    rig::play_together(&mut playing, SECOND);
    let mut stopped = Vec::new();
    while playing.len() > 2 {
        stopped.extend(playing.pop());
        let until = playing[0].report().bytes + MIB;
        rig::play_together(&mut playing, until);
    }
    let until = playing[0].report().bytes + 3 * SECOND;
    rig::play_together(&mut playing, until);

    // They were closed in time: the engine was not kept waiting, but for a moment of a busy machine.
    let paused = server.metric("ringcast_ingest_paused_seconds_total");
    assert!(paused < 2.0, "the engine waited for {paused} s");
    let closed = rig::while_they_play(&mut playing, || await_closed(&server, &mut stopped));
    // The ring, and what the others may hold of it.
    let streams = server.api("/api/v1/streams");
    let held = streams["streams"][0]["ring_bytes"].as_u64().unwrap();
    assert!(held <= 11 * MIB, "{held}");
    playing.iter().for_each(assert_unbroken);
    closed
}

/// How many of them are closed: one after the other as they stopped, but for who holds nothing because
/// it lagged when it stopped. The others skip.
fn await_closed(server: &Server, stopped: &mut [Player]) -> u64 {
    let closed = eventually("as many closed as are gone", || {
        let closed = server.metric("ringcast_viewer_closed_total{reason=\"slow\"}") as u64;
        (server.count("viewers") == 12 - closed).then_some(closed)
    });
    assert!(closed <= 8, "{closed}");
    let end = ["viewer end", "reason=slow"];
    server.await_lines(closed as usize, &end);
    let lines = server.lines().into_iter();
    let ends = lines.filter(|line| end.iter().all(|part| line.contains(part)));
    let ids: Vec<String> =
        stopped.iter().map(|player| format!("viewer={} ", player.id())).collect();
    let who = |line: String| ids.iter().position(|id| line.contains(id)).expect("who has stopped");
    let order: Vec<usize> = ends.map(who).collect();
    assert!(order.is_sorted(), "who has held its bytes for the longest time is first: {order:?}");
    for (n, player) in stopped.iter_mut().enumerate() {
        let is_closed = order.contains(&n);
        let report = if is_closed { player.play_out() } else { slow::play_past_skip(player) };
        assert!(report.is_lawful(), "{n}: {report:?}");
    }
    closed
}

/// Many players play on where a way is missing.
fn plays(n: u32, engine: &Emulator, start: Start) -> Server {
    let server = slow::small(start).start().ready();
    let mut players: Vec<Player> = (0..6).map(|_| Player::open(server.address, &path(n))).collect();
    rig::play_together(&mut players, SECOND);
    players.iter().for_each(assert_unbroken);
    assert_eq!(engine.control().counters().getstreams, 1);
    let ways = eventually("everybody to be served from the memory file", || {
        players.iter_mut().for_each(|player| _ = player.play_on(SECOND / 20));
        let ways = Ways::of(&server);
        (ways.are("io_uring shared", "shared") && ways.shared > 0.0).then_some(ways)
    });
    assert_eq!(ways.zero_copy, 0.0, "{ways:?}");
    server
}

/// `doctor`'s lines about this, its fix included.
fn doctor(mut command: Command, what: &str) -> String {
    command.arg("doctor").env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = command.output().expect("the built binary starts");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().skip_while(|line| !line[6..].starts_with(what));
    let found = lines.next().unwrap_or_else(|| panic!("nothing of {what} in\n{text}"));
    let fix = lines.next().filter(|line| line.trim_start().starts_with("fix: ")).unwrap_or("");
    format!("{found}\n{fix}")
}

/// The server without the right to lock memory beyond a limit that is less than a region.
fn without_locked_memory() -> Command {
    let mut command = Command::new("prlimit");
    command.arg("--memlock=4194304:4194304");
    if rustix::process::geteuid().is_root() {
        // What root may do is not limited.
        command.args(["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]);
    }
    command.arg(env!("CARGO_BIN_EXE_ringcast"));
    command
}

#[test]
fn where_memory_may_not_be_locked_the_memory_file_serves_and_that_is_said_once() {
    rig::steadily(without_a_right_to_lock);
}

fn without_a_right_to_lock() {
    let engine = slow::engine(1_910);
    let specs = format!("{},name=e0", engine.addr());
    let start = Server::from_command(without_locked_memory(), &specs);
    let server = plays(1_910, &engine, start);
    server.await_lines(1, &["WARN", "zero-copy sends are off"]);
    server.await_line(&["registering ring memory", "LimitMEMLOCK", "ringcast doctor"]);
    let said = doctor(without_locked_memory(), "SEND_ZC");
    assert!(said.starts_with("warn") && said.contains("raise the memlock limit"), "{said}");
    let said = doctor(without_locked_memory(), "memlock");
    assert!(said.starts_with("warn  memlock") && said.contains("LimitMEMLOCK=infinity"), "{said}");
    let said = doctor(without_locked_memory(), "send path");
    assert!(said.starts_with("ok") && said.contains("sendfile"), "{said}");
}

/// The server in a kernel that says `error` to the call, each thread's `when`th.
fn without(call: &str, error: &str, when: &str) -> Command {
    let mut command = Command::new("strace");
    // The tracer stands aside, so that the child is the server itself.
    command.args(["-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"]);
    command.args(["-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:error={error}{when}")]);
    command.arg(env!("CARGO_BIN_EXE_ringcast"));
    command
}

#[test]
fn where_the_kernel_has_no_zero_copy_the_memory_file_serves() {
    rig::steadily(without_zero_copy);
}

fn without_zero_copy() {
    let engine = slow::engine(1_911);
    let specs = format!("{},name=e0", engine.addr());
    // What a shard registers: the runtime's probe, an eventfd, a table of buffers, then a probe that
    // is to say whether there is SEND_ZC.
    let start = Server::from_command(without("io_uring_register", "EINVAL", ":when=4"), &specs);
    let server = plays(1_911, &engine, start);
    assert_eq!(server.lines_with(&["WARN", "zero-copy"]), 0, "nothing was refused");
    // `doctor` asks for that first.
    let said = doctor(without("io_uring_register", "EINVAL", ":when=1"), "SEND_ZC");
    assert!(said.starts_with("warn") && said.contains("not in this kernel"), "{said}");
    assert!(said.contains("fix: use a kernel of 6.1 or newer"), "{said}");
}

#[test]
fn where_io_uring_is_forbidden_doctor_says_what_to_allow() {
    let without = || without("io_uring_setup", "EPERM", "");
    let said = doctor(without(), "io_uring");
    assert!(said.starts_with("warn") && said.contains("epoll is used"), "{said}");
    assert!(said.contains("fix: in a container allow io_uring_setup"), "{said}");
    let said = doctor(without(), "send path");
    assert!(said.starts_with("ok") && said.contains("sendfile"), "{said}");
}
