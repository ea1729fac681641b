//! The rules of resolution one by one, then random worlds in which every answer is counted.

use std::collections::BTreeSet;

use super::*;
use crate::base::prng::Prng;

const T0: Instant = Instant::from_micros(1_000_000);
const ONE: EngineId = EngineId(1);

fn infohash(n: u8) -> Infohash {
    Infohash::from_bytes([n; 20])
}

fn id(n: u8) -> Target {
    Target::Id(infohash(n))
}

fn seconds(n: u64) -> Instant {
    T0 + Duration::from_secs(n)
}

fn resolver() -> Resolver {
    Resolver::new(ResolverConfig::default())
}

fn resolve(resolver: &mut Resolver, token: u64, target: Target, now: Instant) -> Vec<Output> {
    resolver.handle(Input::Resolve { token, target, live: false }, now);
    drain(resolver)
}

fn drain(resolver: &mut Resolver) -> Vec<Output> {
    resolver.check_invariants();
    std::iter::from_fn(|| resolver.poll_output()).collect()
}

fn resolved(token: u64, resolution: Resolution) -> Output {
    Output::Resolved { token, resolution }
}

fn query_of(outputs: &[Output]) -> (QueryId, Option<EngineId>) {
    let [Output::Query { query, exclude, .. }] = outputs else { panic!("{outputs:?}") };
    (*query, *exclude)
}

fn reply(
    resolver: &mut Resolver,
    query: QueryId,
    engine: Option<EngineId>,
    result: QueryReply,
    now: Instant,
) -> Vec<Output> {
    resolver.handle(Input::QueryResult { query, engine, result }, now);
    drain(resolver)
}

#[test]
fn what_needs_no_question_is_answered_at_once() {
    let mut r = resolver();
    let known = Resolution::Infohash(infohash(1));
    let out = resolve(&mut r, 1, Target::Infohash(infohash(1)), T0);
    assert_eq!(out, [resolved(1, known.clone())]);
    r.handle(Input::Resolve { token: 2, target: id(1), live: true }, T0);
    assert_eq!(drain(&mut r), [resolved(2, known.clone())]);
    for target in [Target::Url("http://x/".to_owned()), Target::Magnet("magnet:?x".to_owned())] {
        let out = resolve(&mut r, 3, target.clone(), T0);
        assert_eq!(out, [resolved(3, Resolution::AsGiven(target.clone()))]);
        r.handle(Input::Confirmed { target: target.clone(), infohash: infohash(1) }, T0);
        assert_eq!(resolve(&mut r, 4, target, T0), [resolved(4, known.clone())]);
    }
}

#[test]
fn a_content_id_that_was_given_for_an_infohash_does_not_take_its_channel_away() {
    let mut r = resolver();
    r.handle(Input::Confirmed { target: id(1), infohash: infohash(8) }, T0);
    r.handle(Input::Resolve { token: 1, target: id(1), live: true }, T0);
    assert_eq!(drain(&mut r), [resolved(1, Resolution::Infohash(infohash(8)))]);
}

#[test]
fn one_question_serves_everybody_and_its_answer_holds_ten_minutes() {
    let mut r = resolver();
    let (query, exclude) = query_of(&resolve(&mut r, 1, id(1), T0));
    assert_eq!(exclude, None);
    assert!(resolve(&mut r, 2, id(1), T0).is_empty());
    let out = reply(&mut r, query, Some(ONE), QueryReply::Infohash(infohash(9)), T0);
    let known = Resolution::Infohash(infohash(9));
    assert_eq!(out, [resolved(1, known.clone()), resolved(2, known.clone())]);
    assert!(reply(&mut r, query, Some(ONE), QueryReply::Timeout, T0).is_empty(), "late");
    assert_eq!(resolve(&mut r, 3, id(1), seconds(599)), [resolved(3, known)]);
    let _ = query_of(&resolve(&mut r, 4, id(1), seconds(600)));
}

#[test]
fn an_error_reply_means_an_infohash_that_counts_only_when_it_gave_a_byte() {
    let mut r = resolver();
    let text = "cannot get transport file".to_owned();
    let (query, _) = query_of(&resolve(&mut r, 1, id(1), T0));
    let out = reply(&mut r, query, Some(ONE), QueryReply::ErrorReply(text.clone()), T0);
    let assumed = Resolution::Assumed { infohash: infohash(1), text };
    assert_eq!(out, [resolved(1, assumed.clone())]);
    assert_eq!(resolve(&mut r, 2, id(1), seconds(9)), [resolved(2, assumed)]);
    let (query, _) = query_of(&resolve(&mut r, 3, id(1), seconds(10)));
    // The first byte came meanwhile: who waits is answered with it.
    r.handle(Input::Confirmed { target: id(1), infohash: infohash(1) }, seconds(10));
    let known = Resolution::Infohash(infohash(1));
    assert_eq!(drain(&mut r), [resolved(3, known.clone())]);
    assert!(reply(&mut r, query, Some(ONE), QueryReply::UnknownMethod, seconds(11)).is_empty());
    assert_eq!(resolve(&mut r, 4, id(1), seconds(300)), [resolved(4, known)]);
    r.handle(Input::Forget { target: id(1) }, seconds(301));
    let _ = query_of(&resolve(&mut r, 5, id(1), seconds(301)));
}

