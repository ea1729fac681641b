//! Several nodes want one content, and an engine plays it for one of them only.
//!
//! Each node is the real lease and the real session; between them stand engines on which the newest
//! session has the content, a Redis that may not be there for a while, and one player a node that asks
//! again whenever it was closed. Checked: nobody goes back where it was taken over while there is
//! another engine, nor before its time; no confirmed owner's player is closed, or left without bytes
//! for long; whoever is closed was contended for and has tried as often as it may; the fight ends: in
//! the end somebody plays, everybody where there are engines for all, and takeovers are rare.

mod checks;

use std::collections::BTreeMap;
use std::time::Duration;

use ringcast::base::ids::EngineId;
use ringcast::base::ids::Generation;
use ringcast::base::ids::Infohash;
use ringcast::base::ids::ShardId;
use ringcast::base::ids::Target;
use ringcast::base::prng::Prng;
use ringcast::base::time::Instant;
use ringcast::mirror::lease;
use ringcast::mirror::lease::Lease;
use ringcast::mirror::lease::Standing;
use ringcast::mirror::lease::Verb;
use ringcast::stream::Contest;
use ringcast::stream::Failure;
use ringcast::stream::Input;
use ringcast::stream::Opened;
use ringcast::stream::Outcome;
use ringcast::stream::Output;
use ringcast::stream::Session;
use ringcast::stream::Settings;
use ringcast::stream::Setup;
use ringcast::stream::StatFacts;
use ringcast::stream::State;
use ringcast::stream::Tenure;

use crate::Seen;
use crate::redis::Redis;

const STEP: Duration = Duration::from_millis(50);
/// Two minutes in which players come and go and Redis may be away, then five.
const BAD_STEPS: u64 = 2_400;
const CALM_STEPS: u64 = 6_000;
const PIECE_EVERY: Duration = Duration::from_secs(1);

const SHARD: ShardId = ShardId(0);

fn content() -> Infohash {
    Infohash::from_bytes([7; 20])
}

enum Event {
    /// To the session of that life of the node.
    Session {
        node: usize,
        life: u64,
        input: Input,
    },
    Lease {
        node: usize,
        life: u64,
        input: lease::Input,
    },
    Open {
        node: usize,
        life: u64,
        generation: Generation,
        engine: EngineId,
    },
    Play {
        node: usize,
        life: u64,
        generation: Generation,
        sid: u64,
    },
    Piece {
        node: usize,
        life: u64,
        generation: Generation,
        sid: u64,
    },
    Stop {
        node: usize,
        life: u64,
        generation: Generation,
        sid: u64,
        asks: bool,
    },
    Come {
        node: usize,
    },
    Leave {
        node: usize,
    },
}

struct Node {
    name: String,
    life: u64,
    session: Option<Session>,
    lease: Lease,
    link_up: bool,
    kept: Contest,
    tenure: Tenure,
    tenure_since: Instant,
    /// Its player is there; closed or refused it asks again.
    is_wanted: bool,
    has_access: bool,
    heard_at: Instant,
    /// When and where it found out that it was taken over, and as what.
    taken: Vec<(Instant, EngineId, Tenure)>,
    /// When it went back there, not being the owner.
    returns: Vec<Instant>,
}

/// A session that an engine has opened.
#[derive(Clone, Copy)]
struct Playback {
    engine: EngineId,
    node: usize,
}

struct World {
    prng: Prng,
    now: Instant,
    queue: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    nodes: Vec<Node>,
    /// The session that has the content there.
    engines: BTreeMap<EngineId, Option<u64>>,
    sessions: BTreeMap<u64, Playback>,
    redis: Redis,
    /// Redis answers all the time.
    is_healthy: bool,
    is_calm: bool,
    takeovers: Vec<Instant>,
    /// When a player last left of its own accord.
    left_at: Instant,
    closed: u64,
    is_traced: bool,
}

