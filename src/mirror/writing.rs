//! One page on its way to Redis, and what came of it.

use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;
use crate::mirror::link;
use crate::mirror::link::Pipe;
use crate::mirror::wire::Group;
use redis::Cmd;
use redis::Value;

pub(super) struct Written {
    /// Not written: the pipe is broken.
    pub(super) result: Result<(), String>,
    pub(super) commands: usize,
    pub(super) bytes: usize,
    /// Viewers whose stop key is there.
    pub(super) stops: Vec<(Infohash, ViewerId)>,
    /// The first of Redis' own refusals.
    pub(super) refused: Option<String>,
}

impl Written {
    /// Refused for want of something that may be there later, unlike a key of another type.
    pub(super) fn may_be_written_later(&self) -> bool {
        let codes = ["OOM", "MISCONF", "NOREPLICAS", "BUSY", "TRYAGAIN", "ERR"];
        let refused = self.refused.as_deref().unwrap_or_default();
        codes.iter().any(|code| refused.starts_with(code))
    }
}

pub(super) async fn write(mut pipe: Pipe, groups: Vec<Group>) -> Written {
    let mut written =
        Written { result: Ok(()), commands: 0, bytes: 0, stops: Vec::new(), refused: None };
    for group in joined(groups, pipe.is_cluster()) {
        written.commands += group.commands.len();
        written.bytes += group.commands.iter().map(packed_bytes).sum::<usize>();
        let values = match tokio::time::timeout(link::WRITE_MAX, pipe.run(&group.commands)).await {
            Ok(Ok(values)) => values,
            Ok(Err(error)) if is_refusal(&error) => {
                written.refused.get_or_insert_with(|| link::said(error));
                continue;
            }
            Ok(Err(error)) => return Written { result: Err(link::said(error)), ..written },
            Err(_) => {
                let why = "it does not answer".to_owned();
                return Written { result: Err(why), ..written };
            }
        };
        if let Some(why) = note_refusals(&values, &mut written.refused) {
            return Written { result: Err(why), ..written };
        }
        let first = values.len() - group.stops.len();
        for ((infohash, viewers), value) in group.stops.iter().zip(&values[first..]) {
            let Value::Array(found) = value else { continue };
            let stopped = viewers.iter().zip(found).filter(|(_, value)| is_stop(value));
            written.stops.extend(stopped.map(|(viewer, _)| (*infohash, *viewer)));
        }
    }
    written
}

/// Whatever else stands there stops nobody.
fn is_stop(value: &Value) -> bool {
    matches!(value, Value::BulkString(text) if text == b"true")
}

/// As it goes over the wire, without making it: a chunk is a megabyte.
fn packed_bytes(command: &Cmd) -> usize {
    let digits = |n: usize| n.checked_ilog10().unwrap_or(0) as usize + 1;
    let framed = |length: usize| 1 + digits(length) + 2 + length + 2;
    let mut arguments = 0;
    let mut bytes = 0;
    for argument in command.args_iter() {
        arguments += 1;
        bytes += match argument {
            redis::Arg::Simple(argument) => framed(argument.len()),
            redis::Arg::Cursor => framed(1),
            _ => 0,
        };
    }
    1 + digits(arguments) + 2 + bytes
}

/// One server takes everything in one go; the stop keys stay at the end.
fn joined(groups: Vec<Group>, is_cluster: bool) -> Vec<Group> {
    if is_cluster {
        return groups;
    }
    let mut one = Group { commands: Vec::new(), stops: Vec::new() };
    for group in groups {
        debug_assert!(one.stops.is_empty() || !group.stops.is_empty());
        one.commands.extend(group.commands);
        one.stops.extend(group.stops);
    }
    vec![one]
}

/// Redis lives and says no: memory, rights, a key of another type.
fn is_refusal(error: &redis::RedisError) -> bool {
    !error.is_io_error()
        && !error.is_timeout()
        && error.code().is_some_and(|code| !is_farewell(code))
}

/// What a server says that is no longer, or not yet, the one to write to.
fn is_farewell(code: &str) -> bool {
    matches!(code, "READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "MOVED" | "NOAUTH")
}

/// The first refusal is kept; a farewell is returned.
fn note_refusals(values: &[Value], refused: &mut Option<String>) -> Option<String> {
    for value in values {
        if let Value::ServerError(error) = value {
            let text = format!("{} {}", error.code(), error.details().unwrap_or(""));
            if is_farewell(error.code()) {
                return Some(text);
            }
            refused.get_or_insert(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_of_the_schema_stops_a_viewer() {
        let text = |text: &str| Value::BulkString(text.into());
        assert!(is_stop(&text("true")));
        for other in [text("false"), text("1"), text(""), Value::Nil, Value::Int(1)] {
            assert!(!is_stop(&other), "{other:?}");
        }
    }
}
