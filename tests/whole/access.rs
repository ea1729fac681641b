//! Who may ask what: address lists, trusted proxies, tokens, configured channels; and that what is
//! secret or personal stays out of logs and pages.

use crate::rig;
use crate::rig::Player;
use crate::rig::Refusal;
use crate::rig::Reply;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Knob;
use serde_json::Value;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::PathBuf;

const FORBIDDEN: Refusal = Refusal { status: 403, code: "forbidden", cors: true };
const UNAUTHORIZED: Refusal = Refusal { status: 401, code: "unauthorized", cors: true };

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

fn get(server: &Server, path: &str, headers: &str) -> Reply {
    rig::exchange(server.address, request("GET", path, headers).as_bytes())
}

fn get_from(source: IpAddr, to: SocketAddr, path: &str) -> Reply {
    let mut socket = rig::connect_from(source, to);
    socket.write_all(request("GET", path, "").as_bytes()).unwrap();
    rig::whole_reply(&mut socket)
}

fn json(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

/// The row of this player in the API, read as `reader` may.
fn row(server: &Server, player: &Player, reader: &str) -> Value {
    let id = player.header("x-ringcast-viewer").expect("a viewer id").to_owned();
    let listed = json(&get(server, "/api/v1/viewers?limit=5000", reader));
    let rows = listed["viewers"].as_array().unwrap();
    rows.iter().find(|row| row["id"] == *id).expect("the player is listed").clone()
}

#[test]
fn only_listed_addresses_are_served() {
    let engine = rig::engine(rig::one_channel(1_100));
    let server = Server::with(&[&engine])
        .set("RINGCAST_LISTEN", "[::]:0")
        .set("RINGCAST_ALLOW", "127.0.0.2, ::ffff:127.0.0.3")
        .start();
    let port = server.address.port();
    let (to_v4, to_v6) = (SocketAddr::new(v4(1), port), (Ipv6Addr::LOCALHOST, port).into());
    // The host's own health checks are answered whatever the list says.
    eventually("an engine that answers", || {
        (get_from(v4(1), to_v4, "/readyz").status == 200).then_some(())
    });
    assert_eq!(get_from(v4(1), to_v4, "/healthz").status, 200);
    assert_eq!(get_from(Ipv6Addr::LOCALHOST.into(), to_v6, "/healthz").status, 200);

    let play = Server::play(&rig::content_id(1_100));
    let outsiders = [(v4(1), to_v4), (v4(4), to_v4), (Ipv6Addr::LOCALHOST.into(), to_v6)];
    for (source, to) in outsiders {
        let paths = ["/metrics", "/api/v1/status", "/nowhere", "/ace/getstream?id=x", &play];
        for path in paths {
            let refusal = Refusal { cors: path.starts_with("/ace/"), ..FORBIDDEN };
            let message = refusal.check(path, &get_from(source, to, path));
            assert!(message.contains("RINGCAST_ALLOW"), "{message}");
        }
        let mut socket = rig::connect_from(source, to);
        socket.write_all(request("OPTIONS", &play, "").as_bytes()).unwrap();
        FORBIDDEN.check("OPTIONS", &rig::whole_reply(&mut socket));
    }
    assert_eq!(engine.control().counters().getstreams, 0);

    for source in [v4(2), v4(3)] {
        let socket = rig::connect_from(source, to_v4);
        let head = request("GET", &play, "X-Forwarded-For: 8.8.8.8\r\n");
        let mut player = Player::send_on(socket, head.as_bytes()).begin();
        assert_eq!(player.status, 200);
        assert!(player.play(100_000).is_unbroken());
        let line = server.await_line(&["viewer start", &format!("address={source} ")]);
        assert!(!line.contains("ffff"), "{line}");
    }
}

#[test]
fn forwarded_addresses_are_believed_of_trusted_proxies_only() {
    let engine = rig::engine(rig::one_channel(1_101));
    let server = Server::with(&[&engine])
        .set("RINGCAST_LISTEN", "[::]:0")
        .set("RINGCAST_TRUSTED_PROXIES", "127.0.0.1,127.0.0.8/30")
        .start();
    let to = SocketAddr::new(v4(1), server.address.port());
    eventually("an engine that answers", || {
        (get_from(v4(1), to, "/readyz").status == 200).then_some(())
    });
    let play = Server::play(&rig::content_id(1_101));
    let one = |chain: &str| format!("X-Forwarded-For: {chain}\r\n");
    // From, headers, who it is; None is refused, as public addresses are.
    let cases = [
        (v4(1), String::new(), Some("127.0.0.1")),
        (v4(1), one("192.168.7.7"), Some("192.168.7.7")),
        (v4(1), one("8.8.8.8"), None),
        (v4(1), one("8.8.8.8, 192.168.7.7"), Some("192.168.7.7")),
        (v4(1), one("192.168.7.7, 8.8.8.8"), None),
        (v4(1), one("8.8.8.8, 192.168.7.7, 127.0.0.9"), Some("192.168.7.7")),
        (v4(9), one("10.1.1.1,127.0.0.1"), Some("10.1.1.1")),
        (v4(1), format!("{}{}", one("8.8.8.8"), one("10.1.1.1")), Some("10.1.1.1")),
        (v4(1), one("::ffff:10.2.2.2"), Some("10.2.2.2")),
        (v4(1), one("[fd00::7]:1234"), Some("fd00::7")),
        (v4(1), one("10.3.3.3:5555"), Some("10.3.3.3")),
        // What cannot be read hides who asks: then it is the proxy.
        (v4(1), one("8.8.8.8, unknown"), Some("127.0.0.1")),
        (v4(1), "X-Real-IP: 8.8.8.8\r\n".to_owned(), Some("127.0.0.1")),
        // Nobody believes a stranger.
        (v4(2), one("192.168.7.7"), Some("127.0.0.2")),
        (v4(2), one("8.8.8.8"), Some("127.0.0.2")),
    ];
    // Until the next one plays, so that the stream is one all the time.
    let mut playing = None;
    for (source, headers, wanted) in cases {
        let socket = rig::connect_from(source, to);
        let asked = Player::send_on(socket, request("GET", &play, &headers).as_bytes());
        let Some(address) = wanted else {
            FORBIDDEN.check(&headers, &asked.reply());
            continue;
        };
        let player = asked.begin();
        assert_eq!(player.status, 200, "{headers}: {}", player.head);
        let listed = json(&get_from(v4(2), to, "/api/v1/viewers"));
        let id = player.header("x-ringcast-viewer").unwrap();
        let rows = listed["viewers"].as_array().unwrap();
        let row = rows.iter().find(|row| row["id"] == id).expect("listed");
        assert_eq!(row["address"], address, "{source} {headers}");
        server.await_line(&["viewer start", id, &format!("address={address} ")]);
        playing = Some(player);
    }
    drop(playing);
    assert_eq!(engine.control().counters().getstreams, 1);
}

#[test]
fn play_tokens_open_the_players_routes() {
    let engine = rig::engine(rig::one_channel(1_102));
    let server = Server::with(&[&engine])
        .set("RINGCAST_PLAY_TOKEN", "alice:secret-of+alice, bob:bobs-secret-ä, secret-of-nobody")
        .set("RINGCAST_TRUSTED_PROXIES", "127.0.0.1")
        .set("RINGCAST_LOG_LEVEL", "debug")
        .start()
        .ready();
    let play = Server::play(&rig::content_id(1_102));
    let with = |token: &str| format!("{play}&token={token}");
    let refused = [
        (play.clone(), String::new()),
        (with("wrong"), String::new()),
        (with(""), String::new()),
        (with("alice:secret-of+alice"), String::new()),
        (with("secret-of+alic"), String::new()),
        (play.clone(), "Authorization: Bearer wrong\r\n".to_owned()),
        (play.clone(), "Authorization: Basic c2VjcmV0LW9mLW5vYm9keQ==\r\n".to_owned()),
        (play.clone(), "Cookie: ringcast_token=wrong; token=secret-of-nobody\r\n".to_owned()),
        ("/ace/getstream?id=bad".to_owned(), String::new()),
        ("/ace/status".to_owned(), String::new()),
    ];
    let mut replies: Vec<(String, Vec<u8>)> = Vec::new();
    for (path, headers) in &refused {
        let reply = get(&server, path, headers);
        UNAUTHORIZED.check(&format!("{path} {headers}"), &reply);
        replies.push((reply.head, reply.body));
    }
    replies.dedup();
    assert_eq!(replies.len(), 1, "missing and wrong are told the same");
    let head = rig::exchange(server.address, request("HEAD", &play, "").as_bytes());
    assert_eq!((head.status, head.body.len()), (401, 0));
    assert_eq!(engine.control().counters().getstreams, 0);

    let bearer = |token: &str| format!("Authorization: bearer {token}\r\n");
    let cases = [
        (with("secret-of+alice"), String::new(), Some("alice")),
        (with("secret-of%2Balice"), String::new(), Some("alice")),
        (play.clone(), bearer("bobs-secret-ä"), Some("bob")),
        (with("wrong"), bearer("secret-of-nobody"), None),
        (play.clone(), "Cookie: a=b; ringcast_token=secret-of-nobody\r\n".to_owned(), None),
        // A token lets public addresses in, unless a list says otherwise.
        (with("secret-of-nobody"), "X-Forwarded-For: 8.8.8.8\r\n".to_owned(), None),
    ];
    let mut players = Vec::new();
    for (path, headers, name) in cases {
        let head = request("GET", &path, &headers);
        let player = Player::send(server.address, head.as_bytes()).begin();
        assert_eq!(player.status, 200, "{path} {headers}");
        assert_eq!(row(&server, &player, "")["name"], name.map_or(Value::Null, Value::from));
        let id = player.header("x-ringcast-viewer").unwrap().to_owned();
        let line = server.await_line(&["viewer start", &id]);
        let named = name.map(|name| format!(" name={name} "));
        match named {
            Some(named) => assert!(line.contains(&named), "{line}"),
            None => assert!(!line.contains("name="), "{line}"),
        }
        players.push(player);
    }
    // Metrics and health are open; the API is not for the public.
    assert_eq!(get(&server, "/metrics", "").status, 200);
    let public = get(&server, "/api/v1/viewers", "X-Forwarded-For: 8.8.8.8\r\n");
    Refusal { cors: false, ..FORBIDDEN }.check("the API from outside", &public);

    let pages: Vec<String> = ["/api/v1/status", "/api/v1/streams", "/api/v1/viewers", "/metrics"]
        .iter()
        .chain(&["/api/v1/engines", "/api/v1/offline"])
        .map(|path| get(&server, path, "").text())
        .collect();
    players.into_iter().for_each(Player::leave);
    server.await_lines(6, &["viewer end"]);
    for text in server.lines().iter().chain(&pages) {
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn the_api_token_opens_the_api() {
    let engine = rig::engine(rig::one_channel(1_103));
    let file = temporary("api-token", "ops:secret-api-token\n");
    let server = Server::with(&[&engine])
        .set("RINGCAST_API_TOKEN_FILE", file.to_str().unwrap())
        .start()
        .ready();
    let closed = Refusal { cors: false, ..UNAUTHORIZED };
    let open = "Authorization: Bearer secret-api-token\r\n";
    let cookie = "Cookie: ringcast_api=secret-api-token\r\n";
    for path in ["status", "streams", "viewers", "engines", "offline"] {
        let path = format!("/api/v1/{path}");
        closed.check(&path, &get(&server, &path, ""));
        closed.check(&path, &get(&server, &path, "Authorization: Bearer wrong\r\n"));
        closed.check(&path, &get(&server, &format!("{path}?token=secret-api-token"), ""));
        assert_eq!(get(&server, &path, open).status, 200, "{path}");
        assert_eq!(get(&server, &path, cookie).status, 200, "{path}");
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(get(&server, path, "").status, 200, "{path}");
    }
    // Players need no token of the API's.
    let player = Player::open(server.address, &Server::play(&rig::content_id(1_103)));
    assert_eq!(player.status, 200);

    let change = |headers: &str| {
        let request = request("DELETE", "/api/v1/viewers/1", headers);
        rig::exchange(server.address, request.as_bytes())
    };
    closed.check("a write without the token", &change(""));
    closed.check("a write with the cookie", &change(cookie));
    let foreign = change(&format!("{open}Origin: http://evil.example\r\n"));
    Refusal { cors: false, ..FORBIDDEN }.check("a write from a page elsewhere", &foreign);
    for headers in [open.to_owned(), format!("{open}Origin: http://localhost\r\n")] {
        let status = change(&headers).status;
        assert!(status != 401 && status != 403, "{headers}: {status}");
    }
    assert_eq!(server.lines_with(&["secret"]), 0);
    std::fs::remove_file(file).unwrap();
}

#[test]
fn without_an_api_token_changes_are_taken_from_this_host() {
    let engine = rig::engine(rig::one_channel(1_104));
    let server =
        Server::with(&[&engine]).set("RINGCAST_TRUSTED_PROXIES", "127.0.0.7").start().ready();
    let change = |source: IpAddr, host: &str, headers: &str| {
        let mut socket = rig::connect_from(source, server.address);
        let head = format!("DELETE /api/v1/viewers/1 HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        rig::whole_reply(&mut socket)
    };
    let forbidden = Refusal { cors: false, ..FORBIDDEN };
    let refused = [
        (v4(1), "localhost", "Origin: http://evil.example\r\n"),
        (v4(1), "localhost", "Origin: null\r\n"),
        // A page whose name was made to point here.
        (v4(1), "evil.example", ""),
        (v4(1), "localhost", "X-Forwarded-For: 192.168.1.1\r\n"),
        (v4(7), "localhost", "X-Forwarded-For: 192.168.1.1\r\n"),
        (v4(7), "localhost", ""),
    ];
    for (source, host, headers) in refused {
        let what = format!("{source} {host} {headers}");
        forbidden.check(&what, &change(source, host, headers));
    }
    for (host, headers) in [("localhost:1", "Origin: http://localhost:1\r\n"), ("127.0.0.1", "")] {
        let status = change(v4(1), host, headers).status;
        assert!(status != 401 && status != 403, "{host} {headers}: {status}");
    }
}

#[test]
fn only_configured_channels_when_so_set() {
    let config = rig::one_channel(1_105)
        .channel(Channel::signed(&rig::infohash(1_106)).bitrate_bps(400_000))
        .channel(Channel::signed(&rig::infohash(1_107)).bitrate_bps(400_000));
    let engine = rig::engine(config);
    let (content, infohash) = (rig::content_id(1_105), rig::infohash(1_106));
    let file = temporary(
        "channels.toml",
        &format!(
            "channels_only = true\nallow_magnet = true\n\
             [[channel]]\nname = \"one\"\nid = \"{content}\"\n\
             [[channel]]\nname = \"two\"\nid = \"{infohash}\"\n"
        ),
    );
    let server =
        Server::with(&[&engine]).arg("--config").arg(file.to_str().unwrap()).start().ready();
    let unknown = rig::infohash(1_107);
    let magnet = format!("/ace/getstream?magnet=magnet:?xt=urn:btih:{unknown}");
    for path in [Server::play(&unknown), format!("/ace/getstream?infohash={unknown}"), magnet] {
        let message = Refusal::new(404, "not_found").check(&path, &get(&server, &path, ""));
        assert!(message.contains("RINGCAST_CHANNELS_ONLY"), "{message}");
        let head = rig::exchange(server.address, request("HEAD", &path, "").as_bytes());
        assert_eq!((head.status, head.body.len()), (404, 0), "{path}");
    }
    let counters = engine.control().counters();
    assert_eq!((counters.getstreams, counters.media_files), (0, 0), "no engine was asked");
    let acestream = format!("acestream://{}", content.to_uppercase());
    for id in [&content, &acestream, &infohash] {
        let path = Server::play(id);
        let mut player = Player::open(server.address, &path);
        assert_eq!(player.status, 200, "{id}");
        assert!(player.play(50_000).is_unbroken());
        let head = rig::exchange(server.address, request("HEAD", &path, "").as_bytes());
        assert_eq!(head.status, 200);
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn urls_and_magnets_are_refused_unless_allowed() {
    let name = "http://media.example/live/1";
    let channel = || Channel::signed(&rig::infohash(1_108)).content_id(name).bitrate_bps(400_000);
    let config = || Config::default().knob(Knob::BurstBytes, 200_000).channel(channel());
    let engine = rig::engine(config());
    let magnet =
        format!("/ace/getstream?magnet=magnet%3A%3Fxt%3Durn%3Abtih%3A{}", rig::infohash(1_108));
    let url = format!("/ace/getstream?url={name}");

    let closed = Server::with(&[&engine]).start().ready();
    let message = FORBIDDEN.check("magnet", &get(&closed, &magnet, ""));
    assert!(message.contains("RINGCAST_ALLOW_MAGNET"), "{message}");
    let message = FORBIDDEN.check("url", &get(&closed, &url, ""));
    assert!(message.contains("RINGCAST_ALLOW_URL"), "{message}");
    drop(closed);

    let server = Server::with(&[&engine])
        .set("RINGCAST_ALLOW_MAGNET", "on")
        .set("RINGCAST_ALLOW_URL", "http://media.example/live/")
        .start()
        .ready();
    let elsewhere = [
        "file:///etc/passwd",
        "http://media.example/other/1",
        "http://media.example/live/../secret",
        "http://media.example/live/%2e%2e/secret",
        "http://media.example.evil/live/1",
        "http://media.example@evil/live/1",
        "http://x@media.example/live/1",
        "https://media.example/live/1",
        "http://127.0.0.1:6878/server/api",
    ];
    for url in elsewhere {
        FORBIDDEN.check(url, &get(&server, &format!("/ace/getstream?url={url}"), ""));
    }
    assert_eq!(engine.control().counters().getstreams, 0);
    // Both are the same content: one session.
    for path in [&url, &magnet] {
        let mut player = Player::open(server.address, path);
        assert_eq!(player.status, 200, "{path}: {}", player.head);
        assert!(player.play(100_000).is_unbroken());
        let seen = server.api("/api/v1/streams");
        assert_eq!(seen["streams"][0]["id"], rig::infohash(1_108), "{seen}");
    }
}

#[test]
fn addresses_are_shown_in_full_masked_or_not_at_all() {
    let engine = rig::engine(rig::one_channel(1_109));
    let play = Server::play(&rig::content_id(1_109));
    let modes = [
        ("full", [Some("192.168.7.77"), Some("fd00:1:2:3::4")]),
        ("masked", [Some("192.168.7.0/24"), Some("fd00:1:2::/48")]),
        ("off", [None, None]),
    ];
    for (mode, shown) in modes {
        let server = Server::with(&[&engine])
            .set("RINGCAST_LOG_ADDRESSES", mode)
            .set("RINGCAST_TRUSTED_PROXIES", "127.0.0.1")
            .set("RINGCAST_LOG_LEVEL", "debug")
            .start()
            .ready();
        for (address, shown) in ["192.168.7.77", "fd00:1:2:3::4"].into_iter().zip(shown) {
            let head = request("GET", &play, &format!("X-Forwarded-For: {address}\r\n"));
            let player = Player::send(server.address, head.as_bytes()).begin();
            let id = player.header("x-ringcast-viewer").unwrap().to_owned();
            let seen = row(&server, &player, "");
            assert_eq!(seen["address"], shown.map_or(Value::Null, Value::from), "{mode}");
            player.leave();
            for event in ["viewer start", "viewer end"] {
                let line = server.await_line(&[event, &id]);
                let field = format!(" address={} ", shown.unwrap_or("-"));
                assert!(line.contains(&field), "{mode}: {line}");
            }
            if mode != "full" {
                assert_eq!(server.lines_with(&[address]), 0, "{mode}");
            }
        }
    }
}

/// A file of this test's own; whoever made it removes it.
fn temporary(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ringcast-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}
