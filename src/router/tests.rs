//! Requests as players, operators and strangers write them, and what is decided.

use proptest::prelude::*;

use super::*;
use crate::base::ids::Target;
use crate::base::ids::ViewerId;
use crate::http::addr::AllowList;
use crate::http::addr::CidrList;
use crate::http::head::Parse;
use crate::http::head::parse_request;
use crate::http::token::Tokens;

const HEX: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER: &str = "ffffffffffffffffffffffffffffffffffffffff";

fn hash(text: &str) -> Infohash {
    Infohash::parse(text.as_bytes()).unwrap()
}

fn access() -> Access {
    Access::default()
}

fn ask_from(peer: &str, head: &str, access: &Access) -> Result<Routed, Refusal> {
    let bytes = format!("{head}\r\n\r\n");
    let Ok(Parse::Complete { head, .. }) = parse_request(bytes.as_bytes()) else {
        panic!("not a request: {bytes}")
    };
    route(&head, access, peer.parse().unwrap())
}

/// `GET target` from loopback, with more header lines behind it.
fn ask(line: &str, access: &Access) -> Result<Routed, Refusal> {
    let (line, headers) = line.split_once("\r\n").unwrap_or((line, "X: y"));
    ask_from("127.0.0.1", &format!("{line} HTTP/1.1\r\nHost: localhost:8878\r\n{headers}"), access)
}

fn get(target: &str, access: &Access) -> Result<Route, (u16, String)> {
    decided(ask(&format!("GET {target}"), access))
}

fn decided(result: Result<Routed, Refusal>) -> Result<Route, (u16, String)> {
    match result {
        Ok(routed) => Ok(routed.route),
        Err(refusal) => Err((refusal.code.status(), refusal.message)),
    }
}

fn status(result: Result<Routed, Refusal>) -> u16 {
    result.map_or_else(|refusal| refusal.code.status(), |_| 200)
}

fn target(query: &str, access: &Access) -> Result<Target, u16> {
    match get(&format!("/ace/getstream?{query}"), access) {
        Ok(Route::Play(play)) => Ok(play.target),
        Ok(other) => panic!("{query}: {other:?}"),
        Err((status, _)) => Err(status),
    }
}

#[test]
fn ids_are_read_however_they_were_pasted() {
    let upper = HEX.to_uppercase();
    for value in [
        HEX.to_owned(),
        upper.clone(),
        format!("%20{HEX}+"),
        format!("acestream://{HEX}"),
        format!("AceStream%3A%2F%2F{upper}%2F"),
        format!("%09acestream://{HEX}%0a"),
    ] {
        for (name, expected) in [
            ("id", Target::Id(hash(HEX))),
            ("content_id", Target::Id(hash(HEX))),
            ("ID", Target::Id(hash(HEX))),
            ("infohash", Target::Infohash(hash(HEX))),
        ] {
            assert_eq!(
                target(&format!("{name}={value}"), &access()),
                Ok(expected),
                "{name}={value}"
            );
        }
    }
    for path in ["/ace/getstream/", "/ace/getstream//"] {
        let routed = get(&format!("{path}?x=1&id={HEX}&_idx=0&file_indexes=0"), &access());
        assert!(matches!(routed, Ok(Route::Play(_))), "{path}");
    }
}

#[test]
fn the_first_of_content_id_infohash_url_magnet_counts() {
    let mut access = access();
    access.allow_url = vec!["http://lists/".to_owned()];
    access.allow_magnet = true;
    let magnet = "magnet%3A%3Fxt%3Durn%3Abtih%3Ax";
    let id = Ok(Target::Id(hash(HEX)));
    let all = format!("magnet={magnet}&url=http://lists/a&infohash={OTHER}&id={HEX}");
    let table = [
        (all.clone(), id.clone()),
        (format!("id={OTHER}&content_id={HEX}"), id.clone()),
        (format!("content_id=&id={HEX}"), id.clone()),
        (format!("id=nonsense&id={HEX}"), id),
        (all.replace("&id=", "&no="), Ok(Target::Infohash(hash(OTHER)))),
        (format!("id=short&infohash={OTHER}"), Ok(Target::Infohash(hash(OTHER)))),
        (
            format!("infohash=&url=http%3A%2F%2Flists%2Fa%3Fb&magnet={magnet}"),
            Ok(Target::Url("http://lists/a?b".to_owned())),
        ),
        (format!("magnet={magnet}"), Ok(Target::Magnet("magnet:?xt=urn:btih:x".to_owned()))),
        ("magnet=http://x".to_owned(), Err(400)),
        ("id=".to_owned(), Err(400)),
        (format!("id={HEX}0"), Err(400)),
        ("id=%F0%9F%98%80acestream://".to_owned(), Err(400)),
        ("url=".to_owned(), Err(400)),
        ("pid=1".to_owned(), Err(400)),
        (String::new(), Err(400)),
    ];
    for (query, expected) in table {
        assert_eq!(target(&query, &access), expected, "{query}");
    }
}

