//! One script for each rule. The script plays the shard: it feeds an input, reads every output,
//! and names what must be among them.

mod ending;
mod heir;
mod identity;
mod late;
mod rival;
mod running;
mod start;

use std::time::Duration;

use super::Answer;
use super::Contest;
use super::Failure;
use super::Input;
use super::Opened;
use super::Outcome;
use super::Output;
use super::Session;
use super::Settings;
use super::Setup;
use super::StatFacts;
use super::State;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::ids::ShardId;
use crate::base::ids::Target;
use crate::base::time::Instant;

const A: EngineId = EngineId(1);
const B: EngineId = EngineId(2);
const HERE: ShardId = ShardId(0);
const THERE: ShardId = ShardId(1);

fn infohash(n: u8) -> Infohash {
    Infohash::from_bytes([n; 20])
}

fn opened(engine: EngineId) -> Opened {
    Opened {
        infohash: infohash(1),
        playback_session_id: format!("session-{}", engine.0),
        playback_path: "/ace/r/x".to_owned(),
        stat_path: "/ace/stat/x".to_owned(),
        command_path: format!("/ace/cmd/{}", engine.0),
        live: true,
        encrypted: false,
        hls: false,
    }
}

fn facts(peers: u32, downloaded: u64) -> StatFacts {
    StatFacts { status: "prebuf".to_owned(), peers, downloaded, ..StatFacts::default() }
}

struct Script {
    session: Session,
    now: Instant,
    /// Of the last step.
    outputs: Vec<Output>,
    reservation: u64,
    /// Engines answer at once that they live.
    says_it_lives: bool,
}

impl Script {
    fn new() -> Self {
        Self::with(Settings::default(), Target::Infohash(infohash(1)))
    }

    /// A stream that one viewer on `HERE` waits for.
    fn with(settings: Settings, target: Target) -> Self {
        let now = Instant::from_micros(1_000_000);
        let is_claimed = matches!(target, Target::Infohash(_));
        let contest = Contest::default();
        let infohash = infohash(1);
        let setup = Setup { infohash, target, is_claimed, seed: 7, settings, contest };
        let mut script = Self {
            session: Session::new(setup, now),
            now,
            outputs: Vec::new(),
            reservation: 0,
            says_it_lives: true,
        };
        script.feed(Input::Attached { shard: HERE, count: 1, waiting: 1 });
        script
    }

    fn feed(&mut self, input: Input) -> &mut Self {
        self.outputs.clear();
        self.session.handle(input, self.now);
        self.drain();
        self
    }

    fn drain(&mut self) {
        let mut asked = None;
        while let Some(output) = self.session.poll_output() {
            if let Output::AskStatus { generation, .. } = output {
                asked = Some(generation);
            }
            self.outputs.push(output);
        }
        if let Some(generation) = asked.filter(|_| self.says_it_lives) {
            self.session.handle(Input::Status { generation, answers: true }, self.now);
            self.drain();
        }
        assert!(self.session.poll_timeout().is_none_or(|at| at > self.now), "a timer did not fire");
    }

