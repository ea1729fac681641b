//! Floor 3: the life of one stream, from the first wish to the last byte.
//!
//! A [`Session`] decides which engine is asked, when a start is given up, when the engine's
//! session is stopped and what the viewers are told. It is a machine without I/O: it reads no
//! clock and no socket, draws no random number, and never sees a byte of the stream. The shard
//! carries its [`Output`]s out and feeds the answers back as [`Input`]s.
//!
//! ```text
//! initializing -> connecting -> buffering -> active <-> stalled -> switching -> active
//!        any of them -> draining -> stopped | error
//! ```
//!
//! One file for each state: `initializing` (which engine), `connecting` (the open), `buffering`
//! (until the first bytes), `active` (bytes, silence, stat), `switching` (a death under viewers),
//! `draining` (the end, and the ways back from it).
//!
//! Invariants, checked by [`Session::check_invariants`] and by the simulator:
//! - While bytes are missing there is a `search`, and it waits for exactly one thing: a time, the
//!   pool, or the attempt.
//! - An attempt whose open or claim is not answered is never thrown away.
//! - Every reservation goes back once, every session is stopped once (or was superseded).

mod active;
mod attempt;
mod audience;
mod budget;
mod buffering;
mod connecting;
mod draining;
mod heir;
mod initializing;
mod input;
mod moving;
mod output;
mod rival;
mod search;
mod settings;
mod stat;
mod state;
mod stops;
mod switching;

use std::collections::BTreeMap;
use std::collections::VecDeque;

use self::attempt::Attempt;
use self::attempt::Phase;
use self::audience::Audience;
pub use self::audience::ShardSet;
use self::budget::Budget;
use self::draining::Ending;
pub use self::heir::Owed;
pub use self::input::Failure;
pub use self::input::Input;
pub use self::input::Opened;
pub use self::input::StatFacts;
use self::moving::Leaving;
pub use self::moving::Purpose;
pub use self::output::Answer;
pub use self::output::CloseReason;
pub use self::output::Code;
pub use self::output::Outcome;
pub use self::output::Output;
pub use self::output::UnlessReplaced;
pub use self::output::Wish;
use self::rival::Rival;
pub use self::search::Contest;
use self::search::Search;
pub use self::search::Tenure;
pub use self::settings::Settings;
pub use self::settings::Setup;
use self::stat::Health;
pub use self::state::State;
use self::stops::Stops;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::ids::Target;
use crate::base::prng::Prng;
use crate::base::time::Instant;

/// Timers that fire at one time must come to rest: each round disarms what it fired.
const ROUNDS_MAX: u32 = 16;

/// What the shard does with a claim to the infohash of a stream that runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Adoption {
    /// Another engine, another content: the claimant is told to merge, and stops its own.
    No,
    /// The claimant's opening has superseded our session: we are fed `Adopt`.
    Yes,
    /// Being opened or ended on that engine: the claim is kept and asked about again when the
    /// session has said something. After `Ended` it goes back to the directory.
    Later,
}

