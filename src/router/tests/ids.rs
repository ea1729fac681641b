//! What is asked for: ids however they were pasted, addresses of transport files, hints.

use super::*;

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
