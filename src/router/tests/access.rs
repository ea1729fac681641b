//! Who may: addresses, proxies, tokens, sessions.

use super::*;

#[test]
fn the_address_list_holds_for_everything_but_this_hosts_health_checks() {
    let from = |peer: &str, path: &str, access: &Access| {
        status(ask_from(peer, &format!("GET {path} HTTP/1.1\r\nHost: h"), access))
    };
    let play = format!("/ace/getstream?id={HEX}");
    for path in [&play, "/api/v1/status", "/metrics", "/healthz", "/ace/status"] {
        assert_eq!(from("10.1.2.3", path, &access()), 200, "{path}");
        assert_eq!(from("::ffff:10.1.2.3", path, &access()), 200, "{path}");
        assert_eq!(from("203.0.113.9", path, &access()), 403, "{path}");
        assert_eq!(from("203.0.113.9", "/nothing", &access()), 403, "before the path");
    }
    let mut narrow = access();
    narrow.allow = "192.0.2.0/24".parse().unwrap();
    assert_eq!(from("127.0.0.1", "/healthz", &narrow), 200);
    assert_eq!(from("::1", "/readyz", &narrow), 200);
    assert_eq!(from("127.0.0.1", "/metrics", &narrow), 403);
    assert_eq!(from("10.0.0.1", "/healthz", &narrow), 403);
    let refusal = ask_from("203.0.113.9", "GET / HTTP/1.1\r\nHost: h", &access()).unwrap_err();
    assert!(refusal.message.contains("RINGCAST_ALLOW"));
    assert_eq!(refusal.client.address.to_string(), "203.0.113.9");
}

#[test]
fn behind_a_trusted_proxy_the_viewer_is_who_it_names() {
    let mut access = access();
    let head = format!(
        "GET /ace/getstream?id={HEX} HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9, 10.0.0.7"
    );
    let direct = ask_from("10.0.0.1", &head, &access).unwrap();
    assert_eq!(
        direct.client.address.to_string(),
        "10.0.0.1",
        "an untrusted peer's word is nothing"
    );
    access.trusted_proxies = CidrList::parse("10.0.0.0/30").unwrap();
    let proxied = ask_from("::ffff:10.0.0.1", &head, &access).unwrap();
    assert_eq!(proxied.client.address.to_string(), "10.0.0.7");
    access.trusted_proxies = CidrList::parse("10.0.0.0/24").unwrap();
    assert_eq!(status(ask_from("10.0.0.1", &head, &access)), 403);
}

#[test]
fn a_play_token_opens_the_players_routes_and_gives_a_name() {
    let mut access = access();
    access.play_tokens = Tokens::parse("anna:secret1,secret2").unwrap();
    let play = format!("GET /ace/getstream?id={HEX}");
    for line in [
        format!("{play}&token=secret1"),
        format!("{play}\r\nAuthorization: Bearer secret1"),
        format!("{play}\r\nCookie: a=b; ringcast_token=secret1"),
    ] {
        let routed = ask(&line, &access).unwrap();
        assert_eq!(routed.token_name.as_deref(), Some("anna"), "{line}");
    }
    assert_eq!(ask(&format!("{play}&token=secret2"), &access).unwrap().token_name, None);
    let missing = ask(&play, &access).unwrap_err();
    let wrong = ask(&format!("{play}&token=secret3"), &access).unwrap_err();
    assert_eq!(missing, wrong, "wrong and missing are told the same");
    assert_eq!(missing.code.status(), 401);
    assert!(!format!("{wrong:?} {access:?}").contains("secret"));
    assert_eq!(status(ask("GET /ace/getstream?id=bad", &access)), 401, "token before parameters");
    for (line, expected) in [
        ("GET /ace/status", 401),
        ("GET /ace/status?token=secret2", 200),
        (&format!("HEAD /ace/getstream?id={HEX}"), 401),
        ("OPTIONS /ace/getstream", 200),
        ("GET /metrics", 200),
        ("GET /healthz", 200),
        ("GET /readyz", 200),
        ("GET /webui/api/service?method=get_version", 200),
        ("GET /server/api?method=get_status", 200),
        ("GET /api/v1/status", 200),
    ] {
        assert_eq!(status(ask(line, &access)), expected, "{line}");
    }
}

