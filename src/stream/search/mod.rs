//! Which engine next: the rules between "a stream is wanted" and its first byte.
//!
//! Lives from the wish (a start, or a session that died under its viewers) until bytes flow. It
//! knows what has failed and decides; it asks nobody and opens nothing.
//!
//! | failure | next |
//! |---|---|
//! | a lack of ours | a start that opened nothing ends; else the same again after a backoff |
//! | refused, silent | another engine; when all have failed so, all again after a backoff |
//! | cut, gone | the same engine once after 250 ms, if it says in time that it lives; then another |
//! | taken over, malformed head | another; the same by the rules of `contest`; then the end |
//! | the engine's error | one other engine, then the end |
//! | error about the content | once as an infohash if it was an id, then the end |
//!
//! While viewers are kept (*switching*) no error ends it but a takeover too many: what has played a
//! moment ago is asked for again, with a growing pause, until the deadline. An engine that died
//! under the stream less than 20 s ago rests, so that two engines are not bounced between.

mod contest;

use std::time::Duration;

pub use self::contest::Contest;
pub use self::contest::Tenure;
use super::input::Failure;
use super::output::CloseReason;
use super::output::Code;
use crate::base::ids::EngineId;
use crate::base::prng::Prng;
use crate::base::time::Instant;

/// After a cut the same engine is asked again, but not in the same instant: it may be restarting.
const REOPEN_AFTER: Duration = Duration::from_millis(250);
/// By then it has said that it lives, and let go of the old session, or another one is asked.
const REOPEN_WITHIN: Duration = Duration::from_secs(1);
const PREBUFFERING_AFTER: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What to do after a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// `Search::next_at` says when.
    Ask,
    /// The same engine again, if it lives: whether it does is asked first.
    Reopen(EngineId),
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
    /// How started viewers end.
    pub(super) close: CloseReason,
    /// The content itself is at fault.
    pub(super) offline: bool,
}

/// A failure and whose it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Trouble {
    pub(super) engine: EngineId,
    pub(super) text: String,
}

/// The same engine is about to be asked again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reopen {
    pub(super) engine: EngineId,
    /// Not before.
    pub(super) at: Instant,
    /// Past it another one is asked.
    pub(super) until: Instant,
    pub(super) answers: bool,
}

#[derive(Debug)]
pub(super) struct Search {
    pub(super) since: Instant,
    pub(super) deadline: Instant,
    /// When the next engine is asked for; `None` while one is being tried.
    pub(super) next_at: Option<Instant>,
    pub(super) prefer: Option<EngineId>,
    reopen: Option<Reopen>,
    exclude: Vec<EngineId>,
    /// Engines that rest, and until when.
    resting: Vec<(EngineId, Instant)>,
    /// A playback session was opened for it: what is missing is content, not an engine.
    pub(super) reached: bool,
    pub(super) trouble: Option<Trouble>,
    /// What we lack for it now, with the setting that limits it.
    lack: Option<&'static str>,
    /// Something was lacking at some time: what did not come is no fault of the content.
    has_lacked: bool,
    /// Viewers are being kept.
    switching: bool,
    backoff: Duration,
    granted: bool,
    engine_error: Option<Trouble>,
    reopened_on: Vec<EngineId>,
    /// When engines that were taken over may be asked again, there being no other.
    return_at: Option<Instant>,
    has_returned: bool,
}

impl Search {
    pub(super) const fn new(now: Instant, deadline: Instant) -> Self {
        Self {
            since: now,
            deadline,
            next_at: Some(now),
            prefer: None,
            reopen: None,
            exclude: Vec::new(),
            resting: Vec::new(),
            reached: false,
            trouble: None,
            lack: None,
            has_lacked: false,
            switching: false,
            backoff: BACKOFF_MIN,
            granted: false,
            engine_error: None,
            reopened_on: Vec::new(),
            return_at: None,
            has_returned: false,
        }
    }

    /// A session died under its viewers; `resting` engines did so not long before.
    pub(super) fn switching(
        now: Instant,
        deadline: Instant,
        resting: Vec<(EngineId, Instant)>,
    ) -> Self {
        Self { switching: true, granted: true, resting, ..Self::new(now, deadline) }
    }

    pub(super) const fn is_switching(&self) -> bool {
        self.switching
    }

    /// An engine could not be asked for want of something of ours, or could be (`None`).
    pub(super) fn lacks(&mut self, lack: Option<&'static str>) {
        self.lack = lack;
        self.has_lacked |= lack.is_some();
    }

