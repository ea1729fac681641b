//! Decoding, queries, and the URLs of engines that are not followed.

use proptest::prelude::*;

use crate::http::uri::*;

#[test]
fn decoding_is_tolerant() {
    let table: &[(&str, &str, &str)] = &[
        ("abc", "abc", "abc"),
        ("a%20b+c", "a b+c", "a b c"),
        ("%C3%BC", "\u{fc}", "\u{fc}"),
        ("100%", "100%", "100%"),
        ("%4", "%4", "%4"),
        ("%zz%41", "%zzA", "%zzA"),
        ("%+1", "%+1", "% 1"),
        ("%ff", "\u{fffd}", "\u{fffd}"),
    ];
    for (text, plain, form) in table {
        assert_eq!(percent_decode(text), *plain);
        assert_eq!(form_decode(text), *form);
    }
    assert!(matches!(percent_decode("a+b"), std::borrow::Cow::Borrowed(_)));
}

#[test]
fn queries() {
    let query = "id=acestream%3A%2F%2Fab&&x&=y&id=second&a=b=c";
    let pairs: Vec<(String, String)> =
        query_pairs(query).map(|(name, value)| (name.into(), value.into())).collect();
    let expected = [("id", "acestream://ab"), ("x", ""), ("", "y"), ("id", "second"), ("a", "b=c")];
    assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(query_value(query, "id").as_deref(), Some("acestream://ab"));
    assert_eq!(query_value(query, "y"), None);
    assert_eq!(query_pairs(&"a&".repeat(1_000)).count(), 64);
}

#[test]
fn engine_urls() {
    let path = "/ace/r/0a48/f528";
    let table: &[(&str, Result<&str, EngineUrl>)] = &[
        ("http://127.0.0.1:6878/ace/r/0a48/f528", Ok(path)),
        ("HTTP://acestream/ace/r/0a48/f528", Ok(path)),
        ("http://[::1]:6878/ace/r/0a48/f528#x", Ok(path)),
        ("http://evil.example/ace/r/0a48/f528", Ok(path)),
        (" /ace/r/0a48/f528 ", Ok(path)),
        ("//host/ace/r/0a48/f528", Ok(path)),
        ("/content/0a48/0.673752283974", Ok("/content/0a48/0.673752283974")),
        ("/ace/stat/a/b?x=http://y/../z", Ok("/ace/stat/a/b?x=http://y/../z")),
        ("https://127.0.0.1/ace/r/a/b", Err(EngineUrl::Scheme)),
        ("ftp://127.0.0.1/ace/r/a/b", Err(EngineUrl::Scheme)),
        ("file:///ace/r/a/b", Err(EngineUrl::Scheme)),
        ("javascript:alert(1)", Err(EngineUrl::Scheme)),
        ("http://127.0.0.1", Err(EngineUrl::Path)),
        ("http://127.0.0.1?/ace/", Err(EngineUrl::Path)),
        ("http:///etc/passwd", Err(EngineUrl::Path)),
        ("/webui/app", Err(EngineUrl::Path)),
        ("/aces/r", Err(EngineUrl::Path)),
        ("ace/r/a/b", Err(EngineUrl::Path)),
        ("", Err(EngineUrl::Path)),
        ("/ace/../settings", Err(EngineUrl::Path)),
        ("/ace/%2e%2E/settings", Err(EngineUrl::Path)),
        ("/ace/..%2fsettings", Err(EngineUrl::Path)),
        ("/ace/..\\settings", Err(EngineUrl::Path)),
        ("/ace/r HTTP/1.1", Err(EngineUrl::Characters)),
        ("/ace/r\r\nHost: x", Err(EngineUrl::Characters)),
        ("/ace/r\u{fc}", Err(EngineUrl::Characters)),
    ];
    for (url, expected) in table {
        let read = EnginePath::parse(url);
        assert_eq!(read.as_ref().map(EnginePath::as_str), expected.as_ref().copied(), "{url:?}");
    }
    let long = format!("/ace/{}", "x".repeat(2048));
    assert_eq!(EnginePath::parse(&long), Err(EngineUrl::TooLong));
    for (url, expected) in [
        ("/ace/cmd/a/b", "/ace/cmd/a/b?method=stop"),
        ("/ace/cmd/a/b?", "/ace/cmd/a/b?method=stop"),
        ("/ace/cmd/a/b?x=1", "/ace/cmd/a/b?x=1&method=stop"),
    ] {
        assert_eq!(
            EnginePath::parse(url).unwrap().with_parameter("method=stop").as_str(),
            expected
        );
    }
}

proptest! {
    #[test]
    fn encoded_text_is_decoded_again(text in any::<String>()) {
        let mut encoded = String::new();
        encode_component(&mut encoded, &text);
        prop_assert_eq!(percent_decode(&encoded), text.as_str());
        prop_assert_eq!(form_decode(&encoded), text.as_str());
        prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'&'));
    }

    #[test]
    fn an_engine_path_never_leaves_its_line(url in "(http://[a-z:@/]{0,9})?/(ace|content)/[ -~\\r\\n\u{80}-\u{ff}]{0,40}") {
        if let Ok(path) = EnginePath::parse(&url) {
            prop_assert!(path.as_str().starts_with("/ace/") || path.as_str().starts_with("/content/"));
            prop_assert!(path.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
