//! The twin of a ring: the newest part of a stream once more, in a memory file, so that viewers
//! whose bytes the kernel would copy are served by sendfile.
//!
//! The owner writes each commit to the file before it publishes head ([`Keeper`]); a reader's turn
//! says what of it may be sent ([`Turn::shared`]). The file is never mapped: its pages are in
//! nobody's resident memory, and are charged to the arena's budget. Nothing depends on a twin: what
//! is not in it is sent from the slabs, and a twin that cannot be written is given up.
//!
//! Invariants: the offset in the file is the offset in the stream, so the byte at an offset is
//! always the same byte and a page that a socket still refers to is never given another content;
//! when `twin_base` is not [`ABSENT`], the file has every byte from it to head.
//!
//! # Why every sent byte is there
//!
//! The owner moves `twin_base` to B (SeqCst), fence(SeqCst), reads the twin pins, and punches below
//! min(B, pins). A reader's turn reads a base b0, stores it as its pin, fence(SeqCst), reads head,
//! then the base b1, and sends only from max(b0, b1) on, to head, by calls that return within the
//! turn. Of the two fences one is first:
//! - the owner's: then b1 is B or was stored later. A later base is higher, or [`ABSENT`] (nothing
//!   is sent), or that of a twin opened again, whose bytes were written after the punch and before
//!   that base (Release, read with Acquire);
//! - the reader's: then the owner's read of that pin sees b0, and punches below it only; or what
//!   the same reader stored after it, when the turn had ended and its sends had returned (every
//!   store of a pin is Release, every read Acquire).
//!
//! A later look needs no fence of its own, as with condemned slabs. That the file has the bytes up
//! to head: they were written before head was stored, or `ABSENT` was; b1, read after head, is then
//! `ABSENT` too, or that of a twin opened again, which begins with what was published until then.
//!
//! A punch takes whole pages out of the file and alters none: what a socket's queue refers to
//! stays until it is sent. That holds for whole pages only: a part of a page is zeroed in place, also
//! of a huge one. So punches begin and end where slabs do, or, where the kernel keeps such files in
//! huge pages, where these do.
//!
//! [`Turn::shared`]: super::Turn::shared

mod file;
mod keeper;

pub(super) use file::TwinFile;
pub(super) use keeper::Keeper;

use super::shared::Ring;
use super::shared::UNPINNED;
use super::sync::Ordering;
use super::sync::fence;
use std::io;
use std::os::fd::BorrowedFd;

/// A base above every offset: there is no twin.
pub(super) const ABSENT: u64 = u64::MAX;

/// Why a stream has no twin. It is served all the same.
#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    #[error("pages of {0} bytes are too large for a memory file")]
    Page(usize),
    #[error("the memory budget has no room for a memory file")]
    NoMemory,
    #[error("the kernel keeps memory files in pages of {0} bytes")]
    HugePages(u64),
    #[error("the process may write no file beyond {0} bytes")]
    FileSize(u64),
    #[error("making a memory file: {0}")]
    Create(io::Error),
    #[error("writing a memory file: {0}")]
    Write(io::Error),
    #[error("the stream has ended")]
    Ended,
}

/// Bytes of a stream in its memory file, for sendfile: from `at` on, `len` of them, never none.
/// Good while the turn lives that gave it; what a socket has taken by then is good for ever.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a> {
    pub file: BorrowedFd<'a>,
    pub at: u64,
    pub len: usize,
}

impl Ring {
    /// The reader's half, before the fence of its turn. Gives what it pinned.
    #[inline]
    pub(super) fn pin_twin(&self, reader: usize) -> u64 {
        let base = self.twin_base.load(Ordering::Relaxed);
        if base != ABSENT {
            // Release: whoever sees it sees that the turns before have ended.
            self.pins[reader].twin.store(base, Ordering::Release);
        }
        base
    }

    /// After the fence, and after head was read. From here on everything to head is in the file
    /// until the pin is raised.
    #[inline]
    pub(super) fn twin_from(&self, pinned: u64) -> u64 {
        if pinned == ABSENT {
            return ABSENT;
        }
        pinned.max(self.twin_base.load(Ordering::Acquire))
    }

    /// Release: what was sent from the file happened before.
    #[inline]
    pub(super) fn raise_twin_pin(&self, reader: usize) {
        let pin = &self.pins[reader].twin;
        if pin.load(Ordering::Relaxed) != UNPINNED {
            pin.store(UNPINNED, Ordering::Release);
        }
    }

    /// The owner's half.
    fn move_twin_base(&self, base: u64) {
        self.twin_base.store(base, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    fn lowest_twin_pin(&self) -> u64 {
        self.pins.iter().map(|pin| pin.twin.load(Ordering::Acquire)).min().unwrap_or(UNPINNED)
    }
}
