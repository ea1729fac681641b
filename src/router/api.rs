//! The routes below `/api/v1/`.
//!
//! Reads and changes become values, once it is clear that the client may ask for them. Nothing is
//! looked up here: whether a stream or a viewer of that id is there, the shards know.

use std::fmt;
use std::time::Duration;

use super::API_COOKIE;
use super::Access;
use super::GET;
use super::No;
use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;
use crate::http::forwarded::Client;
use crate::http::forwarded::external_origin;
use crate::http::head::Method;
use crate::http::head::Request;
use crate::http::render::ErrorCode;
use crate::http::token::presented;
use crate::http::uri::percent_decode;
use crate::http::uri::query_pairs;
use crate::http::uri::query_value;

/// `?block=` keeps somebody out for a day at most: whoever should stay out for longer belongs into
/// the operator's lists.
const BLOCK_SECONDS_MAX: u64 = 86_400;

/// A stream that runs for nobody takes a place on an engine: a day at most, as above.
const WARM_SECONDS_MAX: u64 = 86_400;
const WARM_SECONDS_DEFAULT: u64 = 60;

/// Of an engine's name, or host and port, in a path.
const ENGINE_BYTES_MAX: usize = 300;

pub const VIEWERS_LIMIT_DEFAULT: usize = 500;
pub const VIEWERS_LIMIT_MAX: usize = 5_000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Api {
    Status,
    Streams,
    Stream(Infohash),
    Viewers(ViewersQuery),
    Engines,
    Offline,
    Change(Change),
    /// The token was shown as a bearer; from now on the cookie stands for it.
    LogIn(ApiCookie),
    LogOut,
}

/// Something that an operator wants to be otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    EndStream(Infohash),
    /// `block`: whoever it was is kept out for so long.
    EndViewer {
        viewer: ViewerId,
        block: Duration,
    },
    /// Its viewers stay. `engine`: to that one.
    MoveStream {
        stream: Infohash,
        engine: Option<String>,
    },
    /// It runs for so long, whoever watches; started if it must be.
    WarmStream {
        stream: Infohash,
        span: Duration,
    },
    ClearOffline(Infohash),
    /// The body says which.
    AddEngines,
    DrainEngine {
        engine: String,
        draining: bool,
    },
    RemoveEngine(String),
    /// It rests no longer.
    EndRest(String),
}

impl Change {
    pub fn takes_body(&self) -> bool {
        match self {
            Self::AddEngines => true,
            Self::EndStream(_)
            | Self::EndViewer { .. }
            | Self::MoveStream { .. }
            | Self::WarmStream { .. }
            | Self::ClearOffline(_)
            | Self::DrainEngine { .. }
            | Self::RemoveEngine(_)
            | Self::EndRest(_) => false,
        }
    }
}

/// The value of the cookie that stands for the API token. Printing it never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiCookie {
    token: String,
    /// Set over https: to be sent over https only.
    secure: bool,
}

impl fmt::Debug for ApiCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiCookie(***)")
    }
}

impl ApiCookie {
    /// The value of `Set-Cookie`: no script reads it, and no other site's request carries it.
    pub fn header(&self) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let mut value = String::with_capacity(self.token.len());
        for byte in self.token.bytes() {
            match plain(byte) {
                true => value.push(char::from(byte)),
                false => value.push_str(&format!("%{byte:02X}")),
            }
        }
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{API_COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}")
    }

    /// Ends it.
    pub fn removal() -> String {
        format!("{API_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ViewersQuery {
    pub stream: Option<Infohash>,
    pub sort: ViewerSort,
    pub descending: bool,
    pub limit: usize,
    /// The last viewer of the page before.
    pub after: Option<ViewerId>,
}

/// A member of a viewer's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ViewerSort {
    #[default]
    Id,
    ConnectedAt,
    BytesSent,
    RateBps,
    SecondsBehind,
    Skips,
}

impl ViewerSort {
    pub const ALL: [Self; 6] = [
        Self::Id,
        Self::ConnectedAt,
        Self::BytesSent,
        Self::RateBps,
        Self::SecondsBehind,
        Self::Skips,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::ConnectedAt => "connected_at",
            Self::BytesSent => "bytes_sent",
            Self::RateBps => "rate_bps",
            Self::SecondsBehind => "seconds_behind",
            Self::Skips => "skips",
        }
    }
}

