//! The operator's side: knobs, counters and events, in process and behind `/emulator/…`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value as Json;
use serde_json::json;

use crate::clock::now_us;
use crate::config::Channel;
use crate::config::Source;
use crate::conn::End;
use crate::counters::Counters;
use crate::engine::Engine;
use crate::engine::signed_config;
use crate::knobs::Knob;
use crate::knobs::Value;
use crate::server;
use crate::session::SessionKind;
use crate::session::SessionState;
use crate::source::signed::SignedConfig;

const KILL_WAIT_US: u64 = 3_000_000;

/// A handle on a running emulator; clones are the same handle.
#[derive(Clone)]
pub struct Control {
    pub(crate) engine: Arc<Engine>,
}

/// What is known about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// 1 for the first session of this emulator, then counting.
    pub serial: u64,
    pub playback_session_id: String,
    pub infohash: String,
    pub key: String,
    pub pid: Option<String>,
    pub kind: SessionKind,
    pub state: SessionState,
    pub opened_us: u64,
    /// `method=stop` requests for it, those after its end included.
    pub stops: u64,
    pub has_reader: bool,
    pub bytes_written: u64,
    pub stats: u64,
    /// Set by `set_player_activity_timeout`.
    pub timeout_ms: Option<u64>,
}

impl Control {
    /// Turns a knob for all channels until it is cleared.
    pub fn set(&self, knob: Knob, value: impl Into<Value>) {
        self.put(knob, value.into(), None, None);
    }

    /// Turns a knob for one channel.
    pub fn set_for(&self, infohash: &str, knob: Knob, value: impl Into<Value>) {
        self.put(knob, value.into(), Some(infohash), None);
    }

    /// Turns a knob for the next `count` requests that it applies to.
    pub fn set_next(&self, count: u64, knob: Knob, value: impl Into<Value>) {
        self.put(knob, value.into(), None, Some(count));
    }

    pub fn set_next_for(&self, infohash: &str, count: u64, knob: Knob, value: impl Into<Value>) {
        self.put(knob, value.into(), Some(infohash), Some(count));
    }

    /// Takes back every setting of a knob.
    pub fn clear(&self, knob: Knob) {
        self.engine.world().knobs.clear(knob);
        self.apply();
    }

    pub fn clear_for(&self, infohash: &str, knob: Knob) {
        self.engine.world().knobs.clear_for(knob, &infohash.to_ascii_lowercase());
        self.apply();
    }

    /// Knobs as at the start, counters zero; sessions and connections stay.
    pub fn reset(&self) {
        let mut knobs = crate::knobs::Knobs::default();
        for (knob, value) in &self.engine.config.knobs {
            knobs.set(*knob, value.clone(), None, None);
        }
        self.engine.world().knobs = knobs;
        self.engine.counting.reset();
        self.apply();
    }

    pub fn counters(&self) -> Counters {
        self.engine.counting.snapshot()
    }

