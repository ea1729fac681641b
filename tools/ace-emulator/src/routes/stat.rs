//! `/ace/stat` and `/ace/cmd`.

use std::sync::atomic::Ordering;

use crate::clock::now_us;
use crate::counters::bump;
use crate::engine::Tuned;
use crate::engine::World;
use crate::json;
use crate::knobs::Knob;
use crate::routes::Exchange;
use crate::routes::Reply;
use crate::routes::getstream::nature;
use crate::session::Lookup;
use crate::session::SessionKind;

const UNKNOWN: &str = "unknown playback session id";
const STEP_BYTES: u64 = 16_384;

pub(crate) fn stat(x: &Exchange, infohash: &str, key: &str) -> Reply {
    bump(&x.engine.counting.stats);
    if x.flag(Knob::HangStat, Some(infohash)) {
        return Reply::Hang;
    }
    if x.flag(Knob::StatUnknown, Some(infohash)) {
        return x.json(json::refusal(UNKNOWN));
    }
    let tuned = x.engine.channel(infohash);
    let mut world = x.engine.world();
    // A superseded key reports the session that took over.
    let serial = match world.sessions.lookup(infohash, key) {
        Lookup::Current(serial) | Lookup::Superseded(serial) => serial,
        Lookup::Gone(_) | Lookup::Unknown => {
            drop(world);
            return x.json(json::refusal(UNKNOWN));
        }
    };
    let session = world.sessions.session(serial);
    session.stats += 1;
    if x.request.param("skip_player_activity") != Some("1") {
        session.progress.touch();
    }
    let text = if session.stats == 1 {
        json::envelope("{}", "null")
    } else {
        json::envelope(&report(&world, &tuned, serial, x.engine.epoch_us), "null")
    };
    drop(world);
    x.json(text)
}

/// What the download looks like from outside.
struct View {
    status: &'static str,
    progress: Option<u64>,
    downloaded: u64,
    peers: u64,
    speed_kbps: u64,
    /// Media time of the newest second, and of the reader.
    livepos: Option<(u64, u64)>,
}

fn report(world: &World, tuned: &Tuned, serial: u64, epoch_us: u64) -> String {
    let session = &world.sessions.by_serial[&serial];
    let view = view(world, tuned, serial, epoch_us);
    let (is_live, is_encrypted) = nature(&world.knobs, tuned);
    let mut members = vec![
        ("status", json::text(view.status)),
        ("is_live", is_live.to_string()),
        ("infohash", json::text(&session.infohash)),
    ];
    if view.status == "idle" {
        return json::object(&members);
    }
    let cache = [
        ("avail", "3199156224".to_owned()),
        ("disk_cache_limit", "2266017044".to_owned()),
        ("inactive_inuse", "0".to_owned()),
        ("active_inuse", view.downloaded.min(104_857_600).to_string()),
    ];
    let uploaded = view.downloaded / 8 / STEP_BYTES * STEP_BYTES;
    members.extend([
        ("uploaded", uploaded.to_string()),
        ("network_monitor_status", "0".to_owned()),
        ("debug_level", "0".to_owned()),
        ("disk_cache_stats", json::object(&cache)),
        ("speed_down", view.speed_kbps.to_string()),
        ("speed_up", (view.speed_kbps / 8).to_string()),
        ("network_monitor_started", "false".to_owned()),
        ("selected_stream_index", "0".to_owned()),
        ("total_progress", "0".to_owned()),
        ("stream_status", "-1".to_owned()),
        ("client_session_id", session.client_session_id.to_string()),
        ("downloaded", view.downloaded.to_string()),
        (
            "manifest_access_mode",
            i32::from(session.kind == SessionKind::Hls).wrapping_sub(1).to_string(),
        ),
        ("peers", view.peers.to_string()),
        ("playback_session_id", json::text(&session.playback_session_id)),
        ("is_encrypted", is_encrypted.to_string()),
        ("selected_file_index", "-1".to_owned()),
    ]);
    if let Some(progress) = view.progress {
        members.push(("progress", progress.to_string()));
    }
    if let Some((last, position)) = view.livepos {
        members.push(("livepos", livepos(world, &session.infohash, last, position)));
    }
    json::object(&members)
}

