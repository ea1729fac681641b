//! Replies of the engine's service endpoints and of commands. No answer of an old build is a
//! failure where it can be read as "unknown".

use serde_json::Value;

use super::failure::Failure;
use super::failure::clean;
use super::json;
use crate::base::ids::Infohash;

/// What `get_media_files` says of a content id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MediaFiles {
    Infohash(Infohash),
    /// The engine knows no such content id.
    Error(String),
    /// This build does not answer the question.
    UnknownMethod,
}

/// What `get_status` says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    pub version: Option<String>,
}

pub fn media_files(status: u16, body: &[u8]) -> Result<MediaFiles, Failure> {
    if matches!(status, 404 | 405 | 501) {
        return Ok(MediaFiles::UnknownMethod);
    }
    let members = json::object(status, body)?;
    if let Some(text) = json::error_text(&members) {
        let is_unknown = text.to_ascii_lowercase().contains("method");
        return Ok(if is_unknown {
            MediaFiles::UnknownMethod
        } else {
            MediaFiles::Error(clean(&text))
        });
    }
    let result = members.get("result").or_else(|| members.get("response"));
    let infohash = result.and_then(|result| result.get("infohash")).and_then(Value::as_str);
    // Older builds answer with file names and no infohash: that says nothing.
    Ok(infohash
        .and_then(|text| Infohash::parse(text.trim().as_bytes()))
        .map_or(MediaFiles::UnknownMethod, MediaFiles::Infohash))
}

/// Any JSON object proves that the engine answers; its version is shown when it says one.
pub fn engine_status(status: u16, body: &[u8]) -> Result<Status, Failure> {
    let members = json::object(status, body)?;
    let version = members.get("result").and_then(|result| result.get("version"));
    let version = match version {
        Some(Value::Object(version)) => version.get("version").and_then(Value::as_str),
        Some(Value::String(version)) => Some(version.as_str()),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | None => None,
    };
    Ok(Status { version: version.filter(|text| !text.is_empty()).map(short) })
}

/// `stop` and the like: anything that is no error is a yes.
pub fn command(status: u16, body: &[u8]) -> Result<(), Failure> {
    let members = json::object(status, body)?;
    match json::error_text(&members) {
        Some(text) => Err(Failure::from_error_text(&text)),
        None => Ok(()),
    }
}

/// A version stands in tables and labels.
fn short(text: &str) -> String {
    clean(text).chars().take(32).collect()
}
