//! Message heads: one scanner (httparse) for what viewers send and for what engines answer.
//!
//! Tolerant where players are odd (bare line feeds, several blanks in the request line, an absolute
//! target, a missing Host), strict where two readers could disagree about where a message ends or
//! whom it is for. Heads borrow from the bytes they were read from.

use std::borrow::Cow;

use crate::http::render::ErrorCode;

/// Of a whole head.
pub const HEAD_BYTES_MAX: usize = 8192;
/// Of its header lines.
pub const HEADERS_MAX: usize = 64;
/// Interim replies (100 Continue and the like) before the one that counts.
const INTERIM_MAX: usize = 4;

/// A head, or not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parse<T> {
    /// More bytes are needed.
    Partial,
    /// The head, and how many bytes it took.
    Complete { head: T, consumed: usize },
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("this is not an HTTP request")]
    Syntax,
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    #[error("more than one Host header")]
    DuplicateHost,
    #[error("the Host header is no host")]
    BadHost,
    #[error("the request target is neither a path nor an http URL")]
    BadTarget,
    #[error("a request of this method has no body here")]
    BodyNotAllowed,
    #[error("Content-Length is not one number")]
    BadContentLength,
    #[error("Content-Length stands there twice")]
    DuplicateContentLength,
    #[error("Transfer-Encoding is not taken here")]
    TransferEncoding,
    #[error("Upgrade is not taken here: this is HTTP/1.1 and stays it")]
    Upgrade,
    #[error("the request line is longer than {HEAD_BYTES_MAX} bytes")]
    TargetTooLong,
    #[error("the request head is longer than {HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    #[error("the request has more than {HEADERS_MAX} headers")]
    TooManyHeaders,
}

impl BadRequest {
    /// What the viewer is told.
    pub fn code(self) -> ErrorCode {
        match self {
            BadRequest::TargetTooLong => ErrorCode::TargetTooLong,
            BadRequest::HeadTooLong | BadRequest::TooManyHeaders => ErrorCode::HeadTooLong,
            BadRequest::Syntax
            | BadRequest::Version
            | BadRequest::DuplicateHost
            | BadRequest::BadHost
            | BadRequest::BadTarget
            | BadRequest::BodyNotAllowed
            | BadRequest::BadContentLength
            | BadRequest::DuplicateContentLength
            | BadRequest::TransferEncoding
            | BadRequest::Upgrade => ErrorCode::BadRequest,
        }
    }
}

/// The methods that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Options,
    Post,
    Delete,
    Other,
}

impl Method {
    fn of(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "OPTIONS" => Method::Options,
            "POST" => Method::Post,
            "DELETE" => Method::Delete,
            _ => Method::Other,
        }
    }

    /// The others are refused before their body matters, or have none.
    fn may_have_body(self) -> bool {
        match self {
            Method::Post | Method::Delete | Method::Other => true,
            Method::Get | Method::Head | Method::Options => false,
        }
    }
}

/// One header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line<'a> {
    name: &'a str,
    value: &'a [u8],
}

/// The header lines of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lines<'a>(Vec<Line<'a>>);

/// What a viewer asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub method: Method,
    /// Undecoded, begins with `/`, or `*` of OPTIONS.
    pub path: &'a str,
    /// Undecoded, without its question mark; empty when there is none.
    pub query: &'a str,
    /// Of HTTP/1.x.
    pub minor: u8,
    /// Host and maybe port, from the target when that is absolute.
    pub host: Option<&'a str>,
    /// Zero unless the method may have a body.
    pub content_length: u64,
    lines: Lines<'a>,
}

impl<'a> Request<'a> {
    /// The first header of this name, if it is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.lines.text(name)
    }

    /// All headers of this name in order.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.lines.all(name)
    }

    /// What the player calls itself, broken text made readable.
    pub fn user_agent(&self) -> Cow<'a, str> {
        self.lines.all("user-agent").next().map_or(Cow::Borrowed(""), String::from_utf8_lossy)
    }

    pub fn authorization(&self) -> Option<&'a str> {
        self.header("authorization")
    }

    pub fn cookie(&self) -> Option<&'a str> {
        self.header("cookie")
    }

    pub fn range(&self) -> Option<&'a str> {
        self.header("range")
    }

    pub fn origin(&self) -> Option<&'a str> {
        self.header("origin")
    }

    pub fn accept(&self) -> Option<&'a str> {
        self.header("accept")
    }

    pub fn last_event_id(&self) -> Option<&'a str> {
        self.header("last-event-id")
    }
}