    /// Lets time pass, firing every timer at its own time; the outputs of all of them stay.
    fn pass_ms(&mut self, ms: u64) -> &mut Self {
        self.outputs.clear();
        let end = self.now + Duration::from_millis(ms);
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.session.handle_timeout(at);
            self.drain();
        }
        self.now = end;
        self
    }

    fn find<T>(&self, pick: impl Fn(&Output) -> Option<T>) -> Option<T> {
        self.outputs.iter().find_map(pick)
    }

    fn count(&self, is: impl Fn(&Output) -> bool) -> usize {
        self.outputs.iter().filter(|output| is(output)).count()
    }

    #[track_caller]
    fn select(&self) -> (Generation, Vec<EngineId>, Option<EngineId>) {
        self.find(|output| match output {
            Output::Select { generation, exclude, prefer, .. } => {
                Some((*generation, exclude.clone(), *prefer))
            }
            _ => None,
        })
        .unwrap_or_else(|| panic!("no Select in {:?}", self.outputs))
    }

    #[track_caller]
    fn open(&self) -> (Generation, Target, String) {
        self.find(|output| match output {
            Output::Open { generation, target, pid, .. } => {
                Some((*generation, target.clone(), pid.clone()))
            }
            _ => None,
        })
        .unwrap_or_else(|| panic!("no Open in {:?}", self.outputs))
    }

    #[track_caller]
    fn play(&self) -> Generation {
        self.find(|output| match output {
            Output::Play { generation, .. } => Some(*generation),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no Play in {:?}", self.outputs))
    }

    #[track_caller]
    fn stop(&self) -> Generation {
        assert_eq!(self.count(|o| matches!(o, Output::Stop { .. })), 1, "{:?}", self.outputs);
        self.find(|output| match output {
            Output::Stop { generation, .. } => Some(*generation),
            _ => None,
        })
        .unwrap()
    }

    fn stops(&self) -> usize {
        self.count(|output| matches!(output, Output::Stop { .. }))
    }

    #[track_caller]
    fn may_close(&self) -> Generation {
        self.find(|output| match output {
            Output::MayClose { close_generation, .. } => Some(*close_generation),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no MayClose in {:?}", self.outputs))
    }

    fn refusal(&self) -> Option<Answer> {
        self.find(|output| match output {
            Output::Refuse(answer) => Some(answer.clone()),
            _ => None,
        })
    }

    fn has(&self, wanted: &Output) -> bool {
        self.outputs.contains(wanted)
    }

    fn ended(&self) -> bool {
        self.outputs.last() == Some(&Output::Ended)
    }

    /// The last Select is granted; answers the generation of the open that follows (if any).
    fn grant(&mut self, engine: EngineId) -> Generation {
        let (generation, ..) = self.select();
        self.reservation += 1;
        let reservation = self.reservation;
        let name = format!("engine-{}", engine.0);
        self.feed(Input::Granted { generation, engine, reservation, name });
        generation
    }

    fn deny(&mut self, no_engine: bool) -> &mut Self {
        let (generation, ..) = self.select();
        let text = "denied".to_owned();
        let retry_after = Duration::ZERO;
        self.feed(Input::Denied { generation, no_engine, text, retry_after })
    }

    /// Granted, opened, asked for its body.
    fn reach_play(&mut self, engine: EngineId) -> (Generation, Generation) {
        let generation = self.grant(engine);
        self.feed(Input::Opened { generation, opened: opened(engine) });
        (generation, self.play())
    }

    /// Bytes flow and the random access point is in the ring.
    fn reach_active(&mut self, engine: EngineId) -> (Generation, Generation) {
        let (attempt, play) = self.reach_play(engine);
        self.feed(Input::PlayHead { generation: play });
        self.feed(Input::Bytes { generation: play, n: 188 });
        self.feed(Input::AccessPoint { generation: play });
        assert_eq!(self.session.state(), State::Active);
        (attempt, play)
    }

    fn leave(&mut self) -> &mut Self {
        self.feed(Input::Viewers { shard: HERE, count: 0, waiting: 0 })
    }

    fn come(&mut self) -> &mut Self {
        self.feed(Input::Attached { shard: HERE, count: 1, waiting: 1 })
    }

    fn idle(&mut self) -> &mut Self {
        let close_generation = self.may_close();
        self.feed(Input::Idle { shard: HERE, close_generation })
    }

    fn stop_done(&mut self, generation: Generation) -> &mut Self {
        self.feed(Input::StopDone { generation, outcome: Outcome::Stopped })
    }

    fn stat(&mut self, generation: Generation, facts: StatFacts) -> &mut Self {
        self.feed(Input::Stat { generation, facts })
    }

    fn fail_play(&mut self, play: Generation, failure: Failure) -> &mut Self {
        self.feed(Input::PlayFailed { generation: play, failure })
    }
}
