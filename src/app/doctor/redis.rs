//! Whether Redis answers: one PING, over plain TCP only.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::app::doctor::Finding;
use crate::app::probe;
use crate::base::time;
use crate::config::settings::Secret;
use crate::net::dns;

const CONNECT_MAX: Duration = Duration::from_secs(2);
const PORT_DEFAULT: u16 = 6379;

const FIX: &str = "start Redis, or set RINGCAST_REDIS_URL; streams play without it";

/// Redis is never needed to play: whatever is wrong is a warning.
pub(super) fn check(url: Option<&Secret>) -> Option<Finding> {
    let url = url?.expose();
    let Some(place) = Place::parse(url) else {
        return Some(Finding::ok("Redis", "not asked here: only redis://HOST[:PORT] is"));
    };
    let name = format!("{}:{}", place.host, place.port);
    Some(match ping(&place) {
        Ok(answer) => match answer.strip_prefix('-') {
            None => Finding::ok("Redis", format!("{name}: answers")),
            Some(error) => {
                let error = crate::admin::hygiene::clean(error).into_owned();
                Finding::warn("Redis", format!("{name}: {error}"), "correct its user and password")
            }
        },
        Err(why) => Finding::warn("Redis", format!("{name}: {why}"), FIX),
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
    user: String,
    password: String,
}

impl Place {
    /// `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`
    fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("redis://")?;
        let authority = rest.split(['/', '?']).next()?;
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let bare = HttpAuthority::parse(place)?;
        let decode = |text: &str| crate::http::uri::percent_decode(text).into_owned();
        let (user, password) = (decode(user), decode(password));
        Some(Self { host: bare.host, port: bare.port.unwrap_or(PORT_DEFAULT), user, password })
    }
}

struct HttpAuthority {
    host: String,
    port: Option<u16>,
}

impl HttpAuthority {
    fn parse(text: &str) -> Option<Self> {
        let has_port = text.rsplit_once(']').map_or(text, |(_, after)| after).contains(':');
        let url = probe::HttpUrl::parse(&format!("http://{text}"))?;
        Some(Self { host: url.host, port: has_port.then_some(url.port) })
    }
}

/// The first line of the answer to the last command.
fn ping(place: &Place) -> Result<String, String> {
    let said = |error: std::io::Error| probe::plain(&error);
    let addresses = dns::resolve(&place.host, place.port).map_err(said)?;
    let address = addresses.first().ok_or("no address")?;
    let mut stream = TcpStream::connect_timeout(address, CONNECT_MAX).map_err(said)?;
    let mut request = Vec::new();
    let mut answers = 1;
    match (place.user.as_str(), place.password.as_str()) {
        (_, "") => answers = 0,
        ("", password) => command(&mut request, &["AUTH", password]),
        (user, password) => command(&mut request, &["AUTH", user, password]),
    }
    command(&mut request, &["PING"]);
    answers += 1;
    stream.set_write_timeout(Some(CONNECT_MAX)).map_err(said)?;
    stream.write_all(&request).map_err(said)?;
    let deadline = time::now() + probe::ANSWER_MAX;
    let mut bytes = Vec::new();
    while bytes.iter().filter(|byte| **byte == b'\n').count() < answers && bytes.len() < 4_096 {
        let more = probe::receive(&mut stream, deadline).map_err(said)?;
        if more.is_empty() {
            return Err("closed the connection".to_owned());
        }
        bytes.extend_from_slice(&more);
    }
    let text = String::from_utf8_lossy(&bytes);
    // An error of AUTH says more than the PING that it spoils.
    let error = text.lines().find(|line| line.starts_with('-'));
    match error.or_else(|| text.lines().last()) {
        Some(line) if line.starts_with(['+', '-']) => Ok(line.trim().to_owned()),
        Some(_) | None => Err("what answers there is no Redis".to_owned()),
    }
}

fn command(out: &mut Vec<u8>, words: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

#[cfg(test)]
mod tests;
