//! Sessions and downloads: what an engine knows about who plays what.
//!
//! One download per infohash with one current session; a newer session of the same infohash
//! supersedes the older one, and a stop by either ends both. A session ends in exactly one of
//! stopped, superseded, expired or lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::clock::now_us;
use crate::conn::Conn;
use crate::conn::End;
use crate::counters::Counting;
use crate::counters::bump;

const CLOSED_SESSIONS_MAX: usize = 20_000;
const TOKENS_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    Ts,
    Hls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    Open,
    Superseded,
    Stopped,
    Expired,
    Lost,
}

/// What the reader's thread tells the others, without a lock.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) activity_us: AtomicU64,
    /// The reader waits for the engine, not the engine for the reader: that is activity too.
    pub(crate) waiting: AtomicBool,
    pub(crate) bytes: AtomicU64,
    /// Media time of the last byte written, µs since 1970.
    pub(crate) position_us: AtomicU64,
}

impl Progress {
    pub(crate) fn touch(&self) {
        self.activity_us.store(now_us(), Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) serial: u64,
    pub(crate) playback_session_id: String,
    pub(crate) infohash: String,
    pub(crate) key: String,
    pub(crate) pid: Option<String>,
    pub(crate) kind: SessionKind,
    pub(crate) state: SessionState,
    pub(crate) opened_us: u64,
    pub(crate) client_session_id: i64,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) tokens: Vec<String>,
    pub(crate) reader: Option<Arc<Conn>>,
    pub(crate) stats: u64,
    pub(crate) stops: u64,
    pub(crate) progress: Arc<Progress>,
}

/// A download of an infohash, from its first session until that line of sessions ends.
#[derive(Debug)]
pub(crate) struct Download {
    pub(crate) started_us: u64,
    pub(crate) cold_start_us: u64,
    /// The serial of the session that may play.
    pub(crate) current: u64,
}

/// What a path `/<infohash>/<key>` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    Current(u64),
    /// Killed by a newer session, which is given.
    Superseded(u64),
    /// Was a session once.
    Gone(u64),
    Unknown,
}

/// What a getstream asks for, resolved.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) infohash: String,
    pub(crate) key: String,
    pub(crate) pid: Option<String>,
    pub(crate) kind: SessionKind,
    pub(crate) playback_session_id: String,
    pub(crate) client_session_id: i64,
    pub(crate) cold_start_us: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    pub(crate) downloads: BTreeMap<String, Download>,
    pub(crate) by_serial: BTreeMap<u64, Session>,
    by_path: BTreeMap<(String, String), u64>,
    next_serial: u64,
}

impl Sessions {
    /// Gives the session of this key, a new one unless it plays the same already.
    pub(crate) fn open(&mut self, opening: Opening, counting: &Counting) -> u64 {
        let now = now_us();
        if let Lookup::Current(serial) = self.lookup(&opening.infohash, &opening.key) {
            let session = self.session(serial);
            if session.kind == opening.kind {
                session.progress.touch();
                session.client_session_id = opening.client_session_id;
                bump(&counting.sessions_reused);
                return serial;
            }
        }
        if let Some(pid) = &opening.pid {
            self.stop_other_content(pid, &opening.infohash, counting);
        }
        self.next_serial += 1;
        let serial = self.next_serial;
        self.supersede(&opening.infohash, serial, opening.cold_start_us, counting);
        let session = Session {
            serial,
            playback_session_id: opening.playback_session_id,
            infohash: opening.infohash,
            key: opening.key,
            pid: opening.pid,
            kind: opening.kind,
            state: SessionState::Open,
            opened_us: now,
            client_session_id: opening.client_session_id,
            timeout_ms: None,
            tokens: Vec::new(),
            reader: None,
            stats: 0,
            stops: 0,
            progress: Arc::default(),
        };
        session.progress.touch();
        self.by_path.insert((session.infohash.clone(), session.key.clone()), serial);
        self.by_serial.insert(serial, session);
        bump(&counting.sessions_opened);
        self.forget_old();
        serial
    }

    /// Makes `serial` the current session of the infohash; the older one is killed.
    fn supersede(&mut self, infohash: &str, serial: u64, cold_start_us: u64, counting: &Counting) {
        let Some(download) = self.downloads.get_mut(infohash) else {
            let download = Download { started_us: now_us(), cold_start_us, current: serial };
            self.downloads.insert(infohash.to_owned(), download);
            return;
        };
        let older = std::mem::replace(&mut download.current, serial);
        self.close(older, SessionState::Superseded, End::Superseded);
        bump(&counting.sessions_superseded);
    }

    /// Somebody else's session takes over: as a newer one would, but nobody here owns it.
    pub(crate) fn take_over(&mut self, infohash: &str, id: String, counting: &Counting) -> bool {
        if !self.downloads.contains_key(infohash) {
            return false;
        }
        self.open(
            Opening {
                infohash: infohash.to_owned(),
                key: format!("{:0>32}", id.get(..8).unwrap_or_default()),
                pid: None,
                kind: SessionKind::Ts,
                playback_session_id: id,
                client_session_id: -1,
                cold_start_us: 0,
            },
            counting,
        );
        true
    }

