//! Engine facts in the session's words. The two brains are siblings and never meet; this is the
//! floor above them where they do.

use crate::base::time::Wall;
use crate::engine::reply::Failure;
use crate::engine::reply::Live;
use crate::engine::reply::OpenReply;
use crate::engine::reply::StatReply;
use crate::http::uri::EnginePath;
use crate::stream;
use std::time::Duration;

/// What was asked when it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum During {
    Open,
    Play,
    Stat,
}

pub(crate) fn opened(reply: &OpenReply) -> stream::Opened {
    let text = |path: &Option<EnginePath>| {
        path.as_ref().map(|path| path.as_str().to_owned()).unwrap_or_default()
    };
    stream::Opened {
        infohash: reply.infohash,
        playback_session_id: reply.playback_session_id.clone(),
        playback_path: reply.playback.as_str().to_owned(),
        stat_path: text(&reply.stat),
        command_path: text(&reply.command),
        live: reply.live != Live::No,
        encrypted: reply.encrypted,
        hls: reply.hls_source,
    }
}

pub(crate) fn stat(reply: StatReply) -> stream::StatFacts {
    let wall = Wall::now().unix_seconds();
    let age_s = reply.live_last.map(|last| (wall - last as f64).max(0.0));
    stream::StatFacts {
        status: reply.status.name().to_owned(),
        peers: reply.peers,
        downloaded: reply.downloaded,
        speed_down_kbps: u64::from(reply.speed_down_kbps),
        progress_percent: reply.progress,
        live_last: reply.live_last,
        live_age: age_s.map(Duration::from_secs_f64),
        playback_session_id: reply.playback_session_id,
    }
}

pub(crate) fn failure(failure: Failure, during: During) -> stream::Failure {
    match failure {
        Failure::Content(text) => stream::Failure::Content(text),
        Failure::Superseded => stream::Failure::TakenOver("got newer download".to_owned()),
        Failure::SessionGone(text) => stream::Failure::Gone(text),
        Failure::Prebuffering(text) if during == During::Play => {
            stream::Failure::Prebuffering(text)
        }
        Failure::Prebuffering(text) | Failure::Premium(text) => stream::Failure::Engine(text),
        Failure::Forbidden => stream::Failure::TakenOver("403 Forbidden".to_owned()),
        Failure::Refused => stream::Failure::Refused,
        Failure::Lack(text) => stream::Failure::Lack(text),
        Failure::Silent => stream::Failure::Silent,
        Failure::MalformedHead => stream::Failure::MalformedHead,
        Failure::Cut => stream::Failure::Cut,
        Failure::Other(text) if during == During::Play => stream::Failure::Gone(text),
        Failure::Other(text) => stream::Failure::Engine(text),
    }
}
