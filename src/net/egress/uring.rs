//! The driver on a ring of our own, with completions deferred until we ask for them.
//!
//! Every operation carries {index, generation, kind} through the kernel. An entry counts the
//! completions it is owed; a socket is closed when a cancellation of everything on it has brought
//! that count to zero, because with a poll still armed close() would tell the peer nothing.
//!
//! Three things that look like improvements and are not: watching the ring's own descriptor
//! instead of an eventfd (stalls), waiting for one completion when collecting (starves
//! notifications), and collecting while the kernel says that there is more to run (spins).

use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use io_uring::IoUring;
use io_uring::cqueue;
use io_uring::opcode;
use io_uring::squeue;
use io_uring::types;

use super::Core;
use super::EgressStats;
use super::Event;
use super::Loan;
use super::Payload;
use super::SendId;
use super::Slot;
use super::Via;
use super::buffers::Buffers;
use super::slots::INDEX_BITS;
use crate::net::bell;
use crate::ring::Region;

const SQ_ENTRIES: u32 = 1024;
/// A send, a hang-up and a cancellation of some thousand viewers at once; beyond it the kernel
/// keeps completions back (counted).
const CQ_ENTRIES: u32 = 16_384;
/// Entries handed over per system call.
const SUBMIT_MAX: usize = 64;
/// "All there is": with a small number the kernel leaves deferred work undone.
const COLLECT_ALL: usize = CQ_ENTRIES as usize;
const GENERATION_MASK: u64 = (1 << 24) - 1;

/// Completion flags of the kernel's.
const MORE: u32 = 1 << 1;
const NOTIFICATION: u32 = 1 << 3;
/// Asked of a zero-copy send, and the answer in the result of its notification.
const REPORT_USAGE: u16 = 1 << 3;
const USAGE_COPIED: i32 = i32::MIN;

pub(super) struct Uring {
    ring: IoUring,
    /// Signalled by the kernel when there is a completion, or work that leads to one.
    eventfd: OwnedFd,
    buffers: Buffers,
    can_zero_copy: bool,
    /// Entries that did not fit, in order. Empty but for moments.
    backlog: Vec<squeue::Entry>,
    /// Slots whose watch ended although nobody left.
    unwatched: Vec<Slot>,
}

/// What an operation was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Send = 0,
    HangUp = 1,
    Writable = 2,
    Cancel = 3,
}

/// The kernel has SEND_ZC. Whether a container lets us is seen at the first one.
fn knows_zero_copy(ring: &IoUring) -> bool {
    let mut probe = io_uring::Probe::new();
    let is_probed = ring.submitter().register_probe(&mut probe).is_ok();
    is_probed && probe.is_supported(opcode::SendZc::CODE)
}

/// A small ring like the real one, to find out what the kernel allows. An error is an errno.
pub(in crate::net) fn probe() -> Result<IoUring, i32> {
    build(8, 16).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
}

fn build(sq_entries: u32, cq_entries: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_cqsize(cq_entries)
        .dontfork()
        .build(sq_entries)
}

impl Uring {
    pub(super) fn new(buffers_max: u32) -> io::Result<Self> {
        Self::with_entries(SQ_ENTRIES, CQ_ENTRIES, buffers_max)
    }

    pub(super) fn with_entries(
        sq_entries: u32,
        cq_entries: u32,
        buffers_max: u32,
    ) -> io::Result<Self> {
        let ring = build(sq_entries, cq_entries)?;
        let eventfd = bell::eventfd()?;
        ring.submitter().register_eventfd(eventfd.as_raw_fd())?;
        let buffers = Buffers::new(&ring, buffers_max);
        let can_zero_copy = buffers.is_there() && knows_zero_copy(&ring);
        let (backlog, unwatched) = (Vec::new(), Vec::new());
        Ok(Self { ring, eventfd, buffers, can_zero_copy, backlog, unwatched })
    }

    pub(super) fn can_zero_copy(&self) -> bool {
        self.can_zero_copy
    }

    pub(super) fn buffer(&mut self, number: u32, region: Region) -> io::Result<u16> {
        self.buffers.ready(&self.ring, number, region)
    }

    pub(super) fn watch<P>(&mut self, slot: Slot, core: &mut Core<P>) {
        let events = (libc::POLLRDHUP | libc::POLLERR | libc::POLLHUP) as u32;
        self.operate(slot, Kind::HangUp, core, |fd| {
            opcode::PollAdd::new(types::Fd(fd), events).multi(true).build()
        });
    }

