//! The viewer behind proxies, and who may pretend to be one.

use std::net::IpAddr;

use crate::http::addr::CidrList;
use crate::http::forwarded::*;
use crate::http::tests::with_request;

fn find(peer: &str, headers: &[&str], trusted: &str) -> (String, bool, bool) {
    let peer: IpAddr = peer.parse().unwrap();
    let trusted = CidrList::parse(trusted).unwrap();
    let client = client(peer, headers.iter().map(|value| value.as_bytes()), &trusted);
    (client.address.to_string(), client.exempt, client.behind_proxy)
}

#[test]
fn the_first_untrusted_hop_from_the_right_is_the_viewer() {
    let table: &[(&str, &[&str], &str, bool, bool)] = &[
        ("8.8.8.8", &["1.1.1.1"], "8.8.8.8", false, false),
        ("::ffff:8.8.8.8", &[], "8.8.8.8", false, false),
        ("10.0.0.1", &["1.1.1.1"], "1.1.1.1", false, true),
        ("::ffff:10.0.0.1", &["::ffff:1.1.1.1"], "1.1.1.1", false, true),
        ("10.0.0.1", &["6.6.6.6, 1.1.1.1"], "1.1.1.1", false, true),
        ("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1", false, true),
        ("10.0.0.1", &["6.6.6.6, 1.1.1.1", "10.0.0.2,10.0.0.3"], "1.1.1.1", false, true),
        ("10.0.0.1", &["6.6.6.6", "1.1.1.1"], "1.1.1.1", false, true),
        ("10.0.0.1", &["10.0.0.9, 10.0.0.2"], "10.0.0.9", true, true),
        ("10.0.0.1", &[], "10.0.0.1", true, true),
        ("10.0.0.1", &[""], "10.0.0.1", true, true),
        ("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2", true, true),
        ("10.0.0.1", &["1.1.1.1:443"], "1.1.1.1", false, true),
        ("10.0.0.1", &["\"[2001:db8::1]:443\""], "2001:db8::1", false, true),
        ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1", false, true),
    ];
    for (peer, headers, address, exempt, behind_proxy) in table {
        let expected = ((*address).to_owned(), *exempt, *behind_proxy);
        assert_eq!(find(peer, headers, "10.0.0.0/8"), expected, "{peer} {headers:?}");
    }
    let chain = "10.0.0.2,".repeat(5_000) + "10.0.0.2";
    assert!(find("10.0.0.1", &[&chain], "10.0.0.0/8").1);
}

#[test]
fn origins() {
    let table: &[(&str, bool, Option<&str>)] = &[
        ("Host: tv:8878\r\n", false, Some("http://tv:8878")),
        ("", false, None),
        ("X-Forwarded-Host: a\r\n", true, Some("http://a")),
        ("Host: tv\r\nX-Forwarded-Host: evil\r\n", false, Some("http://tv")),
        (
            "Host: tv\r\nX-Forwarded-Host: a.example\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Prefix: /tv/\r\n",
            true,
            Some("https://a.example/tv"),
        ),
        ("Host: tv\r\nX-Forwarded-Proto: http, https\r\n", true, Some("https://tv")),
        ("Host: tv\r\nX-Forwarded-Host: a/b\r\n", true, Some("http://tv")),
        ("Host: tv\r\nX-Forwarded-Prefix: //evil\r\n", true, Some("http://tv")),
        ("Host: tv\r\nX-Forwarded-Prefix: /a b\r\n", true, Some("http://tv")),
        ("Host: tv\r\nX-Forwarded-Prefix: /\r\n", true, Some("http://tv")),
    ];
    for (headers, behind_proxy, expected) in table {
        with_request("/", headers, |request| {
            let origin = external_origin(request, *behind_proxy).map(|origin| origin.to_string());
            assert_eq!(origin.as_deref(), *expected, "{headers:?}");
        });
    }
}
