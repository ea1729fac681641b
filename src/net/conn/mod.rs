//! One connection that is talked on in turn: a viewer until its head is read, an engine for good.
//!
//! Reading is "wait until readable, then one non-blocking recv" into memory that the caller keeps:
//! the kernel never holds it, and a wait that is dropped loses nothing. A time limit is a deadline
//! that shuts the socket down ([`Sweep`]), never a dropped wait.

#[cfg(test)]
mod tests;

use std::io;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::RecvFlags;
use rustix::net::Shutdown;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use crate::base::time::Instant;
use crate::net::sock;
use crate::net::source::Closer;
use crate::net::source::Source;
use crate::net::sweep;
pub use crate::net::sweep::Sweep;

/// A connected, non-blocking socket. Dropping it closes it.
pub struct Conn {
    source: Source,
}

impl Conn {
    /// Connects until `deadline`, then fails with `TimedOut`.
    pub async fn connect(addr: SocketAddr, deadline: Instant) -> io::Result<Self> {
        let family = if addr.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sock::prepare_engine(&fd)?;
        // Before the runtime registers it: an unconnected socket reports itself hung up.
        match rustix::net::connect(&fd, &addr) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut conn = Self { source: Source::new(fd)? };
        conn.set_deadline(deadline, Sweep::Both);
        conn.source.writable().await?;
        if conn.swept() {
            return Err(ErrorKind::TimedOut.into());
        }
        rustix::net::sockopt::socket_error(conn.source.fd())??;
        conn.clear_deadline();
        Ok(conn)
    }

    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { source: Source::new(fd)? })
    }

    /// Waits until there is something, then receives once. `Ok(0)` is the peer's end;
    /// `TimedOut` says that the deadline passed and everything received before it was read.
    pub async fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            self.source.readable().await?;
            match self.try_recv(buf) {
                Ok(0) if self.swept() && !buf.is_empty() => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done @ (Ok(_) | Err(_)) => return done,
            }
        }
    }

    /// Until something is there to be received, an end or an error included.
    pub async fn readable(&self) -> io::Result<()> {
        self.source.readable().await
    }

    /// Receives once without waiting; `WouldBlock` when there is nothing.
    pub fn try_recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::net::recv(self.source.fd(), &mut *buf, RecvFlags::DONTWAIT) {
                Ok((received, _)) => return Ok(received),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Sends everything, waiting as often as it takes. Limit it with a deadline.
    pub async fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let error = match sock::send_now(self.source.fd(), rest) {
                Ok(sent) => {
                    rest = &rest[sent..];
                    continue;
                }
                Err(error) => error,
            };
            if error.kind() == ErrorKind::BrokenPipe && self.swept() {
                return Err(ErrorKind::TimedOut.into());
            }
            if error.kind() != ErrorKind::WouldBlock {
                return Err(error);
            }
            self.source.writable().await?;
        }
        Ok(())
    }

    /// Throws away at most `bytes_max` of what the peer already sent, and says how much. A socket
    /// that is closed with unread bytes sends RST, and the peer may lose our last words.
    pub fn discard(&mut self, bytes_max: usize) -> usize {
        sock::discard(self.source.fd(), bytes_max)
    }

    /// Sends FIN after what was sent before.
    pub fn shutdown_write(&self) {
        // ENOTCONN: the peer is gone, nobody waits for a FIN.
        let _ = rustix::net::shutdown(self.source.fd(), Shutdown::Write);
    }

    /// Ends the connection in order: FIN behind what was sent, then whatever the peer still says is
    /// thrown away until it ends as well, at most `bytes_max` of it and not beyond `at`.
    pub async fn finish(mut self, at: Instant, bytes_max: usize) {
        self.shutdown_write();
        self.set_deadline(at, Sweep::Read);
        let mut scratch = [0; 2_048];
        let mut discarded = self.discard(bytes_max);
        while discarded < bytes_max {
            match self.recv(&mut scratch).await {
                Ok(0) | Err(_) => return,
                Ok(received) => discarded += received,
            }
        }
    }

    /// Replaces the deadline that was set before. A later one costs a store.
    pub fn set_deadline(&mut self, at: Instant, what: Sweep) {
        sweep::set_deadline(self.source.held(), at, what);
    }

    pub fn clear_deadline(&mut self) {
        sweep::clear_deadline(self.source.held());
    }

    /// Whether a deadline passed; the socket is shut down accordingly, for good.
    pub fn swept(&self) -> bool {
        self.source.held().swept.get()
    }

    pub fn closer(&self) -> Closer {
        self.source.closer()
    }

    pub fn peer(&self) -> io::Result<SocketAddr> {
        sock::peer(self.source.fd())
    }

    pub fn local(&self) -> io::Result<SocketAddr> {
        sock::local(self.source.fd())
    }

    /// Hands the socket on, as it is: non-blocking, options set.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        self.source.into_fd()
    }
}
