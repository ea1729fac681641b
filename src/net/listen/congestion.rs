//! Congestion control by where the viewer is.
//!
//! bbr paces: right on a network, and a tenth of the CPU for nothing towards a player on this very
//! host. A socket that was paced once stays paced, so the listener does without, and a viewer that
//! comes from elsewhere is given the system's before its first byte.

use std::os::fd::OwnedFd;

use rustix::net::sockopt;

/// What the system's is when it paces.
const PACING: &str = "bbr";
/// Without pacing; reno is there for everybody.
const UNPACED: [&str; 2] = ["cubic", "reno"];

/// Sets the listener to one that does not pace. What viewers of other hosts are to be given, when
/// that is another one now.
pub(super) fn unpace(listener: &OwnedFd) -> Option<String> {
    let before = sockopt::tcp_congestion(listener).ok()?;
    let is_changed = before == PACING && UNPACED.iter().any(|name| set(listener, name));
    is_changed.then_some(before)
}

pub(super) fn set(fd: &OwnedFd, name: &str) -> bool {
    sockopt::set_tcp_congestion(fd, name).is_ok()
}
