//! The mirror's Lua scripts as they are, in a real Redis, with everything that they may find there:
//! nothing, an end that has come, another's keys, keys of another type, numbers that are none.

use crate::rig::eventually;
use crate::rig::redis::Client;
use crate::rig::redis::Redis;
use crate::rig::redis::Reply;
use std::path::Path;

const ME: &str = "node-a:17:0000000a";
const OTHER: &str = "node-b:18:0000000b";
const OWNER: &str = "p:stream:x:owner";
const EPOCH: &str = "p:stream:x:owner:epoch";
const LEASE_MS: &str = "10000";
const EPOCH_TTL_S: &str = "86400";
/// Where epochs begin in a Redis that knows none.
const START: &str = "1000";

fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mirror/scripts").join(name);
    std::fs::read_to_string(path).expect("a script of the mirror")
}

/// The owner's two keys, and the verbs of one worker or the other.
struct Lease {
    client: Client,
    _redis: Redis,
}

/// `outcome owner epoch`, and the time that is left.
type Said = (String, i64);

impl Lease {
    fn new() -> Self {
        let redis = Redis::start();
        Self { client: redis.client(), _redis: redis }
    }

    /// These two, and nothing else; none where a text is empty.
    fn given(&mut self, owner: &str, epoch: &str) {
        self.client.call(&["FLUSHALL"]);
        for (key, value) in [(OWNER, owner), (EPOCH, epoch)] {
            if !value.is_empty() {
                self.client.call(&["SET", key, value, "PX", "5000"]);
            }
        }
    }

    fn run(&mut self, verb: &str, me: &str, arguments: &[&str]) -> Said {
        let text = script("state.lua") + &script(&format!("{verb}.lua"));
        let mut words = vec!["EVAL", &text, "2", OWNER, EPOCH, me];
        words.extend(arguments);
        let parts = self.client.call(&words).list();
        let [outcome, owner, epoch, ttl_ms] = parts.as_slice() else { panic!("{parts:?}") };
        let text = |reply: &Reply| reply.text().expect("a text");
        (format!("{} {} {}", text(outcome), text(owner), epoch.number()), ttl_ms.number())
    }

    fn acquire(&mut self, me: &str, known: &str) -> Said {
        self.run("acquire", me, &[known, LEASE_MS, EPOCH_TTL_S, START])
    }

    fn refresh(&mut self, me: &str, mine: &str) -> Said {
        self.run("refresh", me, &[mine, LEASE_MS, EPOCH_TTL_S])
    }

    fn release(&mut self, me: &str, mine: &str) -> Said {
        self.run("release", me, &[mine])
    }

    fn read(&mut self, me: &str) -> Said {
        self.run("read", me, &[])
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.client.call(&["GET", key]).text()
    }

    fn left_ms(&mut self, key: &str) -> i64 {
        self.client.call(&["PTTL", key]).number()
    }

    /// Both keys, byte for byte; and whether they have an end.
    fn whole(&mut self) -> Vec<Reply> {
        let of = |key| [vec!["DUMP", key], vec!["TYPE", key]];
        let questions = [of(OWNER), of(EPOCH)].concat();
        questions.iter().map(|words| self.client.call(words)).collect()
    }
}

#[test]
fn who_acquires_owns_with_an_epoch_above_every_one_before() {
    let mut lease = Lease::new();
    assert_eq!(lease.acquire(ME, "0"), (format!("owned {ME} 1000"), 10_000));
    assert_eq!(lease.text(OWNER).as_deref(), Some(ME));
    assert!((1..=10_000).contains(&lease.left_ms(OWNER)));
    assert!((86_000_000..=86_400_000).contains(&lease.left_ms(EPOCH)));
    // A process that asks again counts as another owner.
    assert_eq!(lease.acquire(ME, "1000").0, format!("owned {ME} 1001"));
    let (said, ttl_ms) = lease.acquire(OTHER, "0");
    assert_eq!(said, format!("held {ME} 1001"));
    assert!((1..=10_000).contains(&ttl_ms));
    // What it remembers counts, also in a Redis that has forgotten.
    lease.given("", "");
    assert_eq!(lease.acquire(ME, "4000").0, format!("owned {ME} 4001"));
    lease.given("", "6000");
    assert_eq!(lease.acquire(ME, "4001").0, format!("owned {ME} 6001"));
    lease.given(ME, "");
    assert_eq!(lease.acquire(ME, "0").0, format!("owned {ME} 1000"), "its counter is forgotten");
}

