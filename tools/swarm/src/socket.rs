//! The system calls that std and tokio have no word for. The only unsafe code of this crate.
//!
//! It owns nothing: every function borrows the descriptor for the length of one call.
#![expect(unsafe_code, reason = "recv(MSG_TRUNC), recvmsg with a timestamp, poll, setrlimit")]

use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::ptr;

/// Throws away up to `len_max` bytes that have arrived; how many they were, 0 at the end.
///
/// On TCP `MSG_TRUNC` means: count, free, do not copy.
pub(crate) fn discard(fd: BorrowedFd, len_max: usize) -> io::Result<usize> {
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: the descriptor is borrowed and therefore open. The buffer is null: the kernel writes
    // nothing with MSG_TRUNC on TCP, and if it tried (another kind of socket), it would find no
    // memory there and answer EFAULT; no memory of ours can be touched.
    let received = unsafe { libc::recv(fd.as_raw_fd(), ptr::null_mut(), len_max, flags) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Reads what has arrived; with it the wall time in µs at which the kernel took in the last of
/// these bytes, if it noted one (see `note_arrivals`).
pub(crate) fn receive(fd: BorrowedFd, into: &mut [u8]) -> io::Result<(usize, Option<u64>)> {
    let mut slice = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // A cmsghdr and a timespec are 32 bytes; u64s because a cmsghdr wants their alignment.
    let mut control = [0_u64; 8];
    // SAFETY: msghdr is plain numbers and pointers; all zeroes is a valid, empty one.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = mem::size_of_val(&control) as _;
    // SAFETY: the descriptor is open (borrowed); the message points to one iovec over `into`, which
    // is writable for its length, and to `control`, both alive until the call returns.
    let received = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    Ok((received, arrival_us(&message)))
}

fn arrival_us(message: &libc::msghdr) -> Option<u64> {
    // SAFETY: the kernel filled msg_control with msg_controllen bytes of well-formed control
    // messages; CMSG_FIRSTHDR answers null when they are too few for a header.
    let head = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null, or a header inside the control buffer, aligned to 8 as a cmsghdr must be; the
    // buffer outlives this borrow.
    let kind = unsafe { head.as_ref() }?;
    let length = mem::size_of::<libc::timespec>();
    // SAFETY: CMSG_LEN only adds and rounds.
    let length = unsafe { libc::CMSG_LEN(length as u32) } as usize;
    if kind.cmsg_level != libc::SOL_SOCKET
        || kind.cmsg_type != libc::SCM_TIMESTAMPNS
        || (kind.cmsg_len as usize) < length
    {
        return None;
    }
    // SAFETY: the message is of this type and long enough for a timespec; read_unaligned asks for
    // no alignment.
    let time = unsafe { libc::CMSG_DATA(head).cast::<libc::timespec>().read_unaligned() };
    Some(time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000)
}

/// Whether the kernel notes when bytes arrive, for `receive`.
pub(crate) fn note_arrivals(fd: BorrowedFd, on: bool) -> io::Result<()> {
    let value = libc::c_int::from(on);
    let length = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open (borrowed); the value is an int that lives through the call,
    // its length is given.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const value).cast(),
            length,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the other side has closed or reset, without reading anything.
pub(crate) fn is_over(fd: BorrowedFd) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one pollfd, alive and writable through the call, which does not wait.
    let found = unsafe { libc::poll(&raw mut poll, 1, 0) };
    found > 0 && poll.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0
}

/// Raises this process's soft limit of open files to the hard one; the limit then in force.
pub(crate) fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is writable and lives through the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limit is a valid rlimit that lives through the call.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0;
    Ok(if raised { limit.rlim_max } else { before })
}
