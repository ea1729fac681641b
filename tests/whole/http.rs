//! The HTTP contract: what is answered to whom, byte for byte, and how a connection ends.

use crate::rig;
use crate::rig::Player;
use crate::rig::Refusal;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use std::collections::BTreeMap;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

const SECOND: u64 = 250_000;
const HEX: &str = "0123456789abcdef0123456789abcdef01234567";

fn serve(n: u32) -> (Emulator, Server) {
    let engine = rig::engine(rig::one_channel(n));
    let server = Server::with(&[&engine]).start().ready();
    (engine, server)
}

fn ask(server: &Server, method: &str, path: &str, headers: &str) -> rig::Reply {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    rig::exchange(server.address, head.as_bytes())
}

#[test]
fn refusals_are_small_json_that_closes() {
    let (engine, server) = serve(1_000);
    let cases: &[(&str, &str, Refusal)] = &[
        ("/ace/getstream", "", Refusal::new(400, "bad_request")),
        ("/ace/getstream?id=", "", Refusal::new(400, "bad_request")),
        ("/ace/getstream?id=0123456789abcdef", "", Refusal::new(400, "bad_request")),
        ("/ace/getstream?id=%00%ff", "", Refusal::new(400, "bad_request")),
        ("/ace/getstream?infohash=zz", "", Refusal::new(400, "bad_request")),
        ("/ace/status?id=nothing", "", Refusal::new(400, "bad_request")),
        ("/api/v1/viewers?limit=0", "", Refusal::no_cors(400, "bad_request")),
        ("/api/v1/viewers?sort=shoe_size", "", Refusal::no_cors(400, "bad_request")),
        ("/api/v1/viewers?stream=x", "", Refusal::no_cors(400, "bad_request")),
        ("/api/v1/viewers?after=x", "", Refusal::no_cors(400, "bad_request")),
        ("/ace/getstream?id=HEX", "Content-Length: 5\r\n", Refusal::new(400, "bad_request")),
        ("/ace/getstream?id=HEX", "Content-Length: x\r\n", Refusal::new(400, "bad_request")),
        (
            "/ace/getstream?id=HEX",
            "Transfer-Encoding: chunked\r\n",
            Refusal::new(400, "bad_request"),
        ),
        ("/ace/getstream?id=HEX", "Host: y\r\n", Refusal::new(400, "bad_request")),
        ("/ace/getstream?id=HEX", "Upgrade: websocket\r\n", Refusal::new(400, "bad_request")),
        ("/metrics", "Content-Length: 5\r\n", Refusal::no_cors(400, "bad_request")),
        ("/api/v1/status", "Host: y\r\n", Refusal::no_cors(400, "bad_request")),
        ("/ace/getstream?id=HEX", "Bad Name: y\r\n", Refusal::new(400, "bad_request")),
        ("/ace/nowhere", "", Refusal::new(404, "not_found")),
        ("/ace/manifest.m3u8?id=HEX", "", Refusal::new(404, "not_found")),
        ("/ace/getstream?id=HEX&format=json", "", Refusal::new(404, "not_found")),
        ("/ace/status?id=HEX", "", Refusal::new(404, "not_found")),
        ("/ace/r/HEX/key", "", Refusal::new(404, "not_found")),
        ("/nowhere", "", Refusal::no_cors(404, "not_found")),
        ("/", "", Refusal::no_cors(404, "not_found")),
        ("/player?id=HEX", "", Refusal::no_cors(404, "not_found")),
        ("/acestream", "", Refusal::no_cors(404, "not_found")),
        ("/api/v1/", "", Refusal::no_cors(404, "not_found")),
        ("/api/v1/nowhere", "", Refusal::no_cors(404, "not_found")),
        ("/api/v1/streams/HEX", "", Refusal::no_cors(404, "not_found")),
        ("/api/v1/streams/x", "", Refusal::no_cors(404, "not_found")),
        ("/server/api?method=nonsense", "", Refusal::no_cors(404, "not_found")),
    ];
    for (path, headers, refusal) in cases {
        let path = path.replace("HEX", HEX);
        let what = format!("GET {path} {headers:?}");
        let reply = ask(&server, "GET", &path, headers);
        refusal.check(&what, &reply);
        // HEAD says the same, without the body.
        let head = ask(&server, "HEAD", &path, headers);
        assert_eq!((head.head, head.body.len()), (reply.head, 0), "{what}");
    }
    assert_eq!(engine.control().counters().getstreams, 0);
}

