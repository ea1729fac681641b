//! The keys of a stream from its first viewer to its end: names, types, fields and lives.

use super::SECOND;
use super::TTL_MS;
use super::await_clients;
use super::await_state;
use super::mirrored;
use super::path_of;
use super::time_of;
use crate::rig;
use crate::rig::Player;
use crate::rig::Server;
use crate::rig::Watch;
use crate::rig::eventually;
use crate::rig::redis::Redis;
use crate::rig::redis::View;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::now_us;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

const CLIENT_FIELDS: &[&str] = &[
    "client_id",
    "stream_id",
    "worker_id",
    "ip_address",
    "user_agent",
    "protocol",
    "connected_at",
    "last_active",
    "bytes_sent",
    "chunks_sent",
    "avg_rate_KBps",
    "current_rate_KBps",
    "seconds_behind",
    "stats_updated_at",
];

const METADATA_FIELDS: &[&str] = &[
    "content_id",
    "infohash",
    "state",
    "state_changed_at",
    "init_time",
    "connection_ready_time",
    "owner",
    "engine_id",
    "engine_host",
    "engine_port",
    "engine_forwarded",
    "playback_session_id",
    "stat_url",
    "command_url",
    "is_live",
    "is_encrypted",
    "snapshot_first",
    "snapshot_epoch",
    "bitrate",
    "total_bytes",
    "peers",
    "error_message",
    "error_time",
];

/// Every key there may be, by what follows the prefix: a word, `*` for one word of any kind, the
/// type, and the longest life in milliseconds.
const KEYS: &[(&str, &str, Option<u64>)] = &[
    ("schema", "string", None),
    ("workers", "set", None),
    ("worker:*:heartbeat", "string", Some(30_000)),
    ("worker:*:info", "hash", Some(30_000)),
    ("engine:*:load", "hash", Some(30_000)),
    ("stream:*:buffer:index", "string", Some(60_000)),
    ("stream:*:buffer:chunk:*", "string", Some(60_000)),
    ("stream:*:clients", "set", Some(TTL_MS)),
    ("stream:*:clients:*", "hash", Some(TTL_MS)),
    ("stream:*:metadata", "hash", Some(30_000)),
    ("stream:*:owner", "string", Some(10_000)),
    ("stream:*:owner:epoch", "string", Some(86_400_000)),
    ("stream:*:worker:*", "string", Some(TTL_MS)),
    ("stream:*:activity", "string", Some(TTL_MS)),
    ("stream:*:last_client_disconnect_time", "string", Some(TTL_MS)),
    ("stream:*:stopping", "string", Some(10_000)),
];

/// `text` is `pattern`, in which `*` is anything but nothing.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((start, end)) = pattern.split_once('*') else { return text == pattern };
    let Some(rest) = text.strip_prefix(start) else { return false };
    (1..=rest.len()).any(|n| rest.is_char_boundary(n) && is_like(&rest[n..], end))
}

/// The row of a key: of several that fit, the one that says most.
fn row_of(key: &str) -> &'static (&'static str, &'static str, Option<u64>) {
    let rest = key.strip_prefix("ace_proxy:").unwrap_or_else(|| panic!("no key of ours: {key}"));
    let fit = KEYS.iter().filter(|(pattern, ..)| is_like(rest, pattern));
    fit.max_by_key(|(pattern, ..)| pattern.len()).unwrap_or_else(|| panic!("in no row: {key}"))
}

/// Every key has the type and the life that it should.
fn assert_in_schema(view: &mut View) {
    for key in view.all_keys() {
        let (pattern, kind, life_ms) = row_of(&key);
        let (found, ttl_ms) = (view.kind(&key), view.call(&["PTTL", &key]).number());
        // One that went in between is no mistake.
        if found == "none" || ttl_ms == -2 {
            continue;
        }
        assert_eq!(found, *kind, "{key} ({pattern})");
        if let Some(life_ms) = life_ms {
            let lives = (0..=*life_ms as i64).contains(&ttl_ms);
            assert!(lives, "{key} lives {ttl_ms} ms, {life_ms} at most");
        }
    }
}

