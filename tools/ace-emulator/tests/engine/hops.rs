//! From getstream to the body: the bytes of each hop.

use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use ace_emulator::Verifier;
use ace_emulator::md5_hex;

use crate::client::Body;
use crate::client::CONTENT_ID;
use crate::client::End;
use crate::client::INFOHASH;
use crate::client::OTHER;
use crate::client::ask;
use crate::client::body_of;
use crate::client::config;
use crate::client::content_path;
use crate::client::emulator;
use crate::client::get;
use crate::client::header_of;
use crate::client::json_of;
use crate::client::open;
use crate::client::post;
use crate::client::status_of;

/// The head with its Date cut out.
fn undated(reply: &str) -> String {
    let head = reply.split_once("\r\n\r\n").unwrap().0;
    let dated = |line: &&str| !line.starts_with("Date: ");
    head.lines().filter(dated).collect::<Vec<_>>().join("\n")
}

#[test]
fn redirects_have_no_length_and_say_where() {
    let emulator = emulator();
    let addr = emulator.addr();
    let key = md5_hex(b"me");
    let reply = get(addr, &format!("/ace/getstream?id={CONTENT_ID}&pid=me"));
    let hop = format!("http://{addr}/ace/r/{INFOHASH}/{key}");
    let expected = |location: &str| {
        format!(
            "HTTP/1.1 302 Found\nServer: BaseHTTP/0.6 Python/3.8.16\nLocation: {location}\n\
             Access-Control-Allow-Origin: *"
        )
    };
    assert_eq!(undated(&reply), expected(&hop));
    assert_eq!(body_of(&reply), format!("Redirect to {hop}"));
    let second = get(addr, &format!("/ace/r/{INFOHASH}/{key}"));
    let content = header_of(&second, "Location").unwrap();
    assert_eq!(undated(&second), expected(content));
    let token = content.strip_prefix(&format!("http://{addr}/content/{INFOHASH}/")).unwrap();
    assert_eq!(token.len(), 32);
    assert!(header_of(&reply, "Date").unwrap().ends_with(" GMT"));
    let reply = get(addr, &format!("/ace/getstream?infohash={INFOHASH}"));
    assert!(body_of(&reply).ends_with(&md5_hex(b"127.0.0.1")), "{reply}");
}

#[test]
fn the_json_reply_is_pythons() {
    let emulator = emulator();
    let addr = emulator.addr();
    let target = format!(
        "/ace/getstream?content_id={CONTENT_ID}&format=json&pid=x&use_api_events=1&client_session_id=7"
    );
    let reply = get(addr, &target);
    let key = md5_hex(b"x");
    let json = json_of(&reply);
    let id = json["response"]["playback_session_id"].as_str().unwrap();
    assert_eq!(id.len(), 40);
    let at = |what: &str| format!("\"http://{addr}/ace/{what}/{INFOHASH}/{key}\"");
    let expected = format!(
        "{{\"response\": {{\"event_url\": {}, \"infohash\": \"{INFOHASH}\", \
         \"playback_session_id\": \"{id}\", \"playback_url\": {}, \"stat_url\": {}, \
         \"command_url\": {}, \"is_live\": 1, \"is_encrypted\": 0, \"client_session_id\": 7}}, \
         \"error\": null}}",
        at("event"),
        at("r"),
        at("stat"),
        at("cmd")
    );
    assert_eq!(body_of(&reply), expected);
    assert_eq!(header_of(&reply, "Content-Type"), Some("application/json"));
    emulator.control().set(Knob::JsonMode, "close");
    assert_eq!(header_of(&get(addr, &target), "Content-Length"), None);
}

#[test]
fn the_body_is_the_channels_and_its_head_the_engines() {
    let emulator = emulator();
    let addr = emulator.addr();
    let mut body = Body::start(addr, INFOHASH, "a");
    assert_eq!(
        undated(&format!("{}\r\n\r\n", body.head)),
        "HTTP/1.1 200 OK\nServer: BaseHTTP/0.6 Python/3.8.16\nConnection: Keep-Alive\n\
         Keep-Alive: timeout=15, max=100\nContent-Type: video/mp2t\nAccept-Ranges: bytes\n\
         Transfer-Encoding: chunked"
    );
    // The burst, and two pieces that had to be waited for.
    let bytes = body.read(2_000_000 + 3 * 65_536);
    assert!(body.chunk_sizes.iter().all(|size| *size == 65_536));
    let mut verifier = Verifier::expecting(emulator.control().signed_config(INFOHASH).unwrap());
    verifier.feed_at(&bytes, ace_emulator::now_us());
    let report = verifier.report();
    assert_eq!((report.gap_count, report.wrong_packets, report.misaligned_bytes), (0, 0, 0));
    assert_eq!(report.continuity_errors, 0);
    assert!(report.latency.max_us() > 1_000_000, "the burst is the past");
}