#[test]
fn wrong_methods_are_told_the_right_ones() {
    let (_engine, server) = serve(1_001);
    let path = Server::play(HEX);
    let cases = [
        ("POST", &*path, "GET, HEAD, OPTIONS", true),
        ("PUT", &*path, "GET, HEAD, OPTIONS", true),
        ("DELETE", &*path, "GET, HEAD, OPTIONS", true),
        ("PROPFIND", &*path, "GET, HEAD, OPTIONS", true),
        ("get", &*path, "GET, HEAD, OPTIONS", true),
        ("POST", "/ace/status", "GET, HEAD, OPTIONS", true),
        ("POST", "/ace/nowhere", "GET, HEAD, OPTIONS", true),
        ("POST", "/metrics", "GET, HEAD", false),
        ("OPTIONS", "/metrics", "GET, HEAD", false),
        ("PATCH", "/healthz", "GET, HEAD", false),
        ("POST", "/readyz", "GET, HEAD", false),
        ("POST", "/server/api?method=get_status", "GET, HEAD", false),
        ("POST", "/api/v1/status", "GET, HEAD", false),
        ("PUT", "/api/v1/streams", "GET, HEAD", false),
        ("GET", "/api/v1/viewers/1", "DELETE", false),
        ("GET", "/api/v1/engines/e0/drain", "POST", false),
        ("POST", "/api/v1/engines/e0/rest", "DELETE", false),
    ];
    for (method, path, allow, cors) in cases {
        let what = format!("{method} {path}");
        let reply = ask(&server, method, path, "");
        Refusal { status: 405, code: "method", cors }.check(&what, &reply);
        assert_eq!(reply.header("allow"), Some(allow), "{what}");
    }
    // A method with a body: it is taken away, the answer is the same.
    let body = format!("Content-Length: 40000\r\n\r\n{}", "x".repeat(40_000));
    let reply = rig::exchange(
        server.address,
        format!("POST {path} HTTP/1.1\r\nHost: x\r\n{body}").as_bytes(),
    );
    Refusal::new(405, "method").check("POST with a body", &reply);
}

#[test]
fn nonsense_and_too_much_are_refused() {
    let (_engine, server) = serve(1_002);
    let long = "x".repeat(9_000);
    let many: String = (0..70).map(|n| format!("X-{n}: y\r\n")).collect();
    let path = Server::play(HEX);
    let bad = Refusal::no_cors(400, "bad_request");
    let cases = [
        ("HELO example.org\r\n\r\n".to_owned(), bad),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03".to_owned(), bad),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), bad),
        ("GET relative HTTP/1.1\r\n\r\n".to_owned(), bad),
        ("GET /metrics HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), bad),
        ("GET ftp://x/ HTTP/1.1\r\n\r\n".to_owned(), bad),
        (format!("GET {path}&{long} HTTP/1.1\r\n\r\n"), Refusal::new(414, "too_long")),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), Refusal::no_cors(414, "too_long")),
        (format!("GET {path} HTTP/1.1\r\nX: {long}\r\n\r\n"), Refusal::new(431, "too_long")),
        (format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"), Refusal::no_cors(431, "too_long")),
        (format!("GET {path} HTTP/1.1\r\n{many}\r\n"), Refusal::new(431, "too_long")),
        // Not even a line end: nothing after 8 KiB is waited for.
        (long.clone(), Refusal::no_cors(414, "too_long")),
    ];
    for (request, refusal) in cases {
        let what = format!("{:?}", &request[..request.len().min(40)]);
        refusal.check(&what, &rig::exchange(server.address, request.as_bytes()));
    }
    // Just under the limit is served.
    let padding = "x".repeat(8_192 - 4 - "HEAD /healthz HTTP/1.1\r\nX: ".len());
    let head = format!("HEAD /healthz HTTP/1.1\r\nX: {padding}\r\n\r\n");
    assert_eq!(head.len(), 8_192);
    assert_eq!(rig::exchange(server.address, head.as_bytes()).status, 200);
}

/// A reply is not lost in a reset because its client said more than it should have: with its
/// head, while the reply was under way, or after it.
#[test]
fn what_stands_behind_a_head_costs_no_reply() {
    rig::steadily(what_stands_behind_a_head);
}

