//! From a request to what is to be done: one decision, made before anything happens.
//!
//! It looks at the request, the peer and the operator's access rules, and at nothing else: no
//! stream, no engine, no clock. The order of its checks is part of what it promises: address (403),
//! path (404), method (405), origin and token (403, 401), parameters (400, 403). Who may not ask
//! learns nothing else. A token never appears in what it returns.

mod access;
mod api;
mod play;

use std::net::IpAddr;

pub use self::access::API_COOKIE;
pub use self::access::Access;
pub use self::api::Api;
pub use self::api::ApiCookie;
pub use self::api::Change;
pub use self::api::VIEWERS_LIMIT_DEFAULT;
pub use self::api::VIEWERS_LIMIT_MAX;
pub use self::api::ViewerSort;
pub use self::api::ViewersQuery;
pub use self::play::Play;
use crate::base::ids::Infohash;
use crate::base::ids::Target;
use crate::http::forwarded;
use crate::http::forwarded::Client;
use crate::http::head::Method;
use crate::http::head::Request;
use crate::http::render::ErrorCode;
use crate::http::render::ErrorReply;
use crate::http::render::write_error;
use crate::http::render::write_method_not_allowed;
use crate::http::uri::query_value;

/// What is to be done, and for whom.
#[derive(Clone, PartialEq, Debug)]
pub struct Routed {
    pub route: Route,
    pub client: Client,
    /// The name of the play token that was shown, when it has one.
    pub token_name: Option<String>,
    /// False for HEAD.
    pub with_body: bool,
    /// Pages of other origins may read the answer.
    pub cors: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Route {
    Play(Play),
    /// HEAD of a stream: the head alone, and no engine is asked.
    PlayHead(Target),
    Preflight {
        allow: &'static str,
    },
    AceStatus {
        id: Option<Infohash>,
    },
    /// `/webui/api/service?method=get_version`
    GetVersion,
    /// `/server/api?method=get_status`
    GetStatus,
    Api(Api),
    Metrics,
    Healthz,
    Readyz,
}

/// Why nothing is to be done.
#[derive(Clone, PartialEq, Debug)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
    /// The methods that the route takes, when the method was wrong.
    pub allow: Option<&'static str>,
    pub client: Client,
    pub with_body: bool,
    pub cors: bool,
    /// The metric label of the route that was asked for.
    pub label: &'static str,
}

impl Refusal {
    /// Appends the whole reply.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.allow {
            Some(allow) => {
                let start = out.len();
                write_method_not_allowed(out, allow, self.cors);
                let end = memchr::memmem::find(&out[start..], b"\r\n\r\n");
                if let (false, Some(end)) = (self.with_body, end) {
                    out.truncate(start + end + 4);
                }
            }
            None => {
                let reply =
                    ErrorReply { cors: self.cors, ..ErrorReply::new(self.code, &self.message) };
                write_error(out, &reply, self.with_body);
            }
        }
    }
}

/// A code and what to say; becomes a [`Refusal`] when it is known for whom.
#[derive(Clone, PartialEq, Eq, Debug)]
struct No {
    code: ErrorCode,
    message: String,
    allow: Option<&'static str>,
}

impl No {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), allow: None }
    }

    fn method(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(ErrorCode::Method, format!("this route takes {allow}"))
        }
    }

    fn not_found(message: &str) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }
}

/// What a path stands for, before method, token and parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place<'a> {
    GetStream,
    AceStatus,
    /// Below /ace/, and not served.
    AceOther,
    Service,
    ServerApi,
    /// What follows `/api/v1/`.
    Api(&'a str),
    Metrics,
    Healthz,
    Readyz,
    Nowhere,
}

impl<'a> Place<'a> {
    fn of(path: &'a str) -> Self {
        let path = path.trim_end_matches('/');
        match path {
            "/ace/getstream" => Self::GetStream,
            "/ace/status" => Self::AceStatus,
            "/webui/api/service" => Self::Service,
            "/server/api" => Self::ServerApi,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Healthz,
            "/readyz" => Self::Readyz,
            _ if path.starts_with("/ace/") => Self::AceOther,
            _ => path.strip_prefix("/api/v1/").map_or(Self::Nowhere, Self::Api),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::GetStream => PLAY_LABEL,
            Self::AceStatus => "ace_status",
            Self::Service => "get_version",
            Self::ServerApi => "get_status",
            Self::Api(_) => "api",
            Self::Metrics => "metrics",
            Self::Healthz => "healthz",
            Self::Readyz => "readyz",
            Self::AceOther | Self::Nowhere => "other",
        }
    }

