//! From what was given to [`Settings`]: layers, then values, then the checks that need several.
//!
//! Called at boot and again by each reload; it keeps nothing between the calls.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use super::channel::Channel;
use super::checks;
use super::error::ConfigErrors;
use super::error::Problem;
use super::facts::Facts;
use super::file;
use super::layers::CONFIG_VARIABLE;
use super::layers::Given;
use super::layers::Layers;
use super::layers::Slot;
use super::report::Origin;
use super::report::Report;
use super::settings::Settings;
use super::table::Key;
use super::table::rows;
use super::value::Value;
use crate::engine::spec::Spec;
use crate::http::addr::AllowList;
use crate::http::addr::CidrList;
use crate::http::token::Tokens;

/// Tokens for a whole company are a few KiB.
const SECRET_FILE_BYTES_MAX: usize = 64 << 10;

/// Where settings are looked for. Kept by a running server, for its reloads.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Values of flags, as typed, and of `--…-file`.
    pub flags: Vec<FlagValue>,
    /// `--config`.
    pub file: Option<PathBuf>,
    pub environment: Vec<(OsString, OsString)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagValue {
    pub key: Key,
    /// The flag named a file that holds the value.
    pub from_file: bool,
    pub items: Vec<String>,
}

/// Settings that can be used, and what there is to say about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub report: Report,
    /// One line each, for the log: aliases, settings without effect, doubtful combinations.
    pub notices: Vec<String>,
}

pub fn load(sources: &Sources, facts: &Facts) -> Result<Loaded, ConfigErrors> {
    let mut layers = Layers::default();
    let (channels, channels_origin) = read_file(sources, &mut layers);
    let environment = layers.environment(&sources.environment);
    layers.put(environment);
    layers.put(flags(sources));

    let mut values = Values { map: BTreeMap::new(), channels_origin };
    for row in rows() {
        let (value, origin) = value_of(&mut layers, row.key);
        values.map.insert(row.key, (value, origin));
    }
    let mut problems = std::mem::take(&mut layers.problems);
    problems.extend(checks::problems(&values, &channels));
    if !problems.is_empty() {
        return Err(ConfigErrors(problems));
    }
    let mut notices = layers.notices;
    let settings = Settings::from_values(&values, channels, facts, &sources.environment);
    notices.extend(checks::notices(&values, &settings, facts));
    let report = values.report(&settings);
    Ok(Loaded { settings, report, notices })
}

fn read_file(sources: &Sources, layers: &mut Layers) -> (Vec<Channel>, Origin) {
    let variable = sources.environment.iter().find_map(|(name, value)| {
        (name == CONFIG_VARIABLE && !value.is_empty()).then(|| Path::new(value))
    });
    let (path, said_by) = match (&sources.file, variable) {
        (Some(path), _) => (path.as_path(), "--config"),
        (None, Some(path)) => (path, CONFIG_VARIABLE),
        (None, None) => return (Vec::new(), Origin::Default),
    };
    match file::read(path, said_by) {
        Ok(contents) => {
            layers.put(contents.given);
            let origin = match contents.channels_line {
                0 => Origin::Default,
                line => Origin::File { path: path.display().to_string(), line },
            };
            (contents.channels, origin)
        }
        Err(problems) => {
            layers.problems.extend(problems);
            (Vec::new(), Origin::Default)
        }
    }
}

fn flags(sources: &Sources) -> Vec<(Slot, Given)> {
    let given = |flag: &FlagValue| {
        let row = flag.key.row();
        let name = if flag.from_file { row.file_flag } else { row.flag };
        let slot = Slot { row, from_file: flag.from_file };
        (slot, Given { items: flag.items.clone(), origin: Origin::Flag(format!("--{name}")) })
    };
    sources.flags.iter().map(given).collect()
}

