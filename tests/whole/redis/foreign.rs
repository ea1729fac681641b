//! Keys of the same names that another program wrote: they are left as they are.

use super::SECOND;
use super::await_state;
use super::mirrored;
use super::path_of;
use crate::rig;
use crate::rig::Player;
use crate::rig::Watch;
use crate::rig::eventually;
use crate::rig::redis::Redis;
use crate::rig::redis::Reply;
use crate::rig::redis::View;
use std::time::Duration;

/// What an orchestrator keeps of a stream that it proxies itself. It sets `owner` without asking,
/// knows no epoch, and its keys have lives of their own, or none.
fn write_as_an_orchestrator(view: &mut View, infohash: &str) -> Vec<String> {
    let mut written = Vec::new();
    let mut put = |view: &mut View, suffix: &str, words: &[&str]| {
        let key = view.key(infohash, suffix);
        let mut command = vec![words[0], &key];
        command.extend(&words[1..]);
        view.call(&command);
        written.push(key);
    };
    put(view, "owner", &["SET", "orchestrator-1:17"]);
    put(view, "metadata", &["HSET", "state", "active", "owner", "orchestrator-1:17", "url", "x"]);
    put(view, "clients", &["SADD", "client_172.17.0.1_VLC"]);
    put(view, "clients:client_172.17.0.1_VLC", &["HSET", "ip_address", "172.17.0.1"]);
    put(view, "buffer:index", &["SET", "41"]);
    put(view, "buffer:chunk:41", &["SET", "its bytes"]);
    put(view, "activity", &["SET", "1700000000.5"]);
    put(view, "last_client_disconnect_time", &["SET", "1700000000.5"]);
    put(view, "worker:orchestrator-1:17", &["SET", "1"]);
    written
}

fn dump(view: &mut View, keys: &[String]) -> Vec<Reply> {
    let of = |key: &String| [view.call(&["DUMP", key]), view.call(&["PTTL", key])];
    keys.iter().flat_map(of).collect()
}

#[test]
fn an_orchestrators_keys_are_not_touched_and_one_line_says_so() {
    let redis = Redis::start();
    let mut view = View::new(redis.client());
    let (infohash, idle) = (rig::infohash(2_040), rig::infohash(2_049));
    let mut keys = write_as_an_orchestrator(&mut view, &infohash);
    keys.extend(write_as_an_orchestrator(&mut view, &idle));
    let before = dump(&mut view, &keys);

    let engine = rig::engine(rig::one_channel(2_040));
    let server = mirrored(&[&engine], &redis.url()).start().ready();
    await_state(&server, "up");
    let first = Watch::of(Player::open(server.address, &path_of(&infohash)));
    let warning = server.await_line(&["WARN", "RINGCAST_REDIS_PREFIX"]);
    assert!(warning.contains("orchestrator-1:17"), "it says whose: {warning}");
    let second = Watch::of(Player::open(server.address, &path_of(&infohash)));
    // Past every sweep, and a second stream of its own.
    let unchanged =
        rig::throughout(Duration::from_millis(4_500), || dump(&mut view, &keys) == before);
    let after = dump(&mut view, &keys);
    for (n, (was, is)) in before.iter().zip(&after).enumerate() {
        assert_eq!(was, is, "{}", keys[n / 2]);
    }
    assert!(unchanged, "changed, and put back");
    let lease = server.api(&format!("/api/v1/streams/{infohash}"))["lease"].clone();
    assert_eq!(lease["epoch"], 0, "it runs without a lease: {lease}");

    first.await_more(SECOND);
    first.leave_unbroken();
    second.leave_unbroken();
    rig::await_stops(&engine, 1);
    assert!(server.lines_with(&["RINGCAST_REDIS_PREFIX"]) == 1, "{:#?}", server.lines());
    assert!(server.stop().success());
    assert_eq!(dump(&mut view, &keys), before, "after the end");
}

/// It takes a stream that is ours, and keeps its own snapshots of it under the same names.
#[test]
fn an_orchestrator_that_takes_a_stream_keeps_its_chunks() {
    let redis = Redis::start();
    let mut view = View::new(redis.client());
    let engine = rig::engine(rig::one_channel(2_041));
    let start = mirrored(&[&engine], &redis.url()).set("PROXY_CHUNK_SIZE", "100000");
    let server = start.start().ready();
    await_state(&server, "up");
    let infohash = rig::infohash(2_041);
    let watch = Watch::of(Player::open(server.address, &path_of(&infohash)));
    let index = view.key(&infohash, "buffer:index");
    let ours = eventually("chunks of ours", || view.text(&index));
    let chunk = view.key(&infohash, &format!("buffer:chunk:{ours}"));

    let owner = view.key(&infohash, "owner");
    view.call(&["SET", &owner, "orchestrator-1:17"]);
    server.await_line(&["WARN", "RINGCAST_REDIS_PREFIX"]);
    view.call(&["SET", &chunk, "its bytes"]);
    // A page that was on its way may have written once more; nobody may take anything away.
    let stays = |view: &mut View| {
        let written = view.text(&index).expect("it was taken away");
        assert_eq!(view.text(&chunk).as_deref(), Some("its bytes"));
        written == "41"
    };
    eventually("the page to be over", || {
        view.call(&["SET", &index, "41"]);
        rig::throughout(Duration::from_millis(1_500), || stays(&mut view)).then_some(())
    });
    watch.leave_unbroken();
    rig::await_stops(&engine, 1);
    assert!(rig::throughout(Duration::from_millis(500), || stays(&mut view)), "after the end");
    assert!(server.stop().success());
    assert!(stays(&mut view));
}
