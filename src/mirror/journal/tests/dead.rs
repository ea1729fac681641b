//! The journals of the dead, and engines of every temper.

use super::Folder;
use super::engine;
use super::lines;
use super::opens;
use super::runs;
use super::session;
use crate::mirror::journal::Ask;
use crate::mirror::journal::Engine;
use crate::mirror::journal::Unasked;
use crate::mirror::journal::files;
use crate::mirror::journal::record::Record;
use crate::mirror::journal::record::Session;
use crate::mirror::journal::record::parse;
use crate::mirror::journal::settle::Settled;
use crate::mirror::journal::settle::settle;
use crate::mirror::journal::sweep::Counts;
use crate::mirror::journal::sweep::find;
use crate::mirror::journal::sweep::round;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// Engines by port: what their stat and their stop answer.
#[derive(Default)]
struct World {
    away: Vec<u16>,
    stat: BTreeMap<u16, Result<String, Unasked>>,
    stop: BTreeMap<u16, Result<String, Unasked>>,
    asked: Mutex<Vec<(u16, String)>>,
}

impl World {
    fn stops(&self) -> Vec<(u16, String)> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stops: Vec<_> =
            asked.iter().filter(|(_, path)| path.contains("method=stop")).cloned().collect();
        stops.sort();
        stops
    }
}

impl Ask for World {
    fn ask(&self, engine: &Engine, path: &str, _: Duration) -> Result<(u16, Vec<u8>), Unasked> {
        let port = engine.socket.port();
        assert_eq!(engine.host, format!("engine:{port}"), "asked by the name of then");
        if self.away.contains(&port) {
            return Err(Unasked::Unreachable);
        }
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push((port, path.to_owned()));
        let is_stop = path.contains("method=stop");
        let known = if is_stop { &self.stop } else { &self.stat };
        let ours = path.split('/').nth(3).unwrap_or_default().to_owned();
        let usual = if is_stop { OK.to_owned() } else { playing(&ours) };
        known.get(&port).cloned().unwrap_or(Ok(usual)).map(|text| (200, text.into_bytes()))
    }
}

const OK: &str = r#"{"response": "ok", "error": null}"#;
const UNKNOWN: &str = r#"{"response": null, "error": "unknown playback session id"}"#;
const EMPTY: &str = r#"{"response": {}}"#;