#[test]
fn what_led_to_an_offline_channel_is_held_as_long_as_the_mark_and_asked_anew_then() {
    let known = Resolution::Infohash(infohash(9));
    let held = |r: &mut Resolver, at: u64| {
        assert_eq!(resolve(r, 90, id(1), seconds(at)), [resolved(90, known.clone())]);
        let _ = query_of(&resolve(r, 91, id(1), seconds(at + 1)));
    };
    let hold = |until| Input::Hold { target: id(1), infohash: infohash(9), until: seconds(until) };
    // An engine's word, which would have held for longer.
    let mut r = resolver();
    r.handle(Input::Confirmed { target: id(1), infohash: infohash(9) }, T0);
    r.handle(hold(20), seconds(10));
    held(&mut r, 19);
    // What no engine could say, which would have held for less; and nothing at all.
    let mut r = resolver();
    let (query, _) = query_of(&resolve(&mut r, 1, id(1), T0));
    let _ = reply(&mut r, query, Some(ONE), QueryReply::UnknownMethod, T0);
    r.handle(hold(70), seconds(60));
    held(&mut r, 69);
    // Who waits for the answer to a question has it.
    let mut r = resolver();
    let (query, _) = query_of(&resolve(&mut r, 1, id(1), T0));
    r.handle(hold(10), T0);
    assert_eq!(drain(&mut r), [resolved(1, known.clone())]);
    assert!(reply(&mut r, query, Some(ONE), QueryReply::Timeout, T0).is_empty(), "late");
    held(&mut r, 9);
    // The broadcast has moved since.
    let mut r = resolver();
    r.handle(Input::Confirmed { target: id(1), infohash: infohash(8) }, T0);
    r.handle(hold(10), T0);
    let moved = resolved(1, Resolution::Infohash(infohash(8)));
    assert_eq!(resolve(&mut r, 1, id(1), seconds(5)), [moved]);
}

#[test]
fn that_an_id_was_taken_for_an_infohash_is_known_for_as_long_as_a_start_may_take() {
    let mut r = resolver();
    let (query, _) = query_of(&resolve(&mut r, 1, id(1), T0));
    let _ = reply(&mut r, query, Some(ONE), QueryReply::ErrorReply("no".to_owned()), T0);
    r.handle(Input::Resolve { token: 2, target: id(2), live: true }, T0);
    let _ = drain(&mut r);
    assert!(!r.was_assumed(infohash(3)));
    // Asked anew in the meantime, whatever is known.
    let _ = query_of(&resolve(&mut r, 3, id(2), seconds(1)));
    let _ = query_of(&resolve(&mut r, 4, id(1), seconds(69)));
    assert!(r.was_assumed(infohash(1)) && r.was_assumed(infohash(2)));
    r.handle_timeout(seconds(130));
    assert!(!r.was_assumed(infohash(1)) && !r.was_assumed(infohash(2)));
}

#[test]
fn no_answer_is_asked_once_more_elsewhere_then_opened_as_given() {
    for no_answer in [QueryReply::Timeout, QueryReply::Unreachable] {
        let mut r = resolver();
        let (first, _) = query_of(&resolve(&mut r, 1, id(1), T0));
        let out = reply(&mut r, first, Some(ONE), no_answer.clone(), seconds(3));
        let (second, exclude) = query_of(&out);
        assert_eq!(exclude, Some(ONE));
        assert!(resolve(&mut r, 2, id(1), seconds(3)).is_empty());
        let late = QueryReply::Infohash(infohash(9));
        assert!(reply(&mut r, first, Some(ONE), late, seconds(4)).is_empty());
        let out = reply(&mut r, second, Some(EngineId(2)), no_answer, seconds(6));
        let given = Resolution::AsGiven(id(1));
        assert_eq!(out, [resolved(1, given.clone()), resolved(2, given.clone())]);
        assert_eq!(resolve(&mut r, 3, id(1), seconds(15)), [resolved(3, given)]);
        let _ = query_of(&resolve(&mut r, 4, id(1), seconds(16)));
    }
}

#[test]
fn an_unknown_method_is_not_asked_twice() {
    let mut r = resolver();
    let (query, _) = query_of(&resolve(&mut r, 1, id(1), T0));
    let out = reply(&mut r, query, Some(ONE), QueryReply::UnknownMethod, T0);
    assert_eq!(out, [resolved(1, Resolution::AsGiven(id(1)))]);
}

#[test]
fn a_pool_without_an_engine_says_nothing_about_the_id() {
    let mut r = resolver();
    let (query, _) = query_of(&resolve(&mut r, 1, id(1), T0));
    let out = reply(&mut r, query, None, QueryReply::Unreachable, T0);
    assert_eq!(out, [resolved(1, Resolution::AsGiven(id(1)))]);
    let _ = query_of(&resolve(&mut r, 2, id(1), T0));
}

