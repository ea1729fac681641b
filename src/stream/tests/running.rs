//! While bytes flow: silence, pauses, deaths, and the switch behind them.

use super::A;
use super::B;
use super::Script;
use super::facts;
use crate::base::ids::Generation;
use crate::stream::CloseReason;
use crate::stream::Failure;
use crate::stream::Input;
use crate::stream::Outcome;
use crate::stream::Output;
use crate::stream::StatFacts;
use crate::stream::State;
use crate::stream::Tenure;
use std::time::Duration;

fn bytes(script: &mut Script, play: Generation) {
    script.feed(Input::Bytes { generation: play, n: 188 });
}

#[test]
fn silence_stalls_and_then_counts_as_a_death() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_active(A);
    script.pass_ms(1_000).stat(attempt, facts(1, 1));
    script.pass_ms(3_999);
    assert_eq!(script.session.state(), State::Active);
    script.pass_ms(1);
    assert!(script.has(&Output::State { state: State::Stalled, redis: "buffering" }));
    script.pass_ms(1_000);
    assert_eq!(script.count(|o| matches!(o, Output::PollStat { .. })), 1, "once a second now");
    bytes(&mut script, play);
    assert_eq!(script.session.state(), State::Active);
    script.pass_ms(19_999);
    assert_eq!(script.stops(), 0);
    script.pass_ms(1);
    assert!(script.has(&Output::Failover { from: A, reason: "silent" }));
    assert_eq!(script.count(|o| matches!(o, Output::CloseViewers(_))), 0);
    assert_eq!(script.stop(), attempt);
}

#[test]
fn a_pause_of_ours_is_not_the_engines_silence() {
    let mut script = Script::new();
    let (_, play) = script.reach_active(A);
    script.feed(Input::RingFull);
    script.pass_ms(120_000);
    assert_eq!(script.session.state(), State::Active);
    script.feed(Input::RingResumed);
    script.pass_ms(19_999);
    assert_eq!(script.session.state(), State::Stalled);
    script.feed(Input::RingFull);
    assert_eq!(script.session.state(), State::Active);
    script.feed(Input::RingResumed);
    bytes(&mut script, play);
    assert_eq!(script.session.state(), State::Active);
}

#[test]
fn hard_signals_act_at_once() {
    for failure in [Failure::Cut, Failure::Gone("unknown playback session id".to_owned())] {
        let mut script = Script::new();
        let (attempt, play) = script.reach_active(A);
        script.feed(Input::BodyEnded { generation: play, failure });
        assert_eq!(script.stop(), attempt);
    }
    let mut script = Script::new();
    let (attempt, play) = script.reach_active(A);
    script.pass_ms(1_000);
    let failure = Failure::Gone("unknown playback session id".to_owned());
    script.feed(Input::StatFailed { generation: attempt, failure });
    assert!(script.has(&Output::CloseBody { generation: play }));
    assert_eq!(script.stop(), attempt);
}

#[test]
fn a_standing_broadcast_is_reported_while_bytes_flow() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_active(A);
    let mut reports = Vec::new();
    for second in 0..400_u64 {
        script.pass_ms(1_000);
        let polled = script.count(|o| matches!(o, Output::PollStat { .. })) > 0;
        bytes(&mut script, play);
        if polled {
            let mut stat = facts(1, 1);
            stat.live_last = Some(if second < 350 { 1_000 } else { 2_000 });
            script.stat(attempt, stat);
            reports.extend(script.find(|o| match o {
                Output::Frozen(frozen) => Some((second, *frozen)),
                _ => None,
            }));
        }
    }
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(reports[0].1 && (300..310).contains(&reports[0].0), "{reports:?}");
    assert!(!reports[1].1, "{reports:?}");
}

#[test]
fn a_silence_says_nothing_about_a_standing_broadcast() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_active(A);
    let mut old = facts(1, 1);
    old.live_age = Some(Duration::from_secs(700));
    script.pass_ms(1_000).stat(attempt, old.clone());
    assert!(script.has(&Output::Frozen(true)));
    bytes(&mut script, play);
    script.pass_ms(7_000);
    assert_eq!(script.session.state(), State::Stalled);
    script.stat(attempt, old.clone());
    assert_eq!(script.count(|o| matches!(o, Output::Frozen(_))), 0);
    bytes(&mut script, play);
    script.pass_ms(1_000).stat(attempt, StatFacts { live_age: Some(Duration::ZERO), ..old });
    assert!(script.has(&Output::Frozen(false)));
}

