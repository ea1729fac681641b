//! Replies as engines were seen to write them, every failure's shape, and bytes that are neither.

use proptest::prelude::*;

use super::*;
use crate::base::ids::Infohash;
use crate::http::head::BadResponse;
use crate::http::head::Framing;
use crate::http::head::Parse;
use crate::http::head::parse_response;

const HASH: &str = "0a48aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa8141";

const OPEN: &str = r#"{"response": {"infohash": "0a48aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa8141", "playback_session_id": "e0d10c40465de696c0222ffa815edace0635b86a", "playback_url": "http://127.0.0.1:6878/ace/r/0a48aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa8141/f528764d624db129b32c21fbca0cb8d6", "stat_url": "http://127.0.0.1:6878/ace/stat/0a48aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa8141/f528764d624db129b32c21fbca0cb8d6", "command_url": "http://127.0.0.1:6878/ace/cmd/0a48aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa8141/f528764d624db129b32c21fbca0cb8d6", "is_live": 1, "is_encrypted": 0, "client_session_id": -1}, "error": null}"#;

const STAT: &str = r#"{"response": {"uploaded": 491520, "network_monitor_status": 0, "speed_down": 257, "speed_up": 29, "total_progress": 0, "status": "dl", "downloaded": 3276800, "peers": 4, "playback_session_id": "15ad5f27", "is_encrypted": 0, "is_live": 1, "infohash": "0a48", "livepos": {"last": "1639986704", "live_first": "1639984904", "pos": "1639986700", "is_live": "1", "live_last": "1639986704", "buffer_pieces": "30"}}, "error": null}"#;

fn infohash() -> Infohash {
    Infohash::parse(HASH.as_bytes()).unwrap()
}

#[test]
fn a_session_that_was_opened() {
    let reply = open(200, OPEN.as_bytes()).unwrap();
    let key = "f528764d624db129b32c21fbca0cb8d6";
    assert_eq!(reply.infohash, infohash());
    assert_eq!(reply.playback.as_str(), format!("/ace/r/{HASH}/{key}"));
    assert_eq!(reply.stat.unwrap().as_str(), format!("/ace/stat/{HASH}/{key}"));
    assert_eq!(reply.command.unwrap().as_str(), format!("/ace/cmd/{HASH}/{key}"));
    assert_eq!(reply.playback_session_id, "e0d10c40465de696c0222ffa815edace0635b86a");
    assert_eq!((reply.event, reply.live), (None, Live::Yes));
    assert!(!reply.encrypted && !reply.hls_source);
}