    /// Every session that is remembered, oldest first.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let world = self.engine.world();
        let info = |session: &crate::session::Session| SessionInfo {
            serial: session.serial,
            playback_session_id: session.playback_session_id.clone(),
            infohash: session.infohash.clone(),
            key: session.key.clone(),
            pid: session.pid.clone(),
            kind: session.kind,
            state: session.state,
            opened_us: session.opened_us,
            stops: session.stops,
            has_reader: session.reader.is_some(),
            bytes_written: session.progress.bytes.load(Ordering::Relaxed),
            stats: session.stats,
            timeout_ms: session.timeout_ms,
        };
        world.sessions.by_serial.values().map(info).collect()
    }

    pub fn sessions_open(&self) -> usize {
        self.engine.world().sessions.open_count()
    }

    /// Sessions whose body is being read now.
    pub fn readers(&self) -> usize {
        let world = self.engine.world();
        world.sessions.by_serial.values().filter(|session| session.reader.is_some()).count()
    }

    pub fn connections_open(&self) -> usize {
        self.engine.world().conns.values().filter(|conn| !conn.control).count()
    }

    /// When the broadcasts began, µs since 1970: for a second emulator of the same broadcasts.
    pub fn epoch_us(&self) -> u64 {
        self.engine.epoch_us
    }

    /// What makes every packet of a signed channel.
    pub fn signed_config(&self, infohash: &str) -> Option<SignedConfig> {
        let world = self.engine.world();
        match &world.channels.get(infohash)?.channel.source {
            Source::Signed(source) => Some(signed_config(source, self.engine.epoch_us)),
            Source::Picture | Source::Offline => None,
        }
    }

    /// Adds a channel or changes it; sessions that play it go on with the old source.
    pub fn put_channel(&self, channel: Channel) -> io::Result<()> {
        self.engine.put_channel(channel)
    }

    pub fn remove_channel(&self, infohash: &str) {
        self.engine.world().channels.remove(infohash);
    }

    /// Ends the body that is being read of an infohash; its session stays.
    pub fn end_body(&self, infohash: &str, end: End) -> bool {
        let world = self.engine.world();
        let current = world.sessions.downloads.get(infohash).map(|download| download.current);
        let session = current.and_then(|serial| world.sessions.by_serial.get(&serial));
        let reader = session.and_then(|session| session.reader.clone());
        drop(world);
        reader.is_some_and(|reader| {
            reader.end(end);
            true
        })
    }

    /// Expires the session of an infohash now.
    pub fn expire(&self, infohash: &str) -> bool {
        let expired = self.engine.world().sessions.expire(infohash, &self.engine.counting);
        self.engine.notify();
        expired
    }

    /// Another client of the same engine opens the infohash and takes it over.
    pub fn take_over(&self, infohash: &str) -> bool {
        let mut world = self.engine.world();
        let id = world.prng.hex(40);
        let taken = world.sessions.take_over(infohash, id, &self.engine.counting);
        drop(world);
        self.engine.notify();
        taken
    }

    /// The engine process dies: every connection is reset, all sessions are lost, connections
    /// are refused until `restart`.
    pub fn kill(&self) {
        server::close(&self.engine);
        self.engine.lose_everything();
        let until_us = now_us() + KILL_WAIT_US;
        while self.connections_open() > 0 && now_us() < until_us {
            self.engine.wait_change(10);
        }
    }

    /// Comes up again on the same addresses after `down_ms`; kills first if need be.
    pub fn restart(&self, down_ms: u64) -> io::Result<()> {
        self.kill();
        crate::clock::sleep_ms(down_ms);
        self.apply();
        server::open(&self.engine)
    }

    /// Waits until a condition holds, at most `ms`; true when it does.
    pub fn wait_for(&self, ms: u64, condition: impl Fn(&Control) -> bool) -> bool {
        let until_us = now_us() + ms * 1_000;
        while !condition(self) {
            if now_us() > until_us {
                return false;
            }
            self.engine.wait_change(5);
        }
        true
    }

    /// What `GET /emulator/state` answers.
    pub fn state(&self) -> Json {
        let engine = &self.engine;
        let mut counters = self.counters().to_json();
        counters.insert("sessions_open".to_owned(), self.sessions_open().into());
        counters.insert("readers".to_owned(), self.readers().into());
        counters.insert("connections_open".to_owned(), self.connections_open().into());
        let sessions: Vec<Json> = self.sessions().iter().map(session_json).collect();
        let world = engine.world();
        let knobs: Vec<Json> = world.knobs.list().into_iter().map(|(knob, value, channel, left)| {
            json!({ "knob": knob.name(), "value": value_json(&value), "channel": channel, "count": left })
        }).collect();
        let channels: Vec<Json> =
            world.channels.values().map(|tuned| channel_json(&tuned.channel)).collect();
        json!({
            "version": engine.config.version,
            "epoch_us": engine.epoch_us,
            "counters": counters,
            "sessions": sessions,
            "knobs": knobs,
            "channels": channels,
        })
    }

    pub(crate) fn put(&self, knob: Knob, value: Value, infohash: Option<&str>, count: Option<u64>) {
        let channel = infohash.map(str::to_ascii_lowercase);
        self.engine.world().knobs.set(knob, value, channel, count);
        self.apply();
    }

    /// Carries out the knob that is not looked at by any request.
    fn apply(&self) {
        let refuse = self.engine.world().knobs.peek_flag(Knob::Refuse, None);
        if refuse {
            server::close(&self.engine);
        } else if self.engine.refusing.swap(false, Ordering::AcqRel) {
            let _ = server::open(&self.engine);
        }
        self.engine.refusing.store(refuse, Ordering::Release);
        self.engine.notify();
    }
}

fn session_json(session: &SessionInfo) -> Json {
    json!({
        "serial": session.serial,
        "playback_session_id": session.playback_session_id,
        "infohash": session.infohash,
        "key": session.key,
        "pid": session.pid,
        "kind": match session.kind { SessionKind::Ts => "ts", SessionKind::Hls => "hls" },
        "state": match session.state {
            SessionState::Open => "open",
            SessionState::Superseded => "superseded",
            SessionState::Stopped => "stopped",
            SessionState::Expired => "expired",
            SessionState::Lost => "lost",
        },
        "opened_us": session.opened_us,
        "stops": session.stops,
        "has_reader": session.has_reader,
        "bytes_written": session.bytes_written,
        "stats": session.stats,
        "timeout_ms": session.timeout_ms,
    })
}

fn channel_json(channel: &Channel) -> Json {
    let source = match &channel.source {
        Source::Offline => json!("offline"),
        Source::Picture => json!("picture"),
        Source::Signed(signed) => json!({
            "bitrate_bps": signed.bitrate_bps,
            "gop_ms": signed.gop_ms,
            "video": signed.video.name(),
            "tag": signed.tag,
            "clock_start_90k": signed.clock_start_90k,
        }),
    };
    json!({
        "name": channel.name,
        "infohash": channel.infohash,
        "content_ids": channel.content_ids,
        "source": source,
        "cold_start_ms": channel.cold_start_ms,
        "resolve_ms": channel.resolve_ms,
        "is_live": channel.is_live,
        "is_encrypted": channel.is_encrypted,
        "hls_source": channel.hls_source,
    })
}

fn value_json(value: &Value) -> Json {
    match value {
        Value::Flag(flag) => Json::from(*flag),
        Value::Number(number) => Json::from(*number),
        Value::Text(text) => Json::from(text.as_str()),
    }
}
