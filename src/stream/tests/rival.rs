//! A second session beside the first one: a move, a drained engine, a hedged start.

use std::time::Duration;

use super::A;
use super::B;
use super::Script;
use super::facts;
use super::infohash;
use super::opened;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Target;
use crate::stream::Failure;
use crate::stream::Input;
use crate::stream::Output;
use crate::stream::Purpose;
use crate::stream::Settings;
use crate::stream::State;
use crate::stream::Wish;

fn wish(script: &Script) -> Wish {
    script
        .find(|output| match output {
            Output::Select { wish, .. } => Some(*wish),
            _ => None,
        })
        .expect("a question to the pool")
}

fn beside(script: &Script) -> Generation {
    script
        .find(|output| match output {
            Output::PlayAside { generation, .. } => Some(*generation),
            _ => None,
        })
        .expect("a second body")
}

/// A rival on B whose body has begun: its open and its play.
fn rival(script: &mut Script) -> (Generation, Generation) {
    let generation = script.grant(B);
    script.feed(Input::Opened { generation, opened: opened(B) });
    let play = beside(script);
    script.feed(Input::PlayHead { generation: play });
    (generation, play)
}

fn moving() -> (Script, Generation, Generation) {
    let mut script = Script::new();
    let (attempt, play) = script.reach_active(A);
    script.feed(Input::Move { to: None });
    (script, attempt, play)
}

#[test]
fn a_move_leaves_the_first_engine_when_the_second_can_follow() {
    let (mut script, attempt, play) = moving();
    assert_eq!((wish(&script), script.select().1), (Wish::Any, vec![A]));
    let (_, second) = rival(&mut script);
    script.feed(Input::Bytes { generation: play, n: 188 });
    assert_eq!((script.stops(), script.session.engine()), (0, Some(A)), "it plays on");
    script.feed(Input::Ready { generation: second });
    assert!(script.has(&Output::CloseBody { generation: play }));
    assert!(script.has(&Output::Promote { generation: second }));
    assert!(script.has(&Output::Failover { from: A, reason: "moved" }));
    assert_eq!((script.stop(), script.session.engine()), (attempt, Some(B)));
    assert_eq!(script.session.state(), State::Active);
    script.feed(Input::Ready { generation: second });
    assert!(script.outputs.is_empty(), "once: {:?}", script.outputs);
    script.feed(Input::Bytes { generation: second, n: 188 });
    assert_eq!((script.session.failovers(), script.session.state()), (1, State::Active));
}

#[test]
fn a_move_that_fails_changes_nothing() {
    for failure in [Failure::Refused, Failure::Content("failed to load content".to_owned())] {
        let (mut script, ..) = moving();
        let generation = script.grant(B);
        script.feed(Input::OpenFailed { generation, failure });
        assert!(script.has(&Output::Release { reservation: 2 }));
        assert_eq!((script.session.engine(), script.session.state()), (Some(A), State::Active));
        script.pass_ms(1_000);
        assert_eq!(script.count(|o| matches!(o, Output::Select { .. })), 0, "nobody insists");
    }
    let (mut script, _, play) = moving();
    script.deny(false);
    script.feed(Input::Bytes { generation: play, n: 188 });
    assert_eq!(script.session.state(), State::Active);
}

#[test]
fn what_waited_of_a_second_body_that_is_over_is_let_go() {
    let (mut script, attempt, play) = moving();
    let (_, second) = rival(&mut script);
    script.feed(Input::BodyEnded { generation: second, failure: Failure::Cut });
    assert!(script.has(&Output::CloseBody { generation: second }));
    assert_ne!(script.stop(), attempt);
    script.feed(Input::Bytes { generation: play, n: 188 });
    assert_eq!(script.session.engine(), Some(A));
}

#[test]
fn a_drained_engine_is_left_as_soon_as_there_is_another() {
    let mut script = Script::new();
    let (_, play) = script.reach_active(A);
    script.feed(Input::Leave { engine: A });
    script.deny(false);
    for _ in 0..9 {
        script.pass_ms(1_000);
        assert_eq!(script.count(|o| matches!(o, Output::Select { .. })), 0);
        script.feed(Input::Bytes { generation: play, n: 188 });
    }
    script.pass_ms(1_000);
    let (_, second) = rival(&mut script);
    script.feed(Input::Ready { generation: second });
    assert_eq!(script.session.engine(), Some(B));
    script.feed(Input::Bytes { generation: second, n: 188 });
    script.pass_ms(4_000);
    assert_eq!(script.count(|o| matches!(o, Output::Select { .. })), 0, "it is left");
}

#[test]
fn an_operator_may_name_the_engine() {
    let mut script = Script::new();
    script.reach_active(A);
    script.feed(Input::Move { to: Some(B) });
    assert_eq!(wish(&script), Wish::Only(B));
    let mut script = Script::new();
    script.reach_active(A);
    script.feed(Input::Move { to: Some(A) });
    assert!(script.outputs.is_empty(), "it is there");
}

