//! What a session is told. Engine facts come as plain values: how they were read off a wire is
//! somebody else's business.
//!
//! Every answer echoes the generation of the order that it answers; a late or double answer may
//! be fed at any time and is recognised by it.

use std::time::Duration;

use super::output::CloseReason;
use super::output::Outcome;
use super::output::UnlessReplaced;
use super::search::Tenure;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::ids::ShardId;
use crate::base::time::Instant;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Answers `Select`: the pool lends an engine. The reservation goes back by `Release`.
    Granted {
        generation: Generation,
        engine: EngineId,
        reservation: u64,
        name: String,
    },
    /// Answers `Select`. `no_engine`: none is usable at all; otherwise a limit said no, and
    /// `text` names its setting.
    Denied {
        generation: Generation,
        no_engine: bool,
        text: String,
        retry_after: Duration,
    },
    Opened {
        generation: Generation,
        opened: Opened,
    },
    OpenFailed {
        generation: Generation,
        failure: Failure,
    },
    /// Answers `Claim`: no other stream has that infohash, it is ours from now on.
    Claimed {
        generation: Generation,
    },
    /// Answers `Claim`: a stream with that infohash runs. `adopted`: it runs on the same engine,
    /// where our opening superseded its session, and has taken ours over with its reservation.
    MergeInto {
        generation: Generation,
        infohash: Infohash,
        adopted: bool,
    },
    /// Told to the stream that runs: another open on our engine superseded our session.
    Adopt {
        engine: EngineId,
        reservation: u64,
        name: String,
        opened: Opened,
    },
    /// The head of the body is here: 200.
    PlayHead {
        generation: Generation,
    },
    PlayFailed {
        generation: Generation,
        failure: Failure,
    },
    /// Bytes came; once per turn.
    Bytes {
        generation: Generation,
        n: u64,
    },
    /// The first random access point of the stream is in the ring.
    AccessPoint {
        generation: Generation,
    },
    BodyEnded {
        generation: Generation,
        failure: Failure,
    },
    Stat {
        generation: Generation,
        facts: StatFacts,
    },
    StatFailed {
        generation: Generation,
        failure: Failure,
    },
    /// Answers `AskStatus`.
    Status {
        generation: Generation,
        answers: bool,
    },
    /// Bytes came that are not in the ring yet: the session is being spliced.
    Staged {
        generation: Generation,
    },
    /// Answers `Stop`.
    StopDone {
        generation: Generation,
        outcome: Outcome,
    },
    /// A handle on the ring goes to this shard, for so many viewers that it told of: the shard is
    /// subscribed until it says `Idle` to a younger question, or is lost.
    Attached {
        shard: ShardId,
        count: u32,
        waiting: u32,
    },
    /// How many viewers a subscribed shard has of this stream, and how many have not started.
    Viewers {
        shard: ShardId,
        count: u32,
        waiting: u32,
    },
    /// Answers `MayClose`: the shard has no viewer and has dropped its handle.
    Idle {
        shard: ShardId,
        close_generation: Generation,
    },
    /// Answers `MayClose`: the shard has a viewer after all.
    Busy {
        shard: ShardId,
        close_generation: Generation,
    },
    ShardLost {
        shard: ShardId,
    },
    /// What is known of the stream's lease has changed.
    Tenure(Tenure),
    /// The shard that carried the orders out is lost, and we are with its heir: what was asked is
    /// not answered any more, and every connection is broken.
    Inherited,
    /// The claim was lost with the shard that had it in hand.
    ClaimLost {
        generation: Generation,
    },
    /// An operator wants another engine, the viewers staying: `to` that one.
    Move {
        to: Option<EngineId>,
    },
    /// That engine is being drained: if it is ours it is left as soon as another one can follow.
    Leave {
        engine: EngineId,
    },
    /// It is not any more.
    Stay {
        engine: EngineId,
    },
    /// Enough of a `PlayAside` has come to be played behind what is in the ring.
    Ready {
        generation: Generation,
    },
    /// The stream goes on until then, though nobody watches it. The last word counts.
    Warm {
        until: Instant,
    },
    /// An operator ends the stream.
    Kick {
        reason: CloseReason,
    },
    /// The process ends.
    Drain,
    /// Reading is paused on our side: silence is ours, not the engine's.
    RingFull,
    RingResumed,
}

