//! What was given at each origin: flags over environment over file.
//!
//! Nothing is read as a value here; unknown names are found here.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ffi::OsString;

use super::error::Problem;
use super::nearest::nearest;
use super::report::Origin;
use super::table::Key;
use super::table::Row;
use super::table::rows;

/// The variable that names the TOML file.
pub const CONFIG_VARIABLE: &str = "RINGCAST_CONFIG";

/// A variable that is no `PROXY_` setting of ours is somebody else's, unless it is this near to
/// one: then it is a typing error.
const TYPING_DISTANCE_MAX: usize = 2;

/// The texts that one origin holds for a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub items: Vec<String>,
    pub origin: Origin,
}

/// A setting, or the file that holds its value (`…_FILE`).
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub row: &'static Row,
    pub from_file: bool,
}

#[derive(Debug, Default)]
pub struct Layers {
    given: BTreeMap<Key, (Slot, Given)>,
    pub problems: Vec<Problem>,
    pub notices: Vec<String>,
}

impl Layers {
    /// Puts one origin over those put before.
    pub fn put(&mut self, layer: Vec<(Slot, Given)>) {
        let mut seen: BTreeMap<Key, bool> = BTreeMap::new();
        for (slot, given) in layer {
            // An empty text (`RINGCAST_REDIS_URL=` in a compose file) gives nothing.
            if matches!(given.items.as_slice(), [only] if only.trim().is_empty()) {
                continue;
            }
            let other = seen.insert(slot.row.key, slot.from_file);
            if other.is_some_and(|from_file| from_file != slot.from_file) {
                let (name, origin) = (slot.row.name, &given.origin);
                self.problems.push(Problem::text(format!(
                    "{name} ({origin}): given twice; accepted: either {name} or {name}_FILE"
                )));
            }
            self.given.insert(slot.row.key, (slot, given));
        }
    }

    pub fn take(&mut self, key: Key) -> Option<(Slot, Given)> {
        self.given.remove(&key)
    }

    /// The environment's layer.
    pub fn environment(&mut self, variables: &[(OsString, OsString)]) -> Vec<(Slot, Given)> {
        let mut layer = Vec::new();
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| is_ours(name)) else {
                continue;
            };
            let Some(slot) = environment_slot(name) else {
                self.unknown_variable(name, value);
                continue;
            };
            match value.to_str() {
                Some("") => {}
                Some(value) => {
                    let origin = Origin::Environment(name.to_owned());
                    layer.push((slot, Given { items: vec![value.to_owned()], origin }));
                }
                None => self.problems.push(Problem::text(format!(
                    "{name} (environment): not UTF-8; accepted: {}",
                    slot.row.kind.accepts()
                ))),
            }
        }
        for (key, name, text) in aliases(variables) {
            // Our own name wins over the alias.
            if layer.iter().any(|(slot, _)| slot.row.key == key) {
                continue;
            }
            let row = key.row();
            self.notices
                .push(format!("{name} is understood; its name here is {}={text}", row.name));
            let given = Given { items: vec![text], origin: Origin::Environment(name.to_owned()) };
            layer.push((Slot { row, from_file: false }, given));
        }
        layer
    }

    fn unknown_variable(&mut self, name: &str, value: &OsStr) {
        if name == CONFIG_VARIABLE || is_kubernetes(name, value) {
            return;
        }
        let names: Vec<String> = rows().flat_map(environment_names).collect();
        let names = names.iter().map(String::as_str).chain([CONFIG_VARIABLE]);
        if name.starts_with("PROXY_") {
            let near = nearest(name, rows().map(|row| row.name));
            if near.is_none_or(|(_, distance)| distance > TYPING_DISTANCE_MAX) {
                return;
            }
        }
        self.problems.push(Problem::unknown(name, "environment", names));
    }
}

/// acexy's variables, as ours would be written.
fn aliases(variables: &[(OsString, OsString)]) -> Vec<(Key, &'static str, String)> {
    let value = |name: &str| {
        let found = variables.iter().find(|(variable, _)| variable.to_str() == Some(name));
        found.and_then(|(_, value)| value.to_str()).filter(|value| !value.trim().is_empty())
    };
    let engine = |host: &str, port: &str| match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let mut found = Vec::new();
    match (value("ACEXY_HOST"), value("ACEXY_PORT")) {
        (None, None) => {}
        (Some(host), port) => {
            found.push((Key::Engines, "ACEXY_HOST", engine(host, port.unwrap_or("6878"))));
        }
        (None, Some(port)) => found.push((Key::Engines, "ACEXY_PORT", engine("localhost", port))),
    }
    if let Some(listen) = value("ACEXY_LISTEN_ADDR") {
        found.push((Key::Listen, "ACEXY_LISTEN_ADDR", listen.to_owned()));
    }
    found
}

fn is_ours(name: &str) -> bool {
    name.starts_with("RINGCAST_") || name.starts_with("PROXY_")
}

fn environment_slot(name: &str) -> Option<Slot> {
    rows().find_map(|row| match name.strip_prefix(row.name) {
        Some("") => Some(Slot { row, from_file: false }),
        Some("_FILE") if row.secret => Some(Slot { row, from_file: true }),
        Some(_) | None => None,
    })
}

fn environment_names(row: &'static Row) -> impl Iterator<Item = String> {
    let file = row.secret.then(|| format!("{}_FILE", row.name));
    [row.name.to_owned()].into_iter().chain(file)
}

/// A service named "ringcast" in Kubernetes puts such variables into every pod.
fn is_kubernetes(name: &str, value: &OsStr) -> bool {
    let link = value.to_str().is_some_and(|value| value.contains("://"));
    name.starts_with("RINGCAST_SERVICE_")
        || name.starts_with("RINGCAST_PORT_")
        || (name == "RINGCAST_PORT" && link)
}
