//! JSON of the API, of the engine and of acexy.

use serde_json::Value;

use crate::admin::engine_shape;
use crate::admin::engine_shape::LivePos;
use crate::admin::engine_shape::Playback;
use crate::admin::engine_shape::Stat;
use crate::admin::records::*;

fn keys(json: &str) -> Vec<String> {
    // serde_json's map is sorted: the order is the text's business, the names are ours.
    let value: Value = serde_json::from_str(json).unwrap();
    value.as_object().unwrap().keys().cloned().collect()
}

fn sorted(names: &str) -> Vec<String> {
    let mut names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn records_have_the_promised_names() {
    let status = one(&StatusRecord::default());
    let names = "version uptime_seconds shards send_path streams viewers engines engine_sessions \
                 bytes_in_total bytes_out_total redis memory";
    assert_eq!(keys(&status), sorted(names));
    assert!(status.contains(r#""redis":{"state":"off","lag_ms":0,"dropped_total":0}"#));
    assert!(
        status.contains(
            r#""memory":{"budget_bytes":0,"ring_bytes":0,"twin_bytes":0,"viewer_bytes":0}"#
        )
    );
    let names = "id content_id state engine viewers bitrate_bps ring_seconds ring_bytes \
                 head_offset started_at failovers discontinuities frozen peers speed_down_kbps lease";
    assert_eq!(keys(&one(&StreamRecord::default())), sorted(names));
    assert!(one(&StreamRecord::default()).ends_with(r#""lease":{"owner":null,"epoch":0}}"#));
    let names = "id name stream address user_agent protocol shard send_path connected_at \
                 bytes_sent rate_bps seconds_behind skips rwnd_limited_ms";
    assert_eq!(keys(&one(&ViewerRecord::default())), sorted(names));
    let names = "id host port source state forwarded sessions max_sessions version \
                 last_answer_at failures rest last_error";
    assert_eq!(keys(&one(&EngineRecord::default())), sorted(names));
    let names = "id content_id reason since until failures";
    assert_eq!(keys(&one(&OfflineRecord::default())), sorted(names));
}

#[test]
fn states_are_lower_case_words() {
    assert_eq!(one(&RedisState::Connecting), "\"connecting\"");
    assert_eq!(one(&EngineState::Draining), "\"draining\"");
}

#[test]
fn lists_have_their_envelope() {
    assert_eq!(
        list::<ViewerRecord>("viewers", &[], 7, None),
        r#"{"viewers":[],"total":7,"after":null}"#
    );
    let row = OfflineRecord { id: "x".to_owned(), ..OfflineRecord::default() };
    let page = list("offline", &[row], 2, Some("x"));
    assert!(page.starts_with(r#"{"offline":[{"id":"x","#), "{page}");
    assert!(page.ends_with(r#"],"total":2,"after":"x"}"#), "{page}");
}

#[test]
fn getstream_is_the_engines_own_text() {
    let playback = Playback {
        playback_url: "http://h/ace/r/i/k",
        stat_url: "http://h/ace/stat/i/k",
        command_url: "http://h/ace/cmd/i/k",
        event_url: None,
        infohash: "i",
        playback_session_id: "p",
        client_session_id: -1,
        is_live: true,
        is_encrypted: false,
    };
    assert_eq!(
        engine_shape::getstream_ok(&playback),
        "{\"response\": {\"playback_url\": \"http://h/ace/r/i/k\", \
         \"stat_url\": \"http://h/ace/stat/i/k\", \"command_url\": \"http://h/ace/cmd/i/k\", \
         \"infohash\": \"i\", \"playback_session_id\": \"p\", \"client_session_id\": -1, \
         \"is_live\": 1, \"is_encrypted\": 0}, \"error\": null}"
    );
    let with_events = Playback { event_url: Some("http://h/ace/event/i/k"), ..playback };
    assert!(engine_shape::getstream_ok(&with_events).contains("\"event_url\": \"http"));
    assert_eq!(
        engine_shape::getstream_error("failed to load content"),
        "{\"response\": null, \"error\": \"failed to load content\"}"
    );
}

#[test]
fn commands_answer_as_the_engine_does() {
    assert_eq!(engine_shape::command_ok(), "{\"response\": \"ok\", \"error\": null}");
    assert_eq!(
        engine_shape::command_error(engine_shape::NOT_SUPPORTED),
        "{\"response\": null, \"error\": \"not supported on a shared stream\"}"
    );
}

#[test]
fn stat_has_texts_in_livepos() {
    let livepos = LivePos { live_first: 10, live_last: 1_810, pos: 1_800, buffer_pieces: 30 };
    let stat = Stat {
        status: "dl",
        peers: 4,
        speed_down: 257,
        speed_up: 29,
        downloaded: 3_276_800,
        uploaded: 0,
        total_progress: 0,
        infohash: "i",
        playback_session_id: "p",
        is_live: true,
        livepos: Some(livepos),
    };
    let value: Value = serde_json::from_str(&engine_shape::stat(&stat)).unwrap();
    assert_eq!(value["response"]["livepos"]["live_last"], "1810");
    assert_eq!(value["response"]["is_live"], 1);
    let prebuffering = Stat { livepos: None, ..stat };
    assert!(!engine_shape::stat(&prebuffering).contains("livepos"));
}

#[test]
fn versions_carry_the_engines_code() {
    assert_eq!(
        engine_shape::get_version("3.2.11"),
        "{\"result\": {\"platform\": \"linux\", \"version\": \"3.2.11\", \"code\": 3021100}, \
         \"error\": null}"
    );
    assert!(engine_shape::get_version("3.1.70").contains("3017000"));
    assert!(engine_shape::get_version("3.1.75rc4").contains("3017500"));
    assert!(engine_shape::get_version("").contains("\"code\": 0"));
    let status: Value = serde_json::from_str(&engine_shape::get_status("3.2.3")).unwrap();
    assert_eq!(status["result"]["version"]["code"], 3_020_300);
    assert_eq!(status["result"]["playlist_loaded"], true);
    assert!(status.get("error").is_none());
}

#[test]
fn acexy_status_has_the_stream_only_when_asked() {
    assert_eq!(engine_shape::acexy_status(3, 2, None), r#"{"clients":3,"streams":2}"#);
    assert_eq!(
        engine_shape::acexy_status(1, 1, Some(("i", "http://h/s"))),
        r#"{"clients":1,"streams":1,"stream_id":"i","stat_url":"http://h/s"}"#
    );
}
