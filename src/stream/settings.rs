//! What a session is made from.

use std::time::Duration;

use super::search::Contest;
use crate::base::ids::Infohash;
use crate::base::ids::Target;

pub struct Setup {
    /// What the stream is registered as: resolved, or provisional until the engine says it.
    pub infohash: Infohash,
    /// How an engine is asked to open it.
    pub target: Target,
    /// The directory knows the stream by its infohash. Otherwise that is claimed when the engine has
    /// said what it is.
    pub is_claimed: bool,
    /// Player ids are derived from it: unique for each start, because an engine takes two players
    /// of one id for one.
    pub seed: u64,
    pub settings: Settings,
    /// What the last stream of the content knew of others that want it.
    pub contest: Contest,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// `RINGCAST_START_TIMEOUT`
    pub start_timeout: Duration,
    /// `RINGCAST_STALL_TIMEOUT`
    pub stall_timeout: Duration,
    /// `RINGCAST_OUTAGE_TIMEOUT`
    pub outage_timeout: Duration,
    /// `PROXY_INIT_TIMEOUT`: run by each viewer's shard, known here for the words only.
    pub init_timeout: Duration,
    /// `PROXY_GRACE_PERIOD`
    pub grace_period: Duration,
    /// `RINGCAST_HEDGE_AFTER`
    pub hedge_after: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            start_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(20),
            outage_timeout: Duration::from_secs(90),
            init_timeout: Duration::from_secs(30),
            grace_period: Duration::from_secs(5),
            hedge_after: None,
        }
    }
}
