//! `/ace/getstream` and `/ace/manifest.m3u8`: from a content id to a session.

use crate::config::is_hex40;
use crate::counters::bump;
use crate::engine::Tuned;
use crate::http::Response;
use crate::json;
use crate::knobs::Knob;
use crate::knobs::Value;
use crate::md5::md5_hex;
use crate::routes::Exchange;
use crate::routes::Reply;
use crate::session::Opening;
use crate::session::SessionKind;

const NOT_LOADED: &str = "failed to load content";
const PREMIUM: &str = "this content requires a premium account, activate a subscription";

pub(crate) fn handle(x: &Exchange, hls: bool) -> Reply {
    bump(&x.engine.counting.getstreams);
    let infohash = match wanted(x) {
        Ok(infohash) => infohash,
        Err(text) => {
            // A broken engine is broken for unknown content as well.
            return fault(x, None).unwrap_or_else(|| refuse(x, &text));
        }
    };
    let tuned = x.engine.channel(&infohash);
    if let Some(reply) = fault(x, Some(&infohash)) {
        return reply;
    }
    let resolve_ms = number(x, Knob::ResolveMs, &infohash, tuned.channel.resolve_ms);
    // A client that leaves now has a session all the same: it leaks until it expires.
    let _ = x.conn.wait_ms(resolve_ms);
    if x.conn.ended().is_some() {
        return Reply::Reset;
    }
    open(x, &tuned, hls)
}

/// The infohash that is asked for; the first kind of name present counts.
fn wanted(x: &Exchange) -> Result<String, String> {
    let request = x.request;
    if let Some(id) = request.param("content_id").or_else(|| request.param("id")) {
        return x.engine.resolve(id).ok_or(NOT_LOADED.to_owned());
    }
    if let Some(infohash) = request.param("infohash") {
        let valid = is_hex40(infohash).then(|| infohash.to_ascii_lowercase());
        return valid.ok_or(NOT_LOADED.to_owned());
    }
    if let Some(url) = request.param("url") {
        return x.engine.resolve(url).ok_or(NOT_LOADED.to_owned());
    }
    if let Some(magnet) = request.param("magnet") {
        let hash = magnet.split("btih:").nth(1).and_then(|rest| rest.get(..40));
        let valid = hash.filter(|hash| is_hex40(hash)).map(str::to_ascii_lowercase);
        return valid.ok_or(NOT_LOADED.to_owned());
    }
    Err("missing content id".to_owned())
}

fn fault(x: &Exchange, channel: Option<&str>) -> Option<Reply> {
    if x.flag(Knob::HangGetstream, channel) {
        return Some(Reply::Hang);
    }
    if let Some(text) = x.text(Knob::Getstream500, channel) {
        bump(&x.engine.counting.getstream_failures);
        return Some(Response::failure(&text).into());
    }
    if let Some(text) = x.text(Knob::JsonError, channel) {
        return Some(refuse(x, &text));
    }
    if x.flag(Knob::Premium, channel) {
        return Some(refuse(x, PREMIUM));
    }
    if let Some(text) = x.text(Knob::JsonErrorObject, channel) {
        bump(&x.engine.counting.getstream_failures);
        let error = json::object(&[("message", json::text(&text)), ("code", "0".to_owned())]);
        return Some(x.json(json::envelope("null", &error)));
    }
    if x.flag(Knob::ResponseEmpty, channel) {
        bump(&x.engine.counting.getstream_failures);
        return Some(x.json(json::envelope("{}", "null")));
    }
    None
}

fn refuse(x: &Exchange, text: &str) -> Reply {
    bump(&x.engine.counting.getstream_failures);
    if x.request.param("format") == Some("json") {
        x.json(json::refusal(text))
    } else {
        Response::failure(text).into()
    }
}

/// A number that the channel gives unless a knob does.
fn number(x: &Exchange, knob: Knob, infohash: &str, channel: u64) -> u64 {
    match x.engine.world().knobs.take(knob, Some(infohash)) {
        Some(Value::Number(number)) => number,
        Some(Value::Flag(_) | Value::Text(_)) | None => channel,
    }
}

fn open(x: &Exchange, tuned: &Tuned, hls: bool) -> Reply {
    let request = x.request;
    let infohash = tuned.channel.infohash.clone();
    let pid = request.param("pid").or_else(|| request.param("sid")).map(str::to_owned);
    let key = md5_hex(pid.clone().unwrap_or_else(|| x.conn.peer_ip()).as_bytes());
    let cold_start_ms = number(x, Knob::ColdStartMs, &infohash, tuned.channel.cold_start_ms);
    let client_session_id = request.param("client_session_id").and_then(|id| id.parse().ok());

    let mut world = x.engine.world();
    let opening = Opening {
        infohash: infohash.clone(),
        key: key.clone(),
        pid,
        kind: if hls { SessionKind::Hls } else { SessionKind::Ts },
        playback_session_id: world.prng.hex(40),
        client_session_id: client_session_id.unwrap_or(-1),
        cold_start_us: cold_start_ms * 1_000,
    };
    let serial = world.sessions.open(opening, &x.engine.counting);
    let host = x.host(&world, &infohash);
    let hls_source =
        tuned.channel.hls_source || world.knobs.peek_flag(Knob::HlsSource, Some(&infohash));
    let path = format!("{infohash}/{key}");
    let playback_url = if hls || hls_source {
        format!("http://{host}/ace/m/{path}.m3u8")
    } else {
        format!("http://{host}/ace/r/{path}")
    };
    let session = world.sessions.session(serial);
    let (id, client) = (session.playback_session_id.clone(), session.client_session_id);
    let (is_live, is_encrypted) = nature(&world.knobs, tuned);
    drop(world);
    x.engine.notify();

    if request.param("format") != Some("json") {
        return Response::redirect(&playback_url).into();
    }
    let url = |what: &str| json::text(&format!("http://{host}/ace/{what}/{path}"));
    let mut members = vec![
        ("infohash", json::text(&infohash)),
        ("playback_session_id", json::text(&id)),
        ("playback_url", json::text(&playback_url)),
        ("stat_url", url("stat")),
        ("command_url", url("cmd")),
        ("is_live", is_live.to_string()),
        ("is_encrypted", is_encrypted.to_string()),
        ("client_session_id", client.to_string()),
    ];
    if request.param("use_api_events") == Some("1") {
        members.insert(0, ("event_url", url("event")));
    }
    x.json(json::envelope(&json::object(&members), "null"))
}

/// `is_live` and `is_encrypted` of a channel, as replies carry them.
pub(crate) fn nature(knobs: &crate::knobs::Knobs, tuned: &Tuned) -> (i64, u8) {
    let infohash = Some(tuned.channel.infohash.as_str());
    let is_live = knobs.peek_text(Knob::IsLive, infohash).and_then(|text| text.parse().ok());
    let encrypted = tuned.channel.is_encrypted || knobs.peek_flag(Knob::IsEncrypted, infohash);
    (is_live.unwrap_or(tuned.channel.is_live), u8::from(encrypted))
}
