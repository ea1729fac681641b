//! Listening sockets: one per shard on one port, each with SO_REUSEPORT.
//!
//! Before them a probe is bound without SO_REUSEPORT and closed again, so that a second process on
//! the port is an error that names it, instead of two processes that share the viewers.

mod accept;
mod congestion;
mod inherited;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::sockopt;

pub use self::accept::Accepted;
pub use self::accept::Acceptor;
pub use self::accept::Batch;
pub use self::accept::Stopper;
pub use self::inherited::Inherited;
pub use self::inherited::inherited;
use crate::net::sock;

/// The kernel cuts it down to net.core.somaxconn, which has been 4 096 since Linux 5.4.
pub const BACKLOG: i32 = 4096;

#[derive(Clone, Debug)]
pub struct ListenConfig {
    pub addr: SocketAddr,
    /// One per shard.
    pub listeners: usize,
    pub backlog: i32,
}

/// A socket for an [`Acceptor`].
#[derive(Debug)]
pub struct Listener {
    pub fd: OwnedFd,
    /// Another process holds it too: it is closed, never shut down.
    pub is_inherited: bool,
}

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, is_inherited: false }
    }
}

#[derive(Debug)]
pub struct Listeners {
    pub fds: Vec<OwnedFd>,
    /// With the port that was really taken.
    pub local: SocketAddr,
    /// What an operator should read once.
    pub notes: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{addr} is in use: another program listens on port {}", addr.port())]
    InUse { addr: SocketAddr },
    #[error("{addr} is not allowed for this user: take a port above 1023")]
    Denied { addr: SocketAddr },
    #[error("{addr} is not an address of this host")]
    Unavailable { addr: SocketAddr },
    #[error("{addr}: {source}")]
    Other { addr: SocketAddr, source: io::Error },
}

impl ListenConfig {
    pub fn new(addr: SocketAddr, listeners: usize) -> Self {
        Self { addr, listeners, backlog: BACKLOG }
    }
}

/// Binds all listeners. `[::]` falls back to `0.0.0.0` where the kernel has no IPv6.
pub fn bind(config: &ListenConfig) -> Result<Listeners, BindError> {
    let mut notes = Vec::new();
    let local = match probe(config.addr) {
        Ok(local) => local,
        Err(errno) if lacks_ipv6(config.addr, errno) => {
            let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), config.addr.port());
            notes.push(format!("no IPv6 on this host: listening on {v4}"));
            probe(v4).map_err(|errno| BindError::new(v4, errno.into()))?
        }
        Err(errno) => return Err(BindError::new(config.addr, errno.into())),
    };
    let mut fds = Vec::with_capacity(config.listeners);
    for _ in 0..config.listeners {
        let fd = listener(local, config.backlog).map_err(|error| BindError::new(local, error))?;
        fds.push(fd);
    }
    Ok(Listeners { fds, local, notes })
}

/// How a shard that starts again listens where it listened before.
#[derive(Debug)]
pub enum Again {
    /// One more socket beside those of the other shards.
    Bind(SocketAddr),
    /// The same one: another process holds it too.
    Inherited(OwnedFd),
}

impl Again {
    /// None for a socket that has ended already.
    pub fn of(listener: &Listener) -> Option<Self> {
        if listener.is_inherited {
            return rustix::io::fcntl_dupfd_cloexec(&listener.fd, 0).ok().map(Self::Inherited);
        }
        bound_address(listener).map(Self::Bind)
    }

    pub fn listen(self) -> io::Result<Listener> {
        match self {
            Self::Bind(local) => listener(local, BACKLOG).map(Listener::from),
            Self::Inherited(fd) => Ok(Listener { fd, is_inherited: true }),
        }
    }
}

/// As it was bound: an address of both families stays one.
fn bound_address(listener: &Listener) -> Option<SocketAddr> {
    SocketAddr::try_from(rustix::net::getsockname(&listener.fd).ok()?).ok()
}

/// The options of a viewer's socket that was not accepted by an [`Acceptor`].
pub fn prepare_viewer(fd: BorrowedFd<'_>) -> io::Result<()> {
    rustix::io::ioctl_fionbio(fd, true)?;
    sock::prepare_viewer(fd)
}

/// Finds out that the address is ours alone, and which port zero is.
fn probe(addr: SocketAddr) -> Result<SocketAddr, Errno> {
    let fd = bound(addr, false)?;
    SocketAddr::try_from(rustix::net::getsockname(&fd)?)
}

fn listener(addr: SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let fd = bound(addr, true)?;
    rustix::net::listen(&fd, backlog)?;
    Ok(fd)
}

fn bound(addr: SocketAddr, is_shared: bool) -> Result<OwnedFd, Errno> {
    let family = if addr.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    if addr.is_ipv6() {
        // Dual stack whatever net.ipv6.bindv6only says.
        sockopt::set_ipv6_v6only(&fd, false)?;
    }
    // Connections of the process before us that are in TIME_WAIT do not matter.
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if is_shared {
        sockopt::set_socket_reuseport(&fd, true)?;
    }
    rustix::net::bind(&fd, &addr)?;
    Ok(fd)
}

fn lacks_ipv6(addr: SocketAddr, errno: Errno) -> bool {
    addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        && matches!(errno, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
}

impl BindError {
    fn new(addr: SocketAddr, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EADDRINUSE) => Self::InUse { addr },
            Some(libc::EACCES | libc::EPERM) => Self::Denied { addr },
            Some(libc::EADDRNOTAVAIL) => Self::Unavailable { addr },
            Some(_) | None => Self::Other { addr, source },
        }
    }
}
