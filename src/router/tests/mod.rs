//! Requests as players, operators and strangers write them, and what is decided.

mod access;
mod ids;

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
