//! The pool under a virtual clock: what engines that die and come back do, and where engines come
//! from. How one is chosen is in `choice_tests`, random worlds are in `world_tests`.

use std::collections::BTreeSet;

use std::time::Duration;

use super::*;
use crate::engine::orchestrator;

pub(super) const T0: Instant = Instant::from_micros(1_000_000);

pub(super) fn seconds(n: u64) -> Instant {
    T0 + Duration::from_secs(n)
}

/// A pool whose outputs are collected; probes are answered by `answer`.
pub(super) struct Bench {
    pub(super) pool: Pool,
    pub(super) now: Instant,
    pub(super) outputs: Vec<Output>,
    /// Addresses that refuse, and ones that never answer.
    pub(super) refusing: BTreeSet<SocketAddr>,
    pub(super) silent: BTreeSet<SocketAddr>,
}

impl Bench {
    pub(super) fn new(specs: &str) -> Self {
        Self::with_limit(specs, 0)
    }

    pub(super) fn with_limit(specs: &str, streams_per_engine_max: u32) -> Self {
        let config = PoolConfig { streams_per_engine_max, ..PoolConfig::default() };
        let mut bench = Self {
            pool: Pool::new(config),
            now: T0,
            outputs: Vec::new(),
            refusing: BTreeSet::new(),
            silent: BTreeSet::new(),
        };
        bench.configure(specs);
        bench
    }

    pub(super) fn configure(&mut self, specs: &str) {
        self.handle(Input::Configure(crate::engine::spec::parse_many(specs).unwrap()));
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.pool.handle(input, self.now);
        self.drain();
    }

    /// Feeds every answer that the world has, until the pool is quiet.
    fn drain(&mut self) {
        loop {
            let mut answers = Vec::new();
            while let Some(output) = self.pool.poll_output() {
                if let Output::Probe { engine, generation, address, .. } = &output {
                    let result = if self.refusing.contains(address) {
                        Err(Failure::Refused)
                    } else if self.silent.contains(address) {
                        continue;
                    } else {
                        Ok(Status { version: Some("3.2.11".to_owned()) })
                    };
                    let (engine, generation) = (*engine, *generation);
                    answers.push(Input::ProbeDone { engine, generation, result });
                }
                self.outputs.push(output);
            }
            self.pool.check_invariants();
            if answers.is_empty() {
                return;
            }
            for answer in answers {
                self.pool.handle(answer, self.now);
            }
        }
    }

    pub(super) fn advance(&mut self, to: Instant) {
        while let Some(at) = self.pool.poll_timeout().filter(|at| *at <= to) {
            self.now = at.max(self.now);
            self.pool.handle_timeout(self.now);
            self.drain();
        }
        self.now = to;
    }

    pub(super) fn resolve(&mut self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        self.handle(Input::Resolved { name: name.to_owned(), result: Ok(addresses) });
    }

    pub(super) fn select_with(
        &mut self,
        change: impl FnOnce(&mut Select),
    ) -> Result<Granted, Denied> {
        let mut select = Select::any(7, ShardId(1), Need::Session);
        change(&mut select);
        self.outputs.clear();
        self.handle(Input::Select(select));
        let mut answers = self.outputs.iter().filter_map(|output| {
            if let Output::Granted(granted) = output {
                return Some(Ok(granted.clone()));
            }
            let Output::Denied { token: 7, reason, .. } = output else { return None };
            Some(Err(*reason))
        });
        let answer = answers.next().expect("every select is answered in its turn");
        assert!(answers.next().is_none(), "and only once");
        answer
    }

    pub(super) fn select(&mut self) -> Result<Granted, Denied> {
        self.select_with(|_| {})
    }

    /// The name of the engine that a session gets.
    pub(super) fn chosen(&mut self) -> String {
        self.select().unwrap().name.to_string()
    }

    pub(super) fn row(&self, name: &str) -> EngineRow {
        self.pool.rows().into_iter().find(|row| &*row.name == name).unwrap()
    }

