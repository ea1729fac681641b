//! The thread that keeps our own journal.
//!
//! A note is *written* when the kernel has it: that survives `kill -9`, costs some microseconds, and
//! is what an open waits for. A power cut is survived by what has been synced, which happens behind
//! that, at most once in [`SYNC_EVERY`]: an open of the last moment is then forgotten, and ends by
//! itself on its engine when nobody reads it. Waiting for the disk would cost every cold start the
//! disk's latency for that.
//!
//! A journal that cannot be written (a full disk, a missing or read-only directory) is said once and
//! tried again, whole, every [`RETRY_EVERY`]; until then notes only change the book. The lock of the
//! last file is kept through all of it: a file that was let go would be swept by the next process,
//! with our living sessions in it.

use super::files;
use super::files::Locked;
use super::record::Book;
use super::record::Engine;
use super::record::Record;
use super::record::Session;
use crate::base::time;
use crate::base::time::Instant;
use crate::base::time::Wall;
use std::io;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// How long an open waits for its note: a hundred times what a write takes, and nothing that a
/// viewer of a cold start would notice.
pub const ACK_MAX: Duration = Duration::from_millis(50);

/// A start of every stream that a large node has, several times over. Over it notes are lost.
const NOTES_MAX: usize = 4_096;
const BATCH_NOTES_MAX: usize = 256;
const SYNC_EVERY: Duration = Duration::from_millis(200);
const RETRY_EVERY: Duration = Duration::from_secs(30);
/// Written anew from here on, when less than a quarter of it still counts.
const REWRITE_BYTES_MIN: u64 = 64 << 10;
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// What a shard tells the journal.
pub enum Note {
    /// An engine is going to be asked. `written` is called when that is on record or cannot be.
    Opens {
        entry: u64,
        engine: Engine,
        what: String,
        written: Box<dyn FnOnce() + Send>,
    },
    /// It has answered with a session.
    Runs {
        entry: u64,
        session: Session,
    },
    Over(Over),
    /// The process ends in order.
    Close {
        closed: SyncSender<()>,
    },
}

/// What is not open any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Over {
    /// An open that came to nothing.
    Entry(u64),
    /// A session, by what it is stopped with.
    Session { socket: SocketAddr, command_path: String },
}

/// The shards' end of the journal. Putting a note down never waits.
#[derive(Clone)]
pub struct Notes {
    queue: SyncSender<Note>,
    missed: Arc<AtomicU64>,
}

impl Notes {
    pub fn put(&self, note: Note) {
        if self.queue.try_send(note).is_err() {
            self.miss();
        }
    }

    /// Something went on without its record.
    pub fn miss(&self) {
        self.missed.fetch_add(1, Relaxed);
    }

    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }
}

/// The running journal.
pub struct Journal {
    notes: Notes,
}

impl Journal {
    /// The file is made by the thread: a directory that hangs keeps nobody waiting.
    pub fn start(dir: &Path, nonce: u32) -> io::Result<Self> {
        let (queue, notes) = sync_channel(NOTES_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(dir, nonce, missed.clone());
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&notes))?;
        Ok(Self { notes: Notes { queue, missed } })
    }

    pub fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// When the last note has been put down: an empty journal goes, any other waits for a sweep.
    pub fn close(self) {
        let (closed, is_closed) = sync_channel(1);
        if self.notes.queue.try_send(Note::Close { closed }).is_ok() {
            // A disk that hangs does not keep the process.
            let _ = is_closed.recv_timeout(CLOSE_MAX);
        }
    }
}

pub(super) struct Writer {
    path: PathBuf,
    book: Book,
    missed: Arc<AtomicU64>,
    /// The last file that could be made. Its lock is kept, also when it cannot be written.
    file: Option<Locked>,
    bytes: u64,
    /// The file does not say what the book says; it is written anew then.
    broken_until: Option<Instant>,
    has_complained: bool,
    unsynced: bool,
    synced_at: Instant,
}

impl Writer {
    pub(super) fn new(dir: &Path, nonce: u32, missed: Arc<AtomicU64>) -> Self {
        Self {
            path: files::path(dir, std::process::id(), nonce),
            book: Book::default(),
            missed,
            file: None,
            bytes: 0,
            broken_until: Some(Instant::ZERO),
            has_complained: false,
            unsynced: false,
            synced_at: Instant::ZERO,
        }
    }