pub struct Session {
    infohash: Infohash,
    /// The directory knows us by our infohash. Not so a stream whose infohash is only guessed: somebody
    /// else may run under it.
    is_claimed: bool,
    target: Target,
    settings: Settings,
    /// Player ids and the jitter of retries.
    prng: Prng,
    born: Instant,
    generation: Generation,
    state: State,
    /// The `Select` that is out. At most one: its grant must find us alive.
    asking: Option<Asking>,
    search: Option<Search>,
    /// The question whether an engine lives that is to be asked again.
    reopening: Option<(Generation, EngineId)>,
    attempt: Option<Attempt>,
    rival: Option<Rival>,
    leaving: Option<Leaving>,
    /// A start is hedged once.
    hedged: bool,
    stops: Stops,
    audience: Audience,
    flow: Flow,
    health: Health,
    budget: Budget,
    contest: Contest,
    ending: Option<Ending>,
    /// Nobody's absence ends it before.
    warm_until: Instant,
    /// Names of the engines that were granted, for words to people.
    names: BTreeMap<EngineId, String>,
    told: Told,
    outputs: VecDeque<Output>,
    over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asking {
    generation: Generation,
    deadline: Instant,
    /// For a second session beside the attempt.
    rival: Option<Purpose>,
}

/// The bytes, as far as the brain knows of them.
#[derive(Debug)]
struct Flow {
    first_packet_at: Option<Instant>,
    /// Or the time from which on silence is the engine's.
    last_byte_at: Instant,
    bytes_total: u64,
    /// Reading is held back on our side since then.
    paused_since: Option<Instant>,
    access_point: bool,
}

/// What was said last, so that it is said again only when it has changed.
#[derive(Debug, Default)]
struct Told {
    state: Option<(State, &'static str)>,
    wait_answer: Option<Answer>,
}

impl Session {
    pub fn new(setup: Setup, now: Instant) -> Self {
        let deadline = now + setup.settings.start_timeout;
        let mut session = Self {
            infohash: setup.infohash,
            is_claimed: setup.is_claimed,
            target: setup.target,
            settings: setup.settings,
            prng: Prng::new(setup.seed),
            born: now,
            generation: Generation::default(),
            state: State::Initializing,
            asking: None,
            search: Some(Search::new(now, deadline)),
            reopening: None,
            attempt: None,
            rival: None,
            leaving: None,
            hedged: false,
            stops: Stops::default(),
            audience: Audience::new(now),
            flow: Flow {
                first_packet_at: None,
                last_byte_at: now,
                bytes_total: 0,
                paused_since: None,
                access_point: false,
            },
            health: Health::default(),
            budget: Budget::default(),
            contest: setup.contest,
            ending: None,
            warm_until: Instant::ZERO,
            names: BTreeMap::new(),
            told: Told::default(),
            outputs: VecDeque::new(),
            over: false,
        };
        session.come_to_rest(now);
        session
    }

