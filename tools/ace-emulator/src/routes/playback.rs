//! `/ace/r/<infohash>/<key>`: silent while prebuffering, then the redirect to the body.

use crate::clock::now_us;
use crate::conn::Interrupt;
use crate::counters::bump;
use crate::http::Response;
use crate::knobs::Knob;
use crate::routes::Exchange;
use crate::routes::Reply;
use crate::session::Lookup;

pub(crate) fn handle(x: &Exchange, infohash: &str, key: &str) -> Reply {
    bump(&x.engine.counting.playbacks);
    let channel = Some(infohash);
    if x.flag(Knob::Takeover403, channel) {
        return Response::forbidden().into();
    }
    if let Some(text) = x.text(Knob::Start500, channel) {
        return Response::failure(&text).into();
    }
    let serial = match x.engine.world().sessions.lookup(infohash, key) {
        Lookup::Current(serial) => serial,
        Lookup::Superseded(_) => return Response::forbidden().into(),
        Lookup::Gone(_) | Lookup::Unknown => return Response::not_found_resource().into(),
    };
    match prebuffer(x, infohash, serial) {
        Prebuffered::Ready => {}
        Prebuffered::Ended => return Response::failure("download not found").into(),
        Prebuffered::NotYet => return Response::failure("start timeout").into(),
        Prebuffered::Nobody => return Reply::Reset,
    }
    let mut world = x.engine.world();
    let token = world.prng.hex(32);
    world.sessions.give_token(serial, token.clone());
    let path = format!("/content/{infohash}/{token}");
    let location = match world.knobs.take_text(Knob::RedirectTo, channel) {
        Some(url) if url.contains("://") => url,
        Some(host) => format!("http://{host}{path}"),
        None => format!("http://{}{path}", x.host(&world, infohash)),
    };
    Response::redirect(&location).into()
}

pub(crate) enum Prebuffered {
    Ready,
    /// The session ended meanwhile.
    Ended,
    /// And this request is not going to wait for it.
    NotYet,
    /// The client left, or the engine died.
    Nobody,
}

/// Holds the request until the download of a session may play.
pub(crate) fn prebuffer(x: &Exchange, infohash: &str, serial: u64) -> Prebuffered {
    let offline = x.engine.channel(infohash).media.is_none();
    loop {
        let wait_us = {
            let mut world = x.engine.world();
            world.sessions.session(serial).progress.touch();
            let download = world.sessions.downloads.get(infohash);
            let Some(download) = download.filter(|download| download.current == serial) else {
                return Prebuffered::Ended;
            };
            let silent = offline
                || world.knobs.peek_flag(Knob::SilentPrebuf, Some(infohash))
                || world.knobs.peek_flag(Knob::Offline, Some(infohash));
            let ready_us = download.started_us + download.cold_start_us;
            let left_us = if silent { u64::MAX } else { ready_us.saturating_sub(now_us()) };
            if left_us > 0 && world.knobs.peek_flag(Knob::Prebuf500, Some(infohash)) {
                return Prebuffered::NotYet;
            }
            left_us
        };
        if wait_us == 0 {
            return Prebuffered::Ready;
        }
        // In small steps: a knob or a stop may change the answer.
        match x.conn.wait_until(now_us() + wait_us.min(25_000)) {
            Ok(()) => {}
            Err(Interrupt::ClientGone | Interrupt::Ended(_)) => return Prebuffered::Nobody,
        }
    }
}
