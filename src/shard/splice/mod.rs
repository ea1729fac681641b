//! Where one session's bytes follow another's in a ring: they wait in a staging buffer until the
//! point is known from which they can be played, then go in behind tables and marks.
//!
//! Bounded in bytes and in time; what cannot be placed by then goes in from its first packet, so
//! that silence never replaces a stream that flows.

use crate::base::sizes::PACKET_BYTES;
use crate::base::time::Instant;
use crate::ts::Event;
use crate::ts::Packets;
use crate::ts::Scanner;
use crate::ts::splice::CounterTable;
use crate::ts::splice::Jump;
use crate::ts::splice::write_jump;
use std::time::Duration;

/// 4 s at 8 Mbit/s: twice the usual distance of random access points.
const STAGED_BYTES_MAX: usize = 4 << 20;
const STAGED_MAX: Duration = Duration::from_secs(2);
/// Behind the access point this much is looked at for the first counters of the other PIDs.
const LOOK_AHEAD_BYTES: usize = 1 << 20;
/// Tables and marks of a jump, in packets: what one inline send may hold.
const JUMP_PACKETS_MAX: usize = 64;

pub(crate) struct Staging {
    bytes: Vec<u8>,
    scanner: Scanner,
    /// Where the first random access point stands in `bytes`.
    access: Option<usize>,
    since: Instant,
}

impl Staging {
    pub(crate) fn new(now: Instant) -> Self {
        Self { bytes: Vec::new(), scanner: Scanner::new(), access: None, since: now }
    }

    pub(crate) fn push(&mut self, packets: Packets<'_>) {
        let Self { bytes, scanner, access, .. } = self;
        scanner.scan(packets, bytes.len() as u64, &mut |event| {
            if let (Event::RandomAccess(point), None) = (event, *access) {
                *access = Some(point.offset as usize);
            }
        });
        bytes.extend_from_slice(packets.bytes());
    }

    /// What [`Staging::ready`] gives is not longer than this.
    pub(crate) fn placed_bytes_max(&self) -> usize {
        self.bytes.len() + JUMP_PACKETS_MAX * PACKET_BYTES
    }

    /// The bytes that go into the ring now, tables and marks first; None while more is needed.
    /// `before` has seen everything that is in the ring.
    pub(crate) fn ready(&mut self, before: &Scanner, now: Instant) -> Option<Vec<u8>> {
        let late = now.since(self.since) >= STAGED_MAX || self.bytes.len() >= STAGED_BYTES_MAX;
        if self.access.is_none() && !late {
            return None;
        }
        let begin = self.access.unwrap_or(0);
        let rest = Packets::new_checked(&self.bytes[begin..])?;
        let mut following = CounterTable::new();
        following.note_first(rest);
        let looked = rest.len() * PACKET_BYTES >= LOOK_AHEAD_BYTES;
        if !self.is_complete(before, &following) && !looked && !late {
            return None;
        }
        let mut out = Vec::with_capacity(JUMP_PACKETS_MAX * PACKET_BYTES + rest.bytes().len());
        if let Some(psi) = self.scanner.psi() {
            let mut last_sent = CounterTable::new();
            before.pids().for_each(|seen| last_sent.set(seen.pid, seen.cc));
            let jump = Jump {
                psi,
                pcr_pid: self.scanner.pcr_pid(),
                last_sent: &last_sent,
                following: &following,
                packets_max: JUMP_PACKETS_MAX,
            };
            write_jump(&mut out, &jump);
        }
        out.extend_from_slice(rest.bytes());
        Some(out)
    }

    /// Every elementary stream that the new tables name, and that was there before, has shown its
    /// first counter.
    fn is_complete(&self, before: &Scanner, following: &CounterTable) -> bool {
        let Some(psi) = self.scanner.psi() else { return false };
        let mut streams = psi.streams().map(|stream| stream.pid);
        streams.all(|pid| before.last_cc(pid).is_none() || following.get(pid).is_some())
    }
}

#[cfg(test)]
mod tests;
