//! What each fuzz target does with its bytes, and what must hold whatever they are.
//!
//! A plain module of the product's public interface, so that the committed inputs are replayed by an
//! ordinary test as well (`tests/corpus.rs`), without a fuzzer. A body panics when a promise is
//! broken, and for nothing else.

mod media;
mod ring;
mod texts;

use ringcast::config;
use ringcast::engine::orchestrator;
use ringcast::engine::reply;
use ringcast::engine::spec;
use ringcast::http::addr::AllowList;
use ringcast::http::addr::CidrList;
use ringcast::http::body::BodyDecoder;
use ringcast::http::head::Framing;
use ringcast::http::head::HEAD_BYTES_MAX;
use ringcast::http::head::Parse;
use ringcast::http::head::glance;
use ringcast::http::head::parse_request;
use ringcast::http::head::parse_response;
use ringcast::http::token::Tokens;
use ringcast::router::Access;
use ringcast::router::Route;

pub(crate) use media::psi;
pub(crate) use media::ts_sync_scan;
pub(crate) use ring::ring;
pub(crate) use texts::texts;

/// A target and its body.
pub(crate) type Body = (&'static str, fn(&[u8]));

pub(crate) const ALL: [Body; 9] = [
    ("request_head", request_head),
    ("engine_head", engine_head),
    ("engine_body", engine_body),
    ("engine_json", engine_json),
    ("ts_sync_scan", ts_sync_scan),
    ("psi", psi),
    ("settings", settings),
    ("ring", ring),
    ("texts", texts),
];

/// A viewer's request, as it arrives and as a whole, through the router and its refusals.
pub(crate) fn request_head(data: &[u8]) {
    let whole = parse_request(data);
    if let Ok(Parse::Complete { head, consumed }) = &whole {
        assert!(*consumed <= data.len() && *consumed <= HEAD_BYTES_MAX);
        // A head is complete at its end and not before: nothing behind it is needed to read it.
        assert_eq!(parse_request(&data[..*consumed]), whole);
        assert!(matches!(parse_request(&data[..*consumed - 1]), Ok(Parse::Partial)));
        route(head);
    }
    let _ = glance(data).path.len();
}

/// The rules that decide most: a token for players, one for the API, URLs and magnets.
fn route(head: &ringcast::http::head::Request<'_>) {
    let strict = Access {
        allow_url: vec!["http://media.example/live/".to_owned()],
        allow_magnet: true,
        play_tokens: Tokens::parse("name:play").expect("a token"),
        api_tokens: Tokens::parse("api").expect("a token"),
        ..Access::default()
    };
    for access in [Access::default(), strict] {
        match ringcast::router::route(head, &access, [127, 0, 0, 1].into()) {
            Ok(routed) => {
                if let Route::Play(play) = &routed.route {
                    // Of a client's bytes nothing but a validated id, or what is allowed, goes on.
                    use ringcast::base::ids::Target;
                    match &play.target {
                        Target::Id(_) | Target::Infohash(_) => {}
                        Target::Url(url) => assert!(
                            url.to_ascii_lowercase().starts_with("http://media.example/live/")
                                && !url.contains(char::is_control)
                                && !url.contains(' ')
                        ),
                        Target::Magnet(magnet) => {
                            assert!(access.allow_magnet && !magnet.contains(char::is_control));
                        }
                    }
                }
                let _ = format!("{routed:?}");
            }
            Err(refusal) => {
                let mut out = Vec::new();
                refusal.write(&mut out);
                let Ok(Parse::Complete { head, consumed }) = parse_response(&out) else {
                    panic!("a refusal is a reply: {}", String::from_utf8_lossy(&out))
                };
                assert_eq!(head.status, refusal.code.status());
                let body = &out[consumed..];
                assert!(body.is_empty() || body.starts_with(b"{\"error\":"));
            }
        }
    }
}

/// What an engine answers, up to its body.
pub(crate) fn engine_head(data: &[u8]) {
    match parse_response(data) {
        Ok(Parse::Complete { head, consumed }) => {
            assert!(consumed <= data.len());
            let _ = reply::playback_head(&head);
            let _ = (head.keep_alive(), head.content_type().map(str::len));
        }
        Ok(Parse::Partial) => assert!(data.len() < 8 * HEAD_BYTES_MAX),
        Err(bad) => drop(reply::bad_head(bad)),
    }
}

/// A body is the same however it was cut. The first byte says how it is framed and how it is cut.
pub(crate) fn engine_body(data: &[u8]) {
    let Some((how, data)) = data.split_first() else { return };
    let decoder = match how % 4 {
        0 => BodyDecoder::chunked(),
        1 => BodyDecoder::content_length(data.len() as u64 / 2),
        2 => BodyDecoder::identity_until_close(),
        _ => BodyDecoder::new(Framing::None),
    };
    let whole = decoded(decoder.clone(), data, data.len().max(1));
    let cut = decoded(decoder, data, 1 + usize::from(how / 4));
    // What an error leaves behind may differ, what is given before it may not be wrong.
    if let (Ok(whole), Ok(cut)) = (&whole, &cut) {
        assert_eq!(whole, cut);
    }
    assert_eq!(whole.is_ok(), cut.is_ok());
}

fn decoded(mut decoder: BodyDecoder, data: &[u8], part: usize) -> Result<(Vec<u8>, usize), ()> {
    let mut body = Vec::new();
    let mut consumed = 0;
    for part in data.chunks(part) {
        let progress =
            decoder.feed(part, &mut |bytes| body.extend_from_slice(bytes)).map_err(drop)?;
        assert!(progress.consumed <= part.len());
        consumed += progress.consumed;
        if progress.consumed < part.len() {
            break;
        }
    }
    assert_eq!(decoder.body_bytes(), body.len() as u64);
    Ok((body, consumed))
}

/// The JSON of engines and orchestrators. The first byte picks the status.
pub(crate) fn engine_json(data: &[u8]) {
    let Some((first, body)) = data.split_first() else { return };
    let status = [200, 404, 500, 403][usize::from(first % 4)];
    if let Ok(opened) = reply::open(status, body) {
        let paths = [Some(opened.playback), opened.stat, opened.command, opened.event];
        for path in paths.into_iter().flatten() {
            // It is asked of the engine that was dialled, in one request line.
            let path = path.as_str();
            assert!(
                path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()),
                "{path:?}"
            );
        }
    }
    let _ = reply::stat(status, body);
    let _ = reply::media_files(status, body);
    let _ = reply::engine_status(status, body);
    let _ = reply::command(status, body);
    let failure = reply::rejected(status, body);
    assert!(!failure.name().is_empty());
    if let Ok(list) = orchestrator::parse(body) {
        for listed in list.engines {
            let host = &listed.host.host;
            assert!(
                !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic()),
                "{host:?}"
            );
        }
    }
}

/// Whatever an operator may write: a settings file, lists of engines, addresses, tokens.
pub(crate) fn settings(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(contents) = config::file::parse("fuzz.toml", text) {
        for (slot, given) in contents.given {
            if !slot.from_file {
                let _ = slot.row.kind.read(&given.items);
            }
        }
    }
    if let Ok(specs) = spec::parse_many(text) {
        for spec in &specs {
            let again: spec::Spec = spec.to_string().parse().expect("what is written is read");
            assert_eq!(&again, spec);
        }
    }
    let _ = spec::parse_list(text);
    if let Ok(list) = text.parse::<CidrList>() {
        assert_eq!(list.to_string().parse::<CidrList>().as_ref(), Ok(&list));
    }
    let _ = text.parse::<AllowList>();
    if let Ok(tokens) = Tokens::parse(text) {
        assert_eq!(format!("{tokens:?}"), format!("Tokens(*** x {})", tokens.len()));
    }
}
