//! What the operator's SPECs, files and orchestrators say together: the engines that should be
//! in the pool.
//!
//! It keeps the last good list of each source and never asks one itself. The first source that
//! names a host and port wins; its facts are the engine's.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use super::names::Names;
use crate::base::time::Instant;
use crate::engine::orchestrator::Health;
use crate::engine::orchestrator::List;
use crate::engine::spec::HostSpec;
use crate::engine::spec::OrchestratorUrl;
use crate::engine::spec::SPECS_MAX;
use crate::engine::spec::Spec;

pub(super) const FETCH_EVERY: Duration = Duration::from_secs(5);
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub(super) struct Sources {
    configured: Vec<Spec>,
    /// Named by an operator while we run.
    added: Vec<Spec>,
    /// Taken out by an operator while we run, whatever names them.
    removed: BTreeSet<(String, u16)>,
    files: BTreeMap<String, File>,
    orchestrators: BTreeMap<OrchestratorUrl, Orchestrator>,
}

#[derive(Debug, Default)]
struct File {
    specs: Vec<Spec>,
    error: Option<String>,
    was_read: bool,
}

#[derive(Debug)]
struct Orchestrator {
    list: List,
    error: Option<String>,
    was_read: bool,
    next_at: Instant,
    /// The deadline of the fetch that is out.
    fetching: Option<Instant>,
}

/// An engine that should be there, and what its source says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Member {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) name: Option<String>,
    pub(super) forwarded: bool,
    pub(super) max: Option<NonZeroU32>,
    pub(super) draining: bool,
    /// The orchestrator is about to replace it.
    pub(super) unhealthy: bool,
    pub(super) source: String,
}

/// Files to begin and to stop watching.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Watches {
    pub(super) begin: Vec<String>,
    pub(super) stop: Vec<String>,
}

impl Sources {
    pub(super) fn configure(&mut self, specs: Vec<Spec>, now: Instant) -> Watches {
        self.configured = specs;
        // The operator's list has the word again.
        self.removed.clear();
        let mut watches = Watches::default();
        let wanted: BTreeSet<&String> = self
            .configured
            .iter()
            .filter_map(|spec| match spec {
                Spec::File { path } => Some(path),
                Spec::Host(_) | Spec::Dns { .. } | Spec::Orchestrator(_) => None,
            })
            .collect();
        watches.stop = self.files.keys().filter(|path| !wanted.contains(path)).cloned().collect();
        for path in wanted {
            if !self.files.contains_key(path) {
                watches.begin.push(path.clone());
            }
        }
        for path in &watches.stop {
            self.files.remove(path);
        }
        for path in &watches.begin {
            self.files.insert(path.clone(), File::default());
        }
        self.follow_orchestrators(now);
        watches
    }

    /// What is added twice, or is configured, is there once.
    pub(super) fn add(&mut self, specs: Vec<Spec>, now: Instant) {
        for spec in specs {
            if let Spec::Host(host) = &spec {
                self.removed.remove(&(host.host.clone(), host.port));
            }
            if !self.added.contains(&spec) && self.added.len() < SPECS_MAX {
                self.added.push(spec);
            }
        }
        self.follow_orchestrators(now);
    }

    pub(super) fn remove(&mut self, host: &str, port: u16) {
        let is_it =
            |spec: &Spec| matches!(spec, Spec::Host(at) if at.host == host && at.port == port);
        self.added.retain(|spec| !is_it(spec));
        if self.removed.len() < SPECS_MAX {
            self.removed.insert((host.to_owned(), port));
        }
    }

    /// True when the list of engines may have changed; an error is a complaint when it is new.
    pub(super) fn file_read(
        &mut self,
        path: &str,
        result: Result<Vec<Spec>, String>,
        now: Instant,
    ) -> Result<bool, Option<String>> {
        let Some(file) = self.files.get_mut(path) else { return Ok(false) };
        file.was_read = true;
        let changed = match result {
            Ok(specs) => {
                file.error = None;
                std::mem::replace(&mut file.specs, specs.clone()) != specs
            }
            Err(error) => return Err(complain(&mut file.error, error)),
        };
        self.follow_orchestrators(now);
        Ok(changed)
    }

    pub(super) fn list_fetched(
        &mut self,
        url: &OrchestratorUrl,
        result: Result<List, String>,
    ) -> Result<bool, Option<String>> {
        let Some(orchestrator) = self.orchestrators.get_mut(url) else { return Ok(false) };
        orchestrator.fetching = None;
        orchestrator.was_read = true;
        match result {
            Ok(list) => {
                orchestrator.error = None;
                Ok(std::mem::replace(&mut orchestrator.list, list.clone()) != list)
            }
            Err(error) => Err(complain(&mut orchestrator.error, error)),
        }
    }

