//! The memory of one stream that the kernel sends from, and what of it the kernel still reads.
//!
//! Sends are counted by the block in which they begin. A send reaches upward only, so below the
//! lowest block with a send in flight everything is free to be overwritten.
#![expect(unsafe_code, reason = "memory that the kernel reads while we write elsewhere in it")]

use std::collections::VecDeque;
use std::io;
use std::ptr;

use rustix::mm;
use rustix::mm::Advice;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

pub(crate) const BLOCK_BYTES: u64 = 256 * 1024;
/// Of a block's number travel with a send.
pub(crate) const BLOCK_BITS: u32 = 28;
const BLOCK_MASK: u64 = (1 << BLOCK_BITS) - 1;

/// Offset o of the stream stands at o modulo the length. It is never unmapped.
pub(crate) struct Region {
    base: *mut u8,
    bytes: usize,
    /// The block that `in_flight` begins with.
    first: u64,
    in_flight: VecDeque<u32>,
}

impl Region {
    pub(crate) fn new(bytes: usize) -> io::Result<Region> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping at a place of the kernel's choice touches nothing of
        // ours.
        let base = unsafe { mm::mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE) };
        let base = base?;
        // Registered buffers of huge pages end in partial sends.
        // SAFETY: it is our mapping, and the advice changes no byte of it.
        let _ = unsafe { mm::madvise(base, bytes, Advice::LinuxNoHugepage) };
        Ok(Region { base: base.cast(), bytes, first: 0, in_flight: VecDeque::new() })
    }

    /// Where an offset stands.
    pub(crate) fn at(&self, offset: u64) -> *const u8 {
        self.base.wrapping_add(self.place(offset))
    }

    /// Bytes that nobody reads: between the stream's head and what `held_from` and the cursors
    /// leave of a whole window.
    pub(crate) fn free_bytes(&mut self, head: u64, len: usize) -> &mut [u8] {
        let place = self.place(head);
        assert!(place + len <= self.bytes, "a receive does not go around the end");
        assert!(self.held_from().is_none_or(|from| head + len as u64 <= from + self.bytes as u64));
        // SAFETY: the range lies in the mapping, which lives for ever, and mapped memory is
        // initialised. This is the only reference to it: `at` gives pointers that only the kernel
        // reads through, in ranges that begin at a held offset or above and end at the head,
        // a window's length around from which the range here was just shown to end.
        unsafe { std::slice::from_raw_parts_mut(self.base.wrapping_add(place), len) }
    }

    /// A send that begins at `offset` is in flight; gives its block.
    pub(crate) fn hold(&mut self, offset: u64) -> u64 {
        let block = offset / BLOCK_BYTES;
        if self.in_flight.is_empty() {
            self.first = block;
        }
        while block < self.first {
            self.in_flight.push_front(0);
            self.first -= 1;
        }
        while self.first + self.in_flight.len() as u64 <= block {
            self.in_flight.push_back(0);
        }
        self.in_flight[(block - self.first) as usize] += 1;
        block
    }

    /// A send is no longer in flight; of its block the lower bits are known.
    pub(crate) fn release(&mut self, block: u64) {
        let at = block.wrapping_sub(self.first) & BLOCK_MASK;
        let count = self.in_flight.get_mut(at as usize);
        let count = count.expect("a block with a send in flight is kept");
        *count = count.checked_sub(1).expect("a send is released once");
    }

    /// The lowest byte that the kernel may still read.
    pub(crate) fn held_from(&mut self) -> Option<u64> {
        while self.in_flight.front() == Some(&0) {
            self.in_flight.pop_front();
            self.first += 1;
        }
        self.in_flight.front().map(|_| self.first * BLOCK_BYTES)
    }

    pub(crate) fn is_idle(&mut self) -> bool {
        self.held_from().is_none()
    }

    fn place(&self, offset: u64) -> usize {
        (offset % self.bytes as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_send_in_flight_holds() {
        let mut region = Region::new(1 << 20).expect("memory");
        assert!(region.is_idle());
        let late = region.hold(5 * BLOCK_BYTES + 7);
        let early = region.hold(3 * BLOCK_BYTES);
        assert_eq!(region.held_from(), Some(3 * BLOCK_BYTES));
        region.release(early);
        assert_eq!(region.held_from(), Some(5 * BLOCK_BYTES));
        let again = region.hold(4 * BLOCK_BYTES + 1);
        assert_eq!(region.held_from(), Some(4 * BLOCK_BYTES));
        region.release(late);
        region.release(again & BLOCK_MASK);
        assert!(region.is_idle());
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn what_the_kernel_reads_is_not_given_out() {
        let mut region = Region::new(1 << 20).expect("memory");
        region.hold(0);
        region.free_bytes(1 << 20, 1);
    }
}