#[test]
fn a_death_is_followed_by_another_engine() {
    let mut script = Script::new();
    script.reach_active(A);
    script.pass_ms(20_000);
    assert!(script.has(&Output::Failover { from: A, reason: "silent" }));
    assert_eq!(script.session.state(), State::Switching);
    assert_eq!(script.session.redis_state(), "connecting");
    assert_eq!(script.select().1, [A]);
    let (_, play) = script.reach_play(B);
    assert!(script.has(&Output::Splice { generation: play }));
    assert_eq!(script.session.state(), State::Switching);
    bytes(&mut script, play);
    assert_eq!(script.session.state(), State::Active);
    assert_eq!(script.session.failovers(), 1);
}

#[test]
fn an_outage_has_an_end() {
    let mut script = Script::new();
    script.says_it_lives = false;
    let (_, play) = script.reach_active(A);
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Cut });
    let stop = script.stop();
    script.stop_done(stop);
    let mut seconds = 0;
    while !script.has(&Output::CloseViewers(CloseReason::EngineGone)) {
        let asked = script.count(|o| matches!(o, Output::Select { .. })) == 1;
        if let Some(generation) = script.find(|o| match o {
            Output::AskStatus { generation, .. } => Some(*generation),
            _ => None,
        }) {
            script.feed(Input::Status { generation, answers: false });
        } else if asked && script.select().1.is_empty() {
            let generation = script.grant(A);
            script.feed(Input::OpenFailed { generation, failure: Failure::Refused });
        } else if asked {
            script.deny(true);
        } else {
            script.pass_ms(100);
            seconds += 1;
        }
    }
    assert_eq!(seconds, 900, "OUTAGE_TIMEOUT");
    assert_eq!(script.count(|o| matches!(o, Output::MarkOffline(_))), 0);
}

/// No descriptor for a while: viewers are kept, no engine is left out for it, and the stream goes on.
#[test]
fn what_we_lack_during_a_failover_is_waited_for_and_no_engine_is_left_out() {
    let mut script = Script::new();
    let (_, play) = script.reach_active(A);
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Silent });
    let stop = script.stop();
    script.stop_done(stop);
    let mut tries = 0;
    for _ in 0..600 {
        if script.count(|o| matches!(o, Output::Select { .. })) == 1 {
            assert!(!script.select().1.contains(&B), "B has done nothing");
            let generation = script.grant(B);
            script.feed(Input::OpenFailed { generation, failure: Failure::Lack("LimitNOFILE") });
            tries += 1;
        }
        script.pass_ms(100);
    }
    assert!((10..20).contains(&tries), "0.5 s doubling to 5 s, for 60 s: {tries}");
    assert_eq!(script.count(|o| matches!(o, Output::CloseViewers(_))), 0);
    while script.count(|o| matches!(o, Output::Select { .. })) == 0 {
        script.pass_ms(100);
    }
    let (_, play) = script.reach_play(B);
    script.feed(Input::PlayHead { generation: play });
    bytes(&mut script, play);
    assert_eq!(script.session.state(), State::Active);
    assert_eq!(script.session.failovers(), 1);
}

#[test]
fn three_deaths_in_three_minutes_are_one_too_many() {
    let mut script = Script::new();
    script.reach_active(A);
    for next in [B, A] {
        script.pass_ms(25_000);
        let stop = script.find(|o| match o {
            Output::Stop { generation, .. } => Some(*generation),
            _ => None,
        });
        let (_, play) = script.reach_play(next);
        bytes(&mut script, play);
        script.stop_done(stop.unwrap());
    }
    script.pass_ms(20_000);
    assert!(script.has(&Output::CloseViewers(CloseReason::Unstable)));
}

#[test]
fn an_open_that_takes_its_time_makes_one_ask_whether_the_engine_lives() {
    let mut script = Script::new();
    script.says_it_lives = false;
    let generation = script.grant(A);
    script.pass_ms(9_999);
    assert!(script.outputs.is_empty(), "{:?}", script.outputs);
    script.pass_ms(1);
    assert!(script.has(&Output::AskStatus { generation, engine: A }));
    script.pass_ms(4_999).feed(Input::Status { generation, answers: true });
    script.pass_ms(10_000);
    assert!(script.has(&Output::AskStatus { generation, engine: A }), "again");
    script.pass_ms(5_000);
    assert_eq!(script.select().1, [A], "it hangs: another one");
    script.grant(B);
    // The answer comes after all: what it opened is stopped.
    script.feed(Input::Opened { generation, opened: super::opened(A) });
    assert_eq!(script.stop(), generation);
}

