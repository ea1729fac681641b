//! What is asked of engines, an order each, and what becomes of the answer.
//!
//! A task here knows one order. Whatever happens, it feeds exactly one answer with the order's
//! generation back into the session (a body: its head, then its end). Of the URLs in replies and
//! redirects the path alone is used.

use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::ids::Target;
use crate::base::sizes::PACKET_BYTES;
use crate::base::time;
use crate::base::time::Instant;
use crate::engine::pool;
use crate::engine::reply;
use crate::engine::reply::Failure;
use crate::engine::request;
use crate::http::body::BodyDecoder;
use crate::net::Closer;
use crate::net::conn::Conn;
use crate::registry::resolver::QueryId;
use crate::registry::resolver::QueryReply;
use crate::shard::core::Shard;
use crate::shard::exchange::Address;
use crate::shard::exchange::Headed;
use crate::shard::exchange::Trouble;
use crate::shard::exchange::ask;
use crate::shard::exchange::exchange;
use crate::shard::exchange::read_body;
use crate::shard::ingest::Flow;
use crate::shard::journaling;
use crate::shard::seats::Seat;
use crate::shard::translate;
use crate::stream;
use crate::stream::Input;
use crate::stream::Outcome;
use crate::stream::UnlessReplaced;
use std::net::SocketAddr;
use std::time::Duration;

const STAT_MAX: Duration = Duration::from_secs(5);
const STOP_MAX: Duration = Duration::from_secs(3);
/// Before some stops: whether there is anything to stop.
const REPLACED_MAX: Duration = Duration::from_secs(1);
/// A stop for which there was no descriptor is tried again after this.
const LACK_PAUSE: Duration = Duration::from_millis(100);
/// The session that a reply opened is given up by the engine when nobody reads it for so long.
const ACTIVITY_TIMEOUT_SECONDS: u32 = 60;

/// Tells the pool how it went; of an engine that could not be asked there is nothing to tell.
fn report(shard: &Shard, address: &Address, trouble: Option<&Trouble>) {
    let engine = address.engine;
    let input = match trouble {
        Some(trouble) if trouble.is_lack() => return,
        Some(trouble) if trouble.connecting => {
            pool::Input::ConnectFailed { engine, address: address.socket }
        }
        Some(trouble) => pool::Input::Outcome { engine, result: Err(trouble.failure.clone()) },
        None => pool::Input::Outcome { engine, result: Ok(()) },
    };
    shard.with(|core| core.ask_pool(input));
}

pub(crate) async fn open(
    shard: Shard,
    serial: u64,
    generation: Generation,
    engine: EngineId,
    address: Address,
    target: Target,
    pid: String,
) {
    debug_assert_eq!(engine, address.engine);
    let deadline = time::now() + shard.quietly(|core| core.shared.config.session.start_timeout);
    let path = request::getstream(&target, &pid);
    let entry = journaling::opens(&shard, &address, &target).await;
    let result = exchange(&address, &path, deadline, reply::REPLY_BYTES_MAX).await;
    let result = result.and_then(|(status, body)| Ok(reply::open(status, &body)?));
    report(&shard, &address, result.as_ref().err());
    shard.with(|core| match result {
        Ok(opened) => {
            let opened = translate::opened(&opened);
            core.journal_runs(entry, &opened);
            core.note_session(serial, generation, &opened.command_path);
            if core.sources.get(&serial).is_some_and(|source| !source.ended) {
                core.feed(serial, Input::Opened { generation, opened });
            } else if !opened.command_path.is_empty() {
                // The stream is gone: nobody else will stop what was opened for it.
                core.stops_pending += 1;
                let unless_replaced = opened.unless_replaced();
                let path = opened.command_path;
                let shard = core.handle();
                let task = stop(shard, serial, generation, address, path, unless_replaced);
                crate::net::runtime::spawn(task);
            }
        }
        Err(trouble) => {
            core.journal_failed(entry);
            let failure = translate::failure(trouble.failure, translate::During::Open);
            core.feed(serial, Input::OpenFailed { generation, failure });
        }
    });
}

pub(crate) async fn activity_timeout(_shard: Shard, address: Address, path: String) {
    let command = request::Command::ActivityTimeout { seconds: ACTIVITY_TIMEOUT_SECONDS };
    let path = request::command(&path, command);
    let deadline = time::now() + STOP_MAX;
    // An engine that does not know it is as good as one that does.
    let _ = exchange(&address, &path, deadline, reply::REPLY_BYTES_MAX).await;
}

pub(crate) async fn stat(
    shard: Shard,
    serial: u64,
    generation: Generation,
    address: Address,
    path: String,
) {
    let deadline = time::now() + STAT_MAX;
    let result = exchange(&address, &path, deadline, reply::REPLY_BYTES_MAX).await;
    let result = result.and_then(|(status, body)| Ok(reply::stat(status, &body)?));
    shard.with(|core| match result {
        Ok(facts) => {
            let facts = translate::stat(facts);
            core.feed(serial, Input::Stat { generation, facts });
        }
        Err(trouble) => {
            let failure = translate::failure(trouble.failure, translate::During::Stat);
            core.feed(serial, Input::StatFailed { generation, failure });
        }
    });
}