fn playing(id: &str) -> String {
    format!(r#"{{"response": {{"status": "dl", "playback_session_id": "{id}"}}, "error": null}}"#)
}

fn settled(
    stat: Result<&str, Unasked>,
    stop: Result<&str, Unasked>,
    session: &Session,
) -> (Settled, usize) {
    let mut world = World::default();
    world.stat.insert(1, stat.map(str::to_owned));
    world.stop.insert(1, stop.map(str::to_owned));
    let how = settle(&engine(1), session, &world);
    (how, world.stops().len())
}

#[test]
fn one_session_gets_one_stop_unless_it_was_replaced() {
    let ours = session(5);
    let mine = playing(&ours.playback_session_id);
    let other = playing("another");
    let hangs = Err(Unasked::Unanswered);
    let table = [
        (Ok(mine.as_str()), Ok(OK), Settled::Stopped, 1),
        (Ok(other.as_str()), Ok(OK), Settled::Superseded, 0),
        (Ok(EMPTY), Ok(OK), Settled::Stopped, 1),
        (Ok(UNKNOWN), Ok(UNKNOWN), Settled::Lost, 1),
        (Ok("nonsense"), Ok(OK), Settled::Stopped, 1),
        (hangs, Ok(OK), Settled::Stopped, 1),
        (hangs, hangs, Settled::Lost, 1),
        (Ok(mine.as_str()), hangs, Settled::Lost, 1),
    ];
    for (stat, stop, how, stops) in table {
        assert_eq!(settled(stat, stop, &ours), (how, stops), "{stat:?} {stop:?}");
    }
    let away = World { away: vec![1], ..World::default() };
    assert_eq!(settle(&engine(1), &ours, &away), Settled::Unreachable);
    let no_stat = Session { stat_path: String::new(), ..ours };
    assert_eq!(settled(Ok(other.as_str()), Ok(OK), &no_stat), (Settled::Stopped, 1));
}

/// A dead process' journal.
fn leave(dir: &Path, pid: u32, records: &[Record]) -> std::path::PathBuf {
    let path = files::path(dir, pid, 0);
    drop(files::replace(&path, &lines(records)).unwrap());
    path
}

#[test]
fn every_session_of_the_dead_is_stopped_once_and_their_journals_go() {
    let folder = Folder::new("dead");
    let records = |from: u64| {
        (from..from + 20).flat_map(|n| [opens(n, n as u16 % 3 + 1), runs(n)]).collect::<Vec<_>>()
    };
    leave(&folder.0, 1, &records(0));
    leave(&folder.0, 2, &[records(20), vec![Record::Over { entry: 25 }, opens(99, 1)]].concat());
    let world = World::default();
    let mut left = find(&folder.0, 100);
    assert_eq!(left.len(), 2);
    let counts = round(&mut left, &world, 100);
    let expected = Counts { stopped: 39, unanswered_opens: 1, ..Counts::default() };
    assert_eq!(counts, expected);
    let stops = world.stops();
    let mut once = stops.clone();
    once.dedup();
    assert_eq!((stops.len(), once.len()), (39, 39));
    assert_eq!((left.len(), folder.files()), (0, 0));
}

#[test]
fn a_living_process_and_what_is_no_journal_are_left_alone() {
    let folder = Folder::new("living");
    let path = files::path(&folder.0, 1, 0);
    let locked = files::replace(&path, &lines(&[opens(1, 1), runs(1)])).unwrap();
    fs::write(folder.0.join("notes.txt"), "not ours").unwrap();
    assert!(find(&folder.0, 0).is_empty());
    assert_eq!(folder.files(), 2);
    drop(locked);
    assert_eq!(find(&folder.0, 0).len(), 1);
}

#[test]
fn an_engine_that_is_away_is_tried_again_for_an_hour() {
    let folder = Folder::new("away");
    let path =
        leave(&folder.0, 1, &[opens(1, 1), runs(1), opens(2, 2), runs(2), opens(3, 2), runs(3)]);
    let world = World { away: vec![2], ..World::default() };
    let mut left = find(&folder.0, 1_000);
    let counts = round(&mut left, &world, 1_000);
    assert_eq!((counts.stopped, counts.kept), (1, 2));
    assert_eq!(counts.engines_away, ["127.0.0.1:2"]);
    // What was done is on record: a sweep that dies is gone on with.
    let parsed = parse(&fs::read(&path).unwrap());
    assert_eq!(parsed.book.entries.keys().copied().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(parsed.book.found_unix_s, Some(1_000));
    drop(left);
    let mut left = find(&folder.0, 2_000);
    assert_eq!(round(&mut left, &world, 2_000).kept, 2);
    assert_eq!(world.stops().len(), 1);

    let mut back = World::default();
    let mut again = std::mem::take(&mut left);
    back.away = vec![];
    let counts = round(&mut again, &back, 3_000);
    assert_eq!((counts.stopped, counts.kept, folder.files()), (2, 0, 0));

    leave(&folder.0, 2, &[opens(1, 2), runs(1)]);
    let mut left = find(&folder.0, 1_000);
    assert_eq!(round(&mut left, &world, 4_599).kept, 1);
    assert_eq!(round(&mut left, &world, 10).kept, 1, "a clock that was set back makes it longer");
    let counts = round(&mut left, &world, 4_600);
    assert_eq!((counts.kept, counts.given_up, folder.files()), (0, 1, 0));
}

#[test]
fn a_torn_journal_is_swept_as_far_as_it_can_be_read() {
    let folder = Folder::new("torn");
    let path = leave(&folder.0, 1, &[opens(1, 1), runs(1), opens(2, 1)]);
    let torn = runs(2).line();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"\0\0\0\0 nonsense\n");
    bytes.extend_from_slice(&torn.as_bytes()[..torn.len() / 2]);
    fs::write(&path, bytes).unwrap();
    let world = World { away: vec![1], ..World::default() };
    let mut left = find(&folder.0, 1);
    let counts = round(&mut left, &world, 1);
    assert_eq!((counts.kept, counts.unanswered_opens), (1, 1));
    let parsed = parse(&fs::read(&path).unwrap());
    assert_eq!((parsed.torn, parsed.book.entries.len()), (1, 1), "what follows is not torn");
}

#[test]
fn what_was_to_replace_a_journal_is_not_stopped_twice() {
    let folder = Folder::new("unfinished");
    let path = leave(&folder.0, 1, &[opens(1, 1), runs(1)]);
    fs::copy(&path, path.with_extension("journal-new")).unwrap();
    let world = World::default();
    let mut left = find(&folder.0, 1);
    assert_eq!(round(&mut left, &world, 1).stopped, 1);
    assert_eq!((world.stops().len(), folder.files()), (1, 0));
}
