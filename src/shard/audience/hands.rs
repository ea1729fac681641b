//! What carries a viewer's plan out while the ring's view is held.
//!
//! A send from the stream's memory file, and an inline send, are done when this returns: the turn
//! that covers their bytes need not outlive them. Every other send pins its bytes and is told of by
//! an event.

use crate::base::time::Instant;
use crate::net::egress::RingEgress;
use crate::net::egress::Via;
use crate::ring::Arena;
use crate::ring::Turn;
use crate::shard::audience::Commits;
use crate::shard::audience::Entry;
use crate::shard::audience::Phase;
use crate::shard::audience::paths::LARGE_BYTES_MIN;
use crate::shard::audience::paths::Path;
use crate::shard::audience::paths::Paths;
use crate::shard::stats::Stats;
use crate::viewer::CloseReason;
use crate::viewer::Fanout;
use crate::viewer::Plan;
use crate::viewer::Policy;
use slab::Slab;
use std::io;

/// Bytes that one turn sends at once for those who catch up, before the others have their turn
/// again: some 5 ms.
pub(super) const AT_ONCE_BYTES_MAX: u64 = 32 << 20;

/// Further behind the head nothing is lent: two ticks of a fast stream.
const BEHIND_BYTES_MAX: u64 = 512 * 1024;

/// Sends of a viewer that may wait for their acknowledgement: four ticks, 400 ms of network.
const LENT_SENDS_MAX: u16 = 4;

/// What a viewer has taken before it is lent anything.
const PROVEN_BYTES_MIN: u64 = 64 * 1024;

pub(super) struct Hands<'a> {
    pub(super) egress: &'a mut RingEgress,
    pub(super) paths: &'a mut Paths,
    pub(super) stats: &'a mut Stats,
    pub(super) commits: &'a Commits,
    pub(super) arena: &'a Arena,
    pub(super) round: &'a mut Round,
    pub(super) now: Instant,
}

/// What a turn's decisions ask of the rest of the shard, done after the ring's view is let go. Its
/// lists are kept from turn to turn, so that a turn allocates nothing.
#[derive(Default)]
pub(crate) struct Round {
    /// By place.
    pub(super) close: Vec<(usize, CloseReason)>,
    /// Entries, for their line in the log.
    pub(super) started: Vec<usize>,
    /// By place: their socket took all that a plan gave it at once, and there is more.
    pub(super) again: Vec<usize>,
    /// By place: their way has changed.
    pub(super) turned: Vec<(usize, Path)>,
    pub(super) at_once_bytes: u64,
}

impl Round {
    /// Room for so many viewers.
    pub(crate) fn reserve(&mut self, viewers: usize) {
        self.close.reserve(viewers);
        self.started.reserve(viewers);
        self.again.reserve(viewers);
        self.turned.reserve(viewers);
    }
}

