//! Heads: what players and engines send, what nobody should, and that nothing panics.

use proptest::prelude::*;

use crate::http::head::*;
use crate::http::render::ErrorCode;

fn request(text: &str) -> Result<Request<'_>, BadRequest> {
    match parse_request(text.as_bytes())? {
        Parse::Complete { head, consumed } => {
            assert_eq!(consumed, text.len());
            Ok(head)
        }
        Parse::Partial => panic!("partial: {text:?}"),
    }
}

fn response(text: &str) -> Result<Response<'_>, BadResponse> {
    match parse_response(text.as_bytes())? {
        Parse::Complete { head, .. } => Ok(head),
        Parse::Partial => panic!("partial: {text:?}"),
    }
}

#[test]
fn a_player_asks() {
    let text = "GET /ace/getstream?id=ABC&pid=1 HTTP/1.1\r\nHost: tv.lan:8878\r\n\
                User-Agent: VLC/3.0.21\u{fc} LibVLC\r\nRange: bytes=0-\r\nX-Forwarded-For: 1.2.3.4\r\n\
                x-forwarded-for: 5.6.7.8\r\nCookie: a=b\r\nAuthorization: Bearer t\r\n\
                Origin: http://o\r\nLast-Event-ID: 17\r\nAccept: */*\r\n\r\n";
    let head = request(text).unwrap();
    assert_eq!(head.method, Method::Get);
    assert_eq!((head.path, head.query, head.minor), ("/ace/getstream", "id=ABC&pid=1", 1));
    assert_eq!((head.host, head.content_length), (Some("tv.lan:8878"), 0));
    assert_eq!(head.user_agent(), "VLC/3.0.21\u{fc} LibVLC");
    assert_eq!((head.range(), head.cookie()), (Some("bytes=0-"), Some("a=b")));
    assert_eq!((head.authorization(), head.origin()), (Some("Bearer t"), Some("http://o")));
    assert_eq!((head.last_event_id(), head.accept()), (Some("17"), Some("*/*")));
    let forwarded: Vec<&[u8]> = head.headers("X-Forwarded-For").collect();
    assert_eq!(forwarded, [b"1.2.3.4", b"5.6.7.8"]);
    assert_eq!(head.header("nothing"), None);
}

