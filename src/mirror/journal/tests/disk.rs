//! Our own journal on real files.

use super::Folder;
use super::engine;
use super::session;
use crate::base::time::Instant;
use crate::mirror::journal::Journal;
use crate::mirror::journal::Note;
use crate::mirror::journal::Over;
use crate::mirror::journal::files;
use crate::mirror::journal::record::parse;
use crate::mirror::journal::writer::Writer;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

struct Ours {
    writer: Writer,
    missed: Arc<AtomicU64>,
    acks: Arc<AtomicU64>,
    path: std::path::PathBuf,
}

fn ours(dir: &Path) -> Ours {
    let missed = Arc::new(AtomicU64::new(0));
    let writer = Writer::new(dir, 0xab, missed.clone());
    let path = files::path(dir, std::process::id(), 0xab);
    Ours { writer, missed, acks: Arc::new(AtomicU64::new(0)), path }
}

const T0: Instant = Instant::from_micros(1_000_000);

impl Ours {
    fn open(&mut self, entry: u64) {
        let acks = self.acks.clone();
        let written = Box::new(move || {
            acks.fetch_add(1, Relaxed);
        });
        let opens = Note::Opens { entry, engine: engine(1), what: "x".to_owned(), written };
        let runs = Note::Runs { entry, session: session(entry) };
        self.writer.take([opens, runs].into_iter());
    }

    fn over(&mut self, entry: u64) {
        let command_path = session(entry).command_path;
        let over = Over::Session { socket: engine(1).socket, command_path };
        self.writer.take([Note::Over(over)].into_iter());
    }

    fn entries(&self) -> Vec<u64> {
        let parsed = parse(&fs::read(&self.path).unwrap());
        assert_eq!(parsed.torn, 0);
        parsed.book.entries.keys().copied().collect()
    }
}

#[test]
fn what_is_open_stands_in_the_file() {
    let folder = Folder::new("stands");
    let mut ours = ours(&folder.0);
    ours.writer.tend(T0);
    ours.open(1);
    ours.open(2);
    ours.over(1);
    assert_eq!(ours.entries(), [2]);
    assert_eq!(ours.acks.load(Relaxed), 2);
    assert!(files::take(&ours.path).unwrap().is_none(), "its owner lives");
    ours.writer.close();
    assert_eq!(ours.entries(), [2], "what is open at the end is left for a sweep");
    drop(ours.writer);
    assert!(files::take(&ours.path).unwrap().is_some());
    assert_eq!(ours.missed.load(Relaxed), 0);
}

#[test]
fn an_empty_journal_goes_with_its_process() {
    let folder = Folder::new("empty");
    let journal = Journal::start(&folder.0, 1).unwrap();
    let notes = journal.notes();
    let (written, is_written) = std::sync::mpsc::sync_channel(1);
    let written = Box::new(move || written.send(()).unwrap());
    notes.put(Note::Opens { entry: 1, engine: engine(1), what: String::new(), written });
    is_written.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(folder.files(), 1);
    notes.put(Note::Over(Over::Entry(1)));
    journal.close();
    assert_eq!((folder.files(), notes.missed()), (0, 0));
}

#[test]
fn a_long_history_is_written_anew_under_the_same_lock() {
    let folder = Folder::new("history");
    let mut ours = ours(&folder.0);
    ours.writer.tend(T0);
    for entry in 0..500 {
        ours.open(entry);
        if entry != 77 {
            ours.over(entry);
        }
    }
    let long = fs::metadata(&ours.path).unwrap().len();
    assert!(long > 64 << 10, "{long}");
    ours.writer.tend(T0);
    assert!(fs::metadata(&ours.path).unwrap().len() < 1_000);
    assert_eq!(ours.entries(), [77]);
    assert!(files::take(&ours.path).unwrap().is_none(), "its owner lives");
    ours.over(77);
    assert!(ours.entries().is_empty());
    assert_eq!(folder.files(), 1, "nothing is left beside it");
}

#[test]
fn a_directory_that_cannot_be_made_costs_a_count_and_comes_back() {
    let folder = Folder::new("later");
    fs::write(&folder.0, "a file where the directory should be").unwrap();
    let mut ours = ours(&folder.0.join("state"));
    ours.writer.tend(T0);
    ours.open(1);
    assert_eq!(ours.acks.load(Relaxed), 1, "nobody waits for it");
    assert_eq!(ours.missed.load(Relaxed), 2);
    fs::remove_file(&folder.0).unwrap();
    ours.writer.tend(T0 + Duration::from_secs(29));
    assert!(!ours.path.exists());
    ours.writer.tend(T0 + Duration::from_secs(31));
    assert_eq!(ours.entries(), [1], "what is open by then is on record again");
}

#[test]
fn a_name_is_only_ever_seen_locked() {
    let folder = Folder::new("locked");
    let path = files::path(&folder.0, 1, 1);
    let made = Arc::new(AtomicBool::new(false));
    let maker = std::thread::spawn({
        let (path, made) = (path.clone(), made.clone());
        move || {
            let mut held = Vec::new();
            while held.len() < 25 {
                // One that the sweeper took for a leftover is made again.
                held.extend(files::replace(&path, "x\n"));
            }
            made.store(true, Relaxed);
            held
        }
    });
    while !made.load(Relaxed) {
        for path in files::list(&folder.0).unwrap_or_default() {
            if let Ok(Some((locked, _))) = files::take(&path) {
                assert!(!files::is_finished(&locked.path), "a living process' journal was taken");
                let _ = locked.remove();
            }
        }
    }
    assert!(files::take(&path).unwrap().is_none());
    drop(maker.join().unwrap());
    assert!(files::take(&path).unwrap().is_some());
}