/// A playback session that an engine opened. Paths begin with `/`; an empty one is absent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    pub infohash: Infohash,
    pub playback_session_id: String,
    pub playback_path: String,
    pub stat_path: String,
    pub command_path: String,
    pub live: bool,
    pub encrypted: bool,
    pub hls: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StatFacts {
    pub status: String,
    pub peers: u32,
    pub downloaded: u64,
    pub speed_down_kbps: u64,
    pub progress_percent: Option<u8>,
    /// Unix seconds of the newest piece of the broadcast.
    pub live_last: Option<u64>,
    /// How old that is by our own clock.
    pub live_age: Option<Duration>,
    pub playback_session_id: Option<String>,
}

impl Opened {
    /// What is not relayed, whatever the engine makes of it.
    pub(super) const fn is_playable(&self) -> bool {
        self.live && !self.encrypted && !self.hls
    }

    /// What tells whether another session has taken this one's place, if anything does.
    pub fn unless_replaced(&self) -> Option<UnlessReplaced> {
        let known = !self.stat_path.is_empty() && !self.playback_session_id.is_empty();
        known.then(|| UnlessReplaced {
            stat_path: self.stat_path.clone(),
            playback_session_id: self.playback_session_id.clone(),
        })
    }
}

/// How a session is left. A stop of one that was replaced would end its successor, the content
/// being the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parting {
    Stop,
    /// It ended without a reason: that may have been another session of the content.
    AskThenStop,
    Superseded,
}

/// Why an engine did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No connection: refused, unreachable, unresolvable.
    Refused,
    /// No connection for want of something of ours, in words that name the setting: nobody's fault
    /// but ours.
    Lack(&'static str),
    /// Connected, and no answer in time.
    Silent,
    /// 500 `start timeout`, `download not found`, `failed to start`.
    Prebuffering(String),
    /// The engine's error about the content.
    Content(String),
    /// Any other error of the engine, a reply that cannot be understood included.
    Engine(String),
    /// 403, `got newer download`: somebody else opened the same content on that engine.
    TakenOver(String),
    /// Two status lines in a row: somebody else reads our session.
    MalformedHead,
    /// The end of the body, in whichever way.
    Cut,
    /// The shard that read it is lost: nobody's fault but ours.
    ShardLost,
    /// `unknown playback session id`, any other 404 or 500.
    Gone(String),
}

impl Failure {
    /// Every label, so that a graph begins before the first event.
    pub const NAMES: [&str; 12] = [
        "refused",
        "lack",
        "silent",
        "prebuffering",
        "content",
        "engine",
        "taken_over",
        "malformed_head",
        "cut",
        "shard_lost",
        "gone",
        "moved",
    ];

    /// The label of metrics and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Lack(_) => "lack",
            Self::Silent => "silent",
            Self::Prebuffering(_) => "prebuffering",
            Self::Content(_) => "content",
            Self::Engine(_) => "engine",
            Self::TakenOver(_) => "taken_over",
            Self::MalformedHead => "malformed_head",
            Self::Cut => "cut",
            Self::ShardLost => "shard_lost",
            Self::Gone(_) => "gone",
        }
    }

    /// The words that a viewer is told: the engine's own where it said any.
    pub fn text(&self) -> &str {
        match self {
            Self::Refused => "the engine refused the connection",
            Self::Lack(text) => text,
            Self::Silent => "the engine did not answer",
            Self::MalformedHead => "another reader is on the engine's session",
            Self::Cut => "the engine closed the connection",
            Self::ShardLost => "the shard that had it in hand panicked",
            Self::Prebuffering(text)
            | Self::Content(text)
            | Self::Engine(text)
            | Self::TakenOver(text)
            | Self::Gone(text) => text,
        }
    }

    /// What we lacked, when that is what it was.
    pub(super) const fn lack(&self) -> Option<&'static str> {
        if let Self::Lack(text) = self { Some(*text) } else { None }
    }

    pub(super) const fn parting(&self) -> Parting {
        match self {
            Self::TakenOver(_) => Parting::Superseded,
            Self::Cut | Self::ShardLost | Self::Gone(_) => Parting::AskThenStop,
            Self::Refused
            | Self::Lack(_)
            | Self::Silent
            | Self::Prebuffering(_)
            | Self::Content(_)
            | Self::Engine(_)
            | Self::MalformedHead => Parting::Stop,
        }
    }
}