    /// Asked by containers and balancers on this host, whatever the address list says.
    fn is_probe(self) -> bool {
        matches!(self, Self::Healthz | Self::Readyz)
    }
}

impl Route {
    /// The answer depends on what stands behind the head.
    pub fn takes_body(&self) -> bool {
        matches!(self, Self::Api(Api::Change(change)) if change.takes_body())
    }

    /// The metric label `route`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Play(_) | Self::PlayHead(_) => PLAY_LABEL,
            Self::Preflight { .. } => "preflight",
            Self::AceStatus { .. } => "ace_status",
            Self::GetVersion => "get_version",
            Self::GetStatus => "get_status",
            Self::Api(_) => "api",
            Self::Metrics => "metrics",
            Self::Healthz => "healthz",
            Self::Readyz => "readyz",
        }
    }
}

/// Whether a path is one of those that pages of other origins may read.
pub fn is_for_players(path: &str) -> bool {
    path.starts_with("/ace/")
}

/// The metric label of players' requests, also where their answer comes later.
pub const PLAY_LABEL: &str = "getstream";

const GET: &str = "GET, HEAD";
const GET_CORS: &str = "GET, HEAD, OPTIONS";

/// Decides. `peer` is the address of the connection itself.
pub fn route(request: &Request<'_>, access: &Access, peer: IpAddr) -> Result<Routed, Refusal> {
    let forwarded_for = request.headers("x-forwarded-for");
    let client = forwarded::client(peer, forwarded_for, &access.trusted_proxies);
    let place = Place::of(request.path);
    let with_body = request.method != Method::Head;
    let cors = is_for_players(request.path);
    match decide(request, access, &client, place) {
        Ok((route, token_name)) => Ok(Routed { route, client, token_name, with_body, cors }),
        Err(No { code, message, allow }) => {
            let label = place.label();
            Err(Refusal { code, message, allow, client, with_body, cors, label })
        }
    }
}

fn decide(
    request: &Request<'_>,
    access: &Access,
    client: &Client,
    place: Place<'_>,
) -> Result<(Route, Option<String>), No> {
    access.admit(client, place.is_probe())?;
    let route = match place {
        Place::GetStream => return play(request, access),
        Place::AceStatus => {
            if let Some(preflight) = cors_method(request.method)? {
                return Ok((preflight, None));
            }
            let token_name = access.player(request)?;
            return Ok((Route::AceStatus { id: play::status_id(request.query)? }, token_name));
        }
        Place::AceOther => {
            if let Some(preflight) = cors_method(request.method)? {
                return Ok((preflight, None));
            }
            return Err(No::not_found("no such route, or not served yet"));
        }
        Place::Service => service(request, "get_version", Route::GetVersion)?,
        Place::ServerApi => service(request, "get_status", Route::GetStatus)?,
        Place::Api(path) => Route::Api(api::route(request, access, client, path)?),
        Place::Metrics => read_only(request.method, Route::Metrics)?,
        Place::Healthz => read_only(request.method, Route::Healthz)?,
        Place::Readyz => read_only(request.method, Route::Readyz)?,
        Place::Nowhere => return Err(No::not_found("no such route, or not served yet")),
    };
    Ok((route, None))
}

fn play(request: &Request<'_>, access: &Access) -> Result<(Route, Option<String>), No> {
    if let Some(preflight) = cors_method(request.method)? {
        return Ok((preflight, None));
    }
    let token_name = access.player(request)?;
    let play = play::parse(request.query, access)?;
    let is_head = request.method == Method::Head;
    let route = if is_head { Route::PlayHead(play.target) } else { Route::Play(play) };
    Ok((route, token_name))
}

/// GET and HEAD go on; OPTIONS is answered at once.
fn cors_method(method: Method) -> Result<Option<Route>, No> {
    match method {
        Method::Get | Method::Head => Ok(None),
        Method::Options => Ok(Some(Route::Preflight { allow: GET_CORS })),
        Method::Post | Method::Delete | Method::Other => Err(No::method(GET_CORS)),
    }
}

fn read_only(method: Method, route: Route) -> Result<Route, No> {
    match method {
        Method::Get | Method::Head => Ok(route),
        Method::Options | Method::Post | Method::Delete | Method::Other => Err(No::method(GET)),
    }
}

/// The engine's own service endpoints, for players that look whether an engine is there.
fn service(request: &Request<'_>, method: &str, route: Route) -> Result<Route, No> {
    let route = read_only(request.method, route)?;
    match query_value(request.query, "method") {
        Some(asked) if asked == method => Ok(route),
        Some(_) | None => Err(No::not_found(&format!("only method={method} is answered here"))),
    }
}

#[cfg(test)]
mod tests;