    /// Outputs are drained until `None` before the next input.
    pub fn handle(&mut self, input: Input, now: Instant) {
        if self.over {
            return;
        }
        self.dispatch(input, now);
        self.come_to_rest(now);
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        [
            self.search_deadline(),
            self.lifeless_deadline(),
            self.rival_deadline(),
            self.attempt.as_ref().and_then(Attempt::deadline),
            self.asking.map(|asking| asking.deadline),
            self.stops.deadline(),
            self.silence_deadline(),
            self.grace_deadline(),
            self.ending.as_ref().and_then(|ending| ending.ask_again_at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.over {
            self.come_to_rest(now);
        }
    }

    fn dispatch(&mut self, input: Input, now: Instant) {
        match input {
            Input::Granted { generation, engine, reservation, name } => {
                self.on_granted(generation, engine, reservation, name, now);
            }
            Input::Denied { generation, no_engine, text, retry_after } => {
                self.on_denied(generation, no_engine, &text, retry_after, now);
            }
            Input::Opened { generation, opened } => self.on_opened(generation, opened, now),
            Input::OpenFailed { generation, failure } => {
                self.on_open_failed(generation, &failure, now);
            }
            Input::Claimed { generation } => self.on_claimed(generation, now),
            Input::MergeInto { generation, infohash, adopted } => {
                self.on_merge_into(generation, infohash, adopted, now);
            }
            Input::Adopt { engine, reservation, name, opened } => {
                self.on_adopt(engine, reservation, name, opened, now);
            }
            Input::PlayHead { generation } => self.on_play_head(generation),
            Input::PlayFailed { generation, failure }
            | Input::BodyEnded { generation, failure } => {
                self.on_play_over(generation, &failure, now);
            }
            Input::Bytes { generation, n } => self.on_bytes(generation, n, now),
            Input::AccessPoint { generation } => self.on_access_point(generation, now),
            Input::Stat { generation, facts } => self.on_stat(generation, facts, now),
            Input::StatFailed { generation, failure } => {
                self.on_stat_failed(generation, &failure, now);
            }
            Input::Status { generation, answers } => self.on_status(generation, answers, now),
            Input::Staged { generation } => self.on_staged(generation, now),
            Input::StopDone { generation, outcome } => self.on_stop_done(generation, outcome, now),
            Input::Attached { shard, count, waiting } => {
                self.on_attached(shard, count, waiting, now);
            }
            Input::Viewers { shard, count, waiting } => {
                self.on_viewers(shard, count, waiting, now);
            }
            Input::Idle { shard, close_generation } => self.on_idle(shard, close_generation, now),
            Input::Busy { shard: _, close_generation } => self.on_busy(close_generation, now),
            Input::ShardLost { shard } => self.on_shard_lost(shard, now),
            Input::Tenure(tenure) => self.on_tenure(tenure, now),
            Input::Inherited => self.on_inherited(now),
            Input::ClaimLost { generation } => self.on_claim_lost(generation),
            Input::Warm { until } => self.warm_until = until,
            Input::Kick { reason } => self.on_kick(reason, now),
            Input::Move { to } => self.on_move(to, now),
            Input::Leave { engine } => self.on_leave(engine, now),
            Input::Stay { engine } => self.on_stay(engine, now),
            Input::Ready { generation } => self.on_ready(generation, now),
            Input::Drain => self.on_drain(now),
            Input::RingFull => self.on_ring_full(now),
            Input::RingResumed => self.on_ring_resumed(now),
        }
    }

    /// Fires what is due until nothing is, then says what has changed.
    fn come_to_rest(&mut self, now: Instant) {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "timers do not come to rest in {:?}", self.state);
            self.fire_stops(now);
            self.fire_search(now);
            self.fire_attempt(now);
            self.fire_lifeless(now);
            self.fire_rival(now);
            self.fire_silence(now);
            self.fire_grace(now);
            self.end_if_over();
            if self.poll_timeout().is_none_or(|at| at > now) {
                break;
            }
        }
        self.tell();
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn tell(&mut self) {
        let state = (self.state, self.redis_state());
        if self.told.state != Some(state) {
            self.told.state = Some(state);
            // Before `Ended`, which is the last word.
            let at = self.outputs.len() - usize::from(self.over);
            self.outputs.insert(at, Output::State { state: state.0, redis: state.1 });
        }
        if self.ending.is_some() || (self.search.is_none() && self.flow.access_point) {
            return;
        }
        let answer = self.timeout_answer();
        if self.told.wait_answer.as_ref() != Some(&answer) {
            self.told.wait_answer = Some(answer.clone());
            self.emit(Output::WaitAnswer(answer));
        }
    }

    fn emit(&mut self, output: Output) {
        debug_assert!(!self.over, "nothing is said after Ended: {output:?}");
        self.outputs.push_back(output);
    }

    const fn next_generation(&mut self) -> Generation {
        self.generation = self.generation.next();
        self.generation
    }

    fn answer(&self, code: Code, message: String, engine: Option<EngineId>) -> Answer {
        let engine = engine.and_then(|engine| self.names.get(&engine).cloned());
        Answer { code, message, engine, retry_after_s: code.retry_after_s() }
    }

    pub fn check_invariants(&self) {
        self.audience.check_invariants();
        if let Some(attempt) = &self.attempt {
            attempt.check_invariants();
        }
        if self.over {
            assert!(self.attempt.is_none() && self.asking.is_none() && self.stops.is_empty());
            assert!(matches!(self.state, State::Stopped | State::Error));
            return;
        }
        match (&self.search, &self.ending) {
            (Some(search), None) => {
                let waits = usize::from(search.next_at.is_some())
                    + usize::from(self.asking.is_some_and(|asking| asking.rival.is_none()))
                    + usize::from(self.attempt.is_some());
                assert_eq!(waits, 1, "a search waits for one thing");
            }
            (None, None) => {
                let attempt = self.attempt.as_ref().expect("bytes come from an attempt");
                assert!(matches!(attempt.phase, Phase::Body(_)), "{:?}", attempt.phase);
                assert!(self.flow.first_packet_at.is_some());
            }
            (None, Some(ending)) => {
                assert_eq!(ending.lingering, self.attempt.is_some());
                assert!(self.attempt.as_ref().is_none_or(Attempt::is_uncertain));
                assert_eq!(self.state, State::Draining);
            }
            (Some(_), Some(_)) => panic!("an end searches for nothing"),
        }
        self.check_rival();
        if let Some(attempt) = &self.attempt {
            assert!(!self.stops.holds(attempt.reservation), "one reservation, one holder");
        }
    }
}

/// What the shard, the API and the mirror ask.
impl Session {
    pub const fn state(&self) -> State {
        self.state
    }

