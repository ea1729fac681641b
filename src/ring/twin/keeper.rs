//! The owner's half of a twin: what the file has, what it may hold, what is given back.
//!
//! It never waits for a turn that reads the file: what is pinned is given back at a later tending.
//! It reads no slab: the writer brings the bytes.
//!
//! Invariants: while there is a charge, the file has every byte from `base` to `written`, and no
//! page below `punched` <= `base`; none of these bytes is written again; punches begin and end at multiples of `granule_bytes`, which no page
//! of the file straddles; without a charge the file is empty.

use super::ABSENT;
use super::TwinError;
use super::TwinFile;
use crate::base::sizes::MIB;
use crate::ring::arena::Arena;
use crate::ring::arena::Charge;
use crate::ring::shared::Ring;
use std::io;

/// Of what is there already, a twin begins with this much: about a millisecond of copying.
const BACKFILL_BYTES_MAX: u64 = 4 * MIB;

/// Above it a slab is some megabytes, and so is what a punch leaves.
const PAGE_BYTES_MAX: usize = 16 * 1024;

/// The kernel may keep the file in huge pages, which makes writing it four times cheaper and its
/// memory so much coarser: beyond this it is not worth it.
const GRANULE_BYTES_MAX: u64 = 2 * MIB;

pub(in crate::ring) struct Keeper {
    charge: Option<Charge>,
    slab_bytes: u64,
    /// A slab, or a huge page where the kernel was seen to use them.
    granule_bytes: u64,
    window_bytes: u64,
    /// Turns may send from it.
    open: bool,
    base: u64,
    written: u64,
    punched: u64,
}

impl Keeper {
    pub(in crate::ring) fn new(slab_bytes: u64) -> Self {
        Self {
            charge: None,
            slab_bytes,
            granule_bytes: slab_bytes,
            window_bytes: 0,
            open: false,
            base: 0,
            written: 0,
            punched: 0,
        }
    }

    pub(in crate::ring) fn is_open(&self) -> bool {
        self.open
    }

    /// The file holds something, or may.
    pub(in crate::ring) fn is_charged(&self) -> bool {
        self.charge.is_some()
    }

    pub(in crate::ring) fn written(&self) -> u64 {
        self.written
    }

    /// Charges the window; then the writer is to [`Keeper::fill`] it to head, and to open it.
    pub(in crate::ring) fn begin(
        &mut self,
        ring: &Ring,
        window_bytes: u64,
    ) -> Result<(), TwinError> {
        assert!(!self.open, "a twin is opened once");
        let slab_bytes = self.slab_bytes;
        check_host(ring.arena())?;
        if ring.twin_file.get().is_none() {
            let file = TwinFile::create().map_err(TwinError::Create)?;
            assert!(ring.twin_file.set(file).is_ok(), "only the writer makes it");
        }
        self.give_back(ring);
        self.granule_bytes = self.granule(ring).map_err(TwinError::Create)?;
        if self.granule_bytes > GRANULE_BYTES_MAX.max(slab_bytes) {
            return Err(TwinError::HugePages(self.granule_bytes));
        }
        let window_slabs = window_bytes.div_ceil(slab_bytes).max(1);
        let charge = window_slabs
            .checked_add(self.slack_slabs())
            .and_then(|slabs| ring.arena().charge(slabs));
        let held = self.charge.replace(charge.ok_or(TwinError::NoMemory)?).is_some();
        self.window_bytes = window_slabs * slab_bytes;
        let (head, tail) = (ring.head(), ring.tail());
        let backfill = self.window_bytes.min(BACKFILL_BYTES_MAX);
        let oldest = head.saturating_sub(backfill).next_multiple_of(slab_bytes);
        let oldest = oldest.min(head).max(tail);
        if held {
            // A turn that began before the last end still sends: what is there stays.
            self.base = oldest.max(self.base);
            self.written = self.written.max(self.base);
        } else {
            self.base = oldest;
            self.written = oldest;
            self.punched = self.floor(oldest);
        }
        Ok(())
    }

