//! What operators and tools read: the API's records, paging, metrics, health, and the shapes of
//! other programs.

use crate::rig;
use crate::rig::Player;
use crate::rig::Refusal;
use crate::rig::Scrape;
use crate::rig::Server;
use crate::rig::eventually;
use crate::rig::get;
use ace_emulator::Channel;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;

const SECOND: u64 = 250_000;

/// What a field may be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    /// A whole number, not negative.
    Count,
    Number,
    Bool,
    /// Text, or null while unknown.
    TextOrNull,
    CountOrNull,
    NumberOrNull,
    Record(&'static [(&'static str, Kind)]),
    RecordOrNull(&'static [(&'static str, Kind)]),
}

use Kind::Bool;
use Kind::Count;
use Kind::CountOrNull;
use Kind::Number;
use Kind::NumberOrNull;
use Kind::Record;
use Kind::RecordOrNull;
use Kind::Text;
use Kind::TextOrNull;

fn check_record(what: &str, record: &Value, fields: &[(&str, Kind)]) {
    let map = record.as_object().unwrap_or_else(|| panic!("{what}: {record}"));
    let names: BTreeSet<&str> = map.keys().map(String::as_str).collect();
    let wanted: BTreeSet<&str> = fields.iter().map(|field| field.0).collect();
    let missing: Vec<_> = wanted.difference(&names).collect();
    assert!(missing.is_empty(), "{what} has no {missing:?}: {record}");
    for (name, kind) in fields {
        let value = &map[*name];
        let fits = match kind {
            Text => value.is_string(),
            Count => value.is_u64(),
            Number => value.as_f64().is_some_and(|number| number >= 0.0),
            Bool => value.is_boolean(),
            TextOrNull => value.is_string() || value.is_null(),
            CountOrNull => value.is_u64() || value.is_null(),
            NumberOrNull => value.is_number() || value.is_null(),
            RecordOrNull(_) if value.is_null() => true,
            Record(fields) | RecordOrNull(fields) => {
                check_record(&format!("{what}.{name}"), value, fields);
                true
            }
        };
        assert!(fits, "{what}.{name} is no {kind:?}: {value}");
    }
}

const STATUS: &[(&str, Kind)] = &[
    ("version", Text),
    ("uptime_seconds", Count),
    ("shards", Count),
    ("send_path", Text),
    ("streams", Count),
    ("viewers", Count),
    ("engines", Count),
    ("engine_sessions", Count),
    ("bytes_in_total", Count),
    ("bytes_out_total", Count),
    ("redis", Record(&[("state", Text), ("lag_ms", Count), ("dropped_total", Count)])),
    (
        "memory",
        Record(&[
            ("budget_bytes", Count),
            ("ring_bytes", Count),
            ("twin_bytes", Count),
            ("viewer_bytes", Count),
        ]),
    ),
];

const STREAM: &[(&str, Kind)] = &[
    ("id", Text),
    ("content_id", TextOrNull),
    ("state", Text),
    ("engine", TextOrNull),
    ("viewers", Count),
    ("bitrate_bps", CountOrNull),
    ("ring_seconds", Number),
    ("ring_bytes", Count),
    ("head_offset", Count),
    ("started_at", Number),
    ("failovers", Count),
    ("discontinuities", Count),
    ("frozen", Bool),
    ("peers", CountOrNull),
    ("speed_down_kbps", CountOrNull),
    ("lease", Record(&[("owner", TextOrNull), ("epoch", Count)])),
];

const VIEWER: &[(&str, Kind)] = &[
    ("id", Text),
    ("name", TextOrNull),
    ("stream", Text),
    ("address", TextOrNull),
    ("user_agent", Text),
    ("protocol", Text),
    ("shard", Count),
    ("send_path", Text),
    ("connected_at", Number),
    ("bytes_sent", Count),
    ("rate_bps", Count),
    ("seconds_behind", Number),
    ("skips", Count),
    ("rwnd_limited_ms", Count),
];

