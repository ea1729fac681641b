//! The journal against files that are torn, locked, full or not there, and against engines that
//! answer, hang or are away.

mod book;
mod dead;
mod disk;

use super::record::Book;
use super::record::Engine;
use super::record::Record;
use super::record::Session;
use std::path::PathBuf;

/// A directory of one test, gone with it.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        // In memory, where there is such a place: a sync of a busy disk takes a tenth of a second.
        let shm = PathBuf::from("/dev/shm");
        let place = if shm.is_dir() { shm } else { std::env::temp_dir() };
        let path = place.join(format!("ringcast-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    pub(super) fn files(&self) -> usize {
        std::fs::read_dir(&self.0).map_or(0, Iterator::count)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn engine(port: u16) -> Engine {
    Engine { socket: ([127, 0, 0, 1], port).into(), host: format!("engine:{port}") }
}

pub(super) fn session(n: u64) -> Session {
    Session {
        command_path: format!("/ace/cmd/{n:040x}/k"),
        stat_path: format!("/ace/stat/{n:040x}/k"),
        playback_session_id: format!("{n:040x}"),
    }
}

pub(super) fn opens(entry: u64, port: u16) -> Record {
    Record::Opens { entry, engine: engine(port), what: format!("infohash={entry:040x}") }
}

pub(super) fn runs(entry: u64) -> Record {
    Record::Runs { entry, session: session(entry) }
}

pub(super) fn lines(records: &[Record]) -> String {
    records.iter().map(Record::line).collect()
}

pub(super) fn book(records: &[Record]) -> Book {
    let mut book = Book::default();
    for record in records {
        book.apply(record);
    }
    book
}