fn what_stands_behind_a_head() {
    let engine = rig::engine(rig::one_channel(1_003));
    engine.control().set(Knob::Offline, true);
    let server = Server::with(&[&engine]).set("PROXY_INIT_TIMEOUT", "1").start().ready();
    let more = vec![b'x'; 60_000];
    let waits = Server::play(&rig::infohash(1_003));
    let cases = [
        ("/ace/getstream?id=x", 400, "bad_request"),
        ("/ace/nowhere", 404, "not_found"),
        ("/ace/nowhere HTTP/9.9", 400, "bad_request"),
        // Refused a second later, by the part that sends to players.
        (&*waits, 504, "nothing_to_play"),
    ];
    for (path, status, code) in cases {
        let version = if path.contains(' ') { "" } else { " HTTP/1.1" };
        let head = format!("GET {path}{version}\r\nHost: x\r\n\r\n").into_bytes();
        let refusal = Refusal::new(status, code);

        let with_head: Vec<u8> = head.iter().chain(&more).copied().collect();
        refusal.check(&format!("{path}: in one go"), &rig::exchange(server.address, &with_head));

        // Piece by piece, so that some of it comes behind the server's last word.
        let mut socket = rig::connect(server.address);
        socket.set_nodelay(true).unwrap();
        socket.write_all(&head).unwrap();
        for piece in more.chunks(4_000) {
            socket.write_all(piece).expect("the server still listens");
            wait(Duration::from_millis(2));
        }
        refusal.check(&format!("{path}: in pieces"), &rig::whole_reply(&mut socket));
    }
    // A whole page is no different: what a pipelining client asks next is not answered.
    let twice = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3);
    let reply = rig::exchange(server.address, twice.as_bytes());
    assert_eq!((reply.status, reply.text().matches("HTTP/1.1").count()), (200, 0));
    let length = reply.header("content-length").unwrap().parse::<usize>().unwrap();
    assert_eq!(reply.body.len(), length);
}

