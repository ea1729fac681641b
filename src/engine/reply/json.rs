//! JSON as engines write it: numbers that may be strings, flags that may be numbers, errors that
//! may be texts, objects or a status of their own.
//!
//! It never fails on a member that is missing or of another type; only the whole can be no answer.

use serde_json::Map;
use serde_json::Value;

use super::failure::Failure;
use super::failure::clean;

/// The members of a reply. Anything but an object under an HTTP status 200 is a failure.
pub(super) fn object(status: u16, body: &[u8]) -> Result<Map<String, Value>, Failure> {
    let parsed = serde_json::from_slice(body).ok();
    match parsed {
        Some(Value::Object(members)) if status == 200 || error_text(&members).is_some() => {
            Ok(members)
        }
        Some(Value::Null)
        | Some(Value::Bool(_))
        | Some(Value::Number(_))
        | Some(Value::String(_))
        | Some(Value::Array(_))
        | Some(Value::Object(_))
        | None => Err(not_json(status, body)),
    }
}

/// The member `response` (or `result`), as an object; `{}` and null are told apart by the caller.
pub(super) fn response(status: u16, body: &[u8]) -> Result<Option<Map<String, Value>>, Failure> {
    let mut members = object(status, body)?;
    if let Some(text) = error_text(&members) {
        return Err(Failure::from_error_text(&text));
    }
    match members.remove("response") {
        Some(Value::Object(response)) => Ok(Some(response)),
        Some(Value::Null)
        | Some(Value::Bool(_))
        | Some(Value::Number(_))
        | Some(Value::String(_))
        | Some(Value::Array(_))
        | None => Ok(None),
    }
}

/// What `error` says: a text, an object with a message, or something else that is not nothing.
pub(super) fn error_text(members: &Map<String, Value>) -> Option<String> {
    match members.get("error")? {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Object(error) => match error.get("message") {
            Some(Value::String(message)) => Some(message.clone()),
            Some(_) | None => Some(Value::Object(error.clone()).to_string()),
        },
        other @ (Value::Bool(true) | Value::Number(_) | Value::Array(_)) => Some(other.to_string()),
    }
}

/// A reply without JSON: some builds answer an error as plain text with status 500.
pub(super) fn not_json(status: u16, body: &[u8]) -> Failure {
    let head = &body[..body.len().min(1_024)];
    let text = clean(&String::from_utf8_lossy(head));
    let is_page = text.starts_with('<');
    match Failure::from_error_text(&text) {
        Failure::Other(_) if text.is_empty() || is_page => {
            Failure::Other(format!("the engine answered {status} without JSON"))
        }
        Failure::Other(text) => Failure::Other(clean(&format!("{status}: {text}"))),
        known @ (Failure::Content(_)
        | Failure::Superseded
        | Failure::SessionGone(_)
        | Failure::Prebuffering(_)
        | Failure::Premium(_)
        | Failure::Forbidden
        | Failure::Refused
        | Failure::Silent
        | Failure::MalformedHead
        | Failure::Lack(_)
        | Failure::Cut) => known,
    }
}

/// A count: a number or the text of one; below zero is zero.
pub(super) fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => {
            number.as_u64().or_else(|| number.as_f64().map(|float| float as u64))
        }
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| text.parse::<f64>().ok().map(|float| float as u64))
        }
        Value::Bool(flag) => Some(u64::from(*flag)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A flag: true, 1, "1".
pub(super) fn flag(value: Option<&Value>) -> bool {
    number(value).is_some_and(|number| number != 0)
}

pub(super) fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name)?.as_str().filter(|text| !text.is_empty())
}
