//! Viewers leave, return, and the stream ends: once, and in order.

use std::time::Duration;

use super::A;
use super::HERE;
use super::Script;
use super::THERE;
use super::facts;
use super::infohash;
use super::opened;
use crate::base::ids::Generation;
use crate::base::ids::Target;
use crate::stream::CloseReason;
use crate::stream::Failure;
use crate::stream::Input;
use crate::stream::Outcome;
use crate::stream::Output;
use crate::stream::Settings;
use crate::stream::State;

#[test]
fn the_last_viewer_leaves_and_the_stream_ends_after_the_grace_period() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_active(A);
    script.pass_ms(10_000);
    script.feed(Input::Bytes { generation: play, n: 1 });
    script.leave().pass_ms(4_999);
    assert_eq!(script.count(|o| matches!(o, Output::MayClose { .. })), 0);
    script.pass_ms(1);
    assert_eq!(script.stops(), 0, "nobody has answered yet");
    script.idle();
    assert_eq!(script.stop(), attempt);
    assert!(script.has(&Output::CloseBody { generation: play }));
    script.stop_done(attempt);
    let outcome = Outcome::Stopped;
    assert!(script.has(&Output::SessionOver { generation: attempt, engine: A, outcome }));
    assert!(script.has(&Output::Release { reservation: 1 }));
    assert!(script.has(&Output::State { state: State::Stopped, redis: "stopped" }));
    assert!(script.ended());
}

#[test]
fn who_returns_within_the_grace_period_continues_on_the_same_session() {
    let mut script = Script::new();
    let (_, play) = script.reach_active(A);
    script.leave().pass_ms(4_000);
    script.come().pass_ms(4_000);
    script.feed(Input::Bytes { generation: play, n: 1 });
    script.leave().pass_ms(4_999);
    assert_eq!(script.count(|o| matches!(o, Output::MayClose { .. })), 0, "the period begins anew");
    assert_eq!(script.session.state(), State::Active);
}

#[test]
fn what_an_operator_keeps_warm_outlives_its_viewers() {
    let mut script = Script::new();
    let (_, play) = script.reach_active(A);
    let until = script.now + Duration::from_secs(30);
    script.feed(Input::Warm { until }).leave();
    for _ in 0..29 {
        script.pass_ms(1_000);
        script.feed(Input::Bytes { generation: play, n: 1 });
        assert_eq!(script.count(|o| matches!(o, Output::MayClose { .. })), 0);
    }
    assert_eq!(script.session.viewers(), 0, "it is no viewer");
    // The last word counts.
    let until = script.now + Duration::from_secs(3);
    script.feed(Input::Warm { until });
    script.pass_ms(2_999);
    assert_eq!(script.count(|o| matches!(o, Output::MayClose { .. })), 0);
    script.pass_ms(1).may_close();
}

#[test]
fn grace_is_counted_from_the_first_packet_at_the_earliest() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_play(A);
    script.leave();
    for _ in 0..10 {
        script.pass_ms(1_000).stat(attempt, facts(2, 0));
    }
    script.feed(Input::Bytes { generation: play, n: 1 });
    script.pass_ms(4_999);
    assert_eq!(script.count(|o| matches!(o, Output::MayClose { .. })), 0);
    script.pass_ms(1);
    script.may_close();
}

#[test]
fn without_a_grace_period_the_first_viewer_still_finds_the_stream() {
    let settings = Settings { grace_period: Duration::ZERO, ..Settings::default() };
    let mut script = Script::with(settings, Target::Infohash(infohash(1)));
    script.reach_active(A);
    assert_eq!(script.session.viewers(), 1);
    script.leave();
    script.idle();
    script.stop();
}

#[test]
fn a_busy_shard_calls_the_end_off() {
    let mut script = Script::new();
    script.reach_active(A);
    script.feed(Input::Attached { shard: THERE, count: 1, waiting: 1 });
    script.leave();
    script.feed(Input::Viewers { shard: THERE, count: 0, waiting: 0 });
    script.pass_ms(5_000);
    let first = script.may_close();
    script.feed(Input::Idle { shard: HERE, close_generation: first });
    script.feed(Input::Busy { shard: THERE, close_generation: first });
    assert_eq!(script.stops(), 0);
    // Its viewer left again before it was counted: the question is asked anew, of it alone.
    script.pass_ms(5_000);
    let second = script.may_close();
    script.feed(Input::Idle { shard: THERE, close_generation: first });
    assert_eq!(script.stops(), 0, "an answer to the first question");
    script.feed(Input::Idle { shard: THERE, close_generation: second });
    assert_eq!(script.stops(), 1);
}