    pub(super) fn send<P: Payload>(
        &mut self,
        slot: Slot,
        payload: P,
        via: Via,
        core: &mut Core<P>,
    ) {
        let bytes = payload.as_slice();
        let (start, len) = (bytes.as_ptr(), u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let reports = matches!(via, Via::ZeroCopy { report: true, .. });
        let send = core.lent.put(Loan { slot, payload, reports });
        // Without DONTWAIT the kernel parks a send that does not fit, whatever O_NONBLOCK says.
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let entry = core.slots.expect(slot);
        entry.in_flight = true;
        entry.outstanding += 1;
        let fd = types::Fd(entry.fd().expect("an open slot has its socket").as_raw_fd());
        let operation = match via {
            Via::Copy => opcode::Send::new(fd, start, len).flags(flags).build(),
            Via::ZeroCopy { buffer, .. } => {
                core.stats.zero_copy_sends += 1;
                let zc_flags = if reports { REPORT_USAGE } else { 0 };
                opcode::SendZc::new(fd, start, len)
                    .flags(flags)
                    .buf_index(Some(buffer))
                    .zc_flags(zc_flags)
                    .build()
            }
        };
        let user_data = u64::from(send.0) << 16 | Kind::Send as u64;
        self.push(operation.user_data(user_data), &mut core.stats);
    }

    pub(super) fn watch_writable<P>(&mut self, slot: Slot, core: &mut Core<P>) {
        self.operate(slot, Kind::Writable, core, |fd| {
            opcode::PollAdd::new(types::Fd(fd), libc::POLLOUT as u32).build()
        });
    }

    /// The entry is marked closing. The socket is closed by `settle`.
    pub(super) fn close<P>(&mut self, slot: Slot, core: &mut Core<P>) {
        self.operate(slot, Kind::Cancel, core, |fd| {
            opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fd(fd)).all()).build()
        });
    }

    fn operate<P>(
        &mut self,
        slot: Slot,
        kind: Kind,
        core: &mut Core<P>,
        entry_for: impl FnOnce(RawFd) -> squeue::Entry,
    ) {
        let entry = core.slots.expect(slot);
        let fd = entry.fd().expect("a slot has its socket until all has returned").as_raw_fd();
        entry.outstanding += 1;
        let operation = entry_for(fd).user_data(pack(slot, kind));
        self.push(operation, &mut core.stats);
    }

    fn push(&mut self, operation: squeue::Entry, stats: &mut EgressStats) {
        if self.backlog.is_empty() && self.ring.submission().is_full() {
            // What is wrong will be wrong again in `submit`, and told there.
            let _ = self.flush(stats);
        }
        if !self.backlog.is_empty() || !self.try_push(&operation) {
            self.backlog.push(operation);
        }
    }

    fn try_push(&mut self, operation: &squeue::Entry) -> bool {
        // SAFETY: the descriptor stays open until the entry's outstanding completions, of which
        // this operation is one, have all come. A payload stays in its slot until its completion
        // (or, without one, is leaked), and `Payload` promises that moving it about in there
        // moves no byte of it.
        unsafe { self.ring.submission().push(operation) }.is_ok()
    }

    pub(super) fn submit(&mut self, has_news: bool, stats: &mut EgressStats) -> io::Result<()> {
        if has_news {
            bell::signal(self.eventfd.as_fd());
        }
        while !self.backlog.is_empty() {
            self.flush(stats)?;
            let backlog = std::mem::take(&mut self.backlog);
            let before = backlog.len();
            for operation in backlog {
                self.push(operation, stats);
            }
            if self.backlog.len() == before {
                break;
            }
        }
        self.flush(stats)
    }

    /// Hands over what stands in the queue. What the kernel has no room for stays there.
    fn flush(&mut self, stats: &mut EgressStats) -> io::Result<()> {
        loop {
            let waiting = self.ring.submission().len().min(SUBMIT_MAX);
            if waiting == 0 {
                return Ok(());
            }
            stats.enters += 1;
            // SAFETY: no argument is passed; the entries were vouched for when they were pushed.
            let entered = unsafe {
                self.ring.submitter().enter::<libc::sigset_t>(waiting as u32, 0, 0, None)
            };
            match entered {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::EBUSY) => {
                        // Collect first, then again: come back at once.
                        bell::signal(self.eventfd.as_fd());
                        return Ok(());
                    }
                    Some(_) | None => return Err(error),
                },
            }
        }
    }

    pub(super) fn reap<P>(&mut self, core: &mut Core<P>, out: &mut Vec<Event>) {
        if core.slots.len() == 0 {
            return;
        }
        // Collecting hands over as well, but without our limit.
        let _ = self.flush(&mut core.stats);
        loop {
            self.run_deferred(&mut core.stats);
            let Self { ring, unwatched, .. } = self;
            for completion in ring.completion() {
                complete(&completion, core, out, unwatched);
            }
            if !ring.submission().cq_overflow() {
                break;
            }
            core.stats.overflows += 1;
        }
        while let Some(slot) = self.unwatched.pop() {
            if core.slots.get(slot).is_some_and(|entry| !entry.closing) {
                self.watch(slot, core);
            }
        }
    }

    /// Lets the kernel do the work that it put off for us, and wait for nothing.
    fn run_deferred(&mut self, stats: &mut EgressStats) {
        stats.enters += 1;
        let at_once = types::Timespec::new();
        let args = types::SubmitArgs::new().timespec(&at_once);
        // Nearly always an error, ETIME; on any other (EINTR) the eventfd stays to be drained or
        // the next turn comes by: nothing that is complete is lost.
        let _ = self.ring.submitter().submit_with_args(COLLECT_ALL, &args);
    }

    pub(super) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    pub(super) fn drain_wake(&mut self) {
        bell::drain(self.eventfd.as_fd());
    }
}

