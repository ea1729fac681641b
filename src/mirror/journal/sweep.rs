//! Looks after the journals of dead processes: each session in them gets one stop, then the file
//! goes.
//!
//! Only a file whose lock is free is taken, and its lock is kept while it is looked after. An engine
//! that cannot be reached is tried again, later and later, for [`GIVE_UP_AFTER`]: no engine keeps a
//! session that nobody reads for so long. What is done is written into the file, so that a sweep
//! that dies itself is gone on with, not repeated.
//!
//! An open without an answer has left nothing that could be stopped: which session it became, if it
//! did, only its answer said, and asking again would end the session of whoever has opened the
//! content since. The engine ends it when nobody reads it.

use super::files;
use super::files::Locked;
use super::record;
use super::record::Book;
use super::record::Engine;
use super::record::Record;
use super::record::Session;
use super::settle::Ask;
use super::settle::Settled;
use super::settle::settle;
use crate::base::time::Wall;
use std::collections::BTreeMap;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Engines answer a stop at once or hang for seconds: these many questions wait at a time.
const ASKING_MAX: usize = 8;
/// Of these, for one engine.
const ASKING_ENGINE_MAX: usize = 2;
const RETRY_FIRST: Duration = Duration::from_secs(15);
const RETRY_MAX: Duration = Duration::from_secs(300);
const GIVE_UP_AFTER: Duration = Duration::from_secs(3_600);

/// The sweep of one boot.
pub struct Sweep {
    first_round: Receiver<()>,
    /// Dropped: the sweep goes on no longer than its present round.
    _end: SyncSender<()>,
}

impl Sweep {
    pub fn start(dir: &Path, ask: Box<dyn Ask>) -> io::Result<Self> {
        let (done, first_round) = sync_channel(1);
        let (end, ended) = sync_channel(1);
        let dir = dir.to_owned();
        std::thread::Builder::new()
            .name("sweep".to_owned())
            .spawn(move || run(&dir, &*ask, &done, &ended))?;
        Ok(Self { first_round, _end: end })
    }

    /// Until everything that answers has been stopped, at most so long. A stop that comes before
    /// anything new is opened cannot meet a successor.
    pub fn wait(&self, at_most: Duration) {
        let _ = self.first_round.recv_timeout(at_most);
    }
}

fn run(dir: &Path, ask: &dyn Ask, done: &SyncSender<()>, ended: &Receiver<()>) {
    let mut left = find(dir, unix_s());
    let mut pause = RETRY_FIRST;
    let mut is_first = true;
    loop {
        if !left.is_empty() {
            let counts = round(&mut left, ask, unix_s());
            // Of what is only tried again, the end is said.
            if is_first || counts.is_news() {
                tracing::info!("{counts}");
            }
        }
        if std::mem::take(&mut is_first) {
            let _ = done.send(());
        }
        if left.is_empty() {
            return;
        }
        match ended.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(RETRY_MAX),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn unix_s() -> u64 {
    Wall::now().unix_ms() / 1_000
}

/// A journal whose owner is dead.
pub(super) struct Left {
    locked: Locked,
    pub(super) book: Book,
}

/// Takes what the dead have left in `dir`. What cannot be read is said and stays.
pub(super) fn find(dir: &Path, unix_s: u64) -> Vec<Left> {
    let paths = match files::list(dir) {
        Ok(paths) => paths,
        // The writer says what is wrong with it.
        Err(_) => return Vec::new(),
    };
    if paths.len() > files::JOURNALS_MAX {
        tracing::warn!(
            "{}: {} journals; {} of them are looked at this time",
            dir.display(),
            paths.len(),
            files::JOURNALS_MAX
        );
    }
    let mut found = Vec::new();
    for path in paths.iter().take(files::JOURNALS_MAX) {
        match files::take(path) {
            Ok(Some((locked, bytes))) => found.extend(open(locked, &bytes, unix_s)),
            Ok(None) => {}
            Err(error) => tracing::warn!("journal {}: {error}", path.display()),
        }
    }
    found
}

fn open(locked: Locked, bytes: &[u8], unix_s: u64) -> Option<Left> {
    if !files::is_finished(&locked.path) {
        // All that it says stands in the file that it was to replace.
        let _ = locked.remove();
        return None;
    }
    let parsed = record::parse(bytes);
    if parsed.torn > 0 {
        tracing::info!("journal {}: {} lines are torn", locked.path.display(), parsed.torn);
    }
    let mut left = Left { locked, book: parsed.book };
    if parsed.whole_bytes < bytes.len() {
        let _ = left.locked.file.set_len(parsed.whole_bytes as u64);
    }
    if left.book.found_unix_s.is_none() && !left.book.entries.is_empty() {
        left.note(&[Record::Found { unix_s }]);
    }
    Some(left)
}

impl Left {
    /// Where it cannot be written the sweep goes on all the same: at worst a session that is gone
    /// is asked for once more.
    fn note(&mut self, records: &[Record]) {
        let lines: String = records.iter().map(Record::line).collect();
        let _ = self.locked.file.write_all(lines.as_bytes());
        for record in records {
            self.book.apply(record);
        }
    }
}

/// How a round went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) stopped: usize,
    pub(super) superseded: usize,
    pub(super) lost: usize,
    /// For another round.
    pub(super) kept: usize,
    pub(super) given_up: usize,
    pub(super) unanswered_opens: usize,
    pub(super) engines_away: Vec<String>,
}

impl Counts {
    const fn is_news(&self) -> bool {
        self.stopped + self.superseded + self.lost + self.given_up > 0
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "sessions of a dead process: stopped={} superseded={} lost={} kept={} given_up={} \
             unanswered_opens={}",
            self.stopped,
            self.superseded,
            self.lost,
            self.kept,
            self.given_up,
            self.unanswered_opens
        )?;
        if self.engines_away.is_empty() {
            return Ok(());
        }
        write!(f, " unreachable={}", self.engines_away.join(","))
    }
}

