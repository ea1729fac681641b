//! What is asked of a TCP socket beside sending and receiving: options, addresses, statistics.
#![expect(unsafe_code, reason = "TCP_INFO, SIOCOUTQ and three options have no safe wrapper")]

#[cfg(test)]
mod tests;

use std::ffi::c_int;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::net::sockopt;

/// What the kernel may hold for one viewer. It doubles the number for its own bookkeeping and
/// caps it at net.core.wmem_max. Set on each accepted socket, because it also ends autotuning.
const VIEWER_SEND_BUFFER_BYTES: usize = 512 * 1024;
/// Of that, what may wait without having been sent: at 10 Mbit/s a fifth of a second.
const VIEWER_NOTSENT_BYTES: u32 = 256 * 1024;
/// A peer that acknowledges nothing for so long is gone. It is promised to be noticed within 20 s: the
/// kernel counts from the first byte that is not acknowledged, and its timer may be late.
const USER_TIMEOUT_MS: u32 = 19_000;
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 2;

/// What the kernel knows of a connection. Fields that an older kernel lacks are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpInfo {
    pub bytes_acked: u64,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    /// How long the peer's receive window held us back.
    pub rwnd_limited_us: u64,
    pub sndbuf_limited_us: u64,
    pub busy_us: u64,
    pub notsent_bytes: u32,
    pub unacked_segments: u32,
    pub rtt_us: u32,
    pub snd_cwnd: u32,
    pub snd_mss: u32,
    pub delivery_rate_bytes_per_s: u64,
}

pub fn tcp_info(fd: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    // struct tcp_info up to tcpi_bytes_retrans; later kernels only append.
    let mut raw = [0u8; 216];
    let mut len = raw.len() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `raw`, which the kernel fills at most.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            raw.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let u32_at = |at: usize| u32::from_ne_bytes(*raw[at..].first_chunk().expect("in raw"));
    let u64_at = |at: usize| u64::from_ne_bytes(*raw[at..].first_chunk().expect("in raw"));
    Ok(TcpInfo {
        bytes_acked: u64_at(120),
        bytes_sent: u64_at(200),
        bytes_retrans: u64_at(208),
        rwnd_limited_us: u64_at(176),
        sndbuf_limited_us: u64_at(184),
        busy_us: u64_at(168),
        notsent_bytes: u32_at(144),
        unacked_segments: u32_at(24),
        rtt_us: u32_at(68),
        snd_cwnd: u32_at(80),
        snd_mss: u32_at(16),
        delivery_rate_bytes_per_s: u64_at(160),
    })
}

/// Bytes accepted from us that the peer has not acknowledged yet.
pub fn queued(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: c_int = 0;
    // SIOCOUTQ and TIOCOUTQ are one number.
    // SAFETY: the kernel writes one int to the pointer.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// The options of a viewer's socket: little kernel memory, dead peers noticed.
pub(super) fn prepare_viewer(fd: BorrowedFd<'_>) -> io::Result<()> {
    sockopt::set_socket_send_buffer_size(fd, VIEWER_SEND_BUFFER_BYTES)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, VIEWER_NOTSENT_BYTES)?;
    prepare_both(fd)
}

/// The options of a connection to an engine.
pub(super) fn prepare_engine(fd: impl AsFd) -> io::Result<()> {
    prepare_both(fd.as_fd())
}

fn prepare_both(fd: BorrowedFd<'_>) -> io::Result<()> {
    sockopt::set_tcp_nodelay(fd, true)?;
    sockopt::set_tcp_user_timeout(fd, USER_TIMEOUT_MS)?;
    sockopt::set_tcp_keepidle(fd, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(fd, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(fd, KEEPALIVE_PROBES)?;
    sockopt::set_socket_keepalive(fd, true)?;
    Ok(())
}

fn set_option(fd: BorrowedFd<'_>, level: c_int, option: c_int, value: u32) -> io::Result<()> {
    let len = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `value`, which the kernel only reads.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), len) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// How much is to be there before the socket is readable.
pub(super) fn set_receive_low(fd: BorrowedFd<'_>, bytes: usize) {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX >> 1);
    // A TCP socket takes any number.
    let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes);
}

/// One send that never waits and never signals.
pub(super) fn send_now(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => return Ok(sent),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// From a file, without its pages being copied. The socket is non-blocking.
pub(super) fn send_file(
    fd: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    at: u64,
    len: usize,
) -> io::Result<usize> {
    let mut at = at;
    loop {
        match rustix::fs::sendfile(fd, file, Some(&mut at), len) {
            Ok(sent) => return Ok(sent),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Breaks the connection at once: the peer gets RST, what was queued is thrown away.
pub(super) fn disconnect(fd: BorrowedFd<'_>) {
    // Fails only where there is no connection any more.
    let _ = rustix::net::connect_unspec(fd);
}

/// Sends FIN behind what is queued.
pub(super) fn shut_down(fd: BorrowedFd<'_>) {
    // Fails only where there is no connection any more.
    let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
}

/// Throws received bytes away, `bytes_max` at most.
pub(super) fn discard(fd: BorrowedFd<'_>, bytes_max: usize) -> usize {
    let mut scratch = [0u8; 4096];
    let mut discarded = 0;
    while discarded < bytes_max {
        let len = scratch.len().min(bytes_max - discarded);
        match rustix::net::recv(fd, &mut scratch[..len], RecvFlags::DONTWAIT) {
            Ok((0, _)) => break,
            Ok((received, _)) => discarded += received,
            Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    discarded
}

pub(super) fn peer(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let addr = rustix::net::getpeername(fd)?.ok_or(io::ErrorKind::NotConnected)?;
    Ok(unmapped(SocketAddr::try_from(addr)?))
}

pub(super) fn local(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    Ok(unmapped(SocketAddr::try_from(rustix::net::getsockname(fd)?)?))
}

/// A dual-stack listener says ::ffff:192.0.2.1; everybody above wants 192.0.2.1.
pub(super) fn unmapped(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
