//! What the engine says about our session, when it is asked next, and how it is told to people.
//!
//! One question is in flight at a time; an answer that never comes is given up after a while.

use std::time::Duration;

use super::input::StatFacts;
use crate::base::time::Instant;

const POLL_FAST: Duration = Duration::from_secs(1);
const POLL_SLOW: Duration = Duration::from_secs(5);
/// Past the driver's own limit of 5 s: whoever has not answered by now never will.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// An open that is not answered for so long makes one ask whether the engine lives.
const STATUS_AFTER: Duration = Duration::from_secs(10);
/// One that has not said so by then hangs.
const STATUS_MAX: Duration = Duration::from_secs(5);
const FROZEN_AFTER: Duration = Duration::from_secs(300);
/// A broadcast whose newest piece is older is a recording.
const LIVE_AGE_MAX: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(super) struct StatClock {
    /// `None`: not asked at all (before the session is opened, or it has no such path).
    due: Option<Instant>,
    asked_at: Option<Instant>,
    /// In a row.
    pub(super) failures: u32,
}

impl StatClock {
    pub(super) const fn start(&mut self, now: Instant) {
        self.due = Some(now);
    }

    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
        self.due = Some(now + ANSWER_MAX);
    }

    /// Whether an answer was waited for; the next question is set in any case.
    pub(super) fn answered(&mut self, fast: bool, now: Instant) -> bool {
        let Some(asked_at) = self.asked_at.take() else { return false };
        let every = if fast { POLL_FAST } else { POLL_SLOW };
        self.due = Some((asked_at + every).max(now));
        true
    }

    /// Silence has begun: once a second from now on.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.asked_at.is_none() && self.due.is_some_and(|due| due > now + POLL_FAST) {
            self.due = Some(now + POLL_FAST);
        }
    }
}

/// Whether an engine that takes its time lives at all: asked again and again while it does.
#[derive(Debug, Default)]
pub(super) struct StatusClock {
    ask_at: Option<Instant>,
    /// Unanswered by then, it hangs.
    answer_by: Option<Instant>,
}

impl StatusClock {
    pub(super) fn start(&mut self, after: Duration, now: Instant) {
        self.ask_at = Some(now + after.min(STATUS_AFTER));
        self.answer_by = None;
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.answer_by.or(self.ask_at)
    }

    /// The question goes out now.
    pub(super) fn asked(&mut self, now: Instant) {
        self.ask_at = None;
        self.answer_by = Some(now + STATUS_MAX);
    }

    pub(super) fn is_asked(&self) -> bool {
        self.answer_by.is_some()
    }
}

/// The newest facts, over all attempts of one start.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) facts: Option<StatFacts>,
    /// When there were peers or growth last.
    pub(super) alive_at: Option<Instant>,
    /// This session has downloaded more from one answer to the next.
    pub(super) grows: bool,
    live_last: Option<(u64, Instant)>,
    pub(super) frozen: bool,
}

impl Health {
    pub(super) fn take(&mut self, facts: StatFacts, now: Instant) {
        let before = self.facts.as_ref().map_or(0, |facts| facts.downloaded);
        self.grows |= facts.downloaded > before;
        if facts.peers > 0 || facts.downloaded > before {
            self.alive_at = Some(now);
        }
        match (facts.live_last, self.live_last) {
            (Some(last), Some((known, _))) if known == last => {}
            (Some(last), _) => self.live_last = Some((last, now)),
            (None, _) => self.live_last = None,
        }
        self.facts = Some(facts);
    }

    /// Another session: what the old one had downloaded says nothing about it.
    pub(super) fn forget(&mut self) {
        self.facts = None;
        self.grows = false;
        self.live_last = None;
    }

    /// Bytes flow, and the broadcast has stood still. `Some` when that has changed: while none flow
    /// nothing is known of it, and what was known stays.
    pub(super) fn frozen_changed(&mut self, flowing: bool, now: Instant) -> Option<bool> {
        if !flowing {
            return None;
        }
        let stands = self.live_last.is_some_and(|(_, since)| now.since(since) >= FROZEN_AFTER);
        let age = self.facts.as_ref().and_then(|facts| facts.live_age);
        let is_old = age.is_some_and(|age| age >= LIVE_AGE_MAX);
        let frozen = stands || is_old;
        let changed = frozen != self.frozen;
        self.frozen = frozen;
        changed.then_some(frozen)
    }

    /// For a viewer whose wait is over.
    pub(super) fn text(&self) -> String {
        let Some(facts) = &self.facts else {
            return "no answer from the engine yet: try again".to_owned();
        };
        match (facts.peers, facts.progress_percent) {
            (0, _) if facts.downloaded == 0 => "no peers: probably offline".to_owned(),
            (peers, Some(percent)) => {
                format!("still buffering {percent} %, {peers} peers: try again")
            }
            (peers, None) => format!("still buffering, {peers} peers: try again"),
        }
    }

    /// For an operator's log.
    pub(super) fn log_text(&self) -> String {
        let Some(facts) = &self.facts else { return "no stat".to_owned() };
        let what = if facts.peers == 0 { "no peers" } else { "no bytes" };
        let status = if facts.status.is_empty() { "idle" } else { &facts.status };
        let percent = facts.progress_percent.unwrap_or(0);
        let (peers, downloaded) = (facts.peers, facts.downloaded);
        format!("{what} ({status} {percent} %, peers {peers}, downloaded {downloaded})")
    }
}
