//! Whoever writes may be gone after any of its commands: what it leaves behind ends all the same.

use super::await_clients;
use super::await_end;
use super::await_state;
use super::mirrored;
use super::path_of;
use crate::rig;
use crate::rig::Player;
use crate::rig::Watch;
use crate::rig::eventually;
use crate::rig::redis::Monitor;
use crate::rig::redis::Redis;
use crate::rig::redis::Reply;
use crate::rig::redis::View;
use std::collections::BTreeSet;

const WRITES: [&str; 9] =
    ["EVAL", "SET", "HSET", "SADD", "HDEL", "SREM", "UNLINK", "DEL", "PEXPIRE"];

/// What a node does in its life is recorded, and done again in an empty Redis, one command after
/// the other: after each of them every key has its end.
#[test]
fn no_key_is_ever_without_its_end_whichever_command_was_the_last() {
    let redis = Redis::start();
    let monitor = Monitor::of(&redis);
    let engine = rig::engine(rig::one_channel(2_006));
    let start = mirrored(&[&engine], &redis.url()).set("PROXY_CHUNK_SIZE", "100000");
    let server = start.start().ready();
    await_state(&server, "up");
    let infohash = rig::infohash(2_006);
    let mut view = View::new(redis.client());
    let first = Watch::of(Player::open(server.address, &path_of(&infohash)));
    let second = Watch::of(Player::open(server.address, &path_of(&infohash)));
    await_clients(&mut view, &infohash, &[&first.id, &second.id]);
    eventually("an owner", || view.owner(&infohash));
    let index = view.key(&infohash, "buffer:index");
    eventually("a snapshot", || view.text(&index));
    let load = view.global("engine:e0:load");
    eventually("a session", || view.exists(&load).then_some(()));
    first.leave_unbroken();
    await_clients(&mut view, &infohash, &[&second.id]);
    second.leave_unbroken();
    await_end(&mut view, &infohash);
    assert!(server.stop().success());

    let mut client = redis.client();
    let done = monitor.until_now(&mut client);
    client.call(&["FLUSHALL"]);
    let mut made = BTreeSet::new();
    let own = done.iter().filter(|done| done.by != "lua");
    for done in own.filter(|done| WRITES.contains(&done.words[0].as_str())) {
        let words: Vec<&str> = done.words.iter().map(String::as_str).collect();
        let reply = client.ask(&words).expect("it answers");
        assert!(!matches!(reply, Reply::Error(_)), "{words:?}: {reply:?}");
        for key in words.iter().filter(|word| word.starts_with("ace_proxy:")) {
            let ttl_ms = client.call(&["PTTL", key]).number();
            let stays = ["ace_proxy:schema", "ace_proxy:workers"].contains(key);
            assert!(ttl_ms != -1 || stays, "{key} would stay for ever after {words:?}");
            if ttl_ms >= 0 {
                made.insert((*key).to_owned());
            }
        }
    }
    let kinds = [
        "clients",
        ":metadata",
        ":owner",
        ":owner:epoch",
        ":activity",
        "buffer:index",
        ":info",
        ":heartbeat",
        ":load",
        "last_client_disconnect_time",
    ];
    for kind in kinds {
        assert!(made.iter().any(|key| key.ends_with(kind)), "{kind} in {made:?}");
    }
    for part in ["clients:", "buffer:chunk:"] {
        assert!(made.iter().any(|key| key.contains(part)), "{part} in {made:?}");
    }
}
