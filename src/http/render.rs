//! Writes response heads and the errors that players and operators see.
//!
//! Every response closes its connection. Values that came from outside are cut of control bytes, so
//! that none of them can begin a header of its own.

use std::fmt::Write as _;

/// The routes that players' browsers may read from other pages.
const CORS: &str = "Access-Control-Allow-Origin: *\r\n";
/// For how long a browser may remember a preflight.
const PREFLIGHT_AGE_S: u32 = 86_400;
/// Errors are small: what an engine says is cut.
const MESSAGE_CHARS_MAX: usize = 512;

/// What an error response is about; each has one name and one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    Method,
    Timeout,
    TargetTooLong,
    HeadTooLong,
    BodyTooLong,
    NotLive,
    Encrypted,
    HlsSource,
    TooMany,
    EngineRefused,
    NoEngine,
    NoCapacity,
    NoMemory,
    ShuttingDown,
    NothingToPlay,
}

impl ErrorCode {
    /// All of them, for tables and tests.
    pub const ALL: [ErrorCode; 19] = [
        ErrorCode::BadRequest,
        ErrorCode::Unauthorized,
        ErrorCode::Forbidden,
        ErrorCode::NotFound,
        ErrorCode::Method,
        ErrorCode::Timeout,
        ErrorCode::TargetTooLong,
        ErrorCode::HeadTooLong,
        ErrorCode::BodyTooLong,
        ErrorCode::NotLive,
        ErrorCode::Encrypted,
        ErrorCode::HlsSource,
        ErrorCode::TooMany,
        ErrorCode::EngineRefused,
        ErrorCode::NoEngine,
        ErrorCode::NoCapacity,
        ErrorCode::NoMemory,
        ErrorCode::ShuttingDown,
        ErrorCode::NothingToPlay,
    ];

    pub fn status(self) -> u16 {
        match self {
            ErrorCode::BadRequest => 400,
            ErrorCode::Unauthorized => 401,
            ErrorCode::Forbidden => 403,
            ErrorCode::NotFound => 404,
            ErrorCode::Method => 405,
            ErrorCode::Timeout => 408,
            ErrorCode::BodyTooLong => 413,
            ErrorCode::TargetTooLong => 414,
            ErrorCode::HeadTooLong => 431,
            ErrorCode::NotLive | ErrorCode::Encrypted | ErrorCode::HlsSource => 415,
            ErrorCode::TooMany => 429,
            ErrorCode::EngineRefused => 502,
            ErrorCode::NoEngine
            | ErrorCode::NoCapacity
            | ErrorCode::NoMemory
            | ErrorCode::ShuttingDown => 503,
            ErrorCode::NothingToPlay => 504,
        }
    }

    /// The `code` of the JSON body.
    pub fn name(self) -> &'static str {
        match self {
            ErrorCode::BadRequest => "bad_request",
            ErrorCode::Unauthorized => "unauthorized",
            ErrorCode::Forbidden => "forbidden",
            ErrorCode::NotFound => "not_found",
            ErrorCode::Method => "method",
            ErrorCode::Timeout => "timeout",
            ErrorCode::TargetTooLong | ErrorCode::HeadTooLong | ErrorCode::BodyTooLong => {
                "too_long"
            }
            ErrorCode::NotLive => "not_live",
            ErrorCode::Encrypted => "encrypted",
            ErrorCode::HlsSource => "hls_source",
            ErrorCode::TooMany => "too_many",
            ErrorCode::EngineRefused => "engine_refused",
            ErrorCode::NoEngine => "no_engine",
            ErrorCode::NoCapacity => "no_capacity",
            ErrorCode::NoMemory => "no_memory",
            ErrorCode::ShuttingDown => "shutting_down",
            ErrorCode::NothingToPlay => "nothing_to_play",
        }
    }

    /// Seconds after which trying again makes sense, where it does at all.
    pub fn retry_after_s(self) -> Option<u32> {
        matches!(self.status(), 429 | 502 | 503 | 504).then_some(5)
    }
}

/// One error response.
#[derive(Clone, Copy, Debug)]
pub struct ErrorReply<'a> {
    pub code: ErrorCode,
    pub message: &'a str,
    /// The engine that it is about.
    pub engine: Option<&'a str>,
    pub retry_after_s: Option<u32>,
    /// Readable from other pages (the players' routes).
    pub cors: bool,
}

impl<'a> ErrorReply<'a> {
    /// With the code's own Retry-After, on a players' route.
    pub fn new(code: ErrorCode, message: &'a str) -> ErrorReply<'a> {
        let retry_after_s = code.retry_after_s();
        ErrorReply { code, message, engine: None, retry_after_s, cors: true }
    }
}

/// The head of a response whose body follows by other means.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub status: u16,
    /// Empty for none.
    pub content_type: &'a str,
    /// None where the body ends with the connection.
    pub content_length: Option<u64>,
    /// Further header lines.
    pub headers: &'a [(&'a str, &'a str)],
    pub cors: bool,
    pub no_store: bool,
}

