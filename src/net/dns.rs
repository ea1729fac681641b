//! Names to addresses, with the system's resolver. It blocks for seconds: never on the main
//! thread or a shard's.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::ToSocketAddrs;

/// Every address of a name, in the resolver's order, each once. An address is taken as it is,
/// also in brackets.
pub fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let mut addrs: Vec<SocketAddr> = Vec::new();
    for addr in (host, port).to_socket_addrs()? {
        if !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    if addrs.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")));
    }
    Ok(addrs)
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn addresses_need_no_resolver() {
        let text = |host| resolve(host, 6878).unwrap()[0].to_string();
        assert_eq!(text("127.0.0.1"), "127.0.0.1:6878");
        assert_eq!(text("[::1]"), "[::1]:6878");
        assert_eq!(text("::1"), "[::1]:6878");
    }

    #[test]
    fn localhost_resolves_and_nonsense_does_not() {
        assert!(resolve("localhost", 1).unwrap().iter().all(|addr| addr.ip().is_loopback()));
        assert!(resolve("no such host", 1).is_err());
    }
}