const ENGINE: &[(&str, Kind)] = &[
    ("id", Text),
    ("host", Text),
    ("port", Count),
    ("state", Text),
    ("forwarded", Bool),
    ("sessions", Count),
    ("max_sessions", CountOrNull),
    ("version", TextOrNull),
    ("last_answer_at", NumberOrNull),
    ("rest", RecordOrNull(&[("until", Number), ("reason", Text)])),
    ("last_error", TextOrNull),
];

const OFFLINE: &[(&str, Kind)] = &[
    ("id", Text),
    ("content_id", TextOrNull),
    ("reason", Text),
    ("since", Number),
    ("until", Number),
    ("failures", Count),
];

/// The rows of a list page, which has the envelope of all lists.
fn rows(server: &Server, path: &str, name: &str) -> Vec<Value> {
    let page = server.api(path);
    let keys: BTreeSet<&str> = page.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from([name, "total", "after"]), "{path}");
    let rows = page[name].as_array().unwrap().clone();
    assert!(page["total"].as_u64().unwrap() >= rows.len() as u64, "{path}");
    rows
}

/// A start that nobody waits for any more is given up, and its session stopped.
fn with_one_session(server: &Server) -> serde_json::Value {
    eventually("one session and one viewer", || {
        let status = server.api("/api/v1/status");
        (status["engine_sessions"] == 1 && status["viewers"] == 1).then_some(status)
    })
}

#[test]
fn records_have_their_fields() {
    let quiet = Channel::offline(&rig::infohash(1_201));
    let engine = rig::engine(rig::one_channel(1_200).channel(quiet));
    let server = Server::with(&[&engine]).set("PROXY_INIT_TIMEOUT", "3").start().ready();
    for (path, name) in [("/streams", "streams"), ("/viewers", "viewers"), ("/offline", "offline")]
    {
        let none = rows(&server, &format!("/api/v1{path}"), name);
        assert!(none.is_empty(), "{none:?}");
    }
    check_record("status", &server.api("/api/v1/status"), STATUS);

    let unseeded = get(server.address, &Server::play(&rig::infohash(1_201)));
    Refusal::new(504, "nothing_to_play").check("an id that nobody seeds", &unseeded);
    find_the_offline_one(&server);
    let mut player = Player::open(server.address, &Server::play(&rig::content_id(1_200)));
    player.play(6 * SECOND);
    let id = player.id();
    rig::while_they_play(std::slice::from_mut(&mut player), || {
        find_their_fields(&server, &engine, &id);
    });
}