struct Stage {
    engine: Emulator,
    view: View,
    server: Server,
    redis: Redis,
}

fn stage(config: Config) -> Stage {
    let redis = Redis::start();
    let engine = rig::engine(config);
    let server = mirrored(&[&engine], &redis.url()).start().ready();
    await_state(&server, "up");
    Stage { view: View::new(redis.client()), engine, server, redis }
}

fn fields_of(hash: &BTreeMap<String, String>) -> BTreeSet<&str> {
    hash.keys().map(String::as_str).collect()
}

fn check_client(record: &BTreeMap<String, String>, id: &str, owner: &str) {
    let wanted: BTreeSet<&str> = CLIENT_FIELDS.iter().copied().collect();
    assert_eq!(fields_of(record), wanted);
    assert_eq!(record["client_id"], id);
    assert_eq!(record["stream_id"], rig::infohash(2_001));
    assert_eq!(record["worker_id"], owner);
    assert_eq!(record["ip_address"], "127.0.0.1");
    assert_eq!(record["user_agent"], "test player");
    assert_eq!(record["protocol"], "TS");
    let (connected, active, updated) = (
        time_of(&record["connected_at"]),
        time_of(&record["last_active"]),
        time_of(&record["stats_updated_at"]),
    );
    let now = now_us() as f64 / 1e6;
    assert!(connected <= active && active <= updated + 0.5, "{record:?}");
    assert!((now - 30.0..now).contains(&connected), "{connected} {now}");
    let number = |field: &str| record[field].parse::<u64>().expect(field);
    assert!(number("bytes_sent") > 0, "{record:?}");
    // Of the size that chunks have by default.
    assert_eq!(number("chunks_sent"), number("bytes_sent") / 1_048_576, "{record:?}");
    for number in ["avg_rate_KBps", "current_rate_KBps", "seconds_behind"] {
        assert!(record[number].parse::<f64>().unwrap() >= 0.0, "{number} in {record:?}");
    }
}

fn check_metadata(metadata: &BTreeMap<String, String>, engine: &Emulator, owner: &str) {
    let known: BTreeSet<&str> = METADATA_FIELDS.iter().copied().collect();
    let unknown: Vec<_> = fields_of(metadata).difference(&known).copied().collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert_eq!(metadata["content_id"], rig::content_id(2_001));
    assert_eq!(metadata["infohash"], rig::infohash(2_001));
    assert_eq!(metadata["state"], "active");
    assert_eq!(metadata["owner"], owner);
    assert_eq!(metadata["engine_id"], "e0");
    assert_eq!(metadata["engine_host"], engine.addr().ip().to_string());
    assert_eq!(metadata["engine_port"], engine.addr().port().to_string());
    assert_eq!(metadata["engine_forwarded"], "false");
    assert_eq!(metadata["is_live"], "true");
    assert_eq!(metadata["is_encrypted"], "false");
    let session = engine.control().sessions().pop().expect("a session");
    assert_eq!(metadata["playback_session_id"], session.playback_session_id);
    for url in ["stat_url", "command_url"] {
        let start = format!("http://{}/", engine.addr());
        assert!(metadata[url].starts_with(&start), "{url} in {metadata:?}");
    }
    let (init, ready) =
        (time_of(&metadata["init_time"]), time_of(&metadata["connection_ready_time"]));
    assert!(init <= ready && ready <= time_of(&metadata["state_changed_at"]) + 0.001);
    let bitrate: f64 = metadata["bitrate"].parse().expect("a bitrate");
    assert!((1e6..4e6).contains(&bitrate), "bits a second: {bitrate}");
    assert!(metadata["total_bytes"].parse::<u64>().unwrap() > 0);
    let error = metadata.get("error_message").map(String::as_str);
    assert!(matches!(error, None | Some("")), "{metadata:?}");
}