#[test]
fn versions_are_mirrored_and_other_methods_refused() {
    let emulator = emulator();
    let addr = emulator.addr();
    let old = ask(addr, "GET /webui/api/service?method=get_version HTTP/1.0\r\n\r\n", 2_000).0;
    assert!(old.starts_with(b"HTTP/1.0 200 OK\r\nServer: BaseHTTP"));
    let head = ask(addr, "HEAD /ace/getstream?id=1 HTTP/1.1\r\nHost: a\r\n\r\n", 2_000).0;
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.0 501 Unsupported method"), "{head}");
    assert!(head.ends_with("\r\n\r\n"));
    assert_eq!(emulator.control().counters().heads, 1);
    assert_eq!(emulator.control().counters().getstreams, 0);
    assert_eq!(status_of(&get(addr, "/nowhere")), "500");
    assert_eq!(body_of(&get(addr, "/nowhere")), "Internal Server Error, couldn't find resource");
}

#[test]
fn names_are_resolved_as_the_engine_does() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    let refused = "{\"response\": null, \"error\": \"failed to load content\"}";
    let ask = |what: &str| get(addr, &format!("/ace/getstream?{what}&format=json"));
    assert_eq!(body_of(&ask(&format!("id={INFOHASH}"))), refused);
    assert_eq!(body_of(&ask("id=junk")), refused);
    assert!(body_of(&ask("pid=1")).contains("missing content id"));
    control.set(Knob::IdAcceptsInfohash, true);
    assert_eq!(json_of(&ask(&format!("id={INFOHASH}")))["response"]["infohash"], INFOHASH);
    // content_id counts before infohash.
    let both = ask(&format!("infohash={OTHER}&content_id={CONTENT_ID}"));
    assert_eq!(json_of(&both)["response"]["infohash"], INFOHASH);
    let magnet = ask(&format!("magnet=magnet%3A%3Fxt%3Durn%3Abtih%3A{OTHER}"));
    assert_eq!(json_of(&magnet)["response"]["infohash"], OTHER);
    let upper = ask(&format!("infohash={}", OTHER.to_uppercase()));
    assert_eq!(json_of(&upper)["response"]["infohash"], OTHER);
}

#[test]
fn any_infohash_is_a_channel_when_asked_for() {
    let config =
        Config::default().knob(Knob::AnyInfohash, true).knob(Knob::AnyBitrateBps, 3_000_000);
    let emulator = Emulator::start(config).unwrap();
    let mut body = Body::start(emulator.addr(), OTHER, "p");
    let mut verifier = Verifier::new();
    verifier.feed(&body.read(100_000));
    let learned = *verifier.config().unwrap();
    assert_eq!((learned.tag, learned.bitrate_bps), (0xfedc_ba98, 3_000_000));
    assert_eq!(Some(learned), emulator.control().signed_config(OTHER));
}

#[test]
fn service_endpoints_answer() {
    let emulator = emulator();
    let addr = emulator.addr();
    let api = |method: &str| {
        let reply = get(addr, &format!("/server/api?api_version=3&method={method}"));
        body_of(&reply).to_owned()
    };
    let version =
        "\"version\": {\"platform\": \"linux\", \"version\": \"3.2.11\", \"code\": 3021100}";
    let status = format!("{{\"result\": {{\"playlist_loaded\": true, {version}}}}}");
    assert_eq!(api("get_status"), status);
    assert_eq!(api("get_network_connection_status"), "{\"result\": {\"connected\": true}}");
    let files: serde_json::Value =
        serde_json::from_str(&api(&format!("get_media_files&content_id={CONTENT_ID}"))).unwrap();
    assert_eq!(files["result"]["infohash"], INFOHASH);
    let unknown = "{\"error\": {\"message\": \"cannot get transport file\", \"code\": 0}}";
    assert_eq!(api(&format!("get_media_files&content_id={OTHER}")), unknown);
    let web = get(addr, "/webui/api/service?method=get_version");
    assert!(body_of(&web).ends_with("\"websocket_port\": 37293}, \"error\": null}"));
    let padded = get(addr, "/webui/api/service?method=get_version&format=jsonp&callback=f");
    assert!(body_of(&padded).starts_with("f({") && body_of(&padded).ends_with("});"));
    assert_eq!(emulator.control().counters().sessions_opened, 0);
}

