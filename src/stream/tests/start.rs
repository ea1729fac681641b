//! From the wish to the first byte.

use super::A;
use super::B;
use super::Script;
use super::facts;
use super::opened;
use crate::base::ids::Target;
use crate::base::time::Instant;
use crate::stream::Code;
use crate::stream::Failure;
use crate::stream::Input;
use crate::stream::Output;
use crate::stream::Settings;
use crate::stream::State;

#[test]
fn a_warm_start_goes_through_every_state_once() {
    let mut script = Script::new();
    assert_eq!(script.session.state(), State::Initializing);
    let generation = script.grant(A);
    assert_eq!(script.session.state(), State::Connecting);
    script.feed(Input::Opened { generation, opened: opened(A) });
    assert_eq!(script.session.state(), State::Buffering);
    assert_eq!(script.count(|o| matches!(o, Output::SetActivityTimeout { .. })), 1);
    let play = script.play();
    script.now = Instant::from_micros(1_600_000);
    script.feed(Input::PlayHead { generation: play });
    script.feed(Input::Bytes { generation: play, n: 1_000 });
    assert!(script.has(&Output::ClearOffline));
    let engine_name = "engine-1".to_owned();
    assert!(script.has(&Output::StartLog { engine_name, first_packet_ms: 600 }));
    assert_eq!(script.session.state(), State::Buffering);
    script.feed(Input::AccessPoint { generation: play });
    assert!(script.has(&Output::State { state: State::Active, redis: "active" }));
    script.leave();
    assert!(script.has(&Output::State { state: State::Active, redis: "waiting_for_clients" }));
}

#[test]
fn prebuffering_asks_the_same_path_again_and_is_no_failure() {
    let mut script = Script::new();
    let (attempt, mut play) = script.reach_play(A);
    let mut again = 0;
    for second in 0..50 {
        let failure = match second % 3 {
            0 => Failure::Silent,
            1 => Failure::Prebuffering("start timeout".to_owned()),
            _ => Failure::Prebuffering("download not found".to_owned()),
        };
        script.fail_play(play, failure);
        assert!(script.outputs.is_empty(), "{:?}", script.outputs);
        script.pass_ms(999);
        assert_eq!(script.count(|o| matches!(o, Output::Play { .. })), 0, "before 1 s");
        script.pass_ms(1_001);
        if script.refusal().is_some() {
            break;
        }
        play = script.play();
        again += 1;
        if second == 20 {
            script.stat(attempt, facts(3, 0));
        }
    }
    assert_eq!(again, 29, "every 2 s within START_TIMEOUT");
}

#[test]
fn start_timeout_answers_504_with_the_last_stat_and_marks_it_offline() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_play(A);
    script.pass_ms(1_000);
    assert_eq!(script.count(|o| matches!(o, Output::PollStat { .. })), 1);
    let stat = crate::stream::StatFacts { progress_percent: Some(63), ..facts(4, 99) };
    script.stat(attempt, stat);
    assert!(
        script.find(|o| match o {
            Output::WaitAnswer(answer) => Some(answer.message.clone()),
            _ => None,
        }) == Some("still buffering 63 %, 4 peers: try again".to_owned())
    );
    script.pass_ms(58_999);
    assert!(script.refusal().is_none());
    script.pass_ms(1);
    let answer = script.refusal().unwrap();
    assert_eq!((answer.code, answer.code.status()), (Code::NothingToPlay, 504));
    assert_eq!(answer.message, "still buffering 63 %, 4 peers: try again");
    assert!(script.has(&Output::MarkOffline(answer)));
    assert!(script.has(&Output::CloseBody { generation: play }));
    assert_eq!(script.session.state(), State::Draining);
    assert!(!script.session.accepts_viewers());
    let stop = script.stop();
    assert_eq!(stop, attempt);
    script.idle();
    assert!(!script.ended(), "the stop is not confirmed");
    script.stop_done(stop);
    assert!(script.ended());
    assert_eq!(script.session.state(), State::Error);
}

