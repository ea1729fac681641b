//! Log lines: an event in words, then `key=value` fields.
//!
//! The lines with a type of their own are part of the contract. Invariants: one line, whatever
//! was put in; [`parse`] reads back every line that [`Line`] writes.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write;

use super::hygiene::clean;
use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;

/// Any line, in the same writing as those of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line(String);

impl Line {
    pub fn new(event: &str) -> Self {
        Self(event.to_owned())
    }

    /// Bare where it can be, else in quotes.
    #[must_use]
    pub fn field(self, key: &str, value: impl fmt::Display) -> Self {
        let text = value.to_string();
        let text = clean(&text);
        if is_plain(&text) { self.bare(key, &text) } else { self.quoted(key, &text) }
    }

    /// Always in quotes: texts of others.
    #[must_use]
    pub fn quoted(mut self, key: &str, text: &str) -> Self {
        let _ = write!(self.0, " {key}=\"");
        for character in clean(text).chars() {
            if matches!(character, '"' | '\\') {
                self.0.push('\\');
            }
            self.0.push(character);
        }
        self.0.push('"');
        self
    }

    /// A dash where there is nothing.
    #[must_use]
    pub fn or_dash(self, key: &str, value: Option<&str>) -> Self {
        self.field(key, value.unwrap_or("-"))
    }

    /// Left out where there is nothing.
    #[must_use]
    pub fn some(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(text) => self.field(key, text),
            None => self,
        }
    }

    fn bare(mut self, key: &str, text: &str) -> Self {
        let _ = write!(self.0, " {key}={text}");
        self
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_plain(text: &str) -> bool {
    let special =
        |character: char| character.is_whitespace() || matches!(character, '"' | '\\' | '=');
    !text.is_empty() && !text.contains(special)
}

/// `viewer start …`
#[derive(Clone, Copy, Debug)]
pub struct ViewerStart<'a> {
    pub viewer: ViewerId,
    pub stream: Infohash,
    /// `None`: `RINGCAST_LOG_ADDRESSES` is off.
    pub address: Option<&'a str>,
    pub agent: &'a str,
    /// The play token's name.
    pub name: Option<&'a str>,
}

impl ViewerStart<'_> {
    fn line(&self, event: &str) -> Line {
        Line::new(event)
            .field("viewer", self.viewer)
            .field("stream", self.stream)
            .or_dash("address", self.address)
            .some("name", self.name)
            .quoted("agent", self.agent)
    }
}

impl fmt::Display for ViewerStart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line("viewer start").fmt(f)
    }
}

/// `viewer end …`
#[derive(Clone, Copy, Debug)]
pub struct ViewerEnd<'a> {
    pub viewer: ViewerId,
    pub stream: Infohash,
    pub address: Option<&'a str>,
    pub agent: &'a str,
    pub name: Option<&'a str>,
    pub reason: &'a str,
    pub bytes: u64,
    pub seconds: f64,
    pub skips: u64,
    pub rwnd_limited_ms: u64,
}

impl fmt::Display for ViewerEnd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { viewer, stream, address, agent, name, .. } = *self;
        ViewerStart { viewer, stream, address, agent, name }
            .line("viewer end")
            .field("reason", self.reason)
            .field("bytes", self.bytes)
            .field("seconds", format_args!("{:.1}", self.seconds))
            .field("skips", self.skips)
            .field("rwnd_limited_ms", self.rwnd_limited_ms)
            .fmt(f)
    }
}

/// `stream start …`
#[derive(Clone, Copy, Debug)]
pub struct StreamStart<'a> {
    /// What was asked for.
    pub id: &'a str,
    pub infohash: Infohash,
    pub engine: &'a str,
    pub first_packet_ms: u64,
}

impl fmt::Display for StreamStart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Line::new("stream start")
            .field("id", self.id)
            .field("infohash", self.infohash)
            .field("engine", self.engine)
            .field("first_packet_ms", self.first_packet_ms)
            .fmt(f)
    }
}

/// `stream failed …`
#[derive(Clone, Copy, Debug)]
pub struct StreamFailed<'a> {
    pub id: &'a str,
    /// `None`: no engine took it.
    pub engine: Option<&'a str>,
    pub after_s: f64,
    /// The status code that its viewers got.
    pub answer: u16,
    pub reason: &'a str,
}

impl fmt::Display for StreamFailed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Line::new("stream failed")
            .field("id", self.id)
            .or_dash("engine", self.engine)
            .field("after_s", format_args!("{:.1}", self.after_s))
            .field("answer", self.answer)
            .quoted("reason", self.reason)
            .fmt(f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    Up,
    Down,
    TakenOver,
}

/// `engine up|down|taken_over …`
#[derive(Clone, Copy, Debug)]
pub struct EngineLine<'a> {
    pub what: EngineEvent,
    pub engine: &'a str,
    pub version: Option<&'a str>,
    pub reason: Option<&'a str>,
}

impl fmt::Display for EngineLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = match self.what {
            EngineEvent::Up => "engine up",
            EngineEvent::Down => "engine down",
            EngineEvent::TakenOver => "engine taken_over",
        };
        let line = Line::new(event).field("engine", self.engine).some("version", self.version);
        match self.reason {
            Some(reason) => line.quoted("reason", reason).fmt(f),
            None => line.fmt(f),
        }
    }
}

/// A line taken apart again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    pub event: &'a str,
    pub fields: Vec<(&'a str, Cow<'a, str>)>,
}

/// `None` for lines that are only words, or not wholly written as [`Line`] writes.
pub fn parse(line: &str) -> Option<Parsed<'_>> {
    let first = line
        .match_indices(' ')
        .map(|(at, _)| at)
        .find(|at| line[at + 1..].split_once('=').is_some_and(|(key, _)| is_key(key)))?;
    let (event, mut rest) = line.split_at(first);
    let mut fields = Vec::new();
    while let Some(field) = rest.strip_prefix(' ') {
        let (key, value) = field.split_once('=').filter(|(key, _)| is_key(key))?;
        let (text, after) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = value.find(' ').unwrap_or(value.len());
                (Cow::Borrowed(&value[..end]), &value[end..])
            }
        };
        fields.push((key, text));
        rest = after;
    }
    rest.is_empty().then_some(Parsed { event, fields })
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut text = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Cow::Owned(text), &quoted[at + 1..])),
            '\\' => text.push(characters.next()?.1),
            other => text.push(other),
        }
    }
    None
}