#[test]
fn the_api_is_read_with_its_token_by_header_or_cookie() {
    let mut access = access();
    access.allow = AllowList::Any;
    let from_outside = |access: &Access| {
        status(ask_from("203.0.113.9", "GET /api/v1/viewers HTTP/1.1\r\nHost: h", access))
    };
    assert_eq!(from_outside(&access), 403, "viewers' addresses are not for everybody");
    access.api_tokens = Tokens::parse("secret").unwrap();
    access.play_tokens = Tokens::parse("play").unwrap();
    assert_eq!(from_outside(&access), 401);
    for (more, expected) in [
        ("", 401),
        ("?token=secret", 401),
        ("\r\nAuthorization: Bearer secret", 200),
        ("\r\nAuthorization: bearer  secret", 200),
        ("\r\nAuthorization: Basic secret", 401),
        ("\r\nAuthorization: Bearer play", 401),
        ("\r\nCookie: x=y; ringcast_api=secret", 200),
        ("\r\nCookie: ringcast_api=no; ringcast_api=secret", 200),
        ("\r\nCookie: ringcast_token=secret", 200),
    ] {
        assert_eq!(status(ask(&format!("GET /api/v1/status{more}"), &access)), expected, "{more}");
        let stream = format!("GET /api/v1/streams/{HEX}{more}");
        assert_eq!(status(ask(&stream, &access)), expected, "{more}");
    }
}

#[test]
fn changes_are_taken_from_this_host_or_with_the_token() {
    let write = format!("DELETE /api/v1/streams/{HEX}");
    let from = |peer: &str, headers: &str, access: &Access| {
        status(ask_from(peer, &format!("{write} HTTP/1.1\r\n{headers}"), access))
    };
    let open = access();
    assert_eq!(from("127.0.0.1", "Host: localhost:8878", &open), 200);
    assert_eq!(from("::1", "Host: [::1]:8878", &open), 200);
    assert_eq!(from("::ffff:127.0.0.1", "Host: 127.0.0.1", &open), 200);
    assert_eq!(from("10.0.0.1", "Host: localhost", &open), 403);
    assert_eq!(from("127.0.0.1", "Host: rebound.example", &open), 403);
    assert_eq!(from("127.0.0.1", "Host: localhost\r\nX-Forwarded-For: 1.2.3.4", &open), 403);
    assert_eq!(from("127.0.0.1", "Host: localhost\r\nOrigin: http://localhost", &open), 200);
    assert_eq!(from("127.0.0.1", "Host: localhost\r\nOrigin: http://evil.example", &open), 403);
    assert_eq!(from("127.0.0.1", "Host: localhost\r\nOrigin: null", &open), 403);
    let mut proxied = access();
    proxied.trusted_proxies = CidrList::parse("127.0.0.1").unwrap();
    assert_eq!(from("127.0.0.1", "Host: localhost", &proxied), 403, "a proxy stands for others");

    let mut locked = access();
    locked.api_tokens = Tokens::parse("secret").unwrap();
    let token = "Authorization: Bearer secret";
    assert_eq!(from("127.0.0.1", "Host: localhost", &locked), 401);
    assert_eq!(from("10.0.0.1", &format!("Host: h\r\n{token}"), &locked), 200);
    assert_eq!(from("10.0.0.1", "Host: h\r\nCookie: ringcast_api=secret", &locked), 401);
    let origin = |origin: &str| format!("Host: h:1\r\nOrigin: {origin}\r\n{token}");
    assert_eq!(from("10.0.0.1", &origin("http://h:1"), &locked), 200);
    assert_eq!(from("10.0.0.1", &origin("http://h:2"), &locked), 403);

    for (line, served) in [
        ("POST /api/v1/engines", 200),
        ("POST /api/v1/engines/a/drain", 200),
        ("DELETE /api/v1/engines/a", 200),
        ("DELETE /api/v1/engines/a/rest", 200),
        ("DELETE /api/v1/viewers/1f?block=60", 200),
        ("DELETE /api/v1/viewers/x", 404),
        ("DELETE /api/v1/viewers/1f?block=86401", 400),
        ("DELETE /api/v1/streams/1f", 404),
        ("POST /api/v1/engines/a/drain?draining=perhaps", 400),
        (&format!("POST /api/v1/streams/{HEX}/warm?seconds=5"), 200),
        (&format!("POST /api/v1/streams/{HEX}/warm?seconds=0"), 400),
        ("POST /api/v1/streams/1f/warm", 400),
        (&format!("POST /api/v1/streams/{HEX}/move"), 200),
        (&format!("DELETE /api/v1/offline/{HEX}"), 200),
    ] {
        assert_eq!(status(ask(line, &locked)), 401, "{line}");
        assert_eq!(status(ask(&format!("{line}\r\n{token}"), &locked)), served, "{line}");
    }
}

