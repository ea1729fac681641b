//! The writer and the twin of its ring: it brings the bytes, the `Keeper` knows what becomes of them.
//!
//! It reads what it wrote, which no one else writes. An error of the file goes to who opens a
//! twin, and no further.

#![expect(unsafe_code, reason = "reads slabs that the writer itself has written")]

use super::Writer;
use crate::ring::TwinError;
use std::io;

impl Writer {
    /// From now on every commit is also in the stream's memory file ([`Turn::shared`]), of which
    /// the newest `window_bytes` stay; they are charged to the arena's budget. It begins with some
    /// megabytes of what is there. Nothing happens when it is open already.
    ///
    /// [`Turn::shared`]: crate::ring::Turn::shared
    pub fn open_twin(&mut self, window_bytes: u64) -> Result<(), TwinError> {
        if self.twin.is_open() {
            return Ok(());
        }
        if self.closing {
            return Err(TwinError::Ended);
        }
        self.twin.begin(&self.ring, window_bytes)?;
        if let Err(error) = self.fill_twin(self.head) {
            self.twin.close(&self.ring);
            return Err(TwinError::Write(error));
        }
        self.twin.open(&self.ring);
        Ok(())
    }

    /// Memory and charge go back when no running turn reads the file: now, or at a tending. It may
    /// be opened again.
    pub fn close_twin(&mut self) {
        if self.twin.is_open() {
            self.twin.close(&self.ring);
        }
    }

    /// False also after a twin was given up because it could not be written.
    pub fn has_twin(&self) -> bool {
        self.twin.is_open()
    }

    /// Brings the twin up to `end`.
    pub(super) fn fill_twin(&mut self, end: u64) -> io::Result<()> {
        assert!(end <= self.written, "only what was appended");
        while self.twin.written() < end {
            let from = self.twin.written();
            let place = (from / self.slab_bytes).checked_sub(self.first_live).expect("live");
            let slab = self.live[place as usize].number();
            let at = (from % self.slab_bytes) as usize;
            let len = (self.slab_bytes as usize - at).min((end - from) as usize);
            self.arena.note_read(slab, at, len);
            let source = self.arena.pointer(slab, at);
            // SAFETY: the range lies within one slab, which this writer has live, below `written`:
            // it was initialised. Only this writer writes it, and does not before the slice is gone.
            let bytes = unsafe { std::slice::from_raw_parts(source, len) };
            self.twin.fill(&self.ring, bytes)?;
        }
        Ok(())
    }
}