#[test]
fn a_viewer_between_question_and_answer_calls_the_end_off() {
    let mut script = Script::new();
    let (_, play) = script.reach_active(A);
    script.feed(Input::Attached { shard: THERE, count: 1, waiting: 0 });
    script.feed(Input::Viewers { shard: THERE, count: 0, waiting: 0 });
    script.leave().pass_ms(5_000);
    let close_generation = script.may_close();
    script.feed(Input::Idle { shard: HERE, close_generation });
    script.come();
    script.feed(Input::Idle { shard: THERE, close_generation });
    assert_eq!((script.stops(), script.session.viewers()), (0, 1));
    script.feed(Input::Bytes { generation: play, n: 1 });
    assert_eq!(script.session.state(), State::Active);
}

#[test]
fn a_start_outlives_its_viewers_while_there_are_peers_or_growth() {
    let mut script = Script::new();
    let (attempt, _) = script.reach_play(A);
    script.pass_ms(1_000).stat(attempt, facts(0, 0));
    script.leave();
    for second in 0..20 {
        let (peers, downloaded) = if second < 10 { (1, 0) } else { (0, second * 16_384) };
        script.pass_ms(1_000).stat(attempt, facts(peers, downloaded));
        assert_eq!(script.count(|o| matches!(o, Output::MayClose { .. })), 0);
    }
    for _ in 0..4 {
        script.pass_ms(1_000).stat(attempt, facts(0, 19 * 16_384));
    }
    script.pass_ms(1_000);
    script.idle();
    assert_eq!(script.stop(), attempt);
    assert_eq!(script.count(|o| matches!(o, Output::MarkOffline(_))), 1);
    assert_eq!(script.count(|o| matches!(o, Output::FailLog { .. })), 1);
}

#[test]
fn a_grace_period_shorter_than_the_polls_does_not_end_a_start_between_them() {
    let grace_period = Duration::from_millis(500);
    let settings = Settings { grace_period, ..Settings::default() };
    let mut script = Script::with(settings, Target::Infohash(infohash(1)));
    let (attempt, _) = script.reach_play(A);
    script.leave();
    for _ in 0..20 {
        script.pass_ms(1_000).stat(attempt, facts(3, 0));
        assert_eq!(script.count(|o| matches!(o, Output::MayClose { .. })), 0);
    }
    // No answer any more: given up, but the last one speaks for the content.
    script.pass_ms(3_000);
    script.idle();
    assert_eq!(script.stop(), attempt);
    assert_eq!(script.count(|o| matches!(o, Output::MarkOffline(_))), 0);
}

#[test]
fn a_zap_through_leaves_nothing_behind() {
    let mut script = Script::new();
    script.leave().pass_ms(5_000);
    script.idle();
    assert!(!script.ended(), "the pool's answer holds a reservation");
    script.feed(Input::Granted {
        generation: Generation(1),
        engine: A,
        reservation: 5,
        name: "a".to_owned(),
    });
    assert!(script.has(&Output::Release { reservation: 5 }));
    assert!(script.ended());
    assert_eq!(script.count(|o| matches!(o, Output::MarkOffline(_) | Output::Open { .. })), 0);
}

#[test]
fn drain_stops_at_once_and_once() {
    let mut script = Script::new();
    let (attempt, play) = script.reach_active(A);
    script.feed(Input::Drain);
    assert!(script.has(&Output::CloseViewers(CloseReason::Drain)));
    assert!(script.has(&Output::CloseBody { generation: play }));
    assert_eq!(script.refusal().unwrap().code.as_str(), "shutting_down");
    assert_eq!(script.stop(), attempt);
    let close_generation = script.may_close();
    script.feed(Input::Drain);
    script.feed(Input::Kick { reason: CloseReason::Kicked });
    assert!(script.outputs.is_empty());
    script.stop_done(attempt);
    script.feed(Input::StopDone { generation: attempt, outcome: Outcome::Stopped });
    assert!(script.outputs.is_empty());
    script.feed(Input::Idle { shard: HERE, close_generation });
    assert!(script.ended());
    script.feed(Input::Drain);
    assert!(script.outputs.is_empty() && script.session.poll_timeout().is_none());
}

