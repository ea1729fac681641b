//! The driver for kernels that forbid io_uring: one epoll instance, every socket registered once,
//! edge-triggered, and every send done at once.
//!
//! An edge may come before anybody wants it, so the entry remembers: `writable` is set by an edge
//! and unset by a send that did not fit. What a peer sends after its request is never asked for
//! and therefore never wakes us.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::event::epoll::EventData;
use rustix::event::epoll::EventFlags;

use super::Core;
use super::Event;
use super::Loan;
use super::Payload;
use super::Slot;
use crate::net::bell;
use crate::net::sock;

/// Events per system call.
const BATCH: usize = 1024;
const KICK: u64 = u64::MAX;
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

pub(super) struct Epoll {
    epoll: OwnedFd,
    /// Makes the instance readable for events that were known at once.
    kick: OwnedFd,
    is_kicked: bool,
    batch: Vec<epoll::Event>,
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let kick = bell::eventfd()?;
        epoll::add(&epoll, &kick, EventData::new_u64(KICK), EventFlags::IN)?;
        Ok(Self { epoll, kick, is_kicked: false, batch: Vec::with_capacity(BATCH) })
    }

    pub(super) fn watch<P>(&mut self, slot: Slot, core: &Core<P>) -> io::Result<()> {
        let data = u64::from(slot.index) << 32 | u64::from(slot.generation);
        let flags = EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let fd = core.slots.fd_of(slot)?;
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(data), flags)?)
    }

    pub(super) fn send<P: Payload>(&mut self, slot: Slot, payload: P, core: &mut Core<P>) {
        let entry = core.slots.expect(slot);
        let bytes = payload.as_slice();
        let fd = entry.open_fd().expect("an open slot has its socket");
        let result = sock::send_now(fd, bytes);
        entry.note_sent(&result, bytes.len());
        core.stats.note(&result);
        let key = entry.key;
        let send = core.lent.put(Loan { slot, payload, reports: false });
        core.ready.push(Event::Sent { slot, key, send, result, is_released: true });
    }

    pub(super) fn watch_writable<P>(&mut self, slot: Slot, core: &mut Core<P>) {
        let entry = core.slots.expect(slot);
        if entry.writable {
            entry.wants_writable = false;
            core.ready.push(Event::Writable { slot, key: entry.key });
        }
    }

    pub(super) fn close<P>(&mut self, slot: Slot, core: &mut Core<P>) {
        let entry = core.slots.expect(slot);
        if let Some(fd) = entry.fd() {
            // Its events end here even if somebody else has the same file open.
            let _ = epoll::delete(&self.epoll, fd);
        }
        entry.close_fd();
        core.ready.push(Event::Closed { slot, key: entry.key });
    }

    pub(super) fn submit(&mut self, has_news: bool) {
        if has_news && !self.is_kicked {
            self.is_kicked = true;
            bell::signal(self.kick.as_fd());
        }
    }

    pub(super) fn reap<P>(&mut self, core: &mut Core<P>, out: &mut Vec<Event>) {
        loop {
            self.batch.clear();
            core.stats.enters += 1;
            match epoll::wait(&self.epoll, spare_capacity(&mut self.batch), Some(&NOW)) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => panic!("epoll_wait on our own instance: {errno}"),
            }
            for event in &self.batch {
                let data = event.data.u64();
                if data != KICK {
                    let slot = Slot { index: (data >> 32) as u32, generation: data as u32 };
                    announce(slot, event.flags, core, out);
                }
            }
            if self.batch.len() < BATCH {
                return;
            }
        }
    }

    pub(super) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    pub(super) fn drain_wake(&mut self) {
        if self.is_kicked {
            self.is_kicked = false;
            bell::drain(self.kick.as_fd());
        }
    }
}

fn announce<P>(slot: Slot, flags: EventFlags, core: &mut Core<P>, out: &mut Vec<Event>) {
    // None: it was closed while this event was on its way.
    let Some(entry) = core.slots.get(slot).filter(|entry| !entry.closing) else { return };
    let key = entry.key;
    let ends = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
    if flags.intersects(ends) && !entry.hung_up {
        entry.hung_up = true;
        core.stats.hangups += 1;
        out.push(Event::HungUp { slot, key });
    }
    // On a dead socket nothing waits: the next send says why.
    if flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR) {
        entry.writable = true;
        if entry.wants_writable {
            entry.wants_writable = false;
            out.push(Event::Writable { slot, key });
        }
    }
}
