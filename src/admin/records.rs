//! The records of the API, with the field names that its users rely on, and the list envelope.
//!
//! Times are unix seconds. A value that nobody knows yet is null, never 0.

use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;

/// `GET /api/v1/status`
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StatusRecord {
    pub version: String,
    pub uptime_seconds: u64,
    pub shards: usize,
    pub send_path: String,
    pub streams: u64,
    pub viewers: u64,
    pub engines: u64,
    pub engine_sessions: u64,
    pub bytes_in_total: u64,
    pub bytes_out_total: u64,
    pub redis: RedisRecord,
    pub memory: MemoryRecord,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RedisRecord {
    pub state: RedisState,
    pub lag_ms: u64,
    pub dropped_total: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisState {
    /// Not configured.
    #[default]
    Off,
    Connecting,
    Up,
    Down,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryRecord {
    pub budget_bytes: u64,
    pub ring_bytes: u64,
    pub twin_bytes: u64,
    pub viewer_bytes: u64,
}

/// A row of `GET /api/v1/streams`
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StreamRecord {
    /// The infohash.
    pub id: String,
    pub content_id: Option<String>,
    pub state: &'static str,
    pub engine: Option<String>,
    pub viewers: u64,
    pub bitrate_bps: Option<u64>,
    pub ring_seconds: f64,
    pub ring_bytes: u64,
    pub head_offset: u64,
    pub started_at: f64,
    pub failovers: u64,
    pub discontinuities: u64,
    /// The broadcast has stopped moving, or is a recording, while bytes flow.
    pub frozen: bool,
    pub peers: Option<u64>,
    pub speed_down_kbps: Option<u64>,
    pub lease: LeaseRecord,
}

/// Who owns the stream among several nodes; epoch 0 is "nobody asked".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeaseRecord {
    pub owner: Option<String>,
    pub epoch: u64,
}

/// A row of `GET /api/v1/viewers`
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ViewerRecord {
    pub id: String,
    /// The play token's name.
    pub name: Option<String>,
    pub stream: String,
    /// Null when `RINGCAST_LOG_ADDRESSES` is off.
    pub address: Option<String>,
    pub user_agent: String,
    pub protocol: &'static str,
    pub shard: u8,
    pub send_path: &'static str,
    pub connected_at: f64,
    pub bytes_sent: u64,
    pub rate_bps: u64,
    pub seconds_behind: f64,
    pub skips: u64,
    pub rwnd_limited_ms: u64,
}

/// A row of `GET /api/v1/engines`
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EngineRecord {
    pub id: String,
    pub host: String,
    pub port: u16,
    /// The SPEC that it came from.
    pub source: String,
    pub state: EngineState,
    pub forwarded: bool,
    pub sessions: u64,
    pub max_sessions: Option<u64>,
    pub version: Option<String>,
    pub last_answer_at: Option<f64>,
    pub failures: u64,
    /// It failed three times in a row: others are chosen first for a while.
    pub rest: Option<RestRecord>,
    pub last_error: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RestRecord {
    pub until: f64,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineState {
    #[default]
    Unknown,
    Up,
    Down,
    Draining,
}

/// A row of `GET /api/v1/offline`: an id that is not tried again before `until`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OfflineRecord {
    pub id: String,
    /// What it was asked for as, where that is another id.
    pub content_id: Option<String>,
    pub reason: String,
    pub since: f64,
    pub until: f64,
    pub failures: u64,
}

/// `{"viewers":[…],"total":n,"after":null}`; `total` counts all rows, not only these.
pub fn list<T: Serialize>(name: &str, rows: &[T], total: usize, after: Option<&str>) -> String {
    one(&List { name, rows, total, after })
}

pub fn one<T: Serialize>(record: &T) -> String {
    serde_json::to_string(record).expect("records are maps with text keys")
}

struct List<'a, T> {
    name: &'a str,
    rows: &'a [T],
    total: usize,
    after: Option<&'a str>,
}

impl<T: Serialize> Serialize for List<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry(self.name, self.rows)?;
        map.serialize_entry("total", &self.total)?;
        map.serialize_entry("after", &self.after)?;
        map.end()
    }
}
