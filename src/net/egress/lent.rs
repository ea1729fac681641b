//! What is lent to the kernel: every payload with a number that travels through the kernel.
//!
//! A zero-copy send is complete long before its payload may change, and several of one viewer are
//! under way at once, so payloads stand here and not in their sockets' slots. A payload leaves
//! only by [`Lent::take`], which the caller calls after the event that released it.
//!
//! It allocates only when more is lent at once than ever before.

use super::Slot;

/// A send under way, or one whose payload was not taken back yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SendId(pub(super) u32);

pub(super) struct Lent<P> {
    entries: Vec<Option<Loan<P>>>,
    free: Vec<u32>,
}

pub(super) struct Loan<P> {
    pub(super) slot: Slot,
    pub(super) payload: P,
    /// It was asked whether the kernel copied.
    pub(super) reports: bool,
}

impl<P> Lent<P> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    /// Room for so many in all.
    pub(super) fn reserve(&mut self, loans: usize) {
        self.entries.reserve(loans.saturating_sub(self.entries.len()));
        self.free.reserve(loans.saturating_sub(self.free.len()));
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn put(&mut self, loan: Loan<P>) -> SendId {
        let number = self.free.pop().unwrap_or(self.entries.len() as u32);
        if number as usize == self.entries.len() {
            self.entries.push(None);
        }
        let before = self.entries[number as usize].replace(loan);
        assert!(before.is_none(), "a free number is free");
        SendId(number)
    }

    pub(super) fn get(&self, id: SendId) -> &Loan<P> {
        let entry = self.entries[id.0 as usize].as_ref();
        entry.expect("a send is known until its payload is taken back")
    }

    pub(super) fn take(&mut self, id: SendId) -> P {
        let entry = self.entries[id.0 as usize].take();
        self.free.push(id.0);
        entry.expect("a payload is taken back once").payload
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Loan<P>> {
        self.entries.iter().flatten()
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = P> {
        self.free.clear();
        self.entries.drain(..).flatten().map(|loan| loan.payload)
    }
}

impl<P> Drop for Lent<P> {
    fn drop(&mut self) {
        for entry in self.entries.drain(..) {
            // The kernel may still read it: leaked is better than changed.
            std::mem::forget(entry);
        }
    }
}