fn complete<P>(
    completion: &cqueue::Entry,
    core: &mut Core<P>,
    out: &mut Vec<Event>,
    unwatched: &mut Vec<Slot>,
) {
    let is_last = completion.flags() & MORE == 0;
    let is_notification = completion.flags() & NOTIFICATION != 0;
    let (kind, send, slot) = match unpack(completion.user_data()) {
        Operation::Send(send) => (Kind::Send, send, core.lent.get(send).slot),
        Operation::Other(kind, slot) => (kind, SendId(u32::MAX), slot),
    };
    let Some(entry) = core.slots.get(slot) else {
        debug_assert!(false, "a slot outlives what it is owed: {slot:?} {kind:?}");
        return;
    };
    let key = entry.key;
    match kind {
        Kind::Send if is_notification => {
            entry.notifications -= 1;
            let is_copied = completion.result() & USAGE_COPIED != 0;
            let copied = core.lent.get(send).reports.then_some(is_copied);
            out.push(Event::Released { slot, key, send, copied });
        }
        Kind::Send => {
            entry.outstanding -= 1;
            entry.in_flight = false;
            let result = match usize::try_from(completion.result()) {
                Ok(sent) => Ok(sent),
                Err(_) => Err(io::Error::from_raw_os_error(-completion.result())),
            };
            core.stats.note(&result);
            entry.notifications += u32::from(!is_last);
            out.push(Event::Sent { slot, key, send, result, is_released: is_last });
        }
        Kind::HangUp => {
            entry.outstanding -= u32::from(is_last);
            let is_cancelled = completion.result() == -libc::ECANCELED;
            if !entry.closing && !entry.hung_up && !is_cancelled {
                entry.hung_up = true;
                core.stats.hangups += 1;
                out.push(Event::HungUp { slot, key });
            } else if is_last && is_cancelled && !entry.closing {
                unwatched.push(slot);
            }
        }
        Kind::Writable => {
            entry.outstanding -= 1;
            entry.wants_writable = false;
            if !entry.closing {
                out.push(Event::Writable { slot, key });
            }
        }
        Kind::Cancel => entry.outstanding -= 1,
    }
    settle(slot, core, out);
}

/// Closes the socket when nothing is with the kernel any more. While it still reads something, the
/// socket is only shut down: what it has taken reaches the peer, and it can still be aborted.
fn settle<P>(slot: Slot, core: &mut Core<P>, out: &mut Vec<Event>) {
    let entry = core.slots.expect(slot);
    if !entry.closing || entry.outstanding > 0 {
        return;
    }
    if entry.notifications > 0 {
        entry.shut_down();
        return;
    }
    entry.close_fd();
    let key = entry.key;
    core.slots.remove(slot);
    out.push(Event::Closed { slot, key });
}

fn pack(slot: Slot, kind: Kind) -> u64 {
    u64::from(slot.index) << (64 - INDEX_BITS) | u64::from(slot.generation) << 16 | kind as u64
}

/// What a completion is of. A send names its payload, which knows its slot.
enum Operation {
    Send(SendId),
    Other(Kind, Slot),
}

fn unpack(user_data: u64) -> Operation {
    let index = (user_data >> (64 - INDEX_BITS)) as u32;
    let generation = (user_data >> 16 & GENERATION_MASK) as u32;
    let kind = match user_data & 0xFF {
        0 => return Operation::Send(SendId((user_data >> 16) as u32)),
        1 => Kind::HangUp,
        2 => Kind::Writable,
        3 => Kind::Cancel,
        other => unreachable!("no operation is of kind {other}"),
    };
    Operation::Other(kind, Slot { index, generation })
}
