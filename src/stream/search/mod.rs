//! Which engine next: the rules between "a stream is wanted" and its first byte.
//!
//! Lives from the wish (a start, or a session that died under its viewers) until bytes flow. It
//! knows what has failed and decides; it asks nobody and opens nothing.
//!
//! | failure | next |
//! |---|---|
//! | refused, silent | another engine; when all have failed so, all again after a backoff |
//! | cut, gone | the same engine once after 250 ms, then another |
//! | taken over, malformed head | another; the same once after 1 s; then the end |
//! | the engine's error | one other engine, then the end |
//! | error about the content | once as an infohash if it was an id, then the end |

use std::time::Duration;

use super::input::Failure;
use super::output::Code;
use crate::base::ids::EngineId;
use crate::base::time::Instant;

/// After a cut the same engine is asked again, but not in the same instant: it may be restarting.
const REOPEN_AFTER: Duration = Duration::from_millis(250);
/// Two players that open the same content on one engine must not fight in a loop.
const TAKEN_OVER_AFTER: Duration = Duration::from_secs(1);
const PREBUFFERING_AFTER: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What to do after a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// `Search::next_at` says when.
    Ask,
    /// The same value again, as an infohash.
    AskAsInfohash,
    /// No further try.
    End(Verdict),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Verdict {
    pub(super) code: Code,
    pub(super) message: String,
    /// The engine whose words the message is.
    pub(super) engine: Option<EngineId>,
    pub(super) taken_over: bool,
    /// The content itself is at fault.
    pub(super) offline: bool,
}

/// A failure and whose it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Trouble {
    pub(super) engine: EngineId,
    pub(super) text: String,
}

#[derive(Debug)]
pub(super) struct Search {
    pub(super) since: Instant,
    pub(super) deadline: Instant,
    /// When the next engine is asked for; `None` while one is being tried.
    pub(super) next_at: Option<Instant>,
    pub(super) prefer: Option<EngineId>,
    pub(super) exclude: Vec<EngineId>,
    /// A playback session was opened for it: what is missing is content, not an engine.
    pub(super) reached: bool,
    pub(super) trouble: Option<Trouble>,
    /// Viewers are being kept: nothing but the deadline and the content's own error ends it.
    switching: bool,
    backoff: Duration,
    granted: bool,
    engine_error: Option<Trouble>,
    reopened_on: Vec<EngineId>,
    taken_by: Option<EngineId>,
    taken_retried: bool,
}

impl Search {
    pub(super) const fn new(now: Instant, deadline: Instant) -> Self {
        Self {
            since: now,
            deadline,
            next_at: Some(now),
            prefer: None,
            exclude: Vec::new(),
            reached: false,
            trouble: None,
            switching: false,
            backoff: BACKOFF_MIN,
            granted: false,
            engine_error: None,
            reopened_on: Vec::new(),
            taken_by: None,
            taken_retried: false,
        }
    }

    /// A session died under its viewers.
    pub(super) fn switching(now: Instant, deadline: Instant) -> Self {
        Self { switching: true, granted: true, ..Self::new(now, deadline) }
    }

    pub(super) const fn granted(&mut self) {
        self.granted = true;
    }

    /// The pool has no engine outside of those that failed.
    pub(super) fn denied(
        &mut self,
        no_engine: bool,
        text: &str,
        retry_after: Duration,
        now: Instant,
    ) -> Next {
        if self.exclude.is_empty() {
            if !self.granted {
                let code = if no_engine { Code::NoEngine } else { Code::NoCapacity };
                let message = text.to_owned();
                return Next::End(Verdict {
                    code,
                    message,
                    engine: None,
                    taken_over: false,
                    offline: false,
                });
            }
            return self.back_off(retry_after.min(BACKOFF_MAX), now);
        }
        if self.engine_error.is_some() && !self.switching {
            return Next::End(self.refused(false));
        }
        self.exclude.clear();
        if let Some(engine) = self.taken_by {
            if self.taken_retried {
                return Next::End(self.taken_over(engine));
            }
            self.taken_retried = true;
            return self.ask_at(now + TAKEN_OVER_AFTER, None);
        }
        self.back_off(Duration::ZERO, now)
    }

