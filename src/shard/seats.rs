//! How many viewers there may be: in all, and of one address.
//!
//! Every shard takes seats from the same count, so that a limit holds exactly however many come at
//! once. A seat is given back when it is dropped: with its viewer, or with a request that fails
//! on the way.

use crate::http::addr::limit_key;
use crate::http::forwarded::Client;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// The count of all shards. Touched when a viewer comes or goes, never with a byte.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    /// 0 = no limit of its own.
    max: usize,
    per_address_max: usize,
    taken: AtomicUsize,
    /// Empty without a limit per address.
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
}

/// One viewer's.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    /// What it counts under, where that is limited.
    address: Option<IpAddr>,
}

/// Why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Full {
    Everywhere,
    OneAddress,
}

impl Seats {
    pub(crate) fn new(max: usize, per_address_max: usize) -> Self {
        Self { max, per_address_max, ..Self::default() }
    }

    pub(crate) fn take(self: &Arc<Self>, client: &Client) -> Result<Seat, Full> {
        if !one_more(&self.taken, self.max) {
            return Err(Full::Everywhere);
        }
        // From here on the seat gives itself back.
        let mut seat = Seat { seats: self.clone(), address: None };
        if self.per_address_max > 0 && !client.exempt {
            let address = limit_key(client.address);
            let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_address.entry(address).or_default();
            if *count >= self.per_address_max {
                drop(by_address);
                return Err(Full::OneAddress);
            }
            *count += 1;
            seat.address = Some(address);
        }
        Ok(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken.fetch_sub(1, Relaxed);
        let Some(address) = self.address else { return };
        let by_address = self.seats.by_address.lock();
        let mut by_address = by_address.unwrap_or_else(PoisonError::into_inner);
        let left = by_address.get_mut(&address).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            by_address.remove(&address);
        }
    }
}

/// Counts one more, unless there are `max` already (0 = no limit).
pub(crate) fn one_more(count: &AtomicUsize, max: usize) -> bool {
    let room = |count: usize| (max == 0 || count < max).then_some(count + 1);
    count.fetch_update(Relaxed, Relaxed, room).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str, exempt: bool) -> Client {
        Client { address: address.parse().unwrap(), exempt, behind_proxy: false }
    }

    #[test]
    fn a_seat_comes_back_when_it_is_dropped() {
        let seats = Arc::new(Seats::new(2, 0));
        let one = client("192.0.2.1", false);
        let first = seats.take(&one).unwrap();
        let _second = seats.take(&one).unwrap();
        assert_eq!(seats.take(&one).unwrap_err(), Full::Everywhere);
        drop(first);
        assert!(seats.take(&one).is_ok());
        assert!(seats.by_address.lock().unwrap().is_empty());
    }

    #[test]
    fn an_address_has_its_own_limit() {
        let seats = Arc::new(Seats::new(0, 1));
        let neighbours = [client("2001:db8::1", false), client("2001:db8::2", false)];
        let first = seats.take(&neighbours[0]).unwrap();
        assert_eq!(seats.take(&neighbours[1]).unwrap_err(), Full::OneAddress);
        assert!(seats.take(&client("192.0.2.1", false)).is_ok());
        assert!(seats.take(&client("2001:db8::3", true)).is_ok(), "a proxy stands for many");
        assert_eq!(seats.taken.load(Relaxed), 1, "a refused one takes nothing");
        drop(first);
        assert!(seats.take(&neighbours[1]).is_ok());
        assert!(seats.by_address.lock().unwrap().is_empty());
    }
}
