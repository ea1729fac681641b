//! What an operator changes over the API: streams and viewers ended, engines added and taken out,
//! ids cleared; and who may.

use crate::rig;
use crate::rig::Player;
use crate::rig::Refusal;
use crate::rig::Reply;
use crate::rig::Server;
use crate::rig::eventually;
use ace_emulator::Channel;
use serde_json::Value;

const SECOND: u64 = 250_000;

fn ask(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}");
    rig::exchange(server.address, format!("{head}\r\n{headers}\r\n{body}").as_bytes())
}

fn change(server: &Server, method: &str, path: &str) -> Reply {
    ask(server, method, path, "", "")
}

fn done(reply: &Reply) -> Value {
    assert_eq!(reply.status / 100, 2, "{}", reply.text());
    assert_eq!(reply.header("access-control-allow-origin"), None);
    serde_json::from_slice(&reply.body).unwrap()
}

const GONE: Refusal = Refusal { status: 404, code: "not_found", cors: false };

#[test]
fn a_stream_is_ended_for_everybody_and_its_session_stopped_once() {
    let engine = rig::engine(rig::one_channel(1_600));
    let server = Server::with(&[&engine]).start().ready();
    let path = Server::play(&rig::content_id(1_600));
    // On both shards, so that both are told.
    let mut players: Vec<Player> = (0..12).map(|_| Player::open(server.address, &path)).collect();
    rig::play_together(&mut players, SECOND);
    // The stream hears of its viewers from their shards.
    let stream = format!("/api/v1/streams/{}", rig::infohash(1_600));
    eventually("twelve viewers", || (server.api(&stream)["viewers"] == 12).then_some(()));
    let said = done(&change(&server, "DELETE", &stream));
    assert_eq!((&said["id"], &said["viewers"]), (&rig::infohash(1_600).into(), &12.into()));
    for report in rig::play_out_together(&mut players) {
        assert!(report.is_unbroken(), "{report:?}");
    }
    rig::await_stops(&engine, 1);
    server.await_lines(12, &["viewer end", "reason=kicked"]);
    // It is not known to be offline: who asks again gets it again.
    let mut again = Player::open(server.address, &path);
    assert!(again.play(SECOND).is_unbroken());
    // By its content id as well.
    let content = format!("/api/v1/streams/{}", rig::content_id(1_600));
    done(&change(&server, "DELETE", &content));
    again.play_to_the_end();
    let gone = eventually("the stream gone", || {
        let reply = change(&server, "DELETE", &content);
        (reply.status == 404).then_some(reply)
    });
    GONE.check("a stream that does not run", &gone);
}

#[test]
fn a_viewer_is_ended_and_kept_out() {
    let engine = rig::engine(rig::one_channel(1_601));
    let server =
        Server::with(&[&engine]).set("RINGCAST_PLAY_TOKEN", "alice:a, bob:b").start().ready();
    let play = |token: &str| format!("{}&token={token}", Server::play(&rig::content_id(1_601)));
    let mut alice = Player::open(server.address, &play("a"));
    let mut bob = Player::open(server.address, &play("b"));
    alice.play(SECOND);
    let unlucky = format!("/api/v1/viewers/{}?block=60", alice.id());
    let said = done(&change(&server, "DELETE", &unlucky));
    assert_eq!((&said["id"], &said["blocked_seconds"]), (&alice.id().into(), &60.into()));
    assert!(alice.play_out().is_unbroken());
    server.await_line(&["viewer end", &alice.id(), "reason=kicked"]);
    GONE.check("one who has left", &change(&server, "DELETE", &unlucky));
    let refused = rig::get(server.address, &play("a"));
    let message = Refusal::new(403, "forbidden").check("one who is kept out", &refused);
    assert!(message.contains("operator"), "{message}");
    let seconds: u64 = refused.header("retry-after").expect("how long").parse().unwrap();
    assert!((1..=61).contains(&seconds), "{seconds}");
    // The same address under another name is somebody else.
    assert_eq!(Player::open(server.address, &play("b")).status, 200);
    assert!(bob.play_on(SECOND).is_unbroken());
    // Without a block the player may come back at once.
    done(&change(&server, "DELETE", &format!("/api/v1/viewers/{}", bob.id())));
    bob.play_out();
    assert_eq!(Player::open(server.address, &play("b")).status, 200);
}