#[test]
fn a_successor_without_bytes_and_peers_is_left_for_another() {
    let mut script = Script::new();
    script.reach_active(A);
    script.pass_ms(20_000);
    let (attempt, _) = script.reach_play(B);
    for _ in 0..25 {
        script.pass_ms(1_000);
        script.stat(attempt, facts(2, 0));
    }
    assert_eq!(script.session.engine(), Some(B), "it has peers");
    script.pass_ms(20_000);
    assert_eq!(script.stop(), attempt);
    assert_eq!(script.select().1, [A, B]);
}

#[test]
fn a_second_takeover_on_the_only_engine_is_the_end() {
    let mut script = Script::new();
    let (_, mut play) = script.reach_active(A);
    for takeover in 0..2 {
        let failure = Failure::TakenOver("got newer download".to_owned());
        script.feed(Input::BodyEnded { generation: play, failure });
        assert_eq!(script.stops(), 0, "a stop would end the other one's session");
        script.deny(false);
        if takeover == 0 {
            script.pass_ms(999);
            assert_eq!(script.count(|o| matches!(o, Output::Select { .. })), 0);
            script.pass_ms(1).deny(false);
            play = script.reach_play(A).1;
            bytes(&mut script, play);
        }
    }
    assert!(script.has(&Output::EngineTakenOver { engine: A }));
    assert!(script.has(&Output::CloseViewers(CloseReason::TakenOver)));
}

/// Its engine was long in saying that the session was replaced.
#[test]
fn what_turns_out_late_to_have_been_taken_over_is_not_opened_again_there() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_active(A);
    script.feed(Input::Tenure(Tenure::Other));
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Cut });
    script.pass_ms(1_000);
    assert_eq!(script.select().1, [A], "it has not let go in time");
    script.deny(false);
    script.pass_ms(500);
    script.grant(A);
    assert_eq!(script.count(|o| matches!(o, Output::Open { .. })), 0, "it is waited for");
    script.feed(Input::StopDone { generation: attempt, outcome: Outcome::Superseded });
    assert_eq!(script.count(|o| matches!(o, Output::Open { .. })), 0);
    assert_eq!(script.select().1, [A]);
    script.deny(false);
    assert!(until_it_goes_back(&mut script) >= 10_000);
}

/// Other engines are asked for in vain, until it is this one's turn again.
fn until_it_goes_back(script: &mut Script) -> u64 {
    for waited_ms in (100..30_000).step_by(100) {
        script.pass_ms(100);
        if script.count(|o| matches!(o, Output::Select { .. })) == 0 {
            continue;
        }
        script.deny(false);
        if script.count(|o| matches!(o, Output::Select { .. })) == 1 {
            assert!(script.select().1.is_empty());
            return waited_ms;
        }
    }
    panic!("never");
}

/// The body just ends: that another node has the content is learned from the engine's stat.
#[test]
fn who_does_not_own_the_stream_gives_way_twice_and_is_contended_for_then() {
    let mut script = Script::new();
    let (mut attempt, mut play) = script.reach_active(A);
    script.feed(Input::Tenure(Tenure::Other));
    for takeover in 0..3 {
        script.feed(Input::BodyEnded { generation: play, failure: Failure::Cut });
        assert_eq!(script.stop(), attempt);
        let outcome = Outcome::Superseded;
        script.feed(Input::StopDone { generation: attempt, outcome });
        assert_eq!(script.select().1, [A]);
        script.deny(false);
        if takeover < 2 {
            let waited_ms = until_it_goes_back(&mut script);
            assert!((10_000..20_000).contains(&waited_ms), "{waited_ms}");
            (attempt, play) = script.reach_play(A);
            bytes(&mut script, play);
        }
    }
    assert!(script.has(&Output::EngineTakenOver { engine: A }));
    assert!(script.has(&Output::CloseViewers(CloseReason::Contended)), "not unstable");
}

#[test]
fn an_owner_is_not_unstable_for_being_taken_over() {
    let mut script = Script::new();
    let (_, mut play) = script.reach_active(A);
    script.feed(Input::Tenure(Tenure::Owner));
    for _ in 0..12 {
        let failure = Failure::TakenOver("got newer download".to_owned());
        script.feed(Input::BodyEnded { generation: play, failure });
        script.deny(false);
        script.pass_ms(1_000).deny(false);
        play = script.reach_play(A).1;
        bytes(&mut script, play);
        assert_eq!(script.session.state(), State::Active);
    }
}