#[test]
fn words_for_a_channel_without_peers() {
    let mut script = Script::new();
    assert_eq!(script.session.timeout_answer().message, "no answer from the engine yet: try again");
    let (attempt, _) = script.reach_play(A);
    script.pass_ms(1_000).stat(attempt, facts(0, 0));
    assert_eq!(script.session.last_stat_text(), "no peers: probably offline");
    script.pass_ms(59_000);
    let reason = script.find(|o| match o {
        Output::FailLog { reason, answer: 504, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason.as_deref(), Some("no peers (prebuf 0 %, peers 0, downloaded 0)"));
}

#[test]
fn stat_is_polled_every_second_until_the_first_byte_then_every_five() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_play(A);
    for _ in 0..3 {
        script.pass_ms(1_000);
        assert_eq!(script.count(|o| matches!(o, Output::PollStat { .. })), 1);
        script.stat(attempt, facts(1, 0));
    }
    script.feed(Input::Bytes { generation: play, n: 1 });
    script.feed(Input::AccessPoint { generation: play });
    script.pass_ms(1_000).stat(attempt, facts(1, 0));
    for _ in 0..3 {
        script.feed(Input::Bytes { generation: play, n: 1 });
        script.pass_ms(4_999);
        assert_eq!(script.count(|o| matches!(o, Output::PollStat { .. })), 0);
        script.feed(Input::Bytes { generation: play, n: 1 });
        script.pass_ms(1);
        assert_eq!(script.count(|o| matches!(o, Output::PollStat { .. })), 1);
        script.stat(attempt, facts(1, 0));
    }
}

#[test]
fn no_usable_engine_is_said_at_once() {
    let mut script = Script::new();
    script.deny(true);
    let answer = script.refusal().unwrap();
    assert_eq!((answer.code, answer.code.status()), (Code::NoEngine, 503));
    assert_eq!(script.count(|o| matches!(o, Output::MarkOffline(_))), 0);
    script.idle();
    assert!(script.ended());

    let mut script = Script::new();
    script.deny(false);
    assert_eq!(script.refusal().unwrap().code, Code::NoCapacity);
}

#[test]
fn a_refusing_engine_is_asked_again_and_the_answer_is_503() {
    let mut script = Script::new();
    let mut opens = 0;
    while script.refusal().is_none() {
        let has_select = script.count(|o| matches!(o, Output::Select { .. })) == 1;
        if !has_select {
            script.pass_ms(100);
            continue;
        }
        if script.select().1.is_empty() {
            let generation = script.grant(A);
            script.open();
            opens += 1;
            script.feed(Input::OpenFailed { generation, failure: Failure::Refused });
            assert_eq!(script.count(|o| matches!(o, Output::Release { .. })), 1);
            assert_eq!(script.session.timeout_answer().code, Code::NoEngine);
        } else {
            script.deny(false);
        }
    }
    assert!((12..20).contains(&opens), "0.5 s doubling to 5 s: {opens}");
    assert_eq!(script.refusal().unwrap().code, Code::NoEngine);
    assert_eq!(script.count(|o| matches!(o, Output::MarkOffline(_))), 0);
}

const LACK: Failure = Failure::Lack("LimitNOFILE");

fn marks(script: &Script) -> usize {
    script.count(|o| matches!(o, Output::MarkOffline(_)))
}

#[test]
fn what_we_lack_ends_a_start_that_opened_nothing_at_once_and_marks_nothing() {
    let mut script = Script::new();
    let generation = script.grant(A);
    script.feed(Input::OpenFailed { generation, failure: LACK });
    let answer = script.refusal().unwrap();
    assert_eq!((answer.code, answer.message.as_str()), (Code::NoCapacity, "LimitNOFILE"));
    assert!(answer.retry_after_s.is_some());
    assert_eq!(marks(&script), 0);
    assert_eq!(script.count(|o| matches!(o, Output::Release { .. })), 1);
}

#[test]
fn what_we_lack_for_an_opened_session_is_waited_for_and_is_no_fault_of_the_content() {
    let mut script = Script::new();
    let (_, mut play) = script.reach_play(A);
    for _ in 0..3 {
        script.fail_play(play, LACK);
        assert!(script.stops() == 0 && script.refusal().is_none(), "{:?}", script.outputs);
        assert_eq!(script.session.timeout_answer().code, Code::NoCapacity);
        script.pass_ms(2_000);
        play = script.play();
    }
    // It is there again; what the engine does not give from here on is said as it is.
    script.feed(Input::PlayHead { generation: play });
    assert_eq!(script.session.timeout_answer().code, Code::NothingToPlay);
    script.pass_ms(60_000);
    assert_eq!(script.refusal().unwrap().code, Code::NothingToPlay);
    assert_eq!(marks(&script), 0, "nobody knows what it would have given before");

    let mut script = Script::new();
    let (_, play) = script.reach_play(A);
    script.fail_play(play, Failure::Silent);
    script.pass_ms(60_000);
    assert_eq!(marks(&script), 1, "without a lack it is");
}

#[test]
fn a_content_error_is_502_with_the_engines_text_after_the_infohash_retry() {
    let mut script = Script::with(Settings::default(), Target::Id(super::infohash(1)));
    let generation = script.grant(A);
    assert_eq!(script.open().1, Target::Id(super::infohash(1)));
    let failure = Failure::Content("failed to load content".to_owned());
    script.feed(Input::OpenFailed { generation, failure: failure.clone() });
    assert_eq!(script.select().2, Some(A));
    let generation = script.grant(A);
    assert_eq!(script.open().1, Target::Infohash(super::infohash(1)));
    script.feed(Input::OpenFailed { generation, failure });
    let answer = script.refusal().unwrap();
    assert_eq!(answer.message, "failed to load content");
    assert_eq!(answer.engine.as_deref(), Some("engine-1"));
    assert_eq!(answer.code.status(), 502);
    assert_eq!(script.count(|o| matches!(o, Output::MarkOffline(_))), 1);
}

#[test]
fn an_engines_error_asks_one_other_engine() {
    let mut script = Script::new();
    let premium = Failure::Engine("premium account needed".to_owned());
    let generation = script.grant(A);
    script.feed(Input::OpenFailed { generation, failure: premium.clone() });
    assert_eq!(script.select().1, [A]);
    let generation = script.grant(B);
    script.feed(Input::OpenFailed { generation, failure: premium });
    let answer = script.refusal().unwrap();
    assert_eq!((answer.code.status(), answer.message.as_str()), (502, "premium account needed"));
    assert_eq!(script.count(|o| matches!(o, Output::MarkOffline(_))), 0);
}

#[test]
fn a_takeover_goes_elsewhere_then_back_once_then_gives_in() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_play(A);
    script.fail_play(play, Failure::TakenOver("403 Forbidden".to_owned()));
    let over = Output::SessionOver {
        generation: attempt,
        engine: A,
        outcome: crate::stream::Outcome::Superseded,
    };
    assert!(script.has(&over), "{:?}", script.outputs);
    assert_eq!(script.stops(), 0, "a stop would kill the successor");
    assert_eq!(script.select().1, [A]);
    script.deny(false);
    assert_eq!(script.count(|o| matches!(o, Output::Select { .. })), 0);
    script.pass_ms(1_000);
    assert_eq!(script.select().1, [A]);
    script.deny(false);
    assert!(script.select().1.is_empty());
    let generation = script.grant(A);
    let failure = Failure::TakenOver("got newer download".to_owned());
    script.feed(Input::OpenFailed { generation, failure });
    assert_eq!(script.select().1, [A]);
    script.deny(false);
    assert!(script.has(&Output::EngineTakenOver { engine: A }));
    assert_eq!(script.refusal().unwrap().code.status(), 502);
}