/// Reads a request head from the beginning of `bytes`.
pub fn parse_request(bytes: &[u8]) -> Result<Parse<Request<'_>>, BadRequest> {
    let mut config = httparse::ParserConfig::default();
    config.allow_multiple_spaces_in_request_line_delimiters(true);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let consumed = match config.parse_request(&mut head, window) {
        Ok(httparse::Status::Complete(consumed)) => consumed,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(Parse::Partial),
        Ok(httparse::Status::Partial) => return Err(too_long(window)),
        Err(httparse::Error::Version) => return Err(BadRequest::Version),
        Err(httparse::Error::TooManyHeaders) => return Err(BadRequest::TooManyHeaders),
        Err(
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine
            | httparse::Error::Status
            | httparse::Error::Token,
        ) => return Err(BadRequest::Syntax),
    };
    let lines = Lines::of(head.headers);
    let method = Method::of(head.method.unwrap_or_default());
    let target = Target::of(method, head.path.unwrap_or_default())?;
    let content_length = body_length(method, &lines)?;
    let host = target.host.or(host_of(&lines)?);
    let request = Request {
        method,
        path: target.path,
        query: target.query,
        minor: head.version.unwrap_or(1),
        host,
        content_length,
        lines,
    };
    Ok(Parse::Complete { head: request, consumed })
}

/// What can be said of a request that is not understood, or not all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Glance<'a> {
    /// Its reply must not have a body.
    pub is_head: bool,
    /// Undecoded, perhaps cut; empty when there is none.
    pub path: &'a str,
}

/// Looks at the first line of whatever was sent, and understands what it can.
pub fn glance(bytes: &[u8]) -> Glance<'_> {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let is_head = words.next() == Some(b"HEAD");
    let target = words.next().and_then(|word| str::from_utf8(word).ok()).unwrap_or_default();
    let path = target.split(['?', '#']).next().unwrap_or_default();
    Glance { is_head, path }
}

/// Why a reply of an engine cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    #[error("the reply is not HTTP")]
    Syntax,
    /// How an engine greets a second reader of one session.
    #[error("the reply begins with two status lines: another reader has the session")]
    TwoStatusLines,
    #[error("the reply head is longer than {HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    #[error("the reply has more than {HEADERS_MAX} headers")]
    TooManyHeaders,
    #[error("the reply's Content-Length is not one number")]
    BadContentLength,
    #[error("the reply's Transfer-Encoding is not chunked")]
    BadTransferEncoding,
}

/// How a body's end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The status says that there is no body.
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// What an engine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    pub status: u16,
    /// Of HTTP/1.x.
    pub minor: u8,
    /// Of a reply to GET.
    pub framing: Framing,
    lines: Lines<'a>,
}

impl<'a> Response<'a> {
    /// The first header of this name, if it is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.lines.text(name)
    }

    pub fn location(&self) -> Option<&'a str> {
        self.header("location")
    }

    pub fn content_type(&self) -> Option<&'a str> {
        self.header("content-type")
    }

    /// The engine may leave the socket open behind the body.
    pub fn keep_alive(&self) -> bool {
        self.lines.has_token("connection", "keep-alive")
    }
}

/// Reads a reply head from the beginning of `bytes`; interim replies before it are passed over.
pub fn parse_response(bytes: &[u8]) -> Result<Parse<Response<'_>>, BadResponse> {
    let mut skipped = 0;
    for _ in 0..=INTERIM_MAX {
        let Parse::Complete { head, consumed } = parse_one_response(&bytes[skipped..])? else {
            return Ok(Parse::Partial);
        };
        skipped += consumed;
        if !(100..200).contains(&head.status) || head.status == 101 {
            return Ok(Parse::Complete { head, consumed: skipped });
        }
    }
    Err(BadResponse::HeadTooLong)
}

fn parse_one_response(bytes: &[u8]) -> Result<Parse<Response<'_>>, BadResponse> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let consumed = match head.parse(window) {
        Ok(httparse::Status::Complete(consumed)) => consumed,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(Parse::Partial),
        Ok(httparse::Status::Partial) => return Err(BadResponse::HeadTooLong),
        Err(_) if has_two_status_lines(window) => return Err(BadResponse::TwoStatusLines),
        Err(httparse::Error::TooManyHeaders) => return Err(BadResponse::TooManyHeaders),
        Err(
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine
            | httparse::Error::Status
            | httparse::Error::Token
            | httparse::Error::Version,
        ) => return Err(BadResponse::Syntax),
    };
    let lines = Lines::of(head.headers);
    let status = head.code.unwrap_or_default();
    let framing = framing_of(status, &lines)?;
    let head = Response { status, minor: head.version.unwrap_or(1), framing, lines };
    Ok(Parse::Complete { head, consumed })
}