/// A client that never ends is let go: nothing of it is kept.
#[test]
fn a_client_that_keeps_talking_is_cut_off() {
    let (_engine, server) = serve(1_004);
    let before = server.open_files();
    let mut sockets: Vec<TcpStream> = (0..5)
        .map(|_| {
            let mut socket = rig::connect(server.address);
            socket.write_all(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            socket
        })
        .collect();
    // Some say nothing more and do not close; one floods.
    let begun = rig::stopwatch();
    while sockets[0].write_all(&[b'x'; 16_384]).is_ok() {
        assert!(begun.elapsed() < rig::PATIENCE, "a flood is cut off");
    }
    eventually("the descriptors to be closed", || (server.open_files() <= before).then_some(()));
    for socket in &mut sockets[1..] {
        Refusal::no_cors(404, "not_found").check("kept open", &rig::whole_reply(socket));
    }
}

fn headers(head: &str) -> BTreeMap<String, String> {
    let lines = head.trim_end().lines().skip(1);
    let lines: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    let map: BTreeMap<String, String> =
        lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(map.len(), lines.len(), "no header twice: {head}");
    map
}

fn media_headers() -> BTreeMap<String, String> {
    let expected = [
        ("Content-Type", "video/mp2t"),
        ("Cache-Control", "no-store"),
        ("Access-Control-Allow-Origin", "*"),
        ("X-Accel-Buffering", "no"),
        ("Connection", "close"),
    ];
    expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[test]
fn a_player_gets_exactly_this_head() {
    let (engine, server) = serve(1_005);
    let path = Server::play(&rig::content_id(1_005));
    let url = server.url(&path);
    let requests = [
        ("plain", format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")),
        ("no Host", format!("GET {path} HTTP/1.1\r\n\r\n")),
        ("HTTP/1.0", format!("GET {path} HTTP/1.0\r\n\r\n")),
        ("1.0 keep-alive", format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")),
        ("keep-alive", format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n")),
        ("bare LF", format!("GET {path} HTTP/1.1\nhost: x\n\n")),
        ("absolute", format!("GET {url} HTTP/1.1\r\nHost: other\r\n\r\n")),
        ("Range 0-", format!("GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-\r\n\r\n")),
        ("Range 5-9", format!("GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes=5-9\r\n\r\n")),
        ("Range -1", format!("GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes=-1\r\n\r\n")),
        ("bad Range", format!("GET {path} HTTP/1.1\r\nHost: x\r\nRange: lines=x\r\n\r\n")),
        (
            "ffmpeg's",
            format!(
                "GET {path} HTTP/1.1\r\nUser-Agent: Lavf/61.1.100\r\nAccept: */*\r\n\
                 Range: bytes=0-\r\nConnection: close\r\nHost: x\r\nIcy-MetaData: 1\r\n\r\n"
            ),
        ),
    ];
    let mut ids = Vec::new();
    // Until the next one plays, so that the stream is one all the time.
    let mut playing = None;
    for (what, request) in requests {
        let mut player = Player::send(server.address, request.as_bytes()).begin();
        assert!(player.head.starts_with("HTTP/1.1 200 OK\r\n"), "{what}: {}", player.head);
        let mut seen = headers(&player.head);
        ids.extend(seen.remove("X-Ringcast-Viewer"));
        assert_eq!(seen, media_headers(), "{what}");
        let report = player.play(SECOND);
        assert!(report.is_unbroken() && report.starts_with_pat_pmt_rap, "{what}: {report:?}");
        playing = Some(player);
    }
    drop(playing);
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((count, ids.len()), (12, 12), "every connection has an id of its own");
    assert_eq!(engine.control().counters().getstreams, 1);

    // HEAD: the same without an id. OPTIONS: what a browser asks before.
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let request = format!("HEAD {path} {version}\r\n\r\n");
        let head = rig::exchange(server.address, request.as_bytes());
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(headers(&head.head), media_headers());
    }
    let preflight = ask(
        &server,
        "OPTIONS",
        &path,
        "Origin: http://page\r\nAccess-Control-Request-Method: GET\r\n\
         Access-Control-Request-Headers: range\r\n",
    );
    assert_eq!((preflight.status, preflight.body.len()), (204, 0));
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, HEAD, OPTIONS"));
    assert!(preflight.header("access-control-allow-headers").is_some(), "{}", preflight.head);
    assert!(preflight.header("access-control-max-age").is_some());
    assert!(preflight.header("content-length").is_none(), "204 has none: {}", preflight.head);
}

#[test]
fn ids_are_read_however_they_are_written() {
    let config = rig::one_channel(1_006)
        .channel(Channel::signed(&rig::infohash(1_007)).bitrate_bps(2_000_000));
    let engine = rig::engine(config);
    let server = Server::with(&[&engine])
        .set("PROXY_GRACE_PERIOD", "20")
        .set("RINGCAST_ALLOW_URL", "http://allowed.example/")
        .start()
        .ready();
    let (content, infohash) = (rig::content_id(1_006), rig::infohash(1_006));
    let other = rig::infohash(1_007);
    let upper = content.to_uppercase();
    let queries = [
        format!("id={content}"),
        format!("ID={content}"),
        format!("id={upper}"),
        format!("id=%20{content}%20"),
        format!("id=+{content}"),
        format!("id=acestream://{content}"),
        format!("id=ACESTREAM%3A%2F%2F{content}/"),
        format!("content_id={content}"),
        format!("id={infohash}"),
        format!("infohash={infohash}"),
        format!("id=nonsense&id={content}"),
        format!("content_id=&id=&infohash={infohash}"),
        format!("infohash={other}&content_id={content}"),
        format!("url=http://allowed.example/x&infohash={infohash}"),
        format!("magnet=magnet:?xt=urn:btih:{other}&id={content}"),
        format!("id={content}&pid=abc&file_indexes=0&_idx=3&sid=9&utm=x&&=&a"),
        format!("id={content}&seekback=0&delay=-5"),
        format!("id={content}#t=10"),
    ];
    for query in &queries {
        for path in ["/ace/getstream", "/ace/getstream/"] {
            let mut player = Player::open(server.address, &format!("{path}?{query}"));
            assert_eq!(player.status, 200, "{query}: {}", player.head);
            let report = player.play(20_000);
            assert!(report.starts_with_pat_pmt_rap, "{query}: {report:?}");
        }
    }
    let counters = engine.control().counters();
    assert_eq!(counters.sessions_opened, 1, "all of them mean the first channel");
    let seen = server.api("/api/v1/streams");
    assert_eq!((&seen["total"], &seen["streams"][0]["id"]), (&1.into(), &infohash.into()));
}

/// 408 to a part of a head that is not complete in 5 s, however it drips; to nothing, nothing.
#[test]
fn a_head_has_five_seconds() {
    rig::steadily(heads_in_part);
}

fn heads_in_part() {
    let (_engine, server) = serve(1_008);
    let before = server.open_files();
    let begun = rig::stopwatch();
    let silent: Vec<TcpStream> = (0..3).map(|_| rig::connect(server.address)).collect();
    let mut partial = rig::connect(server.address);
    partial.write_all(b"GET /ace/getstream?id=").unwrap();
    let mut dripping = rig::connect(server.address);
    let drip = std::thread::spawn(move || {
        for byte in b"GET /ace/getstream?id=0123456789abcdef HTTP/1.1\r\n" {
            // Who was answered has nothing more to say.
            dripping.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
            if dripping.write_all(&[*byte]).is_err() || dripping.peek(&mut [0]).is_ok() {
                break;
            }
        }
        dripping.set_read_timeout(Some(rig::PATIENCE)).unwrap();
        rig::whole_reply(&mut dripping)
    });
    let refusal = Refusal::new(408, "timeout");
    refusal.check("a part", &rig::whole_reply(&mut partial));
    let waited = begun.elapsed();
    refusal.check("drop by drop", &drip.join().unwrap());
    for mut socket in silent {
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).expect("a silent connection ends in order");
        assert!(bytes.is_empty(), "{bytes:?}");
    }
    assert!(waited >= Duration::from_millis(4_900), "{waited:?}");
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    eventually("the descriptors to be closed", || (server.open_files() <= before).then_some(()));
    // Half a head and then the end is nobody's request.
    let mut half = rig::connect(server.address);
    half.write_all(b"GET / HT").unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    half.read_to_end(&mut bytes).unwrap();
    assert!(bytes.is_empty());
}

#[test]
fn both_kinds_of_addresses_are_served() {
    let engine = rig::engine(rig::one_channel(1_009));
    let server = Server::with(&[&engine]).set("RINGCAST_LISTEN", "[::]:0 [::1]:0 127.0.0.1:0");
    let server = server.start();
    let listening = eventually("three addresses", || {
        let listening = server.addresses();
        (listening.len() == 3).then_some(listening)
    });
    let at = |ip: [u16; 8], port| SocketAddr::from((ip, port));
    let dual = listening[0].port();
    let v6 = at([0, 0, 0, 0, 0, 0, 0, 1], dual);
    let v4 = SocketAddr::from(([127, 0, 0, 1], dual));
    eventually("an engine that answers", || (rig::get(v4, "/readyz").status == 200).then_some(()));
    let path = Server::play(&rig::content_id(1_009));
    let mut players: Vec<Player> =
        [v6, v4, listening[1], listening[2]].map(|to| Player::open(to, &path)).into();
    rig::play_together(&mut players, 4 * SECOND);
    for player in &players {
        assert!(player.report().is_unbroken(), "{:?}", player.report());
    }
    assert_eq!(engine.control().counters().getstreams, 1);
    let reply = rig::get(v4, "/api/v1/viewers?sort=connected_at");
    let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let rows = json["viewers"].as_array().unwrap().iter();
    let mut addresses: Vec<_> = rows.map(|row| row["address"].as_str().unwrap()).collect();
    // Two may have connected within one millisecond.
    addresses.sort_unstable();
    assert_eq!(addresses, ["127.0.0.1", "127.0.0.1", "::1", "::1"], "never mapped");
    // The name in the Host header may be an address too.
    let head = format!("HEAD {path} HTTP/1.1\r\nHost: [::1]:{dual}\r\n\r\n");
    assert_eq!(rig::exchange(v6, head.as_bytes()).status, 200);
}

/// While it drains nobody new is let in, and who asks is told.
#[test]
fn a_server_that_drains_says_so() {
    rig::steadily(a_server_that_drains);
}

fn a_server_that_drains() {
    let config = Config::default()
        .knob(Knob::BurstBytes, 1_000_000)
        .channel(Channel::signed(&rig::infohash(1_010)).bitrate_bps(2_000_000));
    let engine = rig::engine(config);
    // Its stop is never answered: the drain lasts for the three seconds that a stop has.
    engine.control().set(Knob::HangStop, true);
    let mut server = Server::with(&[&engine]).start().ready();
    let path = Server::play(&rig::infohash(1_010));
    let mut player = Player::open(server.address, &path);
    player.play(SECOND);
    let mut early: Vec<TcpStream> = (0..4).map(|_| rig::connect(server.address)).collect();
    // The server knows them when it has answered one that came later on each shard.
    let mut asked = Vec::new();
    for _ in 0..32 {
        asked.push(rig::get(server.address, "/healthz").status);
    }
    server.signal(rustix::process::Signal::TERM);
    server.await_line(&["viewer end", "reason=drain"]);
    for socket in &mut early {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        socket.write_all(head.as_bytes()).expect("still open");
    }
    assert!(player.play_to_the_end().is_unbroken());
    for socket in &mut early {
        let message =
            Refusal::new(503, "shutting_down").check("draining", &rig::whole_reply(socket));
        assert!(message.contains("shutting down"), "{message}");
    }
    eventually("nobody listens", || TcpStream::connect(server.address).err());
    assert!(server.wait().success());
    assert_eq!(engine.control().counters().stops, 1);
}

#[expect(clippy::disallowed_methods, reason = "a client that sends slowly")]
fn wait(span: Duration) {
    std::thread::sleep(span);
}
