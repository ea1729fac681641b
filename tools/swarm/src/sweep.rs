//! Empties the sockets of all viewers that only count, by timer instead of by readiness.
//!
//! A wake-up per viewer and send is what a swarm costs: readiness took 0.10–0.15 CPU s/GB, a look
//! at every socket each 100 ms takes 0.035, and wakes nobody on the server's core (README).
//! Windows are so large that none of them closes in between; who receives a lot (the past, after
//! a join) is looked at each tick.

use std::os::fd::AsFd;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::MissedTickBehavior;

use crate::crowd::Crowd;
use crate::crowd::Role;
use crate::crowd::STUCK_AFTER_BYTES;
use crate::crowd::Shared;
use crate::crowd::State;
use crate::socket;

const TICK: Duration = Duration::from_millis(10);
/// A tick looks at every tenth viewer: each is emptied ten times a second. At 8 Mbit/s that is
/// 100 KB each time, at 40 Mbit/s 500 KB: half of the smallest window.
const PHASES: usize = 10;
/// Received at once, a quarter of the smallest window: looked at again in the next tick.
const HOT_BYTES: usize = 256 << 10;
/// The same where the kernel grows the windows, from 64 KiB on.
const HOT_BYTES_GROWN: usize = 16 << 10;
/// Sockets between two looks at what else is to do: under half a millisecond.
const BATCH: usize = 64;
/// No more than this at once; the kernel takes no larger number.
const DISCARD_BYTES_MAX: usize = 1 << 30;

/// Goes on until it is dropped.
pub(crate) async fn sweep(shared: Shared) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hot: Vec<usize> = Vec::new();
    let mut due: Vec<usize> = Vec::new();
    for phase in (0..PHASES).cycle() {
        let wanted = ticks.tick().await;
        {
            let mut crowd = shared.borrow_mut();
            crowd.note_late(Instant::now().saturating_duration_since(wanted));
            due.append(&mut hot);
            let phase = (phase..crowd.viewers.len()).step_by(PHASES);
            due.extend(phase.filter(|number| !crowd.viewers[*number].hot));
        }
        for batch in due.chunks(BATCH) {
            shared.borrow_mut().empty_some(batch, &mut hot);
            tokio::task::yield_now().await;
        }
        due.clear();
    }
}

impl Crowd {
    /// Looks at all at once: at the ends of the window.
    pub(crate) fn empty_all(&mut self) {
        for number in 0..self.viewers.len() {
            self.empty(number);
            // The sweep alone keeps the list of those, and leaves out who is marked.
            self.viewers[number].hot = false;
        }
    }

    fn empty_some(&mut self, numbers: &[usize], hot: &mut Vec<usize>) {
        for number in numbers {
            self.empty(*number);
            hot.extend(self.viewers[*number].hot.then_some(*number));
        }
    }

    /// Throws away what has come for a viewer.
    fn empty(&mut self, number: usize) {
        let hot_bytes = if self.windows_fixed() { HOT_BYTES } else { HOT_BYTES_GROWN };
        let viewer = &mut self.viewers[number];
        viewer.hot = false;
        let len_max = match viewer.role {
            Role::Discards => DISCARD_BYTES_MAX,
            Role::Sticks => STUCK_AFTER_BYTES.saturating_sub(viewer.bytes) as usize,
            Role::Checked | Role::Pauses | Role::Holds => 0,
        };
        let Some(socket) = viewer.socket.as_ref().filter(|_| len_max > 0) else { return };
        debug_assert_eq!(viewer.state, State::Playing, "only who plays has a socket here");
        match socket::discard(socket.as_fd(), len_max) {
            Ok(0) => self.close(number),
            Ok(bytes) => {
                viewer.bytes += bytes as u64;
                viewer.hot = bytes >= hot_bytes || viewer.role == Role::Sticks;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => self.close(number),
        }
    }
}
