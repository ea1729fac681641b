//! What a session orders and tells. The shard carries it out and answers with the same
//! generation.
//!
//! Invariants (the tests' oracles): each `Granted` is released exactly once or handed over; each
//! `Opened` gets exactly one `Stop` unless it was superseded or handed over, and exactly one
//! `SessionOver` unless it was handed over; `Ended` is the last output.

use std::time::Duration;

use super::audience::ShardSet;
use super::moving::Purpose;
use super::state::State;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::ids::Target;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Ask the pool for an engine outside of `exclude`.
    Select {
        generation: Generation,
        exclude: Vec<EngineId>,
        prefer: Option<EngineId>,
        wish: Wish,
    },
    Release {
        reservation: u64,
    },
    Open {
        generation: Generation,
        engine: EngineId,
        target: Target,
        pid: String,
    },
    /// The engine's infohash is not the one that we are registered as.
    Claim {
        generation: Generation,
        engine: EngineId,
        infohash: Infohash,
    },
    /// Sent and forgotten.
    SetActivityTimeout {
        generation: Generation,
        engine: EngineId,
        path: String,
    },
    Play {
        generation: Generation,
        engine: EngineId,
        path: String,
    },
    /// As `Play`, beside the one that plays: its bytes wait outside of the ring. When they can be
    /// played, `Ready` says so.
    PlayAside {
        generation: Generation,
        engine: EngineId,
        path: String,
    },
    /// The bytes of this `PlayAside` follow those in the ring from here on, and the other body is
    /// closed.
    Promote {
        generation: Generation,
    },
    /// The bytes of this `Play` follow other bytes in the ring.
    Splice {
        generation: Generation,
    },
    /// Nothing more of this `Play` is wanted, whether its head has come or not.
    CloseBody {
        generation: Generation,
    },
    PollStat {
        generation: Generation,
        engine: EngineId,
        path: String,
    },
    /// Whether the engine lives.
    AskStatus {
        generation: Generation,
        engine: EngineId,
    },
    /// An empty path cannot be asked: answer `StopDone` at once.
    Stop {
        generation: Generation,
        engine: EngineId,
        path: String,
        unless_replaced: Option<UnlessReplaced>,
    },
    SessionOver {
        generation: Generation,
        engine: EngineId,
        outcome: Outcome,
    },
    State {
        state: State,
        redis: &'static str,
    },
    /// What a viewer is told whose `PROXY_INIT_TIMEOUT` runs out from now on.
    WaitAnswer(Answer),
    /// Answer every waiting viewer on every shard.
    Refuse(Answer),
    /// End the ring and every started viewer.
    CloseViewers(CloseReason),
    /// Waiting viewers join that stream instead.
    MoveViewers {
        infohash: Infohash,
    },
    /// Each of these shards answers `Idle` or `Busy`, also one without a handle.
    MayClose {
        close_generation: Generation,
        shards: ShardSet,
    },
    MarkOffline(Answer),
    ClearOffline,
    StartLog {
        engine_name: String,
        first_packet_ms: u64,
    },
    FailLog {
        engine_name: Option<String>,
        after: Duration,
        answer: u16,
        reason: String,
    },
    Failover {
        from: EngineId,
        reason: &'static str,
    },
    /// A second session that was wanted came to nothing.
    RivalFailed {
        purpose: Purpose,
        /// None when no engine was granted.
        engine: Option<EngineId>,
        reason: String,
    },
    /// One log line: another player opens the same content on that engine.
    EngineTakenOver {
        engine: EngineId,
    },
    /// The broadcast has stopped moving while bytes flow, or moves again.
    Frozen(bool),
    /// No engine holds anything of ours any more, and nobody joins: the next stream of the content
    /// may start, though viewers who are behind still read this one's ring. Once, before `Ended`.
    LetGo,
    Ended,
}

/// Which engine would do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    Any,
    /// That one, or none.
    Only(EngineId),
    /// One that nobody else will miss: half of the engines must have nothing to do.
    Spare,
}

/// Ask there first: when the session that plays is another one, ours was superseded and is not
/// stopped. Without a clear answer it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnlessReplaced {
    pub stat_path: String,
    pub playback_session_id: String,
}

/// How a playback session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The engine confirmed the stop.
    Stopped,
    /// Replaced on the same engine: a stop would have killed the successor.
    Superseded,
    /// The engine does not know it any more, or did not confirm the stop.
    Lost,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Superseded => "superseded",
            Self::Lost => "lost",
        }
    }
}

/// An error answer for a viewer that has not started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub code: Code,
    pub message: String,
    /// The engine's name.
    pub engine: Option<String>,
    pub retry_after_s: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    NotLive,
    Encrypted,
    HlsSource,
    EngineRefused,
    NoEngine,
    NoCapacity,
    NoMemory,
    ShuttingDown,
    NothingToPlay,
}

impl Code {
    pub const fn status(self) -> u16 {
        match self {
            Self::NotLive | Self::Encrypted | Self::HlsSource => 415,
            Self::EngineRefused => 502,
            Self::NoEngine | Self::NoCapacity | Self::NoMemory | Self::ShuttingDown => 503,
            Self::NothingToPlay => 504,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotLive => "not_live",
            Self::Encrypted => "encrypted",
            Self::HlsSource => "hls_source",
            Self::EngineRefused => "engine_refused",
            Self::NoEngine => "no_engine",
            Self::NoCapacity => "no_capacity",
            Self::NoMemory => "no_memory",
            Self::ShuttingDown => "shutting_down",
            Self::NothingToPlay => "nothing_to_play",
        }
    }

    /// 415 is for ever; what is tried again should wait for as long as a mark or a backoff lasts.
    pub(super) const fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::NotLive | Self::Encrypted | Self::HlsSource => None,
            Self::EngineRefused | Self::NothingToPlay => Some(10),
            Self::NoEngine | Self::NoCapacity | Self::NoMemory | Self::ShuttingDown => Some(5),
        }
    }
}

/// Why the started viewers of a stream are closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    EngineGone,
    Unstable,
    Contended,
    TakenOver,
    Kicked,
    Drain,
    Error,
}

impl CloseReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EngineGone => "engine_gone",
            Self::Unstable => "unstable",
            Self::Contended => "contended",
            Self::TakenOver => "taken_over",
            Self::Kicked => "kicked",
            Self::Drain => "drain",
            Self::Error => "error",
        }
    }
}
