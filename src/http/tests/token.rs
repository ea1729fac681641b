//! Tokens, the three places that they come in, and that they are never printed.

use proptest::prelude::*;

use crate::http::tests::with_request;
use crate::http::token::*;

#[test]
fn named_and_unnamed_tokens() {
    let tokens = Tokens::parse("secret, tv:s3cret\nkitchen : other:colon,").unwrap();
    assert_eq!(tokens.len(), 3);
    assert_eq!(tokens.matches("secret"), Some(""));
    assert_eq!(tokens.matches("s3cret"), Some("tv"));
    assert_eq!(tokens.matches("other:colon"), Some("kitchen"));
    for shown in ["", "secre", "secrett", "Secret", "tv:s3cret", "tv"] {
        assert_eq!(tokens.matches(shown), None, "{shown}");
    }
    assert_eq!(format!("{tokens:?}"), "Tokens(*** x 3)");
    assert!(Tokens::parse(" , \n").unwrap().is_empty());
    assert_eq!(Tokens::parse("tv:"), Err(BadTokens::Empty));
    assert_eq!(Tokens::parse("a b"), Err(BadTokens::Characters));
    assert_eq!(Tokens::parse(&"x".repeat(513)), Err(BadTokens::TooLong));
    assert_eq!(Tokens::parse(&"x,".repeat(257)), Err(BadTokens::TooMany));
}

#[test]
fn requests_show_tokens_in_three_places() {
    let tokens = Tokens::parse("tv:a+b/c==").unwrap();
    let table: &[(&str, &str, bool)] = &[
        ("/x", "", false),
        ("/x?token=a+b/c==", "", true),
        ("/x?id=1&token=a%2Bb%2Fc%3D%3D", "", true),
        ("/x?token=wrong", "", false),
        ("/x?Token=a+b/c==", "", false),
        ("/x?token=wrong", "Authorization: bearer a+b/c==\r\n", true),
        ("/x", "Authorization: Bearer  a+b/c==\r\n", true),
        ("/x", "Authorization: Basic a+b/c==\r\n", false),
        ("/x", "Authorization: a+b/c==\r\n", false),
        ("/x", "Cookie: a=b; ringcast_token=a+b/c==; c=d\r\n", true),
        ("/x", "Cookie: ringcast_token=\"a%2Bb%2Fc==\"\r\n", true),
        ("/x", "Cookie: xringcast_token=a+b/c==\r\n", false),
    ];
    for (target, headers, expected) in table {
        with_request(target, headers, |request| {
            let shown = presented(request);
            let name = shown.authorise(&tokens);
            assert_eq!(name, expected.then_some("tv"), "{target} {headers:?}");
            assert!(!format!("{shown:?}").contains("a+b"));
        });
    }
    with_request("/x?token=a+b/c==", "", |request| {
        assert_eq!(presented(request).authorise_bearer(&tokens), None);
        assert!(!presented(request).is_empty());
    });
    with_request("/x", "Authorization: Bearer a+b/c==\r\n", |request| {
        assert_eq!(presented(request).authorise_bearer(&tokens), Some("tv"));
    });
}

#[test]
fn queries_are_redacted() {
    assert_eq!(redact_query("id=1&token=abc&x"), "id=1&token=***&x");
    assert_eq!(redact_query("%74oken=abc&TOKEN=d&token"), "%74oken=***&TOKEN=***&token");
    assert_eq!(redact_query(""), "");
}

proptest! {
    #[test]
    fn equal_means_equal(a in proptest::collection::vec(0u8..3, 0..6), b in proptest::collection::vec(0u8..3, 0..6)) {
        prop_assert_eq!(equal_constant_time(&a, &b), a == b);
    }
}
