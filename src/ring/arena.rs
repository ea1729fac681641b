//! The arena: all packet memory of the process, as slabs with numbers.
//!
//! Address space is reserved once and lives as long as the process. Regions of at most
//! `region_bytes_max` are committed when the first slab of them is needed, so that an idle
//! process stays small. It never waits for anybody on the way of a byte: a slab is there or not.
//!
//! Invariants: a slab is in exactly one place (the free list, a [`SlabCache`], a writer's live or
//! condemned list, or lost), and [`Slab`] is the evidence; the promises and the charges for twins
//! stay together within the budget less one sixteenth, which is kept back for condemned slabs;
//! as many slabs as are charged stay unused.
//!
//! [`SlabCache`]: super::SlabCache

use super::budget::Budget;
use super::free_list::FreeList;
use super::holds::Holds;
use super::mapping::Mapping;
use super::reader::Pinned;
use super::sync::AtomicU32;
use super::sync::Mutex;
use super::sync::Ordering;
use super::sync::Shadow;
use super::sync::lock;
use crate::base::sizes::PACKET_BYTES;
use crate::base::sizes::slab_bytes;
use crossbeam_utils::CachePadded;
use std::io;

/// One part of this many is kept back for condemned slabs.
const RESERVE_PART: u32 = 16;

/// Fewer slabs than this are no arena: nothing could be kept back of them.
const SLABS_MIN: u64 = 16;

#[derive(Clone, Debug)]
pub struct ArenaConfig {
    pub budget_bytes: u64,
    /// Of the host; decides the size of a slab.
    pub page_bytes: usize,
    /// A region is what is committed, and registered with a kernel ring, at once.
    pub region_bytes_max: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    #[error("a page size of {0} bytes (a power of two from 4096 up was expected)")]
    Page(usize),
    #[error("the memory budget of {bytes} bytes holds {slabs} slabs, fewer than {SLABS_MIN}")]
    Small { bytes: u64, slabs: u64 },
    #[error("the memory budget of {0} bytes is more than can be numbered")]
    Large(u64),
    #[error("reserving {bytes} bytes of address space: {source}")]
    Reserve { bytes: usize, source: io::Error },
}

pub struct Arena {
    mapping: Mapping,
    layout: Layout,
    reserve: u32,
    free_list: FreeList,
    /// By slab: operations in flight of the rings' readers.
    pub(super) holds: Holds,
    /// On the free list or not yet committed. Behind the list's truth by a moment.
    free: CachePadded<AtomicU32>,
    budget: Budget,
    page_bytes: usize,
    regions_committed: AtomicU32,
    /// Held while a region is committed.
    committing: Mutex<()>,
    lost: AtomicU32,
    shadow: Shadow,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) slab_bytes: usize,
    pub(super) slabs_total: u32,
    pub(super) slabs_per_region: u32,
}

