//! One request: from its head to the handler of its path, and the reply back.

mod admin;
mod content;
mod events;
mod framing;
mod getstream;
mod hls;
mod playback;
mod service;
mod stat;

use std::sync::Arc;

use crate::conn::Conn;
use crate::counters::bump;
use crate::engine::Engine;
use crate::engine::World;
use crate::http::Request;
use crate::http::Response;
use crate::knobs::Knob;

/// What a handler works with.
pub(crate) struct Exchange<'a> {
    pub(crate) engine: &'a Arc<Engine>,
    pub(crate) conn: &'a Arc<Conn>,
    pub(crate) request: &'a Request,
}

impl Exchange<'_> {
    /// One use of a flag knob.
    pub(crate) fn flag(&self, knob: Knob, channel: Option<&str>) -> bool {
        self.engine.world().knobs.take_flag(knob, channel)
    }

    /// One use of a text knob.
    pub(crate) fn text(&self, knob: Knob, channel: Option<&str>) -> Option<String> {
        self.engine.world().knobs.take_text(knob, channel)
    }

    /// The host that URLs in replies carry: the request's, unless a knob lies.
    pub(crate) fn host(&self, world: &World, channel: &str) -> String {
        let lie = world.knobs.peek_text(Knob::WrongHost, Some(channel));
        let asked = lie.or_else(|| self.request.host.clone());
        asked.unwrap_or_else(|| self.conn.local.to_string())
    }

    pub(crate) fn json(&self, text: String) -> Reply {
        let mode = self.engine.world().knobs.peek_text(Knob::JsonMode, None);
        let response = Response::json(text);
        Reply::Now(if mode.as_deref() == Some("close") { response } else { response.sized() })
    }
}

/// How an exchange ends.
pub(crate) enum Reply {
    Now(Response),
    /// Nothing, until the client leaves.
    Hang,
    Reset,
    /// The handler wrote everything itself.
    Done,
}

impl From<Response> for Reply {
    fn from(response: Response) -> Reply {
        Reply::Now(response)
    }
}

/// Serves one connection; its thread ends with it.
pub(crate) fn serve(engine: &Arc<Engine>, conn: &Arc<Conn>, control: bool) {
    let Some(request) = Request::read(conn) else {
        if conn.ended().is_some() {
            conn.reset();
        }
        return;
    };
    let exchange = Exchange { engine, conn, request: &request };
    let reply = if request.path.starts_with("/emulator") {
        admin::handle(&exchange)
    } else if control {
        Reply::Now(Response::new("404 Not Found").sized())
    } else {
        handle(&exchange)
    };
    match reply {
        Reply::Now(response) => {
            let _ = conn.write_all(&response.bytes(&request.version), |_| ());
            conn.finish();
        }
        Reply::Hang => {
            conn.hang();
        }
        Reply::Reset => conn.reset(),
        Reply::Done => {}
    }
    if conn.ended() == Some(crate::conn::End::Killed) {
        conn.reset();
    }
    engine.notify();
}

fn handle(x: &Exchange) -> Reply {
    bump(&x.engine.counting.requests);
    if x.request.method == "HEAD" {
        bump(&x.engine.counting.heads);
    }
    if x.flag(Knob::AcceptHang, None) {
        return Reply::Hang;
    }
    if x.flag(Knob::Reset, None) {
        return Reply::Reset;
    }
    if !["GET", "POST"].contains(&x.request.method.as_str()) {
        let version = "HTTP/1.0";
        let response = Response::unsupported(&x.request.method);
        let _ = x.conn.write_all(&response.bytes(version), |_| ());
        x.conn.finish();
        return Reply::Done;
    }
    dispatch(x)
}

fn dispatch(x: &Exchange) -> Reply {
    let parts: Vec<&str> = x.request.path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["ace", "getstream"] => getstream::handle(x, false),
        ["ace", "manifest.m3u8"] => getstream::handle(x, true),
        ["ace", "r", infohash, key] => playback::handle(x, infohash, key),
        ["content", infohash, token] => content::handle(x, infohash, token),
        ["ace", "m", infohash, list] => hls::playlist(x, infohash, list),
        ["ace", "c", infohash, segment] => hls::segment(x, infohash, segment),
        ["ace", "stat", infohash, key] => stat::stat(x, infohash, key),
        ["ace", "cmd", infohash, key] => stat::command(x, infohash, key),
        ["ace", "event", infohash, key] => events::handle(x, infohash, key),
        ["server", "api"] | ["service", "api"] => service::api(x),
        ["webui", "api", "service"] => service::webui(x),
        _ => {
            bump(&x.engine.counting.not_found);
            Response::not_found_resource().into()
        }
    }
}