    fn run(mut self, notes: &Receiver<Note>) {
        self.tend(time::now());
        loop {
            let first = match notes.recv_timeout(self.patience(time::now())) {
                Ok(note) => Some(note),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            };
            let more = notes.try_iter().take(BATCH_NOTES_MAX);
            if let Some(closed) = self.take(first.into_iter().chain(more)) {
                self.close();
                let _ = closed.send(());
                return;
            }
            self.tend(time::now());
        }
    }

    /// Puts notes on record, then says so to whoever waits for it.
    pub(super) fn take(&mut self, notes: impl Iterator<Item = Note>) -> Option<SyncSender<()>> {
        let mut lines = String::new();
        let mut written = Vec::new();
        let mut closed = None;
        for note in notes {
            let record = match note {
                Note::Opens { entry, engine, what, written: call } => {
                    written.push(call);
                    Record::Opens { entry, engine, what }
                }
                Note::Runs { entry, session } => Record::Runs { entry, session },
                Note::Over(Over::Entry(entry)) => Record::Over { entry },
                Note::Over(Over::Session { socket, command_path }) => {
                    match self.book.entry_of(socket, &command_path) {
                        Some(entry) => Record::Over { entry },
                        None => continue,
                    }
                }
                Note::Close { closed: call } => {
                    closed = Some(call);
                    break;
                }
            };
            if self.book.apply(&record) {
                lines.push_str(&record.line());
            }
        }
        if !lines.is_empty() {
            self.append(&lines);
        }
        written.into_iter().for_each(|call| call());
        closed
    }

    fn append(&mut self, lines: &str) {
        let records = lines.lines().count() as u64;
        let Some(Locked { file, .. }) = self.file.as_mut().filter(|_| self.broken_until.is_none())
        else {
            self.missed.fetch_add(records, Relaxed);
            return;
        };
        match file.write_all(lines.as_bytes()) {
            Ok(()) => {
                self.bytes += lines.len() as u64;
                self.unsynced = true;
            }
            Err(error) => {
                self.missed.fetch_add(records, Relaxed);
                // A part of it may be there; what follows would only be appended to that.
                let _ = file.set_len(self.bytes);
                self.broken(&error, time::now());
            }
        }
    }

    /// What is due: a sync, a shorter file, another try.
    pub(super) fn tend(&mut self, now: Instant) {
        if self.broken_until.is_some_and(|until| until <= now) {
            self.write_anew(now);
        } else if self.unsynced && self.synced_at + SYNC_EVERY <= now {
            self.sync(now);
        }
        let is_long = self.bytes >= REWRITE_BYTES_MIN && self.broken_until.is_none();
        if is_long && self.text().len() as u64 * 4 <= self.bytes {
            self.write_anew(now);
        }
    }

    fn patience(&self, now: Instant) -> Duration {
        let sync = self.unsynced.then(|| self.synced_at + SYNC_EVERY);
        let next = [sync, self.broken_until].into_iter().flatten().min();
        next.map_or(Duration::from_secs(3_600), |at| at.since(now))
    }

    fn sync(&mut self, now: Instant) {
        self.unsynced = false;
        self.synced_at = now;
        let Some(Locked { file, .. }) = &self.file else { return };
        if let Err(error) = file.sync_data() {
            // What the kernel had may be gone, and a second sync would not say so.
            self.broken(&error, now);
        }
    }

    fn write_anew(&mut self, now: Instant) {
        let text = self.text();
        match files::replace(&self.path, &text) {
            Ok(file) => {
                self.file = Some(file);
                self.bytes = text.len() as u64;
                self.broken_until = None;
                self.unsynced = false;
                self.synced_at = now;
                if std::mem::take(&mut self.has_complained) {
                    tracing::info!("journal {}: written again", self.path.display());
                }
            }
            Err(error) => self.broken(&error, now),
        }
    }

    fn text(&self) -> String {
        self.book.text(std::process::id(), Wall::now().unix_ms() / 1_000)
    }

    fn broken(&mut self, error: &io::Error, now: Instant) {
        self.broken_until = Some(now + RETRY_EVERY);
        self.unsynced = false;
        if !std::mem::replace(&mut self.has_complained, true) {
            tracing::warn!(
                "journal {}: {error}: a crash would leave engine sessions to expire by themselves; \
                 make RINGCAST_STATE_DIR a directory that can be written, or off",
                self.path.display()
            );
        }
    }

    pub(super) fn close(&mut self) {
        let Some(file) = self.file.take() else { return };
        if self.book.entries.is_empty() {
            // An empty one that stays is removed by the next sweep.
            let _ = file.remove();
        } else {
            let _ = file.file.sync_data();
        }
    }
}
