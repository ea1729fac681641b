//! Changes that an operator asks for over the API: the body read, the order given to every shard,
//! the answer.
//!
//! Who may ask was decided before a byte of the body was read, and a body is read to its length or
//! not at all.

use crate::base::ids::EngineId;
use crate::base::ids::Infohash;
use crate::base::time::Instant;
use crate::engine::spec;
use crate::engine::spec::Spec;
use crate::http::render::ErrorCode;
use crate::net::conn::Conn;
use crate::net::conn::Sweep;
use crate::router::ApiCookie;
use crate::router::Change;
use crate::shard::api::Page;
use crate::shard::core::Shard;
use crate::shard::gather::gather;
use crate::shard::message::Ask;
use crate::shard::message::Told;
use crate::shard::orders::Done;
use crate::shard::orders::Order;
use std::io;
use std::sync::Arc;

/// A list of engines; a line is 300 bytes at most.
pub(crate) const BODY_BYTES_MAX: u64 = 64 * 1024;

/// What stands behind a head: `begun` came with it.
pub(crate) async fn read_body(
    conn: &mut Conn,
    begun: &[u8],
    length: u64,
    deadline: Instant,
) -> io::Result<Result<Vec<u8>, (ErrorCode, String)>> {
    if length > BODY_BYTES_MAX {
        let message = format!("the body is longer than {BODY_BYTES_MAX} bytes");
        return Ok(Err((ErrorCode::BodyTooLong, message)));
    }
    let length = length as usize;
    let mut body = begun[..begun.len().min(length)].to_vec();
    conn.set_deadline(deadline, Sweep::Read);
    let mut buffer = [0; 4_096];
    while body.len() < length {
        let wanted = buffer.len().min(length - body.len());
        match conn.recv(&mut buffer[..wanted]).await {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => body.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let message = "the request's body did not arrive in time".to_owned();
                return Ok(Err((ErrorCode::Timeout, message)));
            }
            Err(error) => return Err(error),
        }
    }
    conn.clear_deadline();
    Ok(Ok(body))
}

pub(crate) async fn page(shard: &Shard, change: Change, body: &[u8]) -> Page {
    let created = matches!(change, Change::AddEngines);
    let (order, missing) = match change {
        Change::EndStream(id) => (Order::EndStream(id), "no stream of this id runs"),
        Change::EndViewer { viewer, block } => {
            (Order::EndViewer { viewer, block }, "no such viewer")
        }
        Change::MoveStream { stream, engine } => {
            let to = match engine {
                None => None,
                Some(name) => match find_engine(shard, name).await {
                    Some(engine) => Some(engine),
                    None => return Page::error(ErrorCode::NotFound, "no such engine"),
                },
            };
            (Order::MoveStream { stream, to }, "no stream of this id runs")
        }
        Change::WarmStream { stream, span } => {
            (Order::WarmStream { id: stream, span }, "no shard for it")
        }
        Change::ClearOffline(id) => {
            let infohash = find_infohash(shard, id).await;
            (Order::ClearOffline { id, infohash }, "this id is not known to be offline")
        }
        Change::EndRest(engine) => (Order::EndRest(engine), "no engine of this name rests"),
        Change::DrainEngine { engine, draining } => {
            (Order::DrainEngine { engine, draining }, "no such engine")
        }
        Change::RemoveEngine(engine) => (Order::RemoveEngine(engine), "no such engine"),
        Change::AddEngines => match engines_of(body) {
            Ok(specs) => (Order::AddEngines(specs), "no pool"),
            Err(message) => return Page::error(ErrorCode::BadRequest, &message),
        },
    };
    tracing::info!("changed over the API: {order:?}");
    let created = u16::from(created);
    match give(shard, order).await {
        Some(Ok(said)) => Page::json(said.to_string()).with_status(200 + created),
        Some(Err(why)) => Page::error(ErrorCode::BadRequest, &why),
        None => Page::error(ErrorCode::NotFound, missing),
    }
}