#[test]
fn urls_are_allowed_by_their_parts() {
    let mut access = access();
    assert_eq!(target("url=http://lists/a", &access), Err(403));
    assert_eq!(target("magnet=magnet:?x", &access), Err(403));
    access.allow_url = ["http://lists.example/tv/", "https://any.example", "file:///", "ftp://f/"]
        .map(str::to_owned)
        .to_vec();
    for good in [
        "http://lists.example/tv/a.torrent",
        "HTTP://Lists.Example/tv/",
        "https://any.example",
        "https://any.example/x?y=../z",
    ] {
        assert!(target(&format!("url={good}"), &access).is_ok(), "{good}");
    }
    for bad in [
        "http://lists.example/",
        "http://lists.example/other/",
        "http://lists.example/tv/../other/",
        "http://lists.example/tv/%252e%252e/x/..",
        "http://lists.example/tv/%25/..%2fx",
        "http://lists.example.evil.com/tv/",
        "http://lists.example@evil.com/tv/",
        "http://user@lists.example/tv/",
        "http://lists.example:81/tv/",
        "https://lists.example/tv/",
        "https://any.example.evil.com/",
        "https://any.example@evil.com/",
        "file:///etc/passwd",
        "ftp://f/x",
        "lists.example/tv/",
    ] {
        assert_eq!(target(&format!("url={bad}"), &access), Err(403), "{bad}");
    }
    assert_eq!(target("url=http://lists.example/tv/%0d%0aX", &access), Err(400));
    assert_eq!(target("url=http://lists.example/tv/%5c..", &access), Err(400));
}

#[test]
fn hints_are_read_and_nonsense_is_passed_over() {
    let play = |query: &str| match get(&format!("/ace/getstream?id={HEX}&{query}"), &access()) {
        Ok(Route::Play(play)) => (play.seekback_seconds, play.pid),
        other => panic!("{other:?}"),
    };
    assert_eq!(play("seekback=30&pid=abc"), (Some(30), Some("abc".to_owned())));
    assert_eq!(play("delay=1.9"), (Some(1), None));
    assert_eq!(play("seekback=x&delay=5"), (Some(5), None));
    assert_eq!(play("seekback=-5"), (None, None));
    assert_eq!(play("seekback=1e300"), (Some(86_400), None));
    assert_eq!(play("seekback=NaN"), (None, None));
    assert_eq!(play(&format!("pid={}", "x".repeat(65))), (None, None));
    assert_eq!(play("pid=a%0ab"), (None, None));
}

#[test]
fn every_route_and_its_methods() {
    let routes = [
        ("/webui/api/service?method=get_version&params=x", Route::GetVersion),
        ("/server/api?api_version=3&method=get_status", Route::GetStatus),
        ("/ace/status", Route::AceStatus { id: None }),
        ("/ace/status?id=", Route::AceStatus { id: None }),
        ("/metrics", Route::Metrics),
        ("/healthz", Route::Healthz),
        ("/readyz/", Route::Readyz),
        ("/api/v1/status", Route::Api(Api::Status)),
        ("/api/v1/streams/", Route::Api(Api::Streams)),
        ("/api/v1/engines", Route::Api(Api::Engines)),
        ("/api/v1/offline", Route::Api(Api::Offline)),
    ];
    for (path, route) in routes {
        assert_eq!(get(path, &access()), Ok(route.clone()), "{path}");
        let head = ask(&format!("HEAD {path}"), &access()).unwrap();
        assert!(head.route == route && !head.with_body, "{path}");
        let posted = ask(&format!("POST {path}"), &access());
        let may_post = path == "/api/v1/engines";
        assert_eq!(posted.is_ok(), may_post, "{path}");
        if let Err(refusal) = posted {
            assert!(refusal.code.status() == 405 && refusal.allow.is_some(), "{path}");
        }
    }
    let id = hash(HEX);
    assert_eq!(
        get(&format!("/ace/status?id={HEX}"), &access()),
        Ok(Route::AceStatus { id: Some(id) })
    );
    assert_eq!(get(&format!("/api/v1/streams/{HEX}"), &access()), Ok(Route::Api(Api::Stream(id))));
    for (path, status) in [
        ("/", 404),
        ("/nothing", 404),
        ("/ace", 404),
        ("/ace/manifest.m3u8?id=x", 404),
        ("/ace/r/a/b", 404),
        ("/playlist.m3u", 404),
        ("/api/v1", 404),
        ("/api/v1/events", 404),
        ("/api/v1/streams/short", 404),
        ("/api/v1/streams//", 200),
        ("/api/v1/streams/a/b/c", 404),
        ("/api/v1/viewers/1f", 405),
        ("/ace/status?id=short", 400),
        ("/webui/api/service?method=other", 404),
        ("/webui/api/service", 404),
        ("/server/api?method=get_media_files", 404),
        (&format!("/ace/getstream?id={HEX}&format=JSON"), 404),
        (&format!("/ace/getstream?id={HEX}&format=redirect"), 200),
    ] {
        assert_eq!(get(path, &access()).map_or_else(|no| no.0, |_| 200), status, "{path}");
    }
}