#[test]
fn drain_waits_for_an_open_and_nobody_revives_it() {
    let mut script = Script::new();
    let generation = script.grant(A);
    script.feed(Input::Drain);
    assert!(!script.session.accepts_viewers());
    script.idle();
    script.come();
    assert!(!script.ended() && script.outputs.is_empty());
    script.feed(Input::Opened { generation, opened: opened(A) });
    assert_eq!(script.stop(), generation);
    script.stop_done(generation);
    assert!(script.ended());
}

#[test]
fn a_stop_that_nobody_confirms_is_lost_and_holds_nothing() {
    let mut script = Script::new();
    let (attempt, _) = script.reach_active(A);
    script.feed(Input::Kick { reason: CloseReason::Kicked });
    script.idle();
    script.pass_ms(5_000);
    let outcome = Outcome::Lost;
    assert!(script.has(&Output::SessionOver { generation: attempt, engine: A, outcome }));
    assert!(script.has(&Output::Release { reservation: 1 }));
    assert!(script.ended());
}

#[test]
fn a_busy_shard_is_told_again_when_the_end_is_forced() {
    let mut script = Script::new();
    let (attempt, _) = script.reach_active(A);
    script.feed(Input::Kick { reason: CloseReason::Kicked });
    let close_generation = script.may_close();
    script.stop_done(attempt);
    script.feed(Input::Busy { shard: HERE, close_generation });
    script.pass_ms(200);
    assert!(script.has(&Output::CloseViewers(CloseReason::Kicked)));
    assert!(script.refusal().is_some());
    script.idle();
    assert!(script.ended());
}

#[test]
fn a_lost_shard_counts_as_idle() {
    let mut script = Script::new();
    let (attempt, _) = script.reach_active(A);
    script.feed(Input::Attached { shard: THERE, count: 3, waiting: 0 });
    script.leave();
    script.feed(Input::ShardLost { shard: THERE });
    assert_eq!(script.session.viewers(), 0);
    script.pass_ms(5_000);
    script.feed(Input::ShardLost { shard: HERE });
    assert_eq!(script.stop(), attempt);
}

#[test]
fn a_session_that_ends_without_a_reason_is_asked_about_before_it_is_stopped() {
    let asks = |script: &Script| {
        script.find(|output| match output {
            Output::Stop { unless_replaced, .. } => Some(unless_replaced.clone()),
            _ => None,
        })
    };
    let mut script = Script::new();
    let (attempt, play) = script.reach_active(A);
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Cut });
    let asked = asks(&script).unwrap().unwrap();
    assert_eq!(asked.playback_session_id, "session-1");
    let outcome = Outcome::Superseded;
    script.feed(Input::StopDone { generation: attempt, outcome });
    assert!(script.has(&Output::SessionOver { generation: attempt, engine: A, outcome }));
    assert!(script.has(&Output::Release { reservation: 1 }));

    let mut script = Script::new();
    script.reach_active(A);
    script.feed(Input::Drain);
    assert_eq!(asks(&script), Some(None), "it is known to play");
}

#[test]
fn the_next_stream_may_start_while_viewers_of_this_one_linger() {
    let mut script = Script::new();
    let (attempt, _) = script.reach_active(A);
    script.feed(Input::Kick { reason: CloseReason::Kicked });
    let close_generation = script.may_close();
    assert!(!script.has(&Output::LetGo), "the session is not stopped yet");
    script.stop_done(attempt);
    assert!(script.has(&Output::LetGo));
    assert!(!script.session.accepts_viewers() && !script.ended());
    script.pass_ms(60_000);
    assert!(script.outputs.is_empty(), "once: {:?}", script.outputs);
    script.feed(Input::Idle { shard: HERE, close_generation });
    assert!(script.ended());
}

#[test]
fn a_takeover_under_viewers_is_not_stopped() {
    let mut script = Script::new();
    let (attempt, _) = script.reach_active(A);
    script.pass_ms(1_000);
    let mut stat = facts(1, 1);
    stat.playback_session_id = Some("somebody-elses".to_owned());
    script.stat(attempt, stat);
    assert!(script.has(&Output::Failover { from: A, reason: "taken_over" }));
    assert_eq!(script.stops(), 0);
    let outcome = Outcome::Superseded;
    assert!(script.has(&Output::SessionOver { generation: attempt, engine: A, outcome }));
    assert_eq!(script.select().1, [A]);
}
