//! `ringcast healthcheck [URL]`: exit 0 when `/readyz` answers 200, for containers without curl.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::process::ExitCode;

use crate::app::EXIT_USAGE;
use crate::app::output;
use crate::app::probe;
use crate::app::probe::HttpUrl;
use crate::config;
use crate::config::Facts;
use crate::config::Sources;

const READY_PATH: &str = "/readyz";

pub fn run(url: Option<&str>, sources: &Sources) -> ExitCode {
    let url = match url {
        Some(text) => given(text),
        None => own(sources),
    };
    let url = match url {
        Ok(url) => url,
        Err(line) => {
            output::complain(&line);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match probe::get(&url) {
        Ok(reply) if reply.status == 200 => ExitCode::SUCCESS,
        Ok(reply) => {
            let body = String::from_utf8_lossy(&reply.body);
            let why = crate::admin::hygiene::clean(body.trim()).into_owned();
            output::complain(&format!("{url} answered {}: {why}", reply.status));
            ExitCode::FAILURE
        }
        Err(error) => {
            output::complain(&format!("{url}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// A URL without a path of its own asks for readiness.
fn given(text: &str) -> Result<HttpUrl, String> {
    let mut url = HttpUrl::parse(text)
        .ok_or_else(|| format!("healthcheck {text:?}: accepted: http://HOST[:PORT][/PATH]"))?;
    if url.path == "/" {
        READY_PATH.clone_into(&mut url.path);
    }
    Ok(url)
}

/// The server that these settings describe.
fn own(sources: &Sources) -> Result<HttpUrl, String> {
    // Only the address is wanted: it does not depend on the host.
    let loaded = config::load(sources, &Facts::default()).map_err(|errors| errors.to_string())?;
    let address = loaded.settings.listen.first().copied().map(reachable);
    let address = address.filter(|address| address.port() != 0).ok_or_else(|| {
        "RINGCAST_LISTEN has no port to ask; accepted: healthcheck URL".to_owned()
    })?;
    let (host, path) = (address.ip().to_string(), READY_PATH.to_owned());
    Ok(HttpUrl { host, port: address.port(), path })
}

/// Every address is also this host's own. IPv4 serves both where the server listens on `[::]`,
/// which becomes `0.0.0.0` in a kernel without IPv6.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) | IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        }
        IpAddr::V4(_) | IpAddr::V6(_) => address.ip(),
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_asks_for_readiness() {
        assert_eq!(given("http://h:1").unwrap().to_string(), "http://h:1/readyz");
        assert_eq!(given("http://h:1/healthz").unwrap().to_string(), "http://h:1/healthz");
        assert!(given("h:1").is_err());
    }

    #[test]
    fn without_a_url_our_own_address_is_asked() {
        let asked = |listen: &str| {
            let environment = vec![("RINGCAST_LISTEN".into(), listen.into())];
            own(&Sources { environment, ..Sources::default() }).map(|url| url.to_string())
        };
        assert_eq!(asked("").unwrap(), "http://127.0.0.1:8878/readyz");
        assert_eq!(asked(":9000").unwrap(), "http://127.0.0.1:9000/readyz");
        assert_eq!(asked("[::1]:9000").unwrap(), "http://[::1]:9000/readyz");
        assert!(asked("127.0.0.1:0").is_err());
    }
}