/// Whether an engine lives that takes its time, or has just ended a session.
pub(crate) async fn ask_status(
    shard: Shard,
    serial: u64,
    generation: Generation,
    address: Address,
) {
    let deadline = time::now() + STAT_MAX;
    let path = request::status();
    let result = exchange(&address, &path, deadline, reply::REPLY_BYTES_MAX).await;
    let result = result.and_then(|(status, body)| Ok(reply::engine_status(status, &body)?));
    report(&shard, &address, result.as_ref().err());
    // Where it could not be asked nothing speaks against it: what comes next finds out.
    let answers = result.is_ok() || result.is_err_and(|trouble| trouble.is_lack());
    shard.with(|core| core.feed(serial, Input::Status { generation, answers }));
}

pub(crate) async fn stop(
    shard: Shard,
    serial: u64,
    generation: Generation,
    address: Address,
    path: String,
    unless_replaced: Option<UnlessReplaced>,
) {
    let replaced = match &unless_replaced {
        Some(ours) => is_replaced(&address, ours).await,
        None => false,
    };
    let outcome = if replaced { Outcome::Superseded } else { ask_to_stop(&address, &path).await };
    shard.with(|core| {
        core.stops_pending -= 1;
        core.journal_stopped(&address, path);
        core.feed(serial, Input::StopDone { generation, outcome });
    });
}

async fn ask_to_stop(address: &Address, path: &str) -> Outcome {
    // The session had no command path: nothing can be asked, and it expires by itself.
    if path.is_empty() {
        return Outcome::Lost;
    }
    let deadline = time::now() + STOP_MAX;
    let path = request::command(path, request::Command::Stop);
    let mut result = exchange(address, &path, deadline, reply::REPLY_BYTES_MAX).await;
    while result.as_ref().is_err_and(Trouble::is_lack) && time::now() + LACK_PAUSE < deadline {
        // Nobody else will say it.
        crate::net::runtime::sleep(LACK_PAUSE).await;
        result = exchange(address, &path, deadline, reply::REPLY_BYTES_MAX).await;
    }
    let stopped = result.is_ok_and(|(status, body)| reply::command(status, &body).is_ok());
    if stopped { Outcome::Stopped } else { Outcome::Lost }
}

/// Whether another session of the content has taken its place: only a clear answer says so.
async fn is_replaced(address: &Address, ours: &UnlessReplaced) -> bool {
    let deadline = time::now() + REPLACED_MAX;
    // The first answer about a session may be empty.
    for _ in 0..2 {
        let path = &ours.stat_path;
        let Ok((status, body)) = exchange(address, path, deadline, reply::REPLY_BYTES_MAX).await
        else {
            return false;
        };
        let Ok(stat) = reply::stat(status, &body) else { return false };
        if let Some(current) = stat.playback_session_id.filter(|id| !id.is_empty()) {
            return current != ours.playback_session_id;
        }
    }
    false
}

/// The media body of a session: redirects on the same engine, then bytes into the ring until it
/// ends or is not wanted.
pub(crate) async fn play(
    shard: Shard,
    serial: u64,
    generation: Generation,
    engine: EngineId,
    address: Address,
    path: String,
) {
    debug_assert_eq!(engine, address.engine);
    let deadline = time::now() + shard.quietly(|core| core.shared.config.session.start_timeout);
    let connected = |shard: &Shard, closer: Closer| {
        shard.quietly(|core| {
            let source = core.sources.get_mut(&serial);
            source.is_some_and(|source| source.connected(generation, closer))
        })
    };
    let result = follow(&shard, &address, path, deadline, connected).await;
    let headed = match result {
        Ok(headed) => headed,
        Err(trouble) => {
            if wants(&shard, serial, generation) {
                report(&shard, &address, Some(&trouble));
            }
            let failure = translate::failure(trouble.failure, translate::During::Play);
            shard.with(|core| core.feed(serial, Input::PlayFailed { generation, failure }));
            return;
        }
    };
    shard.with(|core| {
        let now = core.now;
        if let Some(source) = core.sources.get_mut(&serial) {
            source.ingest.body_begins(generation, source.writer.written(), now);
        }
        core.feed(serial, Input::PlayHead { generation });
    });
    report(&shard, &address, None);
    read_media(shard, serial, generation, address, headed).await;
}

fn wants(shard: &Shard, serial: u64, generation: Generation) -> bool {
    shard.quietly(|core| core.sources.get(&serial).is_some_and(|s| s.wants(generation)))
}

