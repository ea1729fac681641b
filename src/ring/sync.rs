//! The only import of atomics of this floor: std's, or loom's under `--cfg ringcast_loom` (a name
//! of our own, because other crates of the tree react to `--cfg loom`).
//!
//! [`Shadow`] is how the model watches plain memory: one cell for each packet of the arena, whose
//! reads and writes loom orders against each other. In a normal build it is nothing at all.

#[cfg(not(ringcast_loom))]
pub(super) use std::sync::Mutex;
#[cfg(not(ringcast_loom))]
pub(super) use std::sync::MutexGuard;
#[cfg(not(ringcast_loom))]
pub(super) use std::sync::atomic::AtomicBool;
#[cfg(not(ringcast_loom))]
pub(super) use std::sync::atomic::AtomicU32;
#[cfg(not(ringcast_loom))]
pub(super) use std::sync::atomic::AtomicU64;
#[cfg(not(ringcast_loom))]
pub(super) use std::sync::atomic::fence;

#[cfg(ringcast_loom)]
pub(super) use loom::sync::Mutex;
#[cfg(ringcast_loom)]
pub(super) use loom::sync::MutexGuard;
#[cfg(ringcast_loom)]
pub(super) use loom::sync::atomic::AtomicBool;
#[cfg(ringcast_loom)]
pub(super) use loom::sync::atomic::AtomicU32;
#[cfg(ringcast_loom)]
pub(super) use loom::sync::atomic::AtomicU64;
#[cfg(ringcast_loom)]
pub(super) use loom::sync::atomic::fence;

pub(super) use std::sync::atomic::Ordering;

use std::sync::PoisonError;

/// What stands under these mutexes is whole after every statement, so a panic of another thread
/// poisons nothing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that no other reader of this process has. Outside the model: it orders nothing.
pub(super) fn next_reader_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(not(ringcast_loom))]
pub(super) struct Shadow;

#[cfg(not(ringcast_loom))]
impl Shadow {
    pub(super) fn new(_bytes: usize) -> Self {
        Self
    }

    #[inline]
    pub(super) fn read(&self, _at: usize, _bytes: usize) {}

    #[inline]
    pub(super) fn write(&self, _at: usize, _bytes: usize) {}
}

#[cfg(ringcast_loom)]
pub(super) struct Shadow {
    packets: Vec<loom::cell::UnsafeCell<()>>,
}

#[cfg(ringcast_loom)]
#[expect(unsafe_code, reason = "loom watches the cells that are shared")]
// SAFETY: the cells hold nothing; sharing them is what loom is asked to judge.
unsafe impl Sync for Shadow {}

#[cfg(ringcast_loom)]
impl Shadow {
    pub(super) fn new(bytes: usize) -> Self {
        let packets = bytes / crate::base::sizes::PACKET_BYTES;
        Self { packets: (0..packets).map(|_| loom::cell::UnsafeCell::new(())).collect() }
    }

    pub(super) fn read(&self, at: usize, bytes: usize) {
        for cell in &self.packets[Self::range(at, bytes)] {
            cell.with(|_| ());
        }
    }

    pub(super) fn write(&self, at: usize, bytes: usize) {
        for cell in &self.packets[Self::range(at, bytes)] {
            cell.with_mut(|_| ());
        }
    }

    fn range(at: usize, bytes: usize) -> std::ops::Range<usize> {
        let packet = crate::base::sizes::PACKET_BYTES;
        at / packet..(at + bytes).div_ceil(packet)
    }
}
