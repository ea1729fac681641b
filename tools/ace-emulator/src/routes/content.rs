//! `/content/<infohash>/<token>`: the body of a live stream, bursty as the engine's.

use std::sync::atomic::Ordering;

use crate::clock::now_us;
use crate::conn::End;
use crate::conn::Interrupt;
use crate::counters::bump;
use crate::http::Response;
use crate::http::head;
use crate::knobs::Knob;
use crate::prng::Prng;
use crate::routes::Exchange;
use crate::routes::Reply;
use crate::routes::framing::BodyWriter;
use crate::routes::framing::Framing;
use crate::routes::framing::Plan;
use crate::session::Progress;
use crate::session::Session;
use crate::source::Media;
use crate::source::ts::PACKET_BYTES;
use std::sync::Arc;

const PACKET: u64 = PACKET_BYTES as u64;
/// The Keep-Alive time after a terminal chunk.
const LINGER_MS: u64 = 15_000;

pub(crate) fn handle(x: &Exchange, infohash: &str, token: &str) -> Reply {
    let channel = Some(infohash);
    if x.flag(Knob::HangContent, channel) {
        return Reply::Hang;
    }
    if x.flag(Knob::Content404, channel) {
        return Response::new("404 Not Found").sized().into();
    }
    let tuned = x.engine.channel(infohash);
    let mut world = x.engine.world();
    let session = world.sessions.by_token(infohash, token);
    let Some(serial) = session.map(|session| session.serial) else {
        return Response::not_found_resource().into();
    };
    let malformed = world.knobs.take_flag(Knob::MalformedHead, channel);
    let session = world.sessions.session(serial);
    let second = session.reader.is_some();
    if !second && !malformed {
        session.reader = Some(x.conn.clone());
    }
    let progress = session.progress.clone();
    let plan = Plan::take(&mut world.knobs, infohash);
    drop(world);
    x.engine.notify();
    if second || malformed {
        bump(&x.engine.counting.second_readers);
        let text = format!("HTTP/1.1 200 OK\r\n{}", stream_head(x, &plan));
        let _ = x.conn.write_all(text.as_bytes(), |_| ());
        x.conn.finish();
        return Reply::Done;
    }
    bump(&x.engine.counting.contents);
    if let Some(media) = &tuned.media {
        let head = stream_head(x, &plan);
        let writer = BodyWriter::new(x.engine, x.conn, progress.clone(), plan.clone());
        stream(x, infohash, media.as_ref(), head, writer, &progress);
    }
    let mut world = x.engine.world();
    let session = world.sessions.by_serial.get_mut(&serial);
    let mine = |session: &&mut Session| session.reader.as_ref().is_some_and(|r| r.id == x.conn.id);
    if let Some(session) = session.filter(mine) {
        session.reader = None;
        session.progress.touch();
    }
    Reply::Done
}

fn stream_head(x: &Exchange, plan: &Plan) -> String {
    let framing = match plan.framing {
        Framing::Chunked => Some(("Transfer-Encoding", "chunked".to_owned())),
        Framing::Length => Some(("Content-Length", plan.body_length.to_string())),
        Framing::Close => None,
    };
    let (connection, keep_alive) = match plan.framing {
        Framing::Close => ("close", None),
        Framing::Chunked | Framing::Length => {
            ("Keep-Alive", Some(("Keep-Alive", "timeout=15, max=100".to_owned())))
        }
    };
    let mut headers = vec![("Connection", connection.to_owned())];
    headers.extend(keep_alive);
    headers.push(("Content-Type", plan.content_type.clone()));
    headers.push(("Accept-Ranges", "bytes".to_owned()));
    headers.extend(framing);
    head(&x.request.version, "200 OK", &headers)
}