    /// The file has everything to head now.
    pub(in crate::ring) fn open(&mut self, ring: &Ring) {
        self.open = true;
        ring.move_twin_base(self.base);
    }

    /// The next bytes of the stream.
    pub(in crate::ring) fn fill(&mut self, ring: &Ring, bytes: &[u8]) -> io::Result<()> {
        file(ring).write(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// From now on no turn begins to send from the file. Memory and charge go back as soon as no
    /// running turn does.
    pub(in crate::ring) fn close(&mut self, ring: &Ring) {
        self.open = false;
        ring.move_twin_base(ABSENT);
        self.give_back(ring);
    }

    /// Once a turn: the window moves on.
    pub(in crate::ring) fn tend(&mut self, ring: &Ring, head: u64, tail: u64) {
        if !self.is_charged() {
            return;
        }
        if self.open {
            let oldest = head.saturating_sub(self.window_bytes);
            let base = (oldest / self.slab_bytes * self.slab_bytes).max(tail);
            if base > self.base {
                self.base = base;
                ring.move_twin_base(base);
            }
        }
        self.give_back(ring);
    }

    fn give_back(&mut self, ring: &Ring) {
        if !self.open {
            self.clear(ring);
            return;
        }
        if self.floor(self.base) <= self.punched {
            return;
        }
        let end = self.floor(self.base.min(ring.lowest_twin_pin()));
        if end <= self.punched {
            return;
        }
        let granule = self.granule(ring).unwrap_or(self.granule_bytes);
        let pages_grew = granule > self.granule_bytes;
        self.granule_bytes = granule;
        if pages_grew || file(ring).punch(self.floor(self.punched), end).is_err() {
            self.close(ring);
        } else {
            self.punched = end;
        }
    }

    fn floor(&self, offset: u64) -> u64 {
        offset / self.granule_bytes * self.granule_bytes
    }

    /// What the file may hold beyond the window: less than a slab at its beginning, or of a huge
    /// page at either end.
    fn slack_slabs(&self) -> u64 {
        let huge = self.granule_bytes > self.slab_bytes;
        if huge { (2 * self.granule_bytes).div_ceil(self.slab_bytes) } else { 1 }
    }

    /// It never becomes smaller again: pages that were made may still be there.
    fn granule(&self, ring: &Ring) -> io::Result<u64> {
        let page_bytes = file(ring).page_bytes_max()?;
        let fits = self.granule_bytes.is_multiple_of(page_bytes);
        Ok(if fits { self.granule_bytes } else { page_bytes.max(self.granule_bytes) })
    }

    /// All at once, when no turn reads it: so it is right with pages of any size.
    fn clear(&mut self, ring: &Ring) {
        if self.is_charged()
            && ring.lowest_twin_pin() == super::UNPINNED
            && file(ring).clear().is_ok()
        {
            self.charge = None;
        }
    }
}

fn file(ring: &Ring) -> &TwinFile {
    ring.twin_file.get().expect("made before anything is written to it")
}

/// Neither can change while the process runs; what can is looked at as it goes.
fn check_host(arena: &Arena) -> Result<(), TwinError> {
    let (page_bytes, slab_bytes) = (arena.page_bytes(), arena.slab_bytes());
    if page_bytes > PAGE_BYTES_MAX || !slab_bytes.is_multiple_of(host_page_bytes()) {
        return Err(TwinError::Page(page_bytes));
    }
    // The kernel would not refuse the byte beyond it but kill the process (SIGXFSZ).
    match file_bytes_max() {
        Some(bytes) => Err(TwinError::FileSize(bytes)),
        None => Ok(()),
    }
}

#[cfg(not(any(miri, ringcast_loom)))]
fn host_page_bytes() -> usize {
    rustix::param::page_size()
}

#[cfg(not(any(miri, ringcast_loom)))]
fn file_bytes_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current
}

#[cfg(any(miri, ringcast_loom))]
fn host_page_bytes() -> usize {
    1
}

#[cfg(any(miri, ringcast_loom))]
fn file_bytes_max() -> Option<u64> {
    None
}