/// A status line where the first header should stand.
fn has_two_status_lines(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let is_status = |line: Option<&[u8]>| line.is_some_and(|line| line.starts_with(b"HTTP/1."));
    is_status(lines.next()) && is_status(lines.next())
}

fn framing_of(status: u16, lines: &Lines<'_>) -> Result<Framing, BadResponse> {
    if matches!(status, 100..200 | 204 | 304) {
        return Ok(Framing::None);
    }
    let length = lines.content_length().map_err(|NotOneNumber| BadResponse::BadContentLength)?;
    match lines.text("transfer-encoding").map(str::trim) {
        Some(coding) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        Some(coding) if !coding.eq_ignore_ascii_case("identity") => {
            Err(BadResponse::BadTransferEncoding)
        }
        Some(_) | None => Ok(length.map_or(Framing::UntilClose, Framing::Length)),
    }
}

/// The request line or the headers: whichever did not end.
fn too_long(head: &[u8]) -> BadRequest {
    if memchr::memchr(b'\n', head).is_some() {
        BadRequest::HeadTooLong
    } else {
        BadRequest::TargetTooLong
    }
}

fn body_length(method: Method, lines: &Lines<'_>) -> Result<u64, BadRequest> {
    if lines.all("transfer-encoding").next().is_some() {
        return Err(BadRequest::TransferEncoding);
    }
    if lines.all("upgrade").next().is_some() {
        return Err(BadRequest::Upgrade);
    }
    if lines.all("content-length").nth(1).is_some() {
        return Err(BadRequest::DuplicateContentLength);
    }
    let length = lines.content_length().map_err(|NotOneNumber| BadRequest::BadContentLength)?;
    match length.unwrap_or(0) {
        0 => Ok(0),
        length if method.may_have_body() => Ok(length),
        _ => Err(BadRequest::BodyNotAllowed),
    }
}

fn host_of<'a>(lines: &Lines<'a>) -> Result<Option<&'a str>, BadRequest> {
    let mut hosts = lines.all("host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(BadRequest::DuplicateHost);
    }
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        return Ok(None);
    };
    let host = str::from_utf8(host).map_err(|_| BadRequest::BadHost)?;
    if is_host(host) { Ok(Some(host)) } else { Err(BadRequest::BadHost) }
}

/// Only what a host and port are written with: it is put into URLs that ringcast writes.
pub(crate) fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%[]:".contains(&byte);
    !text.is_empty() && text.len() <= 260 && text.bytes().all(allowed)
}

/// A request target taken apart.
struct Target<'a> {
    path: &'a str,
    query: &'a str,
    host: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(method: Method, target: &'a str) -> Result<Target<'a>, BadRequest> {
        // No browser sends a fragment, some players do.
        let target = target.split_once('#').map_or(target, |(before, _)| before);
        if method == Method::Other || method == Method::Options && target == "*" {
            return Ok(Target { path: target, query: "", host: None });
        }
        let (host, target) = match target.get(..7) {
            Some(scheme) if scheme.eq_ignore_ascii_case("http://") => {
                let rest = &target[7..];
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
            _ => (None, target),
        };
        if host.is_some_and(|host| !is_host(host)) {
            return Err(BadRequest::BadTarget);
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if path.is_empty() && host.is_some() { "/" } else { path };
        if !path.starts_with('/') {
            return Err(BadRequest::BadTarget);
        }
        Ok(Target { path, query, host })
    }
}

/// Two Content-Length headers that differ, or one that is no number.
struct NotOneNumber;

impl<'a> Lines<'a> {
    fn of(headers: &[httparse::Header<'a>]) -> Lines<'a> {
        let lines = headers.iter().map(|header| Line { name: header.name, value: header.value });
        Lines(lines.collect())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let matching = self.0.iter().filter(move |line| line.name.eq_ignore_ascii_case(name));
        matching.map(|line| line.value)
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.all(name).next().and_then(|value| str::from_utf8(value).ok())
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        let mut values = self.all(name).filter_map(|value| str::from_utf8(value).ok());
        values.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    }

    fn content_length(&self) -> Result<Option<u64>, NotOneNumber> {
        let mut length = None;
        for value in self.all("content-length") {
            let text = str::from_utf8(value).map_err(|_| NotOneNumber)?.trim();
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let value: u64 = text.parse().ok().filter(|_| digits).ok_or(NotOneNumber)?;
            if length.is_some_and(|known| known != value) {
                return Err(NotOneNumber);
            }
            length = Some(value);
        }
        Ok(length)
    }
}