#[test]
fn what_a_change_means() {
    let change = |line: &str| match ask(line, &access()) {
        Ok(Routed { route: Route::Api(Api::Change(change)), .. }) => change,
        other => panic!("{line}: {other:?}"),
    };
    let id = hash(HEX);
    assert_eq!(change(&format!("DELETE /api/v1/streams/{HEX}")), Change::EndStream(id));
    assert_eq!(change(&format!("DELETE /api/v1/offline/{HEX}")), Change::ClearOffline(id));
    let (viewer, block) = (ViewerId(255), std::time::Duration::from_secs(60));
    let kick = Change::EndViewer { viewer, block };
    assert_eq!(change("DELETE /api/v1/viewers/00000000000000ff?block=60"), kick);
    let engine = "[::1]:6878".to_owned();
    let removed = change("DELETE /api/v1/engines/%5B%3A%3A1%5D%3A6878");
    assert_eq!(removed, Change::RemoveEngine(engine.clone()));
    let awake = change("DELETE /api/v1/engines/[::1]:6878/rest");
    assert_eq!(awake, Change::EndRest(engine.clone()));
    for (query, draining) in [("", true), ("?draining=false", false), ("?draining=1", true)] {
        let drain = change(&format!("POST /api/v1/engines/[::1]:6878/drain{query}"));
        assert_eq!(drain, Change::DrainEngine { engine: engine.clone(), draining });
    }
    assert!(change("POST /api/v1/engines").takes_body());
}

#[test]
fn a_session_is_opened_with_the_token_in_a_header_and_shows_it_to_nobody() {
    let mut locked = access();
    locked.api_tokens = Tokens::parse("ops:se+cret/=ä").unwrap();
    let line = "POST /api/v1/session";
    let shown = "Authorization: Bearer se+cret/=ä";
    assert_eq!(status(ask(line, &access())), 404, "without a token there is nothing to open");
    assert_eq!(status(ask(line, &locked)), 401);
    assert_eq!(status(ask(&format!("{line}\r\nCookie: ringcast_api=se+cret/=ä"), &locked)), 401);
    let foreign = format!("{line}\r\n{shown}\r\nOrigin: http://evil.example");
    assert_eq!(status(ask(&foreign, &locked)), 403);
    let routed = ask(&format!("{line}\r\n{shown}"), &locked).unwrap();
    assert!(!format!("{routed:?}").contains("se+cret"), "{routed:?}");
    let Route::Api(Api::LogIn(cookie)) = routed.route else { panic!("{:?}", routed.route) };
    let header = cookie.header();
    assert!(header.contains("; HttpOnly; SameSite=Strict"), "{header}");
    let sent = header.split(';').next().unwrap();
    assert_eq!(status(ask(&format!("GET /api/v1/status\r\nCookie: {sent}"), &locked)), 200);
    // It opens no change: another tab's page must not be able to ride on it.
    let change = format!("DELETE /api/v1/streams/{HEX}\r\nCookie: {sent}");
    assert_eq!(status(ask(&change, &locked)), 401);
    assert_eq!(status(ask("DELETE /api/v1/session", &locked)), 200);
}
