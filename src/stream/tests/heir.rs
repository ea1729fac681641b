//! A stream whose shard was lost: no order that was out is answered, no connection is left.

use super::A;
use super::B;
use super::Script;
use super::infohash;
use super::opened;
use crate::base::ids::Target;
use crate::stream::Failure;
use crate::stream::Input;
use crate::stream::Output;
use crate::stream::Settings;
use crate::stream::State;

/// Its engine has died under the viewer, and another one is being asked.
fn switching() -> Script {
    let mut script = Script::new();
    let (_, play) = script.reach_active(A);
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Silent });
    script
}

#[test]
fn a_body_that_nobody_reads_any_more_is_followed_and_no_engine_is_blamed() {
    let mut script = Script::new();
    let (attempt, _) = script.reach_active(A);
    script.feed(Input::Inherited);
    assert!(script.has(&Output::Failover { from: A, reason: "shard_lost" }));
    assert_eq!((script.stop(), script.session.state()), (attempt, State::Switching));
    assert_eq!(script.session.reservations().collect::<Vec<_>>(), [1], "until it is stopped");
}

#[test]
fn an_open_that_nobody_waits_for_any_more_is_made_again_on_the_same_engine() {
    let mut script = switching();
    let before = script.grant(B);
    let (_, _, pid) = script.open();
    script.feed(Input::Inherited);
    let (again, target, renewed) = script.open();
    assert_ne!((again, &renewed), (before, &pid));
    assert_eq!((target, script.session.engine()), (Target::Infohash(infohash(1)), Some(B)));
    script.feed(Input::Opened { generation: again, opened: opened(B) });
    let play = script.play();
    script.feed(Input::Bytes { generation: play, n: 188 });
    assert_eq!(script.session.state(), State::Active);
}

#[test]
fn a_stop_that_may_not_have_been_sent_is_sent_again() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_active(A);
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Silent });
    script.grant(B);
    assert_eq!(script.stops(), 0);
    script.feed(Input::Inherited);
    assert_eq!(script.stop(), attempt);
    let asks_first = script.count(
        |output| matches!(output, Output::Stop { unless_replaced, .. } if unless_replaced.is_some()),
    );
    assert_eq!(asks_first, 1, "it may have been sent, and another session opened since");
    script.stop_done(attempt);
    script.pass_ms(5_000);
    assert_eq!(script.count(|o| matches!(o, Output::SessionOver { .. })), 0, "over once");
}

#[test]
fn a_question_to_the_pool_is_asked_again_and_its_grant_goes_back() {
    let mut script = switching();
    let (lost, ..) = script.select();
    script.feed(Input::Inherited);
    let (again, ..) = script.select();
    assert_ne!(lost, again);
    let name = "engine-2".to_owned();
    script.feed(Input::Granted { generation: lost, engine: B, reservation: 9, name });
    assert!(script.has(&Output::Release { reservation: 9 }));
}

#[test]
fn a_session_beside_the_first_is_let_go() {
    let mut script = Script::new();
    let (first, _) = script.reach_active(A);
    script.feed(Input::Move { to: None });
    let second = script.grant(B);
    script.feed(Input::Opened { generation: second, opened: opened(B) });
    assert_eq!(script.session.owed().len(), 2);
    script.feed(Input::Inherited);
    let mut stops = Vec::new();
    for output in &script.outputs {
        if let Output::Stop { generation, .. } = output {
            stops.push(*generation);
        }
    }
    assert_eq!(stops, [second, first]);
    assert_eq!(script.session.owed().len(), 2, "whoever buries it stops them");
}

#[test]
fn a_claim_that_was_lost_is_made_again() {
    let id = Target::Id(infohash(9));
    let mut script = Script::with(Settings::default(), id);
    let generation = script.grant(A);
    script.feed(Input::Opened { generation, opened: opened(A) });
    let claim = Output::Claim { generation, engine: A, infohash: infohash(1) };
    assert!(script.has(&claim));
    script.feed(Input::ClaimLost { generation });
    assert_eq!(script.outputs, [claim]);
    script.feed(Input::Claimed { generation });
    script.play();
    script.feed(Input::ClaimLost { generation });
    assert!(script.outputs.is_empty(), "it was answered");
}
