//! What players and engines say of themselves (User-Agents, names, words of errors), where it is shown:
//! in a log line and in a reply it is one value, read back as what it was, whatever is in it.

use ringcast::admin::hygiene;
use ringcast::admin::lines::Line;
use ringcast::admin::lines::ViewerStart;
use ringcast::base::ids::Infohash;
use ringcast::base::ids::ViewerId;
use ringcast::http::head::Parse;
use ringcast::http::head::parse_response;
use ringcast::http::render::ErrorCode;
use ringcast::http::render::ErrorReply;
use ringcast::http::render::write_error;

pub(crate) fn texts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let shown = hygiene::clean(&text).into_owned();
    assert!(shown.len() <= hygiene::TEXT_BYTES_MAX && !shown.contains(char::is_control));
    assert_eq!(hygiene::clean(&shown), shown, "what is clean stays as it is");

    // Before it, behind it and in it nothing becomes a field of its own.
    let line = ViewerStart {
        viewer: VIEWER,
        stream: Infohash::from_bytes([7; 20]),
        address: None,
        agent: &text,
        name: Some(&text),
    };
    let line = line.to_string();
    let (viewer, stream) = (VIEWER.to_string(), "07".repeat(20));
    let wanted = [
        ("viewer", &*viewer),
        ("stream", &stream),
        ("address", "-"),
        ("name", &shown),
        ("agent", &shown),
    ];
    assert_eq!(fields(&line, "viewer start"), wanted.map(owned), "{line}");
    let line = Line::new("engine down").field("reason", &text).field("n", 1).to_string();
    assert_eq!(
        fields(&line, "engine down"),
        [("reason", &*shown), ("n", "1")].map(owned),
        "{line}"
    );

    reply(&text);
}

const VIEWER: ViewerId = ViewerId(0x00c0_ffee);

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// The fields behind the event, by the rule that a reader of the log goes by: a value is a word, or in
/// quotes, where a backslash stands before a quote or a backslash.
fn fields(line: &str, event: &str) -> Vec<(String, String)> {
    assert!(!line.contains(char::is_control), "{line:?}");
    let mut rest = line.strip_prefix(event).expect("the event comes first");
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (key, value) = rest[1..].split_once('=').expect("a key");
        assert!(rest.starts_with(' ') && key.bytes().all(|b| b.is_ascii_lowercase()), "{rest}");
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = value.find(' ').unwrap_or(value.len());
                (value[..end].to_owned(), &value[end..])
            }
        };
        fields.push((key.to_owned(), value));
        rest = behind;
    }
    fields
}

fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => {
                let (_, escaped) = characters.next().expect("something is escaped");
                assert!(matches!(escaped, '"' | '\\'));
                value.push(escaped);
            }
            other => value.push(other),
        }
    }
    panic!("no end of the quotes: {text}");
}

/// An engine's words in the refusal of a player: a header less, a header more, or a body that is not
/// JSON would be a reply of the engine's making.
fn reply(text: &str) {
    let refusal =
        ErrorReply { engine: Some(text), ..ErrorReply::new(ErrorCode::EngineRefused, text) };
    let mut out = Vec::new();
    write_error(&mut out, &refusal, true);
    let Ok(Parse::Complete { head, consumed }) = parse_response(&out) else {
        panic!("no reply: {}", String::from_utf8_lossy(&out))
    };
    assert_eq!(head.status, 502);
    let json: serde_json::Value = serde_json::from_slice(&out[consumed..]).expect("one JSON value");
    let error = json["error"].as_object().expect("an error");
    let said = error["message"].as_str().expect("its words");
    assert!(text.starts_with(said) && error["code"] == "engine_refused" && error.len() == 4);
}