fn livepos(world: &World, infohash: &str, last: u64, position: u64) -> String {
    let window_s = world.knobs.peek_number(Knob::WindowMs, Some(infohash)) / 1_000;
    let first = last.saturating_sub(window_s).to_string();
    let (last, position) = (last.to_string(), position.to_string());
    json::object(&[
        ("last", json::text(&last)),
        ("live_first", json::text(&first)),
        ("pos", json::text(&position)),
        ("first_ts", json::text(&first)),
        ("last_ts", json::text(&last)),
        ("is_live", json::text("1")),
        ("live_last", json::text(&last)),
        ("buffer_pieces", json::text("30")),
    ])
}

fn view(world: &World, tuned: &Tuned, serial: u64, epoch_us: u64) -> View {
    let session = &world.sessions.by_serial[&serial];
    let infohash = Some(session.infohash.as_str());
    let download = &world.sessions.downloads[&session.infohash];
    let knobs = &world.knobs;
    let silent =
        knobs.peek_flag(Knob::SilentPrebuf, infohash) || knobs.peek_flag(Knob::Offline, infohash);
    let prebuf = |progress: u64, downloaded: u64, peers: u64, speed_kbps: u64| View {
        status: "prebuf",
        progress: Some(progress),
        downloaded: downloaded / STEP_BYTES * STEP_BYTES,
        peers,
        speed_kbps,
        livepos: None,
    };
    let Some(media) = tuned.media.as_ref().filter(|_| !silent) else {
        return prebuf(0, 0, 0, 0);
    };
    let now = now_us();
    let (age_us, cold_us) = (now.saturating_sub(download.started_us), download.cold_start_us);
    let burst_bytes = knobs.peek_number(Knob::BurstBytes, infohash);
    let peers = knobs.peek_number(Knob::Peers, infohash);
    let speed_kbps = media.bitrate_bps() / 8_000;
    if age_us < cold_us / 10 {
        return View { status: "idle", ..prebuf(0, 0, 0, 0) };
    }
    if age_us < cold_us {
        let progress = age_us * 100 / cold_us;
        return prebuf(progress, burst_bytes * progress / 100, peers, speed_kbps);
    }
    let frozen = knobs.peek_flag(Knob::StatFrozen, infohash);
    let grown = if frozen { 0 } else { (age_us - cold_us) / 1_000 * media.bitrate_bps() / 8_000 };
    let age_s = knobs.peek_number(Knob::LiveLastAgeS, infohash);
    let last_us = if frozen { download.started_us + cold_us } else { now };
    let last = (last_us.max(epoch_us) / 1_000_000).saturating_sub(age_s);
    let position_us = session.progress.position_us.load(Ordering::Relaxed);
    let position = if position_us == 0 { last } else { (position_us / 1_000_000).min(last) };
    View {
        status: "dl",
        progress: None,
        downloaded: (burst_bytes + grown) / STEP_BYTES * STEP_BYTES,
        peers,
        speed_kbps,
        livepos: Some((last, position)),
    }
}

pub(crate) fn command(x: &Exchange, infohash: &str, key: &str) -> Reply {
    bump(&x.engine.counting.commands);
    if x.flag(Knob::HangCmd, Some(infohash)) {
        return Reply::Hang;
    }
    let mut world = x.engine.world();
    let known = match x.request.param("method") {
        Some("stop") => {
            let stopped = world.sessions.stop(infohash, key, &x.engine.counting);
            let hang = world.knobs.take_flag(Knob::HangStop, Some(infohash));
            if hang {
                drop(world);
                x.engine.notify();
                return Reply::Hang;
            }
            stopped
        }
        method => match world.sessions.lookup(infohash, key) {
            Lookup::Current(serial) | Lookup::Superseded(serial) => {
                let session = world.sessions.session(serial);
                session.progress.touch();
                if method == Some("set_player_activity_timeout") {
                    let seconds = x.request.param("timeout").and_then(|text| text.parse().ok());
                    session.timeout_ms = seconds.map(|s: u64| s * 1_000).or(session.timeout_ms);
                }
                true
            }
            Lookup::Gone(_) | Lookup::Unknown => false,
        },
    };
    drop(world);
    x.engine.notify();
    x.json(if known { json::envelope("\"ok\"", "null") } else { json::refusal(UNKNOWN) })
}