/// One session of one of the journals.
struct Job {
    journal: usize,
    entry: u64,
    engine: Engine,
    session: Session,
}

/// Asks for everything that is left once, and removes the journals that are done with.
pub(super) fn round(left: &mut Vec<Left>, ask: &dyn Ask, unix_s: u64) -> Counts {
    let mut counts = Counts::default();
    for journal in left.iter_mut() {
        counts.unanswered_opens += journal.forget_opens();
    }
    let settled = ask_all(jobs(left), ask);
    for (job, settled) in &settled {
        match settled {
            Settled::Stopped => counts.stopped += 1,
            Settled::Superseded => counts.superseded += 1,
            Settled::Lost => counts.lost += 1,
            Settled::Unreachable => {
                let away = job.engine.socket.to_string();
                if !counts.engines_away.contains(&away) {
                    counts.engines_away.push(away);
                }
                continue;
            }
        }
        left[job.journal].note(&[Record::Over { entry: job.entry }]);
    }
    for journal in std::mem::take(left) {
        let found = journal.book.found_unix_s.unwrap_or(unix_s);
        let is_old = unix_s.saturating_sub(found) >= GIVE_UP_AFTER.as_secs();
        let open = journal.book.entries.len();
        if open > 0 && !is_old {
            counts.kept += open;
            left.push(journal);
            continue;
        }
        counts.given_up += open;
        let path: PathBuf = journal.locked.path.clone();
        if let Err(error) = journal.locked.remove() {
            tracing::warn!("journal {}: it is done with, and stays: {error}", path.display());
        }
    }
    counts
}

impl Left {
    /// How many opens had no answer.
    fn forget_opens(&mut self) -> usize {
        let entries = self.book.entries.iter();
        let opens: Vec<Record> = entries
            .filter(|(_, known)| !known.session.as_ref().is_some_and(is_stoppable))
            .map(|(entry, _)| Record::Over { entry: *entry })
            .collect();
        if !opens.is_empty() {
            self.note(&opens);
        }
        opens.len()
    }
}

fn is_stoppable(session: &Session) -> bool {
    session.command_path.starts_with('/')
}

/// Sessions of one engine in as many rows as may be asked of it at a time.
fn jobs(left: &[Left]) -> Vec<Vec<Job>> {
    let mut by_engine: BTreeMap<Engine, Vec<Vec<Job>>> = BTreeMap::new();
    let mut dealt = 0;
    for (journal, found) in left.iter().enumerate() {
        for (entry, known) in &found.book.entries {
            let Some(session) = known.session.clone() else { continue };
            let engine = known.engine.clone();
            let job = Job { journal, entry: *entry, engine, session };
            let rows = by_engine.entry(known.engine.clone()).or_default();
            if rows.len() < ASKING_ENGINE_MAX {
                rows.push(vec![job]);
            } else {
                rows[dealt % ASKING_ENGINE_MAX].push(job);
                dealt += 1;
            }
        }
    }
    by_engine.into_values().flatten().collect()
}

fn ask_all(rows: Vec<Vec<Job>>, ask: &dyn Ask) -> Vec<(Job, Settled)> {
    let threads = rows.len().min(ASKING_MAX);
    let rows = Mutex::new(rows);
    let settled = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let row = rows.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(row) = row else { return };
                    let row = ask_row(row, ask);
                    settled.lock().unwrap_or_else(PoisonError::into_inner).extend(row);
                }
            });
        }
    });
    settled.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// An engine that is away is not asked for the rest of the round.
fn ask_row(row: Vec<Job>, ask: &dyn Ask) -> Vec<(Job, Settled)> {
    let mut is_away = false;
    let mut settled = Vec::new();
    for job in row {
        let how =
            if is_away { Settled::Unreachable } else { settle(&job.engine, &job.session, ask) };
        is_away = how == Settled::Unreachable;
        settled.push((job, how));
    }
    settled
}