#[test]
fn head_and_options_of_a_stream_start_nothing() {
    let head = ask(&format!("HEAD /ace/getstream?id={HEX}"), &access()).unwrap();
    assert!(matches!(head.route, Route::PlayHead(_)));
    assert_eq!((head.with_body, head.cors), (false, true));
    assert_eq!(status(ask("HEAD /ace/getstream?id=short", &access())), 400);
    let refusal = ask("HEAD /ace/getstream?id=short", &access()).unwrap_err();
    assert!(!refusal.with_body);
    let preflight = ask("OPTIONS /ace/getstream", &access()).unwrap();
    assert_eq!(preflight.route, Route::Preflight { allow: "GET, HEAD, OPTIONS" });
    assert_eq!(status(ask("OPTIONS /api/v1/status", &access())), 405);
    let refusal = ask(&format!("PUT /ace/getstream?id={HEX}"), &access()).unwrap_err();
    let mut out = Vec::new();
    refusal.write(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("Allow: GET, HEAD, OPTIONS\r\n"));
    assert!(text.contains("Access-Control-Allow-Origin: *"), "CORS on /ace/ errors too");
    let mut out = Vec::new();
    ask("HEAD /api/v1/viewers/1f", &access()).unwrap_err().write(&mut out);
    assert!(out.ends_with(b"\r\n\r\n"), "no body for HEAD");
}

#[test]
fn the_address_list_holds_for_everything_but_this_hosts_health_checks() {
    let from = |peer: &str, path: &str, access: &Access| {
        status(ask_from(peer, &format!("GET {path} HTTP/1.1\r\nHost: h"), access))
    };
    let play = format!("/ace/getstream?id={HEX}");
    for path in [&play, "/api/v1/status", "/metrics", "/healthz", "/ace/status"] {
        assert_eq!(from("10.1.2.3", path, &access()), 200, "{path}");
        assert_eq!(from("::ffff:10.1.2.3", path, &access()), 200, "{path}");
        assert_eq!(from("203.0.113.9", path, &access()), 403, "{path}");
        assert_eq!(from("203.0.113.9", "/nothing", &access()), 403, "before the path");
    }
    let mut narrow = access();
    narrow.allow = "192.0.2.0/24".parse().unwrap();
    assert_eq!(from("127.0.0.1", "/healthz", &narrow), 200);
    assert_eq!(from("::1", "/readyz", &narrow), 200);
    assert_eq!(from("127.0.0.1", "/metrics", &narrow), 403);
    assert_eq!(from("10.0.0.1", "/healthz", &narrow), 403);
    let refusal = ask_from("203.0.113.9", "GET / HTTP/1.1\r\nHost: h", &access()).unwrap_err();
    assert!(refusal.message.contains("RINGCAST_ALLOW"));
    assert_eq!(refusal.client.address.to_string(), "203.0.113.9");
}

