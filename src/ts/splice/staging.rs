//! Where one session's packets follow another's: they wait here until the point is known from which
//! they can be played.
//!
//! - *Overlap*: a packet with a clock reference is one that was written before. What follows it is
//!   compared with what followed then, and dropped, up to the end of what was written; from there
//!   the stream goes on as if nothing had happened.
//! - *Jump*: otherwise the tables and marks are written, then the new packets from their first
//!   random access point on.
//!
//! A session that is behind the one before it is followed until it has caught up, for [`BEHIND_MAX`] at
//! most; one that is farther behind goes on with a jump, back to what was written before.
//!
//! Bounded in bytes and in time; what cannot be placed by then goes in from its first packet, so
//! that silence never replaces a stream that flows. Only what is equal to what was written is ever
//! dropped, and what is older than everything that is known.

use crate::base::sizes::PACKET_BYTES;
use crate::base::time::Instant;
use crate::ts::packet::Packet;
use crate::ts::packet::Packets;
use crate::ts::scan::Event;
use crate::ts::scan::Scanner;
use crate::ts::splice::CounterTable;
use crate::ts::splice::Jump;
use crate::ts::splice::Recent;
use crate::ts::splice::write_jump;
use crate::ts::splice::write_marks;
use std::time::Duration;

/// 4 s at 8 Mbit/s: twice the usual distance of random access points.
pub const STAGED_BYTES_MAX: usize = 4 << 20;
/// From the first packet on.
pub const STAGED_MAX: Duration = Duration::from_secs(2);
/// What has been equal for so long is the same broadcast, though its end is not reached yet.
const FOLLOWED_MIN: Duration = Duration::from_secs(1);
/// An engine may be so far behind the one before it: until it has caught up nothing goes on, and then
/// nothing is lost or repeated. One that is farther behind repeats what lies between, and says so.
pub const BEHIND_MAX: Duration = Duration::from_secs(10);
/// Behind the access point this much is looked at for the first counters of the other PIDs.
const LOOK_AHEAD_BYTES: usize = 1 << 20;
/// Tables and marks of a jump, in packets: what one inline send may hold.
const JUMP_PACKETS_MAX: usize = 64;

/// What was written before.
pub trait Past {
    /// The packet that stands at `offset`; None when it is not there any more.
    fn packet(&self, offset: u64) -> Option<Packet<'_>>;

    /// The offset of the next packet.
    fn end(&self) -> u64;
}

/// How the new packets go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Join {
    /// With the very next packet: nothing is lost, and nothing says that anything happened.
    Overlap,
    /// Behind tables and marks.
    Jump,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Overlap {
    /// No packet was recognised yet.
    Sought,
    /// Every packet so far was equal; the next one stands here.
    Followed(u64),
    /// The end of what was written is reached.
    Complete,
}

/// The packets of one session that wait.
#[derive(Debug)]
pub struct Staging {
    bytes: Vec<u8>,
    scanner: Scanner,
    /// Where the first random access point stands in `bytes`.
    access: Option<usize>,
    /// When the first packet came.
    since: Option<Instant>,
    overlap: Overlap,
    /// A packet was compared with those that are known.
    compared: bool,
    /// Since when every packet has been equal.
    followed_since: Option<Instant>,
    /// It is too far behind: what comes is kept, whether it was written before or not.
    repeats: bool,
}

impl Staging {
    /// Nothing yet.
    pub fn new() -> Staging {
        Staging {
            bytes: Vec::new(),
            scanner: Scanner::new(),
            access: None,
            since: None,
            overlap: Overlap::Sought,
            compared: false,
            followed_since: None,
            repeats: false,
        }
    }

    /// Takes the next packets.
    pub fn push(&mut self, packets: Packets<'_>, recent: &Recent, past: &impl Past, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let may_wait = now.since(since) < STAGED_MAX;
        // Packets that wait are scanned in runs; a run ends where one of them decides something.
        let mut rest = packets;
        while !rest.is_empty() {
            let run = rest.iter().take_while(|packet| !self.decides(*packet, recent)).count();
            let (waiting, later) = rest.split_at(run);
            self.keep(waiting);
            rest = later;
            if rest.is_empty() {
                return;
            }
            let (one, later) = rest.split_at(1);
            rest = later;
            self.compare(one, recent, past, now, may_wait);
        }
    }

    /// The packet is compared with what was written.
    fn decides(&self, packet: Packet<'_>, recent: &Recent) -> bool {
        match self.overlap {
            Overlap::Sought => !self.repeats && recent.may_know(packet),
            Overlap::Followed(_) => true,
            Overlap::Complete => false,
        }
    }

