//! The pool: the engines known, whether they answer, how many sessions each carries, and which
//! one serves next. It lives on shard 0, the only one that grants.
//!
//! It sends, resolves and fetches nothing: it says what is due and is told what came of it.
//! Invariants: an engine's session count is the number of its reservations; a reservation is
//! granted only to an engine that is usable and under its limit; every Select is answered exactly
//! once, in the same turn; an engine's id is never used again.

mod breaker;
mod engine;
mod health;
mod messages;
mod names;
mod select;
mod sources;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

use self::breaker::Breaker;
pub use self::breaker::Rest;
use self::engine::Engine;
use self::engine::Transition;
pub use self::health::EngineState;
pub use self::messages::Denied;
pub use self::messages::EngineRow;
pub use self::messages::Granted;
pub use self::messages::Input;
pub use self::messages::Need;
pub use self::messages::Output;
pub use self::messages::PoolConfig;
pub use self::messages::Reservation;
pub use self::messages::Select;
use self::names::Names;
use self::sources::Sources;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::ids::ShardId;
use crate::base::time::Instant;
use crate::engine::reply::Failure;
use crate::engine::reply::Status;

#[derive(Debug)]
struct Held {
    engine: EngineId,
    owner: ShardId,
    stream: Option<Infohash>,
}

#[derive(Debug)]
pub struct Pool {
    config: PoolConfig,
    sources: Sources,
    names: Names,
    engines: BTreeMap<EngineId, Engine>,
    by_address: BTreeMap<(String, u16), EngineId>,
    reservations: BTreeMap<Reservation, Held>,
    outputs: VecDeque<Output>,
    engine_next: u32,
    reservation_next: u64,
    /// Counts choices: the order of "least recently chosen".
    choices: u64,
    is_full: bool,
    has_changed: bool,
}