#[test]
fn an_id_that_is_offline_is_tried_again_when_it_is_cleared() {
    let dead = Channel::offline(&rig::infohash(1_603))
        .content_id(&rig::content_id(1_603))
        .content_id(&rig::content_id(1_606));
    let engine = rig::engine(rig::one_channel(1_602).channel(dead));
    let server = Server::with(&[&engine])
        .set("PROXY_INIT_TIMEOUT", "1")
        .set("PROXY_GRACE_PERIOD", "100ms")
        .start()
        .ready();
    let ids = [rig::infohash(1_603), rig::content_id(1_603), rig::content_id(1_606)];
    let offline = |id: &str| format!("/api/v1/offline/{id}");
    for id in &ids {
        GONE.check("not offline yet", &change(&server, "DELETE", &offline(id)));
    }
    let ask = |id: &str| {
        let reply = rig::get(server.address, &Server::play(id));
        assert_eq!(reply.status, 504, "{}", reply.text());
        reply.error_message()
    };
    // Marked and cleared by each; the last one is another name of what was marked.
    for (by, cleared_as) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)] {
        ask(&ids[by]);
        let row = eventually("the id is known to be offline", || {
            let page = server.api("/api/v1/offline");
            (page["total"] == 1).then(|| page["offline"][0].clone())
        });
        assert_eq!(row["id"], ids[0]);
        assert_eq!(row["content_id"], if by == 0 { Value::Null } else { ids[by].as_str().into() });
        let asked = engine.control().counters().getstreams;
        assert!(ask(&ids[by]).ends_with("(asked a moment ago)"));
        if cleared_as != by && cleared_as != 0 {
            // That it is another name, an engine says.
            assert!(ask(&ids[cleared_as]).ends_with("(asked a moment ago)"));
        }
        assert_eq!(engine.control().counters().getstreams, asked, "answered from memory");
        let path = offline(&ids[cleared_as].to_uppercase());
        assert_eq!(done(&change(&server, "DELETE", &path))["id"], ids[0]);
        assert_eq!(server.api("/api/v1/offline")["total"], 0);
        GONE.check("cleared", &change(&server, "DELETE", &path));
    }
    let asked = engine.control().counters().getstreams;
    ask(&ids[1]);
    assert!(engine.control().counters().getstreams > asked, "asked again");
}

#[test]
fn engines_are_added_drained_and_taken_out() {
    let (first, second) =
        (rig::engine(rig::one_channel(1_604)), rig::engine(rig::one_channel(1_604)));
    let server = Server::with(&[&first]).start().ready();
    let engines = || server.api("/api/v1/engines")["engines"].as_array().unwrap().clone();
    let state =
        |id: &str| engines().iter().find(|row| row["id"] == id).map(|row| row["state"].clone());
    let await_state = |id: &str, wanted: Option<&str>| {
        eventually("the engine's state", || {
            (state(id).as_ref().and_then(Value::as_str) == wanted).then_some(())
        });
    };
    let body = format!("{{\"spec\": \"{},name=late\"}}", second.addr());
    let added = ask(&server, "POST", "/api/v1/engines", "", &body);
    assert_eq!(added.status, 201, "{}", added.text());
    await_state("late", Some("up"));
    for wrong in ["", "{}", "{\"spec\":\"file:/etc/passwd\"}", "no spec at all,"] {
        let refused = ask(&server, "POST", "/api/v1/engines", "", wrong);
        Refusal::no_cors(400, "bad_request").check(wrong, &refused);
    }
    let long = "x".repeat(70_000);
    let mut socket = rig::connect(server.address);
    let head = format!(
        "POST /api/v1/engines HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        long.len()
    );
    std::io::Write::write_all(&mut socket, head.as_bytes()).unwrap();
    let refused = rig::whole_reply(&mut socket);
    Refusal::no_cors(413, "too_long").check("a body of a size that nobody means", &refused);

    done(&change(&server, "POST", "/api/v1/engines/e0/drain"));
    await_state("e0", Some("draining"));
    let path = Server::play(&rig::content_id(1_604));
    let mut player = Player::open(server.address, &path);
    assert!(player.play(SECOND).is_unbroken());
    assert_eq!((first.control().sessions_open(), second.control().sessions_open()), (0, 1));
    done(&change(&server, "POST", "/api/v1/engines/e0/drain?draining=false"));
    await_state("e0", Some("up"));

    done(&change(&server, "DELETE", "/api/v1/engines/e0"));
    await_state("e0", None);
    GONE.check("an engine that is gone", &change(&server, "DELETE", "/api/v1/engines/e0"));
    GONE.check("an engine that never was", &change(&server, "POST", "/api/v1/engines/x/drain"));
    let body = format!("{},name=e0", first.addr());
    assert_eq!(ask(&server, "POST", "/api/v1/engines", "", &body).status, 201);
    await_state("e0", Some("up"));
    assert!(player.play_on(SECOND).is_unbroken(), "nobody noticed");
}

#[test]
fn a_session_cookie_reads_and_changes_nothing() {
    let engine = rig::engine(rig::one_channel(1_605));
    let server =
        Server::with(&[&engine]).set("RINGCAST_API_TOKEN", "secret-api-token").start().ready();
    let bearer = "Authorization: Bearer secret-api-token\r\n";
    let closed = Refusal::no_cors(401, "unauthorized");
    closed.check("no token", &ask(&server, "POST", "/api/v1/session", "", ""));
    let foreign = format!("{bearer}Origin: http://evil.example\r\n");
    let refused = ask(&server, "POST", "/api/v1/session", &foreign, "");
    Refusal::no_cors(403, "forbidden").check("a page elsewhere", &refused);
    let opened = ask(&server, "POST", "/api/v1/session", bearer, "");
    assert_eq!(opened.status, 200, "{}", opened.text());
    let set = opened.header("set-cookie").expect("a cookie").to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    let cookie = format!("Cookie: {}\r\n", set.split(';').next().unwrap());
    assert_eq!(ask(&server, "GET", "/api/v1/viewers", &cookie, "").status, 200);
    let stream = format!("/api/v1/streams/{}", rig::infohash(1_605));
    closed.check("a change by cookie", &ask(&server, "DELETE", &stream, &cookie, ""));
    GONE.check("a change by token", &ask(&server, "DELETE", &stream, bearer, ""));
    let ended = ask(&server, "DELETE", "/api/v1/session", &cookie, "");
    assert!(ended.header("set-cookie").expect("a cookie").contains("Max-Age=0"));
    assert_eq!(server.lines_with(&["secret-api"]), 0);
}