/// `<host>:<pid>:<8 hex>`
fn check_worker(worker: &str, server: &Server) {
    let mut parts = worker.rsplitn(3, ':');
    let (nonce, pid, host) = (parts.next(), parts.next(), parts.next());
    let nonce = nonce.expect("a nonce");
    assert!(nonce.len() == 8 && nonce.chars().all(|c| c.is_ascii_hexdigit()), "{worker}");
    assert_eq!(pid, Some(&*server.pid().to_string()), "{worker}");
    assert!(host.is_some_and(|host| !host.is_empty()), "{worker}");
}

/// What a player calls itself is one value of its record, cut and cleaned as everywhere.
fn a_hostile_player_is_a_harmless_record(server: &Server, view: &mut View, beside: &str) {
    let evil = "x\\r\\n*1\\r\\n$8\\r\\nFLUSHALL\\r\\n\" <img src=x> \u{202e}";
    let (infohash, path) = (rig::infohash(2_001), Server::play(&rig::content_id(2_001)));
    let long = "A".repeat(600);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {evil}{long}\r\n\r\n");
    let mut player = Player::send(server.address, request.as_bytes()).begin();
    player.play(SECOND);
    let (id, watch) = (player.id(), Watch::of(player));
    await_clients(view, &infohash, &[beside, &id]);
    let listed = server.api("/api/v1/viewers");
    let rows = listed["viewers"].as_array().expect("viewers");
    let shown = rows.iter().find(|row| row["id"] == *id).expect("it plays")["user_agent"].clone();
    let record = view.client(&infohash, &id);
    assert_eq!(record["user_agent"], shown.as_str().expect("a text"), "as the API shows it");
    let is_clean = |c: char| !c.is_control() && c != '\u{202e}';
    assert!(record["user_agent"].len() <= 256 && record["user_agent"].chars().all(is_clean));
    assert!(record["user_agent"].contains("FLUSHALL"), "{record:?}");
    assert_in_schema(view);
    watch.leave_unbroken();
    await_clients(view, &infohash, &[beside]);
}

#[test]
fn the_keys_tell_who_watches_what_and_are_gone_when_nobody_does() {
    let Stage { engine, mut view, server, redis } = stage(rig::one_channel(2_001));
    let (infohash, path) = (rig::infohash(2_001), Server::play(&rig::content_id(2_001)));
    let mut player = Player::open(server.address, &path);
    player.play(3 * SECOND);
    let (id, watch) = (player.id(), Watch::of(player));
    await_clients(&mut view, &infohash, &[&id]);
    let owner = eventually("an owner", || view.owner(&infohash));
    check_worker(&owner, &server);
    assert!(view.epoch(&infohash).expect("with the lease") >= 1);
    // What only a refresh knows, it knows after one.
    let metadata = eventually("a bitrate and a session", || {
        let metadata = view.metadata(&infohash);
        let told = |field: &str| metadata.get(field).is_some_and(|v| !v.is_empty() && v != "0");
        let whole = ["bitrate", "playback_session_id", "connection_ready_time", "owner"];
        (whole.iter().all(|field| told(field)) && metadata["state"] == "active").then_some(metadata)
    });
    check_metadata(&metadata, &engine, &owner);
    let first = eventually("figures", || {
        let record = view.client(&infohash, &id);
        (record.get("bytes_sent").is_some_and(|bytes| bytes != "0")).then_some(record)
    });
    check_client(&first, &id, &owner);
    assert_in_schema(&mut view);
    let worker = view.key(&infohash, &format!("worker:{owner}"));
    assert_eq!(view.text(&worker).as_deref(), Some("1"));
    let activity = view.key(&infohash, "activity");
    let active = time_of(&view.text(&activity).expect("bytes come"));
    assert!((now_us() as f64 / 1e6 - active).abs() < 5.0, "{active}");
    check_globals(&mut view, &owner);
    check_api(&server, &mut view, &id);

    // A refresh goes on counting and keeps alive.
    let number = |record: &BTreeMap<String, String>, field: &str| {
        record[field].parse::<f64>().unwrap_or_else(|_| panic!("{field} in {record:?}"))
    };
    eventually("two refreshes", || {
        let record = view.client(&infohash, &id);
        let later = |field, by| number(&record, field) >= number(&first, field) + by;
        (later("bytes_sent", 1.0) && later("stats_updated_at", 1.5) && later("last_active", 1.0))
            .then_some(())
    });
    let disconnected = view.key(&infohash, "last_client_disconnect_time");
    assert!(!view.exists(&disconnected));
    a_hostile_player_is_a_harmless_record(&server, &mut view, &id);

    watch.leave_unbroken();
    await_clients(&mut view, &infohash, &[]);
    rig::await_stops(&engine, 1);
    let epoch = view.key(&infohash, "owner:epoch");
    let left_ms = now_us() / 1_000;
    eventually("nothing but the fence", || {
        assert_in_schema(&mut view);
        let left = view.suffixes(&infohash);
        (left == ["owner:epoch"]).then_some(())
    });
    println!("the stream's keys were gone {} ms after its end", now_us() / 1_000 - left_ms);
    assert!(view.exists(&epoch));

    assert!(server.stop().success());
    let left = view.all_keys();
    let allowed = ["ace_proxy:schema", &epoch];
    assert!(left.iter().all(|key| allowed.contains(&key.as_str())), "after the end: {left:?}");
    drop(redis);
}