/// The methods of each path, its `{}` any one segment. The first column is what `Allow` says.
const ROUTES: [(&str, &str); 14] = [
    (GET, "status"),
    (GET, "streams"),
    ("GET, HEAD, DELETE", "streams/{}"),
    ("POST", "streams/{}/move"),
    ("POST", "streams/{}/warm"),
    (GET, "viewers"),
    ("DELETE", "viewers/{}"),
    ("GET, HEAD, POST", "engines"),
    ("DELETE", "engines/{}"),
    ("POST", "engines/{}/drain"),
    ("DELETE", "engines/{}/rest"),
    (GET, "offline"),
    ("DELETE", "offline/{}"),
    ("POST, DELETE", "session"),
];

pub(super) fn route(
    request: &Request<'_>,
    access: &Access,
    client: &Client,
    path: &str,
) -> Result<Api, No> {
    let Some((allow, pattern)) = ROUTES.iter().find(|(_, pattern)| matches(pattern, path)) else {
        return Err(No::not_found("no such route, or not served yet"));
    };
    let takes = |method: &str| allow.split(", ").any(|one| one == method);
    match request.method {
        Method::Get | Method::Head if takes("GET") => access.reader(request, client)?,
        Method::Post if takes("POST") => {}
        Method::Delete if takes("DELETE") => {}
        Method::Get
        | Method::Head
        | Method::Options
        | Method::Post
        | Method::Delete
        | Method::Other => return Err(No::method(allow)),
    }
    match (request.method, *pattern) {
        (Method::Post, "session") => log_in(request, access, client),
        (Method::Delete, "session") => {
            access.own_page(request, client)?;
            Ok(Api::LogOut)
        }
        (Method::Post | Method::Delete, pattern) => {
            access.writer(request, client)?;
            change(pattern, path, request.query).map(Api::Change)
        }
        (_, "status") => Ok(Api::Status),
        (_, "streams") => Ok(Api::Streams),
        (_, "viewers") => viewers(request.query).map(Api::Viewers),
        (_, "engines") => Ok(Api::Engines),
        (_, "offline") => Ok(Api::Offline),
        (_, _) => stream_id(path, 0).map(Api::Stream),
    }
}

/// Only a header opens a session: another site's form cannot send one.
fn log_in(request: &Request<'_>, access: &Access, client: &Client) -> Result<Api, No> {
    access.own_page(request, client)?;
    if access.api_tokens.is_empty() {
        return Err(No::not_found("no session is needed: RINGCAST_API_TOKEN is not set"));
    }
    let shown = presented(request);
    let token = shown.bearer().filter(|shown| access.api_tokens.matches(shown).is_some());
    let token = token.ok_or_else(super::access::no_token)?.to_owned();
    let origin = external_origin(request, client.behind_proxy);
    let secure = origin.is_some_and(|origin| origin.https);
    Ok(Api::LogIn(ApiCookie { token, secure }))
}

fn change(pattern: &str, path: &str, query: &str) -> Result<Change, No> {
    match pattern {
        "streams/{}" => stream_id(path, 0).map(Change::EndStream),
        "streams/{}/move" => {
            let named = query_value(query, "engine").filter(|name| !name.is_empty());
            let engine = named.map(|name| engine_id(&name)).transpose()?;
            Ok(Change::MoveStream { stream: stream_id(path, 1)?, engine })
        }
        "streams/{}/warm" => {
            let stream = super::play::id(last(path, 1));
            let stream = stream.ok_or_else(|| bad("the id of a stream is 40 hex digits"))?;
            Ok(Change::WarmStream { stream, span: warm(query)? })
        }
        "viewers/{}" => {
            let id = u64::from_str_radix(last(path, 0), 16);
            let viewer = ViewerId(id.map_err(|_| No::not_found("no such viewer"))?);
            Ok(Change::EndViewer { viewer, block: block(query)? })
        }
        "engines" => Ok(Change::AddEngines),
        "engines/{}" => Ok(Change::RemoveEngine(engine_id(last(path, 0))?)),
        "engines/{}/rest" => Ok(Change::EndRest(engine_id(last(path, 1))?)),
        "engines/{}/drain" => {
            let draining = match query_value(query, "draining").as_deref() {
                None | Some("" | "true" | "1" | "on") => true,
                Some("false" | "0" | "off") => false,
                Some(_) => return Err(bad("draining= takes true or false")),
            };
            Ok(Change::DrainEngine { engine: engine_id(last(path, 1))?, draining })
        }
        "offline/{}" => {
            let id = super::play::id(last(path, 0));
            id.map(Change::ClearOffline).ok_or_else(|| No::not_found("no such id is offline"))
        }
        _ => Err(No::not_found("no such change")),
    }
}