impl Default for Head<'_> {
    fn default() -> Self {
        Head {
            status: 200,
            content_type: "",
            content_length: None,
            headers: &[],
            cors: false,
            no_store: true,
        }
    }
}

/// Appends a response head, its blank line included.
pub fn write_head(out: &mut Vec<u8>, head: &Head<'_>) {
    let mut text = String::with_capacity(256);
    push_status_line(&mut text, head.status);
    if !head.content_type.is_empty() {
        push_header(&mut text, "Content-Type", head.content_type);
    }
    if let Some(length) = head.content_length {
        push_header(&mut text, "Content-Length", &length.to_string());
    }
    if head.no_store {
        push_header(&mut text, "Cache-Control", "no-store");
    }
    if head.cors {
        text.push_str(CORS);
    }
    for (name, value) in head.headers {
        push_header(&mut text, name, value);
    }
    text.push_str("Connection: close\r\n\r\n");
    out.extend_from_slice(text.as_bytes());
}

/// Appends the head before a stream's bytes; without a viewer for HEAD.
pub fn write_media_head(out: &mut Vec<u8>, viewer: Option<&str>) {
    let viewer_header = viewer.map(|viewer| ("X-Ringcast-Viewer", viewer));
    let headers = [Some(("X-Accel-Buffering", "no")), viewer_header];
    let count = 1 + usize::from(viewer.is_some());
    let headers = headers.map(Option::unwrap_or_default);
    write_head(
        out,
        &Head {
            content_type: "video/mp2t",
            headers: &headers[..count],
            cors: true,
            ..Head::default()
        },
    );
}

/// Appends a whole JSON response.
pub fn write_json(out: &mut Vec<u8>, status: u16, body: &[u8], cors: bool) {
    write_head(
        out,
        &Head {
            status,
            content_type: "application/json",
            content_length: Some(body.len() as u64),
            cors,
            ..Head::default()
        },
    );
    out.extend_from_slice(body);
}

/// Appends a whole error response; its body is left out for HEAD, its length is not.
pub fn write_error(out: &mut Vec<u8>, reply: &ErrorReply<'_>, with_body: bool) {
    write_error_with(out, reply, &[], with_body);
}

/// Appends the refusal of a method; `allow` names the ones that the route takes.
pub fn write_method_not_allowed(out: &mut Vec<u8>, allow: &str, cors: bool) {
    let message = format!("this route takes {allow}");
    let reply = ErrorReply { cors, ..ErrorReply::new(ErrorCode::Method, &message) };
    write_error_with(out, &reply, &[("Allow", allow)], true);
}

/// Appends the answer to OPTIONS.
pub fn write_preflight(out: &mut Vec<u8>, allow: &str, cors: bool) {
    let age = PREFLIGHT_AGE_S.to_string();
    let headers = [
        ("Allow", allow),
        ("Access-Control-Allow-Methods", allow),
        ("Access-Control-Allow-Headers", "Authorization, Range, Last-Event-ID"),
        ("Access-Control-Max-Age", &age),
    ];
    let headers = if cors { &headers[..] } else { &headers[..1] };
    write_head(out, &Head { status: 204, headers, cors, no_store: false, ..Head::default() });
}

/// The JSON body of an error.
pub fn error_body(reply: &ErrorReply<'_>) -> Vec<u8> {
    let message: String = reply.message.chars().take(MESSAGE_CHARS_MAX).collect();
    let mut error = serde_json::Map::new();
    error.insert("code".to_owned(), reply.code.name().into());
    error.insert("message".to_owned(), message.into());
    if let Some(engine) = reply.engine {
        error.insert("engine".to_owned(), engine.into());
    }
    if let Some(retry_after_s) = reply.retry_after_s {
        error.insert("retry_after_s".to_owned(), retry_after_s.into());
    }
    serde_json::json!({ "error": error }).to_string().into_bytes()
}

/// The words of a status line.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}

fn write_error_with(
    out: &mut Vec<u8>,
    reply: &ErrorReply<'_>,
    extra: &[(&str, &str)],
    with_body: bool,
) {
    let body = error_body(reply);
    let retry_after = reply.retry_after_s.map(|seconds| seconds.to_string());
    let mut headers = extra.to_vec();
    if let Some(seconds) = &retry_after {
        headers.push(("Retry-After", seconds));
    }
    if reply.code == ErrorCode::Unauthorized {
        headers.push(("WWW-Authenticate", "Bearer"));
    }
    write_head(
        out,
        &Head {
            status: reply.code.status(),
            content_type: "application/json",
            content_length: Some(body.len() as u64),
            headers: &headers,
            cors: reply.cors,
            no_store: true,
        },
    );
    if with_body {
        out.extend_from_slice(&body);
    }
}

fn push_status_line(text: &mut String, status: u16) {
    write!(text, "HTTP/1.1 {status} {}\r\n", reason(status)).expect("a String takes everything");
}

fn push_header(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str(": ");
    text.extend(value.chars().filter(|character| !character.is_control()));
    text.push_str("\r\n");
}