    pub(super) fn has(&self, wanted: impl Fn(&Output) -> bool) -> bool {
        self.outputs.iter().any(wanted)
    }
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn an_engine_that_refuses_is_down_and_up_again_when_it_answers() {
    let mut bench = Bench::new("10.0.0.1,name=a");
    let id = bench.pool.find("a").unwrap();
    assert!(bench.has(|o| matches!(o, Output::EngineUp { version: Some(v), .. } if v == "3.2.11")));
    bench.refusing.insert(address("10.0.0.1:6878"));
    let failed = Input::ConnectFailed { engine: id, address: address("10.0.0.1:6878") };
    bench.handle(failed.clone());
    assert_eq!(bench.row("a").state, EngineState::Up, "once may be a full backlog");
    assert!(bench.select().is_ok(), "and it is the only one");
    bench.handle(failed);
    assert_eq!(bench.row("a").state, EngineState::Down);
    assert!(
        bench.has(|o| matches!(o, Output::EngineDown { reason, .. } if reason == "no connection"))
    );
    assert_eq!(bench.select().unwrap_err(), Denied::NoUsableEngine);
    bench.advance(seconds(30));
    assert_eq!(bench.row("a").state, EngineState::Down);
    // It comes back, and somebody asks: found within a second.
    bench.refusing.clear();
    bench.now = bench.now + Duration::from_secs(1);
    let _ = bench.select();
    assert_eq!(bench.row("a").state, EngineState::Up);
    assert!(bench.select().is_ok());
}

#[test]
fn an_engine_that_hangs_is_down_after_three_unanswered_probes() {
    let mut bench = Bench::new("10.0.0.1,name=a");
    bench.silent.insert(address("10.0.0.1:6878"));
    bench.advance(seconds(10 + 5 + 1 + 5));
    assert_eq!(bench.row("a").state, EngineState::Up, "two unanswered");
    bench.advance(seconds(10 + 5 + 1 + 5 + 1 + 5));
    assert_eq!(bench.row("a").state, EngineState::Down);
    assert!(bench.row("a").reason.unwrap().contains("get_status"));
    // Any other answer proves it alive.
    let engine = bench.pool.find("a").unwrap();
    bench.handle(Input::Outcome { engine, result: Ok(()) });
    assert_eq!(bench.row("a").state, EngineState::Up);
}

#[test]
fn a_suspect_engine_gives_way_to_a_good_one() {
    let mut bench = Bench::new("10.0.0.1,name=a 10.0.0.2,name=b");
    let engine = bench.pool.find("a").unwrap();
    bench.silent.insert(address("10.0.0.1:6878"));
    bench.handle(Input::ConnectFailed { engine, address: address("10.0.0.1:6878") });
    for _ in 0..3 {
        assert_eq!(bench.chosen(), "b");
    }
    let granted = bench.select_with(|s| s.prefer = Some(engine)).unwrap();
    assert_eq!(&*granted.name, "b", "even where it is preferred");
}

#[test]
fn a_late_answer_to_an_old_probe_changes_nothing() {
    let mut bench = Bench::new("");
    bench.silent.insert(address("10.0.0.1:6878"));
    bench.pool.handle(Input::Configure(vec!["10.0.0.1".parse().unwrap()]), T0);
    let Some(Output::Probe { engine, generation, deadline, .. }) = bench.pool.poll_output() else {
        panic!("a new engine is probed at once")
    };
    bench.advance(deadline + Duration::from_secs(2));
    bench.handle(Input::ProbeDone { engine, generation, result: Ok(Status::default()) });
    assert_eq!(bench.pool.rows()[0].state, EngineState::Unknown);
}

#[test]
fn every_address_of_a_name_is_tried_before_it_is_a_strike() {
    let mut bench = Bench::new("engine,name=a");
    assert!(bench.has(|o| *o == Output::Resolve { name: "engine".to_owned() }));
    assert_eq!(bench.select().unwrap_err(), Denied::NoUsableEngine);
    bench.refusing.insert(address("10.0.0.1:6878"));
    bench.resolve("engine", &["10.0.0.1", "10.0.0.2"]);
    let row = bench.row("a");
    assert_eq!(row.state, EngineState::Up, "the second address answered");
    assert_eq!(row.address, Some(address("10.0.0.2:6878")));
    // A resolver that says the same in another order changes nothing.
    bench.outputs.clear();
    bench.resolve("engine", &["10.0.0.2", "10.0.0.1"]);
    assert_eq!(bench.row("a").address, Some(address("10.0.0.2:6878")));
    // The container moved: the new address is probed at once and the engine keeps its id.
    let id = bench.row("a").id;
    bench.resolve("engine", &["10.0.0.7"]);
    assert_eq!(bench.row("a").address, Some(address("10.0.0.7:6878")));
    assert_eq!(bench.row("a").id, id);
}

#[test]
fn a_failed_connect_asks_for_the_name_again() {
    let mut bench = Bench::new("engine,name=a");
    bench.resolve("engine", &["10.0.0.1"]);
    bench.advance(seconds(3));
    bench.outputs.clear();
    let engine = bench.pool.find("a").unwrap();
    bench.handle(Input::ConnectFailed { engine, address: address("10.0.0.1:6878") });
    assert!(bench.has(|o| matches!(o, Output::Resolve { .. })));
}

#[test]
fn an_unresolvable_name_is_down_with_one_warning() {
    let mut bench = Bench::new("engine,name=a");
    for _ in 0..3 {
        let result = Err("no such host".to_owned());
        bench.handle(Input::Resolved { name: "engine".to_owned(), result });
    }
    let warnings = bench.outputs.iter().filter(|o| matches!(o, Output::Warning { .. })).count();
    assert_eq!(warnings, 1);
    assert_eq!(bench.row("a").state, EngineState::Down);
    assert_eq!(bench.row("a").reason.as_deref(), Some("no such host"));
    assert!(bench.pool.is_settled());
    bench.resolve("engine", &["10.0.0.1"]);
    assert_eq!(bench.row("a").state, EngineState::Up);
}

#[test]
fn every_address_of_a_dns_spec_is_an_engine() {
    let mut bench = Bench::new("dns:tasks.ace:6879");
    bench.resolve("tasks.ace", &["10.0.0.1", "fd00::1"]);
    let names: Vec<_> = bench.pool.rows().iter().map(|row| row.name.to_string()).collect();
    assert_eq!(names, ["10.0.0.1:6879", "[fd00::1]:6879"]);
    let first = bench.select().unwrap();
    assert_eq!(&*first.name, "10.0.0.1:6879");
    // It leaves the answer: no new session, and the row stays until the session ends.
    bench.resolve("tasks.ace", &["fd00::1"]);
    assert!(bench.row("10.0.0.1:6879").draining);
    assert_eq!(bench.chosen(), "[fd00::1]:6879");
    bench.handle(Input::Release { reservation: first.reservation.unwrap() });
    assert_eq!(bench.pool.rows().len(), 1);
    let old = first.engine;
    bench.resolve("tasks.ace", &["10.0.0.1", "fd00::1"]);
    assert_ne!(bench.row("10.0.0.1:6879").id, old, "an id is never used again");
}

#[test]
fn an_orchestrator_is_fetched_every_five_seconds_and_its_last_good_list_kept() {
    let mut bench = Bench::new("orchestrator:http://orch:8000");
    let is_fetch = |o: &Output| matches!(o, Output::FetchOrchestrator { .. });
    assert!(!bench.has(is_fetch));
    bench.resolve("orch", &["10.9.9.9"]);
    let Some(Output::FetchOrchestrator { url, address: from, .. }) =
        bench.outputs.iter().find(|o| is_fetch(o)).cloned()
    else {
        panic!("fetched as soon as its name is known")
    };
    assert_eq!((from, url.path.as_str()), (address("10.9.9.9:8000"), "/api/v1/engines"));
    let list = |text: &str| orchestrator::parse(text.as_bytes());
    let rows = r#"[{"container_name":"one","host":"10.0.0.1","port":6878,"forwarded":true,"health_status":"unhealthy"},
        {"container_name":"two","host":"10.0.0.2","port":6878,"health_status":"healthy"},
        {"container_name":"three","host":"10.0.0.3","port":6878,"draining":true}]"#;
    bench.handle(Input::OrchestratorList { url: url.clone(), result: list(rows) });
    assert_eq!(bench.pool.rows().len(), 3);
    for _ in 0..3 {
        assert_eq!(bench.chosen(), "two", "healthy and not draining");
    }
    bench.outputs.clear();
    bench.advance(seconds(5));
    assert_eq!(bench.outputs.iter().filter(|o| is_fetch(o)).count(), 1);
    bench.handle(Input::OrchestratorList { url: url.clone(), result: list("oops") });
    bench.handle(Input::OrchestratorList { url: url.clone(), result: list("oops") });
    assert_eq!(bench.outputs.iter().filter(|o| matches!(o, Output::Warning { .. })).count(), 1);
    assert_eq!(bench.pool.rows().len(), 3, "the last good list is kept");
    bench.handle(Input::OrchestratorList { url, result: list("[]") });
    assert_eq!(bench.pool.rows().len(), 1, "an empty list is a list; two still has sessions");
}