/// The value of the highest origin that gave one. A wrong value is noted and the default stands
/// in for it, so that one run finds every problem.
fn value_of(layers: &mut Layers, key: Key) -> (Value, Origin) {
    let row = key.row();
    if let Some((slot, given)) = layers.take(key) {
        match read_given(slot, &given) {
            Ok(value) => return (value, given.origin),
            Err(problem) => layers.problems.push(problem),
        }
    }
    if row.default.is_empty() {
        return (Value::Unset, Origin::Default);
    }
    let value = row.kind.read(&[row.default.to_owned()]).expect("a test reads every default");
    (value, Origin::Default)
}

fn read_given(slot: Slot, given: &Given) -> Result<Value, Problem> {
    let row = slot.row;
    if !slot.from_file {
        return row.kind.read(&given.items).map_err(|what| Problem::value(row, given, &what));
    }
    let [path] = given.items.as_slice() else {
        return Err(Problem::secret_file(row, given, "takes one path"));
    };
    let text = file::read_text(Path::new(path.trim()), SECRET_FILE_BYTES_MAX)
        .map_err(|what| Problem::secret_file(row, given, &what))?;
    let items: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if items.is_empty() {
        return Err(Problem::secret_file(row, given, "the file is empty"));
    }
    row.kind.read(&items).map_err(|_| {
        Problem::secret_file(row, given, &format!("it does not hold {}", row.kind.accepts()))
    })
}

/// Every setting's value, read and in range, with its origin.
#[derive(Debug)]
pub struct Values {
    map: BTreeMap<Key, (Value, Origin)>,
    /// Where the `[[channel]]` tables came from.
    pub(super) channels_origin: Origin,
}

/// Each getter expects the kind that the row has: another one is our bug, found by any test that
/// loads.
impl Values {
    pub fn value(&self, key: Key) -> &Value {
        &self.map[&key].0
    }

    pub fn origin(&self, key: Key) -> &Origin {
        &self.map[&key].1
    }

    pub fn is_given(&self, key: Key) -> bool {
        *self.origin(key) != Origin::Default
    }

    pub fn switch(&self, key: Key) -> bool {
        matches!(self.value(key), Value::Switch(true))
    }

    pub fn word(&self, key: Key) -> Option<&'static str> {
        if let Value::Word(word) = self.value(key) { Some(word) } else { None }
    }

    /// `None` for `off` and `auto`.
    pub fn duration_or_word(&self, key: Key) -> Option<Duration> {
        if let Value::Duration(duration) = self.value(key) { Some(*duration) } else { None }
    }

    pub fn duration(&self, key: Key) -> Duration {
        self.duration_or_word(key).expect("the row is a time without a word")
    }

    /// Counts, sizes and rates; `None` for `off` and `auto`.
    pub fn number(&self, key: Key) -> Option<u64> {
        if let Value::Count(number) | Value::Size(number) | Value::Rate(number) = self.value(key) {
            Some(*number)
        } else {
            None
        }
    }

    pub fn factor(&self, key: Key) -> Option<f64> {
        if let Value::Factor(factor) = self.value(key) { Some(*factor) } else { None }
    }

    pub fn text(&self, key: Key) -> Option<&str> {
        if let Value::Text(text) = self.value(key) { Some(text) } else { None }
    }

    pub fn list(&self, key: Key) -> &[String] {
        if let Value::List(items) = self.value(key) { items } else { &[] }
    }

    pub fn tokens(&self, key: Key) -> Tokens {
        if let Value::Tokens(tokens) = self.value(key) { tokens.clone() } else { Tokens::default() }
    }

    pub fn allow(&self) -> AllowList {
        if let Value::Allow(allow) = self.value(Key::Allow) {
            allow.clone()
        } else {
            AllowList::Private
        }
    }

    pub fn networks(&self, key: Key) -> CidrList {
        if let Value::Networks(list) = self.value(key) { list.clone() } else { CidrList::EMPTY }
    }

    pub fn engines(&self) -> &[Spec] {
        if let Value::Engines(engines) = self.value(Key::Engines) { engines } else { &[] }
    }

    pub fn addresses(&self, key: Key) -> &[std::net::SocketAddr] {
        if let Value::Addresses(addresses) = self.value(key) { addresses } else { &[] }
    }
}