fn find_their_fields(server: &Server, engine: &Emulator, player_id: &str) {
    let status = with_one_session(server);
    check_record("status", &status, STATUS);
    let say = |name: &str| status[name].as_u64().unwrap();
    assert_eq!((say("shards"), say("engines"), say("viewers")), (2, 1, 1));
    assert!(say("bytes_out_total") >= 6 * SECOND && say("bytes_in_total") >= 6 * SECOND);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["redis"]["state"], "off");
    let memory = |name: &str| status["memory"][name].as_u64().unwrap();
    assert!((255 << 20..=256 << 20).contains(&memory("budget_bytes")), "{status}");
    assert!((6 * SECOND..64 << 20).contains(&memory("ring_bytes")), "{status}");

    let stream = eventually("the engine's stat", || {
        let all = rows(server, "/api/v1/streams", "streams");
        let row = all.iter().find(|row| row["id"] == rig::infohash(1_200))?.clone();
        (row["peers"] == 4 && row["bitrate_bps"].is_u64()).then_some(row)
    });
    check_record("stream", &stream, STREAM);
    assert_eq!(stream["content_id"], rig::content_id(1_200));
    assert_eq!((&stream["state"], &stream["engine"]), (&"active".into(), &"e0".into()));
    assert_eq!(stream["viewers"], 1);
    let bitrate = stream["bitrate_bps"].as_u64().unwrap();
    assert!((1_800_000..2_200_000).contains(&bitrate), "{stream}");
    assert!(stream["ring_seconds"].as_f64().unwrap() > 4.0, "{stream}");
    assert_eq!(stream["head_offset"].as_u64().unwrap() % 188, 0);
    let age = server.api("/api/v1/viewers")["viewers"][0]["connected_at"].as_f64().unwrap()
        - stream["started_at"].as_f64().unwrap();
    assert!((-1.0..5.0).contains(&age), "unix seconds both: {age}");
    for id in [rig::infohash(1_200), rig::content_id(1_200).to_uppercase()] {
        let one = server.api(&format!("/api/v1/streams/{id}"));
        check_record("one stream", &one, STREAM);
        assert_eq!(one["id"], stream["id"]);
    }

    let viewer = rows(server, "/api/v1/viewers", "viewers").remove(0);
    check_record("viewer", &viewer, VIEWER);
    assert_eq!(viewer["id"], player_id);
    assert_eq!(viewer["stream"], rig::infohash(1_200));
    assert_eq!((&viewer["name"], &viewer["skips"]), (&Value::Null, &0.into()));
    assert_eq!((&viewer["user_agent"], &viewer["protocol"]), (&"test player".into(), &"TS".into()));
    assert_eq!(viewer["address"], "127.0.0.1");
    assert!(viewer["shard"].as_u64().unwrap() < 2);
    assert!(viewer["bytes_sent"].as_u64().unwrap() >= 6 * SECOND);
    assert!(viewer["seconds_behind"].as_f64().unwrap() < 10.0, "{viewer}");

    let engines = rows(server, "/api/v1/engines", "engines");
    check_record("engine", &engines[0], ENGINE);
    assert_eq!((&engines[0]["id"], &engines[0]["state"]), (&"e0".into(), &"up".into()));
    assert_eq!(engines[0]["port"], engine.addr().port());
    assert_eq!((&engines[0]["sessions"], &engines[0]["version"]), (&1.into(), &"3.2.11".into()));
}

/// Within the ten seconds that it is known.
fn find_the_offline_one(server: &Server) {
    let offline = eventually("the id is known to be offline", || {
        rows(server, "/api/v1/offline", "offline").pop()
    });
    check_record("offline", &offline, OFFLINE);
    assert_eq!(offline["id"], rig::infohash(1_201));
    assert!(offline["until"].as_f64() > offline["since"].as_f64(), "{offline}");
    let again = get(server.address, &Server::play(&rig::infohash(1_201)));
    let message = Refusal::new(504, "nothing_to_play").check("asked again", &again);
    assert!(message.contains("no peers"), "{message}");
    server.await_line(&["stream failed", &rig::infohash(1_201), "answer=504", "reason=\""]);
}

