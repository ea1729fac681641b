//! The little of HTTP that a floor needs: which stream a viewer wants, what an engine answered.

pub(crate) const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n";
pub(crate) const NOT_FOUND: &[u8] =
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
pub(crate) const TAKEN: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Whether a head is complete.
pub(crate) fn head_len(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The infohash in the first line of a viewer's request.
pub(crate) fn infohash(head: &[u8]) -> Option<&str> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let target = line.strip_prefix("GET ")?.split(' ').next()?;
    let (_, query) = target.split_once('?')?;
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("id=").or_else(|| pair.strip_prefix("infohash=")))?;
    let hex = (1..=64).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then_some(value)
}

/// What an engine answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Path and query of the next hop, asked of the same engine.
    Elsewhere(String),
    Body {
        chunked: bool,
    },
    /// The status line.
    No(String),
}

pub(crate) fn answer(head: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let field = |name: &str| {
        text.split("\r\n").skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    match status.split(' ').nth(1) {
        Some("200") => {
            let coding = field("transfer-encoding").unwrap_or_default();
            Answer::Body { chunked: coding.eq_ignore_ascii_case("chunked") }
        }
        Some("301" | "302" | "303" | "307") => match field("location").as_deref().and_then(path_of)
        {
            Some(path) => Answer::Elsewhere(path),
            None => Answer::No(status.to_owned()),
        },
        _ => Answer::No(status.to_owned()),
    }
}

fn path_of(url: &str) -> Option<String> {
    if url.starts_with('/') {
        return Some(url.to_owned());
    }
    let rest = url.strip_prefix("http://")?;
    rest.find('/').map(|at| rest[at..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_in_the_query() {
        assert_eq!(infohash(b"GET /ace/getstream?id=0aB9 HTTP/1.1\r\n"), Some("0aB9"));
        assert_eq!(infohash(b"GET /x?a=1&infohash=ff&b HTTP/1.0\r\n"), Some("ff"));
        for wrong in ["GET / HTTP/1.1", "GET /?id= x", "GET /?id=xyz x", "POST /?id=aa x", ""] {
            assert_eq!(infohash(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn an_engine_redirects_serves_or_refuses() {
        let hop = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/ace/r/a/b?c\r\n\r\n";
        assert_eq!(answer(hop), Answer::Elsewhere("/ace/r/a/b?c".to_owned()));
        let body = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n";
        assert_eq!(answer(body), Answer::Body { chunked: true });
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\n\r\n"), Answer::Body { chunked: false });
        assert_eq!(answer(b"HTTP/1.1 500 x\r\n\r\n"), Answer::No("HTTP/1.1 500 x".to_owned()));
        assert_eq!(answer(b""), Answer::No(String::new()));
    }
}
