//! The table of the module's header, row by row.

use std::ops::Deref;
use std::ops::DerefMut;
use std::time::Duration;

use super::Contest;
use super::Next;
use super::Search;
use super::Tenure;
use crate::base::ids::EngineId;
use crate::base::prng::Prng;
use crate::base::time::Instant;
use crate::stream::input::Failure;
use crate::stream::output::CloseReason;
use crate::stream::output::Code;

const A: EngineId = EngineId(1);
const B: EngineId = EngineId(2);

fn ms(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

/// A search, and what its stream knows of others.
struct Case {
    search: Search,
    contest: Contest,
    prng: Prng,
}

impl Deref for Case {
    type Target = Search;

    fn deref(&self) -> &Search {
        &self.search
    }
}

impl DerefMut for Case {
    fn deref_mut(&mut self) -> &mut Search {
        &mut self.search
    }
}

impl Case {
    fn of(search: Search) -> Self {
        Self { search, contest: Contest::default(), prng: Prng::new(1) }
    }

    /// A session plays, and is looked for anew whenever it dies.
    fn switching(tenure: Tenure) -> Self {
        let search = Search::switching(ms(0), ms(90_000), Vec::new());
        Self { contest: Contest::new(tenure), ..Self::of(search) }
    }

    fn failed(&mut self, failure: &Failure, engine: EngineId, is_id: bool, now: Instant) -> Next {
        self.search.failed(failure, engine, is_id, &mut self.contest, now)
    }

    fn denied(&mut self, no_engine: bool, text: &str, after: Duration, now: Instant) -> Next {
        self.search.denied(no_engine, text, after, (&mut self.contest, &mut self.prng), now)
    }

    fn excluded(&self, now: Instant) -> Vec<EngineId> {
        self.search.excluded(&self.contest, now)
    }

    /// Taken over on A, and there is no other engine: when A is asked again.
    fn taken(&mut self, at_ms: u64) -> Result<u64, CloseReason> {
        let taken = Failure::TakenOver("403 Forbidden".to_owned());
        assert_eq!(self.failed(&taken, A, false, ms(at_ms)), Next::Ask);
        let mut now = ms(at_ms);
        loop {
            if self.excluded(now).is_empty() {
                return Ok(now.as_micros() / 1_000 - at_ms);
            }
            assert_eq!(self.excluded(now), [A]);
            match none_left(self, now) {
                Next::Ask => now = self.next_at.unwrap(),
                Next::End(verdict) => return Err(verdict.close),
                other @ (Next::Reopen(_) | Next::AskAsInfohash) => panic!("{other:?}"),
            }
        }
    }
}

fn search() -> Case {
    let mut search = Case::of(Search::new(ms(0), ms(60_000)));
    search.granted();
    search
}

fn none_left(search: &mut Case, now: Instant) -> Next {
    search.denied(false, "RINGCAST_MAX_STREAMS_PER_ENGINE", Duration::ZERO, now)
}

#[test]
fn no_engine_at_all_ends_at_once_and_only_then() {
    let mut fresh = Case::of(Search::new(ms(0), ms(60_000)));
    let Next::End(verdict) = fresh.denied(true, "none", Duration::ZERO, ms(0)) else { panic!() };
    assert_eq!((verdict.code, verdict.offline), (Code::NoEngine, false));
    let mut fresh = Case::of(Search::new(ms(0), ms(60_000)));
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
    assert_eq!(search.excluded(ms(0)), [A]);
    assert_eq!(none_left(&mut search, ms(0)), Next::Ask);
    assert_eq!(search.next_at, Some(ms(1_000)));
    assert_eq!(search.excluded(ms(1_000)), [A], "another one may be there by now");
    assert_eq!(none_left(&mut search, ms(1_000)), Next::Ask);
    assert_eq!((search.next_at, search.excluded(ms(1_000))), (Some(ms(1_000)), Vec::new()));
    assert_eq!(search.failed(&Failure::MalformedHead, A, false, ms(1_000)), Next::Ask);
    let Next::End(verdict) = none_left(&mut search, ms(1_000)) else { panic!("a fight") };
    assert_eq!((verdict.close, verdict.engine), (CloseReason::TakenOver, Some(A)));
    assert!(!verdict.offline);
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
    let mut search = Case::switching(Tenure::Alone);
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
    let resting = vec![(B, ms(12_000))];
    let mut search = Case::of(Search::switching(ms(0), ms(90_000), resting));
    assert_eq!(search.failed(&Failure::Silent, A, false, ms(0)), Next::Ask);
    assert_eq!(search.excluded(ms(0)), [A, B]);
    assert_eq!(none_left(&mut search, ms(0)), Next::Ask);
    assert_eq!(search.ask_due(|_| false), Some(ms(12_000)), "another one, when it has rested");
    assert_eq!(search.excluded(ms(12_000)), [A]);
}

#[test]
fn how_often_who_goes_back_where_it_was_taken_over() {
    let mut alone = Case::switching(Tenure::Alone);
    assert_eq!([alone.taken(0), alone.taken(5_000)], [Ok(1_000), Err(CloseReason::TakenOver)]);
    // Three minutes later it is another fight.
    assert_eq!(alone.taken(181_000), Ok(1_000));
    let mut owner = Case::switching(Tenure::Owner);
    for n in 0..12 {
        assert_eq!(owner.taken(n * 10_000), Ok(1_000), "{n}");
    }
    assert_eq!(owner.taken(120_000), Err(CloseReason::TakenOver));
    let mut other = Case::switching(Tenure::Other);
    let waits = [other.taken(0), other.taken(40_000)].map(Result::unwrap);
    assert!(waits.iter().all(|wait| (10_000..20_000).contains(wait)), "{waits:?}");
    assert_ne!(waits[0], waits[1], "drawn, so that two nodes do not go back in step");
    assert_eq!(other.taken(80_000), Err(CloseReason::Contended));
}

#[test]
fn where_it_was_taken_over_is_not_gone_back_to_while_there_is_another() {
    let taken = Failure::TakenOver("403 Forbidden".to_owned());
    let mut search = Case::switching(Tenure::Other);
    assert_eq!(search.failed(&taken, A, false, ms(0)), Next::Ask);
    // The other one is refused, and asked again; whatever search it is.
    assert_eq!(search.failed(&Failure::Refused, B, false, ms(100)), Next::Ask);
    assert_eq!(search.excluded(ms(100)), [B, A]);
    assert_eq!(none_left(&mut search, ms(100)), Next::Ask);
    assert_eq!(search.excluded(ms(100)), [A]);
    assert_eq!(search.next_at, Some(ms(600)), "before the time of the one that was taken");
    assert_eq!(none_left(&mut search, ms(600)), Next::Ask);
    assert_eq!(search.next_at, Some(ms(5_600)), "a third one may be there by then");
    search.search = Search::switching(ms(200), ms(90_000), Vec::new());
    assert_eq!(search.excluded(ms(59_999)), [A]);
    assert!(search.excluded(ms(60_000)).is_empty());
}

#[test]
fn who_is_the_owner_by_now_waits_no_longer_than_an_owner() {
    let mut search = Case::switching(Tenure::Other);
    search.failed(&Failure::MalformedHead, A, false, ms(0));
    none_left(&mut search, ms(0));
    search.contest.set_tenure(Tenure::Owner);
    search.hurry(ms(4_000));
    assert_eq!(search.next_at, Some(ms(5_000)));
    none_left(&mut search, ms(5_000));
    assert!(search.excluded(ms(5_000)).is_empty());
}

#[test]
fn the_next_stream_of_the_content_knows_that_it_is_contended_for() {
    let mut search = Case::switching(Tenure::Other);
    let waits: u64 = [0, 20_000].into_iter().map(|at| search.taken(at).unwrap()).sum();
    assert!(waits > 0 && search.taken(40_000) == Err(CloseReason::Contended));
    search.search = Search::new(ms(41_000), ms(90_000));
    assert_eq!(search.excluded(ms(41_000)), [A]);
    let Next::End(verdict) = none_left(&mut search, ms(41_000)) else { panic!("asked again") };
    assert_eq!((verdict.code, verdict.close), (Code::EngineRefused, CloseReason::Contended));
    // It is tried when nobody knows whether it still is, and not fought for then.
    search.search = Search::new(ms(100_000), ms(190_000));
    assert!(search.excluded(ms(100_000)).is_empty());
    assert_eq!(search.taken(100_100), Err(CloseReason::Contended));
    assert!(!search.contest.is_over(ms(280_099)) && search.contest.is_over(ms(280_100)));
}

#[test]
fn what_has_played_is_not_given_up_for_an_error_about_the_content() {
    let mut search = Case::switching(Tenure::Alone);
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
