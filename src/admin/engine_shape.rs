//! Replies in the shapes of other programs: the engine's own JSON, and acexy's status.
//!
//! Invariant: the engine's shapes are separated as Python writes them (`", "` and `": "`),
//! because clients search them as text (`"error": null`).

use std::io;
use std::io::Write;

use serde::Serialize;
use serde_json::ser::Formatter;

use super::hygiene::clean;

/// What `liveseek` and `set_stream` answer.
pub const NOT_SUPPORTED: &str = "not supported on a shared stream";

/// The answer to `getstream` with `format=json`. URLs are on this server.
#[derive(Clone, Copy, Debug)]
pub struct Playback<'a> {
    pub playback_url: &'a str,
    pub stat_url: &'a str,
    pub command_url: &'a str,
    pub event_url: Option<&'a str>,
    pub infohash: &'a str,
    pub playback_session_id: &'a str,
    pub client_session_id: i64,
    pub is_live: bool,
    pub is_encrypted: bool,
}

#[derive(Serialize)]
struct PlaybackShape<'a> {
    playback_url: &'a str,
    stat_url: &'a str,
    command_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_url: Option<&'a str>,
    infohash: &'a str,
    playback_session_id: &'a str,
    client_session_id: i64,
    is_live: u8,
    is_encrypted: u8,
}

#[derive(Serialize)]
struct Reply<'a, T> {
    response: Option<T>,
    error: Option<&'a str>,
}

pub fn getstream_ok(playback: &Playback<'_>) -> String {
    let response = PlaybackShape {
        playback_url: playback.playback_url,
        stat_url: playback.stat_url,
        command_url: playback.command_url,
        event_url: playback.event_url,
        infohash: playback.infohash,
        playback_session_id: playback.playback_session_id,
        client_session_id: playback.client_session_id,
        is_live: u8::from(playback.is_live),
        is_encrypted: u8::from(playback.is_encrypted),
    };
    python(&Reply { response: Some(response), error: None })
}

pub fn getstream_error(text: &str) -> String {
    python(&Reply::<()> { response: None, error: Some(&clean(text)) })
}

pub fn command_ok() -> String {
    python(&Reply { response: Some("ok"), error: None })
}

pub fn command_error(text: &str) -> String {
    getstream_error(text)
}

/// What `stat_url` answers: the stream's session, never its viewers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stat<'a> {
    pub status: &'a str,
    pub peers: u64,
    pub speed_down: u64,
    pub speed_up: u64,
    pub downloaded: u64,
    pub uploaded: u64,
    pub total_progress: u64,
    pub infohash: &'a str,
    pub playback_session_id: &'a str,
    #[serde(serialize_with = "bit")]
    pub is_live: bool,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "livepos")]
    pub livepos: Option<LivePos>,
}

/// Unix seconds; the engine writes all of it as texts.
#[derive(Clone, Copy, Debug)]
pub struct LivePos {
    pub live_first: u64,
    pub live_last: u64,
    pub pos: u64,
    pub buffer_pieces: u64,
}

pub fn stat(stat: &Stat<'_>) -> String {
    python(&Reply { response: Some(stat), error: None })
}

#[derive(Serialize)]
struct Version<'a> {
    platform: &'a str,
    version: &'a str,
    code: u64,
}

impl<'a> Version<'a> {
    fn new(version: &'a str) -> Self {
        Self { platform: "linux", version, code: version_code(version) }
    }
}

/// `/webui/api/service?method=get_version`
pub fn get_version(version: &str) -> String {
    #[derive(Serialize)]
    struct Shape<'a> {
        result: Version<'a>,
        error: Option<()>,
    }
    python(&Shape { result: Version::new(&clean(version)), error: None })
}

/// `/server/api?api_version=3&method=get_status`
pub fn get_status(version: &str) -> String {
    #[derive(Serialize)]
    struct Status<'a> {
        playlist_loaded: bool,
        version: Version<'a>,
    }
    // No "error" key: on success the engine has none here.
    #[derive(Serialize)]
    struct Shape<'a> {
        result: Status<'a>,
    }
    let version = clean(version);
    python(&Shape { result: Status { playlist_loaded: true, version: Version::new(&version) } })
}

/// 3.2.11 is 3021100: major, two digits of minor, two of patch, two of build.
fn version_code(version: &str) -> u64 {
    let mut parts = version.split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap_or(0).min(99)
    });
    let mut next = || parts.next().unwrap_or(0);
    next() * 1_000_000 + next() * 10_000 + next() * 100
}

/// acexy's `/ace/status`; with a stream also its id and stat URL.
pub fn acexy_status(clients: u64, streams: u64, stream: Option<(&str, &str)>) -> String {
    #[derive(Serialize)]
    struct Shape<'a> {
        clients: u64,
        streams: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        stream_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stat_url: Option<&'a str>,
    }
    let (stream_id, stat_url) = stream.unzip();
    super::records::one(&Shape { clients, streams, stream_id, stat_url })
}

fn bit<S: serde::Serializer>(value: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(u8::from(*value))
}

fn livepos<S: serde::Serializer>(
    value: &Option<LivePos>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shape {
        last: String,
        live_first: String,
        pos: String,
        first_ts: String,
        last_ts: String,
        is_live: &'static str,
        live_last: String,
        buffer_pieces: String,
    }
    let shape = value.map(|livepos| Shape {
        last: livepos.live_last.to_string(),
        live_first: livepos.live_first.to_string(),
        pos: livepos.pos.to_string(),
        first_ts: livepos.live_first.to_string(),
        last_ts: livepos.live_last.to_string(),
        is_live: "1",
        live_last: livepos.live_last.to_string(),
        buffer_pieces: livepos.buffer_pieces.to_string(),
    });
    shape.serialize(serializer)
}

/// JSON with Python's separators.
fn python<T: Serialize>(value: &T) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Python);
    value.serialize(&mut serializer).expect("shapes are maps with text keys");
    String::from_utf8(bytes).expect("serde_json writes UTF-8")
}

struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }
}
