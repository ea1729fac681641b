//! Address space: reserved whole at boot, made usable piece by piece, never given back.
//!
//! It hands out pointers and reads or writes nothing through them. Under miri and loom, which
//! know no mmap, the same interface stands on the allocator.

#![expect(unsafe_code, reason = "mmap and mprotect")]

use std::io;
use std::ptr::NonNull;

pub(super) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    page_bytes: usize,
}

// SAFETY: a Mapping is an address and a length that never change; whoever reads or writes through
// the pointers that it hands out answers for the order of these accesses (see `ring`).
unsafe impl Send for Mapping {}
// SAFETY: as above; `commit` is a system call that any thread may make.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn reserve(bytes: usize, page_bytes: usize) -> io::Result<Self> {
        let bytes = bytes.next_multiple_of(page_bytes);
        Ok(Self { base: reserve(bytes, page_bytes)?, bytes, page_bytes })
    }

    /// Makes `bytes` from `at` readable and writable. They hold zeros and take no memory until
    /// they are touched.
    pub(super) fn commit(&self, at: usize, bytes: usize) -> io::Result<()> {
        assert!(at.is_multiple_of(self.page_bytes), "a region begins on a page");
        let bytes = bytes.next_multiple_of(self.page_bytes);
        assert!(bytes <= self.bytes && at <= self.bytes - bytes, "within the reservation");
        commit(self.pointer(at), bytes)
    }

    /// The address of the byte `at`; with the mapping's provenance.
    #[inline]
    pub(super) fn pointer(&self, at: usize) -> *mut u8 {
        assert!(at < self.bytes, "within the reservation");
        self.base.as_ptr().wrapping_add(at)
    }
}

#[cfg(not(any(miri, ringcast_loom)))]
fn reserve(bytes: usize, _page_bytes: usize) -> io::Result<NonNull<u8>> {
    use rustix::mm::Advice;
    use rustix::mm::MapFlags;
    use rustix::mm::ProtFlags;
    use rustix::mm::madvise;
    use rustix::mm::mmap_anonymous;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory that
    // anybody has. It is never unmapped.
    let base = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::empty(), flags)? };
    // Huge pages make an idle process large and zero-copy sends partial. A kernel without them
    // refuses the advice, and that is as good.
    // SAFETY: advice about a mapping that is ours and holds nothing yet.
    let _refused = unsafe { madvise(base, bytes, Advice::LinuxNoHugepage) };
    NonNull::new(base.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

#[cfg(not(any(miri, ringcast_loom)))]
fn commit(at: *mut u8, bytes: usize) -> io::Result<()> {
    use rustix::mm::MprotectFlags;
    use rustix::mm::mprotect;
    // SAFETY: the range lies within our own mapping (checked by the caller), and more rights
    // invalidate no reference.
    unsafe { mprotect(at.cast(), bytes, MprotectFlags::READ | MprotectFlags::WRITE)? };
    Ok(())
}

#[cfg(any(miri, ringcast_loom))]
fn reserve(bytes: usize, page_bytes: usize) -> io::Result<NonNull<u8>> {
    let layout = std::alloc::Layout::from_size_align(bytes, page_bytes)
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    assert!(layout.size() > 0);
    // SAFETY: the layout is not empty (asserted).
    let base = unsafe { std::alloc::alloc_zeroed(layout) };
    NonNull::new(base).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

#[cfg(any(miri, ringcast_loom))]
fn commit(_at: *mut u8, _bytes: usize) -> io::Result<()> {
    Ok(())
}