impl Arena {
    /// Once in the life of a process: the address space is never given back.
    pub fn reserve(config: &ArenaConfig) -> Result<&'static Self, ArenaError> {
        let page = config.page_bytes;
        if !page.is_power_of_two() || page < 4_096 {
            return Err(ArenaError::Page(page));
        }
        let slab_bytes = slab_bytes(page);
        let slabs = config.budget_bytes / slab_bytes as u64;
        if slabs < SLABS_MIN {
            return Err(ArenaError::Small { bytes: config.budget_bytes, slabs });
        }
        let large = || ArenaError::Large(config.budget_bytes);
        let slabs_total = u32::try_from(slabs).map_err(|_| large())?;
        usize::try_from(config.budget_bytes).map_err(|_| large())?;
        let per_region = (config.region_bytes_max / slab_bytes).clamp(1, slabs_total as usize);
        let layout = Layout { slab_bytes, slabs_total, slabs_per_region: per_region as u32 };
        let reserved_bytes = slab_bytes * slabs_total as usize;
        Self::build(layout, page)
            .map_err(|source| ArenaError::Reserve { bytes: reserved_bytes, source })
    }

    pub(super) fn build(layout: Layout, page_bytes: usize) -> io::Result<&'static Self> {
        assert!(layout.slab_bytes.is_multiple_of(PACKET_BYTES));
        let bytes = layout.slab_bytes * layout.slabs_total as usize;
        let reserve = layout.slabs_total / RESERVE_PART;
        Ok(Box::leak(Box::new(Self {
            mapping: Mapping::reserve(bytes, page_bytes)?,
            layout,
            reserve,
            free_list: FreeList::new(layout.slabs_total),
            holds: Holds::new(layout.slabs_total),
            free: CachePadded::new(AtomicU32::new(layout.slabs_total)),
            budget: Budget::new(layout.slabs_total - reserve),
            page_bytes,
            regions_committed: AtomicU32::new(0),
            committing: Mutex::new(()),
            lost: AtomicU32::new(0),
            shadow: Shadow::new(bytes),
        })))
    }

    pub fn slab_bytes(&self) -> usize {
        self.layout.slab_bytes
    }

    pub fn slabs_total(&self) -> u32 {
        self.layout.slabs_total
    }

    /// Neither in a ring nor in a shard's cache. An estimate while others take and give.
    pub fn slabs_free(&self) -> u32 {
        self.free.load(Ordering::Relaxed)
    }

    pub fn slabs_promised(&self) -> u32 {
        self.budget.promised()
    }

    /// Never used again, because a reader went away with operations in flight on them.
    pub fn slabs_lost(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }

    pub fn committed_bytes(&self) -> u64 {
        self.regions().map(|region| region.bytes as u64).sum()
    }

    /// Admission: a stream opens only with its smallest memory promised. None: there is no room
    /// for one more.
    pub fn promise(&'static self, bytes: u64) -> Option<Promise> {
        let slabs = u32::try_from(bytes.div_ceil(self.layout.slab_bytes as u64)).ok()?;
        self.budget.promise(slabs).then(|| Promise { arena: self, slabs })
    }

    /// Charged to the twins of rings: memory of the budget that is not in slabs.
    pub fn twin_bytes(&self) -> u64 {
        u64::from(self.budget.charged()) * self.layout.slab_bytes as u64
    }

    /// All or nothing, from what is free and not kept back.
    pub(super) fn charge(&'static self, slabs: u64) -> Option<Charge> {
        let slabs = u32::try_from(slabs).ok()?;
        let room = || self.slabs_free().saturating_sub(self.reserve);
        self.budget.charge(slabs, room).then(|| Charge { arena: self, slabs })
    }

    /// Of the host, or what a test pretends it to be.
    pub(super) fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// The committed regions, in the order of their numbers; later ones are appended.
    pub fn regions(&self) -> impl Iterator<Item = Region> + '_ {
        (0..self.regions_committed.load(Ordering::Acquire)).map(|number| self.region(number))
    }

    /// How many there can be.
    pub fn regions_max(&self) -> u32 {
        self.layout.slabs_total.div_ceil(self.layout.slabs_per_region)
    }

    /// The second slab begins where the first ends, and they are registered as one.
    #[inline]
    pub(super) fn are_neighbours(&self, slab: u32, next: u32) -> bool {
        next == slab + 1 && !next.is_multiple_of(self.layout.slabs_per_region)
    }

    /// The number of the region (its place in [`Arena::regions`]) that these bytes lie in.
    pub fn region_of(&self, pinned: &Pinned) -> u32 {
        let at = pinned.ptr().addr() - self.mapping.pointer(0).addr();
        (at / self.layout.slab_bytes) as u32 / self.layout.slabs_per_region
    }

    /// A committed region, by its number.
    pub fn region(&self, number: u32) -> Region {
        let first = number * self.layout.slabs_per_region;
        let slabs = self.layout.slabs_per_region.min(self.layout.slabs_total - first);
        Region {
            ptr: self.mapping.pointer(first as usize * self.layout.slab_bytes),
            bytes: slabs as usize * self.layout.slab_bytes,
        }
    }

    /// The byte `at` of a slab. Whoever uses the pointer answers for it: see `ring`.
    #[inline]
    pub(super) fn pointer(&self, slab: u32, at: usize) -> *mut u8 {
        self.mapping.pointer(self.place(slab, at))
    }

    /// Tells the model of a read; nothing in a normal build.
    #[inline]
    pub(super) fn note_read(&self, slab: u32, at: usize, bytes: usize) {
        if cfg!(ringcast_loom) {
            self.shadow.read(self.place(slab, at), bytes);
        }
    }

    /// Tells the model of a write; nothing in a normal build.
    #[inline]
    pub(super) fn note_write(&self, slab: u32, at: usize, bytes: usize) {
        if cfg!(ringcast_loom) {
            self.shadow.write(self.place(slab, at), bytes);
        }
    }

    #[inline]
    fn place(&self, slab: u32, at: usize) -> usize {
        assert!(slab < self.layout.slabs_total && at < self.layout.slab_bytes);
        slab as usize * self.layout.slab_bytes + at
    }

    /// `spare`: only when more is free than is kept back for condemned slabs. What is charged to
    /// twins counts as not free.
    pub(super) fn take(&self, spare: bool) -> Option<Slab> {
        let charged = self.budget.charged();
        let kept = charged + if spare { self.reserve } else { 0 };
        if (spare || charged > 0) && self.free.load(Ordering::Relaxed) <= kept {
            return None;
        }
        loop {
            if let Some(number) = self.free_list.pop() {
                self.free.fetch_sub(1, Ordering::Relaxed);
                return Some(Slab(number));
            }
            if !self.commit_region() {
                return None;
            }
        }
    }

    pub(super) fn give(&self, slab: Slab) {
        self.free.fetch_add(1, Ordering::Relaxed);
        self.free_list.push(slab.0);
    }

    pub(super) fn lose(&self, slab: Slab) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        drop(slab);
    }

    /// True when there may be something on the free list now. A region that the kernel refuses
    /// (no memory under strict overcommit) is tried again at the next need.
    fn commit_region(&self) -> bool {
        let seen = self.regions_committed.load(Ordering::Acquire);
        let _held = lock(&self.committing);
        let number = self.regions_committed.load(Ordering::Acquire);
        if number != seen {
            return true;
        }
        let first = number * self.layout.slabs_per_region;
        if first >= self.layout.slabs_total {
            return false;
        }
        let region = self.region(number);
        let at = first as usize * self.layout.slab_bytes;
        if self.mapping.commit(at, region.bytes).is_err() {
            return false;
        }
        let slabs = (region.bytes / self.layout.slab_bytes) as u32;
        self.regions_committed.store(number + 1, Ordering::Release);
        for slab in (first..first + slabs).rev() {
            self.free_list.push(slab);
        }
        true
    }
}

