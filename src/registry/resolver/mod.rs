//! From what a player asked for to the infohash that names the stream.
//!
//! `id=` may hold a content id or an infohash, and two sessions of one infohash on one engine
//! kill each other: so the infohash is wanted before anything is opened. In order: where it is known
//! to lead; the infohash of a live stream; a question to the engine that would be chosen, once more to
//! another; an error reply means that the value is taken for an infohash; no reply means that it
//! is opened as given.
//!
//! While a channel is marked offline, nobody asks what led to it; whoever starts it next does, for
//! the broadcast may have moved.
//!
//! It asks nothing itself. Invariants: one question at a time per key; every Resolve is answered
//! exactly once unless it was cancelled; every table is bounded.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Duration;

use crate::base::ids::EngineId;
use crate::base::ids::Infohash;
use crate::base::ids::Target;
use crate::base::time::Instant;

/// What an engine said holds for this long; broadcasts rotate behind a content id.
pub const ALIAS_TTL: Duration = Duration::from_secs(10 * 60);
/// No answer, or an error, is not asked for again within this.
pub const FAILURE_TTL: Duration = Duration::from_secs(10);
/// What has expired is still known for this long, though nobody is answered with it: a start that
/// it led to may fail so much later.
const KEPT: Duration = Duration::from_secs(2 * 60);
/// An engine's time for one question.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
/// Who asks answers by then; a second later the question is given up without an answer.
const QUERY_GIVEN_UP: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResolverConfig {
    pub aliases_max: usize,
    /// Questions out at once.
    pub queries_max: usize,
    pub waiters_max: usize,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self { aliases_max: 16_384, queries_max: 64, waiters_max: 65_536 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueryId(pub u64);

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    Resolve {
        token: u64,
        target: Target,
        /// A stream of the infohash that an `id=` value would be is running.
        live: bool,
    },
    /// Nobody waits for this token any more.
    Cancel { token: u64 },
    QueryResult {
        query: QueryId,
        /// The engine that was asked; None when the pool had none to ask.
        engine: Option<EngineId>,
        result: QueryReply,
    },
    /// The engine's reply to an open as given, or the first byte of an assumed one.
    Confirmed { target: Target, infohash: Infohash },
    /// It led to this infohash, and that to nothing that plays: so it is until then, and is asked anew
    /// afterwards.
    Hold { target: Target, infohash: Infohash, until: Instant },
    /// To be asked anew.
    Forget { target: Target },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueryReply {
    Infohash(Infohash),
    ErrorReply(String),
    Unreachable,
    Timeout,
    UnknownMethod,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// `get_media_files` of this content id, on the engine that would be chosen.
    Query {
        query: QueryId,
        id: Infohash,
        exclude: Option<EngineId>,
        deadline: Instant,
    },
    Resolved {
        token: u64,
        resolution: Resolution,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resolution {
    Infohash(Infohash),
    /// The engine knows no such content id: open the value as an infohash. `text` is what it said.
    Assumed {
        infohash: Infohash,
        text: String,
    },
    /// Nothing is known: open the value as it was given.
    AsGiven(Target),
    /// Too much is being resolved already.
    Busy,
}

#[derive(Debug)]
struct Alias {
    known: Known,
    expires: Instant,
    /// Its place in the order of expiry.
    serial: u64,
}

#[derive(Clone, Debug)]
enum Known {
    Infohash(Infohash),
    Assumed(Infohash, String),
    AsGiven,
}

#[derive(Debug)]
struct Question {
    query: QueryId,
    is_retry: bool,
    given_up: Instant,
    waiters: Vec<u64>,
}

#[derive(Debug)]
pub struct Resolver {
    config: ResolverConfig,
    aliases: BTreeMap<Target, Alias>,
    expiry: BTreeMap<(Instant, u64), Target>,
    questions: BTreeMap<Target, Question>,
    queries: BTreeMap<QueryId, Target>,
    waiting: BTreeMap<u64, Target>,
    outputs: VecDeque<Output>,
    /// Numbers queries and aliases.
    serial: u64,
}

impl Resolver {
    pub fn new(config: ResolverConfig) -> Self {
        Self {
            config,
            aliases: BTreeMap::new(),
            expiry: BTreeMap::new(),
            questions: BTreeMap::new(),
            queries: BTreeMap::new(),
            waiting: BTreeMap::new(),
            outputs: VecDeque::new(),
            serial: 0,
        }
    }

    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Resolve { token, target, live } => self.resolve(token, target, live, now),
            Input::Cancel { token } => self.cancel(token),
            Input::QueryResult { query, engine, result } => {
                self.query_result(query, engine, result, now);
            }
            Input::Confirmed { target, infohash } => {
                if !matches!(target, Target::Infohash(_)) {
                    self.conclude(&target, Some((Known::Infohash(infohash), ALIAS_TTL)), now);
                }
            }
            Input::Hold { target, infohash, until } => self.hold(&target, infohash, until, now),
            Input::Forget { target } => self.forget(&target),
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.questions.values().map(|question| question.given_up).min()
    }

    /// Gives up the questions that nobody answered.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = self.questions.values().filter(|question| question.given_up <= now);
        for query in late.map(|question| question.query).collect::<Vec<_>>() {
            self.query_result(query, None, QueryReply::Timeout, now);
        }
        self.expire(now);
    }

    /// Whether this would be a new question to an engine.
    pub fn would_ask(&self, target: &Target, live: bool, now: Instant) -> bool {
        matches!(target, Target::Id(_))
            && !live
            && self.known(target, now).is_none()
            && !self.questions.contains_key(target)
    }

    /// The infohash that an engine gave for it, as long as that holds.
    pub fn infohash_of(&self, target: &Target, now: Instant) -> Option<Infohash> {
        match self.known(target, now)? {
            Known::Infohash(infohash) => Some(*infohash),
            Known::Assumed(..) | Known::AsGiven => None,
        }
    }

    /// An `id=` of these digits was taken for an infohash, lately.
    pub fn was_assumed(&self, id: Infohash) -> bool {
        let alias = self.aliases.get(&Target::Id(id));
        alias.is_some_and(|alias| matches!(alias.known, Known::Assumed(..)))
    }

    /// Aliases held.
    pub fn len(&self) -> usize {
        self.aliases.len()
    }

    pub fn is_empty(&self) -> bool {
        self.aliases.is_empty()
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn check_invariants(&self) {
        assert!(self.aliases.len() <= self.config.aliases_max);
        assert_eq!(self.aliases.len(), self.expiry.len());
        for (target, alias) in &self.aliases {
            assert_eq!(self.expiry.get(&(alias.expires, alias.serial)), Some(target));
        }
        assert!(self.questions.len() <= self.config.queries_max);
        assert_eq!(self.questions.len(), self.queries.len());
        let mut waiters = 0;
        for (target, question) in &self.questions {
            assert_eq!(self.queries.get(&question.query), Some(target));
            for token in &question.waiters {
                assert_eq!(self.waiting.get(token), Some(target));
            }
            waiters += question.waiters.len();
        }
        assert_eq!(waiters, self.waiting.len());
        assert!(waiters <= self.config.waiters_max);
    }

    fn resolve(&mut self, token: u64, target: Target, live: bool, now: Instant) {
        assert!(!self.waiting.contains_key(&token), "token {token} waits already");
        self.expire(now);
        let id = match &target {
            Target::Infohash(infohash) => {
                return self.answer(token, Resolution::Infohash(*infohash));
            }
            Target::Id(id) if live && !self.leads_elsewhere(&target, *id, now) => {
                let id = *id;
                if self.known(&target, now).is_none() {
                    self.remember(target, Known::Assumed(id, String::new()), now);
                }
                return self.answer(token, Resolution::Infohash(id));
            }
            Target::Id(id) => Some(*id),
            Target::Url(_) | Target::Magnet(_) => None,
        };
        if let Some(known) = self.known(&target, now) {
            let resolution = resolution(known, &target);
            return self.answer(token, resolution);
        }
        // Only content ids can be asked for without opening a session.
        let Some(id) = id else { return self.answer(token, Resolution::AsGiven(target)) };
        let is_new = !self.questions.contains_key(&target);
        if self.waiting.len() >= self.config.waiters_max
            || (is_new && self.questions.len() >= self.config.queries_max)
        {
            return self.answer(token, Resolution::Busy);
        }
        if is_new {
            self.ask(target.clone(), id, None, Vec::new(), now);
        }
        let question = self.questions.get_mut(&target).expect("it was there or just asked");
        question.waiters.push(token);
        self.waiting.insert(token, target);
    }

    fn ask(
        &mut self,
        target: Target,
        id: Infohash,
        exclude: Option<EngineId>,
        waiters: Vec<u64>,
        now: Instant,
    ) {
        self.serial += 1;
        let query = QueryId(self.serial);
        let question = Question {
            query,
            is_retry: exclude.is_some(),
            given_up: now + QUERY_GIVEN_UP,
            waiters,
        };
        self.queries.insert(query, target.clone());
        self.questions.insert(target, question);
        let deadline = now + QUERY_TIMEOUT;
        self.outputs.push_back(Output::Query { query, id, exclude, deadline });
    }

    fn query_result(
        &mut self,
        query: QueryId,
        engine: Option<EngineId>,
        result: QueryReply,
        now: Instant,
    ) {
        // An answer to a question that was given up, or was answered from elsewhere, is late.
        let Some(target) = self.queries.get(&query).cloned() else { return };
        let Target::Id(id) = target else { unreachable!("only ids are asked for") };
        let known = match result {
            QueryReply::Infohash(infohash) => Some((Known::Infohash(infohash), ALIAS_TTL)),
            QueryReply::ErrorReply(text) => Some((Known::Assumed(id, text), FAILURE_TTL)),
            QueryReply::UnknownMethod => Some((Known::AsGiven, FAILURE_TTL)),
            QueryReply::Timeout | QueryReply::Unreachable => {
                let is_retry = self.questions.get(&target).is_some_and(|q| q.is_retry);
                match engine {
                    Some(engine) if !is_retry => return self.ask_another(target, id, engine, now),
                    // The pool had no engine to ask: that is no fact about this id.
                    None if !is_retry => None,
                    Some(_) | None => Some((Known::AsGiven, FAILURE_TTL)),
                }
            }
        };
        self.conclude(&target, known, now);
    }

    fn ask_another(&mut self, target: Target, id: Infohash, not: EngineId, now: Instant) {
        let Some(question) = self.questions.remove(&target) else { return };
        self.queries.remove(&question.query);
        if question.waiters.is_empty() {
            return;
        }
        self.ask(target, id, Some(not), question.waiters, now);
    }

    /// Answers everybody who waits for this key, and remembers what was learned.
    fn conclude(&mut self, target: &Target, known: Option<(Known, Duration)>, now: Instant) {
        let resolution = match &known {
            Some((known, _)) => resolution(known, target),
            None => Resolution::AsGiven(target.clone()),
        };
        if let Some((known, ttl)) = known {
            self.remember(target.clone(), known, now + ttl);
        }
        let Some(question) = self.questions.remove(target) else { return };
        self.queries.remove(&question.query);
        for token in question.waiters {
            self.waiting.remove(&token);
            self.answer(token, resolution.clone());
        }
    }

    /// What an engine has said since, of another infohash, is newer.
    fn hold(&mut self, target: &Target, infohash: Infohash, until: Instant, now: Instant) {
        let known = self.infohash_of(target, now);
        if known.is_none_or(|known| known == infohash) {
            self.conclude(target, Some((Known::Infohash(infohash), until.since(now))), now);
        }
    }

    fn cancel(&mut self, token: u64) {
        // The question itself goes on: its answer will be wanted when the player comes back.
        let Some(target) = self.waiting.remove(&token) else { return };
        if let Some(question) = self.questions.get_mut(&target) {
            question.waiters.retain(|waiter| *waiter != token);
        }
    }

    fn answer(&mut self, token: u64, resolution: Resolution) {
        self.outputs.push_back(Output::Resolved { token, resolution });
    }

    fn remember(&mut self, target: Target, known: Known, expires: Instant) {
        self.forget(&target);
        while self.aliases.len() >= self.config.aliases_max.max(1) {
            let Some((_, oldest)) = self.expiry.pop_first() else { break };
            self.aliases.remove(&oldest);
        }
        self.serial += 1;
        let serial = self.serial;
        self.expiry.insert((expires, serial), target.clone());
        self.aliases.insert(target, Alias { known, expires, serial });
    }

    fn known(&self, target: &Target, now: Instant) -> Option<&Known> {
        let alias = self.aliases.get(target).filter(|alias| alias.expires > now);
        alias.map(|alias| &alias.known)
    }

    /// A content id that somebody gave for an infohash has a stream that never plays: nobody who
    /// means the channel is to wait there.
    fn leads_elsewhere(&self, target: &Target, id: Infohash, now: Instant) -> bool {
        self.infohash_of(target, now).is_some_and(|known| known != id)
    }

    fn forget(&mut self, target: &Target) {
        if let Some(alias) = self.aliases.remove(target) {
            self.expiry.remove(&(alias.expires, alias.serial));
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some(entry) = self.expiry.first_entry() {
            if entry.key().0 + KEPT > now {
                return;
            }
            self.aliases.remove(&entry.remove());
        }
    }
}

fn resolution(known: &Known, target: &Target) -> Resolution {
    match known {
        Known::Infohash(infohash) => Resolution::Infohash(*infohash),
        Known::Assumed(infohash, text) => {
            Resolution::Assumed { infohash: *infohash, text: text.clone() }
        }
        Known::AsGiven => Resolution::AsGiven(target.clone()),
    }
}

#[cfg(test)]
mod tests;