fn check_globals(view: &mut View, worker: &str) {
    let schema = view.global("schema");
    assert_eq!(view.text(&schema).as_deref(), Some("ringcast/1"));
    let workers = view.global("workers");
    assert_eq!(view.members(&workers), [worker]);
    let heartbeat = view.global(&format!("worker:{worker}:heartbeat"));
    time_of(&view.text(&heartbeat).expect("it lives"));
    let info = view.global(&format!("worker:{worker}:info"));
    let info = eventually("one viewer of one stream", || {
        let info = view.hash(&info);
        let told = |field: &str| info.get(field).map(String::as_str) == Some("1");
        (told("streams") && told("viewers")).then_some(info)
    });
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    time_of(&info["started_at"]);
    let load = view.global("engine:e0:load");
    eventually("one session on the engine", || {
        (view.hash(&load).get(worker).map(String::as_str) == Some("1")).then_some(())
    });
}

/// The API says the same, in its own words.
fn check_api(server: &Server, view: &mut View, id: &str) {
    let infohash = rig::infohash(2_001);
    // A stat that a busy engine does not answer leaves no number of peers, on one side first.
    let (stream, metadata) = eventually("both to know the peers", || {
        let metadata = view.metadata(&infohash);
        let stream = server.api(&format!("/api/v1/streams/{infohash}"));
        let said = stream["peers"].to_string();
        let same = metadata.get("peers").is_some_and(|peers| *peers == said);
        same.then_some((stream, metadata))
    });
    assert_eq!(stream["id"], *metadata["infohash"]);
    assert_eq!(stream["content_id"], *metadata["content_id"]);
    assert_eq!(stream["state"], *metadata["state"]);
    assert_eq!(stream["engine"], *metadata["engine_id"]);
    assert_eq!(stream["lease"]["owner"], *metadata["owner"]);
    assert_eq!(stream["lease"]["epoch"].as_u64(), view.epoch(&infohash));
    let record = view.client(&infohash, id);
    let viewer = server.api("/api/v1/viewers")["viewers"][0].clone();
    for (api, redis) in [
        ("id", "client_id"),
        ("stream", "stream_id"),
        ("address", "ip_address"),
        ("user_agent", "user_agent"),
        ("protocol", "protocol"),
    ] {
        assert_eq!(viewer[api], *record[redis], "{api} and {redis}");
    }
    let connected = viewer["connected_at"].as_f64().expect("a time");
    assert!((connected - time_of(&record["connected_at"])).abs() < 0.002, "{record:?}");
}

