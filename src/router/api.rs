//! The routes below `/api/v1/`.
//!
//! Reads become values; changes are checked for who asks, and not served yet.

use super::Access;
use super::GET;
use super::No;
use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;
use crate::http::forwarded::Client;
use crate::http::head::Method;
use crate::http::head::Request;
use crate::http::render::ErrorCode;
use crate::http::uri::query_pairs;

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
const ROUTES: [(&str, &str); 12] = [
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
    (GET, "offline"),
    ("DELETE", "offline/{}"),
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
        Method::Post if takes("POST") => return change(request, access, client),
        Method::Delete if takes("DELETE") => return change(request, access, client),
        Method::Get
        | Method::Head
        | Method::Options
        | Method::Post
        | Method::Delete
        | Method::Other => return Err(No::method(allow)),
    }
    match *pattern {
        "status" => Ok(Api::Status),
        "streams" => Ok(Api::Streams),
        "viewers" => viewers(request.query).map(Api::Viewers),
        "engines" => Ok(Api::Engines),
        "offline" => Ok(Api::Offline),
        _ => {
            let id = path.rsplit('/').next().and_then(super::play::id);
            id.map(Api::Stream).ok_or_else(|| No::not_found("no such stream"))
        }
    }
}

/// Who may not change anything is told so; who may is told that it cannot be done yet.
fn change(request: &Request<'_>, access: &Access, client: &Client) -> Result<Api, No> {
    access.writer(request, client)?;
    Err(No::not_found("this change is not served yet"))
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