    fn compare(
        &mut self,
        one: Packets<'_>,
        recent: &Recent,
        past: &impl Past,
        now: Instant,
        may_wait: bool,
    ) {
        let Some(packet) = one.iter().next() else { return };
        if let Overlap::Followed(at) = self.overlap {
            if at == past.end() {
                self.overlap = Overlap::Complete;
                return self.keep(one);
            }
            if self.followed_since.is_some_and(|since| now.since(since) >= BEHIND_MAX) {
                self.repeat_from(now);
                return self.keep(one);
            }
            if past.packet(at) == Some(packet) {
                self.overlap = Overlap::Followed(at + PACKET_BYTES as u64);
                return;
            }
            // It was another place, or another make of the same broadcast.
            self.overlap = Overlap::Sought;
            self.followed_since = None;
        }
        if !recent.may_know(packet) {
            return self.keep(one);
        }
        self.compared = true;
        let found = recent.places(packet).find(|at| past.packet(*at) == Some(packet));
        let is_gone = recent.places(packet).any(|at| past.packet(at).is_none());
        if let Some(at) = found {
            self.forget();
            self.overlap = Overlap::Followed(at + PACKET_BYTES as u64);
            self.followed_since = Some(now);
        } else if may_wait && (is_gone || recent.is_before(packet)) {
            self.forget();
        } else {
            self.keep(one);
        }
    }

    /// It has the time that every session has to show an access point.
    fn repeat_from(&mut self, now: Instant) {
        self.overlap = Overlap::Sought;
        self.followed_since = None;
        self.since = Some(now);
        self.repeats = true;
    }

    fn keep(&mut self, packets: Packets<'_>) {
        let Self { bytes, scanner, access, .. } = self;
        scanner.scan(packets, bytes.len() as u64, &mut |event| {
            if let (Event::RandomAccess(point), None) = (event, *access) {
                *access = Some(point.offset as usize);
            }
        });
        bytes.extend_from_slice(packets.bytes());
    }

    /// What waited was written before.
    fn forget(&mut self) {
        if !self.bytes.is_empty() {
            self.bytes.clear();
            self.scanner = Scanner::new();
            self.access = None;
        }
    }

    /// No more may be pushed before something was placed.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= STAGED_BYTES_MAX
    }

    /// What could be found out is found out.
    fn is_late(&self, now: Instant) -> bool {
        let waited = self.since.map_or(Duration::ZERO, |since| now.since(since));
        waited >= STAGED_MAX || self.is_full()
    }

    /// What [`Staging::place`] gives is not longer than this.
    pub fn placed_bytes_max(&self) -> usize {
        self.bytes.len() + JUMP_PACKETS_MAX * PACKET_BYTES
    }

    /// Enough has come to go on with it, though what was written still grows. To be asked whenever
    /// packets were pushed: what follows the end of what was written is placed before more of it is
    /// written, or never.
    pub fn is_playable(&self, end: u64, now: Instant) -> bool {
        match self.overlap {
            // A clock on another PID, or none: nothing will ever be compared.
            Overlap::Sought if self.is_late(now) => self.access.is_some() || self.is_full(),
            Overlap::Sought => self.access.is_some() && (self.compared || end == 0),
            Overlap::Followed(at) => {
                let since = self.followed_since.unwrap_or(now);
                at == end || now.since(since) >= FOLLOWED_MIN
            }
            Overlap::Complete => true,
        }
    }

    /// Appends to `out` what goes on now, and says how; None while more is needed. `before` has
    /// seen everything up to `end`, where it goes on.
    pub fn place(
        &mut self,
        before: &Scanner,
        end: u64,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Option<Join> {
        match self.overlap {
            Overlap::Followed(at) if at != end => return None,
            Overlap::Followed(_) | Overlap::Complete => {
                out.extend_from_slice(&self.bytes);
                return Some(Join::Overlap);
            }
            Overlap::Sought if end == 0 && !self.bytes.is_empty() => {
                out.extend_from_slice(&self.bytes);
                return Some(Join::Overlap);
            }
            Overlap::Sought => {}
        }
        let late = self.is_late(now);
        let is_known = self.access.is_some() && (self.compared || before.pcr_pid().is_none());
        if self.bytes.is_empty() || (!is_known && !late) {
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
        // What is placed because its time is up may show no table: those before it go with it then.
        let pcr_pid = self.scanner.pcr_pid().or_else(|| before.pcr_pid());
        if let Some(psi) = self.scanner.psi().or_else(|| before.psi()) {
            let mut last_sent = CounterTable::new();
            before.pids().for_each(|seen| last_sent.set(seen.pid, seen.cc));
            let jump = Jump {
                psi,
                pcr_pid,
                last_sent: &last_sent,
                following: &following,
                packets_max: JUMP_PACKETS_MAX,
            };
            write_jump(out, &jump);
        } else {
            write_marks(out, pcr_pid, following.as_slice());
        }
        out.extend_from_slice(rest.bytes());
        Some(Join::Jump)
    }

    /// The tables, and every elementary stream that they name and that was there before, have shown
    /// the counter that follows.
    fn is_complete(&self, before: &Scanner, following: &CounterTable) -> bool {
        let Some(psi) = self.scanner.psi() else { return false };
        let streams = psi.streams().map(|stream| stream.pid);
        let mut pids = psi.pids().chain(streams);
        pids.all(|pid| before.last_cc(pid).is_none() || following.get(pid).is_some())
    }
}

impl Default for Staging {
    fn default() -> Staging {
        Staging::new()
    }
}