#[test]
fn a_lease_that_has_ended_is_made_by_nobody_but_who_acquires() {
    let mut lease = Lease::new();
    lease.run("acquire", ME, &["0", "1", EPOCH_TTL_S, START]);
    eventually("its end", || (lease.left_ms(OWNER) == -2).then_some(()));
    assert_eq!(lease.read(ME), ("free  1000".to_owned(), 0));
    assert_eq!(lease.refresh(ME, "1000").0, "free  1000");
    assert_eq!(lease.release(ME, "1000").0, "free  1000");
    assert_eq!(lease.text(OWNER), None);
    assert_eq!(lease.acquire(OTHER, "0").0, format!("owned {OTHER} 1001"));
    assert_eq!(lease.refresh(ME, "1000").0, format!("held {OTHER} 1001"));
}

#[test]
fn a_refresh_with_another_epoch_than_the_lease_has() {
    let mut lease = Lease::new();
    lease.given(OTHER, "10");
    let before = lease.whole();
    assert_eq!(lease.refresh(ME, "9").0, format!("held {OTHER} 10"));
    assert_eq!(lease.refresh(ME, "10").0, format!("held {OTHER} 10"));
    assert_eq!(lease.whole(), before);
    // The lower one was granted by a Redis that had forgotten.
    assert_eq!(lease.refresh(ME, "11"), (format!("owned {ME} 11"), 10_000));
    assert_eq!(lease.text(EPOCH).as_deref(), Some("11"));
    assert!(lease.left_ms(OWNER) > 5_000 && lease.left_ms(EPOCH) > 5_000);
    assert_eq!(lease.refresh(OTHER, "10").0, format!("held {ME} 11"));
    // An answer that was lost: it is told what it has, and nothing is prolonged on the way.
    lease.given(ME, "12");
    let (said, ttl_ms) = lease.refresh(ME, "11");
    assert_eq!(said, format!("owned {ME} 12"));
    assert!(ttl_ms <= 5_000 && lease.left_ms(OWNER) <= 5_000);
    // A counter that is not there is put back.
    lease.given(ME, "");
    assert_eq!(lease.refresh(ME, "7").0, format!("owned {ME} 7"));
    assert_eq!(lease.text(EPOCH).as_deref(), Some("7"));
}

#[test]
fn only_the_owner_of_that_epoch_gives_it_back() {
    let mut lease = Lease::new();
    lease.given(ME, "5");
    let before = lease.whole();
    assert_eq!(lease.release(ME, "4").0, format!("held {ME} 5"));
    assert_eq!(lease.release(OTHER, "5").0, format!("held {ME} 5"));
    assert_eq!(lease.whole(), before);
    assert_eq!(lease.release(ME, "5").0, "free  5");
    assert_eq!((lease.text(OWNER), lease.text(EPOCH).as_deref()), (None, Some("5")));
    assert_eq!(lease.release(ME, "5").0, "free  5", "once more");
}

#[test]
fn reading_changes_nothing() {
    let mut lease = Lease::new();
    let cases = [
        ("", "", "free  0".to_owned()),
        ("", "3", "free  3".to_owned()),
        (ME, "3", format!("owned {ME} 3")),
        (ME, "", "free  0".to_owned()),
        (OTHER, "3", format!("held {OTHER} 3")),
        (OTHER, "", format!("foreign {OTHER} 0")),
    ];
    for (owner, epoch, expected) in cases {
        lease.given(owner, epoch);
        let before = lease.whole();
        assert_eq!(lease.read(ME).0, expected);
        assert_eq!(lease.whole(), before, "{expected}");
    }
}

/// Every verb says so, and touches nothing.
fn assert_foreign(lease: &mut Lease, by: &str, what: &str) {
    let before = lease.whole();
    let expected = (format!("foreign {by} 0"), 0);
    assert_eq!(lease.acquire(ME, "99"), expected, "{what}");
    assert_eq!(lease.refresh(ME, "99"), expected, "{what}");
    assert_eq!(lease.release(ME, "99"), expected, "{what}");
    assert_eq!(lease.read(ME), expected, "{what}");
    assert_eq!(lease.whole(), before, "{what}");
}