impl Hands<'_> {
    /// Begins with those that wait, where a random access point is in the ring. Their cursors count
    /// from here on: in a storm of joins the plan of one may have to wait for a later turn.
    pub(super) fn start_waiting(
        &mut self,
        fanout: &mut Fanout,
        entries: &mut Slab<Entry>,
        turn: &mut Turn<'_>,
        policy: &Policy,
        join_us: u64,
        out: &mut Vec<u8>,
    ) {
        let mut head = Vec::with_capacity(512);
        for (index, entry) in entries {
            if entry.phase != Phase::Waiting {
                continue;
            }
            head.clear();
            let id = entry.who.id.to_string();
            crate::http::render::write_media_head(&mut head, Some(&id));
            if !entry.viewer.try_start(turn, policy, join_us, &head, out, self.now) {
                continue;
            }
            fanout.note_viewer(&entry.viewer);
            entry.phase = Phase::Playing;
            let waited = self.now.since(entry.viewer.created_at());
            self.stats.first_byte.record(waited.as_micros() as u64);
            self.stats.respond(crate::router::PLAY_LABEL, 200);
            self.act(entry, Plan::Inline, turn, out);
            self.round.started.push(index);
        }
    }

    pub(super) fn act(&mut self, entry: &mut Entry, plan: Plan, turn: &mut Turn<'_>, out: &[u8]) {
        match plan {
            Plan::Send { offset, len_max } => self.send(entry, offset, len_max, turn),
            Plan::Inline => {
                if self.send_inline(entry, out).is_err() {
                    self.round.close.push((entry.place, CloseReason::Left));
                }
            }
            Plan::Close(reason) => self.round.close.push((entry.place, reason)),
            Plan::Park | Plan::Wait | Plan::Until(_) => {}
        }
    }

    fn send(&mut self, entry: &mut Entry, offset: u64, len_max: usize, turn: &mut Turn<'_>) {
        match entry.path {
            Path::Shared => {
                if self.send_shared(entry, offset, len_max, turn) {
                    return;
                }
            }
            Path::Probing | Path::ZeroCopy if self.may_lend(entry, offset, turn) => {
                let pinned = turn.pin(offset, len_max);
                let (via, path) = self.paths.via(self.egress, self.arena, &pinned, entry.path);
                if path != entry.path {
                    self.round.turned.push((entry.place, path));
                }
                return self.egress.send(entry.slot, pinned, via);
            }
            Path::Probing | Path::ZeroCopy | Path::Copy => {}
        }
        self.egress.send(entry.slot, turn.pin(offset, len_max), Via::Copy);
    }

    /// Only who keeps up is lent memory, and only so much: what a viewer does not acknowledge
    /// cannot be used again. Whoever catches up, or lags, is served by copy.
    fn may_lend(&self, entry: &Entry, offset: u64, turn: &Turn<'_>) -> bool {
        turn.head() - offset <= BEHIND_BYTES_MAX
            && entry.lent < LENT_SENDS_MAX
            && (entry.path != Path::Probing || self.may_probe(entry))
    }

    /// Nobody is asked the first time who has not acknowledged a good deal, and all of it: on
    /// loopback a zero-copy send to a narrow receive buffer costs that player its window.
    fn may_probe(&self, entry: &Entry) -> bool {
        entry.viewer.bytes_sent() >= PROVEN_BYTES_MIN
            && self.egress.queued(entry.slot).is_ok_and(|bytes| bytes == 0)
    }

    /// False: the bytes are not in the file, or too few, or the file is no use.
    fn send_shared(
        &mut self,
        entry: &mut Entry,
        offset: u64,
        len_max: usize,
        turn: &Turn<'_>,
    ) -> bool {
        let Some(shared) = turn.shared(offset, len_max) else { return false };
        if shared.len < LARGE_BYTES_MIN {
            return false;
        }
        match self.egress.send_shared(entry.slot, shared.file, shared.at, shared.len) {
            Ok(0) => {
                self.round.turned.push((entry.place, self.paths.without_file()));
                return false;
            }
            Ok(n) => self.shared_sent(entry, offset, shared.len, n, turn),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.block(entry);
            }
            Err(error) if is_about_the_file(&error) => {
                self.round.turned.push((entry.place, self.paths.without_file()));
                return false;
            }
            Err(_) => self.round.close.push((entry.place, CloseReason::Left)),
        }
        true
    }

    fn shared_sent(
        &mut self,
        entry: &mut Entry,
        offset: u64,
        len: usize,
        n: usize,
        turn: &Turn<'_>,
    ) {
        self.stats.sent(Path::Shared, n);
        self.round.at_once_bytes += n as u64;
        let end = offset + n as u64;
        if let Some(committed) = self.commits.reached(offset + len as u64) {
            self.stats.latency.record(self.now.since(committed).as_micros() as u64);
        }
        let rest = (end.next_multiple_of(crate::base::sizes::PACKET_BYTES as u64) - end) as usize;
        // A packet never crosses a slab's end, and these bytes are below the turn's head.
        let rest = if rest > 0 { turn.bytes(end, rest) } else { &[] };
        entry.viewer.ring_sent(n, rest, self.now);
        if n < len {
            self.block(entry);
        } else if end < turn.head() && self.round.again.last() != Some(&entry.place) {
            self.round.again.push(entry.place);
        }
    }

    fn block(&mut self, entry: &mut Entry) {
        entry.viewer.blocked(self.now);
        self.egress.want_writable(entry.slot);
    }

    /// A plain send of what stands in `out`; `Err` when the peer is gone.
    fn send_inline(&mut self, entry: &mut Entry, out: &[u8]) -> Result<(), ()> {
        let n = match self.egress.send_inline(entry.slot, out) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                // It may be planned once more in this turn, before it is closed: it waits.
                entry.viewer.inline_sent(out, 0, self.now);
                entry.viewer.blocked(self.now);
                return Err(());
            }
        };
        self.stats.sent(Path::Copy, n);
        entry.viewer.inline_sent(out, n, self.now);
        if n < out.len() {
            self.block(entry);
        }
        Ok(())
    }
}

/// Errors of reading the file, not of the peer's socket.
fn is_about_the_file(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::EIO | libc::EINVAL | libc::ENOMEM | libc::EBADF | libc::ENOSYS))
}