#[test]
fn behind_a_trusted_proxy_the_viewer_is_who_it_names() {
    let mut access = access();
    let head = format!(
        "GET /ace/getstream?id={HEX} HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9, 10.0.0.7"
    );
    let direct = ask_from("10.0.0.1", &head, &access).unwrap();
    assert_eq!(
        direct.client.address.to_string(),
        "10.0.0.1",
        "an untrusted peer's word is nothing"
    );
    access.trusted_proxies = CidrList::parse("10.0.0.0/30").unwrap();
    let proxied = ask_from("::ffff:10.0.0.1", &head, &access).unwrap();
    assert_eq!(proxied.client.address.to_string(), "10.0.0.7");
    access.trusted_proxies = CidrList::parse("10.0.0.0/24").unwrap();
    assert_eq!(status(ask_from("10.0.0.1", &head, &access)), 403);
}

#[test]
fn a_play_token_opens_the_players_routes_and_gives_a_name() {
    let mut access = access();
    access.play_tokens = Tokens::parse("anna:secret1,secret2").unwrap();
    let play = format!("GET /ace/getstream?id={HEX}");
    for line in [
        format!("{play}&token=secret1"),
        format!("{play}\r\nAuthorization: Bearer secret1"),
        format!("{play}\r\nCookie: a=b; ringcast_token=secret1"),
    ] {
        let routed = ask(&line, &access).unwrap();
        assert_eq!(routed.token_name.as_deref(), Some("anna"), "{line}");
    }
    assert_eq!(ask(&format!("{play}&token=secret2"), &access).unwrap().token_name, None);
    let missing = ask(&play, &access).unwrap_err();
    let wrong = ask(&format!("{play}&token=secret3"), &access).unwrap_err();
    assert_eq!(missing, wrong, "wrong and missing are told the same");
    assert_eq!(missing.code.status(), 401);
    assert!(!format!("{wrong:?} {access:?}").contains("secret"));
    assert_eq!(status(ask("GET /ace/getstream?id=bad", &access)), 401, "token before parameters");
    for (line, expected) in [
        ("GET /ace/status", 401),
        ("GET /ace/status?token=secret2", 200),
        (&format!("HEAD /ace/getstream?id={HEX}"), 401),
        ("OPTIONS /ace/getstream", 200),
        ("GET /metrics", 200),
        ("GET /healthz", 200),
        ("GET /readyz", 200),
        ("GET /webui/api/service?method=get_version", 200),
        ("GET /server/api?method=get_status", 200),
        ("GET /api/v1/status", 200),
    ] {
        assert_eq!(status(ask(line, &access)), expected, "{line}");
    }
}

#[test]
fn the_api_is_read_with_its_token_by_header_or_cookie() {
    let mut access = access();
    access.allow = AllowList::Any;
    let from_outside = |access: &Access| {
        status(ask_from("203.0.113.9", "GET /api/v1/viewers HTTP/1.1\r\nHost: h", access))
    };
    assert_eq!(from_outside(&access), 403, "viewers' addresses are not for everybody");
    access.api_tokens = Tokens::parse("secret").unwrap();
    access.play_tokens = Tokens::parse("play").unwrap();
    assert_eq!(from_outside(&access), 401);
    for (more, expected) in [
        ("", 401),
        ("?token=secret", 401),
        ("\r\nAuthorization: Bearer secret", 200),
        ("\r\nAuthorization: bearer  secret", 200),
        ("\r\nAuthorization: Basic secret", 401),
        ("\r\nAuthorization: Bearer play", 401),
        ("\r\nCookie: x=y; ringcast_api=secret", 200),
        ("\r\nCookie: ringcast_api=no; ringcast_api=secret", 200),
        ("\r\nCookie: ringcast_token=secret", 200),
    ] {
        assert_eq!(status(ask(&format!("GET /api/v1/status{more}"), &access)), expected, "{more}");
        let stream = format!("GET /api/v1/streams/{HEX}{more}");
        assert_eq!(status(ask(&stream, &access)), expected, "{more}");
    }
}

