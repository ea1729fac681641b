//! The reply to getstream: what was opened, and where its body, its stat and its commands are.
//!
//! An [`OpenReply`] exists only with an infohash and with paths that lead to the engine that was
//! asked; the hosts in its URLs are never used.

use serde_json::Map;
use serde_json::Value;

use super::failure::Failure;
use super::failure::clean;
use super::json;
use crate::base::ids::Infohash;
use crate::http::uri::EnginePath;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenReply {
    /// The truth about what was opened, whatever was asked for.
    pub infohash: Infohash,
    pub playback_session_id: String,
    pub playback: EnginePath,
    /// Some direct sessions have neither stat nor commands.
    pub stat: Option<EnginePath>,
    pub command: Option<EnginePath>,
    pub event: Option<EnginePath>,
    pub live: Live,
    pub encrypted: bool,
    /// The source itself is HLS: its playback is a playlist, not a transport stream.
    pub hls_source: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Live {
    Yes,
    /// Video on demand: not relayed.
    No,
    /// The engine does not know yet.
    #[default]
    Unknown,
}

impl Live {
    pub(super) fn read(value: Option<&Value>) -> Self {
        // -1 means unknown, so the sign matters here and nowhere else.
        let text = match value {
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(flag)) => u8::from(*flag).to_string(),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => String::new(),
        };
        match text.as_str() {
            "1" => Self::Yes,
            "0" => Self::No,
            _ => Self::Unknown,
        }
    }
}

pub fn open(status: u16, body: &[u8]) -> Result<OpenReply, Failure> {
    let Some(response) = json::response(status, body)?.filter(|response| !response.is_empty())
    else {
        return Err(Failure::Other("the engine answered nothing: no error, no session".to_owned()));
    };
    let playback = path(&response, "playback_url")?
        .ok_or_else(|| Failure::Other("the engine's reply has no playback_url".to_owned()))?;
    let infohash = json::text(&response, "infohash")
        .and_then(|text| Infohash::parse(text.trim().as_bytes()))
        .or_else(|| infohash_of(&playback))
        .ok_or_else(|| Failure::Other("the engine's reply has no infohash".to_owned()))?;
    Ok(OpenReply {
        infohash,
        playback_session_id: clean(json::text(&response, "playback_session_id").unwrap_or("")),
        hls_source: is_playlist(&playback),
        playback,
        stat: path(&response, "stat_url")?,
        command: path(&response, "command_url")?,
        event: path(&response, "event_url")?,
        live: Live::read(response.get("is_live")),
        encrypted: json::flag(response.get("is_encrypted")),
    })
}

/// An URL of the reply, reduced to what may be asked of the engine that was dialled.
fn path(response: &Map<String, Value>, name: &str) -> Result<Option<EnginePath>, Failure> {
    let Some(url) = json::text(response, name) else { return Ok(None) };
    let path = EnginePath::parse(url);
    path.map(Some).map_err(|error| Failure::Other(clean(&format!("{name}: {error}"))))
}

/// `/ace/r/<infohash>/<key>`.
fn infohash_of(playback: &EnginePath) -> Option<Infohash> {
    playback.as_str().split(['/', '?']).find_map(|part| Infohash::parse(part.as_bytes()))
}

fn is_playlist(playback: &EnginePath) -> bool {
    let path = playback.as_str().split('?').next().unwrap_or("");
    let end = path.len().saturating_sub(5);
    path.get(end..).is_some_and(|end| end.eq_ignore_ascii_case(".m3u8"))
}
