//! Answers that come late, twice, or to somebody who is not there any more.

use super::A;
use super::B;
use super::Script;
use super::facts;
use super::opened;
use crate::base::ids::Generation;
use crate::stream::Failure;
use crate::stream::Input;
use crate::stream::Outcome;
use crate::stream::Output;
use crate::stream::State;

#[test]
fn an_open_that_nobody_wants_is_kept_and_stopped() {
    let mut script = Script::new();
    let generation = script.grant(A);
    script.leave().pass_ms(5_000);
    script.idle();
    assert_eq!(script.session.state(), State::Draining);
    assert!(script.session.accepts_viewers());
    assert_eq!(script.count(|o| matches!(o, Output::Release { .. })), 0, "it counts on its engine");
    script.pass_ms(20_000);
    script.feed(Input::Opened { generation, opened: opened(A) });
    assert_eq!(script.stop(), generation);
    assert!(!script.session.accepts_viewers());
    script.stop_done(generation);
    assert!(script.has(&Output::Release { reservation: 1 }));
    assert!(script.ended());
}

#[test]
fn an_open_that_fails_when_nobody_wants_it_ends_the_stream() {
    let mut script = Script::new();
    let generation = script.grant(A);
    script.leave().pass_ms(5_000);
    script.idle();
    script.feed(Input::OpenFailed { generation, failure: Failure::Refused });
    assert!(script.has(&Output::Release { reservation: 1 }));
    assert!(script.ended());
    assert_eq!(script.stops(), 0);
}

#[test]
fn who_returns_while_it_is_opening_takes_it_up() {
    let mut script = Script::new();
    let generation = script.grant(A);
    script.leave().pass_ms(5_000);
    script.idle();
    script.come();
    assert_eq!(script.session.state(), State::Connecting);
    script.feed(Input::Opened { generation, opened: opened(A) });
    let play = script.play();
    script.feed(Input::Bytes { generation: play, n: 1 });
    assert_eq!(script.session.state(), State::Buffering);
}

#[test]
fn start_timeout_during_an_open_answers_everybody_and_lets_the_next_one_try() {
    let mut script = Script::new();
    let generation = script.grant(A);
    script.pass_ms(60_000);
    assert_eq!(script.refusal().unwrap().code.status(), 504);
    assert_eq!(script.stops(), 0);
    script.idle();
    assert!(!script.ended());
    script.come();
    script.feed(Input::Opened { generation, opened: opened(A) });
    script.play();
}

#[test]
fn a_lingering_open_that_is_never_answered_is_given_up() {
    let mut script = Script::new();
    script.grant(A);
    script.leave().pass_ms(5_000);
    script.idle();
    script.pass_ms(70_000);
    assert!(script.ended());
}

#[test]
fn an_open_that_failed_and_then_succeeded_is_stopped_once() {
    let mut script = Script::new();
    let first = script.grant(A);
    script.feed(Input::OpenFailed { generation: first, failure: Failure::Silent });
    let second = script.grant(B);
    script.feed(Input::Opened { generation: first, opened: opened(A) });
    assert_eq!(script.stop(), first);
    script.feed(Input::Opened { generation: first, opened: opened(A) });
    assert_eq!(script.stops(), 0);
    script.stop_done(first);
    let outcome = Outcome::Stopped;
    assert!(script.has(&Output::SessionOver { generation: first, engine: A, outcome }));
    assert_eq!(script.count(|o| matches!(o, Output::Release { .. })), 0, "it went back before");
    script.feed(Input::Opened { generation: second, opened: opened(B) });
    script.play();
}

#[test]
fn a_late_session_on_the_engine_that_is_asked_again_waits_for_the_newer_one() {
    let mut script = Script::new();
    let first = script.grant(A);
    script.feed(Input::OpenFailed { generation: first, failure: Failure::Cut });
    script.pass_ms(250);
    let second = script.grant(A);
    script.feed(Input::Opened { generation: first, opened: opened(A) });
    assert_eq!(script.stops(), 0, "it could kill the one that is being opened");
    script.feed(Input::Opened { generation: second, opened: opened(A) });
    let outcome = Outcome::Superseded;
    assert!(script.has(&Output::SessionOver { generation: first, engine: A, outcome }));

    let mut script = Script::new();
    let first = script.grant(A);
    script.feed(Input::OpenFailed { generation: first, failure: Failure::Cut });
    script.pass_ms(250);
    let second = script.grant(A);
    script.feed(Input::Opened { generation: first, opened: opened(A) });
    script.feed(Input::OpenFailed { generation: second, failure: Failure::Cut });
    assert_eq!(script.stop(), first, "the newer one never came");
}

#[test]
fn echoes_change_nothing() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_active(A);
    for input in [
        Input::Opened { generation: attempt, opened: opened(B) },
        Input::OpenFailed { generation: attempt, failure: Failure::Refused },
        Input::Claimed { generation: attempt },
        Input::PlayHead { generation: play },
        Input::Granted {
            generation: attempt,
            engine: A,
            reservation: 1,
            name: "engine-1".to_owned(),
        },
        Input::StopDone { generation: attempt, outcome: Outcome::Stopped },
        Input::Stat { generation: attempt, facts: facts(0, 0) },
        Input::BodyEnded { generation: attempt, failure: Failure::Cut },
        Input::Bytes { generation: Generation(99), n: 5 },
        Input::Idle { shard: super::THERE, close_generation: Generation(99) },
    ] {
        script.feed(input.clone());
        assert!(script.outputs.is_empty(), "{input:?}: {:?}", script.outputs);
    }
    assert_eq!(script.session.state(), State::Active);
    assert_eq!(script.session.bytes_total(), 188);
}

#[test]
fn a_grant_that_comes_too_late_goes_back() {
    let mut script = Script::new();
    let (generation, ..) = script.select();
    script.pass_ms(10_000);
    let (again, ..) = script.select();
    assert_ne!(again, generation, "the pool's shard has died, it is asked again");
    script.feed(Input::Granted { generation, engine: A, reservation: 9, name: "a".to_owned() });
    assert!(script.has(&Output::Release { reservation: 9 }));
}
