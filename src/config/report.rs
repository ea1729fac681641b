//! Every effective setting with value, unit and origin: what `ringcast config` prints and what a
//! reload is compared with.
//!
//! Invariant: a secret never reaches a row's text, nor what Debug prints.

use std::fmt;

use super::channel::Channel;
use super::load::Values;
use super::scalar;
use super::settings::LogFormat;
use super::settings::Settings;
use super::table::Key;
use super::table::Row;
use super::table::rows;
use super::value::Value;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--listen`
    Flag(String),
    /// The variable, which may be an alias.
    Environment(String),
    File {
        path: String,
        line: usize,
    },
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File { path, line } => write!(f, "file {path}:{line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReportRow {
    pub name: &'static str,
    pub value: String,
    pub unit: &'static str,
    pub origin: Origin,
    /// Why the effective value is not simply what was given; empty when it is.
    pub because: &'static str,
    pub(super) reload: bool,
    pub(super) given: Given,
}

/// What the settings hold, for comparison only: it may be a secret.
#[derive(Clone, PartialEq)]
pub(super) enum Given {
    Value(Value),
    Channels(Vec<Channel>),
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub(super) rows: Vec<ReportRow>,
}

impl Report {
    pub fn rows(&self) -> &[ReportRow] {
        &self.rows
    }

    /// The settings that differ in `new` and that only a restart applies.
    pub fn changed_at_restart_only(&self, new: &Self) -> Vec<&'static str> {
        self.rows
            .iter()
            .zip(&new.rows)
            .filter(|(old, new)| !old.reload && old.given != new.given)
            .map(|(old, _)| old.name)
            .collect()
    }

    /// An aligned table: setting, value, unit, origin.
    pub fn table(&self) -> String {
        let width = |of: fn(&ReportRow) -> usize| self.rows.iter().map(of).max().unwrap_or(0);
        let names = width(|row| row.name.len());
        // A list of forty engines must not push every origin off the screen.
        let values = width(|row| row.value.chars().count()).min(40);
        let units = width(|row| row.unit.len());
        let mut out = String::new();
        for row in &self.rows {
            let (name, value, unit) = (row.name, &row.value, row.unit);
            let mut origin = row.origin.to_string();
            if !row.because.is_empty() {
                origin = format!("{origin} ({})", row.because);
            }
            out.push_str(&format!("{name:names$}  {value:values$}  {unit:units$}  {origin}\n"));
        }
        out
    }
}

impl Values {
    pub(super) fn report(&self, settings: &Settings) -> Report {
        let mut report: Vec<ReportRow> = rows().map(|row| self.report_row(row, settings)).collect();
        let channels = &settings.channels;
        report.push(ReportRow {
            name: "[[channel]]",
            value: channels.len().to_string(),
            unit: "channels",
            origin: self.channels_origin.clone(),
            because: "",
            reload: true,
            given: Given::Channels(channels.clone()),
        });
        Report { rows: report }
    }

    fn report_row(&self, row: &'static Row, settings: &Settings) -> ReportRow {
        let given = self.value(row.key);
        let (mut value, mut unit) = given.shown(row.nothing());
        let mut because = "";
        if row.secret && !matches!(given, Value::Unset) && value != row.nothing() {
            value = masked(&value);
        } else if let Some((decided, decided_unit, why)) = decided(row.key, self, settings) {
            (value, unit, because) = (decided, decided_unit, why);
        }
        ReportRow {
            name: row.name,
            value,
            unit,
            origin: self.origin(row.key).clone(),
            because,
            reload: row.reload,
            given: Given::Value(given.clone()),
        }
    }
}

/// What this host, or another setting, made of `auto` or of a default.
fn decided(
    key: Key,
    values: &Values,
    settings: &Settings,
) -> Option<(String, &'static str, &'static str)> {
    let auto = values.word(key) == Some("auto");
    let limit = |limit: Option<u32>| limit.unwrap_or(0).to_string();
    let default = !values.is_given(key);
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other settings are as given")]
    match key {
        Key::Shards if auto => Some((settings.shards.to_string(), "", "auto")),
        Key::Pin if auto => {
            Some(((if settings.pin { "on" } else { "off" }).to_owned(), "", "auto"))
        }
        Key::Memory if auto => {
            let (value, unit) = scalar::size_text(settings.memory_bytes);
            Some((value, unit, "auto"))
        }
        Key::MaxViewers if auto => Some((limit(settings.max_viewers), "", "auto")),
        Key::MaxStartsPerIp if auto => Some((limit(settings.max_starts_per_ip), "", "auto")),
        Key::StateDir if default => {
            let path = settings.state_dir.as_ref()?;
            Some((path.display().to_string(), "", "from the environment"))
        }
        Key::NodeId if default => Some(("auto".to_owned(), "", "the host's name")),
        Key::Allow if default && !values.tokens(Key::PlayToken).is_empty() => {
            Some(("any".to_owned(), "", "a play token is set"))
        }
        Key::Log if default && settings.log == LogFormat::Journald => {
            Some(("journald".to_owned(), "", "stderr is the journal"))
        }
        _ => None,
    }
}

/// Three stars; of a URL only what stands before its host.
fn masked(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return "***".to_owned();
    };
    // A password may hold an @ and a query may hold a password: what is not plainly the host goes.
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}/***"),
        None if rest.contains('@') || rest.contains('?') => "***".to_owned(),
        None => text.to_owned(),
    }
}
