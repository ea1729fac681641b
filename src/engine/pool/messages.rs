//! What goes into the pool and what comes out of it: plain values, no behaviour.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::breaker::Rest;
use super::health::EngineState;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::ids::ShardId;
use crate::base::time::Instant;
use crate::engine::orchestrator::List;
use crate::engine::reply::Failure;
use crate::engine::reply::Status;
use crate::engine::spec::OrchestratorUrl;
use crate::engine::spec::Spec;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolConfig {
    /// `RINGCAST_MAX_STREAMS_PER_ENGINE`; 0 = no limit but an engine's own `max=`.
    pub streams_per_engine_max: u32,
    pub engines_max: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self { streams_per_engine_max: 0, engines_max: 512 }
    }
}

/// A place on an engine, held from before the request is sent until the session has ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Reservation(pub u64);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    Session,
    /// A session that could be done without: only while half of the usable engines have none.
    Spare,
    /// A question without a session: it counts against nothing and does not turn the order, so
    /// that the session that follows finds the same engine, now warm.
    Query,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Select {
    /// Comes back in the answer.
    pub token: u64,
    pub owner: ShardId,
    /// For the reader of the rows; it does not decide.
    pub stream: Option<Infohash>,
    pub need: Need,
    pub exclude: Vec<EngineId>,
    /// Taken before its equals: the engine that already has the content.
    pub prefer: Option<EngineId>,
    /// Taken only when there is no other.
    pub prefer_not: Option<EngineId>,
    /// Equal engines in an order that is drawn from this, instead of by when they were chosen last:
    /// nodes that do not know of each other then often begin apart.
    pub order: Option<u64>,
    pub only: Option<EngineId>,
}

impl Select {
    /// Any engine will do.
    pub fn any(token: u64, owner: ShardId, need: Need) -> Self {
        Self {
            token,
            owner,
            stream: None,
            need,
            exclude: Vec::new(),
            prefer: None,
            prefer_not: None,
            order: None,
            only: None,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Input {
    Configure(Vec<Spec>),
    /// Beside the configured ones, until the process ends.
    Add(Vec<Spec>),
    /// Whatever names it: it is taken out until it is added, or configured anew.
    Remove {
        engine: EngineId,
    },
    Limits(PoolConfig),
    Resolved {
        name: String,
        result: Result<Vec<IpAddr>, String>,
    },
    OrchestratorList {
        url: OrchestratorUrl,
        result: Result<List, String>,
    },
    FileList {
        path: String,
        result: Result<Vec<Spec>, String>,
    },
    ProbeDone {
        engine: EngineId,
        generation: Generation,
        result: Result<Status, Failure>,
    },
    Select(Select),
    Release {
        reservation: Reservation,
    },
    /// A shard died with everything it held, but for what goes on.
    ReleaseAll {
        owner: ShardId,
        kept: Vec<Reservation>,
    },
    /// A stream of that shard has it from here on.
    Pass {
        reservation: Reservation,
        to: ShardId,
    },
    /// A session or a query found no connection.
    ConnectFailed {
        engine: EngineId,
        address: SocketAddr,
    },
    /// What was seen of it: `Ok` when it answered, which proves that it lives and no more.
    Outcome {
        engine: EngineId,
        result: Result<(), Failure>,
    },
    /// A session on it has given its first bytes of a stream.
    Media {
        engine: EngineId,
    },
    /// A body of it has fallen silent, which may be the broadcast's fault: it is asked whether it lives.
    Quiet {
        engine: EngineId,
    },
    Drain {
        engine: EngineId,
        draining: bool,
    },
    /// An operator trusts it again.
    EndRest {
        engine: EngineId,
    },
    /// Sessions of other nodes by the engine's name, as far as they are known; none of those that are
    /// not named.
    Elsewhere(BTreeMap<String, u32>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    Resolve {
        name: String,
    },
    FetchOrchestrator {
        url: OrchestratorUrl,
        address: SocketAddr,
        deadline: Instant,
    },
    WatchFile {
        path: String,
    },
    UnwatchFile {
        path: String,
    },
    /// `request::status()`, answered by [`Input::ProbeDone`] with the same generation.
    Probe {
        engine: EngineId,
        generation: Generation,
        address: SocketAddr,
        host_header: Arc<str>,
        deadline: Instant,
    },
    Granted(Granted),
    Denied {
        token: u64,
        owner: ShardId,
        reason: Denied,
        retry_after: Duration,
    },
    EngineUp {
        engine: EngineId,
        name: Arc<str>,
        version: Option<String>,
    },
    EngineDown {
        engine: EngineId,
        name: Arc<str>,
        reason: String,
    },
    /// The engine is to be left by what this shard has on it.
    Vacate {
        engine: EngineId,
        owner: ShardId,
    },
    /// It need not be left any more.
    Stay {
        engine: EngineId,
        owner: ShardId,
    },
    /// A source that fails or an engine that cannot be used: once, until it changes.
    Warning {
        text: String,
    },
    /// [`Pool::rows`] would answer differently.
    Changed,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Granted {
    pub token: u64,
    pub owner: ShardId,
    pub engine: EngineId,
    pub name: Arc<str>,
    pub address: SocketAddr,
    pub host_header: Arc<str>,
    pub forwarded: bool,
    /// None for a query.
    pub reservation: Option<Reservation>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// None is known.
    NoEngine,
    /// All are down or draining.
    NoUsableEngine,
    /// Only excluded ones are usable.
    OnlyExcluded,
    /// Too few have nothing to do, for a session that could be done without.
    NoneToSpare,
    /// The setting is the one that the viewer's 503 names.
    AllAtLimit { setting: &'static str },
}

/// One engine, for the API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineRow {
    pub id: EngineId,
    pub name: Arc<str>,
    pub host: String,
    pub port: u16,
    pub address: Option<SocketAddr>,
    /// The SPEC that it comes from.
    pub source: String,
    pub forwarded: bool,
    pub max: Option<u32>,
    pub sessions: u32,
    pub state: EngineState,
    pub reason: Option<String>,
    pub version: Option<String>,
    pub last_ok: Option<Instant>,
    pub draining: bool,
    /// It failed what was asked of it, three times in a row, and has given no bytes since.
    pub rest: Option<Rest>,
    pub chosen_total: u64,
    pub failures_total: u64,
}
