//! What shards tell the mirror: values, complete in themselves, so that the last one wins.
//!
//! A refresh of a viewer allocates nothing on its shard; a join, an end and a stream's facts do,
//! and are control work.

use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;
use crate::base::time::Wall;

#[derive(Clone, PartialEq, Debug)]
pub enum Record {
    /// Everything about a stream that runs on the telling shard, when something of it changed and
    /// on every refresh.
    Stream(Box<StreamFacts>),
    /// It is over, with what there was to say at last.
    StreamOver(Box<StreamOver>),
    /// Its session died; the next facts name the engine that it went on with.
    Failover {
        infohash: Infohash,
        from: String,
        reason: &'static str,
    },
    /// A viewer that came, or one that is told again because the mirror asked for everything.
    Viewer(Box<ViewerFacts>),
    ViewerStats(ViewerStats),
    ViewerGone(Box<ViewerGone>),
    /// The names of the engines that the pool knows.
    Engines(Vec<String>),
    /// The shard has told everything that it has, as it was asked to.
    Synced {
        generation: u32,
    },
}

#[derive(Clone, PartialEq, Debug)]
pub struct StreamFacts {
    pub infohash: Infohash,
    /// When it was asked for by one.
    pub content_id: Option<Infohash>,
    /// One of the schema's words.
    pub state: &'static str,
    pub state_changed_at: Wall,
    pub started_at: Wall,
    /// When the first packet came.
    pub ready_at: Option<Wall>,
    pub last_byte_at: Option<Wall>,
    pub engine: Option<EngineFacts>,
    pub is_live: bool,
    pub is_encrypted: bool,
    pub bitrate_bps: Option<u64>,
    pub bytes_total: u64,
    pub peers: Option<u32>,
    pub told_at: Wall,
}

/// The engine that plays a stream, and the session there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EngineFacts {
    pub id: String,
    /// Where it is asked, without the port.
    pub host: String,
    pub port: u16,
    pub forwarded: bool,
    pub playback_session_id: String,
    pub stat_url: String,
    pub command_url: String,
}

#[derive(Clone, PartialEq, Debug)]
pub struct StreamOver {
    pub facts: StreamFacts,
    /// Why, in a word of the log.
    pub reason: &'static str,
    /// What an engine or the end had to say, if the stream failed.
    pub error: Option<String>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ViewerFacts {
    pub stats: ViewerStats,
    /// As `RINGCAST_LOG_ADDRESSES` allows.
    pub address: Option<String>,
    pub agent: String,
    /// The play token's name.
    pub name: Option<String>,
    pub connected_at: Wall,
    /// It has just come; else it is told again.
    pub is_new: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ViewerStats {
    pub id: ViewerId,
    pub infohash: Infohash,
    /// When its socket last acknowledged a byte.
    pub last_active: Wall,
    pub bytes_sent: u64,
    pub behind_ms: u64,
    pub updated_at: Wall,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ViewerGone {
    pub id: ViewerId,
    pub infohash: Infohash,
    pub agent: String,
    pub reason: &'static str,
    pub bytes_sent: u64,
    pub seconds: f64,
    pub at: Wall,
}
