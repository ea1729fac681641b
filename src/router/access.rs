//! Who may ask what: addresses, play tokens, the API's token, and writes from pages.
//!
//! Tokens are compared in constant time by `http::token`; a wrong one and none get the same
//! answer. It never returns or prints one.

use std::borrow::Cow;

use super::No;
use crate::http::addr::AllowList;
use crate::http::addr::CidrList;
use crate::http::addr::is_private;
use crate::http::forwarded::Client;
use crate::http::forwarded::external_origin;
use crate::http::head::Request;
use crate::http::render::ErrorCode;
use crate::http::token::COOKIE;
use crate::http::token::Tokens;
use crate::http::token::presented;
use crate::http::uri::percent_decode;

/// The cookie that stands in for the API token where a page cannot send a header.
pub const API_COOKIE: &str = "ringcast_api";

/// The operator's rules. Its default: private addresses, no tokens, no URLs.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub allow: AllowList,
    pub trusted_proxies: CidrList,
    pub play_tokens: Tokens,
    pub api_tokens: Tokens,
    /// What `url=` may begin with.
    pub allow_url: Vec<String>,
    pub allow_magnet: bool,
}

impl Access {
    /// The address list holds for every route. A health check of this host is always answered.
    pub(super) fn admit(&self, client: &Client, is_probe: bool) -> Result<(), No> {
        if self.allow.allows(client.address) || (is_probe && client.address.is_loopback()) {
            return Ok(());
        }
        Err(No::new(
            ErrorCode::Forbidden,
            "this address is not allowed: see RINGCAST_ALLOW, and RINGCAST_TRUSTED_PROXIES behind a proxy",
        ))
    }

    /// The play token's name, when tokens are set.
    pub(super) fn player(&self, request: &Request<'_>) -> Result<Option<String>, No> {
        if self.play_tokens.is_empty() {
            return Ok(None);
        }
        match presented(request).authorise(&self.play_tokens) {
            Some(name) => Ok(Some(name.to_owned()).filter(|name| !name.is_empty())),
            None => Err(no_token()),
        }
    }

    /// Reading the API. Without a token set it shows viewers' addresses, so only private ones
    /// may read it then.
    pub(super) fn reader(&self, request: &Request<'_>, client: &Client) -> Result<(), No> {
        if self.api_tokens.is_empty() {
            return if is_private(client.address) {
                Ok(())
            } else {
                Err(No::new(
                    ErrorCode::Forbidden,
                    "the API is read from public addresses only with RINGCAST_API_TOKEN set",
                ))
            };
        }
        let shown = presented(request);
        let bearer = shown.bearer().map(Cow::Borrowed);
        let mut known = bearer
            .into_iter()
            .chain(cookies(request))
            .filter(|shown| self.api_tokens.matches(shown).is_some());
        if known.next().is_some() { Ok(()) } else { Err(no_token()) }
    }

    /// A page of another origin changes nothing here.
    pub(super) fn own_page(&self, request: &Request<'_>, client: &Client) -> Result<(), No> {
        if is_own_origin(request, client) {
            return Ok(());
        }
        Err(No::new(ErrorCode::Forbidden, "the Origin of this request is not this host"))
    }

    /// Changing something: the token in the header; without one set, this host only. A cookie is
    /// not enough, and a page may do it only if it came from here.
    pub(super) fn writer(&self, request: &Request<'_>, client: &Client) -> Result<(), No> {
        self.own_page(request, client)?;
        if self.api_tokens.is_empty() {
            return if is_this_host(request, client) {
                Ok(())
            } else {
                Err(No::new(
                    ErrorCode::Forbidden,
                    "without RINGCAST_API_TOKEN changes are taken from loopback only",
                ))
            };
        }
        match presented(request).authorise_bearer(&self.api_tokens) {
            Some(_) => Ok(()),
            None => Err(no_token()),
        }
    }
}

pub(super) fn no_token() -> No {
    No::new(ErrorCode::Unauthorized, "a valid token is needed")
}

fn cookies<'a>(request: &Request<'a>) -> impl Iterator<Item = Cow<'a, str>> {
    let pairs = request.cookie().unwrap_or("").split(';');
    let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    let ours = pairs.filter(|(name, _)| [API_COOKIE, COOKIE].contains(name));
    ours.map(|(_, value)| percent_decode(value.trim_matches('"')))
}

/// No Origin is no page.
fn is_own_origin(request: &Request<'_>, client: &Client) -> bool {
    let Some(origin) = request.origin() else { return request.headers("origin").next().is_none() };
    let host = origin.split_once("://").map(|(_, host)| host);
    let own = external_origin(request, client.behind_proxy);
    matches!((host, own), (Some(host), Some(own)) if own.host.eq_ignore_ascii_case(host))
}

/// A loopback peer that stands for nobody else, asked by a name that only this host has: a page
/// that rebinds its own name to 127.0.0.1 shows that name.
fn is_this_host(request: &Request<'_>, client: &Client) -> bool {
    let forwards = ["x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded"];
    client.address.is_loopback()
        && !client.behind_proxy
        && forwards.iter().all(|name| request.headers(name).next().is_none())
        && request.host.is_none_or(is_local_name)
}

fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}
