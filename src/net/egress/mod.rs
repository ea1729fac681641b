//! Sending to viewers: one interface, two drivers.
//!
//! A viewer's socket is an entry of a slab here, not a task. *uring* is a ring of our own beside
//! the runtime's (which knows no zero-copy sends); *epoll* is one epoll instance, where a send is
//! done at once. Both work in turns, and the same loop serves both:
//!
//! ```text
//! watch(wake_fd).readable().await · drain_wake · reap(events) · decide, send … · submit
//! ```
//!
//! A payload is sent by copy, or zero-copy: then the kernel reads it until the peer has acknowledged
//! it, long after the send itself is complete. Bytes that stand in a file too are sent from there at
//! once (`send_shared`), and a few bytes of the caller's own by `send_inline`.
//!
//! Invariants:
//! - One send is incomplete per slot; any number of complete ones may still be lent.
//! - Every payload is released exactly once, by `Sent` or by `Released`, before `Closed`; from then
//!   on the caller may `take_back` it, once.
//! - `Closed` is the last event of a slot; only then may its index be used again.
//! - A socket is closed after everything that the kernel still does with it has returned.
//! - Whatever becomes ready after `reap`, also within `submit`, makes `wake_fd` readable.
//!
//! It decides nothing: what to send, whom to close and when is its caller's.
#![expect(unsafe_code, reason = "the kernel reads payloads while they are in flight")]

mod buffers;
mod epoll;
mod lent;
mod slots;
#[cfg(test)]
mod tests;
mod uring;

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use self::epoll::Epoll;
use self::lent::Lent;
use self::lent::Loan;
pub use self::lent::SendId;
use self::slots::Slots;
use self::uring::Uring;
pub(super) use self::uring::probe as probe_ring;
use crate::net::sock;
use crate::net::sock::TcpInfo;
use crate::ring::Pinned;
use crate::ring::Region;

/// Room is made for so many sends of each slot that are not released yet, one of them incomplete.
const LENT_EACH: usize = 5;

/// Bytes that may be lent to the kernel.
///
/// # Safety
/// `as_slice` gives the same address and the same bytes from now until the value is dropped, also
/// after the value itself was moved.
pub unsafe trait Payload: 'static {
    fn as_slice(&self) -> &[u8];
}

// SAFETY: a `Pinned` stands for bytes below a ring's head, which are never written again, in a slab
// that the owner neither reuses nor gives back before `Reader::done` has taken the `Pinned`; the
// arena's mapping lives as long as the process. Moving it moves a pointer, not the bytes.
unsafe impl Payload for Pinned {
    fn as_slice(&self) -> &[u8] {
        Pinned::as_slice(self)
    }
}

/// The egress of a shard: it sends ranges of rings.
pub type RingEgress = Egress<Pinned>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// uring where the kernel lets us, else epoll.
    Auto,
    Uring,
    Epoll,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EgressConfig {
    pub driver: Driver,
    /// Sockets at once; `add` fails above it.
    pub slots_max: usize,
    /// Regions that may be registered for zero-copy; none: it is not wanted.
    pub buffers_max: u32,
}

/// How a payload gets to the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    Copy,
    /// From a registered buffer (see [`Egress::buffer`]). `report`: its `Released` says whether the
    /// kernel copied all the same.
    ZeroCopy {
        buffer: u16,
        report: bool,
    },
}

/// A viewer's place. Dead after its `Closed`, and then equal to no other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot {
    index: u32,
    generation: u32,
}