pub(crate) fn run(seed: u64, is_traced: bool) -> Seen {
    let mut prng = Prng::new(seed ^ 0xC0_47E7);
    let engines = 1 + prng.below(2) as u32;
    let is_healthy = prng.chance(500);
    let now = Instant::from_micros(1_000_000_000);
    let nodes = (0..2 + prng.below(2)).map(|n| Node {
        name: format!("n:{n}:{n:08x}"),
        life: 0,
        session: None,
        lease: Lease::new(0, false, now),
        link_up: is_healthy || prng.chance(500),
        kept: Contest::default(),
        tenure: Tenure::Other,
        tenure_since: now,
        is_wanted: false,
        has_access: false,
        heard_at: now,
        taken: Vec::new(),
        returns: Vec::new(),
    });
    let mut world = World {
        now,
        queue: BTreeMap::new(),
        serial: 0,
        nodes: nodes.collect(),
        engines: (1..=engines).map(|n| (EngineId(n), None)).collect(),
        sessions: BTreeMap::new(),
        redis: Redis::default(),
        is_healthy,
        is_calm: false,
        takeovers: Vec::new(),
        left_at: Instant::ZERO,
        closed: 0,
        is_traced,
        prng,
    };
    for node in 0..world.nodes.len() {
        world.after_ms(0, 40_000, Event::Come { node });
    }
    for step in 0..BAD_STEPS + CALM_STEPS {
        world.is_calm = step >= BAD_STEPS;
        world.step();
    }
    world.check_the_end();
    Seen { contended: world.closed, fights: world.takeovers.len() as u64, ..Seen::default() }
}

