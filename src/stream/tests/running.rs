//! While bytes flow: silence, pauses, deaths, and the switch behind them.

use super::A;
use super::B;
use super::Script;
use super::facts;
use super::infohash;
use crate::base::ids::Generation;
use crate::base::ids::Target;
use crate::stream::CloseReason;
use crate::stream::Failure;
use crate::stream::Input;
use crate::stream::Output;
use crate::stream::Settings;
use crate::stream::State;

fn bytes(script: &mut Script, play: Generation) {
    script.feed(Input::Bytes { generation: play, n: 188 });
}

#[test]
fn silence_stalls_then_ends_the_stream() {
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
    assert!(script.has(&Output::CloseViewers(CloseReason::EngineGone)));
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

fn splicing() -> Script {
    let settings = Settings { splice: true, ..Settings::default() };
    Script::with(settings, Target::Infohash(infohash(1)))
}

#[test]
fn with_splicing_a_death_is_followed_by_another_engine() {
    let mut script = splicing();
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
fn with_splicing_the_outage_has_an_end() {
    let mut script = splicing();
    let (_, play) = script.reach_active(A);
    script.feed(Input::BodyEnded { generation: play, failure: Failure::Cut });
    let stop = script.stop();
    script.stop_done(stop);
    let mut seconds = 0;
    while !script.has(&Output::CloseViewers(CloseReason::EngineGone)) {
        let asked = script.count(|o| matches!(o, Output::Select { .. })) == 1;
        if asked && script.select().1.is_empty() {
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

#[test]
fn three_deaths_in_three_minutes_are_one_too_many() {
    let mut script = splicing();
    script.reach_active(A);
    for _ in 0..2 {
        script.pass_ms(20_000);
        let stop = script.stop();
        let engine = script.select().1[0];
        let next = if engine == A { B } else { A };
        let (_, play) = script.reach_play(next);
        bytes(&mut script, play);
        script.stop_done(stop);
    }
    script.pass_ms(20_000);
    assert!(script.has(&Output::CloseViewers(CloseReason::Unstable)));
}
