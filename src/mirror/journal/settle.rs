//! What is done about one session that a dead process has left on an engine: one stop, unless
//! another session of its content has taken its place, which a stop would end.

use super::record::Engine;
use super::record::Session;
use crate::engine::reply;
use crate::engine::request;
use std::time::Duration;

/// Whether there is anything to stop.
const STAT_MAX: Duration = Duration::from_secs(1);
const STOP_MAX: Duration = Duration::from_secs(3);

/// One question to an engine: status and body of its answer.
pub trait Ask: Send + Sync {
    fn ask(&self, engine: &Engine, path: &str, within: Duration)
    -> Result<(u16, Vec<u8>), Unasked>;
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unasked {
    /// There was no connection: it has not heard the question.
    Unreachable,
    /// It may have heard it.
    Unanswered,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Settled {
    /// The engine confirmed the stop.
    Stopped,
    /// Another session plays in its place; no stop was sent.
    Superseded,
    /// A stop was sent, and not confirmed: the engine does not know the session any more, or hangs.
    Lost,
    /// Nothing was sent: worth another try.
    Unreachable,
}

pub(super) fn settle(engine: &Engine, session: &Session, ask: &dyn Ask) -> Settled {
    match is_replaced(engine, session, ask) {
        Ok(true) => return Settled::Superseded,
        Ok(false) => {}
        Err(Unasked::Unreachable) => return Settled::Unreachable,
        // The stop is another connection, and the more important one.
        Err(Unasked::Unanswered) => {}
    }
    let path = request::command(&session.command_path, request::Command::Stop);
    match ask.ask(engine, &path, STOP_MAX) {
        Ok((status, body)) if reply::command(status, &body).is_ok() => Settled::Stopped,
        Ok(_) | Err(Unasked::Unanswered) => Settled::Lost,
        Err(Unasked::Unreachable) => Settled::Unreachable,
    }
}

/// Only a clear answer says so.
fn is_replaced(engine: &Engine, ours: &Session, ask: &dyn Ask) -> Result<bool, Unasked> {
    if ours.stat_path.is_empty() || ours.playback_session_id.is_empty() {
        return Ok(false);
    }
    // The first answer about a session may be empty.
    for _ in 0..2 {
        let (status, body) = ask.ask(engine, &ours.stat_path, STAT_MAX)?;
        let Ok(stat) = reply::stat(status, &body) else { return Ok(false) };
        if let Some(current) = stat.playback_session_id.filter(|id| !id.is_empty()) {
            return Ok(current != ours.playback_session_id);
        }
    }
    Ok(false)
}
