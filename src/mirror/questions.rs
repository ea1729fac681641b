//! The four questions about a lease as scripts, and a ping.
//!
//! The scripts go as text each time: a Redis that was restarted empty knows none by its hash, and
//! a kilobyte every three seconds is nothing.

use crate::base::time::Wall;
use crate::mirror::book::Question;
use crate::mirror::keys::Keys;
use crate::mirror::lease::ANSWER_MS_MAX;
use crate::mirror::lease::LEASE;
use crate::mirror::lease::Reply;
use crate::mirror::lease::Verb;
use crate::mirror::link::Pipe;
use redis::Cmd;
use redis::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Each verb after what they all begin with.
macro_rules! script {
    ($verb:literal) => {
        concat!(include_str!("scripts/state.lua"), include_str!($verb))
    };
}

const ACQUIRE: &str = script!("scripts/acquire.lua");
const REFRESH: &str = script!("scripts/refresh.lua");
const RELEASE: &str = script!("scripts/release.lua");
const READ: &str = script!("scripts/read.lua");

/// A day: longer than any stream is without an owner and still remembered.
const EPOCH_TTL: Duration = Duration::from_secs(86_400);

/// `random`: see [`crate::mirror::lease::Ask::start`].
pub(super) fn command(question: &Question, keys: &Keys, me: &str, random: u64) -> Cmd {
    let script = match question.ask.verb {
        Verb::Acquire { .. } => ACQUIRE,
        Verb::Refresh { .. } => REFRESH,
        Verb::Release { .. } => RELEASE,
        Verb::Read => READ,
    };
    let mut eval = redis::cmd("EVAL");
    eval.arg(script).arg(2);
    eval.arg(keys.owner(&question.infohash)).arg(keys.owner_epoch(&question.infohash)).arg(me);
    let (lease_ms, epoch_ttl) = (LEASE.as_millis() as u64, EPOCH_TTL.as_secs());
    match question.ask.verb {
        Verb::Acquire { known } => {
            let start = question.ask.start(Wall::now().unix_ms(), random);
            eval.arg(known).arg(lease_ms).arg(epoch_ttl).arg(start);
        }
        Verb::Refresh { epoch } => {
            eval.arg(epoch).arg(lease_ms).arg(epoch_ttl);
        }
        Verb::Release { epoch } => {
            eval.arg(epoch);
        }
        Verb::Read => {}
    }
    eval
}

/// `None`: no answer, or one that says nothing about the lease.
pub(super) async fn ask(mut pipe: Pipe, command: &Cmd) -> Option<Reply> {
    let answered = tokio::time::timeout(ANSWER_MS_MAX, pipe.ask(command)).await.ok()?;
    match answered {
        Ok(value) => parse(&value),
        Err(error) => {
            tracing::debug!("a lease's script: {error}");
            None
        }
    }
}

fn parse(value: &Value) -> Option<Reply> {
    let Value::Array(values) = value else { return None };
    let [outcome, owner, Value::Int(epoch), Value::Int(ttl_ms)] = values.as_slice() else {
        return None;
    };
    Reply::parse(&text(outcome)?, &text(owner)?, *epoch, *ttl_ms)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of another crate's many kinds two are texts")]
fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

/// Sessions that other workers have on each of these engines. What is not answered is not known.
pub(super) async fn loads(
    mut pipe: Pipe,
    keys: &Keys,
    engines: Vec<String>,
    me: &str,
) -> BTreeMap<String, u32> {
    let mut loads = BTreeMap::new();
    for engine in engines {
        let mut hash = redis::cmd("HGETALL");
        hash.arg(keys.engine_load(&engine));
        let answered = tokio::time::timeout(ANSWER_MS_MAX, pipe.ask(&hash)).await;
        let Ok(Ok(value)) = answered else { break };
        // Of another type: not ours.
        let Ok(workers) = redis::from_redis_value::<BTreeMap<String, u32>>(value) else { continue };
        let others = workers.iter().filter(|(worker, _)| *worker != me);
        loads.insert(engine, others.fold(0, |sum, (_, n)| n.saturating_add(sum)));
    }
    loads
}

pub(super) async fn ping(mut pipe: Pipe) -> bool {
    let ping = redis::cmd("PING");
    matches!(tokio::time::timeout(ANSWER_MS_MAX, pipe.ask(&ping)).await, Ok(Ok(_)))
}
