//! What a setting may be: one reader per kind, which also says what it accepts.
//!
//! Invariant: `accepts()` is written from the same numbers that `read()` compares with, so a
//! message never promises what is then refused.

use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::time::Duration;

use super::scalar;
use super::value::Value;
use crate::engine::spec::Spec;
use crate::engine::spec::parse_many;
use crate::http::addr::BadCidr;
use crate::http::addr::CidrList;
use crate::http::token::Tokens;

/// Items of a list setting, and bytes of one item.
const ITEMS_MAX: usize = 1_024;
const ITEM_BYTES_MAX: usize = 4_096;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Duration {
        min_ms: u64,
        max_ms: u64,
        word: Option<&'static str>,
    },
    Size {
        min: u64,
        max: u64,
        word: Option<&'static str>,
    },
    Rate {
        min: u64,
        max: u64,
    },
    Count {
        min: u64,
        max: u64,
        word: Option<&'static str>,
    },
    Factor {
        min: f64,
        max: f64,
        word: Option<&'static str>,
    },
    Switch,
    Choice(&'static [&'static str]),
    /// One line of printable text without blanks, of these characters besides letters and digits.
    Name {
        others: &'static str,
        bytes_max: usize,
    },
    Url(&'static [&'static str]),
    Path,
    Addresses,
    Engines,
    Allow,
    Networks,
    Prefixes,
    Tokens,
}

impl Kind {
    /// Several may be given: a repeated flag, an array in TOML.
    pub fn is_list(self) -> bool {
        matches!(
            self,
            Self::Addresses
                | Self::Engines
                | Self::Allow
                | Self::Networks
                | Self::Prefixes
                | Self::Tokens
        )
    }

