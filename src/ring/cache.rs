//! A shard's few slabs: it takes a batch from the arena at once and gives the surplus back.
//!
//! One per shard, never shared. Invariant: it holds at most two batches.

use super::arena::Arena;
use super::arena::Slab;

/// Slabs taken from the free list at once: 1.5 MB, half a second of a 20 Mbit/s stream.
const BATCH_SLABS_MAX: u32 = 8;

/// A small arena is not to be emptied into the caches of many shards: 32 MiB = 174 slabs give
/// batches of 2.
const ARENA_SLABS_PER_BATCH_SLAB: u32 = 64;

pub struct SlabCache {
    arena: &'static Arena,
    slabs: Vec<Slab>,
    batch: usize,
}

impl SlabCache {
    pub fn new(arena: &'static Arena) -> Self {
        let batch = (arena.slabs_total() / ARENA_SLABS_PER_BATCH_SLAB).clamp(1, BATCH_SLABS_MAX);
        let batch = batch as usize;
        Self { arena, slabs: Vec::with_capacity(2 * batch + 1), batch }
    }

    pub fn arena(&self) -> &'static Arena {
        self.arena
    }

    /// Slabs at hand.
    pub fn len(&self) -> usize {
        self.slabs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slabs.is_empty()
    }

    /// `after`: the slab that the stream is in. Its neighbour if that is here, so that one send may
    /// go on over the slab's end; else the lowest, whose own neighbours are the likeliest to be here
    /// next time. `spare`: what is kept back for condemned slabs is not touched.
    pub(super) fn take(&mut self, after: Option<u32>, spare: bool) -> Option<Slab> {
        if self.slabs.is_empty() {
            while self.slabs.len() < self.batch
                && let Some(slab) = self.arena.take(spare)
            {
                self.slabs.push(slab);
            }
        }
        let numbers = || self.slabs.iter().map(Slab::number).enumerate();
        let neighbour = after.and_then(|after| numbers().find(|(_, number)| *number == after + 1));
        let (place, _) = neighbour.or_else(|| numbers().min_by_key(|(_, number)| *number))?;
        Some(self.slabs.swap_remove(place))
    }

    pub(super) fn give(&mut self, slab: Slab) {
        self.slabs.push(slab);
        if self.slabs.len() > 2 * self.batch {
            for slab in self.slabs.drain(..self.batch) {
                self.arena.give(slab);
            }
        }
    }
}

impl Drop for SlabCache {
    fn drop(&mut self) {
        for slab in self.slabs.drain(..) {
            self.arena.give(slab);
        }
    }
}
