//! The reply of a `stat_url`: how a session does. Every member may be missing, and the very first
//! reply has none; nothing here is an error but what the engine itself calls one.

use serde_json::Value;

use super::failure::Failure;
use super::failure::clean;
use super::json;
use super::open::Live;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StatReply {
    pub status: StatStatus,
    pub peers: u32,
    pub speed_down_kbps: u32,
    pub speed_up_kbps: u32,
    /// Bytes. Growth is the only reliable sign of life.
    pub downloaded: u64,
    /// Percent of the prebuffering.
    pub progress: Option<u8>,
    /// Unix seconds of the newest broadcast byte; stands still when the source is frozen.
    pub live_last: Option<u64>,
    pub live_pos: Option<u64>,
    pub playback_session_id: Option<String>,
    pub live: Live,
    pub error_message: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StatStatus {
    /// The session is too young to have one.
    #[default]
    Unknown,
    Idle,
    Prebuf,
    Checking,
    Dl,
    Error,
    Other,
}

impl StatStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Idle => "idle",
            Self::Prebuf => "prebuf",
            Self::Checking => "checking",
            Self::Dl => "dl",
            Self::Error => "error",
            Self::Other => "other",
        }
    }

    fn read(text: Option<&str>) -> Self {
        match text {
            None => Self::Unknown,
            Some("idle" | "loading" | "starting" | "wait") => Self::Idle,
            Some("prebuf" | "seekprebuf" | "buf") => Self::Prebuf,
            Some("check" | "checking") => Self::Checking,
            Some("dl") => Self::Dl,
            Some("err" | "error") => Self::Error,
            Some(_) => Self::Other,
        }
    }
}

pub fn stat(status: u16, body: &[u8]) -> Result<StatReply, Failure> {
    let response = json::response(status, body)?.unwrap_or_default();
    let small = |name: &str| json::number(response.get(name)).map_or(0, saturate);
    let live_pos = response.get("livepos").and_then(Value::as_object);
    let position = |name: &str| {
        let value = live_pos.and_then(|members| members.get(name));
        json::number(value).filter(|seconds| *seconds > 0)
    };
    Ok(StatReply {
        status: StatStatus::read(json::text(&response, "status")),
        peers: small("peers"),
        speed_down_kbps: small("speed_down"),
        speed_up_kbps: small("speed_up"),
        downloaded: json::number(response.get("downloaded")).unwrap_or(0),
        progress: json::number(response.get("progress")).map(|percent| percent.min(100) as u8),
        live_last: position("live_last").or_else(|| position("last")),
        live_pos: position("pos"),
        playback_session_id: json::text(&response, "playback_session_id").map(clean),
        live: Live::read(response.get("is_live")),
        error_message: json::text(&response, "error_message").map(clean),
    })
}

fn saturate(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