#[test]
fn an_owner_that_no_worker_is_or_without_a_count_is_foreign() {
    let mut lease = Lease::new();
    // More digits than a number of Lua's has would make of any two epochs the same.
    for epoch in ["", "0", "abc", "-3", "1.5", "0x10", " 7", "99999999999999999999"] {
        lease.given(OTHER, epoch);
        assert_foreign(&mut lease, OTHER, &format!("epoch {epoch:?}"));
    }
    for owner in ["orchestrator-1:17", "node:1:0000000G", "node:1:000000001", "node:x:00000001"] {
        lease.given(owner, "5");
        assert_foreign(&mut lease, owner, owner);
    }
    // Nobody owns it: what is no count is none.
    for epoch in ["abc", "-3", "99999999999999999999"] {
        lease.given("", epoch);
        assert_eq!(lease.acquire(ME, "0").0, format!("owned {ME} 1000"), "{epoch}");
        assert_eq!(lease.text(EPOCH).as_deref(), Some(START));
    }
}

#[test]
fn a_key_of_another_type_is_foreign() {
    let mut lease = Lease::new();
    let kinds: [&[&str]; 4] =
        [&["RPUSH", "x"], &["SADD", "x"], &["HSET", "x", "y"], &["ZADD", "1", "x"]];
    for kind in kinds {
        for (key, other, value) in [(OWNER, EPOCH, "5"), (EPOCH, OWNER, OTHER)] {
            lease.given("", "");
            let (verb, rest) = kind.split_first().expect("a verb");
            let words: Vec<&str> = [*verb, key].into_iter().chain(rest.iter().copied()).collect();
            lease.client.call(&words);
            assert_foreign(&mut lease, "", &format!("{words:?} alone"));
            lease.client.call(&["SET", other, value]);
            assert_foreign(&mut lease, "", &format!("{words:?} and {value}"));
        }
    }
}

#[test]
fn a_value_and_its_end_are_written_together_or_not_at_all() {
    let redis = Redis::start();
    let mut client = redis.client();
    let text = script("write.lua");
    let write = |client: &mut Client, key: &str, rest: &[&str]| {
        let mut words = vec!["EVAL", &text, "1", key];
        words.extend(rest);
        client.ask(&words).expect("it answers")
    };
    let hash: &[&str] = &["HSET", "5000", "a", "1", "b", "2"];
    let set: &[&str] = &["SADD", "5000", "x", "y"];
    for (key, rest) in [("hash", hash), ("set", set)] {
        assert_eq!(write(&mut client, key, rest), Reply::Number(1));
        assert!((1..=5_000).contains(&client.call(&["PTTL", key]).number()), "{key}");
        // One that had none gets one.
        client.call(&["PERSIST", key]);
        write(&mut client, key, rest);
        assert!((1..=5_000).contains(&client.call(&["PTTL", key]).number()), "{key}");
    }
    assert_eq!(client.call(&["HGETALL", "hash"]).fields().len(), 2);
    assert_eq!(client.call(&["SMEMBERS", "set"]).texts(), ["x", "y"]);

    // What is refused is refused with the code by which the mirror knows it, in every version.
    let refused = |reply: Reply, code: &str| {
        let Reply::Error(text) = reply else { panic!("not refused: {reply:?}") };
        assert!(text.starts_with(code), "{text}");
    };
    client.call(&["SET", "other", "its own"]);
    refused(write(&mut client, "other", hash), "WRONGTYPE ");
    refused(write(&mut client, "other", set), "WRONGTYPE ");
    assert_eq!(client.call(&["GET", "other"]).text().as_deref(), Some("its own"));
    assert_eq!(client.call(&["PTTL", "other"]).number(), -1, "its end is its own, too");
    // A field without a value, a set without a member.
    for rest in [&["HSET", "5000", "a"][..], &["HSET", "5000"], &["SADD", "5000"]] {
        let reply = write(&mut client, "new", rest);
        assert!(matches!(reply, Reply::Error(_)), "{rest:?}: {reply:?}");
    }
    client.call(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    client.call(&["CONFIG", "SET", "maxmemory", "1"]);
    refused(write(&mut client, "new", hash), "OOM ");
    client.call(&["CONFIG", "SET", "maxmemory", "0"]);
    client.call(&["REPLICAOF", "127.0.0.1", "1"]);
    refused(write(&mut client, "new", hash), "READONLY ");
    client.call(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(client.call(&["EXISTS", "new"]).number(), 0, "nothing was made");
}
