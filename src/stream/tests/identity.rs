//! The engine's infohash is the truth: claim, merge, adopt.

use super::A;
use super::B;
use super::Script;
use super::infohash;
use super::opened;
use crate::base::ids::Generation;
use crate::base::ids::Target;
use crate::stream::Adoption;
use crate::stream::CloseReason;
use crate::stream::Failure;
use crate::stream::Input;
use crate::stream::Opened;
use crate::stream::Outcome;
use crate::stream::Output;
use crate::stream::Settings;
use crate::stream::State;

fn other() -> Opened {
    Opened { infohash: infohash(9), ..opened(A) }
}

fn claiming() -> (Script, Generation) {
    let mut script = Script::new();
    let generation = script.grant(A);
    script.feed(Input::Opened { generation, opened: other() });
    assert!(script.has(&Output::Claim { generation, engine: A, infohash: infohash(9) }));
    assert_eq!(script.count(|o| matches!(o, Output::Play { .. })), 0, "not before the answer");
    (script, generation)
}

#[test]
fn an_unknown_infohash_becomes_ours() {
    let (mut script, generation) = claiming();
    script.feed(Input::Claimed { generation });
    script.play();
    assert_eq!(script.session.infohash(), infohash(9));
}

#[test]
fn an_infohash_that_was_asked_for_as_an_id_is_claimed_too() {
    let mut script = Script::with(Settings::default(), Target::Id(infohash(1)));
    let generation = script.grant(A);
    script.feed(Input::Opened { generation, opened: opened(A) });
    assert!(script.has(&Output::Claim { generation, engine: A, infohash: infohash(1) }));
    script.feed(Input::Claimed { generation });
    script.play();
}

#[test]
fn a_stream_on_another_engine_is_joined_and_ours_is_stopped() {
    let (mut script, generation) = claiming();
    script.feed(Input::MergeInto { generation, infohash: infohash(9), adopted: false });
    assert!(script.has(&Output::MoveViewers { infohash: infohash(9) }));
    assert_eq!(script.stop(), generation);
    script.idle();
    script.stop_done(generation);
    assert!(script.ended());
    assert_eq!(script.session.state(), State::Stopped);
}

#[test]
fn an_adopted_session_is_neither_stopped_nor_released() {
    let (mut script, generation) = claiming();
    script.feed(Input::MergeInto { generation, infohash: infohash(9), adopted: true });
    assert!(script.has(&Output::MoveViewers { infohash: infohash(9) }));
    let gone = |o: &Output| {
        matches!(o, Output::Stop { .. } | Output::Release { .. } | Output::SessionOver { .. })
    };
    assert_eq!(script.count(gone), 0);
    script.idle();
    assert!(script.ended());
}

#[test]
fn a_claim_is_waited_for_before_the_session_may_be_stopped() {
    let (mut script, generation) = claiming();
    script.feed(Input::Kick { reason: CloseReason::Kicked });
    assert_eq!(script.stops(), 0, "the stream that adopts it would lose its session");
    script.idle();
    script.feed(Input::MergeInto { generation, infohash: infohash(9), adopted: true });
    assert_eq!(script.stops(), 0);
    assert!(script.ended());

    let (mut script, generation) = claiming();
    script.feed(Input::Kick { reason: CloseReason::Kicked });
    script.idle();
    script.feed(Input::Claimed { generation });
    assert_eq!(script.stop(), generation);
}

fn offer(script: &mut Script, engine: crate::base::ids::EngineId) {
    script.feed(Input::Adopt {
        engine,
        reservation: 77,
        name: "engine-1".to_owned(),
        opened: Opened { playback_session_id: "newer".to_owned(), ..opened(engine) },
    });
}

#[test]
fn a_running_stream_adopts_the_session_that_superseded_its_own() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_active(A);
    offer(&mut script, A);
    assert!(script.has(&Output::CloseBody { generation: play }));
    let outcome = Outcome::Superseded;
    assert!(script.has(&Output::SessionOver { generation: attempt, engine: A, outcome }));
    assert!(script.has(&Output::Release { reservation: 1 }));
    assert_eq!(script.stops(), 0);
    assert_eq!(script.session.state(), State::Switching);
    let newer = script.play();
    assert!(script.has(&Output::Splice { generation: newer }));
    script.feed(Input::Bytes { generation: newer, n: 1 });
    assert_eq!(script.session.state(), State::Active);
    script.leave().pass_ms(5_000);
    script.idle();
    let stop = script.stop();
    script.stop_done(stop);
    assert!(script.has(&Output::Release { reservation: 77 }) && script.ended());
}

#[test]
fn a_stream_between_two_sessions_takes_an_open_one_from_any_engine() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_active(A);
    // The other one's open has ended our body; why is not known yet.
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Cut });
    assert_eq!(script.session.state(), State::Switching);
    // On A our stop of the old one may still end the new one.
    assert_eq!(script.session.adoption(A, infohash(1)), Adoption::Later);
    assert_eq!(script.session.adoption(B, infohash(1)), Adoption::Yes);
    offer(&mut script, B);
    let newer = script.play();
    script.feed(Input::Bytes { generation: newer, n: 1 });
    assert_eq!(script.session.state(), State::Active);
    script.feed(Input::StopDone { generation: attempt, outcome: Outcome::Superseded });
    assert!(script.has(&Output::Release { reservation: 1 }));
}

#[test]
fn an_offer_that_is_not_ours_is_stopped() {
    let mut script = Script::new();
    script.reach_active(A);
    offer(&mut script, B);
    let stop = script.stop();
    assert_eq!(script.session.state(), State::Active);
    script.stop_done(stop);
    assert!(script.has(&Output::Release { reservation: 77 }));
}

#[test]
fn a_claim_is_kept_while_the_outcome_of_ours_is_open() {
    let mut script = Script::new();
    assert_eq!(script.session.adoption(A, infohash(1)), Adoption::Later, "one is being chosen");
    let generation = script.grant(A);
    assert_eq!(script.session.adoption(A, infohash(1)), Adoption::Later);
    assert_eq!(script.session.adoption(B, infohash(1)), Adoption::No);
    script.feed(Input::Opened { generation, opened: opened(A) });
    assert_eq!(script.session.adoption(A, infohash(1)), Adoption::Yes);
    assert_eq!(script.session.adoption(A, infohash(9)), Adoption::No, "another content");
    script.feed(Input::Drain);
    assert_eq!(script.session.adoption(A, infohash(1)), Adoption::Later);
    assert_eq!(script.session.adoption(B, infohash(1)), Adoption::Later);

    let (script, _) = claiming();
    assert_eq!(script.session.adoption(A, infohash(9)), Adoption::Later);
    assert_eq!(script.session.adoption(A, infohash(1)), Adoption::No);
}