/// What became of something that was asked for. `key` is the one given to `add`.
#[derive(Debug)]
pub enum Event {
    /// A send is over: accepted bytes (perhaps not all of them), `WouldBlock`, or the error that
    /// the connection died of. `is_released`: the payload may be taken back.
    Sent {
        slot: Slot,
        key: u64,
        send: SendId,
        result: io::Result<usize>,
        is_released: bool,
    },
    /// The kernel has let go of the payload of an earlier send. `copied` as far as it was asked.
    Released {
        slot: Slot,
        key: u64,
        send: SendId,
        copied: Option<bool>,
    },
    Writable {
        slot: Slot,
        key: u64,
    },
    /// The peer is gone, or sends no more. Once per slot, which stays until it is closed.
    HungUp {
        slot: Slot,
        key: u64,
    },
    Closed {
        slot: Slot,
        key: u64,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EgressStats {
    /// System calls that submitted or collected.
    pub enters: u64,
    pub sends: u64,
    pub zero_copy_sends: u64,
    /// From a file.
    pub shared_sends: u64,
    pub inline_sends: u64,
    pub sent_bytes: u64,
    /// Sends that found the socket full.
    pub blocked: u64,
    pub hangups: u64,
    /// Times that the completion queue was full and the kernel had to keep completions back.
    pub overflows: u64,
}

/// The sockets of a shard's viewers. `!Send`: the kernel accepts calls of one thread only.
pub struct Egress<P: Payload> {
    // Dropped before the slots: a ring that is gone reads no payload.
    drive: Drive,
    core: Core<P>,
    _one_thread: PhantomData<*const ()>,
}

/// The driver that was chosen.
enum Drive {
    Uring(Box<Uring>),
    Epoll(Epoll),
}

/// What both drivers work on.
struct Core<P> {
    slots: Slots,
    lent: Lent<P>,
    /// Events that were known at once, for the next `reap`.
    ready: Vec<Event>,
    stats: EgressStats,
}

impl<P: Payload> Egress<P> {
    /// On the thread that will use it: the kernel remembers who made a ring.
    pub fn new(config: &EgressConfig) -> io::Result<Self> {
        let drive = match config.driver {
            Driver::Uring => Drive::Uring(Box::new(Uring::new(config.buffers_max)?)),
            Driver::Epoll => Drive::Epoll(Epoll::new()?),
            Driver::Auto => match Uring::new(config.buffers_max) {
                Ok(uring) => Drive::Uring(Box::new(uring)),
                Err(_) => Drive::Epoll(Epoll::new()?),
            },
        };
        let core = Core {
            slots: Slots::new(config.slots_max),
            lent: Lent::new(),
            ready: Vec::new(),
            stats: EgressStats::default(),
        };
        Ok(Self { drive, core, _one_thread: PhantomData })
    }

    /// Which driver it is; never `Auto`.
    pub fn driver(&self) -> Driver {
        match self.drive {
            Drive::Uring(_) => Driver::Uring,
            Drive::Epoll(_) => Driver::Epoll,
        }
    }

    /// Takes a connected socket over. From now on its `HungUp` is watched for.
    pub fn add(&mut self, fd: OwnedFd, key: u64) -> io::Result<Slot> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let slot = self.core.slots.insert(fd, key)?;
        match &mut self.drive {
            Drive::Uring(uring) => uring.watch(slot, &mut self.core),
            Drive::Epoll(epoll) => {
                if let Err(error) = epoll.watch(slot, &self.core) {
                    self.core.slots.remove(slot);
                    return Err(error);
                }
            }
        }
        // What a turn finds out at once, of each a send and room for more: made here, so that
        // sending allocates nothing.
        self.core.ready.reserve(2 * self.core.slots.len());
        let lent_each = if self.can_zero_copy() { LENT_EACH } else { 1 };
        self.core.lent.reserve(lent_each * self.core.slots.len());
        Ok(slot)
    }

    /// This ring can send without copying, as far as it says.
    pub fn can_zero_copy(&self) -> bool {
        match &self.drive {
            Drive::Uring(uring) => uring.can_zero_copy(),
            Drive::Epoll(_) => false,
        }
    }

    /// The buffer of a region, registered now when it was not. It takes some milliseconds then, and
    /// fails where memory may not be locked (ENOMEM, EPERM).
    pub fn buffer(&mut self, number: u32, region: Region) -> io::Result<u16> {
        match &mut self.drive {
            Drive::Uring(uring) => uring.buffer(number, region),
            Drive::Epoll(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sends as much of the payload as the socket takes; `Sent` says how much.
    ///
    /// # Panics
    /// With a send in flight on this slot, or on a dead slot.
    pub fn send(&mut self, slot: Slot, payload: P, via: Via) {
        let entry = self.core.slots.expect(slot);
        if entry.closing {
            let (key, result) = (entry.key, Err(io::Error::from_raw_os_error(libc::ECANCELED)));
            let send = self.core.lent.put(Loan { slot, payload, reports: false });
            self.core.ready.push(Event::Sent { slot, key, send, result, is_released: true });
            return;
        }
        assert!(!entry.in_flight, "one send at a time");
        self.core.stats.sends += 1;
        match &mut self.drive {
            Drive::Uring(uring) => uring.send(slot, payload, via, &mut self.core),
            Drive::Epoll(epoll) => epoll.send(slot, payload, &mut self.core),
        }
    }

    /// A payload that is lent, or released and not yet taken back.
    pub fn payload(&self, send: SendId) -> &P {
        &self.core.lent.get(send).payload
    }

    /// After the event that released it.
    pub fn take_back(&mut self, send: SendId) -> P {
        self.core.lent.take(send)
    }

    /// Payloads that were not taken back, and for which slot they were lent.
    pub fn lent(&self) -> impl Iterator<Item = (Slot, &P)> {
        self.core.lent.iter().map(|loan| (loan.slot, &loan.payload))
    }

    /// The kernel still reads something for this slot although the send of it is complete.
    pub fn is_lent(&mut self, slot: Slot) -> bool {
        self.core.slots.get(slot).is_some_and(|entry| entry.notifications > 0)
    }

    /// Sends `len` bytes from `at` of a file now, without copying them.
    ///
    /// # Panics
    /// With a send in flight on this slot, or on a dead slot.
    pub fn send_shared(
        &mut self,
        slot: Slot,
        file: BorrowedFd<'_>,
        at: u64,
        len: usize,
    ) -> io::Result<usize> {
        let entry = self.core.slots.expect(slot);
        let Some(fd) = entry.open_fd() else {
            return Err(io::Error::from_raw_os_error(libc::ECANCELED));
        };
        assert!(!entry.in_flight, "bytes would overtake each other");
        let result = sock::send_file(fd, file, at, len);
        entry.note_sent(&result, len);
        self.core.stats.sends += 1;
        self.core.stats.shared_sends += 1;
        self.core.stats.note(&result);
        result
    }

    /// Sends a few bytes now, from memory that stays the caller's.
    ///
    /// # Panics
    /// With a send in flight on this slot, or on a dead slot.
    pub fn send_inline(&mut self, slot: Slot, bytes: &[u8]) -> io::Result<usize> {
        let entry = self.core.slots.expect(slot);
        let Some(fd) = entry.open_fd() else {
            return Err(io::Error::from_raw_os_error(libc::ECANCELED));
        };
        assert!(!entry.in_flight, "bytes would overtake each other");
        let result = sock::send_now(fd, bytes);
        entry.note_sent(&result, bytes.len());
        self.core.stats.inline_sends += 1;
        self.core.stats.note(&result);
        result
    }

    /// `Writable` follows when there is room in the socket, once. Perhaps there is already.
    ///
    /// # Panics
    /// On a dead slot.
    pub fn want_writable(&mut self, slot: Slot) {
        let entry = self.core.slots.expect(slot);
        if entry.closing || entry.wants_writable {
            return;
        }
        entry.wants_writable = true;
        match &mut self.drive {
            Drive::Uring(uring) => uring.watch_writable(slot, &mut self.core),
            Drive::Epoll(epoll) => epoll.watch_writable(slot, &mut self.core),
        }
    }

    /// Closes with RST: what waits in the socket is thrown away and whatever the kernel still
    /// does for it ends at once, the reading of payloads too. After `close` it may come too late.
    pub fn abort(&mut self, slot: Slot) {
        if let Some(fd) = self.core.slots.get(slot).and_then(|entry| entry.fd()) {
            sock::disconnect(fd);
        }
        self.close(slot);
    }

    /// [`Self::abort`]s every slot that is closing and of which the kernel still reads something.
    pub fn abort_lingering(&mut self) {
        self.core.slots.each(|entry| {
            if let Some(fd) = entry.fd().filter(|_| entry.closing && entry.notifications > 0) {
                sock::disconnect(fd);
            }
        });
    }

    /// Closes in order: what the socket has taken still reaches the peer. `Closed` follows.
    pub fn close(&mut self, slot: Slot) {
        let Some(entry) = self.core.slots.get(slot) else { return };
        if entry.closing {
            return;
        }
        entry.closing = true;
        match &mut self.drive {
            Drive::Uring(uring) => uring.close(slot, &mut self.core),
            Drive::Epoll(epoll) => epoll.close(slot, &mut self.core),
        }
    }

    /// Hands everything to the kernel: the end of a turn.
    pub fn submit(&mut self) -> io::Result<()> {
        let has_news = !self.core.ready.is_empty();
        match &mut self.drive {
            Drive::Uring(uring) => uring.submit(has_news, &mut self.core.stats),
            Drive::Epoll(epoll) => {
                epoll.submit(has_news);
                Ok(())
            }
        }
    }

    /// Appends what has happened. Never waits.
    pub fn reap(&mut self, out: &mut Vec<Event>) {
        for event in self.core.ready.drain(..) {
            if let Event::Closed { slot, .. } = event {
                self.core.slots.remove(slot);
            }
            out.push(event);
        }
        match &mut self.drive {
            Drive::Uring(uring) => uring.reap(&mut self.core, out),
            Drive::Epoll(epoll) => epoll.reap(&mut self.core, out),
        }
    }

    /// Readable when there is something to reap.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        match &self.drive {
            Drive::Uring(uring) => uring.wake_fd(),
            Drive::Epoll(epoll) => epoll.wake_fd(),
        }
    }

    /// Before `reap`: what comes later wakes again.
    pub fn drain_wake(&mut self) {
        match &mut self.drive {
            Drive::Uring(uring) => uring.drain_wake(),
            Drive::Epoll(epoll) => epoll.drain_wake(),
        }
    }

    /// Slots that are not closed yet.
    pub fn len(&self) -> usize {
        self.core.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Payloads that were not taken back yet.
    pub fn in_flight(&self) -> usize {
        self.core.lent.len()
    }

    pub fn acked(&self, slot: Slot) -> io::Result<TcpInfo> {
        sock::tcp_info(self.core.slots.fd_of(slot)?)
    }

    /// Bytes accepted from us that the peer has not acknowledged yet.
    pub fn queued(&self, slot: Slot) -> io::Result<usize> {
        sock::queued(self.core.slots.fd_of(slot)?)
    }

    pub fn stats(&self) -> EgressStats {
        self.core.stats
    }

    /// After a caught panic: every peer gets RST, every socket is closed. What comes back are the
    /// payloads that were lent; nobody says any more when the kernel is done with them.
    pub fn abandon(self) -> Vec<P> {
        let Self { drive, mut core, _one_thread } = self;
        core.slots.abandon();
        drop(drive);
        core.lent.drain().collect()
    }
}

impl Slot {
    /// Less than the `slots_max` of its egress.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

impl EgressStats {
    fn note(&mut self, result: &io::Result<usize>) {
        match result {
            Ok(sent) => self.sent_bytes += *sent as u64,
            Err(error) => self.blocked += u64::from(error.kind() == io::ErrorKind::WouldBlock),
        }
    }
}