    /// The placeholder in `--help`.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Duration { .. } => "TIME",
            Self::Size { .. } => "SIZE",
            Self::Rate { .. } => "RATE",
            Self::Count { .. } | Self::Factor { .. } => "N",
            Self::Switch => "on|off",
            Self::Choice(_) => "WORD",
            Self::Name { .. } => "NAME",
            Self::Url(_) => "URL",
            Self::Path => "DIR",
            Self::Addresses => "ADDR:PORT",
            Self::Engines => "SPEC",
            Self::Allow | Self::Networks => "NETWORK",
            Self::Prefixes => "PREFIX",
            Self::Tokens => "[NAME:]TOKEN",
        }
    }

    /// The accepted values, for people.
    pub fn accepts(self) -> String {
        let or = |word: Option<&str>| word.map_or(String::new(), |word| format!("{word} or "));
        match self {
            Self::Duration { min_ms, max_ms, word } => {
                let text = |ms| scalar::seconds_text(Duration::from_millis(ms));
                let (min, max) = (text(min_ms), text(max_ms));
                format!("{}a time from {min} s to {max} s (90, 1.5s, 500ms)", or(word))
            }
            Self::Size { min, max, word } => {
                let (min, max) = (size_words(min), size_words(max));
                format!("{}a size from {min} to {max} (1048576, 64MiB, 2G)", or(word))
            }
            Self::Rate { min, max } => {
                let text = |bytes| scalar::rate_text(bytes);
                let ((min, min_unit), (max, max_unit)) = (text(min), text(max));
                format!("a rate from {min} {min_unit} to {max} {max_unit} (32MB/s)")
            }
            Self::Count { min, max, word } => format!("{}{min} to {max}", or(word)),
            Self::Factor { min, max, word } => format!("{}{min} to {max}", or(word)),
            Self::Switch => "on or off".to_owned(),
            Self::Choice(words) => words.join(", "),
            Self::Name { others, bytes_max } => {
                format!("1 to {bytes_max} letters, digits and {others}")
            }
            Self::Url(schemes) => {
                let schemes: Vec<String> =
                    schemes.iter().map(|scheme| format!("{scheme}…")).collect();
                format!("off or {}", schemes.join(", "))
            }
            Self::Path => "off or a directory".to_owned(),
            Self::Addresses => "ADDRESS:PORT, [v6]:PORT or :PORT (several)".to_owned(),
            Self::Engines => "none or HOST[:PORT][,name=ID][,forwarded][,max=N], dns:NAME:PORT, \
                 orchestrator:URL, file:PATH (several, separated by blanks)"
                .to_owned(),
            Self::Allow => "private, any, or addresses and networks (10.0.0.0/8)".to_owned(),
            Self::Networks => "none or addresses and networks (10.0.0.0/8)".to_owned(),
            Self::Prefixes => "none or http:// and https:// prefixes".to_owned(),
            Self::Tokens => {
                "TOKEN or NAME:TOKEN (several, separated by commas), without blanks".to_owned()
            }
        }
    }

    /// Reads what was given at one origin. `Err` says what is wrong; the caller adds `accepts()`.
    pub fn read(self, items: &[String]) -> Result<Value, String> {
        if items.len() > ITEMS_MAX || items.iter().any(|item| item.len() > ITEM_BYTES_MAX) {
            return Err("too long".to_owned());
        }
        if self.is_list() {
            return self.read_list(items);
        }
        match items {
            [one] => self.read_one(one.trim()),
            [] | [_, _, ..] => Err("takes one value".to_owned()),
        }
    }

    fn read_one(self, text: &str) -> Result<Value, String> {
        if let Some(word) = self.word(text) {
            return Ok(word);
        }
        match self {
            Self::Duration { min_ms, max_ms, .. } => {
                let value = scalar::duration(text).ok_or("not a time")?;
                let ms = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
                within(ms, min_ms, max_ms).map(|_| Value::Duration(value))
            }
            Self::Size { min, max, .. } => {
                within(scalar::size(text).ok_or("not a size")?, min, max).map(Value::Size)
            }
            Self::Rate { min, max } => {
                within(scalar::rate(text).ok_or("not a rate")?, min, max).map(Value::Rate)
            }
            Self::Count { min, max, .. } => {
                within(scalar::count(text).ok_or("not a whole number")?, min, max).map(Value::Count)
            }
            Self::Factor { min, max, .. } => {
                within(scalar::number(text).ok_or("not a number")?, min, max).map(Value::Factor)
            }
            Self::Switch => {
                scalar::switch(text).map(Value::Switch).ok_or_else(|| "not a switch".to_owned())
            }
            Self::Choice(_) => Err("not one of the words".to_owned()),
            Self::Name { others, bytes_max } => read_name(text, others, bytes_max),
            Self::Url(schemes) => read_url(text, schemes),
            Self::Path => read_path(text),
            Self::Addresses
            | Self::Engines
            | Self::Allow
            | Self::Networks
            | Self::Prefixes
            | Self::Tokens => unreachable!("a list is read as a list"),
        }
    }

    /// A word that stands where a value could.
    fn word(self, text: &str) -> Option<Value> {
        let lower = text.to_ascii_lowercase();
        match self {
            Self::Duration { word: Some(word), .. }
            | Self::Size { word: Some(word), .. }
            | Self::Count { word: Some(word), .. }
            | Self::Factor { word: Some(word), .. }
                if lower == word =>
            {
                Some(if word == "auto" { Value::Word(word) } else { Value::Unset })
            }
            Self::Choice(words) => {
                words.iter().find(|word| **word == lower).map(|word| Value::Word(word))
            }
            Self::Url(_) | Self::Path if is_nothing(&lower) => Some(Value::Unset),
            Self::Duration { .. }
            | Self::Size { .. }
            | Self::Rate { .. }
            | Self::Count { .. }
            | Self::Factor { .. }
            | Self::Switch
            | Self::Name { .. }
            | Self::Url(_)
            | Self::Path
            | Self::Addresses
            | Self::Engines
            | Self::Allow
            | Self::Networks
            | Self::Prefixes
            | Self::Tokens => None,
        }
    }

    fn read_list(self, items: &[String]) -> Result<Value, String> {
        if self == Self::Engines {
            return read_engines(items);
        }
        if self == Self::Tokens {
            let tokens = Tokens::parse(&items.join(",")).map_err(|error| error.to_string())?;
            return Ok(Value::Tokens(tokens));
        }
        let parts: Vec<String> = items.iter().flat_map(|item| split(item)).collect();
        if parts.len() > ITEMS_MAX {
            return Err("too long".to_owned());
        }
        let nothing = matches!(parts.as_slice(), [only] if is_nothing(only));
        if self == Self::Addresses {
            return read_addresses(&parts);
        }
        if self == Self::Allow {
            let allow = parts.join(",").parse().map_err(|error: BadCidr| error.to_string())?;
            return Ok(Value::Allow(allow));
        }
        let parts = if nothing { Vec::new() } else { parts };
        if self == Self::Networks {
            let networks = CidrList::parse(&parts.join(",")).map_err(|error| error.to_string())?;
            return Ok(Value::Networks(networks));
        }
        if self == Self::Prefixes {
            parts.iter().try_for_each(|prefix| check_prefix(prefix))?;
        }
        Ok(Value::List(parts))
    }
}

