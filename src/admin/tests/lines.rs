//! The log lines of the contract, and that every line can be read back.

use proptest::prelude::*;

use crate::admin::lines::*;
use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;

const STREAM: Infohash = Infohash::from_bytes([0xAB; 20]);

fn end() -> ViewerEnd<'static> {
    ViewerEnd {
        viewer: ViewerId(0x0100_0000_0000_0007),
        stream: STREAM,
        address: Some("192.0.2.7"),
        agent: "VLC/3.0 \"LibVLC\"",
        name: None,
        reason: "left",
        bytes: 1_880,
        seconds: 12.34,
        skips: 0,
        rwnd_limited_ms: 3,
    }
}

#[test]
fn viewer_lines() {
    let stream = "ab".repeat(20);
    assert_eq!(
        end().to_string(),
        format!(
            "viewer end viewer=0100000000000007 stream={stream} address=192.0.2.7 \
             agent=\"VLC/3.0 \\\"LibVLC\\\"\" reason=left bytes=1880 seconds=12.3 skips=0 \
             rwnd_limited_ms=3"
        )
    );
    let ViewerEnd { viewer, stream: id, .. } = end();
    let start =
        ViewerStart { viewer, stream: id, address: None, agent: "", name: Some("living room") };
    assert_eq!(
        start.to_string(),
        format!(
            "viewer start viewer=0100000000000007 stream={stream} address=- name=\"living room\" \
             agent=\"\""
        )
    );
}

#[test]
fn stream_lines() {
    let stream = "ab".repeat(20);
    let start = StreamStart { id: &stream, infohash: STREAM, engine: "a", first_packet_ms: 812 };
    assert_eq!(
        start.to_string(),
        format!("stream start id={stream} infohash={stream} engine=a first_packet_ms=812")
    );
    let reason = "no peers (prebuf 0 %, peers 0, downloaded 0)";
    let failed = StreamFailed {
        id: &stream,
        engine: Some("127.0.0.1:6878"),
        after_s: 30.0,
        answer: 504,
        reason,
    };
    assert_eq!(
        failed.to_string(),
        format!(
            "stream failed id={stream} engine=127.0.0.1:6878 after_s=30.0 answer=504 \
             reason=\"{reason}\""
        )
    );
}

#[test]
fn engine_lines() {
    let line =
        |what, version, reason| EngineLine { what, engine: "ace 1", version, reason }.to_string();
    assert_eq!(
        line(EngineEvent::Up, Some("3.2.11"), None),
        "engine up engine=\"ace 1\" version=3.2.11"
    );
    assert_eq!(
        line(EngineEvent::Down, None, Some("refused")),
        "engine down engine=\"ace 1\" reason=\"refused\""
    );
    assert_eq!(line(EngineEvent::TakenOver, None, None), "engine taken_over engine=\"ace 1\"");
}

#[test]
fn what_players_send_stays_on_one_line() {
    let line = ViewerEnd { agent: "a\nviewer end viewer=1 \u{1b}[31m", ..end() }.to_string();
    assert_eq!(line.lines().count(), 1);
    assert!(!line.contains('\u{1b}'));
    let long = "x".repeat(9_000);
    assert!(ViewerEnd { agent: &long, ..end() }.to_string().len() < 600);
}

#[test]
fn words_alone_are_not_taken_apart() {
    for text in ["", "ready", "listening on [::]:8878", "a=b", "x a=\"open", "x a=1 rest", "x A=1"]
    {
        assert_eq!(parse(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn every_line_is_read_back(texts in prop::collection::vec(any::<String>(), 1..5)) {
        let mut line = Line::new("some event");
        for (index, text) in texts.iter().enumerate() {
            line = if index % 2 == 0 { line.field("key", text) } else { line.quoted("key", text) };
        }
        let written = line.to_string();
        prop_assert_eq!(written.lines().count(), 1);
        let parsed = parse(&written).unwrap();
        prop_assert_eq!(parsed.event, "some event");
        for (text, (_, read)) in texts.iter().zip(&parsed.fields) {
            let cleaned = crate::admin::hygiene::clean(text);
            prop_assert_eq!(read.as_ref(), cleaned.as_ref());
        }
        prop_assert_eq!(parsed.fields.len(), texts.len());
    }

    #[test]
    fn any_text_can_be_looked_at(text in any::<String>()) {
        let _ = parse(&text);
    }
}