#[test]
fn a_cut_before_the_first_byte_opens_the_same_engine_once_more_after_its_stop() {
    let mut script = Script::new();
    let (_, play) = script.reach_play(A);
    let first_pid = script.session.prng.clone().next_u64();
    script.feed(Input::PlayHead { generation: play });
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Cut });
    let stop = script.stop();
    assert_eq!(script.count(|o| matches!(o, Output::CloseBody { .. })), 0, "nothing is left of it");
    script.pass_ms(999);
    assert_eq!(script.count(|o| matches!(o, Output::Select { .. })), 0, "its stop would kill ours");
    script.stop_done(stop);
    assert_eq!(script.count(|o| matches!(o, Output::Release { .. })), 1);
    assert_eq!(script.select().2, Some(A));
    script.grant(A);
    assert!(script.open().2.starts_with(&format!("{first_pid:016x}")), "a new pid");
    let (generation, ..) = script.open();
    script.feed(Input::Opened { generation, opened: opened(A) });
    let play = script.play();
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Cut });
    assert_eq!(script.select().1, [A], "then another");
}

#[test]
fn an_unknown_session_acts_at_once() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_play(A);
    script.pass_ms(1_000);
    let failure = Failure::Gone("unknown playback session id".to_owned());
    script.feed(Input::StatFailed { generation: attempt, failure });
    assert!(script.has(&Output::CloseBody { generation: play }));
    assert_eq!(script.stop(), attempt);
}

#[test]
fn three_silent_stats_leave_a_hung_engine() {
    let mut script = Script::new();
    let (attempt, _) = script.reach_play(A);
    for _ in 0..3 {
        script.pass_ms(1_000);
        assert_eq!(script.stops(), 0);
        script.feed(Input::StatFailed { generation: attempt, failure: Failure::Silent });
    }
    assert_eq!(script.stop(), attempt);
    assert_eq!(script.select().1, [A]);
}

#[test]
fn what_is_not_relayed_is_said_and_stopped_at_once() {
    type Change = fn(&mut crate::stream::Opened);
    let cases: [(Change, Code); 3] = [
        (|o| o.live = false, Code::NotLive),
        (|o| o.encrypted = true, Code::Encrypted),
        (|o| o.hls = true, Code::HlsSource),
    ];
    for (change, code) in cases {
        let mut script = Script::new();
        let generation = script.grant(A);
        let mut opened = opened(A);
        change(&mut opened);
        script.feed(Input::Opened { generation, opened });
        let answer = script.refusal().unwrap();
        assert_eq!((answer.code, answer.code.status()), (code, 415));
        assert_eq!(script.stop(), generation);
        assert_eq!(script.count(|o| matches!(o, Output::Play { .. })), 0);
    }
}