#[test]
fn a_file_is_watched_and_its_engines_follow_it() {
    let mut bench = Bench::new("file:/engines 10.0.0.9,name=z");
    assert!(bench.has(|o| *o == Output::WatchFile { path: "/engines".to_owned() }));
    let read = |text: &str| Input::FileList {
        path: "/engines".to_owned(),
        result: crate::engine::spec::parse_list(text).map_err(|error| error.to_string()),
    };
    bench.handle(read("10.0.0.1,name=a\n10.0.0.9,name=other,max=1\n"));
    assert_eq!(bench.pool.rows().len(), 2, "one engine for one address");
    bench.handle(read("10.0.0.1,name=b\nbad host\n"));
    assert!(bench.pool.find("a").is_some(), "a file with an error changes nothing");
    bench.handle(read("10.0.0.1,name=b"));
    assert!(bench.pool.find("a").is_none() && bench.pool.find("b").is_some());
    bench.configure("10.0.0.9,name=z");
    assert!(bench.has(|o| *o == Output::UnwatchFile { path: "/engines".to_owned() }));
    assert_eq!(bench.pool.rows().len(), 1);
}

#[test]
fn names_of_engines_are_unique() {
    let bench = Bench::new("10.0.0.1,name=a 10.0.0.2,name=a");
    let names: BTreeSet<_> = bench.pool.rows().iter().map(|row| row.name.to_string()).collect();
    assert_eq!(names.len(), 2);
}