#[test]
fn viewers_come_by_page() {
    let other = Channel::signed(&rig::infohash(1_203)).bitrate_bps(400_000);
    let engine = rig::engine(rig::one_channel(1_202).channel(other));
    let server = Server::with(&[&engine]).set("RINGCAST_SHARDS", "3").start().ready();
    let mut players: Vec<Player> = (0..30)
        .map(|n| {
            let stream = rig::infohash(if n % 3 == 0 { 1_203 } else { 1_202 });
            Player::open(server.address, &Server::play(&stream))
        })
        .collect();
    let id = |player: &Player| player.header("x-ringcast-viewer").unwrap().to_owned();
    let all: BTreeSet<String> = players.iter().map(id).collect();
    assert_eq!(all.len(), 30);
    let text = |row: &Value| row["id"].as_str().unwrap().to_owned();

    for sort in ["", "&sort=id", "&sort=-id", "&sort=connected_at", "&sort=-seconds_behind"] {
        let mut seen = Vec::new();
        let mut after = String::new();
        loop {
            let page = server.api(&format!("/api/v1/viewers?limit=7{sort}{after}"));
            assert_eq!(page["total"], 30);
            let rows = page["viewers"].as_array().unwrap();
            seen.extend(rows.iter().map(text));
            let Some(next) = page["after"].as_str() else { break };
            assert_eq!(rows.len(), 7, "a page before the last is full");
            assert_eq!(next, text(&rows[6]));
            after = format!("&after={next}");
            // An order that moves may show somebody again.
            assert!(seen.len() < 300, "{sort} goes on for ever");
        }
        // Two orders stand still while the stream runs: those pages have everybody, once.
        if sort != "&sort=-seconds_behind" {
            assert_eq!(seen.len(), 30, "{sort}");
            assert_eq!(seen.iter().cloned().collect::<BTreeSet<_>>(), all, "{sort}");
        }
    }
    let times = |sort: &str| -> Vec<f64> {
        let page = server.api(&format!("/api/v1/viewers?sort={sort}"));
        let rows = page["viewers"].as_array().unwrap().clone();
        rows.iter().map(|row| row["connected_at"].as_f64().unwrap()).collect()
    };
    assert!(times("connected_at").is_sorted());
    assert!(times("-connected_at").iter().rev().is_sorted());

    let of_one = server.api(&format!("/api/v1/viewers?stream={}", rig::infohash(1_203)));
    assert_eq!(of_one["total"], 10);
    let nobody = server.api(&format!("/api/v1/viewers?stream={}", rig::infohash(9)));
    assert_eq!((&nobody["total"], &nobody["after"]), (&0.into(), &Value::Null));

    // Whoever ended a page may have left when the next one is asked for.
    let first = server.api("/api/v1/viewers?limit=10");
    let cursor = first["after"].as_str().unwrap().to_owned();
    let at = players.iter().position(|player| id(player) == cursor).unwrap();
    players.remove(at).leave();
    server.await_line(&["viewer end", &cursor]);
    let next = server.api(&format!("/api/v1/viewers?after={cursor}"));
    let rest: BTreeSet<String> = next["viewers"].as_array().unwrap().iter().map(text).collect();
    let begun: BTreeSet<String> = first["viewers"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(&begun | &rest, all, "nobody is left out");
    assert!(begun.is_disjoint(&rest), "nobody comes twice");
    let lost = get(server.address, &format!("/api/v1/viewers?sort=-bytes_sent&after={cursor}"));
    let message = Refusal::no_cors(404, "not_found").check("an order that is lost", &lost);
    assert!(message.contains("after="), "{message}");
}

/// What every player was sent is what every player got, to the byte, heads included.
#[test]
#[expect(clippy::too_many_lines, reason = "one run of a server, looked at from all sides")]
fn metrics_are_clean_and_count_what_was_sent() {
    let other = Channel::signed(&rig::infohash(1_205)).bitrate_bps(800_000);
    let engine = rig::engine(rig::one_channel(1_204).channel(other));
    let server = Server::with(&[&engine]).start().ready();
    let fresh = Scrape::of(&server);
    fresh.assert_clean();
    for name in PROMISED {
        let name = format!("ringcast_{name}");
        assert!(fresh.types.contains_key(&name), "{name} is missing in\n{}", fresh.text);
    }
    for (name, kind) in &fresh.types {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
    }

    let paths = [Server::play(&rig::content_id(1_204)), Server::play(&rig::infohash(1_205))];
    let mut players: Vec<Player> =
        (0..12).map(|n| Player::open(server.address, &paths[n % 2])).collect();
    rig::play_together(&mut players, SECOND);
    // A stream hears of its viewers from their shards, and they of a send when it is complete.
    let viewers = format!("ringcast_stream_viewers{{stream=\"{}\"}}", rig::infohash(1_205));
    let running = eventually("six viewers of one stream, and something fresh for them", || {
        let running = Scrape::of(&server);
        let is_there = running.samples.get(&viewers) == Some(&6.0)
            && running.get("ringcast_streams{state=\"active\"}") as u64 == 2
            && running.get("ringcast_delivery_latency_seconds_count") > 0.0;
        is_there.then_some(running)
    });
    running.assert_clean();
    running.assert_follows(&fresh);
    assert_eq!(running.get("ringcast_viewers") as u64, 12);
    assert_eq!(running.get("ringcast_engine_sessions{engine=\"e0\"}") as u64, 2);
    assert_eq!(running.get("ringcast_engine_up{engine=\"e0\"}") as u64, 1);
    assert_eq!(running.get("ringcast_stream_starts_total{result=\"ok\"}") as u64, 2);
    assert_eq!(running.get("ringcast_start_seconds_count") as u64, 2);
    assert_eq!(running.get("ringcast_first_byte_seconds_count") as u64, 12);
    let ok = "ringcast_http_responses_total{route=\"getstream\",code=\"200\"}";
    assert_eq!(running.get(ok) as u64, 12);

    // The engine falls silent: what has been sent can be compared at leisure.
    engine.control().set(Knob::Starve, true);
    for player in &players {
        player.socket().set_nonblocking(true).unwrap();
    }
    let (received, sent) = eventually("counted and received bytes to be the same", || {
        for player in &mut players {
            while player.step().is_ok_and(|n| n > 0) {}
        }
        let received: u64 = players.iter().map(Player::bytes_received).sum();
        let silent = Scrape::of(&server);
        let sent = silent.get("ringcast_sent_bytes_total") as u64;
        // And what came in is what the engine wrote.
        let came_in = silent.get("ringcast_ingest_bytes_total") as u64;
        let is_all = came_in == engine.control().counters().bytes_written;
        (is_all && sent == received).then_some((received, silent))
    });
    assert!(received > 12 * SECOND);
    sent.assert_follows(&running);
    let ways = ["copied", "shared", "zerocopy"];
    let by_way: f64 =
        ways.iter().map(|way| sent.get(&format!("ringcast_send_{way}_bytes_total"))).sum();
    assert_eq!(by_way as u64, received, "every byte went one way");
    eventually("each viewer's own count", || {
        for player in &mut players {
            while player.step().is_ok_and(|n| n > 0) {}
        }
        let listed = server.api("/api/v1/viewers?limit=100");
        let rows = listed["viewers"].as_array()?;
        let same = players.iter().all(|player| {
            let id = player.header("x-ringcast-viewer").unwrap();
            let row = rows.iter().find(|row| row["id"] == id).expect("listed");
            row["bytes_sent"] == player.bytes_received()
        });
        same.then_some(())
    });

    let ends = players.len() as f64;
    for player in players {
        player.leave();
    }
    let left = "ringcast_viewer_closed_total{reason=\"left\"}";
    let last = eventually("everybody to have left", || {
        let last = Scrape::of(&server);
        (last.get("ringcast_viewers") == 0.0
            && last.get("ringcast_streams{state=\"active\"}") == 0.0)
            .then_some(last)
    });
    assert_eq!(last.get(left), ends);
    last.assert_clean();
    last.assert_follows(&sent);
}

const PROMISED: [&str; 26] = [
    "build_info",
    "viewers",
    "streams",
    "engine_sessions",
    "engine_up",
    "ingest_bytes_total",
    "ingest_paused_seconds_total",
    "sent_bytes_total",
    "http_responses_total",
    "stream_starts_total",
    "start_seconds",
    "first_byte_seconds",
    "delivery_latency_seconds",
    "viewer_skips_total",
    "viewer_closed_total",
    "failovers_total",
    "ts_sync_losses_total",
    "redis_up",
    "redis_dropped_total",
    "shard_turn_seconds",
    "send_copied_bytes_total",
    "send_shared_bytes_total",
    "send_zerocopy_bytes_total",
    "memory_bytes",
    "open_files",
    "uptime_seconds",
];

/// Ready is: an engine answers. Busy is not unready, and alive is not ready.
#[test]
fn ready_is_when_an_engine_answers() {
    let (_reserved, at) = rig::reserve();
    let start = Server::with_specs(&format!("{at},name=late,max=1"));
    let server = start.set("RINGCAST_OUTAGE_TIMEOUT", "1").start();
    let unready = get(server.address, "/readyz");
    let message = Refusal::no_cors(503, "no_engine").check("no engine", &unready);
    assert!(message.contains("engine"), "{message}");
    let alive = get(server.address, "/healthz");
    assert_eq!((alive.status, alive.text()), (200, "{\"status\":\"ok\"}".to_owned()));
    let line = server.await_line(&["engine down", "engine=late", "reason=\""]);
    assert!(line.contains("WARN"), "{line}");
    // Nobody waits for an engine that is not there.
    let begun = rig::stopwatch();
    let refused = get(server.address, &Server::play(&rig::content_id(1_206)));
    Refusal::new(503, "no_engine").check("a player", &refused);
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());

    let other = Channel::signed(&rig::infohash(1_207)).bitrate_bps(400_000);
    let engine = rig::engine(rig::one_channel(1_206).channel(other).listen(at));
    let server = server.ready();
    server.await_line(&["engine up", "engine=late", "version=3.2.11"]);
    let mut player = Player::open(server.address, &Server::play(&rig::content_id(1_206)));
    assert_eq!(player.status, 200);
    player.play(SECOND);
    let full = get(server.address, &Server::play(&rig::infohash(1_207)));
    let message = Refusal::new(503, "no_capacity").check("a busy engine", &full);
    assert!(message.contains("max"), "{message}");
    assert_eq!(get(server.address, "/readyz").status, 200, "busy is ready");

    engine.control().set(Knob::Refuse, true);
    engine.control().kill();
    player.play_to_the_end();
    eventually("the engine is missed", || {
        (get(server.address, "/readyz").status == 503).then_some(())
    });
    assert_eq!(get(server.address, "/healthz").status, 200);
    for path in ["/healthz/", "/readyz/", "/metrics/"] {
        assert_ne!(get(server.address, path).status, 404, "{path}");
    }
}