impl World {
    fn trace(&self, what: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{:?} {}", self.now, what());
        }
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), event);
    }

    fn after_ms(&mut self, ms_min: u64, ms_max: u64, event: Event) {
        let ms = ms_min + self.prng.below(ms_max - ms_min);
        self.after(Duration::from_millis(ms), event);
    }

    fn answer(&mut self, node: usize, input: Input) {
        let life = self.nodes[node].life;
        self.after_ms(1, 50, Event::Session { node, life, input });
    }

    fn step(&mut self) {
        self.now = self.now + STEP;
        while let Some(entry) = self.queue.first_entry().filter(|it| it.key().0 <= self.now) {
            let event = entry.remove();
            self.dispatch(event);
        }
        for node in 0..self.nodes.len() {
            self.luck(node);
            self.timers(node);
            self.check_owner(node);
        }
    }

    /// Redis comes and goes, and so do players.
    fn luck(&mut self, node: usize) {
        let is_up = self.nodes[node].link_up;
        let changes = !self.is_healthy && self.prng.chance(if self.is_calm { 0 } else { 3 });
        if changes || (self.is_calm && !is_up) {
            self.trace(|| format!("{node}: Redis {}", if is_up { "goes" } else { "comes" }));
            self.nodes[node].link_up = !is_up;
            self.nodes[node].lease.handle(lease::Input::Link { up: !is_up }, self.now);
        }
        if !self.is_calm && self.prng.chance(1) {
            self.dispatch(Event::Leave { node });
            self.after_ms(1_000, 30_000, Event::Come { node });
        }
    }

    fn timers(&mut self, node: usize) {
        let now = self.now;
        let it = &mut self.nodes[node];
        if it.session.is_some() && it.lease.poll_timeout().is_some_and(|at| at <= now) {
            it.lease.handle_timeout(now);
        }
        if let Some(session) = &mut it.session
            && session.poll_timeout().is_some_and(|at| at <= now)
        {
            session.handle_timeout(now);
        }
        self.drain(node);
    }

    fn dispatch(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Session { node, life, input } if self.nodes[node].life == life => {
                self.feed(node, input);
            }
            Event::Lease { node, life, input } if self.nodes[node].life == life => {
                self.nodes[node].lease.handle(input, now);
                self.drain(node);
            }
            Event::Open { node, life, generation, engine } => {
                self.open(node, life, generation, engine);
            }
            Event::Play { node, life, generation, sid } if self.nodes[node].life == life => {
                self.play(node, generation, sid);
            }
            Event::Piece { node, life, generation, sid } if self.nodes[node].life == life => {
                self.piece(node, generation, sid);
            }
            Event::Stop { node, life, generation, sid, asks } => {
                self.stop(node, life, generation, sid, asks);
            }
            Event::Come { node } => self.come(node),
            Event::Leave { node } => {
                self.nodes[node].is_wanted = false;
                self.left_at = now;
                self.feed(node, Input::Viewers { shard: SHARD, count: 0, waiting: 0 });
            }
            Event::Session { .. }
            | Event::Lease { .. }
            | Event::Play { .. }
            | Event::Piece { .. } => {}
        }
    }

    fn come(&mut self, node: usize) {
        let seed = self.prng.next_u64();
        let now = self.now;
        let it = &mut self.nodes[node];
        it.is_wanted = true;
        if let Some(session) = &it.session {
            if session.accepts_viewers() {
                self.feed(node, Input::Attached { shard: SHARD, count: 1, waiting: 1 });
            } else {
                self.after_ms(100, 500, Event::Come { node });
            }
            return;
        }
        let contest = std::mem::take(&mut it.kept).of(Tenure::Other);
        let target = Target::Infohash(content());
        let settings = Settings::default();
        let setup =
            Setup { infohash: content(), target, is_claimed: true, seed, settings, contest };
        it.life += 1;
        it.session = Some(Session::new(setup, now));
        it.lease = Lease::new(it.lease.known(), it.link_up, now);
        (it.tenure, it.tenure_since, it.has_access) = (Tenure::Other, now, false);
        self.trace(|| format!("{node}: starts"));
        self.feed(node, Input::Attached { shard: SHARD, count: 1, waiting: 1 });
    }

    fn feed(&mut self, node: usize, input: Input) {
        let now = self.now;
        if let Some(session) = &mut self.nodes[node].session {
            session.handle(input, now);
        }
        self.drain(node);
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].lease.poll_output() {
            match output {
                lease::Output::Ask(ask) => self.ask_redis(node, ask),
                lease::Output::Changed(standing) => self.on_standing(node, &standing),
            }
        }
        loop {
            let session = self.nodes[node].session.as_mut();
            let Some(output) = session.and_then(Session::poll_output) else { break };
            self.carry_out(node, output);
        }
    }

    fn ask_redis(&mut self, node: usize, ask: lease::Ask) {
        let clock_ms = self.now.as_micros() / 1_000;
        let start = ask.start(clock_ms, self.prng.next_u64());
        let (life, number) = (self.nodes[node].life, ask.number);
        let input = if self.nodes[node].link_up {
            let name = self.nodes[node].name.clone();
            let reply = self.redis.run(&name, ask.verb, start, self.now);
            lease::Input::Answered { number, reply }
        } else {
            lease::Input::Lost { number }
        };
        self.after_ms(1, 50, Event::Lease { node, life, input });
    }

    fn on_standing(&mut self, node: usize, standing: &Standing) {
        self.trace(|| format!("{node}: {standing:?}"));
        let is_owner = matches!(standing, Standing::Owned { .. });
        let tenure = if is_owner { Tenure::Owner } else { Tenure::Other };
        let it = &mut self.nodes[node];
        if it.tenure != tenure {
            (it.tenure, it.tenure_since) = (tenure, self.now);
        }
        self.feed(node, Input::Tenure(tenure));
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is for logs and metrics")]
    fn carry_out(&mut self, node: usize, output: Output) {
        let life = self.nodes[node].life;
        match output {
            Output::Select { generation, exclude, prefer, .. } => {
                self.select(node, generation, &exclude, prefer);
            }
            Output::Open { generation, engine, .. } => {
                self.after_ms(20, 300, Event::Open { node, life, generation, engine });
            }
            Output::Play { generation, path, .. } => {
                let sid = sid_of(&path);
                self.after_ms(5, 100, Event::Play { node, life, generation, sid });
            }
            Output::PollStat { generation, path, .. } => {
                let facts = self.stat(sid_of(&path));
                self.answer(node, Input::Stat { generation, facts });
            }
            Output::AskStatus { generation, .. } => {
                self.answer(node, Input::Status { generation, answers: true });
            }
            Output::Stop { generation, path, unless_replaced, .. } => {
                let (sid, asks) = (sid_of(&path), unless_replaced.is_some());
                self.after_ms(5, 50, Event::Stop { node, life, generation, sid, asks });
            }
            Output::SessionOver { engine, outcome: Outcome::Superseded, .. } => {
                let it = &mut self.nodes[node];
                let session = it.session.as_ref().expect("it says so");
                if session.state() != State::Draining {
                    it.taken.push((self.now, engine, it.tenure));
                }
            }
            Output::CloseViewers(reason) => self.close(node, reason),
            Output::Refuse(_) if self.nodes[node].is_wanted => {
                self.after_ms(0, 8_000, Event::Come { node });
            }
            Output::MayClose { close_generation, .. } => {
                self.answer(node, Input::Idle { shard: SHARD, close_generation });
            }
            Output::Ended => self.ended(node),
            _ => {}
        }
    }

    fn select(
        &mut self,
        node: usize,
        generation: Generation,
        exclude: &[EngineId],
        prefer: Option<EngineId>,
    ) {
        let free: Vec<EngineId> =
            self.engines.keys().filter(|engine| !exclude.contains(engine)).copied().collect();
        let drawn = self.prng.below(free.len() as u64) as usize;
        let preferred = prefer.filter(|engine| free.contains(engine));
        let Some(engine) = preferred.or_else(|| free.get(drawn).copied()) else {
            let (text, retry_after) = ("all failed".to_owned(), Duration::ZERO);
            let denied = Input::Denied { generation, no_engine: true, text, retry_after };
            return self.answer(node, denied);
        };
        self.check_return(node, engine);
        self.serial += 1;
        let name = format!("engine-{}", engine.0);
        let reservation = self.serial;
        self.answer(node, Input::Granted { generation, engine, reservation, name });
    }

    fn open(&mut self, node: usize, life: u64, generation: Generation, engine: EngineId) {
        self.serial += 1;
        let sid = self.serial;
        self.sessions.insert(sid, Playback { engine, node });
        let older = self.engines.insert(engine, Some(sid)).flatten();
        if let Some(Playback { node: loser, .. }) = older.map(|sid| self.sessions[&sid]) {
            self.trace(|| format!("{node}: takes {engine:?} from {loser}"));
            self.takeovers.push(self.now);
        }
        let opened = Opened {
            infohash: content(),
            playback_session_id: format!("session-{sid}"),
            playback_path: format!("/ace/r/{sid}"),
            stat_path: format!("/ace/stat/{sid}"),
            command_path: format!("/ace/cmd/{sid}"),
            live: true,
            encrypted: false,
            hls: false,
        };
        let input = Input::Opened { generation, opened };
        self.after_ms(1, 20, Event::Session { node, life, input });
    }

    fn has_it(&self, sid: u64) -> bool {
        self.engines[&self.sessions[&sid].engine] == Some(sid)
    }

    fn play(&mut self, node: usize, generation: Generation, sid: u64) {
        if !self.has_it(sid) {
            let failure = Failure::TakenOver("403 Forbidden".to_owned());
            return self.feed(node, Input::PlayFailed { generation, failure });
        }
        self.feed(node, Input::PlayHead { generation });
        self.piece(node, generation, sid);
    }

    fn piece(&mut self, node: usize, generation: Generation, sid: u64) {
        if !self.has_it(sid) {
            let text = "got newer download".to_owned();
            let failure =
                if self.prng.chance(700) { Failure::Cut } else { Failure::TakenOver(text) };
            return self.feed(node, Input::BodyEnded { generation, failure });
        }
        let session = self.nodes[node].session.as_ref();
        let before = session.map(Session::bytes_total);
        self.feed(node, Input::Bytes { generation, n: 188_000 });
        let session = self.nodes[node].session.as_ref();
        if session.map(Session::bytes_total) == before {
            // Its session has closed the body.
            return;
        }
        self.nodes[node].heard_at = self.now;
        if !std::mem::replace(&mut self.nodes[node].has_access, true) {
            self.feed(node, Input::AccessPoint { generation });
        }
        let life = self.nodes[node].life;
        self.after(PIECE_EVERY, Event::Piece { node, life, generation, sid });
    }

    fn stat(&self, sid: u64) -> StatFacts {
        let current = self.engines[&self.sessions[&sid].engine].unwrap_or(sid);
        StatFacts {
            status: "dl".to_owned(),
            peers: 3,
            downloaded: self.now.as_micros(),
            playback_session_id: Some(format!("session-{current}")),
            ..StatFacts::default()
        }
    }

    fn stop(&mut self, node: usize, life: u64, generation: Generation, sid: u64, asks: bool) {
        let engine = self.sessions[&sid].engine;
        let current = self.engines[&engine];
        let is_replaced = current.is_some_and(|current| current != sid);
        let outcome = if asks && is_replaced {
            Outcome::Superseded
        } else {
            // Of either session, the stop ends the one download.
            self.engines.insert(engine, None);
            Outcome::Stopped
        };
        let input = Input::StopDone { generation, outcome };
        self.after_ms(1, 20, Event::Session { node, life, input });
    }

    fn ended(&mut self, node: usize) {
        let now = self.now;
        let it = &mut self.nodes[node];
        let session = it.session.take().expect("it has said so");
        it.kept = session.contest().clone();
        if let Standing::Owned { epoch } = it.lease.standing()
            && it.link_up
        {
            let epoch = *epoch;
            self.redis.run(&it.name, Verb::Release { epoch }, 0, now);
        }
        (it.tenure, it.tenure_since) = (Tenure::Other, now);
    }
}

fn sid_of(path: &str) -> u64 {
    path.rsplit('/').next().and_then(|sid| sid.parse().ok()).expect("our paths end in a number")
}