#[test]
fn a_dead_shard_gives_its_reservations_back_and_a_second_release_is_nothing() {
    let mut bench = Bench::new("10.0.0.1,name=a,max=2");
    let first = bench.select_with(|s| s.owner = ShardId(3)).unwrap();
    let second = bench.select_with(|s| s.owner = ShardId(4)).unwrap();
    let kept = vec![first.reservation.unwrap()];
    bench.handle(Input::ReleaseAll { owner: ShardId(3), kept });
    assert_eq!(bench.row("a").sessions, 2, "what goes on is held on");
    bench.handle(Input::ReleaseAll { owner: ShardId(3), kept: Vec::new() });
    assert_eq!(bench.row("a").sessions, 1);
    bench.handle(Input::Release { reservation: first.reservation.unwrap() });
    assert_eq!(bench.row("a").sessions, 1);
    bench.handle(Input::Release { reservation: second.reservation.unwrap() });
    assert_eq!(bench.row("a").sessions, 0);
}

#[test]
fn a_licence_that_does_not_reach_is_said_once() {
    let mut bench = Bench::new("10.0.0.1,name=a");
    let engine = bench.pool.find("a").unwrap();
    for _ in 0..3 {
        let result = Err(Failure::Premium("premium only".to_owned()));
        bench.handle(Input::Outcome { engine, result });
    }
    let said = bench.outputs.iter().filter_map(|output| {
        let Output::Warning { text, .. } = output else { return None };
        Some(text.as_str())
    });
    let rests = "engine a: fails what is asked of it (premium only): others come first";
    assert_eq!(said.collect::<Vec<_>>(), ["engine a: premium only", rests], "each once");
    assert_eq!(bench.row("a").reason.as_deref(), Some("premium only"));
    assert_eq!(bench.row("a").failures_total, 3);
}
