//! The table of the module's header, row by row.

use std::time::Duration;

use super::Next;
use super::Search;
use crate::base::ids::EngineId;
use crate::base::time::Instant;
use crate::stream::input::Failure;
use crate::stream::output::Code;

const A: EngineId = EngineId(1);
const B: EngineId = EngineId(2);

fn ms(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

fn search() -> Search {
    let mut search = Search::new(ms(0), ms(60_000));
    search.granted();
    search
}

fn none_left(search: &mut Search, now: Instant) -> Next {
    search.denied(false, "RINGCAST_MAX_STREAMS_PER_ENGINE", Duration::ZERO, now)
}

#[test]
fn no_engine_at_all_ends_at_once_and_only_then() {
    let mut fresh = Search::new(ms(0), ms(60_000));
    let Next::End(verdict) = fresh.denied(true, "none", Duration::ZERO, ms(0)) else { panic!() };
    assert_eq!((verdict.code, verdict.offline), (Code::NoEngine, false));
    let mut fresh = Search::new(ms(0), ms(60_000));
    let Next::End(verdict) = none_left(&mut fresh, ms(0)) else { panic!() };
    assert_eq!(verdict.code, Code::NoCapacity);
    // An engine that was there a moment ago may come back.
    let mut later = search();
    assert_eq!(later.denied(true, "none", Duration::ZERO, ms(0)), Next::Ask);
}

#[test]
fn refused_engines_are_all_asked_again_with_a_growing_backoff() {
    let mut search = search();
    let mut waits = Vec::new();
    for _ in 0..6 {
        assert_eq!(search.failed(&Failure::Refused, A, false, ms(0)), Next::Ask);
        assert_eq!((search.exclude.as_slice(), search.next_at), ([A].as_slice(), Some(ms(0))));
        assert_eq!(search.failed(&Failure::Silent, B, false, ms(0)), Next::Ask);
        assert_eq!(search.exclude, [A, B]);
        assert_eq!(none_left(&mut search, ms(0)), Next::Ask);
        assert!(search.exclude.is_empty());
        waits.push(search.next_at.unwrap().as_micros() / 1_000);
    }
    assert_eq!(waits, [500, 1_000, 2_000, 4_000, 5_000, 5_000]);
    assert_eq!(search.timed_out(String::new(), false).code, Code::NoEngine);
}

#[test]
fn after_a_cut_the_same_engine_once_then_another() {
    let mut search = search();
    assert_eq!(search.failed(&Failure::Cut, A, false, ms(0)), Next::Reopen(A));
    assert_eq!(search.prefer, Some(A));
    assert_eq!(search.ask_due(|_| false), Some(ms(1_000)), "it has not said that it lives");
    search.status(A, true, ms(5));
    assert_eq!(search.ask_due(|_| true), Some(ms(1_000)), "it still has the old session");
    assert_eq!(search.ask_due(|_| false), Some(ms(250)));
    search.asks(|_| false, ms(250));
    assert!(search.exclude.is_empty());
    search.failed(&Failure::Gone("x".to_owned()), A, false, ms(300));
    assert_eq!((search.prefer, search.next_at), (None, Some(ms(300))));
    assert_eq!(search.exclude, [A]);
}

#[test]
fn taken_over_tries_another_then_the_same_once_then_ends() {
    let mut search = search();
    let taken = Failure::TakenOver("got newer download".to_owned());
    assert_eq!(search.failed(&taken, A, false, ms(0)), Next::Ask);
    assert_eq!(search.exclude, [A]);
    assert_eq!(none_left(&mut search, ms(0)), Next::Ask);
    assert_eq!((search.next_at, search.exclude.is_empty()), (Some(ms(1_000)), true));
    let Next::End(verdict) = search.failed(&Failure::MalformedHead, A, false, ms(1_000)) else {
        panic!("no fight")
    };
    assert!(verdict.taken_over && !verdict.offline);
}

#[test]
fn an_engines_error_is_checked_against_one_other_engine() {
    let mut search = search();
    let premium = Failure::Engine("premium only".to_owned());
    assert_eq!(search.failed(&premium, A, false, ms(0)), Next::Ask);
    let Next::End(verdict) = search.failed(&premium, B, false, ms(0)) else { panic!() };
    assert_eq!((verdict.code, verdict.message.as_str()), (Code::EngineRefused, "premium only"));
    assert!(!verdict.offline, "the licence is at fault, not the content");
    // No other engine: its words, not those of the one that did not answer.
    let mut search = self::search();
    search.failed(&premium, A, false, ms(0));
    search.failed(&Failure::Refused, B, false, ms(0));
    let Next::End(verdict) = none_left(&mut search, ms(0)) else { panic!() };
    assert_eq!((verdict.message.as_str(), verdict.engine), ("premium only", Some(A)));
}

#[test]
fn a_content_error_is_retried_once_as_an_infohash() {
    let mut search = search();
    let content = Failure::Content("failed to load content".to_owned());
    assert_eq!(search.failed(&content, A, true, ms(0)), Next::AskAsInfohash);
    assert_eq!(search.prefer, Some(A));
    let Next::End(verdict) = search.failed(&content, A, false, ms(0)) else { panic!() };
    assert_eq!(verdict.message, "failed to load content");
    assert!(verdict.offline);
}

#[test]
fn a_switch_keeps_trying_where_a_start_gives_up() {
    let mut search = Search::switching(ms(0), ms(90_000), Vec::new());
    let premium = Failure::Engine("busy".to_owned());
    assert_eq!(search.failed(&premium, A, false, ms(0)), Next::Ask);
    assert_eq!(search.failed(&premium, B, false, ms(0)), Next::Ask);
    assert_eq!(none_left(&mut search, ms(0)), Next::Ask);
    assert_eq!(search.denied(true, "none", Duration::ZERO, ms(0)), Next::Ask);
}

#[test]
fn after_a_cut_an_engine_that_does_not_live_is_left_at_once() {
    let mut dead = search();
    dead.failed(&Failure::Cut, A, false, ms(0));
    dead.status(A, false, ms(3));
    assert_eq!((dead.ask_due(|_| false), dead.excluded(ms(3))), (Some(ms(3)), vec![A]));
    let mut silent = search();
    silent.failed(&Failure::Cut, A, false, ms(0));
    silent.asks(|_| false, ms(1_000));
    assert_eq!(silent.excluded(ms(1_000)), [A]);
}

#[test]
fn an_engine_that_was_left_rests_before_it_is_gone_back_to() {
    let mut search = Search::switching(ms(0), ms(90_000), vec![(B, ms(12_000))]);
    assert_eq!(search.failed(&Failure::Silent, A, false, ms(0)), Next::Ask);
    assert_eq!(search.excluded(ms(0)), [A, B]);
    assert_eq!(none_left(&mut search, ms(0)), Next::Ask);
    assert_eq!(search.ask_due(|_| false), Some(ms(12_000)), "another one, when it has rested");
    assert_eq!(search.excluded(ms(12_000)), [A]);
}

#[test]
fn a_second_takeover_is_yielded_to_unless_there_is_another_engine() {
    let taken = Failure::TakenOver("403 Forbidden".to_owned());
    let mut search = Search::switching(ms(0), ms(90_000), Vec::new());
    assert_eq!(search.failed(&taken, A, false, ms(0)), Next::Ask);
    search.yield_to(A);
    assert_eq!(search.excluded(ms(0)), [A]);
    let Next::End(verdict) = none_left(&mut search, ms(0)) else { panic!("a fight") };
    assert!(verdict.taken_over);
}

#[test]
fn what_has_played_is_not_given_up_for_an_error_about_the_content() {
    let mut search = Search::switching(ms(0), ms(90_000), Vec::new());
    let content = Failure::Content("failed to load content".to_owned());
    assert_eq!(search.failed(&content, B, true, ms(0)), Next::Ask);
    assert_eq!(search.excluded(ms(0)), [B]);
}

#[test]
fn what_no_engine_was_had_for_is_not_offline() {
    let mut search = search();
    assert_eq!(none_left(&mut search, ms(0)), Next::Ask, "every engine is at its limit");
    assert!(!search.timed_out(String::new(), false).offline);
    assert!(search.timed_out(String::new(), true).offline, "one does not answer the open");
    search.reached = true;
    assert!(search.timed_out(String::new(), false).offline, "one has opened it");
}