#[test]
fn odd_players_are_served() {
    let table: &[(&str, Method, &str, &str, Option<&str>)] = &[
        ("GET / HTTP/1.0\r\n\r\n", Method::Get, "/", "", None),
        ("GET / HTTP/1.1\n\n", Method::Get, "/", "", None),
        ("GET  /x?y  HTTP/1.1\r\n\r\n", Method::Get, "/x", "y", None),
        ("GET /x?y#z HTTP/1.1\r\n\r\n", Method::Get, "/x", "y", None),
        ("GET /x?a?b HTTP/1.1\r\nHost:\r\n\r\n", Method::Get, "/x", "a?b", None),
        ("GET http://h:1/x?y HTTP/1.1\r\nHost: other\r\n\r\n", Method::Get, "/x", "y", Some("h:1")),
        ("GET HTTP://h HTTP/1.1\r\n\r\n", Method::Get, "/", "", Some("h")),
        ("GET http://h?q HTTP/1.1\r\n\r\n", Method::Get, "/", "q", Some("h")),
        ("HEAD / HTTP/1.1\r\nHost: [::1]:8878\r\n\r\n", Method::Head, "/", "", Some("[::1]:8878")),
        ("OPTIONS * HTTP/1.1\r\n\r\n", Method::Options, "*", "", None),
        ("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", Method::Get, "/", "", None),
        ("DELETE /a HTTP/1.1\r\n\r\n", Method::Delete, "/a", "", None),
        ("CONNECT h:443 HTTP/1.1\r\n\r\n", Method::Other, "h:443", "", None),
    ];
    for (text, method, path, query, host) in table {
        let head = request(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let read = (head.method, head.path, head.query, head.host);
        assert_eq!(read, (*method, *path, *query, *host), "{text:?}");
    }
    let post = request("POST /a HTTP/1.1\r\nContent-Length: 12\r\n\r\n");
    assert_eq!(post.unwrap().content_length, 12);
}

#[test]
fn bad_requests() {
    let host = "Host: a".to_owned() + &"a".repeat(300);
    let long_host = format!("GET / HTTP/1.1\r\n{host}\r\n\r\n");
    let headers = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65));
    let long_line = format!("GET /{}", "x".repeat(HEAD_BYTES_MAX));
    let long_head = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(HEAD_BYTES_MAX));
    let table: &[(&str, BadRequest)] = &[
        ("\u{16}\u{3}\u{1}", BadRequest::Syntax),
        ("GET /\u{1} HTTP/1.1\r\n\r\n", BadRequest::Syntax),
        ("GET / HTTP/1.1\r\nA b: c\r\n\r\n", BadRequest::Syntax),
        ("GET / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n", BadRequest::Syntax),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", BadRequest::Syntax),
        ("PRI * HTTP/2.0\r\n\r\n", BadRequest::Version),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", BadRequest::DuplicateHost),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", BadRequest::DuplicateHost),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BadRequest::BadHost),
        ("GET / HTTP/1.1\r\nHost: a\"b\r\n\r\n", BadRequest::BadHost),
        (&long_host, BadRequest::BadHost),
        ("GET x HTTP/1.1\r\n\r\n", BadRequest::BadTarget),
        ("GET ftp://a/ HTTP/1.1\r\n\r\n", BadRequest::BadTarget),
        ("GET http:///x HTTP/1.1\r\n\r\n", BadRequest::BadTarget),
        ("GET http://u@h/x HTTP/1.1\r\n\r\n", BadRequest::BadTarget),
        ("GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", BadRequest::BodyNotAllowed),
        ("HEAD / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", BadRequest::BodyNotAllowed),
        ("GET / HTTP/1.1\r\nContent-Length: +0\r\n\r\n", BadRequest::BadContentLength),
        ("POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", BadRequest::BadContentLength),
        ("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", BadRequest::BadContentLength),
        (
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            BadRequest::DuplicateContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n",
            BadRequest::DuplicateContentLength,
        ),
        ("GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", BadRequest::Upgrade),
        (
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            BadRequest::BadContentLength,
        ),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", BadRequest::TransferEncoding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", BadRequest::TransferEncoding),
        (&headers, BadRequest::TooManyHeaders),
        (&long_line, BadRequest::TargetTooLong),
        (&long_head, BadRequest::HeadTooLong),
    ];
    for (text, expected) in table {
        assert_eq!(parse_request(text.as_bytes()), Err(*expected), "{text:?}");
    }
    assert_eq!(BadRequest::TargetTooLong.code(), ErrorCode::TargetTooLong);
    assert_eq!(BadRequest::TooManyHeaders.code(), ErrorCode::HeadTooLong);
    assert_eq!(BadRequest::BodyNotAllowed.code(), ErrorCode::BadRequest);
}

#[test]
fn a_head_as_long_as_allowed_is_read() {
    let mut text = "GET / HTTP/1.1\r\nA: ".to_owned();
    text.push_str(&"x".repeat(HEAD_BYTES_MAX - 4 - text.len()));
    text.push_str("\r\n\r\n");
    assert!(request(&text).is_ok());
    let text = text.replace("A: ", "A: x");
    assert_eq!(parse_request(text.as_bytes()), Err(BadRequest::HeadTooLong));
}

