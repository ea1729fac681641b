//! The journal of engine sessions: what a killed process has left running is stopped by the next
//! one, once; and a state directory in any condition disturbs nothing.

use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::Start;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A state directory of one test.
struct State(PathBuf);

impl State {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("ringcast-state-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn of(&self, start: Start) -> Start {
        start.set("RINGCAST_STATE_DIR", self.0.to_str().unwrap())
    }

    /// Names and texts of the journals.
    fn journals(&self) -> Vec<(PathBuf, String)> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut found: Vec<_> =
            paths.filter_map(|path| Some((path.clone(), fs::read_to_string(path).ok()?))).collect();
        found.sort();
        found
    }

    /// Waits until what the engines opened stands in the journals.
    fn await_running(&self, sessions: usize) {
        eventually("every session in the journal", || {
            let text: String = self.journals().into_iter().map(|(_, text)| text).collect();
            (text.matches(" runs ").count() == sessions).then_some(())
        });
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn engine_with(channels: std::ops::Range<u32>) -> Emulator {
    let add = |config: Config, n| {
        config.channel(Channel::signed(&rig::infohash(n)).bitrate_bps(1_000_000))
    };
    rig::engine(channels.fold(Config::default().knob(Knob::BurstBytes, 300_000_u64), add))
}

fn play(server: &Server, n: u32) -> Player {
    let mut player =
        Player::open(server.address, &format!("/ace/getstream?infohash={}", rig::infohash(n)));
    player.play(150_000);
    player
}

fn kill(mut server: Server) {
    server.signal(Signal::KILL);
    assert!(!server.wait().success());
}

/// All that was opened has had its one stop, and nothing runs.
fn assert_all_stopped_once(engine: &Emulator, opened: u64) {
    let (control, counters) = (engine.control(), engine.control().counters());
    let sessions = control.sessions();
    assert_eq!(counters.sessions_opened, opened, "{counters:?}");
    assert!(sessions.iter().all(|session| session.stops == 1), "{sessions:?}");
    assert_eq!((counters.stops, counters.sessions_stopped), (opened, opened), "{counters:?}");
    assert_eq!(control.sessions_open(), 0);
}

#[test]
fn sessions_of_a_killed_process_are_stopped_once_by_the_next() {
    let state = State::new("killed");
    let engines = [engine_with(400..412), engine_with(400..412)];
    let start = || state.of(Server::with(&[&engines[0], &engines[1]]));
    let server = start().start().ready();
    let players: Vec<_> = (400..412).map(|n| play(&server, n)).collect();
    state.await_running(12);
    // One that had ended in order is not stopped again.
    let mut players = players.into_iter();
    players.next().unwrap().leave();
    eventually("the end of one in the journal", || {
        state.journals()[0].1.contains(" over ").then_some(())
    });
    kill(server);
    assert_eq!(engines.iter().map(|engine| engine.control().sessions_open()).sum::<usize>(), 11);

    let server = start().start();
    server.await_line(&["sessions of a dead process", "stopped=11 superseded=0 lost=0 kept=0"]);
    for engine in &engines {
        assert_all_stopped_once(engine, engine.control().counters().sessions_opened);
    }
    eventually("the new one's own journal alone", || (state.journals().len() == 1).then_some(()));
    // And it plays as ever; an end in order leaves nothing behind.
    let server = server.ready();
    play(&server, 400).leave();
    assert!(server.stop().success());
    assert!(state.journals().is_empty());
    for engine in &engines {
        assert_all_stopped_once(engine, engine.control().counters().sessions_opened);
    }
}

#[test]
fn a_second_living_process_and_a_successors_session_are_left_alone() {
    let state = State::new("living");
    let (ours, theirs) = (engine_with(420..422), engine_with(430..431));
    let living = state.of(Server::with(&[&theirs])).start().ready();
    let mut watching = play(&living, 430);
    let dying = state.of(Server::with(&[&ours])).start().ready();
    let _players = [play(&dying, 420), play(&dying, 421)];
    state.await_running(3);
    kill(dying);
    // Somebody else has opened one of the two contents since: a stop would end that.
    assert!(ours.control().take_over(&rig::infohash(420)));

    let next = state.of(Server::with(&[&ours])).start().ready();
    next.await_line(&["sessions of a dead process", "stopped=1 superseded=1"]);
    let counters = ours.control().counters();
    assert_eq!((counters.stops, counters.superseded_stops), (1, 0), "{counters:?}");
    assert_eq!(ours.control().sessions_open(), 1, "the successor's");
    assert_eq!(theirs.control().counters().stops, 0);
    assert!(watching.play(300_000).is_unbroken());
    eventually("a journal of each that lives", || (state.journals().len() == 2).then_some(()));
    assert!(next.stop().success());
    watching.leave();
    rig::await_stops(&theirs, 1);
}

#[test]
fn an_engine_that_is_away_is_stopped_by_a_later_start_and_a_torn_end_loses_one_line() {
    let state = State::new("away");
    let engine = engine_with(440..442);
    let server = state.of(Server::with(&[&engine])).start().ready();
    let _players = [play(&server, 440), play(&server, 441)];
    state.await_running(2);
    kill(server);
    let (path, mut text) = state.journals().remove(0);
    text.push_str("deadbeef runs 7 /ace/cm");
    fs::write(&path, text).unwrap();
    engine.control().set(Knob::Refuse, true);

    let server = state.of(Server::with(&[&engine])).start();
    server.await_line(&["1 lines are torn"]);
    server.await_line(&["sessions of a dead process", "stopped=0", "kept=2", "unreachable="]);
    assert!(server.stop().success());
    assert_eq!(state.journals().len(), 1, "it waits for its engine");

    engine.control().clear(Knob::Refuse);
    let server = state.of(Server::with(&[&engine])).start().ready();
    server.await_line(&["sessions of a dead process", "stopped=2", "kept=0"]);
    assert_all_stopped_once(&engine, 2);
    assert!(server.stop().success());
}

/// Starts, plays and stops as ever, and says once why there is no journal.
fn assert_undisturbed(engine: &Emulator, start: Start, channels: std::ops::Range<u32>, why: &str) {
    let server = start.start().ready();
    let mut opened = 0;
    for n in channels {
        play(&server, n).leave();
        opened += 1;
    }
    rig::await_stops(engine, opened);
    assert!(server.metric("ringcast_journal_missed_total") >= 1.0);
    let said = server.await_line(&["journal", why]);
    server.await_lines(1, &["journal"]);
    assert!(said.contains("RINGCAST_STATE_DIR"), "{said}");
    assert!(server.stop().success());
    assert_all_stopped_once(engine, opened);
}

#[test]
fn a_directory_that_is_not_there_costs_one_line() {
    let engine = engine_with(450..452);
    // Nobody makes a directory there, root included.
    let start = Server::with(&[&engine]).set("RINGCAST_STATE_DIR", "/proc/ringcast");
    assert_undisturbed(&engine, start, 450..452, "No such file or directory");
}

#[test]
fn a_directory_that_is_read_only_costs_one_line() {
    on_a_file_system("ro", "a read-only directory", 453..455, "Read-only file system");
}

#[test]
fn a_full_disk_costs_one_line() {
    // 4 KiB are the file's first block; an open and its session are 300 bytes.
    let why = "No space left on device";
    on_a_file_system("size=4k,nr_inodes=4", "a full disk", 460..476, why);
}

/// The state directory is a file system of its own, with these options, in a namespace of its own.
fn on_a_file_system(options: &str, what: &str, channels: std::ops::Range<u32>, why: &str) {
    let script = format!("mount -t tmpfs -o {options} none \"$0\" && exec \"$@\"");
    let state = State::new(&format!("fs-{}", channels.start));
    fs::create_dir_all(&state.0).unwrap();
    let dir = state.0.to_str().unwrap();
    let unshared = ["--mount", "--map-root-user", "--user", "sh", "-c", &script, dir];
    let tried = Command::new("unshare").args(unshared).arg("true").output().unwrap();
    if !tried.status.success() {
        let why = String::from_utf8_lossy(&tried.stderr);
        rig::say(&format!("NOT RUN: {what} (unshare: {})", why.trim()));
        return;
    }
    let engine = engine_with(channels.clone());
    let specs = format!("{},name=e0", engine.addr());
    let mut command = Command::new("unshare");
    command.args(unshared).arg(env!("CARGO_BIN_EXE_ringcast"));
    let start = state.of(Server::from_command(command, &specs));
    assert_undisturbed(&engine, start, channels, why);
}
