//! Redis as the mirror, from outside: what an independent reader finds there, what is published
//! and obeyed, and that nobody who watches notices what becomes of Redis.

mod commands;
mod ends;
mod events;
mod foreign;
mod load;
mod nodes;
mod places;
mod schema;
mod scripts;
mod snapshots;
mod sweep;
mod uring;
mod wall;
mod weather;

use crate::rig::Server;
use crate::rig::Start;
use crate::rig::eventually;
use crate::rig::redis::View;
use ace_emulator::Emulator;

/// Bytes of a second of `rig::one_channel`.
const SECOND: u64 = 250_000;

/// `PROXY_CLIENT_TTL` in these tests.
const TTL_MS: u64 = 4_000;

/// A server that tells this Redis, with short times.
fn mirrored(engines: &[&Emulator], url: &str) -> Start {
    with_short_times(Server::with(engines), url)
}

fn with_short_times(start: Start, url: &str) -> Start {
    start
        .set("RINGCAST_REDIS_URL", url)
        .set("PROXY_CLIENT_TTL", "4")
        .set("PROXY_HEARTBEAT_INTERVAL", "1")
        .set("PROXY_CLEANUP_INTERVAL", "2")
}

/// What the server says of its Redis.
fn state_of(server: &Server) -> String {
    let status = server.api("/api/v1/status");
    status["redis"]["state"].as_str().expect("a state").to_owned()
}

fn await_state(server: &Server, wanted: &str) {
    eventually(&format!("redis to be {wanted}"), || (state_of(server) == wanted).then_some(()));
}

/// Waits until the viewers of a stream are these, each with a record, and nobody else has one.
fn await_clients(view: &mut View, infohash: &str, ids: &[&str]) {
    let mut wanted: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    wanted.sort();
    eventually(&format!("the viewers {wanted:?}"), || {
        let suffixes = view.suffixes(infohash);
        let records: Vec<String> = suffixes
            .iter()
            .filter_map(|suffix| suffix.strip_prefix("clients:"))
            .map(str::to_owned)
            .collect();
        (view.clients(infohash) == wanted && records == wanted).then_some(())
    });
}

/// Waits until a stream has left nothing but what ends by itself, and the fence.
fn await_end(view: &mut View, infohash: &str) {
    let ending = ["last_client_disconnect_time", "metadata", "owner:epoch"];
    eventually("nothing but what ends by itself", || {
        let left = view.suffixes(infohash);
        left.iter().all(|suffix| ending.contains(&suffix.as_str())).then_some(())
    });
    for suffix in ending {
        let key = view.key(infohash, suffix);
        let ttl_ms = view.call(&["PTTL", &key]).number();
        assert_ne!(ttl_ms, -1, "{key} stays");
    }
}

fn path_of(infohash: &str) -> String {
    format!("/ace/getstream?infohash={infohash}")
}

/// Seconds since 1970 that a value says, with three decimals.
fn time_of(value: &str) -> f64 {
    let decimals = value.split_once('.').map(|(_, decimals)| decimals.len());
    assert_eq!(decimals, Some(3), "a time has three decimals: {value}");
    value.parse().unwrap_or_else(|_| panic!("no time: {value}"))
}