#[test]
fn an_engine_answers() {
    let redirect = "HTTP/1.1 302 Found\r\nServer: BaseHTTP/0.6 Python/3.8.16\r\n\
                    Location: http://127.0.0.1:6878/ace/r/0a/f5\r\n\r\nRedirect to ";
    let head = response(redirect).unwrap();
    assert_eq!((head.status, head.framing), (302, Framing::UntilClose));
    assert_eq!(head.location(), Some("http://127.0.0.1:6878/ace/r/0a/f5"));
    assert!(!head.keep_alive());
    let stream = "HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nKeep-Alive: timeout=15, max=100\r\n\
                  Content-Type: video/mp2t\r\nAccept-Ranges: bytes\r\n\
                  Transfer-Encoding: chunked\r\n\r\nfff9a\r\n";
    let head = response(stream).unwrap();
    assert_eq!((head.status, head.framing), (200, Framing::Chunked));
    assert_eq!(head.content_type(), Some("video/mp2t"));
    assert!(head.keep_alive());
    let table: &[(&str, Framing)] = &[
        ("HTTP/1.0 500 Error\r\nContent-Length: 13\r\n\r\n", Framing::Length(13)),
        ("HTTP/1.0 200\r\n\r\n", Framing::UntilClose),
        (
            "HTTP/1.1 200 \r\nContent-Length: 1\r\nTransfer-Encoding: Chunked\r\n\r\n",
            Framing::Chunked,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", Framing::UntilClose),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", Framing::None),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", Framing::None),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
            Framing::Length(2),
        ),
    ];
    for (text, framing) in table {
        assert_eq!(response(text).map(|head| head.framing), Ok(*framing), "{text:?}");
    }
}

#[test]
fn bad_responses() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(10);
    let long = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(HEAD_BYTES_MAX));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(65));
    let table: &[(&str, BadResponse)] = &[
        ("HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n", BadResponse::TwoStatusLines),
        ("HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n", BadResponse::TwoStatusLines),
        ("\u{47}\u{40}garbage", BadResponse::Syntax),
        ("SSH-2.0\r\n", BadResponse::Syntax),
        ("HTTP/1.1 abc\r\n\r\n", BadResponse::Syntax),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", BadResponse::BadContentLength),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            BadResponse::BadTransferEncoding,
        ),
        (&interim, BadResponse::HeadTooLong),
        (&long, BadResponse::HeadTooLong),
        (&many, BadResponse::TooManyHeaders),
    ];
    for (text, expected) in table {
        assert_eq!(parse_response(text.as_bytes()), Err(*expected), "{text:?}");
    }
}

#[test]
fn every_beginning_is_partial() {
    let asked = "GET /ace/getstream?id=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let answered = "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
    for end in 0..asked.len() {
        assert_eq!(parse_request(&asked.as_bytes()[..end]), Ok(Parse::Partial), "{end}");
    }
    for end in 0..answered.len() {
        assert_eq!(parse_response(&answered.as_bytes()[..end]), Ok(Parse::Partial), "{end}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_request(&bytes);
        let _ = parse_response(&bytes);
    }

    /// Nearly right heads reach further than random bytes.
    #[test]
    fn nearly_right_heads_never_panic(
        line in "(GET|POST|X) [ -~]{0,40} HTTP/1.[01]",
        headers in proptest::collection::vec("(host|content-length|transfer-encoding|a): ?[ -~]{0,20}", 0..5),
    ) {
        let head = format!("{line}\r\n{}\r\n\r\n", headers.join("\r\n"));
        if let Ok(Parse::Complete { head: request, consumed }) = parse_request(head.as_bytes()) {
            prop_assert!(consumed <= head.len());
            prop_assert!(request.method == Method::Other || request.path == "*" || request.path.starts_with('/'));
            prop_assert!(request.host.is_none_or(|host| !host.contains(['/', '@', ' '])));
        }
        let _ = parse_response(head.replacen(&line, "HTTP/1.1 200 OK", 1).as_bytes());
    }
}

#[test]
fn a_glance_sees_method_and_path_of_whatever_was_sent() {
    let seen = |bytes: &[u8]| {
        let seen = crate::http::head::glance(bytes);
        (seen.is_head, seen.path.to_owned())
    };
    assert_eq!(seen(b"GET /ace/getstream?id=x HTTP/1.1\r\nA: b"), (false, "/ace/getstream".into()));
    assert_eq!(seen(b"HEAD  /metrics#x HTTP/9"), (true, "/metrics".into()));
    assert_eq!(seen(b"HEAD /ace/sta"), (true, "/ace/sta".into()));
    assert_eq!(seen(b"HEADER\n/ace/"), (false, String::new()));
    assert_eq!(seen(b"GET /\xff/ HTTP/1.1"), (false, String::new()));
    assert_eq!(seen(b"\r\n\r\n"), (false, String::new()));
    assert_eq!(seen(b""), (false, String::new()));
}
