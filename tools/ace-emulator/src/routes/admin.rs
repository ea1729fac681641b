//! `/emulator/…`: state and knobs over HTTP. Never part of what a real engine answers.

use std::thread;

use serde_json::Value as Json;
use serde_json::json;

use crate::config::Channel;
use crate::conn::End;
use crate::control::Control;
use crate::http::Response;
use crate::knobs::Knob;
use crate::routes::Exchange;
use crate::routes::Reply;

pub(crate) fn handle(x: &Exchange) -> Reply {
    let control = Control { engine: x.engine.clone() };
    let posted = x.request.method == "POST";
    let outcome = match (posted, x.request.path.trim_end_matches('/')) {
        (false, "/emulator" | "/emulator/state") => Ok(control.state()),
        (false, "/emulator/knobs") => Ok(known_knobs()),
        (true, "/emulator/knobs") => turn(&control, &x.request.body),
        (true, "/emulator/reset") => {
            control.reset();
            Ok(json!({ "ok": true }))
        }
        (true, "/emulator/channels") => put_channel(&control, &x.request.body),
        (true, "/emulator/kill" | "/emulator/restart") => return die(x, control),
        (true, "/emulator/expire") => on_channel(x, |ih| control.expire(ih)),
        (true, "/emulator/takeover") => on_channel(x, |ih| control.take_over(ih)),
        (true, "/emulator/end") => end_body(x, &control),
        (true | false, _) => return Response::new("404 Not Found").sized().into(),
    };
    match outcome {
        Ok(json) => answer("200 OK", &json).into(),
        Err(why) => answer("400 Bad Request", &json!({ "error": why })).into(),
    }
}

fn answer(status: &'static str, json: &Json) -> Response {
    let response = Response::new(status).with("Content-Type", "application/json");
    response.body(json.to_string()).sized()
}

fn known_knobs() -> Json {
    let row = |knob: &Knob| {
        let kind = format!("{:?}", knob.kind()).to_lowercase();
        json!({ "knob": knob.name(), "kind": kind, "help": knob.help() })
    };
    Knob::ALL.iter().map(row).collect()
}

/// `{"name": value, …}`, `{"knob": name, "value": …, "channel": …, "count": …}` or a list of these.
fn turn(control: &Control, body: &[u8]) -> Result<Json, String> {
    let json: Json = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let one = std::slice::from_ref(&json);
    for row in json.as_array().map_or(one, Vec::as_slice) {
        let object = row.as_object().ok_or("an object or a list of objects")?;
        if let Some(name) = object.get("knob") {
            let channel = object.get("channel").and_then(Json::as_str);
            let count = object.get("count").and_then(Json::as_u64);
            let value = object.get("value").unwrap_or(&Json::Null);
            turn_one(control, name.as_str().unwrap_or_default(), value, channel, count)?;
        } else {
            for (name, value) in object {
                turn_one(control, name, value, None, None)?;
            }
        }
    }
    Ok(json!({ "ok": true }))
}

fn turn_one(
    control: &Control,
    name: &str,
    value: &Json,
    channel: Option<&str>,
    count: Option<u64>,
) -> Result<(), String> {
    let knob = Knob::from_name(name).ok_or(format!("no knob '{name}'"))?;
    match channel {
        _ if !value.is_null() => control.put(knob, knob.parse_json(value)?, channel, count),
        Some(channel) => control.clear_for(channel, knob),
        None => control.clear(knob),
    }
    Ok(())
}

fn put_channel(control: &Control, body: &[u8]) -> Result<Json, String> {
    let channel = Channel::parse(String::from_utf8_lossy(body).trim())?;
    control.put_channel(channel).map_err(|error| error.to_string())?;
    Ok(json!({ "ok": true }))
}

fn on_channel(x: &Exchange, act: impl Fn(&str) -> bool) -> Result<Json, String> {
    let infohash = x.request.param("channel").ok_or("channel= is missing")?;
    Ok(json!({ "ok": act(infohash) }))
}

fn end_body(x: &Exchange, control: &Control) -> Result<Json, String> {
    let end = match x.request.param("how").unwrap_or("close") {
        "close" => End::Finished,
        "cut" => End::Cut,
        "reset" => End::Reset,
        other => return Err(format!("how={other}: close, cut or reset")),
    };
    on_channel(x, |infohash| control.end_body(infohash, end))
}

/// Answers first, then dies; `down_ms` brings it back (a restart always comes back).
fn die(x: &Exchange, control: Control) -> Reply {
    let restart = x.request.path.contains("restart");
    let down_ms: Option<u64> = x.request.param("down_ms").and_then(|text| text.parse().ok());
    let response = answer("200 OK", &json!({ "ok": true }));
    let _ = x.conn.write_all(&response.bytes(&x.request.version), |_| ());
    x.conn.finish();
    // On a thread of its own: the dying engine resets the connection that this one serves.
    thread::spawn(move || match down_ms.or(restart.then_some(0)) {
        Some(ms) => control.restart(ms).map_or((), |()| ()),
        None => control.kill(),
    });
    Reply::Done
}