/// A segment of the path, counted from its end.
fn last(path: &str, from_end: usize) -> &str {
    path.rsplit('/').nth(from_end).unwrap_or_default()
}

fn stream_id(path: &str, from_end: usize) -> Result<Infohash, No> {
    super::play::id(last(path, from_end)).ok_or_else(|| No::not_found("no such stream"))
}

fn engine_id(segment: &str) -> Result<String, No> {
    let id = percent_decode(segment);
    let fits = id.len() <= ENGINE_BYTES_MAX && !id.contains(char::is_control);
    if fits { Ok(id.into_owned()) } else { Err(No::not_found("no such engine")) }
}

fn warm(query: &str) -> Result<Duration, No> {
    let Some(text) = query_value(query, "seconds").filter(|text| !text.is_empty()) else {
        return Ok(Duration::from_secs(WARM_SECONDS_DEFAULT));
    };
    let range = 1..=WARM_SECONDS_MAX;
    let seconds = text.parse().ok().filter(|seconds| range.contains(seconds));
    let seconds = seconds.ok_or_else(|| bad(&format!("seconds= takes 1 to {WARM_SECONDS_MAX}")))?;
    Ok(Duration::from_secs(seconds))
}

fn block(query: &str) -> Result<Duration, No> {
    let Some(text) = query_value(query, "block").filter(|text| !text.is_empty()) else {
        return Ok(Duration::ZERO);
    };
    let seconds = text.parse().ok().filter(|seconds| *seconds <= BLOCK_SECONDS_MAX);
    let seconds = seconds
        .ok_or_else(|| bad(&format!("block= takes seconds, {BLOCK_SECONDS_MAX} at most")))?;
    Ok(Duration::from_secs(seconds))
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let all = pattern.split('/').all(|wanted| match parts.next() {
        Some(part) => wanted == part || (wanted == "{}" && !part.is_empty()),
        None => false,
    });
    all && parts.next().is_none()
}

fn viewers(query: &str) -> Result<ViewersQuery, No> {
    let mut viewers = ViewersQuery {
        stream: None,
        sort: ViewerSort::Id,
        descending: false,
        limit: VIEWERS_LIMIT_DEFAULT,
        after: None,
    };
    for (name, value) in query_pairs(query) {
        match name.as_ref() {
            _ if value.is_empty() => {}
            "stream" => {
                let id = super::play::id(&value);
                viewers.stream = Some(id.ok_or_else(|| bad("stream= takes 40 hex digits"))?);
            }
            "sort" => {
                let name = value.strip_prefix('-');
                viewers.descending = name.is_some();
                let name = name.unwrap_or(&value);
                let sort = ViewerSort::ALL.into_iter().find(|sort| sort.name() == name);
                viewers.sort = sort.ok_or_else(|| {
                    let names = ViewerSort::ALL.map(ViewerSort::name).join(", ");
                    bad(&format!("sort= takes {names}, with - before it for descending"))
                })?;
            }
            "limit" => {
                let limit =
                    value.parse().ok().filter(|limit| (1..=VIEWERS_LIMIT_MAX).contains(limit));
                viewers.limit =
                    limit.ok_or_else(|| bad(&format!("limit= takes 1 to {VIEWERS_LIMIT_MAX}")))?;
            }
            "after" => {
                let id = u64::from_str_radix(&value, 16);
                viewers.after = Some(ViewerId(id.map_err(|_| bad("after= takes a viewer's id"))?));
            }
            _ => {}
        }
    }
    Ok(viewers)
}

fn bad(message: &str) -> No {
    No::new(ErrorCode::BadRequest, message)
}
