//! The head of a response, out of bytes that come in any pieces.

/// A head longer than this is no head.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;
/// So much of an error's body goes into the message.
const REASON_BYTES_MAX: usize = 240;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes up to and with the blank line.
    pub(crate) len: usize,
    pub(crate) status: u16,
    /// `404 Not Found`
    pub(crate) status_text: String,
    pub(crate) chunked: bool,
}

/// The head that `bytes` begin with; `None` while it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Head>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        let long = bytes.len() >= HEAD_BYTES_MAX;
        let odd = !b"HTTP/1.".iter().zip(bytes).all(|(want, have)| want == have);
        if long || odd {
            return Err("answers something that is not HTTP".to_owned());
        }
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = text.split("\r\n");
    let status_text = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1."))
        .and_then(|line| line.split_once(' '))
        .map(|(_, status)| status.to_owned())
        .unwrap_or_default();
    let status = status_text.split(' ').next().and_then(|digits| digits.parse::<u16>().ok());
    let status = status.ok_or("answers something that is not HTTP")?;
    let chunked = lines.filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.eq_ignore_ascii_case("transfer-encoding")
            && value.trim().eq_ignore_ascii_case("chunked")
    });
    Ok(Some(Head { len: end + 4, status, status_text, chunked }))
}

/// An error's body on one line, cut short.
pub(crate) fn reason(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(REASON_BYTES_MAX)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_found_once_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\nG";
        for end in 0..text.len() - 1 {
            assert_eq!(parse(&text[..end]).unwrap(), None, "{end}");
        }
        let head = parse(text).unwrap().unwrap();
        assert_eq!((head.len, head.status, head.chunked), (text.len() - 1, 200, true));
        assert_eq!(head.status_text, "200 OK");
    }

    #[test]
    fn what_is_no_head_is_refused() {
        assert!(parse(b"SSH-2.0-OpenSSH").is_err());
        assert!(parse(b"HTTP/1.1 twohundred\r\n\r\n").is_err());
        assert!(parse(&b"HTTP/1.1 200 OK\r\nX: ".repeat(2_000)).is_err());
        assert_eq!(reason(b"{\n \"error\":\t1}\n"), "{ \"error\": 1}");
    }
}