#[test]
fn when_the_first_dies_the_second_takes_its_place() {
    let (mut script, attempt, play) = moving();
    let (_, second) = rival(&mut script);
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Cut });
    assert_eq!((script.stop(), script.session.state()), (attempt, State::Switching));
    assert!(script.has(&Output::Promote { generation: second }));
    assert_eq!(script.count(|o| matches!(o, Output::Select { .. })), 0, "one is there already");
    script.feed(Input::Bytes { generation: second, n: 188 });
    assert_eq!((script.session.engine(), script.session.state()), (Some(B), State::Active));

    // Still being opened: it is what is waited for.
    let (mut script, _, play) = moving();
    let generation = script.grant(B);
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Cut });
    script.feed(Input::Opened { generation, opened: opened(B) });
    let second = script.play();
    assert!(script.has(&Output::Splice { generation: second }));

    // Its engine hangs: it is left, as it would have been without a first session.
    let (mut script, _, play) = moving();
    script.grant(B);
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Cut });
    script.says_it_lives = false;
    script.pass_ms(15_000);
    assert_eq!(script.count(|o| matches!(o, Output::AskStatus { .. })), 1);
    assert!(script.has(&Output::Release { reservation: 2 }));

    // The pool has not answered yet.
    let (mut script, _, play) = moving();
    let (asked, ..) = script.select();
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Cut });
    let (reservation, name) = (9, "engine-2".to_owned());
    script.feed(Input::Granted { generation: asked, engine: B, reservation, name });
    script.open();
}

#[test]
fn the_end_of_the_stream_ends_both() {
    let (mut script, attempt, _) = moving();
    let (second, _) = rival(&mut script);
    script.feed(Input::Drain);
    let mut stops = Vec::new();
    for output in &script.outputs {
        if let Output::Stop { generation, .. } = output {
            stops.push(*generation);
        }
    }
    assert_eq!(stops, [second, attempt]);
    script.idle();
    script.stop_done(attempt);
    assert!(!script.ended());
    script.stop_done(second);
    assert!(script.ended());
}

fn hedging() -> (Script, Generation, Generation) {
    let settings = Settings { hedge_after: Some(Duration::from_secs(3)), ..Settings::default() };
    let mut script = Script::with(settings, Target::Infohash(infohash(1)));
    let (attempt, play) = script.reach_play(A);
    script.pass_ms(2_999);
    assert_eq!(script.count(|o| matches!(o, Output::Select { .. })), 0);
    script.pass_ms(1);
    (script, attempt, play)
}

#[test]
fn a_slow_start_is_hedged_and_the_first_picture_wins() {
    let (mut script, attempt, play) = hedging();
    assert_eq!((wish(&script), script.select().1), (Wish::Spare, vec![A]));
    let (_, second) = rival(&mut script);
    script.feed(Input::Ready { generation: second });
    assert_eq!(script.stop(), attempt);
    assert!(script.has(&Output::CloseBody { generation: play }));
    script.feed(Input::Bytes { generation: second, n: 188 });
    script.feed(Input::AccessPoint { generation: second });
    assert_eq!((script.session.engine(), script.session.failovers()), (Some(B), 0));
    assert_eq!(script.session.state(), State::Active);

    let (mut script, _, play) = hedging();
    let (second, aside) = rival(&mut script);
    script.feed(Input::PlayHead { generation: play });
    script.feed(Input::Bytes { generation: play, n: 188 });
    assert_eq!(script.stops(), 0, "bytes are no picture");
    script.feed(Input::AccessPoint { generation: play });
    assert_eq!(script.stop(), second);
    assert!(script.has(&Output::CloseBody { generation: aside }));
    assert_eq!(script.session.engine(), Some(A));
}

#[test]
fn a_hedge_that_is_granted_after_the_picture_is_not_opened() {
    let (mut script, _, play) = hedging();
    let (asked, ..) = script.select();
    script.feed(Input::PlayHead { generation: play });
    script.feed(Input::Bytes { generation: play, n: 188 });
    script.feed(Input::AccessPoint { generation: play });
    let (reservation, name) = (9, "engine-2".to_owned());
    script.feed(Input::Granted { generation: asked, engine: B, reservation, name });
    assert!(script.has(&Output::Release { reservation: 9 }));
    assert_eq!(script.count(|o| matches!(o, Output::Open { .. })), 0);
}

#[test]
fn what_grows_is_not_hedged_and_nothing_is_hedged_twice() {
    let settings = Settings { hedge_after: Some(Duration::from_secs(3)), ..Settings::default() };
    let mut script = Script::with(settings, Target::Infohash(infohash(1)));
    let (attempt, _) = script.reach_play(A);
    for downloaded in 1..20 {
        script.pass_ms(1_000).stat(attempt, facts(3, downloaded * 1_000));
        assert_eq!(script.count(|o| matches!(o, Output::Select { .. })), 0);
    }
    let (mut script, ..) = hedging();
    script.deny(false);
    script.pass_ms(20_000);
    assert_eq!(script.count(|o| matches!(o, Output::Select { .. })), 0);
}

