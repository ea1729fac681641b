//! Snapshots of a ring that a real writer fills.

mod choosing;
mod cutting;
mod reading;

use crate::base::ids::Infohash;

pub(super) fn id(n: u8) -> Infohash {
    Infohash::from_bytes([n; 20])
}