#[test]
fn changes_are_taken_from_this_host_or_with_the_token() {
    let write = format!("DELETE /api/v1/streams/{HEX}");
    let from = |peer: &str, headers: &str, access: &Access| {
        status(ask_from(peer, &format!("{write} HTTP/1.1\r\n{headers}"), access))
    };
    let open = access();
    assert_eq!(from("127.0.0.1", "Host: localhost:8878", &open), 200);
    assert_eq!(from("::1", "Host: [::1]:8878", &open), 200);
    assert_eq!(from("::ffff:127.0.0.1", "Host: 127.0.0.1", &open), 200);
    assert_eq!(from("10.0.0.1", "Host: localhost", &open), 403);
    assert_eq!(from("127.0.0.1", "Host: rebound.example", &open), 403);
    assert_eq!(from("127.0.0.1", "Host: localhost\r\nX-Forwarded-For: 1.2.3.4", &open), 403);
    assert_eq!(from("127.0.0.1", "Host: localhost\r\nOrigin: http://localhost", &open), 200);
    assert_eq!(from("127.0.0.1", "Host: localhost\r\nOrigin: http://evil.example", &open), 403);
    assert_eq!(from("127.0.0.1", "Host: localhost\r\nOrigin: null", &open), 403);
    let mut proxied = access();
    proxied.trusted_proxies = CidrList::parse("127.0.0.1").unwrap();
    assert_eq!(from("127.0.0.1", "Host: localhost", &proxied), 403, "a proxy stands for others");

    let mut locked = access();
    locked.api_tokens = Tokens::parse("secret").unwrap();
    let token = "Authorization: Bearer secret";
    assert_eq!(from("127.0.0.1", "Host: localhost", &locked), 401);
    assert_eq!(from("10.0.0.1", &format!("Host: h\r\n{token}"), &locked), 200);
    assert_eq!(from("10.0.0.1", "Host: h\r\nCookie: ringcast_api=secret", &locked), 401);
    let origin = |origin: &str| format!("Host: h:1\r\nOrigin: {origin}\r\n{token}");
    assert_eq!(from("10.0.0.1", &origin("http://h:1"), &locked), 200);
    assert_eq!(from("10.0.0.1", &origin("http://h:2"), &locked), 403);

    for (line, served) in [
        ("POST /api/v1/engines", 200),
        ("POST /api/v1/engines/a/drain", 200),
        ("DELETE /api/v1/engines/a", 200),
        ("DELETE /api/v1/viewers/1f?block=60", 200),
        ("DELETE /api/v1/viewers/x", 404),
        ("DELETE /api/v1/viewers/1f?block=86401", 400),
        ("DELETE /api/v1/streams/1f", 404),
        ("POST /api/v1/engines/a/drain?draining=perhaps", 400),
        (&format!("POST /api/v1/streams/{HEX}/warm?seconds=5"), 200),
        (&format!("POST /api/v1/streams/{HEX}/warm?seconds=0"), 400),
        ("POST /api/v1/streams/1f/warm", 400),
        (&format!("POST /api/v1/streams/{HEX}/move"), 200),
        (&format!("DELETE /api/v1/offline/{HEX}"), 200),
    ] {
        assert_eq!(status(ask(line, &locked)), 401, "{line}");
        assert_eq!(status(ask(&format!("{line}\r\n{token}"), &locked)), served, "{line}");
    }
}

#[test]
fn what_a_change_means() {
    let change = |line: &str| match ask(line, &access()) {
        Ok(Routed { route: Route::Api(Api::Change(change)), .. }) => change,
        other => panic!("{line}: {other:?}"),
    };
    let id = hash(HEX);
    assert_eq!(change(&format!("DELETE /api/v1/streams/{HEX}")), Change::EndStream(id));
    assert_eq!(change(&format!("DELETE /api/v1/offline/{HEX}")), Change::ClearOffline(id));
    let (viewer, block) = (ViewerId(255), std::time::Duration::from_secs(60));
    let kick = Change::EndViewer { viewer, block };
    assert_eq!(change("DELETE /api/v1/viewers/00000000000000ff?block=60"), kick);
    let engine = "[::1]:6878".to_owned();
    let removed = change("DELETE /api/v1/engines/%5B%3A%3A1%5D%3A6878");
    assert_eq!(removed, Change::RemoveEngine(engine.clone()));
    for (query, draining) in [("", true), ("?draining=false", false), ("?draining=1", true)] {
        let drain = change(&format!("POST /api/v1/engines/[::1]:6878/drain{query}"));
        assert_eq!(drain, Change::DrainEngine { engine: engine.clone(), draining });
    }
    assert!(change("POST /api/v1/engines").takes_body());
}