#[test]
fn other_programs_find_their_shapes() {
    let engine = rig::engine(rig::one_channel(1_208));
    let server = Server::with(&[&engine]).start().ready();
    let status = |query: &str| server.api(&format!("/ace/status{query}"));
    assert_eq!(status(""), serde_json::json!({ "clients": 0, "streams": 0 }));
    let mut players: Vec<Player> = (0..3)
        .map(|_| Player::open(server.address, &Server::play(&rig::content_id(1_208))))
        .collect();
    rig::play_together(&mut players, SECOND);
    rig::while_they_play(&mut players, || find_their_shapes(&server));
}

fn find_their_shapes(server: &Server) {
    let status = |query: &str| server.api(&format!("/ace/status{query}"));
    // The stream's shard hears of them from theirs.
    eventually("three clients", || (status("")["clients"] == 3).then_some(()));
    assert_eq!(status(""), serde_json::json!({ "clients": 3, "streams": 1 }));
    for id in [rig::infohash(1_208), rig::content_id(1_208)] {
        let one = status(&format!("?id={id}"));
        assert_eq!((&one["clients"], &one["streams"]), (&3.into(), &1.into()));
        assert_eq!(one["stream_id"], rig::infohash(1_208));
        let stat = one["stat_url"].as_str().expect("a URL");
        assert!(stat.starts_with('/') || stat.starts_with("http://"), "{one}");
        let stat = stat.strip_prefix(&server.url("")).unwrap_or(stat);
        assert_eq!(get(server.address, stat).status, 200, "{one}");
    }
    let reply = get(server.address, "/ace/status");
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));

    // Clients look for an engine by text, as Python writes it.
    let version = get(server.address, "/webui/api/service?method=get_version&params=&format=json");
    assert_eq!((version.status, version.header("access-control-allow-origin")), (200, None));
    let json: Value = serde_json::from_slice(&version.body).unwrap();
    assert_eq!(json["result"]["version"], "3.2.11");
    assert_eq!(json["error"], Value::Null);
    assert!(version.text().contains("\"error\": null"), "{}", version.text());
    assert!(json["result"]["code"].is_u64() && json["result"]["platform"].is_string());
    let known = get(server.address, "/server/api?api_version=3&method=get_status");
    let json: Value = serde_json::from_slice(&known.body).unwrap();
    assert_eq!(json["result"]["version"]["version"], "3.2.11", "{}", known.text());
    assert!(json["result"]["playlist_loaded"].is_boolean());
    assert!(json.get("error").is_none());
    // It is what a pool of ours takes for an engine.
    let mut socket = rig::connect(server.address);
    socket.write_all(b"GET /server/api/?method=get_status HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(rig::whole_reply(&mut socket).status, 200);
}