fn stream(
    x: &Exchange,
    infohash: &str,
    media: &dyn Media,
    head: String,
    mut writer: BodyWriter,
    progress: &Arc<Progress>,
) {
    let outcome = match x.conn.write_all(head.as_bytes(), |_| ()) {
        Ok(()) => pump(x, infohash, media, &mut writer, progress),
        Err(interrupt) => interrupt,
    };
    let Interrupt::Ended(end) = outcome else { return };
    let mode = |knob: Knob, default: &str| {
        let word = x.engine.world().knobs.peek_text(knob, Some(infohash));
        word.unwrap_or_else(|| default.to_owned())
    };
    let mode = match end {
        End::Stopped | End::Expired => mode(Knob::StopMode, "open"),
        End::Superseded => mode(Knob::TakeoverMode, "close"),
        End::Finished => "close".to_owned(),
        End::Cut => "cut".to_owned(),
        End::Killed | End::Reset => "reset".to_owned(),
    };
    match mode.as_str() {
        "open" => {
            writer.end(End::Finished);
            x.conn.linger(LINGER_MS);
        }
        "close" => writer.end(End::Finished),
        "reset" => writer.end(End::Reset),
        _ => writer.end(End::Cut),
    }
}

/// Writes media until somebody ends it: the burst at socket speed, then each piece when the last
/// of its packets exists.
fn pump(
    x: &Exchange,
    infohash: &str,
    media: &dyn Media,
    writer: &mut BodyWriter,
    progress: &Arc<Progress>,
) -> Interrupt {
    let engine = x.engine;
    let channel = Some(infohash);
    let mut prng = Prng::new(engine.config.seed ^ x.conn.id);
    let lag_us = engine.world().knobs.take_number(Knob::LagMs, channel) * 1_000;
    let live_us = engine.elapsed_us().saturating_sub(lag_us);
    let burst_bytes = engine.world().knobs.take_number(Knob::BurstBytes, channel);
    let burst_start = |live_us: u64| {
        let live = media.packets_until(live_us);
        live.saturating_sub(burst_bytes / PACKET) * PACKET
    };
    let mut position = burst_start(live_us);
    loop {
        let (piece_bytes, jitter_ms, window_ms, starving, starve_after) = {
            let knobs = &engine.world().knobs;
            (
                knobs.peek_number(Knob::PieceBytes, channel).max(1),
                knobs.peek_number(Knob::JitterMs, channel),
                knobs.peek_number(Knob::WindowMs, channel),
                knobs.peek_flag(Knob::Starve, channel),
                knobs.peek(Knob::StarveAfterBytes, channel),
            )
        };
        let live_limit = match starve_after {
            Some(crate::knobs::Value::Number(bytes)) => Some(bytes),
            Some(_) | None => None,
        };
        let allowance = if starving { 0 } else { writer.allowance(live_limit) };
        if allowance == 0 {
            if let Err(interrupt) = wait(x, now_us() + 25_000, progress) {
                return interrupt;
            }
            continue;
        }
        let now_elapsed_us = engine.elapsed_us().saturating_sub(lag_us);
        let window_start = media.packets_until(now_elapsed_us.saturating_sub(window_ms * 1_000));
        if position < window_start * PACKET {
            position = burst_start(now_elapsed_us).max(window_start * PACKET);
            bump(&engine.counting.window_jumps);
        }
        let length = piece_bytes.min(allowance);
        let last_packet = (position + length - 1) / PACKET;
        let due_us = engine.epoch_us + media.emission_us(last_packet) + lag_us;
        if due_us > now_us() {
            let due_us = due_us + prng.below(jitter_ms * 1_000 + 1);
            if let Err(interrupt) = wait(x, due_us, progress) {
                return interrupt;
            }
        }
        let mut piece = Vec::with_capacity(length as usize + 2 * PACKET_BYTES);
        media.read(position, length as usize, &mut piece);
        if let Err(interrupt) = writer.write(piece) {
            return interrupt;
        }
        position += length;
        progress.position_us.store(due_us.min(now_us()), Ordering::Relaxed);
    }
}

/// A reader that waits for its engine is active: only one that does not read expires.
fn wait(x: &Exchange, until_us: u64, progress: &Progress) -> Result<(), Interrupt> {
    progress.waiting.store(true, Ordering::Relaxed);
    let waited = x.conn.wait_until(until_us);
    progress.touch();
    progress.waiting.store(false, Ordering::Relaxed);
    waited
}