#[test]
fn a_question_that_nobody_answers_is_given_up() {
    let mut r = resolver();
    let _ = query_of(&resolve(&mut r, 1, id(1), T0));
    assert_eq!(r.poll_timeout(), Some(seconds(4)));
    r.handle_timeout(seconds(3));
    assert!(drain(&mut r).is_empty());
    r.handle_timeout(seconds(4));
    assert_eq!(drain(&mut r), [resolved(1, Resolution::AsGiven(id(1)))]);
    assert_eq!(r.poll_timeout(), None);
}

#[test]
fn who_left_is_not_answered_and_a_question_nobody_waits_for_is_not_repeated() {
    let mut r = resolver();
    let (query, _) = query_of(&resolve(&mut r, 1, id(1), T0));
    r.handle(Input::Cancel { token: 1 }, T0);
    assert!(reply(&mut r, query, Some(ONE), QueryReply::Timeout, T0).is_empty());
    assert_eq!(r.waiting(), 0);
    assert_eq!(r.poll_timeout(), None);
}

#[test]
fn every_table_is_bounded() {
    let config = ResolverConfig { aliases_max: 3, queries_max: 2, waiters_max: 3 };
    let mut r = Resolver::new(config);
    let _ = query_of(&resolve(&mut r, 1, id(1), T0));
    let _ = query_of(&resolve(&mut r, 2, id(2), T0));
    assert_eq!(resolve(&mut r, 3, id(3), T0), [resolved(3, Resolution::Busy)]);
    assert!(resolve(&mut r, 4, id(2), T0).is_empty());
    assert_eq!(resolve(&mut r, 5, id(2), T0), [resolved(5, Resolution::Busy)]);
    for n in 10..20 {
        r.handle(Input::Confirmed { target: id(n), infohash: infohash(n) }, seconds(n.into()));
        r.check_invariants();
    }
    assert_eq!(r.len(), 3);
    let out = resolve(&mut r, 6, id(19), seconds(20));
    assert_eq!(out, [resolved(6, Resolution::Infohash(infohash(19)))], "the newest stay");
}

#[test]
fn in_random_worlds_every_resolve_is_answered_exactly_once() {
    for seed in 0..300 {
        random_world(seed);
    }
}

fn random_world(seed: u64) {
    let mut prng = Prng::new(seed);
    let mut r = Resolver::new(ResolverConfig { aliases_max: 4, queries_max: 3, waiters_max: 8 });
    let mut now = T0;
    let mut waiting = BTreeSet::new();
    let mut queries = Vec::new();
    for token in 0..400 {
        let key = prng.below(6) as u8;
        match prng.below(10) {
            0..=4 => {
                let live = prng.chance(50);
                waiting.insert(token);
                r.handle(Input::Resolve { token, target: id(key), live }, now);
            }
            5 => {
                let at = prng.below(waiting.len() as u64) as usize;
                if let Some(gone) = waiting.iter().nth(at).copied() {
                    waiting.remove(&gone);
                    r.handle(Input::Cancel { token: gone }, now);
                }
            }
            6..=7 => {
                let at = prng.below(queries.len() as u64) as usize;
                if let Some(query) = queries.get(at).copied() {
                    let engine = prng.chance(800).then_some(ONE);
                    let result = match prng.below(5) {
                        0 => QueryReply::Infohash(infohash(key)),
                        1 => QueryReply::ErrorReply("no".to_owned()),
                        2 => QueryReply::Unreachable,
                        3 => QueryReply::Timeout,
                        _ => QueryReply::UnknownMethod,
                    };
                    r.handle(Input::QueryResult { query, engine, result }, now);
                }
            }
            8 if prng.chance(500) => {
                let until = now + Duration::from_millis(prng.below(20_000));
                r.handle(Input::Hold { target: id(key), infohash: infohash(9), until }, now);
            }
            8 => r.handle(Input::Confirmed { target: id(key), infohash: infohash(9) }, now),
            _ => {
                now = now + Duration::from_millis(prng.below(5_000));
                r.handle_timeout(now);
            }
        }
        settle(&mut r, &mut waiting, &mut queries, seed);
    }
    while let Some(at) = r.poll_timeout() {
        r.handle_timeout(at);
        settle(&mut r, &mut waiting, &mut queries, seed);
    }
    assert!(waiting.is_empty(), "seed {seed}: never answered {waiting:?}");
}

fn settle(r: &mut Resolver, waiting: &mut BTreeSet<u64>, queries: &mut Vec<QueryId>, seed: u64) {
    for output in drain(r) {
        match output {
            Output::Query { query, .. } => queries.push(query),
            Output::Resolved { token, .. } => {
                assert!(waiting.remove(&token), "seed {seed}: {token} answered twice or unasked");
            }
        }
    }
}
