//! What the main thread does for the shards because it may block: files. Names it passes on.

use crate::app::names::Names;
use crate::engine::pool;
use crate::engine::spec;
use crate::net::dns;
use crate::net::files;
use crate::shard::Chore;
use crate::shard::Fleet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

/// An engine list; a line is 300 bytes at most.
const FILE_BYTES_MAX: usize = 1 << 20;

pub(super) struct Errands {
    /// Watched, with what they looked like: time of change and length.
    files: BTreeMap<String, Option<(SystemTime, u64)>>,
    names: Names,
}

impl Errands {
    pub(super) fn start(fleet: &Fleet) -> std::io::Result<Self> {
        Ok(Self { files: BTreeMap::new(), names: Names::start(fleet.pool_teller(), resolve)? })
    }

    pub(super) fn run(&mut self, chore: Chore, fleet: &Fleet) {
        match chore {
            Chore::Resolve { name } => self.names.ask(name),
            Chore::Watch { path } => {
                let seen = look(&path);
                read(&path, fleet);
                self.files.insert(path, seen);
            }
            Chore::Unwatch { path } => {
                self.files.remove(&path);
            }
            Chore::Ended { .. } | Chore::Signal(_) => {}
        }
    }

    /// Reads again what has changed.
    pub(super) fn look(&mut self, fleet: &Fleet) {
        for (path, seen) in &mut self.files {
            let now = look(path);
            if now != *seen {
                *seen = now;
                read(path, fleet);
            }
        }
    }
}

fn resolve(name: &str) -> Result<Vec<IpAddr>, String> {
    let found = dns::resolve(name, 0).map_err(|error| error.to_string())?;
    Ok(found.into_iter().map(|address| address.ip()).collect())
}

fn look(path: &str) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &str, fleet: &Fleet) {
    let bytes = files::read_limited(Path::new(path), FILE_BYTES_MAX);
    let result = bytes.map_err(|error| error.to_string()).and_then(|bytes| {
        spec::parse_list(&String::from_utf8_lossy(&bytes)).map_err(|error| error.to_string())
    });
    fleet.tell_pool(pool::Input::FileList { path: path.to_owned(), result });
}
