//! Requests and replies as Python's `BaseHTTPServer` reads and writes them.
//!
//! One request per connection. The reply's version mirrors the request's; header order is status
//! line, Server, Date, then the handler's own.

use crate::clock::http_date;
use crate::clock::now_us;
use crate::conn::Conn;

const HEAD_BYTES_MAX: usize = 65_536;
const BODY_BYTES_MAX: usize = 16 << 20;
const HEAD_WAIT_US: u64 = 120_000_000;
const SERVER: &str = "BaseHTTP/0.6 Python/3.8.16";

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) version: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) host: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The first value of a query parameter, if it is there and not empty.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// Reads one request; `None` when the client sends none.
    pub(crate) fn read(conn: &Conn) -> Option<Request> {
        let until_us = now_us() + HEAD_WAIT_US;
        let mut bytes = Vec::new();
        let head_bytes = loop {
            if let Some(at) = find(&bytes, b"\r\n\r\n") {
                break at + 4;
            }
            if bytes.len() > HEAD_BYTES_MAX || !read_more(conn, &mut bytes, until_us) {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..head_bytes]).into_owned();
        let mut request = Request::parse(&head)?;
        let length = header(&head, "content-length").and_then(|text| text.parse::<usize>().ok());
        let total = head_bytes + length.unwrap_or(0).min(BODY_BYTES_MAX);
        while bytes.len() < total {
            if !read_more(conn, &mut bytes, until_us) {
                return None;
            }
        }
        request.body = bytes[head_bytes..total].to_vec();
        Some(request)
    }

    fn parse(head: &str) -> Option<Request> {
        let mut words = head.lines().next()?.split(' ');
        let method = words.next()?.to_owned();
        let target = words.next()?;
        let version = words.next().unwrap_or("HTTP/1.0").to_owned();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        };
        Some(Request {
            method,
            version,
            path: decode(path),
            query: query.split('&').filter(|part| !part.is_empty()).map(pair).collect(),
            host: header(head, "host").map(str::to_owned),
            body: Vec::new(),
        })
    }
}

/// A reply that is written in one go.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn new(status: &'static str) -> Response {
        Response { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Response {
        self.body = body.into();
        self
    }

    pub(crate) fn sized(self) -> Response {
        let length = self.body.len().to_string();
        self.with("Content-Length", length)
    }

    /// The redirect of every hop: no Content-Length, the body says where to.
    pub(crate) fn redirect(location: &str) -> Response {
        Response::new("302 Found")
            .with("Location", location)
            .with("Access-Control-Allow-Origin", "*")
            .body(format!("Redirect to {location}"))
    }

    /// A failure of playback, in plain text.
    pub(crate) fn failure(text: &str) -> Response {
        let length = text.len().to_string();
        Response::new("500 Internal Server Error")
            .with("Content-Type", "text/plain")
            .with("Content-Length", length)
            .with("Access-Control-Allow-Origin", "*")
            .body(text)
    }

    pub(crate) fn not_found_resource() -> Response {
        Response::new("500 Internal Server Error")
            .with("Content-Type", "text/plain")
            .body("Internal Server Error, couldn't find resource")
            .sized()
    }

    pub(crate) fn forbidden() -> Response {
        Response::new("403 Forbidden")
            .with("Content-Type", "text/plain")
            .with("Access-Control-Allow-Origin", "*")
            .body("Forbidden")
            .sized()
    }

    pub(crate) fn json(text: String) -> Response {
        Response::new("200 OK")
            .with("Content-Type", "application/json")
            .with("Access-Control-Allow-Origin", "*")
            .body(text)
    }

    /// What the standard library answers to a method without a handler.
    pub(crate) fn unsupported(method: &str) -> Response {
        let page = format!("Unsupported method ('{method}')");
        let body = if method == "HEAD" { String::new() } else { page };
        Response::new("501 Unsupported method")
            .with("Connection", "close")
            .with("Content-Type", "text/html;charset=utf-8")
            .body(body)
            .sized()
    }

    pub(crate) fn bytes(&self, version: &str) -> Vec<u8> {
        let mut bytes = head(version, self.status, &self.headers).into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The bytes of a head, blank line included.
pub(crate) fn head(version: &str, status: &str, headers: &[(&'static str, String)]) -> String {
    let version = if version == "HTTP/1.0" { "HTTP/1.0" } else { "HTTP/1.1" };
    let date = http_date(now_us());
    let mut text = format!("{version} {status}\r\nServer: {SERVER}\r\nDate: {date}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text
}

fn read_more(conn: &Conn, bytes: &mut Vec<u8>, until_us: u64) -> bool {
    let mut buffer = [0_u8; 4_096];
    match conn.read_some(&mut buffer, until_us) {
        Ok(received) if received > 0 => {
            bytes.extend_from_slice(&buffer[..received]);
            true
        }
        Ok(_) | Err(_) => false,
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let pairs = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    pairs.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).and_then(|two| u8::from_str_radix(two, 16).ok());
        match (bytes[at], digits) {
            (b'%', Some(byte)) => {
                plain.push(byte);
                at += 2;
            }
            (b'+', _) => plain.push(b' '),
            (byte, _) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}