/// Committed memory, for registration with a kernel ring.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub ptr: *const u8,
    pub bytes: usize,
}

/// Having one tells you that a stream may hold this many slabs whatever the others do. It returns
/// to the arena on drop.
pub struct Promise {
    arena: &'static Arena,
    slabs: u32,
}

impl Promise {
    pub fn slabs(&self) -> u32 {
        self.slabs
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.arena.budget.end_promise(self.slabs);
    }
}

/// Having one tells you that a twin may hold as much memory as so many slabs. It returns to the
/// arena on drop.
pub(super) struct Charge {
    arena: &'static Arena,
    slabs: u32,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.arena.budget.end_charge(self.slabs);
    }
}

/// Having one tells you that nobody else may write this slab. Dropping one loses the slab for the
/// life of the process, which is always safe.
#[must_use]
#[derive(Debug)]
pub(super) struct Slab(u32);

impl Slab {
    #[inline]
    pub(super) fn number(&self) -> u32 {
        self.0
    }
}

/// An arena with tiny slabs, so that a test laps often.
#[cfg(test)]
pub(crate) fn small_arena(slab_packets: usize, slabs_total: u32) -> &'static Arena {
    let slab_bytes = slab_packets * PACKET_BYTES;
    let layout = Layout { slab_bytes, slabs_total, slabs_per_region: slabs_total };
    let page_bytes = if cfg!(ringcast_loom) { 64 } else { 4_096 };
    Arena::build(layout, page_bytes).expect("address space")
}
