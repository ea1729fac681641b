//! Percent encoding, queries, and the URLs that engines name.
//!
//! What viewers send is read with tolerance. What engines send is put into our own requests, so an
//! [`EnginePath`] exists only if it is a path under one of the engine's folders, written with
//! characters that cannot leave the request line.

use std::borrow::Cow;

/// A head has 8 KiB; nobody means more parameters.
const PAIRS_MAX: usize = 64;
/// `/content/<infohash>/<random>` is 90 bytes.
const ENGINE_PATH_BYTES_MAX: usize = 2048;

/// Replaces `%XX`; a percent sign that begins no escape stays, broken UTF-8 is made readable.
pub fn percent_decode(text: &str) -> Cow<'_, str> {
    decode(text, false)
}

/// The same, and a plus sign is a blank.
pub fn form_decode(text: &str) -> Cow<'_, str> {
    decode(text, true)
}

/// The `name=value` pairs of a query, form-decoded; a name alone has an empty value.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    raw_pairs(query).map(|(name, value)| (form_decode(name), form_decode(value)))
}

/// The value of the first pair of this name.
pub fn query_value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query_pairs(query).find(|pair| pair.0 == name).map(|pair| pair.1)
}

/// The pairs of a query as they were written.
pub(crate) fn raw_pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts = query.split('&').filter(|part| !part.is_empty()).take(PAIRS_MAX);
    parts.map(|part| part.split_once('=').unwrap_or((part, "")))
}

/// Appends `text` as it may stand in any part of a URL.
pub fn encode_component(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 0x0F)]));
        }
    }
}

/// Path and query on an engine.
///
/// Having one tells you: it begins with `/ace/` or `/content/`, does not climb out of it, and has
/// no byte that could end a request line. Whichever host the engine named is gone: only the address
/// that was dialled is ever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnginePath(String);

/// Why a URL of an engine is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineUrl {
    #[error("the engine's URL is longer than {ENGINE_PATH_BYTES_MAX} bytes")]
    TooLong,
    #[error("the engine's URL is not http")]
    Scheme,
    #[error("the engine's URL is not under /ace/ or /content/")]
    Path,
    #[error("the engine's URL has characters that no URL has")]
    Characters,
}

impl EnginePath {
    /// From an absolute http URL or an absolute path.
    pub fn parse(url: &str) -> Result<EnginePath, EngineUrl> {
        let url = url.trim();
        if url.len() > ENGINE_PATH_BYTES_MAX {
            return Err(EngineUrl::TooLong);
        }
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(EngineUrl::Characters);
        }
        let url = url.split_once('#').map_or(url, |(before, _)| before);
        let after_scheme = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => Some(rest),
            // A query may hold a URL of its own.
            Some((before, _)) if !before.contains(['/', '?']) => return Err(EngineUrl::Scheme),
            Some(_) | None => url.strip_prefix("//"),
        };
        let target = match after_scheme {
            Some(rest) => &rest[rest.find(['/', '?']).unwrap_or(rest.len())..],
            None if url.starts_with('/') => url,
            None if url.contains(':') => return Err(EngineUrl::Scheme),
            None => return Err(EngineUrl::Path),
        };
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let known = path.starts_with("/ace/") || path.starts_with("/content/");
        let climbs = percent_decode(path).split(['/', '\\']).any(|part| part == "..");
        if !known || climbs {
            return Err(EngineUrl::Path);
        }
        Ok(EnginePath(target.to_owned()))
    }

    /// What follows the method in a request line.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same with one more parameter; `pair` is `name=value` made of URL characters.
    pub fn with_parameter(&self, pair: &str) -> EnginePath {
        debug_assert!(pair.bytes().all(|byte| byte.is_ascii_graphic()));
        let joint = match self.0.as_bytes().last() {
            Some(b'?' | b'&') => "",
            _ if self.0.contains('?') => "&",
            _ => "?",
        };
        EnginePath(format!("{}{joint}{pair}", self.0))
    }
}

impl std::fmt::Display for EnginePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn decode(text: &str, plus_is_blank: bool) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || plus_is_blank && byte == b'+') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => match tail.first_chunk::<2>().and_then(|digits| hex_byte(*digits)) {
                Some(value) => {
                    decoded.push(value);
                    rest = &tail[2..];
                }
                None => decoded.push(b'%'),
            },
            b'+' if plus_is_blank => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    let text = String::from_utf8(decoded);
    Cow::Owned(text.unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn hex_byte([high, low]: [u8; 2]) -> Option<u8> {
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    u8::try_from(high << 4 | low).ok()
}
