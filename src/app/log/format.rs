//! One event as one line.

use std::fmt;
use std::fmt::Write;

use serde_json::Map;
use serde_json::Value;
use tracing::Event;
use tracing::Level;
use tracing::field::Field;
use tracing::field::Visit;

use crate::admin::lines;
use crate::admin::lines::Line;
use crate::base::time::Wall;

/// The message with the event's other fields behind it, in the writing of our lines.
pub(super) fn message(event: &Event<'_>) -> String {
    let mut visitor = Visitor { message: String::new(), fields: Line::new("") };
    event.record(&mut visitor);
    format!("{}{}", visitor.message, visitor.fields)
}

struct Visitor {
    message: String,
    fields: Line,
}

impl Visitor {
    fn put(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            self.message.push_str(text);
        } else {
            let fields = std::mem::replace(&mut self.fields, Line::new(""));
            self.fields = fields.field(field.name(), text);
        }
    }
}

impl Visit for Visitor {
    fn record_str(&mut self, field: &Field, text: &str) {
        self.put(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}

pub(super) fn text(now: Wall, level: Level, message: &str) -> String {
    format!("{} {level:<5} {}\n", timestamp(now), one_line(message))
}

/// The journal knows the time; the number is the syslog priority (sd-daemon(3)).
pub(super) fn journald(level: Level, message: &str) -> String {
    let priority = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    };
    format!("<{priority}>{}\n", one_line(message))
}

/// A line with fields becomes an object with these fields; numbers are numbers.
pub(super) fn json(now: Wall, level: Level, message: &str) -> String {
    let mut object = Map::new();
    object.insert("time".to_owned(), timestamp(now).into());
    object.insert("level".to_owned(), level.as_str().to_ascii_lowercase().into());
    match lines::parse(message) {
        Some(parsed) => {
            object.insert("message".to_owned(), parsed.event.into());
            for (key, text) in parsed.fields {
                object.entry(key).or_insert_with(|| typed(key, &text));
            }
        }
        None => {
            object.insert("message".to_owned(), message.into());
        }
    }
    format!("{}\n", Value::Object(object))
}

/// By the field's name, so that one field never changes its type: an id of forty digits stays a
/// text.
fn typed(key: &str, text: &str) -> Value {
    let unit = ["_ms", "_s", "_bytes", "_total"].iter().any(|unit| key.ends_with(unit));
    let number = unit || matches!(key, "bytes" | "seconds" | "skips" | "answer" | "count");
    if number {
        if let Ok(whole) = text.parse::<u64>() {
            return whole.into();
        }
        if let Ok(number) = text.parse::<f64>() {
            return number.into();
        }
    }
    text.into()
}

/// A message of a library may hold line breaks.
fn one_line(message: &str) -> String {
    if !message.contains(|character: char| character.is_control()) {
        return message.to_owned();
    }
    let mut out = String::with_capacity(message.len());
    for character in message.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// RFC 3339 in UTC, with milliseconds.
pub(super) fn timestamp(now: Wall) -> String {
    let ms = now.unix_ms();
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let mut text = String::with_capacity(24);
    let _ =
        write!(text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z");
    text
}

/// The date of a day since 1970 in the Gregorian calendar: years are counted from March, so that
/// the leap day ends them, and in eras of 400 years of 146 097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    (year, month, day)
}