/// Lists in one text are separated by blanks or commas.
fn split(text: &str) -> impl Iterator<Item = String> {
    let separator = |character: char| character.is_whitespace() || character == ',';
    text.split(separator).filter(|part| !part.is_empty()).map(str::to_owned)
}

fn is_nothing(text: &str) -> bool {
    text.eq_ignore_ascii_case("off") || text.eq_ignore_ascii_case("none")
}

fn read_engines(items: &[String]) -> Result<Value, String> {
    if matches!(items, [only] if is_nothing(only.trim())) {
        return Ok(Value::Engines(Vec::new()));
    }
    let mut engines: Vec<Spec> = Vec::new();
    for item in items {
        let specs = parse_many(item).map_err(|error| {
            // Its last words name the accepted forms, as ours will.
            let text = error.to_string();
            text.split("; accepted").next().unwrap_or_default().to_owned()
        })?;
        for spec in specs {
            if engines.contains(&spec) {
                return Err(format!("\"{spec}\" is there twice"));
            }
            engines.push(spec);
        }
    }
    if engines.len() > ITEMS_MAX {
        return Err("too long".to_owned());
    }
    Ok(Value::Engines(engines))
}

fn within<T: PartialOrd>(value: T, min: T, max: T) -> Result<T, String> {
    if min <= value && value <= max { Ok(value) } else { Err("out of range".to_owned()) }
}

fn size_words(bytes: u64) -> String {
    let (value, unit) = scalar::size_text(bytes);
    format!("{value} {unit}")
}

fn read_name(text: &str, others: &str, bytes_max: usize) -> Result<Value, String> {
    let good = |character: char| character.is_ascii_alphanumeric() || others.contains(character);
    if text.is_empty() || text.len() > bytes_max || !text.chars().all(good) {
        return Err("not a name".to_owned());
    }
    Ok(Value::Text(text.to_owned()))
}

fn read_url(text: &str, schemes: &[&str]) -> Result<Value, String> {
    let rest = schemes.iter().find_map(|scheme| {
        let head = text.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
    });
    let clean =
        !text.contains(|character: char| character.is_whitespace() || character.is_control());
    match rest {
        Some(rest) if !rest.trim_matches('/').is_empty() && clean => {
            Ok(Value::Text(text.trim_end_matches('/').to_owned()))
        }
        Some(_) | None => Err("not such a URL".to_owned()),
    }
}

fn read_path(text: &str) -> Result<Value, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("not a directory".to_owned());
    }
    Ok(Value::Text(text.to_owned()))
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    let lower = prefix.to_ascii_lowercase();
    let rest = lower.strip_prefix("http://").or_else(|| lower.strip_prefix("https://"));
    // `http://` alone would allow every host, and `http://example` also `http://example.evil`:
    // the host must be ended by a slash.
    match rest {
        Some(rest) if rest.find('/').is_some_and(|at| at > 0) => Ok(()),
        Some(_) => Err(format!("\"{prefix}\" does not end its host with a slash")),
        None => Err(format!("\"{prefix}\" is not an http(s) prefix")),
    }
}

fn read_addresses(parts: &[String]) -> Result<Value, String> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for part in parts {
        let address = address(part).ok_or_else(|| format!("\"{part}\" is not an address"))?;
        if addresses.contains(&address) && address.port() != 0 {
            return Err(format!("\"{part}\" is there twice"));
        }
        addresses.push(address);
    }
    if addresses.is_empty() {
        return Err("no address".to_owned());
    }
    Ok(Value::Addresses(addresses))
}

/// `:8878` is every address of both families.
fn address(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")) {
        return Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, scalar_port(port)?)));
    }
    text.parse().ok()
}

fn scalar_port(text: &str) -> Option<u16> {
    u16::try_from(scalar::count(text)?).ok()
}
