//! The parameters of a player's request: which content, from where, for whom.
//!
//! Players and playlists write ids in many ways; what is meant is read, and what is not known is
//! passed over. Invariant: a `Target::Url` begins with what the operator allows, compared by its
//! parts, so that no host can pretend to be another.

use std::borrow::Cow;

use super::Access;
use super::No;
use crate::base::ids::Infohash;
use crate::base::ids::Target;
use crate::http::render::ErrorCode;
use crate::http::uri::percent_decode;
use crate::http::uri::query_pairs;

/// Nobody asks for more than a day ago; the ring has minutes.
const SEEKBACK_SECONDS_MAX: u32 = 86_400;
const PID_BYTES_MAX: usize = 64;
const TARGET_BYTES_MAX: usize = 4_096;
const SCHEME: &str = "acestream://";

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Play {
    pub target: Target,
    pub seekback_seconds: Option<u32>,
    /// What the player calls itself: a hint, never trusted.
    pub pid: Option<String>,
}

pub(super) fn parse(query: &str, access: &Access) -> Result<Play, No> {
    let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = query_pairs(query).collect();
    let target = target(&pairs, access)?;
    let is_json = |value: &str| value.trim().eq_ignore_ascii_case("json");
    if values(&pairs, "format").any(is_json) {
        return Err(No::not_found("format=json is not served yet"));
    }
    let seekback = values(&pairs, "seekback").chain(values(&pairs, "delay"));
    Ok(Play {
        target,
        seekback_seconds: seekback.filter_map(seconds).next(),
        pid: values(&pairs, "pid").filter_map(pid).next(),
    })
}

/// The `id=` of `/ace/status`, which may be missing but not broken.
pub(super) fn status_id(query: &str) -> Result<Option<Infohash>, No> {
    let pairs: Vec<_> = query_pairs(query).collect();
    let mut given = ["content_id", "id", "infohash"]
        .into_iter()
        .flat_map(|name| values(&pairs, name))
        .filter(|value| !value.trim().is_empty())
        .peekable();
    if given.peek().is_none() {
        return Ok(None);
    }
    given.find_map(id).map(Some).ok_or_else(bad_id)
}

/// As in the engine, the first of content_id/id, infohash, url, magnet counts; one that cannot be
/// meant is passed over.
fn target(pairs: &[(Cow<'_, str>, Cow<'_, str>)], access: &Access) -> Result<Target, No> {
    let first_id = |name| values(pairs, name).find_map(id);
    if let Some(id) = first_id("content_id").or_else(|| first_id("id")) {
        return Ok(Target::Id(id));
    }
    if let Some(infohash) = first_id("infohash") {
        return Ok(Target::Infohash(infohash));
    }
    if let Some(url) = values(pairs, "url").find_map(plain) {
        if !access.allow_url.iter().any(|prefix| is_below(url, prefix)) {
            return Err(No::new(
                ErrorCode::Forbidden,
                "this url= is not allowed: see RINGCAST_ALLOW_URL",
            ));
        }
        return Ok(Target::Url(url.to_owned()));
    }
    let is_magnet = |text: &&str| text.get(..8).is_some_and(|s| s.eq_ignore_ascii_case("magnet:?"));
    if let Some(magnet) = values(pairs, "magnet").filter_map(plain).find(is_magnet) {
        if !access.allow_magnet {
            return Err(No::new(
                ErrorCode::Forbidden,
                "magnet= is not allowed: see RINGCAST_ALLOW_MAGNET",
            ));
        }
        return Ok(Target::Magnet(magnet.to_owned()));
    }
    Err(bad_id())
}

fn bad_id() -> No {
    No::new(ErrorCode::BadRequest, "id= (or content_id=, infohash=) takes 40 hex digits")
}

fn values<'a>(
    pairs: &'a [(Cow<'_, str>, Cow<'_, str>)],
    name: &'static str,
) -> impl Iterator<Item = &'a str> {
    let named = pairs.iter().filter(move |pair| pair.0.eq_ignore_ascii_case(name));
    named.map(|pair| pair.1.as_ref())
}

/// Forty hex digits, however they were pasted.
pub(super) fn id(text: &str) -> Option<Infohash> {
    let text = text.trim();
    let text = match text.get(..SCHEME.len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => &text[SCHEME.len()..],
        Some(_) | None => text,
    };
    Infohash::parse(text.trim_end_matches('/').trim().as_bytes())
}

fn seconds(text: &str) -> Option<u32> {
    let seconds: f64 = text.trim().parse().ok()?;
    // A cast saturates, and what is no number is zero.
    (seconds >= 0.0).then(|| (seconds as u32).min(SEEKBACK_SECONDS_MAX))
}

fn pid(text: &str) -> Option<String> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    (is_plain && text.len() <= PID_BYTES_MAX).then(|| text.to_owned())
}

/// A text that can be an URL: something, and no blanks or control characters in it.
fn plain(text: &str) -> Option<&str> {
    let text = text.trim();
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && c != '\\';
    let fits = !text.is_empty() && text.len() <= TARGET_BYTES_MAX;
    (fits && text.chars().all(is_plain)).then_some(text)
}

/// Whether a URL is below an allowed one: same scheme, same host, a path that begins alike and
/// does not climb.
fn is_below(url: &str, prefix: &str) -> bool {
    let (Some(url), Some(prefix)) = (Parts::of(url), Parts::of(prefix)) else { return false };
    let web = ["http", "https"].iter().any(|scheme| url.scheme.eq_ignore_ascii_case(scheme));
    let same_host =
        prefix.authority.is_empty() || url.authority.eq_ignore_ascii_case(prefix.authority);
    let path = url.rest.split(['?', '#']).next().unwrap_or("");
    let climbs = percent_decode(path).split(['/', '\\']).any(|part| part == "..");
    web && url.scheme.eq_ignore_ascii_case(prefix.scheme)
        && !url.authority.is_empty()
        && !url.authority.contains('@')
        && same_host
        && !climbs
        && (url.rest.starts_with(prefix.rest) || (url.rest.is_empty() && prefix.rest == "/"))
}

struct Parts<'a> {
    scheme: &'a str,
    authority: &'a str,
    rest: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, after) = url.split_once("://")?;
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        Some(Self { scheme, authority: &after[..end], rest: &after[end..] })
    }
}
