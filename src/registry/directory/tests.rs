//! One key, one shard; and offline marks that back off, are probed once and go away.

use super::*;
use crate::base::ids::Infohash;
use crate::base::prng::Prng;

const T0: Instant = Instant::from_micros(1_000_000);

fn seconds(n: u64) -> Instant {
    T0 + Duration::from_secs(n)
}

fn target(n: u8) -> Target {
    Target::Infohash(Infohash::from_bytes([n; 20]))
}

fn directory() -> Directory {
    Directory::new(DirectoryConfig::default())
}

#[test]
fn a_key_has_one_owner_who_alone_can_release_it() {
    let mut d = directory();
    let [a, b] = [ShardId(0), ShardId(1)];
    assert_eq!(d.claim(&target(1), a), Claim::Granted);
    assert_eq!(d.claim(&target(1), a), Claim::Yours);
    assert_eq!(d.claim(&target(1), b), Claim::Taken(a));
    assert_eq!(d.runs_on(&target(1)), Some(a));
    assert!(!d.release(&target(1), b));
    assert!(d.release(&target(1), a) && !d.release(&target(1), a));
    assert_eq!(d.claim(&target(1), b), Claim::Granted);
    assert_eq!(d.claim(&target(2), a), Claim::Granted);
    assert_eq!(d.release_shard(b), [target(1)]);
    assert_eq!(d.len(), 1);
}

#[test]
fn the_directory_is_bounded() {
    let mut d = Directory::new(DirectoryConfig { entries_max: 1, offline_max: 2 });
    assert_eq!(d.claim(&target(1), ShardId(0)), Claim::Granted);
    assert_eq!(d.claim(&target(2), ShardId(0)), Claim::Full);
    for n in 0..5 {
        d.mark_offline(&target(n), "x", seconds(n.into()));
        d.check_invariants();
    }
    let left: Vec<_> = d.offline(seconds(5)).into_iter().map(|row| row.target).collect();
    assert_eq!(left, [target(3), target(4)], "the marks that would end first went");
}

#[test]
fn a_mark_doubles_from_ten_seconds_to_a_minute() {
    let mut d = directory();
    let mut now = T0;
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let pause = d.mark_offline(&target(1), "no peers", now);
        pauses.push(pause.as_secs());
        let before = now + (pause - Duration::from_millis(1));
        let Start::Offline { retry_after, reason, .. } = d.may_start(&target(1), before) else {
            panic!("it is offline until the pause is over")
        };
        assert_eq!((retry_after, reason.as_str()), (Duration::from_millis(1), "no peers"));
        now = now + pause;
        assert_eq!(d.may_start(&target(1), now), Start::Probe);
    }
    assert_eq!(pauses, [10, 20, 40, 60, 60]);
    assert_eq!(d.offline(now)[0].failures, 5);
    d.mark_online(&target(1));
    assert_eq!(d.may_start(&target(1), now), Start::Yes);
    assert_eq!(d.mark_offline(&target(1), "x", now).as_secs(), 10, "success forgets the count");
}

#[test]
fn one_probe_at_a_time_and_none_for_ever() {
    let mut d = directory();
    d.mark_offline(&target(1), "x", T0);
    assert_eq!(d.may_start(&target(1), seconds(10)), Start::Probe);
    assert!(d.offline(seconds(10))[0].probing);
    assert!(matches!(d.may_start(&target(1), seconds(11)), Start::Offline { .. }));
    d.probe_dropped(&target(1));
    assert_eq!(d.may_start(&target(1), seconds(12)), Start::Probe);
    assert!(matches!(d.may_start(&target(1), seconds(101)), Start::Offline { .. }));
    assert_eq!(d.may_start(&target(1), seconds(102)), Start::Probe);
}

#[test]
fn marks_are_listed_cleared_and_forgotten() {
    let mut d = directory();
    d.mark_offline(&target(1), &"é".repeat(200), T0);
    d.mark_offline(&target(2), "x", T0);
    assert_eq!(d.offline(seconds(4))[0].retry_in, Duration::from_secs(6));
    assert_eq!(d.offline(seconds(4))[0].reason.len(), 256);
    assert!(d.clear_offline(&target(1)) && !d.clear_offline(&target(1)));
    assert_eq!(d.may_start(&target(1), T0), Start::Yes);
    assert_eq!(d.offline(seconds(609)).len(), 1);
    assert!(d.offline(seconds(610)).is_empty());
    assert_eq!(d.may_start(&target(2), seconds(610)), Start::Yes);
}

#[test]
fn a_mark_answers_an_id_only_when_an_engine_was_asked_what_that_means() {
    let mut d = directory();
    let [made_up, content_id] = [1, 9].map(|n| Infohash::from_bytes([n; 20]));
    d.mark_offline(&target(1), "x", T0);
    assert!(d.is_offline(&target(1), seconds(9)));
    assert!(!d.is_offline_as_id(made_up, seconds(9)), "it may be somebody's content id");
    d.asked_as(&target(1), made_up);
    assert!(d.is_offline_as_id(made_up, seconds(9)));
    assert_eq!(d.offline(T0)[0].content_id, None);
    d.asked_as(&target(1), content_id);
    assert_eq!(d.offline(T0)[0].content_id, Some(content_id));
    assert!(!d.is_offline_as_id(content_id, T0), "what that leads to, its home knows");
    assert!(!d.is_offline(&target(1), seconds(10)) && !d.is_offline_as_id(made_up, seconds(10)));
    d.mark_offline(&target(1), "x", seconds(10));
    assert!(d.is_offline_as_id(made_up, seconds(29)), "known since");
    d.asked_as(&target(2), content_id);
    assert_eq!(d.offline(seconds(10)).len(), 1, "nothing is marked by a question");
}

#[test]
fn random_claims_never_give_a_key_to_two() {
    for seed in 0..100 {
        let mut prng = Prng::new(seed);
        let mut d = Directory::new(DirectoryConfig { entries_max: 6, offline_max: 3 });
        let mut owners = std::collections::BTreeMap::new();
        for second in 0..300 {
            let key = target(prng.below(8) as u8);
            let shard = ShardId(prng.below(3) as u8);
            match prng.below(6) {
                0..=2 => match d.claim(&key, shard) {
                    Claim::Granted => assert_eq!(owners.insert(key, shard), None),
                    Claim::Yours => assert_eq!(owners.get(&key), Some(&shard)),
                    Claim::Taken(owner) => assert_eq!(owners.get(&key), Some(&owner)),
                    Claim::Full => assert_eq!(owners.len(), 6),
                },
                3 => {
                    let is_owner = owners.get(&key) == Some(&shard);
                    assert_eq!(d.release(&key, shard), is_owner);
                    if is_owner {
                        owners.remove(&key);
                    }
                }
                4 => {
                    d.mark_offline(&key, "x", seconds(second));
                }
                _ if prng.chance(100) => {
                    d.release_shard(shard);
                    owners.retain(|_, owner| *owner != shard);
                }
                _ => d.mark_online(&key),
            }
            d.check_invariants();
            assert_eq!(d.len(), owners.len());
        }
    }
}
