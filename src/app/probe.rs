//! A small blocking HTTP GET, for commands that ask once and end (`healthcheck`, `doctor`) and for
//! the sweep of the journal, which has threads of its own. Never used on a shard.

use std::fmt;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

use crate::base::time;
use crate::base::time::Instant;
use crate::engine::orchestrator::LIST_BYTES_MAX;
use crate::engine::request;
use crate::engine::spec::host_header;
use crate::http::body::BodyDecoder;
use crate::http::head::HEAD_BYTES_MAX;
use crate::http::head::Parse;
use crate::http::head::parse_response;
use crate::net::dns;

pub const CONNECT_MAX: Duration = Duration::from_secs(2);

/// An engine that answers nothing for this long hangs.
pub const ANSWER_MAX: Duration = Duration::from_secs(5);

/// `http://HOST[:PORT][/PATH]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// IPv6 without its brackets.
    pub host: String,
    pub port: u16,
    /// Path and query; `/` when there is none.
    pub path: String,
}

impl HttpUrl {
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.trim().strip_prefix("http://")?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = port.map_or(Some(80), |port| port.parse().ok().filter(|port| *port != 0))?;
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !printable(host) || !printable(path) {
            return None;
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(Self { host: host.to_owned(), port, path: format!("{slash}{path}") })
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", host_header(&self.host, self.port), self.path)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Asks the addresses of the host in turn; the first that takes a connection answers.
pub fn get(url: &HttpUrl) -> Result<Reply, String> {
    let mut last = String::new();
    for address in dns::resolve(&url.host, url.port).map_err(|error| error.to_string())? {
        match TcpStream::connect_timeout(&address, CONNECT_MAX) {
            Ok(stream) => {
                let host = host_header(&url.host, url.port);
                return ask(stream, &host, &url.path, ANSWER_MAX);
            }
            Err(error) => last = refused(url, address, &error),
        }
    }
    Err(last)
}

/// Names say which of their addresses it was.
fn refused(url: &HttpUrl, address: SocketAddr, error: &io::Error) -> String {
    let error = plain(error);
    if address.ip().to_string() == url.host { error } else { format!("{address}: {error}") }
}

/// The error without its number.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_ascii_lowercase()
}

/// One question on a connection that was made for it.
pub fn ask(
    mut stream: TcpStream,
    host: &str,
    path: &str,
    within: Duration,
) -> Result<Reply, String> {
    let deadline = time::now() + within;
    let said = |error: io::Error| {
        let late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        if late { "no answer".to_owned() } else { plain(&error) }
    };
    stream.set_write_timeout(Some(within)).map_err(said)?;
    stream.write_all(&request::request(host, path)).map_err(said)?;

    let mut bytes = Vec::new();
    let (status, mut decoder, consumed) = loop {
        if let Parse::Complete { head, consumed } =
            parse_response(&bytes).map_err(|error| error.to_string())?
        {
            break (head.status, BodyDecoder::new(head.framing), consumed);
        }
        let more = receive(&mut stream, deadline).map_err(said)?;
        if more.is_empty() || bytes.len() > HEAD_BYTES_MAX {
            return Err("the answer is cut".to_owned());
        }
        bytes.extend_from_slice(&more);
    };
    let mut body = Vec::new();
    let mut next = bytes.split_off(consumed);
    loop {
        let done = decoder
            .feed(&next, &mut |part| body.extend_from_slice(part))
            .map_err(|_| "the answer's body is broken".to_owned())?
            .done;
        if done || body.len() > LIST_BYTES_MAX {
            return Ok(Reply { status, body });
        }
        next = receive(&mut stream, deadline).map_err(said)?;
        if next.is_empty() {
            decoder.end().map_err(|_| "the answer's body is cut".to_owned())?;
            return Ok(Reply { status, body });
        }
    }
}

/// Some bytes; none at the end.
pub fn receive(stream: &mut TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let left = deadline - time::now();
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    let mut bytes = vec![0; 16 << 10];
    let count = stream.read(&mut bytes)?;
    bytes.truncate(count);
    Ok(bytes)
}

#[cfg(test)]
mod tests;
