//! `/server/api` and `/webui/api/service`: versions, health, catalogue.

use crate::config::is_hex40;
use crate::counters::bump;
use crate::http::Response;
use crate::json;
use crate::knobs::Knob;
use crate::routes::Exchange;
use crate::routes::Reply;

pub(crate) fn webui(x: &Exchange) -> Reply {
    if x.request.param("method") != Some("get_version") {
        let error = json::text("unknown method");
        return x.json(json::object(&[("result", "null".to_owned()), ("error", error)]));
    }
    bump(&x.engine.counting.get_versions);
    if x.flag(Knob::HangVersion, None) {
        return Reply::Hang;
    }
    let mut members = version(x);
    members.push(("websocket_port", "37293".to_owned()));
    let text = json::object(&[("result", json::object(&members)), ("error", "null".to_owned())]);
    match (x.request.param("format"), x.request.param("callback")) {
        (Some("jsonp"), Some(callback)) => Response::new("200 OK")
            .with("Content-Type", "application/javascript")
            .with("Access-Control-Allow-Origin", "*")
            .body(format!("{callback}({text});"))
            .sized()
            .into(),
        _ => x.json(text),
    }
}

pub(crate) fn api(x: &Exchange) -> Reply {
    match x.request.param("method") {
        Some("get_status") => {
            bump(&x.engine.counting.get_statuses);
            if x.flag(Knob::HangGetStatus, None) {
                return Reply::Hang;
            }
            let version = json::object(&version(x));
            let status =
                json::object(&[("playlist_loaded", "true".to_owned()), ("version", version)]);
            result(x, status)
        }
        Some("get_network_connection_status") => {
            result(x, json::object(&[("connected", "true".to_owned())]))
        }
        Some("get_media_files" | "analyze_content") => media_files(x),
        _ => fail(x, "unknown method"),
    }
}

fn media_files(x: &Exchange) -> Reply {
    bump(&x.engine.counting.media_files);
    let content_id = x.request.param("content_id").or_else(|| x.request.param("id"));
    let infohash = match (content_id, x.request.param("infohash")) {
        (Some(id), _) => x.engine.resolve(id),
        (None, Some(hash)) if is_hex40(hash) => Some(hash.to_ascii_lowercase()),
        (None, _) => None,
    };
    if x.flag(Knob::HangMediaFiles, infohash.as_deref()) {
        return Reply::Hang;
    }
    if x.flag(Knob::UnknownMediaFiles, infohash.as_deref()) {
        return fail(x, "unknown method");
    }
    let Some(infohash) = infohash else { return fail(x, "cannot get transport file") };
    let tuned = x.engine.channel(&infohash);
    let file = json::object(&[
        ("filename", json::text(&tuned.channel.name)),
        ("index", "0".to_owned()),
        ("infohash", json::text(&infohash)),
        ("mime", json::text("video/mp2t")),
        ("size", "0".to_owned()),
        ("type", json::text(if tuned.channel.is_live == 0 { "vod" } else { "live" })),
    ]);
    let files = json::array(&[file]);
    result(x, json::object(&[("infohash", json::text(&infohash)), ("files", files)]))
}

fn result(x: &Exchange, value: String) -> Reply {
    x.json(json::object(&[("result", value)]))
}

fn fail(x: &Exchange, message: &str) -> Reply {
    let error = json::object(&[("message", json::text(message)), ("code", "0".to_owned())]);
    x.json(json::object(&[("error", error)]))
}

fn version(x: &Exchange) -> Vec<(&'static str, String)> {
    let version = &x.engine.config.version;
    let parts: Vec<u64> = version.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    let part = |at: usize| parts.get(at).copied().unwrap_or(0);
    let code = part(0) * 1_000_000 + part(1) * 10_000 + part(2) * 100;
    vec![
        ("platform", json::text("linux")),
        ("version", json::text(version)),
        ("code", code.to_string()),
    ]
}
