//! Who a viewer is and by which name he reached this server, when proxies stand in between.
//!
//! Headers are believed only as far as trusted proxies wrote them: a chain is read from the right,
//! its end being what the nearest proxy added, up to the first address that is not trusted.

use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;

use crate::http::addr::CidrList;
use crate::http::addr::normalise;
use crate::http::head::Request;
use crate::http::head::is_host;

/// Proxies in a row; a longer chain is a forgery or a loop.
const HOPS_MAX: usize = 32;
/// Of a path under which a proxy serves us.
const PREFIX_BYTES_MAX: usize = 256;

/// The viewer behind a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Normalised.
    pub address: IpAddr,
    /// The address is itself a trusted proxy (it asks for itself, or hides who asks): limits for
    /// one address do not hold for it.
    pub exempt: bool,
    /// The connection comes from a trusted proxy, whose other headers are believed too.
    pub behind_proxy: bool,
}

/// Finds the viewer; `forwarded_for` are the values of all X-Forwarded-For headers in order.
pub fn client<'a>(
    peer: IpAddr,
    forwarded_for: impl IntoIterator<Item = &'a [u8]>,
    trusted: &CidrList,
) -> Client {
    let peer = normalise(peer);
    let behind_proxy = trusted.contains(peer);
    let mut address = peer;
    if behind_proxy {
        let values: Vec<&[u8]> = forwarded_for.into_iter().collect();
        let hops = values.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
        for hop in hops.take(HOPS_MAX) {
            if !trusted.contains(address) {
                break;
            }
            // Behind what cannot be read nothing can be believed.
            let Some(next) = address_of(hop) else {
                break;
            };
            address = next;
        }
    }
    Client { address, exempt: trusted.contains(address), behind_proxy }
}

/// Where this server is seen to be: what URLs that we write begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    pub https: bool,
    pub host: &'a str,
    /// Empty, or begins with a slash and does not end with one.
    pub prefix: &'a str,
}

/// From X-Forwarded-{Proto,Host,Prefix} behind a trusted proxy, else from Host; None without any.
pub fn external_origin<'a>(request: &Request<'a>, behind_proxy: bool) -> Option<Origin<'a>> {
    let header = |name| request.header(name).filter(|_| behind_proxy).map(last_value);
    let host = header("x-forwarded-host").filter(|host| is_host(host)).or(request.host)?;
    let https =
        header("x-forwarded-proto").is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    let prefix = header("x-forwarded-prefix").map(|prefix| prefix.trim_end_matches('/'));
    Some(Origin { https, host, prefix: prefix.filter(|prefix| is_prefix(prefix)).unwrap_or("") })
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.host, self.prefix)
    }
}

/// An address as proxies write it: alone, in brackets, with a port, in quotes.
fn address_of(hop: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(hop).ok()?.trim().trim_matches('"');
    let unbracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = unbracketed.unwrap_or(text).parse::<IpAddr>();
    let address = address.or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(normalise)
}

/// What the nearest proxy said, when several appended.
fn last_value(value: &str) -> &str {
    value.rsplit(',').next().unwrap_or(value).trim()
}

/// Only what can stand in a URL as it is, and no host of its own.
fn is_prefix(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte);
    let path = text.starts_with('/') && !text.starts_with("//");
    path && text.len() <= PREFIX_BYTES_MAX && text.bytes().all(allowed)
}
