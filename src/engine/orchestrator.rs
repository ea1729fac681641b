//! An orchestrator's list of engines: a bare JSON array, fetched every few seconds.
//!
//! It reads bytes and never fetches. A row that cannot be used is counted and left out, so that
//! one bad row never costs the others; anything but an array is an error, and the last good list
//! stays in force.

use serde_json::Value;

use super::spec;
use super::spec::HostSpec;

/// The caller reads no more than this of a list.
pub const LIST_BYTES_MAX: usize = 1 << 20;

const NAME_BYTES_MAX: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    Healthy,
    Unhealthy,
    Unknown,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its `name` is the container's.
    pub host: HostSpec,
    pub health: Health,
    pub draining: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct List {
    pub engines: Vec<Listed>,
    /// Rows without a usable host and port, and rows above the limit.
    pub skipped: usize,
}

pub fn parse(body: &[u8]) -> Result<List, String> {
    if body.len() > LIST_BYTES_MAX {
        return Err(format!("the list is larger than {LIST_BYTES_MAX} bytes"));
    }
    let value: Value = serde_json::from_slice(body).map_err(|_| "the list is not JSON")?;
    let rows = value.as_array().ok_or("the list is not a JSON array")?;
    let mut list = List::default();
    for row in rows {
        match parse_row(row) {
            Some(engine) if list.engines.len() < spec::SPECS_MAX => list.engines.push(engine),
            Some(_) | None => list.skipped += 1,
        }
    }
    Ok(list)
}

fn parse_row(row: &Value) -> Option<Listed> {
    let port = match row.get("port")? {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok()?,
        Value::String(text) => text.parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let mut host = HostSpec::new(row.get("host")?.as_str()?, port)?;
    host.name = row.get("container_name").and_then(Value::as_str).and_then(engine_name);
    host.forwarded = row.get("forwarded").and_then(Value::as_bool).unwrap_or(false);
    let health = match row.get("health_status").and_then(Value::as_str) {
        Some("healthy") => Health::Healthy,
        Some("unhealthy") => Health::Unhealthy,
        Some(_) | None => Health::Unknown,
    };
    let draining = row.get("draining").and_then(Value::as_bool).unwrap_or(false);
    Some(Listed { host, health, draining })
}

/// Containers may be called anything; ours stand in metric labels and URLs.
fn engine_name(container: &str) -> Option<String> {
    let plain = |c: char| match c {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-' => c,
        _ => '_',
    };
    let name: String =
        container.trim_start_matches('/').chars().map(plain).take(NAME_BYTES_MAX).collect();
    spec::is_engine_name(&name).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_are_read_and_bad_ones_left_out() {
        let body = br#"[
            {"container_name": "/ace 1", "host": "gluetun", "port": 6879, "forwarded": true,
             "health_status": "healthy", "draining": false, "container_id": "x"},
            {"container_name": null, "host": "10.0.0.2", "port": "6878", "health_status": "unhealthy",
             "draining": true},
            {"host": "a b", "port": 1}, {"host": "a"}, {"host": "a", "port": 0}, 7, null]"#;
        let list = parse(body).unwrap();
        assert_eq!(list.skipped, 5);
        let [first, second] = &list.engines[..] else { panic!("{list:?}") };
        assert_eq!(first.host.name.as_deref(), Some("ace_1"));
        assert_eq!((first.host.host.as_str(), first.host.port), ("gluetun", 6879));
        assert!(first.host.forwarded && !first.draining);
        assert_eq!(first.health, Health::Healthy);
        assert_eq!(second.health, Health::Unhealthy);
        assert!(second.draining && second.host.name.is_none());
        assert_eq!(parse(b"[]").unwrap(), List::default());
    }

    #[test]
    fn anything_but_an_array_is_an_error() {
        for body in [&b""[..], b"{}", b"null", b"{\"engines\": []}", b"[", b"<html>", b"\xff"] {
            assert!(parse(body).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body);
        }
    }
}