impl Pool {
    pub fn new(config: PoolConfig) -> Self {
        Self {
            config,
            sources: Sources::default(),
            names: Names::default(),
            engines: BTreeMap::new(),
            by_address: BTreeMap::new(),
            reservations: BTreeMap::new(),
            outputs: VecDeque::new(),
            engine_next: 1,
            reservation_next: 1,
            choices: 0,
            is_full: false,
            has_changed: false,
        }
    }

    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Configure(specs) => {
                let watches = self.sources.configure(specs, now);
                let stop = watches.stop.into_iter().map(|path| Output::UnwatchFile { path });
                self.outputs.extend(stop);
                let begin = watches.begin.into_iter().map(|path| Output::WatchFile { path });
                self.outputs.extend(begin);
                self.reconcile(now);
            }
            Input::Add(specs) => {
                self.sources.add(specs, now);
                self.reconcile(now);
            }
            Input::Remove { engine } => {
                if let Some(engine) = self.engines.get(&engine) {
                    self.sources.remove(&engine.host, engine.port);
                    self.reconcile(now);
                }
            }
            Input::Limits(config) => {
                self.config = config;
                self.reconcile(now);
            }
            Input::Resolved { name, result } => self.resolved(&name, result, now),
            Input::OrchestratorList { url, result } => {
                if result.is_err() {
                    self.names.ask_again(&url.host, now);
                }
                let read = self.sources.list_fetched(&url, result);
                self.source_read(read, &format!("orchestrator:{url}"), now);
            }
            Input::FileList { path, result } => {
                let read = self.sources.file_read(&path, result, now);
                self.source_read(read, &format!("file:{path}"), now);
            }
            Input::ProbeDone { engine, generation, result } => {
                self.probe_done(engine, generation, result, now);
            }
            Input::Select(select) => self.select(&select, now),
            Input::Release { reservation } => self.release(reservation),
            Input::ReleaseAll { owner, kept } => {
                let held = self.reservations.iter().filter(|(_, held)| held.owner == owner);
                let lost = held.map(|(at, _)| *at).filter(|at| !kept.contains(at));
                for reservation in lost.collect::<Vec<_>>() {
                    self.release(reservation);
                }
            }
            Input::Pass { reservation, to } => self.pass(reservation, to),
            Input::ConnectFailed { engine, address } => self.connect_failed(engine, address, now),
            Input::Outcome { engine, result } => self.outcome(engine, result, now),
            Input::Media { engine } => self.gave_media(engine),
            Input::Quiet { engine } => self.fell_silent(engine, now),
            Input::Drain { engine, draining } => {
                if let Some(engine) = self.engines.get_mut(&engine) {
                    engine.drain_asked = draining;
                    self.has_changed = true;
                }
                if !draining {
                    // Whoever takes it back in trusts it.
                    self.end_rest(engine);
                }
            }
            Input::EndRest { engine } => self.end_rest(engine),
            Input::Elsewhere(sessions) => self.note_elsewhere(&sessions),
        }
        self.handle_timeout(now);
        self.vacate();
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        std::mem::take(&mut self.has_changed).then_some(Output::Changed)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let engines = self.engines.values().filter_map(Engine::next_event).min();
        [engines, self.names.next_event(), self.sources.next_event()].into_iter().flatten().min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.run_due(now);
        }
    }

    /// Of the engines that sources name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.engines.values().filter(|engine| !engine.is_gone).map(|engine| &*engine.name)
    }

    /// Engines that answer: 0 makes the process not ready.
    pub fn engines_up(&self) -> usize {
        self.engines.values().filter(|engine| engine.health.state() == EngineState::Up).count()
    }

    /// Every source was read, every name asked and every engine probed once: what a Select is
    /// denied from now on, it is denied for a reason. Who waits for it at boot bounds the wait.
    pub fn is_settled(&self) -> bool {
        let known = |engine: &Engine| engine.health.state() != EngineState::Unknown;
        self.sources.is_settled() && self.names.is_settled() && self.engines.values().all(known)
    }

    pub fn sessions(&self) -> usize {
        self.reservations.len()
    }

    pub fn rows(&self) -> Vec<EngineRow> {
        self.engines.iter().map(|(id, engine)| engine.row(*id)).collect()
    }

    /// Which streams an engine carries, as far as they were known when they were opened.
    pub fn streams_on(&self, engine: EngineId) -> impl Iterator<Item = Infohash> {
        let held = self.reservations.values().filter(move |held| held.engine == engine);
        held.filter_map(|held| held.stream)
    }

    /// An engine by its name or its number.
    pub fn find(&self, text: &str) -> Option<EngineId> {
        let mut named = self.engines.iter().filter(|(_, engine)| !engine.is_gone);
        let by_name = named.find(|(_, engine)| &*engine.name == text);
        by_name.map(|(id, _)| *id).or_else(|| {
            let id = EngineId(text.parse().ok()?);
            self.engines.contains_key(&id).then_some(id)
        })
    }

    pub fn check_invariants(&self) {
        for (id, engine) in &self.engines {
            let held = self.reservations.values().filter(|held| held.engine == *id).count();
            assert_eq!(held, engine.sessions as usize, "sessions of {id:?}");
            assert!(!engine.is_gone || engine.sessions > 0, "{id:?} is gone and empty");
            assert!(engine.address_at < engine.addresses.len().max(1));
            assert!(id.0 < self.engine_next);
            let indexed = self.by_address.get(&(engine.host.clone(), engine.port));
            assert_eq!(indexed, Some(id), "the index of {id:?}");
        }
        assert_eq!(self.by_address.len(), self.engines.len());
        assert!(self.reservations.values().all(|held| self.engines.contains_key(&held.engine)));
    }

    fn gave_media(&mut self, engine: EngineId) {
        if let Some(engine) = self.engines.get_mut(&engine) {
            engine.breaker.succeeded();
            self.has_changed = true;
        }
    }

    fn end_rest(&mut self, id: EngineId) {
        if let Some(engine) = self.engines.get_mut(&id) {
            engine.breaker = Breaker::default();
            self.has_changed = true;
        }
    }

    fn fell_silent(&mut self, engine: EngineId, now: Instant) {
        if let Some(engine) = self.engines.get_mut(&engine) {
            engine.health.ask_soon(now);
        }
    }

    fn note_elsewhere(&mut self, sessions: &BTreeMap<String, u32>) {
        for engine in self.engines.values_mut() {
            engine.elsewhere = sessions.get(&*engine.name).copied().unwrap_or(0);
        }
    }

    fn source_read(&mut self, read: Result<bool, Option<String>>, source: &str, now: Instant) {
        match read {
            Ok(false) | Err(None) => {}
            Ok(true) => self.reconcile(now),
            Err(Some(error)) => self.warn(format!("{source}: {error}")),
        }
    }

    fn resolved(&mut self, name: &str, result: Result<Vec<IpAddr>, String>, now: Instant) {
        let answered = self.names.answered(name, result, now);
        if let Some(error) = answered.complaint {
            self.warn(format!("{name}: {error}"));
        }
        if answered.addresses_changed {
            self.sources.address_found(name, now);
            self.reconcile(now);
        } else {
            self.give_addresses(now);
        }
    }

    /// Makes the engines those that the sources name.
    fn reconcile(&mut self, now: Instant) {
        self.names.want(&self.sources.names(), now);
        let mut members = self.sources.members(&self.names);
        let is_full = members.len() > self.config.engines_max;
        if is_full && !self.is_full {
            let max = self.config.engines_max;
            self.warn(format!("{} engines are named, {max} are used", members.len()));
        }
        self.is_full = is_full;
        members.truncate(self.config.engines_max);

        let mut gone: Vec<EngineId> = self.engines.keys().copied().collect();
        for member in members {
            let key = (member.host.clone(), member.port);
            let id = match self.by_address.get(&key) {
                Some(id) => *id,
                None => {
                    let id = EngineId(self.engine_next);
                    self.engine_next += 1;
                    self.engines.insert(id, Engine::new(&member, now));
                    self.by_address.insert(key, id);
                    id
                }
            };
            gone.retain(|old| *old != id);
            let name = self.free_name(&member, id);
            let engine = self.engines.get_mut(&id).expect("it was found or inserted above");
            engine.set_facts(member, name);
        }
        for id in gone {
            if let Some(engine) = self.engines.get_mut(&id) {
                engine.is_gone = true;
            }
            self.forget_if_gone(id);
        }
        self.has_changed = true;
        self.give_addresses(now);
    }

    /// The member's name, unless another engine has it already.
    fn free_name(&self, member: &sources::Member, id: EngineId) -> Arc<str> {
        let plain = crate::engine::spec::host_header(&member.host, member.port);
        let wanted = member.name.clone().unwrap_or(plain);
        let taken = |(other, engine): (&EngineId, &Engine)| *other != id && *engine.name == *wanted;
        if self.engines.iter().any(taken) {
            format!("{wanted}-{}", id.0).into()
        } else {
            wanted.into()
        }
    }

    /// Gives every engine what its name resolves to by now.
    fn give_addresses(&mut self, now: Instant) {
        for id in self.engines.keys().copied().collect::<Vec<_>>() {
            let Some(engine) = self.engines.get_mut(&id) else { continue };
            let addresses = self.names.addresses(&engine.host);
            let error = self.names.error(&engine.host);
            let transition = engine.set_addresses(addresses, error, now);
            self.announce(id, transition);
        }
    }

    fn probe_done(
        &mut self,
        id: EngineId,
        generation: Generation,
        result: Result<Status, Failure>,
        now: Instant,
    ) {
        let Some(engine) = self.engines.get_mut(&id) else { return };
        if !engine.health.end_probe(generation) {
            return;
        }
        let transition = engine.probed(result, now);
        if engine.health.state() == EngineState::Down {
            self.names.ask_again(&engine.host, now);
        }
        self.announce(id, transition);
    }

    fn connect_failed(&mut self, id: EngineId, address: SocketAddr, now: Instant) {
        let Some(engine) = self.engines.get_mut(&id) else { return };
        self.names.ask_again(&engine.host, now);
        // An address that is no longer the current one was judged already.
        if engine.address() == Some(address) {
            let transition = engine.refused(now);
            self.announce(id, transition);
        }
    }

    fn outcome(&mut self, id: EngineId, result: Result<(), Failure>, now: Instant) {
        let Some(engine) = self.engines.get_mut(&id) else { return };
        let (transition, warning) = engine.outcome(result, now);
        let name = Arc::clone(&engine.name);
        self.announce(id, transition);
        if let Some(text) = warning {
            self.warn(format!("engine {name}: {text}"));
        }
    }

    fn release(&mut self, reservation: Reservation) {
        let Some(held) = self.reservations.remove(&reservation) else { return };
        let engine = self.engines.get_mut(&held.engine).expect("a reservation holds its engine");
        engine.sessions -= 1;
        self.has_changed = true;
        self.forget_if_gone(held.engine);
    }

    fn pass(&mut self, reservation: Reservation, to: ShardId) {
        let Some(held) = self.reservations.get_mut(&reservation) else { return };
        held.owner = to;
        let engine = held.engine;
        if self.engines.get(&engine).is_some_and(|engine| engine.is_vacated) {
            // Who had it before was told.
            self.outputs.push_back(Output::Vacate { engine, owner: to });
        }
    }

    /// Whoever has sessions on an engine that is being drained is told so, and when that is over.
    fn vacate(&mut self) {
        for (id, engine) in &mut self.engines {
            let leave = engine.is_to_be_left();
            if std::mem::replace(&mut engine.is_vacated, leave) == leave {
                continue;
            }
            let held = self.reservations.values().filter(|held| held.engine == *id);
            let owners: BTreeSet<ShardId> = held.map(|held| held.owner).collect();
            let engine = *id;
            self.outputs.extend(owners.into_iter().map(|owner| match leave {
                true => Output::Vacate { engine, owner },
                false => Output::Stay { engine, owner },
            }));
        }
    }

    fn forget_if_gone(&mut self, id: EngineId) {
        let is_over = self.engines.get(&id).is_some_and(|e| e.is_gone && e.sessions == 0);
        if is_over && let Some(engine) = self.engines.remove(&id) {
            self.by_address.remove(&(engine.host, engine.port));
            self.has_changed = true;
        }
    }

    /// Everything whose time has come: late probes, new probes, names, lists.
    fn run_due(&mut self, now: Instant) {
        for id in self.engines.keys().copied().collect::<Vec<_>>() {
            let Some(engine) = self.engines.get_mut(&id) else { continue };
            if engine.health.is_overdue(now) {
                engine.health.abandon_probe();
                let transition = engine.probed(Err(Failure::Silent), now);
                self.announce(id, transition);
            }
            let Some(engine) = self.engines.get_mut(&id) else { continue };
            if let Some(address) = engine.address().filter(|_| engine.health.is_due(now)) {
                let (generation, deadline) = engine.health.begin_probe(now);
                let host_header = Arc::clone(&engine.host_header);
                self.outputs.push_back(Output::Probe {
                    engine: id,
                    generation,
                    address,
                    host_header,
                    deadline,
                });
            }
        }
        for (url, address) in self.sources.take_due(&self.names, now) {
            if let Some(address) = address {
                let deadline = now + sources::FETCH_TIMEOUT;
                self.outputs.push_back(Output::FetchOrchestrator { url, address, deadline });
            }
        }
        let due = self.names.take_due(now).into_iter().map(|name| Output::Resolve { name });
        self.outputs.extend(due);
    }

    fn announce(&mut self, id: EngineId, transition: Transition) {
        let Some(engine) = self.engines.get(&id) else { return };
        let name = Arc::clone(&engine.name);
        let output = match transition {
            Transition::Nothing => return,
            Transition::Changed => None,
            Transition::Up => {
                Some(Output::EngineUp { engine: id, name, version: engine.version.clone() })
            }
            Transition::Down => {
                let reason = engine.health.reason().unwrap_or_default().to_owned();
                Some(Output::EngineDown { engine: id, name, reason })
            }
        };
        self.outputs.extend(output);
        self.has_changed = true;
    }

    fn warn(&mut self, text: String) {
        self.outputs.push_back(Output::Warning { text });
    }
}

#[cfg(test)]
mod choice_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world_tests;
