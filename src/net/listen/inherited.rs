//! Sockets that listen already when the process starts (`LISTEN_FDS`): systemd's, or whoever's who
//! keeps them open while one process follows another, so that nobody is refused in between.
//!
//! They are shared with whoever handed them over: they are closed at the end and never shut down,
//! because that would end the listening of the other holder, and of the next process, as well.
#![expect(unsafe_code, reason = "numbers that another process left here become descriptors")]

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::net::sockopt;

use crate::net::sock;

/// The first one's number: the protocol says so.
const FIRST: RawFd = 3;
/// Nobody means more.
const SOCKETS_MAX: RawFd = 64;

/// A socket that listens, and where.
#[derive(Debug)]
pub struct Inherited {
    pub fd: OwnedFd,
    pub local: SocketAddr,
}

/// The sockets that the environment speaks of, none if it speaks of none, or to another process.
/// The error is one line for the operator.
///
/// Called once, before anything is opened: a number may be somebody else's later.
pub fn inherited(environment: &[(OsString, OsString)]) -> Result<Vec<Inherited>, String> {
    let variable = |name: &str| {
        let found = environment.iter().find(|(variable, _)| variable == name);
        found.and_then(|(_, value)| value.to_str())
    };
    let (Some(pid), Some(count)) = (variable("LISTEN_PID"), variable("LISTEN_FDS")) else {
        return Ok(Vec::new());
    };
    if pid.parse() != Ok(std::process::id()) {
        return Ok(Vec::new());
    }
    let count = count.parse().ok().filter(|count| (0..=SOCKETS_MAX).contains(count));
    let count: RawFd = count.ok_or_else(|| format!("LISTEN_FDS takes 0 to {SOCKETS_MAX}"))?;
    (FIRST..FIRST + count).map(take).collect()
}

fn take(number: RawFd) -> Result<Inherited, String> {
    let not = |what: &str| format!("LISTEN_FDS: descriptor {number} {what}");
    // SAFETY: F_GETFD touches nothing but the number itself.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(not("is not open"));
    }
    // SAFETY: it is open, it was left to this process by the protocol's word, and `inherited` is
    // called once, before anybody else here could have got this number.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let listens = sockopt::socket_acceptconn(&fd).map_err(|_| not("is no socket"))?;
    if !listens {
        return Err(not("does not listen"));
    }
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)
        .map_err(|errno| not(&errno.to_string()))?;
    let local = sock::local(fd.as_fd()).map_err(|_| not("is no TCP socket"))?;
    Ok(Inherited { fd, local })
}
