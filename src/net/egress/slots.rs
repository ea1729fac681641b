//! The slab of sockets, each with the generation that tells its life from the one before.
//!
//! Invariants: a socket is open exactly while its entry is; an entry is used again only after
//! `remove`, which finds nothing of it with the kernel any more.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use super::Slot;
use crate::net::sock;

/// Indices and generations travel through the kernel in 24 bits each.
pub(super) const INDEX_BITS: u32 = 24;
const GENERATION_MASK: u32 = (1 << 24) - 1;

pub(super) struct Slots {
    entries: Vec<Entry>,
    free: Vec<u32>,
    slots_max: usize,
}

pub(super) struct Entry {
    /// None: free.
    fd: Option<OwnedFd>,
    pub(super) key: u64,
    generation: u32,
    /// Completions that the kernel still owes us: sends, polls, cancellations.
    pub(super) outstanding: u32,
    /// Notifications that it owes us: payloads it still reads although the send is complete.
    pub(super) notifications: u32,
    live: bool,
    pub(super) closing: bool,
    /// A send is not complete.
    pub(super) in_flight: bool,
    pub(super) hung_up: bool,
    shut: bool,
    pub(super) wants_writable: bool,
    /// epoll: there was room when we last heard, and no send has found it full since.
    pub(super) writable: bool,
}

impl Slots {
    pub(super) fn new(slots_max: usize) -> Self {
        let slots_max = slots_max.min(1 << INDEX_BITS);
        Self { entries: Vec::new(), free: Vec::new(), slots_max }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, fd: OwnedFd, key: u64) -> io::Result<Slot> {
        if self.len() >= self.slots_max {
            let text = format!("all {} slots are taken", self.slots_max);
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
        }
        let index = self.free.pop().unwrap_or(self.entries.len() as u32);
        if index as usize == self.entries.len() {
            self.entries.push(Entry::free(0));
            // All of them may be free at once: making room is done here, not at their end.
            self.free.reserve(self.entries.len());
        }
        let entry = &mut self.entries[index as usize];
        assert!(!entry.live, "a free slot is free");
        let generation = entry.generation;
        *entry = Entry { fd: Some(fd), key, live: true, ..Entry::free(generation) };
        Ok(Slot { index, generation })
    }

    /// None when the slot is dead.
    pub(super) fn get(&mut self, slot: Slot) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(slot.index())?;
        (entry.live && entry.generation == slot.generation).then_some(entry)
    }

    pub(super) fn each(&self, act: impl Fn(&Entry)) {
        self.entries.iter().filter(|entry| entry.live).for_each(act);
    }

    pub(super) fn expect(&mut self, slot: Slot) -> &mut Entry {
        self.get(slot).expect("the slot is not closed")
    }

    pub(super) fn fd_of(&self, slot: Slot) -> io::Result<BorrowedFd<'_>> {
        let entry = self.entries.get(slot.index());
        let entry = entry.filter(|entry| entry.live && entry.generation == slot.generation);
        entry.and_then(Entry::fd).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        let entry = self.expect(slot);
        assert_eq!((entry.outstanding, entry.notifications), (0, 0), "the kernel is done with it");
        *entry = Entry::free((slot.generation + 1) & GENERATION_MASK);
        self.free.push(slot.index);
    }

    pub(super) fn abandon(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| entry.live) {
            if let Some(fd) = entry.fd.take() {
                // An armed poll keeps the connection open behind our close: end it first.
                sock::disconnect(fd.as_fd());
            }
            *entry = Entry::free(entry.generation);
        }
        self.entries.clear();
        self.free.clear();
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            debug_assert_eq!(self.len(), 0, "sockets are closed, or abandoned, and never dropped");
        }
    }
}

impl Entry {
    fn free(generation: u32) -> Self {
        Self {
            fd: None,
            key: 0,
            generation,
            outstanding: 0,
            notifications: 0,
            live: false,
            closing: false,
            in_flight: false,
            hung_up: false,
            shut: false,
            wants_writable: false,
            writable: false,
        }
    }

    /// The socket, also while it closes.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn open_fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd().filter(|_| !self.closing)
    }

    /// Closes the socket so that the peer sees FIN: with unread bytes it would be RST.
    pub(super) fn close_fd(&mut self) {
        if let Some(fd) = self.fd.take() {
            sock::discard(fd.as_fd(), CLOSE_DISCARD_BYTES_MAX);
        }
    }

    /// FIN after what is queued; the peer's end is nobody's concern any more.
    pub(super) fn shut_down(&mut self) {
        if let Some(fd) = self.fd.as_ref().filter(|_| !self.shut) {
            sock::shut_down(fd.as_fd());
            self.shut = true;
        }
    }

    pub(super) fn note_sent(&mut self, result: &io::Result<usize>, len: usize) {
        if result.as_ref().map_or(true, |sent| *sent < len) {
            self.writable = false;
        }
    }
}

/// A client that sends more than this after its request is not owed a clean end.
const CLOSE_DISCARD_BYTES_MAX: usize = 64 * 1024;