#[test]
fn two_viewers_of_one_address_and_agent_are_two() {
    let Stage { mut view, server, redis: _redis, engine: _engine } = stage(rig::one_channel(2_002));
    let (infohash, path) = (rig::infohash(2_002), Server::play(&rig::content_id(2_002)));
    let first = Watch::of(Player::open(server.address, &path));
    let second = Watch::of(Player::open(server.address, &path));
    await_clients(&mut view, &infohash, &[&first.id, &second.id]);
    let (one, two) = (view.client(&infohash, &first.id), view.client(&infohash, &second.id));
    for same in ["ip_address", "user_agent", "stream_id", "worker_id"] {
        assert_eq!(one[same], two[same]);
    }
    let worker = view.key(&infohash, &format!("worker:{}", one["worker_id"]));
    eventually("both counted", || (view.text(&worker).as_deref() == Some("2")).then_some(()));
    first.leave_unbroken();
    await_clients(&mut view, &infohash, &[&second.id]);
    eventually("one counted", || (view.text(&worker).as_deref() == Some("1")).then_some(()));
    let disconnected = view.key(&infohash, "last_client_disconnect_time");
    assert!(!view.exists(&disconnected), "one is left");
    second.leave_unbroken();
    eventually("the time when the last one left", || view.text(&disconnected));
    // Somebody came back.
    let third = Watch::of(Player::open(server.address, &path));
    await_clients(&mut view, &infohash, &[&third.id]);
    assert!(!view.exists(&disconnected));
    third.leave_unbroken();
}

/// A time that a timer moves would show a ghost as alive.
#[test]
fn last_active_is_the_time_of_the_last_byte_and_not_of_the_refresh() {
    let channel = Channel::signed(&rig::infohash(2_003)).bitrate_bps(16_000_000);
    let Stage { mut view, server, redis: _redis, engine: _engine } = stage(rig::quick(channel));
    let infohash = rig::infohash(2_003);
    let reading = Watch::of(Player::open(server.address, &path_of(&infohash)));
    let stuck = Player::ask_narrow(server.address, &path_of(&infohash), 4_096).begin();
    let id = stuck.id();
    await_clients(&mut view, &infohash, &[&reading.id, &id]);
    let time = |view: &mut View, id: &str, field: &str| time_of(&view.client(&infohash, id)[field]);
    // It reads nothing: some kilobytes go to the kernel, then no more.
    eventually("two seconds between its last byte and a refresh", || {
        let record = view.client(&infohash, &id);
        (time_of(&record["stats_updated_at"]) - time_of(&record["last_active"]) > 2.0).then_some(())
    });
    let behind = time(&mut view, &reading.id, "stats_updated_at")
        - time(&mut view, &reading.id, "last_active");
    assert!(behind < 1.5, "who reads is active: {behind}");
    drop(stuck);
    await_clients(&mut view, &infohash, &[&reading.id]);
    reading.leave_unbroken();
}

#[test]
fn prefix_tags_and_masked_addresses() {
    let redis = Redis::start();
    let engine = rig::engine(rig::one_channel(2_004));
    let server = mirrored(&[&engine], &redis.url())
        .set("RINGCAST_REDIS_PREFIX", "other.tv")
        .set("RINGCAST_REDIS_HASH_TAGS", "on")
        .set("RINGCAST_LOG_ADDRESSES", "masked")
        .start()
        .ready();
    let mut view = View::new(redis.client()).prefix("other.tv").tags();
    let infohash = rig::infohash(2_004);
    let watch = Watch::of(Player::open(server.address, &path_of(&infohash.to_uppercase())));
    await_clients(&mut view, &infohash, &[&watch.id]);
    eventually("an owner", || view.owner(&infohash));
    let address = view.client(&infohash, &watch.id)["ip_address"].clone();
    assert!(!address.contains("127.0.0.1"), "{address}");
    let keys = view.all_keys();
    assert!(keys.iter().all(|key| key.starts_with("other.tv:")), "{keys:?}");
    assert!(keys.iter().any(|key| key.contains(&format!(":{{{infohash}}}:"))), "{keys:?}");
    watch.leave_unbroken();
}