#[test]
fn a_session_is_opened_with_the_token_in_a_header_and_shows_it_to_nobody() {
    let mut locked = access();
    locked.api_tokens = Tokens::parse("ops:se+cret/=ä").unwrap();
    let line = "POST /api/v1/session";
    let shown = "Authorization: Bearer se+cret/=ä";
    assert_eq!(status(ask(line, &access())), 404, "without a token there is nothing to open");
    assert_eq!(status(ask(line, &locked)), 401);
    assert_eq!(status(ask(&format!("{line}\r\nCookie: ringcast_api=se+cret/=ä"), &locked)), 401);
    let foreign = format!("{line}\r\n{shown}\r\nOrigin: http://evil.example");
    assert_eq!(status(ask(&foreign, &locked)), 403);
    let routed = ask(&format!("{line}\r\n{shown}"), &locked).unwrap();
    assert!(!format!("{routed:?}").contains("se+cret"), "{routed:?}");
    let Route::Api(Api::LogIn(cookie)) = routed.route else { panic!("{:?}", routed.route) };
    let header = cookie.header();
    assert!(header.contains("; HttpOnly; SameSite=Strict"), "{header}");
    let sent = header.split(';').next().unwrap();
    assert_eq!(status(ask(&format!("GET /api/v1/status\r\nCookie: {sent}"), &locked)), 200);
    // It opens no change: another tab's page must not be able to ride on it.
    let change = format!("DELETE /api/v1/streams/{HEX}\r\nCookie: {sent}");
    assert_eq!(status(ask(&change, &locked)), 401);
    assert_eq!(status(ask("DELETE /api/v1/session", &locked)), 200);
}

#[test]
fn a_page_of_viewers() {
    let viewers = |query: &str| match get(&format!("/api/v1/viewers?{query}"), &access()) {
        Ok(Route::Api(Api::Viewers(query))) => Ok(query),
        Ok(other) => panic!("{other:?}"),
        Err((status, _)) => Err(status),
    };
    let plain = ViewersQuery {
        stream: None,
        sort: ViewerSort::Id,
        descending: false,
        limit: 500,
        after: None,
    };
    assert_eq!(viewers(""), Ok(plain.clone()));
    assert_eq!(viewers("stream=&after=&x=1"), Ok(plain));
    assert_eq!(
        viewers(&format!("stream={HEX}&sort=-bytes_sent&limit=2&after=ff")),
        Ok(ViewersQuery {
            stream: Some(hash(HEX)),
            sort: ViewerSort::BytesSent,
            descending: true,
            limit: 2,
            after: Some(ViewerId(255)),
        })
    );
    for bad in ["stream=x", "sort=name", "limit=0", "limit=5001", "limit=x", "after=xyz"] {
        assert_eq!(viewers(bad), Err(400), "{bad}");
    }
}

#[test]
fn labels_are_few() {
    let refusal = ask("GET /some/path/of/a/scanner", &access()).unwrap_err();
    assert_eq!(refusal.label, "other");
    assert_eq!(ask("GET /ace/getstream", &access()).unwrap_err().label, "getstream");
    assert_eq!(ask("GET /healthz", &access()).unwrap().route.label(), "healthz");
}

proptest! {
    #[test]
    fn any_request_is_decided(
        method in "(GET|HEAD|OPTIONS|POST|DELETE|PUT)",
        path in "/(ace/getstream|ace/status|api/v1/[a-z/{}0-9]{0,20}|server/api|[!-~&&[^ #?]]{0,20})",
        query in "([!-~&&[^# ]]{0,60}|(id|infohash|url|magnet|seekback|pid|sort|after|limit)=[!-~&&[^# ]]{0,50})",
        headers in "(X-Forwarded-For|Origin|Cookie|Authorization): [ -~]{0,40}",
        locked in any::<bool>(),
    ) {
        let mut access = access();
        access.allow = AllowList::Any;
        access.allow_magnet = true;
        access.allow_url = vec!["http://".to_owned()];
        if locked {
            access.play_tokens = Tokens::parse("a:b").unwrap();
            access.api_tokens = Tokens::parse("c").unwrap();
        }
        let bytes = format!("{method} {path}?{query} HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\n");
        if let Ok(Parse::Complete { head, .. }) = parse_request(bytes.as_bytes()) {
            match route(&head, &access, "203.0.113.9".parse().unwrap()) {
                Ok(routed) => prop_assert!(!locked || !matches!(routed.route, Route::Play(_)) || bytes.contains('b')),
                Err(refusal) => {
                    let mut out = Vec::new();
                    refusal.write(&mut out);
                    prop_assert!(out.starts_with(b"HTTP/1.1 4"));
                }
            }
        }
    }

    #[test]
    fn any_bytes_that_are_a_request_are_decided(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut request = b"GET /ace/getstream?".to_vec();
        request.extend(bytes);
        request.extend(b" HTTP/1.1\r\nHost: h\r\n\r\n");
        if let Ok(Parse::Complete { head, .. }) = parse_request(&request) {
            let _ = route(&head, &access(), "127.0.0.1".parse().unwrap());
        }
    }
}
