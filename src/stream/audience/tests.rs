//! The two-phase question: only the answers to the newest one count.

use super::Audience;
use super::ShardSet;
use super::Verdict;
use crate::base::ids::Generation;
use crate::base::ids::ShardId;
use crate::base::time::Instant;

const A: ShardId = ShardId(0);
const B: ShardId = ShardId(63);

fn at(s: u64) -> Instant {
    Instant::from_micros(s * 1_000_000)
}

fn watched() -> Audience {
    let mut audience = Audience::new(at(0));
    audience.attach(A, 2, 1, at(0));
    audience.attach(B, 1, 1, at(0));
    audience
}

#[test]
fn counts_are_summed_over_shards() {
    let mut audience = watched();
    assert_eq!((audience.viewers(), audience.waiting()), (3, 2));
    audience.set(A, 0, 0, at(3));
    assert!(!audience.is_empty());
    audience.set(B, 0, 0, at(4));
    assert!(audience.is_empty());
    assert_eq!(audience.empty_since(), at(4));
    // Nothing new for the clock of the grace period.
    audience.set(B, 0, 0, at(9));
    assert_eq!(audience.empty_since(), at(4));
    audience.check_invariants();
}

#[test]
fn everybody_idle_closes() {
    let mut audience = watched();
    audience.dismiss(at(1));
    let asked = audience.ask(Generation(1)).unwrap();
    assert_eq!(asked.iter().collect::<Vec<_>>(), [A, B]);
    assert_eq!(audience.idle(A, Generation(1), at(1)), Verdict::Open);
    assert_eq!(audience.idle(B, Generation(1), at(1)), Verdict::Closed);
    assert!(audience.ask(Generation(2)).is_none(), "nobody is left to be asked");
}

#[test]
fn an_idle_to_an_older_question_decides_nothing() {
    let mut audience = watched();
    audience.dismiss(at(1));
    audience.ask(Generation(1));
    assert_eq!(audience.busy(Generation(1), at(1)), Verdict::Cancelled);
    audience.ask(Generation(2));
    assert_eq!(audience.idle(A, Generation(1), at(2)), Verdict::Open);
    assert_eq!(audience.idle(A, Generation(2), at(2)), Verdict::Open);
    assert_eq!(audience.idle(B, Generation(1), at(2)), Verdict::Open);
    assert_eq!(audience.busy(Generation(1), at(2)), Verdict::Open, "an old answer");
    assert_eq!(audience.idle(B, Generation(2), at(2)), Verdict::Closed);
}

#[test]
fn a_count_of_a_shard_that_has_let_go_subscribes_nobody() {
    let mut audience = watched();
    audience.dismiss(at(1));
    audience.ask(Generation(1));
    audience.idle(A, Generation(1), at(1));
    audience.set(A, 1, 0, at(1));
    assert_eq!(audience.idle(B, Generation(1), at(1)), Verdict::Closed);
    assert!(!audience.has_subscribers());
}

#[test]
fn a_handle_that_is_on_its_way_outlives_the_idle_of_the_one_before() {
    let mut audience = watched();
    audience.dismiss(at(1));
    audience.ask(Generation(1));
    audience.idle(B, Generation(1), at(1));
    // Somebody comes on A, whose answer to the question is on its way.
    audience.attach(A, 1, 1, at(2));
    assert!(!audience.is_closing());
    assert_eq!(audience.idle(A, Generation(1), at(2)), Verdict::Open);
    assert_eq!(audience.viewers(), 1);
    // And leaves before the handle arrives.
    audience.set(A, 0, 0, at(3));
    assert_eq!(audience.ask(Generation(2)).map(ShardSet::len), Some(1), "A has a handle");
    assert_eq!(audience.idle(A, Generation(2), at(4)), Verdict::Closed);
}

#[test]
fn a_handle_for_nobody_calls_the_question_off() {
    let mut audience = watched();
    audience.dismiss(at(1));
    audience.ask(Generation(1));
    audience.idle(A, Generation(1), at(1));
    audience.attach(A, 0, 0, at(9));
    assert!(!audience.is_closing());
    assert_eq!(audience.empty_since(), at(9));
    audience.check_invariants();
}

#[test]
fn a_viewer_or_a_lost_shard_settles_it() {
    let mut audience = watched();
    audience.dismiss(at(1));
    audience.ask(Generation(1));
    audience.set(B, 1, 1, at(1));
    assert!(!audience.is_closing());
    audience.dismiss(at(2));
    audience.ask(Generation(2));
    assert_eq!(audience.idle(A, Generation(2), at(2)), Verdict::Open);
    assert_eq!(audience.lost(B, at(2)), Verdict::Closed);
    assert!(!audience.has_subscribers());
}

#[test]
fn a_shard_set_holds_every_shard() {
    let mut set = ShardSet::EMPTY;
    set.insert(A);
    set.insert(B);
    assert_eq!(set.len(), 2);
    set.remove(A);
    assert!(set.contains(B) && !set.contains(A) && !set.is_empty());
}