    pub fn redis_state(&self) -> &'static str {
        self.state.redis(self.audience.viewers())
    }

    /// False: the stream is ending for good. Newcomers are held back until `Ended`, then they get
    /// a new session.
    pub fn accepts_viewers(&self) -> bool {
        !self.over && self.ending.as_ref().is_none_or(|ending| ending.may_revive())
    }

    pub const fn infohash(&self) -> Infohash {
        self.infohash
    }

    pub fn last_stat_text(&self) -> String {
        self.health.text()
    }

    /// What a viewer is told whose `PROXY_INIT_TIMEOUT` runs out now.
    pub fn timeout_answer(&self) -> Answer {
        let Some(search) = &self.search else {
            let message = "bytes flow, but no picture has come yet: try again".to_owned();
            return self.answer(Code::NothingToPlay, message, self.engine());
        };
        let (code, message) = search.wait_answer(self.health.text());
        let blamed = search.trouble.as_ref().map(|trouble| trouble.engine);
        self.answer(code, message, self.engine().or(blamed))
    }

    pub fn engine(&self) -> Option<EngineId> {
        self.attempt.as_ref().map(|attempt| attempt.engine)
    }

    pub fn engine_name(&self) -> Option<&str> {
        self.attempt.as_ref().map(|attempt| attempt.name.as_str())
    }

    /// The pool's, for who hands the session over to another stream.
    pub fn reservation(&self) -> Option<u64> {
        self.attempt.as_ref().map(|attempt| attempt.reservation)
    }

    /// All that it holds.
    pub fn reservations(&self) -> impl Iterator<Item = u64> {
        let rival = self.rival.as_ref().map(|rival| rival.attempt.reservation);
        self.reservation().into_iter().chain(rival).chain(self.stops.reservations())
    }

    pub fn opened(&self) -> Option<&Opened> {
        self.attempt.as_ref().and_then(|attempt| attempt.opened.as_ref())
    }

    pub const fn stat(&self) -> Option<&StatFacts> {
        self.health.facts.as_ref()
    }

    /// For the next stream of the content.
    pub const fn contest(&self) -> &Contest {
        &self.contest
    }

    pub fn viewers(&self) -> u32 {
        self.audience.viewers()
    }

    pub fn waiting(&self) -> u32 {
        self.audience.waiting()
    }

    /// An operator wants it until then.
    pub const fn warm_until(&self) -> Instant {
        self.warm_until
    }

    pub const fn started_at(&self) -> Instant {
        self.born
    }

    pub const fn first_packet_at(&self) -> Option<Instant> {
        self.flow.first_packet_at
    }

    pub const fn bytes_total(&self) -> u64 {
        self.flow.bytes_total
    }

    /// Sessions that died under their viewers.
    pub const fn failovers(&self) -> u32 {
        self.budget.total
    }

    /// The broadcast stands still while bytes flow.
    pub const fn frozen(&self) -> bool {
        self.health.frozen
    }
}

#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a test picks the one output that it is about")]
mod tests;
