//! What stat says while a stream starts, plays and suffers.

use ace_emulator::Channel;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use serde_json::Value as Json;

use crate::client::Body;
use crate::client::INFOHASH;
use crate::client::OTHER;
use crate::client::body_of;
use crate::client::config;
use crate::client::content_path;
use crate::client::emulator;
use crate::client::get;
use crate::client::json_of;
use crate::client::open;
use crate::client::outcome;
use crate::client::path_of;
use crate::client::status_of;

fn stat(emulator: &Emulator, session: &Json) -> Json {
    json_of(&get(emulator.addr(), &path_of(&session["stat_url"])))["response"].clone()
}

fn number(json: &Json) -> u64 {
    json.as_u64().or_else(|| json.as_str()?.parse().ok()).unwrap()
}

#[test]
fn empty_then_idle_then_prebuffering_then_playing() {
    let emulator = emulator();
    let control = emulator.control();
    control.set_for(INFOHASH, Knob::ColdStartMs, 1_000_u64);
    control.set(Knob::Peers, 7_u64);
    let begin = ace_emulator::now_us();
    let session = open(emulator.addr(), INFOHASH, "a");
    let waiting = {
        let (addr, session) = (emulator.addr(), session.clone());
        std::thread::spawn(move || content_path(addr, &session))
    };
    assert_eq!(stat(&emulator, &session), serde_json::json!({}));
    let second = stat(&emulator, &session)["status"].clone();
    let in_time = ace_emulator::now_us() - begin < 100_000;
    assert_eq!(second, if in_time { Json::from("idle") } else { second.clone() });
    let mut progress = 0;
    loop {
        let stat = stat(&emulator, &session);
        match stat["status"].as_str().unwrap() {
            "idle" => {}
            "prebuf" => {
                assert!(number(&stat["progress"]) >= progress && stat["livepos"].is_null());
                progress = number(&stat["progress"]);
                assert_eq!(number(&stat["downloaded"]) % 16_384, 0);
            }
            other => {
                assert_eq!(other, "dl");
                break;
            }
        }
    }
    assert!(progress > 50);
    let stat = stat(&emulator, &session);
    let position = &stat["livepos"];
    let now = ace_emulator::now_us() / 1_000_000;
    assert!(position["live_last"].is_string() && number(&position["live_last"]) + 2 > now);
    assert_eq!(number(&position["live_last"]) - number(&position["live_first"]), 1_800);
    assert!(
        number(&stat["downloaded"]) >= 1_900_000
            && number(&stat["downloaded"]).is_multiple_of(16_384)
    );
    assert_eq!(stat["peers"], 7);
    assert!(waiting.join().unwrap().starts_with("/content/"));
}

#[test]
fn a_slow_reader_falls_behind_live_and_out_of_the_window() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    control.set(Knob::BurstBytes, 4_000_000_u64);
    control.set(Knob::StarveAfterBytes, 65_536_u64);
    let session = open(addr, INFOHASH, "a");
    let mut body = Body::open(addr, &content_path(addr, &session));
    body.read(65_536);
    stat(&emulator, &session);
    let position = stat(&emulator, &session)["livepos"].clone();
    // 4 MB are 8 s of 4 Mbit/s.
    let behind = number(&position["live_last"]) - number(&position["pos"]);
    assert!((7..=14).contains(&behind), "{position}");
    control.set(Knob::BurstBytes, 100_000_u64);
    control.set(Knob::WindowMs, 1_000_u64);
    control.clear(Knob::StarveAfterBytes);
    assert!(control.wait_for(2_000, |control| control.counters().window_jumps >= 1));
    let mut verifier = ace_emulator::Verifier::new();
    verifier.feed(&body.read(300_000));
    assert_eq!(verifier.report().misaligned_bytes, 0);
}

#[test]
fn frozen_old_unknown_and_hanging() {
    let emulator = emulator();
    let control = emulator.control();
    let session = open(emulator.addr(), INFOHASH, "a");
    stat(&emulator, &session);
    control.set(Knob::LiveLastAgeS, 3_600_u64);
    let position = stat(&emulator, &session)["livepos"].clone();
    assert!(number(&position["live_last"]) + 3_500 < ace_emulator::now_us() / 1_000_000);
    control.clear(Knob::LiveLastAgeS);
    control.set(Knob::StatFrozen, true);
    let frozen = stat(&emulator, &session);
    assert!(!control.wait_for(150, |_| false));
    assert_eq!(stat(&emulator, &session), frozen);
    control.clear(Knob::StatFrozen);
    control.set_next(1, Knob::StatUnknown, true);
    assert_eq!(stat(&emulator, &session), Json::Null);
    assert_eq!(stat(&emulator, &session)["status"], "dl");
    control.set(Knob::HangStat, true);
    let hung = outcome(emulator.addr(), &path_of(&session["stat_url"]));
    assert_eq!(hung, (String::new(), crate::client::End::Silence));
}

#[test]
fn offline_content_prebuffers_for_ever() {
    let emulator = emulator();
    let (addr, control) = (emulator.addr(), emulator.control());
    let unknown = "9".repeat(40);
    control.put_channel(Channel::offline(OTHER)).unwrap();
    control.set_for(INFOHASH, Knob::Offline, true);
    for infohash in [unknown.as_str(), OTHER, INFOHASH] {
        let session = open(addr, infohash, infohash);
        stat(&emulator, &session);
        let stat = stat(&emulator, &session);
        assert_eq!(stat["status"], "prebuf");
        assert_eq!((&stat["peers"], &stat["downloaded"]), (&0.into(), &0.into()));
        let (reply, end) = outcome(addr, &path_of(&session["playback_url"]));
        assert_eq!((reply.as_str(), end), ("", crate::client::End::Silence));
    }
}

#[test]
fn nature_knobs_show_in_replies() {
    let emulator = Emulator::start(config()).unwrap();
    let (addr, control) = (emulator.addr(), emulator.control());
    control.set_for(INFOHASH, Knob::IsLive, "0");
    control.set_for(INFOHASH, Knob::IsEncrypted, true);
    control.set_for(INFOHASH, Knob::HlsSource, true);
    let session = open(addr, INFOHASH, "a");
    assert_eq!((&session["is_live"], &session["is_encrypted"]), (&0.into(), &1.into()));
    let list = path_of(&session["playback_url"]);
    assert!(list.ends_with(".m3u8"));
    assert_eq!(status_of(&get(addr, &list)), "200");
    assert!(body_of(&get(addr, &list)).starts_with("#EXTM3U"));
    assert_eq!(open(addr, OTHER, "b")["is_live"], 1);
}
