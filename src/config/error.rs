//! What was wrong with the settings: one line per problem, naming the setting and what it takes.

use std::fmt;

use super::layers::Given;
use super::nearest::nearest;
use super::table::Row;

/// Bytes of a wrong value that a message repeats.
const SHOWN_BYTES_MAX: usize = 80;

/// One line. Never holds a secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(String);

impl Problem {
    /// The setting was given and cannot be taken.
    pub fn value(row: &Row, given: &Given, what: &str) -> Self {
        let shown = if row.secret { "***".to_owned() } else { quoted(&given.items.join(" ")) };
        // What is wrong with a secret's items may repeat them.
        let what = if row.secret { "not accepted" } else { what };
        let (name, origin, accepts) = (row.name, &given.origin, row.kind.accepts());
        Self(format!("{name}={shown} ({origin}): {what}; accepted: {accepts}"))
    }

    /// The file that a setting names cannot be used.
    pub fn secret_file(row: &Row, given: &Given, what: &str) -> Self {
        let (name, origin) = (row.name, &given.origin);
        let path = quoted(&given.items.join(" "));
        Self(format!("{name}_FILE={path} ({origin}): {what}; accepted: the path of a small file"))
    }

    /// A name that is no setting's.
    pub fn unknown<'a>(
        what: &str,
        place: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let shown = quoted(what);
        match nearest(what, candidates) {
            Some((name, _)) => {
                Self(format!("{shown} ({place}) is not a setting; the nearest is {name}"))
            }
            None => Self(format!("{shown} ({place}) is not a setting")),
        }
    }

    pub fn text(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that was wrong, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// In quotes, cut, on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = String::new();
    for character in text.chars() {
        if shown.len() >= SHOWN_BYTES_MAX {
            shown.push('…');
            break;
        }
        shown.extend(character.escape_debug());
    }
    format!("\"{shown}\"")
}
