//! Whom an operator keeps out for a while: a token's name, or an address.
//!
//! Looked at when a player asks, never with a byte. Bounded: of too many blocks the one that would
//! end first ends early.

use crate::base::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

const BLOCKS_MAX: usize = 4_096;

/// Who is meant when a viewer is kept out.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Person {
    /// Of a play token, wherever it is shown.
    Name(String),
    /// As limits count it: IPv6 by its /64.
    Address(IpAddr),
}

impl Person {
    /// None for a proxy that does not say for whom it asks: it stands for many.
    pub(crate) fn of(name: Option<&str>, address: Option<IpAddr>) -> Option<Self> {
        name.map(|name| Self::Name(name.to_owned())).or(address.map(Self::Address))
    }
}

#[derive(Default)]
pub(crate) struct Blocks(Mutex<BTreeMap<Person, Instant>>);

impl Blocks {
    pub(crate) fn put(&self, person: Person, until: Instant) {
        let mut blocks = self.lock();
        blocks.insert(person, until);
        if blocks.len() > BLOCKS_MAX {
            let first = blocks.iter().min_by_key(|(_, until)| **until);
            if let Some(first) = first.map(|(person, _)| person.clone()) {
                blocks.remove(&first);
            }
        }
    }

    /// The end of this person's block, if there is one.
    pub(crate) fn until(&self, person: Option<&Person>, now: Instant) -> Option<Instant> {
        let mut blocks = self.lock();
        if blocks.is_empty() {
            return None;
        }
        let person = person?;
        let until = *blocks.get(person)?;
        if until > now {
            return Some(until);
        }
        blocks.remove(person);
        None
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Person, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_block_ends_by_itself() {
        let blocks = Blocks::default();
        let alice = Person::of(Some("alice"), Some("192.0.2.1".parse().unwrap()));
        let address = Person::of(None, Some("192.0.2.1".parse().unwrap()));
        blocks.put(alice.clone().unwrap(), at(10));
        assert_eq!(blocks.until(alice.as_ref(), at(9)), Some(at(10)));
        assert_eq!(blocks.until(address.as_ref(), at(9)), None, "a name is not its address");
        assert_eq!(blocks.until(None, at(9)), None);
        assert_eq!(blocks.until(alice.as_ref(), at(10)), None);
        assert!(blocks.lock().is_empty());
    }

    #[test]
    fn of_too_many_the_first_to_end_goes() {
        let blocks = Blocks::default();
        let person = |n: u64| Person::Name(n.to_string());
        for n in 0..=BLOCKS_MAX as u64 {
            blocks.put(person(n), at(100 + n));
        }
        assert_eq!(blocks.lock().len(), BLOCKS_MAX);
        assert_eq!(blocks.until(Some(&person(0)), at(1)), None);
        assert!(blocks.until(Some(&person(1)), at(1)).is_some());
    }
}
