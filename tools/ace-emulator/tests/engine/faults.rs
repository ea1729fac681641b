//! Faults before the body: connections, getstream, playback, service calls.

use std::net::TcpStream;

use ace_emulator::Knob;

use crate::client::Body;
use crate::client::CONTENT_ID;
use crate::client::End;
use crate::client::INFOHASH;
use crate::client::OTHER;
use crate::client::body_of;
use crate::client::content_path;
use crate::client::emulator;
use crate::client::get;
use crate::client::header_of;
use crate::client::json_of;
use crate::client::open;
use crate::client::outcome;
use crate::client::path_of;
use crate::client::status_of;

const VERSION: &str = "/webui/api/service?method=get_version";

#[test]
fn connections_refused_reset_hung_and_slow() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    control.set(Knob::Refuse, true);
    assert!(TcpStream::connect(addr).is_err());
    control.clear(Knob::Refuse);
    assert_eq!(status_of(&get(addr, VERSION)), "200");
    control.set_next(1, Knob::Reset, true);
    assert_eq!(outcome(addr, VERSION), (String::new(), End::Reset));
    control.set_next(1, Knob::AcceptHang, true);
    assert_eq!(outcome(addr, VERSION), (String::new(), End::Silence));
    assert_eq!(status_of(&get(addr, VERSION)), "200");
    control.set(Knob::SlowAcceptMs, 250_u64);
    assert_eq!(outcome(addr, VERSION), (String::new(), End::Silence));
}

#[test]
fn everything_that_can_hang_hangs() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    let session = open(addr, INFOHASH, "a");
    let command = path_of(&session["command_url"]);
    let api = |method: &str| format!("/server/api?api_version=3&method={method}");
    let cases = [
        (Knob::HangGetstream, format!("/ace/getstream?infohash={OTHER}")),
        (Knob::HangCmd, format!("{command}?method=stop")),
        (Knob::HangGetStatus, api("get_status")),
        (Knob::HangMediaFiles, api(&format!("get_media_files&content_id={CONTENT_ID}"))),
        (Knob::HangVersion, VERSION.to_owned()),
        (Knob::HangContent, content_path(addr, &session)),
    ];
    for (knob, target) in cases {
        control.set(knob, true);
        assert_eq!(outcome(addr, &target), (String::new(), End::Silence), "{knob:?}");
        control.clear(knob);
    }
    assert_eq!(control.sessions_open(), 1);
    // A stop that hangs has stopped all the same.
    control.set(Knob::HangStop, true);
    let stop = format!("{command}?method=stop");
    assert_eq!(outcome(addr, &stop), (String::new(), End::Silence));
    assert_eq!(control.sessions_open(), 0);
    assert!(control.wait_for(2_000, |control| control.connections_open() == 0));
}

#[test]
fn getstream_fails_in_every_known_way() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    let target = format!("/ace/getstream?infohash={INFOHASH}&format=json");
    let ask = || get(addr, &target);
    control.set_next(1, Knob::JsonError, "got newer download");
    let error = "{\"response\": null, \"error\": \"got newer download\"}";
    assert_eq!(body_of(&ask()), error);
    control.set_next(1, Knob::JsonErrorObject, "nope");
    assert_eq!(json_of(&ask())["error"]["message"], "nope");
    control.set_next(1, Knob::Premium, true);
    assert!(ask().contains("premium"));
    control.set_next(1, Knob::ResponseEmpty, true);
    assert_eq!(body_of(&ask()), "{\"response\": {}, \"error\": null}");
    control.set_next_for(INFOHASH, 1, Knob::Getstream500, "broken");
    let other = get(addr, &format!("/ace/getstream?infohash={OTHER}"));
    assert_eq!(status_of(&other), "302");
    let reply = ask();
    assert_eq!((status_of(&reply), body_of(&reply)), ("500", "broken"));
    assert_eq!(header_of(&reply, "Content-Type"), Some("text/plain"));
    assert_eq!(header_of(&reply, "Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(control.counters().getstream_failures, 5);
    control.set(Knob::ResolveMs, 200_u64);
    let before = ace_emulator::now_us();
    assert!(json_of(&ask())["error"].is_null());
    assert!(ace_emulator::now_us() - before >= 200_000);
}

#[test]
fn playback_fails_and_then_works() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    let session = open(addr, INFOHASH, "a");
    let playback = path_of(&session["playback_url"]);
    control.set_next(2, Knob::Start500, "start timeout");
    for _ in 0..2 {
        let reply = get(addr, &playback);
        assert_eq!((status_of(&reply), body_of(&reply)), ("500", "start timeout"));
        assert_eq!(header_of(&reply, "Content-Length"), Some("13"));
    }
    assert_eq!(status_of(&get(addr, &playback)), "302");
    control.set_next(1, Knob::Takeover403, true);
    assert_eq!(status_of(&get(addr, &playback)), "403");
    control.set(Knob::SilentPrebuf, true);
    assert_eq!(outcome(addr, &playback), (String::new(), End::Silence));
    control.set(Knob::Prebuf500, true);
    assert_eq!(body_of(&get(addr, &playback)), "start timeout");
    control.clear(Knob::Prebuf500);
    let waiting = std::thread::spawn(move || get(addr, &playback));
    assert!(control.wait_for(2_000, |control| control.counters().playbacks == 7));
    control.clear(Knob::SilentPrebuf);
    assert_eq!(status_of(&waiting.join().unwrap()), "302");
    control.set_next(1, Knob::MalformedHead, true);
    let reply = get(addr, &content_path(addr, &session));
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n"));
    control.set_next(1, Knob::Content404, true);
    assert_eq!(status_of(&get(addr, &content_path(addr, &session))), "404");
    assert!(Body::open(addr, &content_path(addr, &session)).read(188).len() >= 188);
}

#[test]
fn urls_can_lie() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    control.set(Knob::WrongHost, "10.9.8.7:1");
    let session = open(addr, INFOHASH, "a");
    for url in ["playback_url", "stat_url", "command_url"] {
        assert!(session[url].as_str().unwrap().starts_with("http://10.9.8.7:1/ace/"));
    }
    control.clear(Knob::WrongHost);
    let playback = path_of(&session["playback_url"]);
    let location = |reply: &str| header_of(reply, "Location").unwrap().to_owned();
    control.set_next(1, Knob::RedirectTo, "192.0.2.1:80");
    let content = format!("http://192.0.2.1:80/content/{INFOHASH}/");
    assert!(location(&get(addr, &playback)).starts_with(&content));
    control.set_next(1, Knob::RedirectTo, "https://example.org/etc/passwd");
    assert_eq!(location(&get(addr, &playback)), "https://example.org/etc/passwd");
    assert!(location(&get(addr, &playback)).starts_with(&format!("http://{addr}/")));
}

#[test]
fn media_files_may_be_unknown() {
    let emulator = emulator();
    emulator.control().set(Knob::UnknownMediaFiles, true);
    let target = format!("/server/api?method=get_media_files&content_id={CONTENT_ID}");
    let reply = get(emulator.addr(), &target);
    assert_eq!(json_of(&reply)["error"]["message"], "unknown method");
    assert_eq!(emulator.control().counters().media_files, 1);
}