#[test]
fn hls_lists_segments_that_join() {
    let emulator = emulator();
    let addr = emulator.addr();
    let reply = get(addr, &format!("/ace/manifest.m3u8?infohash={INFOHASH}&format=json&pid=h"));
    let list_url = json_of(&reply)["response"]["playback_url"].as_str().unwrap().to_owned();
    let path = list_url.strip_prefix(&format!("http://{addr}")).unwrap();
    assert_eq!(path, format!("/ace/m/{INFOHASH}/{}.m3u8", md5_hex(b"h")));
    let list = get(addr, path);
    assert!(body_of(&list).starts_with("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:7\n"));
    let segments: Vec<&str> =
        body_of(&list).lines().filter_map(|l| l.strip_prefix("http://")).collect();
    assert_eq!(segments.len(), 13);
    let mut verifier = Verifier::new();
    for url in &segments[..2] {
        let path = &url[url.find('/').unwrap()..];
        let (bytes, end) = ask(addr, &crate::client::get_request(addr, path), 2_000);
        assert_eq!(end, End::Fin);
        let body = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        verifier.feed(&bytes[body..]);
    }
    assert!(verifier.report().is_unbroken(), "{:?}", verifier.report());
    // A second playlist with another pid takes over.
    get(addr, &format!("/ace/manifest.m3u8?infohash={INFOHASH}&pid=other"));
    assert_eq!(status_of(&get(addr, path)), "403");
}

#[test]
fn knobs_turn_over_http() {
    let config = config();
    let config = Config { control_listen: Some(([127, 0, 0, 1], 0).into()), ..config };
    let emulator = Emulator::start(config).unwrap();
    let (addr, control) = (emulator.addr(), emulator.control_addr().unwrap());
    let posted = post(control, "/emulator/knobs", "{\"start_500\": \"busy\", \"peers\": 9}");
    assert_eq!(status_of(&posted), "200");
    let session = open(addr, INFOHASH, "k");
    let playback = crate::client::path_of(&session["playback_url"]);
    assert_eq!(body_of(&get(addr, &playback)), "busy");
    let one = "[{\"knob\": \"start_500\", \"value\": null}, \
               {\"knob\": \"content_404\", \"value\": true, \"count\": 1, \"channel\": \"x\"}]";
    assert_eq!(status_of(&post(addr, "/emulator/knobs", one)), "200");
    assert_eq!(status_of(&get(addr, &playback)), "302");
    assert_eq!(status_of(&post(addr, "/emulator/knobs", "{\"nonsense\": 1}")), "400");
    let state = json_of(&get(control, "/emulator/state"));
    assert_eq!(state["counters"]["getstreams"], 1);
    assert_eq!(state["counters"]["sessions_open"], 1);
    assert_eq!(state["sessions"][0]["state"], "open");
    assert_eq!(state["knobs"][1]["knob"], "content_404");
    assert_eq!(state["channels"][0]["source"]["bitrate_bps"], 4_000_000);
    post(control, "/emulator/reset", "");
    let state = json_of(&get(control, "/emulator/state"));
    assert_eq!(state["knobs"].as_array().map(Vec::len), Some(0));
    assert_eq!(state["counters"]["getstreams"], 0);
    let spec = format!("{},bitrate=1000000,video=none", "1".repeat(40));
    assert_eq!(status_of(&post(control, "/emulator/channels", &spec)), "200");
    let path = content_path(addr, &open(addr, &"1".repeat(40), "z"));
    assert_eq!(Body::open(addr, &path).read(188)[0], 0x47);
    assert_eq!(status_of(&get(control, "/ace/getstream")), "404");
}