async fn follow(
    shard: &Shard,
    address: &Address,
    path: String,
    deadline: Instant,
    connected: impl Fn(&Shard, Closer) -> bool,
) -> Result<Headed, Trouble> {
    let mut path = path;
    for _ in 0..=reply::REDIRECTS_MAX {
        let mut headed = ask(address, &path, deadline, |closer| connected(shard, closer)).await?;
        match headed.hop {
            Ok(reply::Hop::Redirect(next)) => next.as_str().clone_into(&mut path),
            Ok(reply::Hop::Body(framing)) => {
                headed.framing = framing;
                headed.conn.clear_deadline();
                return Ok(Headed { hop: Ok(reply::Hop::Rejected), ..headed });
            }
            Ok(reply::Hop::Rejected) => {
                let status = headed.status;
                let mut headed = Headed { hop: Ok(reply::Hop::Rejected), ..headed };
                let body = read_body(&mut headed, reply::REJECTION_BYTES_MAX).await?;
                return Err(reply::rejected(status, &body).into());
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(Failure::Other("too many redirects".to_owned()).into())
}

async fn read_media(
    shard: Shard,
    serial: u64,
    generation: Generation,
    address: Address,
    headed: Headed,
) {
    let Headed { mut conn, framing, rest, .. } = headed;
    let mut decoder = BodyDecoder::new(framing);
    let mut first = Some(rest);
    let mut has_given = false;
    loop {
        let flow = shard.quietly(|core| core.flow(serial, generation));
        match flow {
            Flow::Read => {}
            Flow::Pause(for_at_most) => {
                crate::net::runtime::sleep(for_at_most).await;
                continue;
            }
            Flow::Stop => return,
        }
        let ended = if let Some(rest) = first.take() {
            shard.with(|core| core.take(serial, generation, Bytes::Given(&rest), &mut decoder))
        } else {
            if conn.readable().await.is_err() {
                Some(stream::Failure::Cut)
            } else {
                shard.with(|core| {
                    core.take(serial, generation, Bytes::From(&mut conn), &mut decoder)
                })
            }
        };
        if !has_given && decoder.body_bytes() >= PACKET_BYTES as u64 {
            has_given = true;
            let engine = address.engine;
            shard.with(|core| core.ask_pool(pool::Input::Media { engine }));
        }
        if let Some(failure) = ended {
            if !has_given && wants(&shard, serial, generation) {
                report(&shard, &address, Some(&Failure::Cut.into()));
            }
            shard.with(|core| core.feed(serial, Input::BodyEnded { generation, failure }));
            return;
        }
    }
}

/// Where the next bytes of a body are.
pub(crate) enum Bytes<'a> {
    Given(&'a [u8]),
    From(&'a mut Conn),
}

/// A question of the resolver.
pub(crate) async fn media_files(
    shard: Shard,
    (query, id, _place): (QueryId, Infohash, Seat),
    address: Address,
    deadline: Instant,
) {
    let path = request::media_files(&id);
    let result = exchange(&address, &path, deadline, reply::REPLY_BYTES_MAX).await;
    let result = result.and_then(|(status, body)| Ok(reply::media_files(status, &body)?));
    report(&shard, &address, result.as_ref().err());
    let is_lack = result.as_ref().is_err_and(Trouble::is_lack);
    let reply = match result {
        Ok(reply::MediaFiles::Infohash(infohash)) => QueryReply::Infohash(infohash),
        Ok(reply::MediaFiles::Error(text)) => QueryReply::ErrorReply(text),
        Ok(reply::MediaFiles::UnknownMethod) => QueryReply::UnknownMethod,
        Err(Trouble { failure: Failure::Silent, .. }) => QueryReply::Timeout,
        Err(_) => QueryReply::Unreachable,
    };
    // As if there had been none to ask: that is no fact about this id, nor about the engine.
    let engine = (!is_lack).then_some(address.engine);
    shard.with(|core| core.on_query_result(query, engine, reply));
}

/// Asks an engine whether it lives.
pub(crate) async fn probe(
    shard: Shard,
    generation: Generation,
    address: Address,
    deadline: Instant,
) {
    let path = request::status();
    let result = exchange(&address, &path, deadline, reply::REPLY_BYTES_MAX).await;
    let result = result.map_err(|trouble| trouble.failure);
    let result = result.and_then(|(status, body)| reply::engine_status(status, &body));
    let engine = address.engine;
    shard.with(|core| core.feed_pool(pool::Input::ProbeDone { engine, generation, result }));
}

/// The list of an orchestrator.
pub(crate) async fn orchestrator(
    shard: Shard,
    url: crate::engine::spec::OrchestratorUrl,
    socket: SocketAddr,
    deadline: Instant,
) {
    let host = crate::engine::spec::host_header(&url.host, url.port);
    let address =
        Address { engine: EngineId(u32::MAX), socket, host: host.into(), forwarded: false };
    let result =
        exchange(&address, &url.path, deadline, crate::engine::orchestrator::LIST_BYTES_MAX).await;
    let result = match result {
        Ok((200, body)) => crate::engine::orchestrator::parse(&body),
        Ok((status, _)) => Err(format!("status {status}")),
        Err(trouble) => Err(trouble.failure.to_string()),
    };
    shard.with(|core| core.feed_pool(pool::Input::OrchestratorList { url, result }));
}
