//! What counts as delivery latency.

use super::Commits;
use crate::base::time::Instant;

fn at(us: u64) -> Instant {
    Instant::from_micros(us)
}

#[test]
fn latency_counts_from_the_first_commit_that_covers_the_byte() {
    let mut commits = Commits::default();
    commits.note(1_000, at(10));
    commits.note(1_000, at(11));
    commits.note(2_000, at(20));
    commits.note(3_000, at(30));
    assert_eq!(commits.reached(3_000), Some(at(30)));
    assert_eq!(commits.reached(1_500), Some(at(20)));
    assert_eq!(commits.reached(3_001), None, "not committed as far as we have seen");
}

#[test]
fn a_viewer_that_catches_up_is_not_measured() {
    let mut commits = Commits::default();
    for n in 1..=9 {
        commits.note(n * 1_000, at(n * 10));
    }
    assert_eq!(commits.reached(500), None);
    assert_eq!(commits.reached(6_000), None, "four commits are kept, the oldest only to compare");
    assert_eq!(commits.reached(6_500), Some(at(70)));
}