/// An engine by its name, which shard 0 alone knows.
async fn find_engine(shard: &Shard, name: String) -> Option<EngineId> {
    let said = give(shard, Order::FindEngine(name)).await?.ok()?;
    let number = said["number"].as_u64()?;
    Some(EngineId(u32::try_from(number).ok()?))
}

/// What a content id led to, which its home alone knows.
async fn find_infohash(shard: &Shard, id: Infohash) -> Option<Infohash> {
    let said = give(shard, Order::FindInfohash(id)).await?.ok()?;
    Infohash::parse(said["infohash"].as_str()?.as_bytes())
}

/// What the shard says that an order was meant for, or why it does not carry it out.
async fn give(shard: &Shard, order: Order) -> Option<Result<serde_json::Value, String>> {
    let answers = gather(shard, Ask::Order(Arc::new(order))).await.answers;
    answers.into_iter().find_map(|told| match told {
        Told::Order(Done::Begun(said)) => Some(Ok(said)),
        Told::Order(Done::Refused(why)) => Some(Err(why)),
        Told::Order(Done::NotMine)
        | Told::Ready(_)
        | Told::Metrics(_)
        | Told::Streams(_)
        | Told::Viewers(_)
        | Told::Engines(_)
        | Told::Offline(_) => None,
    })
}

pub(crate) fn log_in(cookie: &ApiCookie) -> Page {
    Page::json("{\"session\":true}".to_owned()).with_header("Set-Cookie", cookie.header())
}

pub(crate) fn log_out() -> Page {
    Page::json("{\"session\":false}".to_owned()).with_header("Set-Cookie", ApiCookie::removal())
}

/// `{"spec": "HOST:PORT,name=…"}`, or the text alone.
fn engines_of(body: &[u8]) -> Result<Vec<Spec>, String> {
    let text = str::from_utf8(body).map_err(|_| "the body is not UTF-8 text".to_owned())?;
    let text = match text.trim_start().starts_with('{') {
        true => spec_member(text)?,
        false => text.to_owned(),
    };
    let specs = spec::parse_many(&text).map_err(|error| error.to_string())?;
    if specs.is_empty() {
        return Err("the body names no engine: {\"spec\":\"HOST:PORT,name=ID\"}".to_owned());
    }
    // A file of this host or a list from elsewhere is for whoever writes the settings.
    let is_plain = |spec: &Spec| match spec {
        Spec::Host(_) | Spec::Dns { .. } => true,
        Spec::Orchestrator(_) | Spec::File { .. } => false,
    };
    if !specs.iter().all(is_plain) {
        return Err("only HOST[:PORT] and dns:NAME:PORT are added here; others belong into \
                    RINGCAST_ENGINES"
            .to_owned());
    }
    Ok(specs)
}

fn spec_member(text: &str) -> Result<String, String> {
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("the body is not JSON: {error}"))?;
    let spec = json.get("spec").and_then(serde_json::Value::as_str);
    spec.map(str::to_owned)
        .ok_or_else(|| "the body takes {\"spec\":\"HOST:PORT,name=ID\"}".to_owned())
}

#[cfg(test)]
mod tests {
    use super::engines_of;

    #[test]
    fn engines_are_read_from_json_and_from_text() {
        for body in ["{\"spec\": \"10.0.0.1:6879,name=a\"}", "10.0.0.1:6879,name=a\n"] {
            let specs = engines_of(body.as_bytes()).unwrap();
            assert_eq!(specs[0].to_string(), "10.0.0.1:6879,name=a");
        }
        assert_eq!(engines_of(b"10.0.0.1 dns:engines:6878").unwrap().len(), 2);
        for body in [
            &b""[..],
            b"{}",
            b"{\"spec\":7}",
            b"{\"spec\":\"\"}",
            b"{",
            b"file:/etc/passwd",
            b"orchestrator:http://10.0.0.1:8000",
            b"http://10.0.0.1",
            b"\xff",
            b"10.0.0.1,max=0",
        ] {
            assert!(engines_of(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }
}