    /// An engine did not bring bytes. `is_id`: it was asked for an id that may be an infohash.
    pub(super) fn failed(
        &mut self,
        failure: &Failure,
        engine: EngineId,
        is_id: bool,
        now: Instant,
    ) -> Next {
        self.trouble = Some(Trouble { engine, text: failure.text().to_owned() });
        match failure {
            Failure::Refused | Failure::Silent => self.ask_another(engine, now),
            Failure::Prebuffering(_) => self.ask_at(now + PREBUFFERING_AFTER, Some(engine)),
            Failure::Content(_) if is_id => {
                self.ask_at(now, Some(engine));
                Next::AskAsInfohash
            }
            Failure::Content(_) => Next::End(self.refused(true)),
            Failure::Engine(_) => {
                let second = self.engine_error.is_some();
                self.engine_error.clone_from(&self.trouble);
                if second && !self.switching {
                    return Next::End(self.refused(false));
                }
                self.ask_another(engine, now)
            }
            Failure::TakenOver(_) | Failure::MalformedHead => {
                self.taken_by = Some(engine);
                if self.taken_retried {
                    return Next::End(self.taken_over(engine));
                }
                self.ask_another(engine, now)
            }
            Failure::Cut | Failure::Gone(_) => {
                if self.reopened_on.contains(&engine) {
                    return self.ask_another(engine, now);
                }
                self.reopened_on.push(engine);
                self.ask_at(now + REOPEN_AFTER, Some(engine))
            }
        }
    }

    /// The time is up.
    pub(super) fn timed_out(&self, last_stat: String) -> Verdict {
        let (code, message) = self.wait_answer(last_stat);
        Verdict {
            code,
            message,
            engine: self.trouble.as_ref().map(|trouble| trouble.engine),
            taken_over: false,
            offline: code == Code::NothingToPlay && !self.switching,
        }
    }

    /// What is missing, in a viewer's words: an engine, or the content.
    pub(super) fn wait_answer(&self, last_stat: String) -> (Code, String) {
        match &self.trouble {
            Some(trouble) if !self.reached => {
                (Code::NoEngine, format!("no engine could open it: {}", trouble.text))
            }
            Some(_) | None => (Code::NothingToPlay, last_stat),
        }
    }

    fn ask_at(&mut self, at: Instant, prefer: Option<EngineId>) -> Next {
        self.next_at = Some(at);
        self.prefer = prefer;
        Next::Ask
    }

    fn ask_another(&mut self, engine: EngineId, now: Instant) -> Next {
        if !self.exclude.contains(&engine) {
            self.exclude.push(engine);
        }
        self.ask_at(now, None)
    }

    fn back_off(&mut self, at_least: Duration, now: Instant) -> Next {
        let wait = self.backoff.max(at_least);
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        self.ask_at(now + wait, None)
    }

    fn refused(&self, offline: bool) -> Verdict {
        // The engine's own words before "refused the connection" of the one asked after it.
        let words = if offline { &self.trouble } else { &self.engine_error };
        let (engine, message) = match words {
            Some(trouble) => (Some(trouble.engine), trouble.text.clone()),
            None => (None, "the engine refused".to_owned()),
        };
        Verdict { code: Code::EngineRefused, message, engine, taken_over: false, offline }
    }

    fn taken_over(&self, engine: EngineId) -> Verdict {
        Verdict {
            code: Code::EngineRefused,
            message: "another player opens the same content on the engine".to_owned(),
            engine: Some(engine),
            taken_over: true,
            offline: false,
        }
    }
}

#[cfg(test)]
mod tests;
