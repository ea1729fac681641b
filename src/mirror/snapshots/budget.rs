//! Which streams are copied: as many whole streams as the node's rate and memory in Redis allow,
//! those with the fewest viewers left out first.

use crate::base::ids::Infohash;
use std::collections::BTreeSet;
use std::time::Duration;

/// A stream whose bitrate is not measured yet: what a good channel has.
const BITRATE_UNKNOWN_BPS: u64 = 8_000_000;

/// What a node may write and keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    pub rate_bytes: u64,
    pub memory_bytes: u64,
    /// How long a chunk is kept.
    pub ttl: Duration,
}

/// A stream that could be copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    pub infohash: Infohash,
    pub viewers: usize,
    /// 0 while it is not known.
    pub bitrate_bps: u64,
    /// It is copied now: among equals it stays.
    pub is_chosen: bool,
}

impl Want {
    fn rate_bytes(&self) -> u64 {
        let known = self.bitrate_bps > 0;
        (if known { self.bitrate_bps } else { BITRATE_UNKNOWN_BPS }) / 8
    }

    fn memory_bytes(&self, ttl: Duration) -> u64 {
        self.rate_bytes().saturating_mul(ttl.as_secs().max(1))
    }
}

/// The streams that are copied. A stream that alone is more than the budget never is, and keeps no
/// other one out.
pub fn choose(wants: &[Want], limits: Limits) -> BTreeSet<Infohash> {
    let Limits { rate_bytes, memory_bytes, ttl } = limits;
    let fits =
        |want: &&Want| want.rate_bytes() <= rate_bytes && want.memory_bytes(ttl) <= memory_bytes;
    let mut ranked: Vec<&Want> = wants.iter().filter(fits).collect();
    ranked.sort_by_key(|want| {
        (std::cmp::Reverse(want.viewers), std::cmp::Reverse(want.is_chosen), want.infohash)
    });
    let (mut rate, mut memory) = (0_u64, 0_u64);
    let within = ranked.into_iter().take_while(|want| {
        rate = rate.saturating_add(want.rate_bytes());
        memory = memory.saturating_add(want.memory_bytes(ttl));
        rate <= rate_bytes && memory <= memory_bytes
    });
    within.map(|want| want.infohash).collect()
}
