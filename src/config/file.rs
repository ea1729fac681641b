//! The TOML file: keys of the table, and `[[channel]]`.
//!
//! Values are turned into the texts that the environment would hold, so that one reader per kind
//! serves both.

use std::borrow::Cow;
use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::channel;
use super::channel::Channel;
use super::error::Problem;
use super::error::quoted;
use super::layers::Given;
use super::layers::Slot;
use super::report::Origin;
use super::table::rows;
use crate::net::files::read_limited;

/// Ten thousand channels with long names are 3 MB.
const FILE_BYTES_MAX: usize = 8 << 20;

/// What a file says. Nothing of it is checked against its row yet.
#[derive(Debug, Default)]
pub struct Contents {
    pub given: Vec<(Slot, Given)>,
    pub channels: Vec<Channel>,
    /// Line of the first `[[channel]]`.
    pub channels_line: usize,
}

/// Reads a whole small file as text.
pub fn read_text(path: &Path, bytes_max: usize) -> Result<String, String> {
    let bytes = read_limited(path, bytes_max).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())
}

/// Reads the settings file. `said_by` names the flag or variable that pointed here.
pub fn read(path: &Path, said_by: &str) -> Result<Contents, Vec<Problem>> {
    let shown = path.display().to_string();
    match read_text(path, FILE_BYTES_MAX) {
        Ok(text) => parse(&shown, &text),
        Err(error) => {
            let line = format!("{said_by}={}: {error}; accepted: a TOML file", quoted(&shown));
            Err(vec![Problem::text(line)])
        }
    }
}

pub fn parse(path: &str, text: &str) -> Result<Contents, Vec<Problem>> {
    let reader = Reader { path, text };
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let line = error.span().map_or(1, |span| reader.line(span.start));
            let what = error.message().lines().next().unwrap_or("syntax error").to_owned();
            return Err(vec![Problem::text(format!("{path}:{line}: {what}; accepted: TOML"))]);
        }
    };
    let mut contents = Contents::default();
    let mut problems = Vec::new();
    for (key, value) in table.get_ref() {
        let line = reader.line(key.span().start);
        let read = if key.get_ref() == "channel" {
            contents.channels_line = line;
            reader.channels(line, value, &mut contents.channels)
        } else {
            reader.setting(key.get_ref(), line, value, &mut contents.given)
        };
        problems.extend(read.err());
    }
    if problems.is_empty() { Ok(contents) } else { Err(problems) }
}

struct Reader<'a> {
    path: &'a str,
    text: &'a str,
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn setting(
        &self,
        key: &str,
        line: usize,
        value: &Spanned<DeValue<'_>>,
        out: &mut Vec<(Slot, Given)>,
    ) -> Result<(), Problem> {
        let slots: Vec<(String, Slot)> = rows().flat_map(toml_slots).collect();
        let Some((_, slot)) = slots.iter().find(|(name, _)| name == key) else {
            let place = format!("{}:{line}", self.path);
            let names = slots.iter().map(|(name, _)| name.as_str()).chain(["channel"]);
            return Err(Problem::unknown(key, &place, names));
        };
        let origin = Origin::File { path: self.path.to_owned(), line };
        match texts(value.get_ref(), slot.row.kind.is_list() && !slot.from_file) {
            Some(items) => {
                out.push((*slot, Given { items, origin }));
                Ok(())
            }
            None => {
                let given = Given { items: vec![value.get_ref().type_str().to_owned()], origin };
                Err(Problem::value(slot.row, &given, "not such a TOML value"))
            }
        }
    }

    fn channels(
        &self,
        line: usize,
        value: &Spanned<DeValue<'_>>,
        out: &mut Vec<Channel>,
    ) -> Result<(), Problem> {
        let place = format!("{}:{line}", self.path);
        let tables =
            value.get_ref().as_array().filter(|array| array.len() <= channel::CHANNELS_MAX);
        let Some(tables) = tables else {
            let line = format!("channel ({place}): accepted: at most 10000 [[channel]] tables");
            return Err(Problem::text(line));
        };
        for entry in tables.iter() {
            let place = format!("{}:{}", self.path, self.line(entry.span().start));
            let Some(table) = entry.get_ref().as_table() else {
                return Err(Problem::text(format!("channel ({place}): accepted: [[channel]]")));
            };
            for key in table.keys() {
                if !channel::KEYS.contains(&key.get_ref().as_ref()) {
                    return Err(Problem::unknown(key.get_ref(), &place, channel::KEYS));
                }
            }
            let text = |key: &str| -> Result<Option<String>, Problem> {
                match table.get(key).map(Spanned::get_ref) {
                    None => Ok(None),
                    Some(DeValue::String(text)) => Ok(Some(text.clone().into_owned())),
                    Some(_) => {
                        let line = format!("channel ({place}): {key} is not a text");
                        Err(Problem::text(format!("{line}; accepted: {key} = \"…\"")))
                    }
                }
            };
            let read =
                Channel::from_texts(text("name")?, text("id")?, text("group")?, text("logo")?);
            out.push(read.map_err(|what| {
                let accepted = "name, id (40 hex digits), group, logo";
                Problem::text(format!("channel ({place}): {what}; accepted: {accepted}"))
            })?);
        }
        Ok(())
    }
}

/// The keys that a row has in the file.
fn toml_slots(row: &'static super::table::Row) -> impl Iterator<Item = (String, Slot)> {
    let file = row.secret.then(|| (format!("{}_file", row.toml()), Slot { row, from_file: true }));
    [(row.toml(), Slot { row, from_file: false })].into_iter().chain(file)
}

/// A scalar, or an array of them for a list.
fn texts(value: &DeValue<'_>, list: bool) -> Option<Vec<String>> {
    match value {
        DeValue::Array(items) if list => {
            items.iter().map(|item| scalar(item.get_ref()).map(Cow::into_owned)).collect()
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
            Some(vec![scalar(value)?.into_owned()])
        }
        DeValue::Array(_) | DeValue::Table(_) | DeValue::Datetime(_) => None,
    }
}

fn scalar<'a>(value: &'a DeValue<'_>) -> Option<Cow<'a, str>> {
    match value {
        DeValue::String(text) => Some(Cow::Borrowed(text)),
        DeValue::Integer(number) if number.radix() == 10 => Some(plain(number.as_str())),
        DeValue::Float(number) => Some(plain(number.as_str())),
        DeValue::Boolean(on) => Some(Cow::Borrowed(if *on { "on" } else { "off" })),
        DeValue::Integer(_) | DeValue::Array(_) | DeValue::Table(_) | DeValue::Datetime(_) => None,
    }
}

/// TOML may write 1_048_576 and +5.
fn plain(number: &str) -> Cow<'_, str> {
    let number = number.strip_prefix('+').unwrap_or(number);
    if number.contains('_') { Cow::Owned(number.replace('_', "")) } else { Cow::Borrowed(number) }
}