fn failed(script: &Script) -> Vec<(Purpose, Option<EngineId>)> {
    let mut failed = Vec::new();
    for output in &script.outputs {
        if let Output::RivalFailed { purpose, engine, .. } = output {
            failed.push((*purpose, *engine));
        }
    }
    failed
}

#[test]
fn what_an_operator_wants_in_vain_makes_no_drain_forgotten() {
    let mut script = Script::new();
    script.reach_active(A);
    script.feed(Input::Leave { engine: A });
    script.deny(false);
    assert_eq!(failed(&script), [(Purpose::Move, None)]);
    script.feed(Input::Move { to: Some(B) });
    assert_eq!(wish(&script), Wish::Only(B));
    script.deny(false);
    assert_eq!(failed(&script), [(Purpose::Move, None)]);
    // It is left all the same, for whichever engine there is.
    assert_eq!(wish(&script), Wish::Any);
    script.deny(false);
    script.pass_ms(10_000);
    assert_eq!(wish(&script), Wish::Any);
}

#[test]
fn that_an_engine_cannot_be_left_is_said_once() {
    let mut script = Script::new();
    let (_, play) = script.reach_active(A);
    script.feed(Input::Leave { engine: A });
    let mut said = 0;
    for _ in 0..5 {
        script.deny(false);
        said += failed(&script).len();
        script.feed(Input::Bytes { generation: play, n: 188 });
        script.pass_ms(10_000);
    }
    assert_eq!(said, 1);
}

#[test]
fn an_engine_that_is_taken_back_is_not_left() {
    let mut script = Script::new();
    let (_, play) = script.reach_active(A);
    script.feed(Input::Leave { engine: A });
    script.deny(false);
    script.feed(Input::Stay { engine: A });
    script.feed(Input::Bytes { generation: play, n: 188 });
    script.pass_ms(4_000);
    script.feed(Input::Bytes { generation: play, n: 188 });
    script.pass_ms(4_000);
    script.feed(Input::Bytes { generation: play, n: 188 });
    script.pass_ms(4_000);
    assert_eq!(script.count(|o| matches!(o, Output::Select { .. })), 0);

    // Nor by a session that was to follow, opened or only granted.
    script.feed(Input::Leave { engine: A });
    let (second, _) = rival(&mut script);
    script.feed(Input::Stay { engine: A });
    assert_eq!((script.stop(), script.session.engine()), (second, Some(A)));
    assert_eq!(failed(&script), [], "nothing has failed");
    script.stop_done(second);
    script.feed(Input::Leave { engine: A });
    let (generation, ..) = script.select();
    script.feed(Input::Stay { engine: A });
    let (reservation, name) = (9, "engine-2".to_owned());
    script.feed(Input::Granted { generation, engine: B, reservation, name });
    assert!(script.has(&Output::Release { reservation: 9 }));
}

#[test]
fn nobody_moves_to_an_engine_that_is_being_drained() {
    let (mut script, ..) = moving();
    let (second, aside) = rival(&mut script);
    script.feed(Input::Leave { engine: B });
    assert_eq!(script.stop(), second);
    assert!(script.has(&Output::CloseBody { generation: aside }));
    assert_eq!(script.select().1, [A], "it asks for another one");
    script.feed(Input::Ready { generation: aside });
    assert_eq!(script.session.engine(), Some(A));
}

#[test]
fn what_fails_beside_the_first_is_told() {
    let (mut script, ..) = moving();
    let generation = script.grant(B);
    script.feed(Input::OpenFailed { generation, failure: Failure::Refused });
    assert_eq!(failed(&script), [(Purpose::Move, Some(B))]);
    let (mut script, ..) = moving();
    script.deny(false);
    assert_eq!(failed(&script), [(Purpose::Move, None)]);
    let (mut script, ..) = hedging();
    let (_, second) = rival(&mut script);
    script.feed(Input::BodyEnded { generation: second, failure: Failure::Cut });
    assert_eq!(failed(&script), [(Purpose::Hedge, Some(B))]);
}

#[test]
fn a_hedge_is_counted_from_the_beginning_of_the_start() {
    let settings = Settings { hedge_after: Some(Duration::from_secs(3)), ..Settings::default() };
    let mut script = Script::with(settings, Target::Infohash(infohash(1)));
    let first = script.grant(A);
    script.pass_ms(3_000);
    assert_eq!((wish(&script), script.select().1), (Wish::Spare, vec![A]), "it hangs in the open");
    let (_, second) = rival(&mut script);
    script.feed(Input::Ready { generation: second });
    assert!(script.has(&Output::Promote { generation: second }));
    assert!(script.has(&Output::Release { reservation: 1 }));
    script.feed(Input::Bytes { generation: second, n: 188 });
    script.feed(Input::AccessPoint { generation: second });
    assert_eq!((script.session.engine(), script.session.state()), (Some(B), State::Active));
    // What the first one opened after all is stopped.
    script.feed(Input::Opened { generation: first, opened: opened(A) });
    assert_eq!(script.stop(), first);
}
