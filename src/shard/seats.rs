//! How many there may be: viewers in all, viewers of one address, cold starts of one address; and
//! how many descriptors.
//!
//! Every shard takes seats from the same count, so that a limit holds exactly however many come at
//! once. A seat or a ticket is given back when it is dropped: with its viewer, with the start that
//! it was for, or with a request that fails on the way.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// The count of all shards. Touched when a viewer comes or goes, never with a byte.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    /// 0 = no limit of its own. A lower one closes nobody.
    max: AtomicUsize,
    taken: AtomicUsize,
    pub(crate) by_address: Arc<PerAddress>,
}

/// One viewer's; or several, of something that needs them all.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    count: usize,
    _ticket: Option<Ticket>,
}

/// Why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Full {
    Everywhere,
    OneAddress,
}

impl Seats {
    pub(crate) fn new(max: usize, per_address_max: usize) -> Self {
        let by_address = Arc::new(PerAddress::new(per_address_max));
        Self { max: AtomicUsize::new(max), taken: AtomicUsize::new(0), by_address }
    }

    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    /// `address` is what the viewer counts under, unless limits do not hold for it.
    pub(crate) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Seat, Full> {
        // From here on the seat gives itself back.
        let mut seat = self.take_many(1)?;
        seat._ticket = self.by_address.take(address).map_err(|AtLimit| Full::OneAddress)?;
        Ok(seat)
    }

    /// All of them or none.
    pub(crate) fn take_many(self: &Arc<Self>, count: usize) -> Result<Seat, Full> {
        let is_taken = more(&self.taken, count, self.max.load(Relaxed));
        is_taken.then(|| Seat { seats: self.clone(), count, _ticket: None }).ok_or(Full::Everywhere)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken.fetch_sub(self.count, Relaxed);
    }
}

/// How many of something each address has. Empty without a limit.
#[derive(Debug, Default)]
pub(crate) struct PerAddress {
    /// 0 = no limit.
    max: AtomicUsize,
    counts: Mutex<BTreeMap<IpAddr, usize>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Ticket {
    from: Arc<PerAddress>,
    address: IpAddr,
}

/// A start that counts against an address, or against none. Whoever joins it, while it is looked up or
/// later, shares it: it counts once, until nobody has it any more.
#[derive(Clone, Debug)]
pub(crate) struct Paid {
    _ticket: Option<Arc<Ticket>>,
}

impl Paid {
    pub(crate) fn new(ticket: Option<Ticket>) -> Self {
        Self { _ticket: ticket.map(Arc::new) }
    }
}

/// This address has as many as it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AtLimit;

impl PerAddress {
    pub(crate) fn new(max: usize) -> Self {
        Self { max: AtomicUsize::new(max), counts: Mutex::default() }
    }

    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    pub(crate) fn take(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Result<Option<Ticket>, AtLimit> {
        let max = self.max.load(Relaxed);
        let Some(address) = address.filter(|_| max > 0) else { return Ok(None) };
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= max {
            return Err(AtLimit);
        }
        *count += 1;
        Ok(Some(Ticket { from: self.clone(), address }))
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.from.counts();
        let left = counts.get_mut(&self.address).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            counts.remove(&self.address);
        }
    }
}

/// Counts one more, unless there are `max` already (0 = no limit).
pub(crate) fn one_more(count: &AtomicUsize, max: usize) -> bool {
    more(count, 1, max)
}

fn more(count: &AtomicUsize, n: usize, max: usize) -> bool {
    let room = |count: usize| (max == 0 || count + n <= max).then_some(count + n);
    count.fetch_update(Relaxed, Relaxed, room).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_seat_comes_back_when_it_is_dropped() {
        let seats = Arc::new(Seats::new(2, 0));
        let one = address("192.0.2.1");
        let first = seats.take(one).unwrap();
        let _second = seats.take(one).unwrap();
        assert_eq!(seats.take(one).unwrap_err(), Full::Everywhere);
        drop(first);
        assert!(seats.take(one).is_ok());
        assert!(seats.by_address.counts().is_empty());
    }

    #[test]
    fn an_address_has_its_own_limit() {
        let seats = Arc::new(Seats::new(0, 1));
        let household = address("2001:db8::");
        let first = seats.take(household).unwrap();
        assert_eq!(seats.take(household).unwrap_err(), Full::OneAddress);
        assert!(seats.take(address("192.0.2.1")).is_ok());
        assert!(seats.take(None).is_ok(), "a proxy stands for many");
        assert_eq!(seats.taken.load(Relaxed), 1, "a refused one takes nothing");
        drop(first);
        assert!(seats.take(household).is_ok());
        assert!(seats.by_address.counts().is_empty());
    }

    #[test]
    fn what_needs_several_gets_all_of_them_or_none() {
        let files = Arc::new(Seats::new(7, 0));
        let _viewer = files.take(None).unwrap();
        let stream = files.take_many(5).unwrap();
        assert_eq!(files.take_many(2).unwrap_err(), Full::Everywhere);
        assert_eq!(files.taken(), 6, "a refused one takes nothing");
        drop(stream);
        assert!(files.take_many(6).is_ok());
    }

    #[test]
    fn who_joins_a_start_keeps_it_counted_once() {
        let starts = Arc::new(PerAddress::new(1));
        let one = address("192.0.2.1");
        let paid = Paid::new(starts.take(one).unwrap());
        let joined = paid.clone();
        drop(paid);
        assert!(starts.take(one).is_err(), "somebody still waits for it");
        drop(joined);
        assert!(starts.take(one).is_ok());
    }

    #[test]
    fn a_new_limit_holds_for_those_who_come() {
        let seats = Arc::new(Seats::new(1, 0));
        let one = address("192.0.2.1");
        let _uncounted = seats.take(one).unwrap();
        seats.set_max(0);
        seats.by_address.set_max(1);
        let _counted = seats.take(one).unwrap();
        assert_eq!(seats.take(one).unwrap_err(), Full::OneAddress);
        seats.set_max(1);
        assert_eq!(seats.take(None).unwrap_err(), Full::Everywhere);
    }
}
