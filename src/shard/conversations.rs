//! Connections that are no viewers (yet): their head is read, or a page is written.
//!
//! Those whose head has not come are remembered in the order in which they came: when there is no
//! place for a newcomer, the one that has kept silent for longest goes. Invariant: `silent` holds
//! exactly those whose head may still come.

use crate::base::time::Instant;
use crate::net::Closer;
use crate::shard::seats::Seat;
use slab::Slab;
use std::collections::BTreeMap;
use std::time::Duration;

/// Of a player the request comes with its connection, or a round trip later.
const SILENCE_MIN: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(crate) struct Conversations {
    all: Slab<Conversation>,
    /// By number, which is the order of their coming.
    silent: BTreeMap<u64, usize>,
    last: u64,
}

struct Conversation {
    closer: Closer,
    /// Its place among all connections, until a viewer or a newcomer takes it along.
    socket: Option<Seat>,
    since: Instant,
    number: u64,
    /// What it is closed on, so that only so many are at once.
    _leaving: Option<Seat>,
}

impl Conversations {
    pub(crate) fn insert(&mut self, closer: Closer, socket: Seat, since: Instant) -> usize {
        self.last += 1;
        let number = self.last;
        let one = Conversation { closer, socket: Some(socket), since, number, _leaving: None };
        let key = self.all.insert(one);
        self.silent.insert(number, key);
        key
    }

    /// Its head is complete, or was refused: it is answered. False when it had to go before that.
    pub(crate) fn heard(&mut self, key: usize) -> bool {
        self.silent.remove(&self.all[key].number);
        self.all[key].socket.is_some()
    }

    /// Ends the one that has been silent for longest and takes its place; its descriptor lives until
    /// its task has noticed, and has its place in `leaving` until then.
    pub(crate) fn evict(&mut self, leaving: Seat, now: Instant) -> Option<Seat> {
        let first = self.silent.first_entry()?;
        if now.since(self.all[*first.get()].since) < SILENCE_MIN {
            return None;
        }
        let one = &mut self.all[first.remove()];
        one.closer.shutdown();
        one._leaving = Some(leaving);
        one.socket.take()
    }

    /// A conversation ends in one viewer at most.
    pub(crate) fn take_socket(&mut self, key: usize) -> Seat {
        self.all[key].socket.take().expect("it was heard, and is a viewer once")
    }

    pub(crate) fn remove(&mut self, key: usize) {
        let gone = self.all.remove(key);
        self.silent.remove(&gone.number);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whoever only keeps a connection is not waited for.
    pub(crate) fn end_the_silent(&self) {
        self.all.iter().for_each(|(_, one)| one.closer.shutdown_read());
    }
}
