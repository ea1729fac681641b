//! Response heads as they go out, byte for byte, and read back by our own scanner.

use crate::http::head::Framing;
use crate::http::head::Parse;
use crate::http::head::parse_response;
use crate::http::render::*;

fn written(f: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    f(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_head_before_a_stream() {
    let head = written(|out| write_media_head(out, Some("v7")));
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nCache-Control: no-store\r\n\
                    Access-Control-Allow-Origin: *\r\nX-Accel-Buffering: no\r\n\
                    X-Ringcast-Viewer: v7\r\nConnection: close\r\n\r\n";
    assert_eq!(head, expected);
    let asked_only = written(|out| write_media_head(out, None));
    assert_eq!(asked_only, expected.replace("X-Ringcast-Viewer: v7\r\n", ""));
}

#[test]
fn errors_are_small_json() {
    let reply = ErrorReply {
        engine: Some("kitchen\r\nX: y"),
        ..ErrorReply::new(ErrorCode::EngineRefused, "failed to load \"content\"\n")
    };
    let text = written(|out| write_error(out, &reply, true));
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(head.lines().next(), Some("HTTP/1.1 502 Bad Gateway"));
    for line in ["Retry-After: 5", "Connection: close", "Content-Type: application/json"] {
        assert!(head.lines().any(|found| found == line), "{line} in {head}");
    }
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({"error": {
            "code": "engine_refused",
            "message": "failed to load \"content\"\n",
            "engine": "kitchen\r\nX: y",
            "retry_after_s": 5,
        }})
    );
    let asked_only = written(|out| write_error(out, &reply, false));
    assert_eq!(asked_only, format!("{head}\r\n\r\n"));
}

#[test]
fn a_long_message_is_cut_and_a_short_error_has_no_more_than_it_needs() {
    let long = "\u{fc}".repeat(5_000);
    let text = written(|out| {
        write_error(out, &ErrorReply::new(ErrorCode::BadRequest, &long), true);
    });
    assert!(text.len() < 1_500, "{}", text.len());
    let reply = ErrorReply { cors: false, ..ErrorReply::new(ErrorCode::NotFound, "no") };
    let text = written(|out| write_error(out, &reply, true));
    assert!(text.ends_with("{\"error\":{\"code\":\"not_found\",\"message\":\"no\"}}"));
    assert!(!text.contains("Retry-After") && !text.contains("Access-Control"));
}

#[test]
fn every_code_has_a_status_with_words() {
    for code in ErrorCode::ALL {
        assert_ne!(reason(code.status()), "Unknown", "{code:?}");
        assert!(code.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        let retries = matches!(code.status(), 429 | 502 | 503 | 504);
        assert_eq!(code.retry_after_s().is_some(), retries, "{code:?}");
        let text = written(|out| write_error(out, &ErrorReply::new(code, "m"), true));
        let Ok(Parse::Complete { head, consumed }) = parse_response(text.as_bytes()) else {
            panic!("{text}");
        };
        assert_eq!(head.status, code.status());
        assert_eq!(head.framing, Framing::Length((text.len() - consumed) as u64));
        let challenged = head.header("www-authenticate").is_some();
        assert_eq!(challenged, code == ErrorCode::Unauthorized);
    }
}

#[test]
fn methods_and_preflights() {
    let text = written(|out| write_method_not_allowed(out, "GET, HEAD, OPTIONS", true));
    assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
    assert!(text.contains("Allow: GET, HEAD, OPTIONS\r\n"));
    assert!(text.contains("Access-Control-Allow-Origin: *\r\n"));
    let text = written(|out| write_preflight(out, "GET, HEAD, OPTIONS", true));
    assert!(text.starts_with("HTTP/1.1 204 No Content\r\n") && text.ends_with("\r\n\r\n"));
    assert!(text.contains("Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"));
    assert!(text.contains("Access-Control-Allow-Headers: Authorization, Range, Last-Event-ID\r\n"));
    let text = written(|out| write_preflight(out, "GET", false));
    assert!(text.contains("Allow: GET\r\n") && !text.contains("Access-Control"));
}

#[test]
fn no_value_begins_a_header_of_its_own() {
    let head = Head {
        status: 302,
        headers: &[("Location", "/a\r\nSet-Cookie: x=y\0\u{85}")],
        ..Head::default()
    };
    let text = written(|out| write_head(out, &head));
    assert!(text.contains("Location: /aSet-Cookie: x=y\r\n"));
    let text = written(|out| write_json(out, 200, b"{}", false));
    assert!(
        text.ends_with("Connection: close\r\n\r\n{}") && text.contains("Content-Length: 2\r\n")
    );
}