    pub(super) const fn is_lacking(&self) -> bool {
        self.lack.is_some()
    }

    /// The session that was there was replaced by somebody else's.
    pub(super) fn superseded(&mut self, engine: EngineId, now: Instant) {
        (self.return_at, self.has_returned) = (None, false);
        if self.reopen.is_some_and(|reopen| reopen.engine == engine) {
            self.ask_at(now, None);
        }
    }

    /// The stream is ours by now: no reason to wait for longer than an owner does.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let Some(at) = &mut self.return_at {
            *at = (*at).min(now + contest::QUICK);
            self.next_at = self.next_at.map(|next_at| next_at.min(*at));
        }
    }

    /// One that is open already is what was looked for.
    pub(super) const fn found(&mut self) {
        self.next_at = None;
        self.reopen = None;
    }

    /// Who is not asked now.
    pub(super) fn excluded(&self, contest: &Contest, now: Instant) -> Vec<EngineId> {
        let mut excluded = self.exclude.clone();
        let resting = self.resting.iter().filter(|(_, until)| *until > now);
        for engine in resting.map(|(engine, _)| *engine).chain(self.shunned(contest, now)) {
            if !excluded.contains(&engine) {
                excluded.push(engine);
            }
        }
        excluded
    }

    fn shunned(&self, contest: &Contest, now: Instant) -> Vec<EngineId> {
        if self.has_returned { Vec::new() } else { contest.shunned(now) }
    }

    /// Whether the engine that is to be asked again says that it lives.
    pub(super) fn status(&mut self, engine: EngineId, answers: bool, now: Instant) {
        match &mut self.reopen {
            Some(reopen) if reopen.engine == engine && answers => reopen.answers = true,
            Some(reopen) if reopen.engine == engine => {
                self.ask_another(engine, now);
            }
            Some(_) | None => {}
        }
    }

    /// When the next engine is asked for; `is_held`: it has not let go of an old session yet.
    pub(super) fn ask_due(&self, is_held: impl Fn(EngineId) -> bool) -> Option<Instant> {
        match self.reopen {
            Some(reopen) if reopen.answers && !is_held(reopen.engine) => Some(reopen.at),
            Some(reopen) => Some(reopen.until),
            None => self.next_at.filter(|_| !self.prefer.is_some_and(is_held)),
        }
    }

    /// It is asked for now. A reopening whose time is up goes elsewhere.
    pub(super) fn asks(&mut self, is_held: impl Fn(EngineId) -> bool, now: Instant) {
        if let Some(reopen) = self.reopen.take()
            && (!reopen.answers || is_held(reopen.engine))
        {
            self.ask_another(reopen.engine, now);
        }
        self.next_at = None;
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
        (contest, prng): (&mut Contest, &mut Prng),
        now: Instant,
    ) -> Next {
        let shunned = self.shunned(contest, now);
        self.resting.retain(|(engine, until)| *until > now && !shunned.contains(engine));
        if let Some(until) = self.resting.iter().map(|(_, until)| *until).min() {
            return self.ask_at(until, None);
        }
        if self.exclude.is_empty() && shunned.is_empty() {
            if !self.granted {
                let code = if no_engine { Code::NoEngine } else { Code::NoCapacity };
                return Next::End(Verdict::new(code, text.to_owned()));
            }
            let at_least = if self.switching { Duration::ZERO } else { retry_after };
            return self.back_off(at_least.min(BACKOFF_MAX), now);
        }
        if self.engine_error.is_some() && !self.switching {
            return Next::End(self.refused(false));
        }
        let has_failed = !self.exclude.is_empty();
        self.exclude.clear();
        if shunned.is_empty() {
            return self.back_off(Duration::ZERO, now);
        }
        let Some(at) = self.return_at.or_else(|| Some(now + contest.pause(prng, now)?)) else {
            return Next::End(contended(contest));
        };
        if at <= now {
            // There was still no other.
            (self.return_at, self.has_returned) = (None, true);
            contest.returned(now);
            return self.ask_at(now, None);
        }
        self.return_at = Some(at);
        // Another engine may be there before, or has been left alone for long enough.
        let wait = if has_failed { self.longer() } else { BACKOFF_MAX };
        self.ask_at(at.min(now + wait).min(contest.shunned_until(now)), None)
    }

    /// An engine did not bring bytes. `is_id`: it was asked for an id that may be an infohash.
    pub(super) fn failed(
        &mut self,
        failure: &Failure,
        engine: EngineId,
        is_id: bool,
        contest: &mut Contest,
        now: Instant,
    ) -> Next {
        self.lacks(failure.lack());
        if self.lack.is_none() {
            self.trouble = Some(Trouble { engine, text: failure.text().to_owned() });
        }
        match failure {
            Failure::Lack(text) if !self.switching && !self.reached => {
                Next::End(Verdict::new(Code::NoCapacity, (*text).to_owned()))
            }
            Failure::Lack(_) => self.back_off(Duration::ZERO, now),
            Failure::Refused | Failure::Silent => self.ask_another(engine, now),
            Failure::Prebuffering(_) => self.ask_at(now + PREBUFFERING_AFTER, Some(engine)),
            Failure::Content(_) if is_id && !self.switching => {
                self.ask_at(now, Some(engine));
                Next::AskAsInfohash
            }
            Failure::Content(_) if !self.switching => Next::End(self.refused(true)),
            Failure::Content(_) | Failure::Engine(_) => {
                let second = self.engine_error.is_some();
                self.engine_error.clone_from(&self.trouble);
                if second && !self.switching {
                    return Next::End(self.refused(false));
                }
                self.ask_another(engine, now)
            }
            Failure::TakenOver(_) | Failure::MalformedHead => {
                contest.taken(engine, now);
                self.superseded(engine, now);
                self.ask_at(now, None)
            }
            Failure::Cut | Failure::ShardLost | Failure::Gone(_) => {
                if self.reopened_on.contains(&engine) {
                    return self.ask_another(engine, now);
                }
                self.reopened_on.push(engine);
                let at = now + REOPEN_AFTER;
                let until = now + REOPEN_WITHIN;
                self.ask_at(at, Some(engine));
                self.reopen = Some(Reopen { engine, at, until, answers: false });
                Next::Reopen(engine)
            }
        }
    }

    /// The time is up. `is_asked`: an engine is at work on it. Where none was ever had it is our own
    /// lack of capacity, and says nothing about the content.
    pub(super) fn timed_out(&self, last_stat: String, is_asked: bool) -> Verdict {
        let (code, message) = self.wait_answer(last_stat);
        Verdict {
            engine: self.trouble.as_ref().map(|trouble| trouble.engine),
            offline: code == Code::NothingToPlay
                && !self.switching
                && !self.has_lacked
                && (self.reached || is_asked),
            ..Verdict::new(code, message)
        }
    }

    /// What is missing, in a viewer's words: something of ours, an engine, or the content.
    pub(super) fn wait_answer(&self, last_stat: String) -> (Code, String) {
        if let Some(lack) = self.lack {
            return (Code::NoCapacity, lack.to_owned());
        }
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
        self.reopen = None;
        Next::Ask
    }

    fn ask_another(&mut self, engine: EngineId, now: Instant) -> Next {
        if !self.exclude.contains(&engine) {
            self.exclude.push(engine);
        }
        self.ask_at(now, None)
    }

    fn back_off(&mut self, at_least: Duration, now: Instant) -> Next {
        let wait = self.longer().max(at_least);
        self.ask_at(now + wait, None)
    }

    /// Than the last time.
    fn longer(&mut self) -> Duration {
        let longer = (self.backoff * 2).min(BACKOFF_MAX);
        std::mem::replace(&mut self.backoff, longer)
    }

    fn refused(&self, offline: bool) -> Verdict {
        // The engine's own words before "refused the connection" of the one asked after it.
        let words = if offline { &self.trouble } else { &self.engine_error };
        let (engine, message) = match words {
            Some(trouble) => (Some(trouble.engine), trouble.text.clone()),
            None => (None, "the engine refused".to_owned()),
        };
        Verdict { engine, offline, ..Verdict::new(Code::EngineRefused, message) }
    }
}

impl Verdict {
    pub(super) const fn new(code: Code, message: String) -> Self {
        let close = CloseReason::EngineGone;
        Self { code, message, engine: None, close, offline: false }
    }
}

fn contended(contest: &Contest) -> Verdict {
    let (close, text) = contest.end();
    let verdict = Verdict::new(Code::EngineRefused, text.to_owned());
    Verdict { engine: contest.rival_on(), close, ..verdict }
}

#[cfg(test)]
mod tests;