    pub(crate) fn lookup(&self, infohash: &str, key: &str) -> Lookup {
        let Some(serial) = self.by_path.get(&(infohash.to_owned(), key.to_owned())) else {
            return Lookup::Unknown;
        };
        let session = &self.by_serial[serial];
        match (session.state, self.downloads.get(infohash)) {
            (SessionState::Open, _) => Lookup::Current(*serial),
            (SessionState::Superseded, Some(download)) if download.current > *serial => {
                Lookup::Superseded(download.current)
            }
            _ => Lookup::Gone(*serial),
        }
    }

    /// The session that gave out a `/content` token.
    pub(crate) fn by_token(&self, infohash: &str, token: &str) -> Option<&Session> {
        let serial = self.downloads.get(infohash)?.current;
        let session = self.by_serial.get(&serial)?;
        session.tokens.iter().any(|given| given == token).then_some(session)
    }

    pub(crate) fn give_token(&mut self, serial: u64, token: String) {
        let session = self.session(serial);
        if session.tokens.len() == TOKENS_MAX {
            session.tokens.remove(0);
        }
        session.tokens.push(token);
    }

    pub(crate) fn session(&mut self, serial: u64) -> &mut Session {
        self.by_serial.get_mut(&serial).expect("a serial from lookup is in the table")
    }

    /// `method=stop` on a path; false when there is nothing to stop.
    pub(crate) fn stop(&mut self, infohash: &str, key: &str, counting: &Counting) -> bool {
        bump(&counting.stops);
        match self.lookup(infohash, key) {
            Lookup::Current(serial) => {
                self.session(serial).stops += 1;
                self.end_download(infohash, SessionState::Stopped, End::Stopped);
                bump(&counting.sessions_stopped);
                true
            }
            Lookup::Superseded(_) => {
                bump(&counting.superseded_stops);
                let serial = self.by_path[&(infohash.to_owned(), key.to_owned())];
                self.session(serial).stops += 1;
                self.end_download(infohash, SessionState::Stopped, End::Stopped);
                bump(&counting.sessions_stopped);
                true
            }
            Lookup::Gone(serial) => {
                let session = self.session(serial);
                session.stops += 1;
                if session.state == SessionState::Stopped {
                    bump(&counting.double_stops);
                }
                false
            }
            Lookup::Unknown => {
                bump(&counting.unknown_stops);
                false
            }
        }
    }

    /// Ends the current session of an infohash as if nobody had read it.
    pub(crate) fn expire(&mut self, infohash: &str, counting: &Counting) -> bool {
        let expired = self.end_download(infohash, SessionState::Expired, End::Expired);
        if expired {
            bump(&counting.sessions_expired);
        }
        expired
    }

    /// Expires every session that nobody reads or asks about; `default_ms` of an infohash counts
    /// where the session has no timeout of its own.
    pub(crate) fn expire_idle(
        &mut self,
        default_ms: impl Fn(&str) -> u64,
        counting: &Counting,
    ) -> bool {
        let now = now_us();
        let idle = |session: &&Session| {
            let limit_ms = session.timeout_ms.unwrap_or_else(|| default_ms(&session.infohash));
            let active_us = session.progress.activity_us.load(Ordering::Relaxed);
            session.state == SessionState::Open
                && !session.progress.waiting.load(Ordering::Relaxed)
                && now.saturating_sub(active_us) > limit_ms * 1_000
        };
        let current = self.downloads.values().filter_map(|d| self.by_serial.get(&d.current));
        let expired: Vec<String> = current.filter(idle).map(|s| s.infohash.clone()).collect();
        for infohash in &expired {
            self.expire(infohash, counting);
        }
        !expired.is_empty()
    }

    /// The engine died: everything is gone.
    pub(crate) fn lose_all(&mut self, counting: &Counting) {
        for infohash in self.downloads.keys().cloned().collect::<Vec<_>>() {
            self.end_download(&infohash, SessionState::Lost, End::Killed);
            bump(&counting.sessions_lost);
        }
        self.by_path.clear();
    }

    pub(crate) fn open_count(&self) -> usize {
        self.downloads.len()
    }

    fn end_download(&mut self, infohash: &str, state: SessionState, end: End) -> bool {
        let Some(download) = self.downloads.remove(infohash) else { return false };
        self.close(download.current, state, end);
        true
    }

    fn close(&mut self, serial: u64, state: SessionState, end: End) {
        let session = self.session(serial);
        session.state = state;
        if let Some(reader) = session.reader.take() {
            reader.end(end);
        }
    }

    fn stop_other_content(&mut self, pid: &str, infohash: &str, counting: &Counting) {
        let current = self.downloads.values().filter_map(|d| self.by_serial.get(&d.current));
        let others = current.filter(|s| s.pid.as_deref() == Some(pid) && s.infohash != infohash);
        for other in others.map(|s| s.infohash.clone()).collect::<Vec<_>>() {
            self.end_download(&other, SessionState::Stopped, End::Stopped);
            bump(&counting.sessions_stopped);
        }
    }

    fn forget_old(&mut self) {
        while self.by_serial.len() > CLOSED_SESSIONS_MAX {
            let closed = self.by_serial.values().find(|s| s.state != SessionState::Open);
            let Some(serial) = closed.map(|session| session.serial) else { return };
            if let Some(session) = self.by_serial.remove(&serial) {
                let path = (session.infohash, session.key);
                if self.by_path.get(&path) == Some(&serial) {
                    self.by_path.remove(&path);
                }
            }
        }
    }
}
