//! What this host lacks for a connection, told apart from what the other end did.
//!
//! A socket that could not be made says nothing about whoever it was for. Nothing is decided here.

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

const FILES: &str = "nothing is left of this server's limit of open files for one more connection \
                     (ulimit -n, LimitNOFILE)";
const FILES_OF_THE_HOST: &str = "nothing is left of this host's limit of open files for one more \
                                 connection (sysctl fs.file-max)";
const MEMORY: &str = "this host has no memory left for a connection (MemoryMax, sysctl \
                      net.ipv4.tcp_mem)";
const PORTS: &str = "this host has no port left for a connection (sysctl \
                     net.ipv4.ip_local_port_range)";

/// What was lacking, with the setting that limits it; none when the failure is not of our making.
pub fn of(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some(FILES),
        Errno::NFILE => Some(FILES_OF_THE_HOST),
        Errno::NOMEM | Errno::NOBUFS => Some(MEMORY),
        _ => None,
    }
}

/// The same of a connect to `peer`.
pub fn of_connect(error: &io::Error, peer: SocketAddr) -> Option<&'static str> {
    let is_unavailable = Errno::from_io_error(error) == Some(Errno::ADDRNOTAVAIL);
    of(error).or_else(|| (is_unavailable && has_source(peer)).then_some(PORTS))
}

/// Whether this host has an address to talk to `peer` from. Without one the kernel gives the same
/// error as without a port: `[::1]` where IPv6 is off.
fn has_source(peer: SocketAddr) -> bool {
    let family = if peer.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC;
    match rustix::net::socket_with(family, SocketType::DGRAM, flags, None) {
        // Of a datagram socket it sends nothing, and there are ports of their own for those.
        Ok(fd) => rustix::net::connect(&fd, &peer).is_ok(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_lack_is_not_what_the_other_end_did() {
        let error = |errno: Errno| io::Error::from(errno);
        for (errno, word) in [
            (Errno::MFILE, "LimitNOFILE"),
            (Errno::NFILE, "fs.file-max"),
            (Errno::NOMEM, "MemoryMax"),
            (Errno::NOBUFS, "tcp_mem"),
        ] {
            assert!(of(&error(errno)).unwrap().contains(word), "{errno}");
        }
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::PERM, Errno::TIMEDOUT] {
            assert_eq!(of_connect(&error(errno), ([127, 0, 0, 1], 9).into()), None, "{errno}");
        }
        assert_eq!(of(&io::ErrorKind::TimedOut.into()), None);
    }

    #[test]
    fn no_port_is_not_no_address() {
        let error = io::Error::from(Errno::ADDRNOTAVAIL);
        let here = SocketAddr::from(([127, 0, 0, 1], 9));
        assert!(of_connect(&error, here).unwrap().contains("ip_local_port_range"));
        // 2001:db8::/32 is nobody's: nothing here can talk to it from an address of its own.
        let nowhere = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9));
        if !has_source(nowhere) {
            assert_eq!(of_connect(&error, nowhere), None);
        }
    }
}
