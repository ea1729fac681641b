//! The lines of a journal, and the book that they add up to.
//!
//! A line is `CHECKSUM VERB FIELD…`, eight hex digits first and fields of visible characters, `-`
//! for an empty one. A line stands by itself: one that is torn, or that a power cut has filled with
//! nonsense, is passed over and counted, and the others still count. A verb that a later version
//! has added is passed over as well.
//!
//! Invariants: what [`Record::line`] writes, [`parse`] reads back; nothing that is read can end a
//! request line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// What an engine's URL may have (2 048 bytes each) and a margin: a longer line is nonsense.
const LINE_BYTES_MAX: usize = 8_192;
const WHAT_BYTES_MAX: usize = 64;

/// Where an engine was asked: the address that was dialled, and the name it was asked by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Engine {
    pub socket: SocketAddr,
    pub host: String,
}

/// What it takes to end a session, and to see whether it is still the one that plays. Paths begin
/// with `/`; an empty one is absent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Session {
    pub command_path: String,
    pub stat_path: String,
    pub playback_session_id: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Record {
    /// Whose journal this is; for people.
    Begun { pid: u32, unix_s: u64 },
    /// An engine is about to be asked for a session.
    Opens { entry: u64, engine: Engine, what: String },
    /// It has answered.
    Runs { entry: u64, session: Session },
    /// There is nothing left to stop.
    Over { entry: u64 },
    /// When somebody first found this journal without its owner.
    Found { unix_s: u64 },
}

/// An open that has begun, and its session once the engine has answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) engine: Engine,
    pub(super) what: String,
    pub(super) session: Option<Session>,
}

/// What a journal says is open.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Book {
    pub(super) entries: BTreeMap<u64, Entry>,
    pub(super) found_unix_s: Option<u64>,
}

/// A journal as it was read.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) book: Book,
    /// Lines that cannot be read, the unfinished last one included.
    pub(super) torn: usize,
    /// Where the last whole line ends: what is appended goes there.
    pub(super) whole_bytes: usize,
}

pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let whole_bytes = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut parsed = Parsed { whole_bytes, ..Parsed::default() };
    parsed.torn += usize::from(whole_bytes < bytes.len());
    for line in bytes[..whole_bytes].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match Record::read(line) {
            Some(Some(record)) => {
                parsed.book.apply(&record);
            }
            Some(None) => {}
            None => parsed.torn += 1,
        }
    }
    parsed
}

impl Book {
    /// False when it says nothing new, and need not be written.
    pub(super) fn apply(&mut self, record: &Record) -> bool {
        match record {
            Record::Begun { .. } => true,
            Record::Opens { entry, engine, what } => {
                let opens = Entry { engine: engine.clone(), what: what.clone(), session: None };
                self.entries.insert(*entry, opens);
                true
            }
            Record::Runs { entry, session } => match self.entries.get_mut(entry) {
                Some(known) => {
                    known.session = Some(session.clone());
                    true
                }
                None => false,
            },
            Record::Over { entry } => self.entries.remove(entry).is_some(),
            Record::Found { unix_s } => {
                self.found_unix_s.get_or_insert(*unix_s);
                true
            }
        }
    }

    /// The entry of a session, which is named by its engine and its command path.
    pub(super) fn entry_of(&self, socket: SocketAddr, command_path: &str) -> Option<u64> {
        let is_it = |entry: &Entry| {
            let session = entry.session.as_ref();
            entry.engine.socket == socket
                && session.is_some_and(|session| session.command_path == command_path)
        };
        self.entries.iter().find(|(_, entry)| is_it(entry)).map(|(number, _)| *number)
    }

    /// The shortest journal that says the same.
    pub(super) fn text(&self, pid: u32, unix_s: u64) -> String {
        let mut text = Record::Begun { pid, unix_s }.line();
        if let Some(unix_s) = self.found_unix_s {
            text.push_str(&Record::Found { unix_s }.line());
        }
        for (number, known) in &self.entries {
            let entry = *number;
            let (engine, what) = (known.engine.clone(), known.what.clone());
            text.push_str(&Record::Opens { entry, engine, what }.line());
            if let Some(session) = known.session.clone() {
                text.push_str(&Record::Runs { entry, session }.line());
            }
        }
        text
    }
}

impl Record {
    pub(super) fn line(&self) -> String {
        let mut words = String::new();
        // Writing to a String does not fail.
        let _ = match self {
            Self::Begun { pid, unix_s } => write!(words, "begun {pid} {unix_s}"),
            Self::Opens { entry, engine, what } => write!(
                words,
                "opens {entry} {} {} {}",
                engine.socket,
                field(&engine.host, usize::MAX),
                field(what, WHAT_BYTES_MAX)
            ),
            Self::Runs { entry, session } => write!(
                words,
                "runs {entry} {} {} {}",
                field(&session.command_path, usize::MAX),
                field(&session.stat_path, usize::MAX),
                field(&session.playback_session_id, usize::MAX)
            ),
            Self::Over { entry } => write!(words, "over {entry}"),
            Self::Found { unix_s } => write!(words, "found {unix_s}"),
        };
        format!("{:08x} {words}\n", checksum(words.as_bytes()))
    }

    /// None when the line is broken, `Some(None)` when it is whole and its verb is not known here.
    fn read(line: &[u8]) -> Option<Option<Self>> {
        if line.len() > LINE_BYTES_MAX {
            return None;
        }
        let line = std::str::from_utf8(line).ok()?;
        let (sum, words) = line.split_once(' ')?;
        let is_whole =
            sum.len() == 8 && u32::from_str_radix(sum, 16) == Ok(checksum(words.as_bytes()));
        if !is_whole || !words.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return None;
        }
        let mut fields = words.split(' ');
        let mut next = || fields.next();
        let record = match next()? {
            "begun" => Self::Begun { pid: next()?.parse().ok()?, unix_s: next()?.parse().ok()? },
            "opens" => Self::Opens {
                entry: next()?.parse().ok()?,
                engine: Engine { socket: next()?.parse().ok()?, host: text(next()?) },
                what: text(next()?),
            },
            "runs" => Self::Runs {
                entry: next()?.parse().ok()?,
                session: Session {
                    command_path: text(next()?),
                    stat_path: text(next()?),
                    playback_session_id: text(next()?),
                },
            },
            "over" => Self::Over { entry: next()?.parse().ok()? },
            "found" => Self::Found { unix_s: next()?.parse().ok()? },
            _ => return Some(None),
        };
        Some(Some(record))
    }
}

/// As it may stand between blanks. Engines' paths and ids have only such characters; whatever else
/// there was cannot be said back to the engine, and is not kept.
fn field(text: &str, bytes_max: usize) -> &str {
    let is_sayable = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || text == "-" || !is_sayable {
        "-"
    } else {
        &text[..text.len().min(bytes_max)]
    }
}

fn text(field: &str) -> String {
    if field == "-" { String::new() } else { field.to_owned() }
}

/// FNV-1a: it tells a torn line, and need not tell more.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
