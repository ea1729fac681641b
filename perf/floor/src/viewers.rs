//! Viewers: a socket and how far it got.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;

use crate::table::Key;
use crate::table::Table;

pub(crate) struct Viewer {
    pub(crate) fd: OwnedFd,
    pub(crate) stream: Key,
    /// The first byte that the socket has not taken.
    pub(crate) cursor: u64,
    pub(crate) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// The socket is full; the kernel will say when it is not.
    Full,
    /// Gone; to be closed.
    Broken,
}

impl Viewer {
    /// Takes in what a send came to.
    pub(crate) fn sent(&mut self, result: Result<usize, Errno>) {
        match result {
            Ok(0) => self.state = State::Broken,
            Ok(len) => self.cursor += len as u64,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => self.state = State::Full,
            Err(_) => self.state = State::Broken,
        }
    }
}

/// Brings each of `who` up to `target` by sends that take effect at once.
pub(crate) fn send_each(
    viewers: &mut Table<Viewer>,
    who: &[Key],
    target: u64,
    mut send: impl FnMut(BorrowedFd<'_>, u64, usize) -> Result<usize, Errno>,
) {
    for key in who {
        let viewer = viewers.get(*key).expect("a stream's viewers are in the table");
        while viewer.state == State::Ready && viewer.cursor < target {
            let len = (target - viewer.cursor) as usize;
            let result = send(viewer.fd.as_fd(), viewer.cursor, len);
            viewer.sent(result);
        }
    }
}

/// Hangs up at once: what the kernel still holds for it is thrown away, its pages are free.
pub(crate) fn reset(fd: OwnedFd) {
    let _ = sockopt::set_socket_linger(&fd, Some(Duration::ZERO));
    drop(fd);
}