#[test]
fn what_a_session_may_be() {
    let with = |from: &str, to: &str| open(200, OPEN.replace(from, to).as_bytes()).unwrap();
    assert_eq!(with(r#""is_live": 1"#, r#""is_live": 0"#).live, Live::No);
    assert_eq!(with(r#""is_live": 1"#, r#""is_live": -1"#).live, Live::Unknown);
    assert_eq!(with(r#""is_live": 1"#, r#""is_live": true"#).live, Live::Yes);
    assert_eq!(with(r#""is_live": 1, "#, "").live, Live::Unknown);
    assert!(with(r#""is_encrypted": 0"#, r#""is_encrypted": true"#).encrypted);
    assert!(with(r#"cb8d6", "stat"#, r#"cb8d6.m3u8", "stat"#).hls_source);
    assert!(with(r#"cb8d6", "stat"#, r#"cb8d6.M3U8?x=1", "stat"#).hls_source);
    assert!(!with(r#"cb8d6", "stat"#, r#"cb8d6?x=.m3u8", "stat"#).hls_source);
    assert_eq!(with("\"infohash\"", "\"other\"").infohash, infohash(), "read from the path");
    assert_eq!(with("stat_url", "no_stat_url").stat, None);
    assert_eq!(with("127.0.0.1:6878/ace/r", "evil.example/ace/r").infohash, infohash());
}

#[test]
fn urls_that_lead_elsewhere_are_the_engines_fault() {
    for (from, to) in [
        ("http://127.0.0.1:6878/ace/r", "https://127.0.0.1:6878/ace/r"),
        ("http://127.0.0.1:6878/ace/r", "file:///ace/r"),
        ("/ace/r/", "/etc/"),
        ("/ace/r/", "/ace/../x/"),
        ("/ace/stat/", "/webui/"),
        ("/ace/cmd/", "/ace/cmd/ /"),
    ] {
        let failure = open(200, OPEN.replace(from, to).as_bytes()).unwrap_err();
        assert_eq!(failure.name(), "other", "{to}: {failure}");
    }
}

#[test]
fn every_shape_of_an_error() {
    let table: [(u16, &str, &str); 18] = [
        (200, r#"{"response": null, "error": "failed to load content"}"#, "content"),
        (200, r#"{"response": {}, "error": "got newer download"}"#, "superseded"),
        (
            200,
            r#"{"error": {"message": "unknown playback session id", "code": 0}}"#,
            "session_gone",
        ),
        (200, r#"{"response": null, "error": "premium required"}"#, "premium"),
        (200, r#"{"response": null, "error": null}"#, "other"),
        (200, r#"{"response": {}}"#, "other"),
        (200, r#"{"response": [], "error": 7}"#, "other"),
        (200, r#"{"error": {"code": 3}}"#, "other"),
        (500, r#"{"response": null, "error": "failed to load content"}"#, "content"),
        (500, "start timeout", "prebuffering"),
        (500, "download not found", "prebuffering"),
        (500, "failed to start\n", "prebuffering"),
        (500, "Internal Server Error, couldn't find resource", "other"),
        (501, "<head><title>Error response</title></head>", "other"),
        (200, "", "other"),
        (200, "null", "other"),
        (200, "[1]", "other"),
        (404, r#"{"response": {"playback_url": "/ace/r/x"}}"#, "other"),
    ];
    for (status, body, name) in table {
        assert_eq!(open(status, body.as_bytes()).unwrap_err().name(), name, "{status} {body}");
    }
    assert_eq!(
        open(501, b"<head>").unwrap_err().to_string(),
        "the engine answered 501 without JSON"
    );
    assert_eq!(open(500, b"no luck").unwrap_err().to_string(), "500: no luck");
}

#[test]
fn how_a_session_does() {
    let reply = stat(200, STAT.as_bytes()).unwrap();
    assert_eq!(
        reply,
        StatReply {
            status: StatStatus::Dl,
            peers: 4,
            speed_down_kbps: 257,
            speed_up_kbps: 29,
            downloaded: 3_276_800,
            progress: None,
            live_last: Some(1_639_986_704),
            live_pos: Some(1_639_986_700),
            playback_session_id: Some("15ad5f27".to_owned()),
            live: Live::Yes,
            error_message: None,
        }
    );
    for empty in [r#"{"response": {}}"#, r#"{"response": {}, "error": null}"#, "{}"] {
        assert_eq!(stat(200, empty.as_bytes()).unwrap(), StatReply::default(), "{empty}");
    }
    let odd = r#"{"response": {"status": "prebuf", "peers": "7", "speed_down": 1.5,
        "downloaded": -1, "progress": 300, "is_live": "1", "livepos": null}}"#;
    let reply = stat(200, odd.as_bytes()).unwrap();
    assert_eq!((reply.status, reply.peers, reply.speed_down_kbps), (StatStatus::Prebuf, 7, 1));
    assert_eq!((reply.downloaded, reply.progress, reply.live), (0, Some(100), Live::Yes));
    let gone = r#"{"response": null, "error": "unknown playback session id"}"#;
    assert_eq!(
        stat(200, gone.as_bytes()),
        Err(Failure::SessionGone("unknown playback session id".to_owned()))
    );
}

#[test]
fn what_a_content_id_stands_for() {
    let hash = format!(r#"{{"result": {{"infohash": "{HASH}", "files": []}}}}"#);
    assert_eq!(media_files(200, hash.as_bytes()), Ok(MediaFiles::Infohash(infohash())));
    let error = r#"{"error": {"message": "cannot get transport file", "code": 0}}"#;
    let text = "cannot get transport file".to_owned();
    assert_eq!(media_files(200, error.as_bytes()), Ok(MediaFiles::Error(text.clone())));
    assert_eq!(media_files(500, error.as_bytes()), Ok(MediaFiles::Error(text)));
    for unknown in [
        (200, r#"{"error": {"message": "unknown method"}}"#),
        (200, r#"{"result": {"0": "name.ts"}}"#),
        (200, r#"{"result": {"infohash": "short"}}"#),
        (404, "not found"),
        (501, "<head>"),
    ] {
        let reply = media_files(unknown.0, unknown.1.as_bytes());
        assert_eq!(reply, Ok(MediaFiles::UnknownMethod), "{unknown:?}");
    }
    assert!(media_files(500, b"oops").is_err());
}

#[test]
fn an_engine_that_answers() {
    let body = r#"{"result": {"playlist_loaded": true, "version": {"code": 3021100, "platform": "linux", "version": "3.2.11"}}}"#;
    assert_eq!(engine_status(200, body.as_bytes()).unwrap().version.as_deref(), Some("3.2.11"));
    let error = r#"{"error": {"message": "unknown protocol", "code": 0}}"#;
    assert_eq!(engine_status(200, error.as_bytes()), Ok(Status::default()));
    assert!(engine_status(200, b"<html>").is_err());
    assert!(engine_status(404, b"{}").is_err());
    assert_eq!(command(200, br#"{"response": "ok", "error": null}"#), Ok(()));
    assert_eq!(command(200, br#"{"result": "ok"}"#), Ok(()));
    assert_eq!(
        command(200, br#"{"response": null, "error": "unknown playback session id"}"#),
        Err(Failure::SessionGone("unknown playback session id".to_owned()))
    );
}

fn hop(text: &str) -> Result<Hop, Failure> {
    match parse_response(text.as_bytes()).unwrap() {
        Parse::Complete { head, .. } => playback_head(&head),
        Parse::Partial => panic!("a whole head was given"),
    }
}

#[test]
fn the_hops_of_a_playback() {
    let found =
        format!("HTTP/1.1 302 Found\r\nLocation: http://other:1/content/{HASH}/0.67\r\n\r\n");
    let Ok(Hop::Redirect(path)) = hop(&found) else { panic!("a redirect is followed") };
    assert_eq!(path.as_str(), format!("/content/{HASH}/0.67"));
    let foreign = "HTTP/1.1 302 Found\r\nLocation: http://other/x\r\n\r\n";
    assert_eq!(hop(foreign).unwrap_err().name(), "other");
    assert_eq!(hop("HTTP/1.1 302 Found\r\n\r\n").unwrap_err().name(), "other");
    let body = "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(hop(body), Ok(Hop::Body(Framing::Chunked)));
    assert_eq!(hop("HTTP/1.0 200 OK\r\n\r\n"), Ok(Hop::Body(Framing::UntilClose)));
    let list = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.apple.mpegurl\r\n\r\n";
    assert_eq!(hop(list).unwrap_err().name(), "other");
    assert_eq!(hop("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), Ok(Hop::Rejected));
    assert_eq!(hop("HTTP/1.1 403 Forbidden\r\n\r\n"), Ok(Hop::Rejected));
}

#[test]
fn why_a_playback_is_refused() {
    let table = [
        (500, "start timeout", "prebuffering"),
        (500, "download not found", "prebuffering"),
        (500, "failed to start", "prebuffering"),
        (500, "Internal Server Error, couldn't find resource", "session_gone"),
        (404, "", "session_gone"),
        (403, "Forbidden", "forbidden"),
        (200, r#"{"response": null, "error": "got newer download"}"#, "superseded"),
        (500, r#"{"error": "unknown playback session id"}"#, "session_gone"),
        (500, "", "session_gone"),
        (503, "busy", "other"),
    ];
    for (status, body, name) in table {
        assert_eq!(rejected(status, body.as_bytes()).name(), name, "{status} {body}");
    }
    assert_eq!(bad_head(BadResponse::TwoStatusLines), Failure::MalformedHead);
    assert_eq!(bad_head(BadResponse::HeadTooLong).name(), "other");
}

#[test]
fn a_reply_cut_anywhere_is_a_failure_and_nothing_else() {
    for at in 0..OPEN.len() {
        assert!(open(200, &OPEN.as_bytes()[..at]).is_err());
        let _ = stat(200, &STAT.as_bytes()[..at.min(STAT.len() - 1)]).unwrap_err();
    }
    let deep = "[".repeat(100_000);
    assert!(open(200, deep.as_bytes()).is_err());
}

fn feed_everything(status: u16, body: &[u8]) {
    let _ = open(status, body);
    let _ = stat(status, body);
    let _ = media_files(status, body);
    let _ = engine_status(status, body);
    let _ = command(status, body);
    let failure = rejected(status, body);
    assert!(failure.to_string().len() <= 2 * TEXT_BYTES_MAX);
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        feed_everything(status, &body);
    }

    #[test]
    fn a_real_reply_with_other_bytes_in_it_is_an_answer(
        at in 0..OPEN.len(), len in 0_usize..8, noise in "\\PC{0,8}", status in prop_oneof![Just(200_u16), Just(500)],
    ) {
        for text in [OPEN, STAT] {
            let start = at.min(text.len());
            let end = (start + len).min(text.len());
            let body = format!("{}{noise}{}", &text[..start], &text[end..]);
            feed_everything(status, body.as_bytes());
            if let Ok(reply) = open(200, body.as_bytes()) {
                let path = reply.playback.as_str();
                prop_assert!(path.starts_with("/ace/") || path.starts_with("/content/"));
                prop_assert!(path.bytes().all(|b| b.is_ascii_graphic()));
            }
        }
    }
}