    /// The lists to fetch now, and from where; one without an address waits for its name.
    pub(super) fn take_due(
        &mut self,
        names: &Names,
        now: Instant,
    ) -> Vec<(OrchestratorUrl, Option<SocketAddr>)> {
        let mut due = Vec::new();
        for (url, orchestrator) in &mut self.orchestrators {
            if orchestrator.next_event() > now {
                continue;
            }
            let address = names.addresses(&url.host).first().copied();
            orchestrator.fetching = address.is_some().then(|| now + FETCH_TIMEOUT);
            orchestrator.next_at = now + FETCH_EVERY;
            due.push((url.clone(), address.map(|address| SocketAddr::new(address, url.port))));
        }
        due
    }

    /// A list that waited for this name can be fetched.
    pub(super) fn address_found(&mut self, name: &str, now: Instant) {
        for (url, orchestrator) in &mut self.orchestrators {
            if url.host == name && !orchestrator.was_read {
                orchestrator.next_at = now;
            }
        }
    }

    pub(super) fn next_event(&self) -> Option<Instant> {
        self.orchestrators.values().map(Orchestrator::next_event).min()
    }

    /// Every source has been read once, with or without success.
    pub(super) fn is_settled(&self) -> bool {
        self.files.values().all(|file| file.was_read)
            && self.orchestrators.values().all(|orchestrator| orchestrator.was_read)
    }

    /// The names whose addresses are needed.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for spec in self.specs() {
            match spec {
                Spec::Host(host) => names.insert(host.host.clone()),
                Spec::Dns { name, .. } => names.insert(name.clone()),
                Spec::Orchestrator(url) => names.insert(url.host.clone()),
                Spec::File { .. } => false,
            };
        }
        let listed = self.orchestrators.values().flat_map(|one| &one.list.engines);
        names.extend(listed.map(|listed| listed.host.host.clone()));
        names
    }

    /// The engines that should be there, each host and port once.
    pub(super) fn members(&self, names: &Names) -> Vec<Member> {
        let mut members = Vec::new();
        for spec in self.specs() {
            match spec {
                Spec::Host(host) => members.push(Member::new(host, spec.to_string())),
                Spec::Dns { name, port } => {
                    for address in names.addresses(name) {
                        let host = HostSpec::new(&address.to_string(), *port);
                        members.extend(host.map(|host| Member::new(&host, spec.to_string())));
                    }
                }
                Spec::Orchestrator(url) => {
                    let list = self.orchestrators.get(url).map(|one| &one.list.engines);
                    for listed in list.into_iter().flatten() {
                        members.push(Member {
                            draining: listed.draining,
                            unhealthy: listed.health == Health::Unhealthy,
                            ..Member::new(&listed.host, spec.to_string())
                        });
                    }
                }
                Spec::File { .. } => {}
            }
        }
        let mut seen = BTreeSet::new();
        members.retain(|member| {
            let key = (member.host.clone(), member.port);
            !self.removed.contains(&key) && seen.insert(key)
        });
        members
    }

    /// The configured SPECs with every file's in its place, then those that were added.
    fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.configured.iter().chain(&self.added).flat_map(|spec| match spec {
            Spec::File { path } => {
                self.files.get(path).map(|file| &file.specs[..]).unwrap_or_default()
            }
            Spec::Host(_) | Spec::Dns { .. } | Spec::Orchestrator(_) => std::slice::from_ref(spec),
        })
    }

    fn follow_orchestrators(&mut self, now: Instant) {
        let wanted: BTreeSet<OrchestratorUrl> = self
            .specs()
            .filter_map(|spec| match spec {
                Spec::Orchestrator(url) => Some(url.clone()),
                Spec::Host(_) | Spec::Dns { .. } | Spec::File { .. } => None,
            })
            .collect();
        self.orchestrators.retain(|url, _| wanted.contains(url));
        for url in wanted {
            self.orchestrators.entry(url).or_insert_with(|| Orchestrator {
                list: List::default(),
                error: None,
                was_read: false,
                next_at: now,
                fetching: None,
            });
        }
    }
}

impl Orchestrator {
    fn next_event(&self) -> Instant {
        // A fetch that is never answered is given up a second after its own deadline.
        self.fetching.map_or(self.next_at, |deadline| deadline + Duration::from_secs(1))
    }
}

impl Member {
    fn new(host: &HostSpec, source: String) -> Self {
        Self {
            host: host.host.clone(),
            port: host.port,
            name: host.name.clone(),
            forwarded: host.forwarded,
            max: host.max,
            draining: false,
            unhealthy: false,
            source,
        }
    }
}

/// The error, when it differs from the last one.
fn complain(last: &mut Option<String>, error: String) -> Option<String> {
    let complaint = (last.as_ref() != Some(&error)).then(|| error.clone());
    *last = Some(error);
    complaint
}
