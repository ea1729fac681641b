//! The owner's half of a twin: what the file has, what it may hold, what is given back.
//!
//! It never waits for a turn that reads the file: what is pinned is given back at a later tending.
//! It reads no slab: the writer brings the bytes.
//!
//! Invariants: while it is open, the file has every byte from `base` to `written`, and no page
//! below `punched` <= `base`, which is a slab's end; there is a charge as long as the file holds
//! anything.

use super::ABSENT;
use super::TwinError;
use super::TwinFile;
use crate::base::sizes::MIB;
use crate::ring::arena::Arena;
use crate::ring::arena::Charge;
use crate::ring::shared::Ring;

/// Of what is there already, a twin begins with this much: about a millisecond of copying.
const BACKFILL_BYTES_MAX: u64 = 4 * MIB;

/// Above it a slab is some megabytes, and so is what a punch leaves.
const PAGE_BYTES_MAX: usize = 16 * 1024;

pub(in crate::ring) struct Keeper {
    charge: Option<Charge>,
    slab_bytes: u64,
    window_bytes: u64,
    base: u64,
    written: u64,
    punched: u64,
}

impl Keeper {
    pub(in crate::ring) fn new(slab_bytes: u64) -> Self {
        Self { charge: None, slab_bytes, window_bytes: 0, base: ABSENT, written: 0, punched: 0 }
    }

    pub(in crate::ring) fn is_open(&self) -> bool {
        self.base != ABSENT
    }

    /// The file holds something, or may.
    pub(in crate::ring) fn is_charged(&self) -> bool {
        self.charge.is_some()
    }

    pub(in crate::ring) fn written(&self) -> u64 {
        self.written
    }

    /// Charges the window and says from where on the writer is to [`Keeper::fill`].
    pub(in crate::ring) fn begin(
        &mut self,
        ring: &Ring,
        window_bytes: u64,
    ) -> Result<u64, TwinError> {
        assert!(!self.is_open(), "a twin is opened once");
        let slab_bytes = self.slab_bytes;
        check_host(ring.arena())?;
        if ring.twin_file.get().is_none() {
            let file = TwinFile::create().map_err(TwinError::Create)?;
            assert!(ring.twin_file.set(file).is_ok(), "only the writer makes it");
        }
        self.give_back(ring);
        let window_slabs = window_bytes.div_ceil(slab_bytes).max(1);
        // The window begins at a slab's end, so there is up to one more.
        let charge = window_slabs.checked_add(1).and_then(|slabs| ring.arena().charge(slabs));
        let held = self.charge.replace(charge.ok_or(TwinError::NoMemory)?).is_some();
        self.window_bytes = window_slabs * slab_bytes;
        let (head, tail) = (ring.head(), ring.tail());
        let backfill = self.window_bytes.min(BACKFILL_BYTES_MAX);
        let oldest = head.saturating_sub(backfill).next_multiple_of(slab_bytes);
        let from = oldest.min(head).max(tail);
        let first_page = from / slab_bytes * slab_bytes;
        self.punched = if held { self.punched.min(first_page) } else { first_page };
        self.written = from;
        Ok(from)
    }

    /// The file has everything from `from` to `written` now.
    pub(in crate::ring) fn open(&mut self, ring: &Ring, from: u64) -> Result<(), TwinError> {
        if file(ring).is_huge() {
            self.close(ring);
            return Err(TwinError::HugePages);
        }
        self.base = from;
        ring.move_twin_base(from);
        Ok(())
    }

    /// The next bytes of the stream.
    pub(in crate::ring) fn fill(&mut self, ring: &Ring, bytes: &[u8]) -> std::io::Result<()> {
        file(ring).write(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// From now on no turn begins to send from the file. Memory and charge go back as soon as no
    /// running turn does.
    pub(in crate::ring) fn close(&mut self, ring: &Ring) {
        self.base = ABSENT;
        ring.move_twin_base(ABSENT);
        self.give_back(ring);
    }

    /// Once a turn: the window moves on.
    pub(in crate::ring) fn tend(&mut self, ring: &Ring, head: u64, tail: u64) {
        if !self.is_charged() {
            return;
        }
        if self.is_open() {
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
        if !self.is_open() {
            self.clear(ring);
            return;
        }
        let slab_bytes = self.slab_bytes;
        if self.base / slab_bytes * slab_bytes <= self.punched {
            return;
        }
        let end = self.base.min(ring.lowest_twin_pin()) / slab_bytes * slab_bytes;
        if end <= self.punched {
            return;
        }
        let file = file(ring);
        if file.is_huge() || file.punch(self.punched, end).is_err() {
            self.close(ring);
        } else {
            self.punched = end;
        }
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
