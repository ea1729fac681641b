//! The three ways from one buffer to many sockets.

mod region;
pub(crate) mod sendfile;
pub(crate) mod write;
pub(crate) mod zerocopy;

use std::io;

use crate::table::Key;
use crate::table::Table;
use crate::viewers::Viewer;

/// What of a stream stays in memory. At 8 Mbit/s a viewer may be four seconds late, and the burst
/// of an engine has room.
pub(crate) const WINDOW_BYTES: u64 = 4 << 20;

/// The most that one receive takes.
pub(crate) const RECEIVE_BYTES: usize = 256 * 1024;

/// Where a stream's bytes stand, and how they leave.
pub(crate) trait Kind {
    type Store;

    /// The most that the sockets of viewers hold on to below their cursors.
    const HELD_BYTES: u64;

    fn open(&mut self) -> io::Result<Self::Store>;

    fn close(&mut self, store: Self::Store);

    /// The first byte at or below `head` that must stay as it is although all cursors passed it.
    fn held_from(&mut self, store: &Self::Store, head: u64) -> u64;

    /// Where what comes at `head` is to be received: at most `room` bytes, at least one.
    fn buffer<'a>(&'a mut self, store: &'a mut Self::Store, head: u64, room: usize)
    -> &'a mut [u8];

    /// The first `len` bytes of that buffer are the stream's now. Nobody needs what is below
    /// `low`.
    fn commit(
        &mut self,
        store: &mut Self::Store,
        head: u64,
        len: usize,
        low: u64,
    ) -> io::Result<()>;

    /// Brings each of `who` up to `target`, or as far as its socket goes.
    fn send(
        &mut self,
        store: &Self::Store,
        viewers: &mut Table<Viewer>,
        who: &[Key],
        target: u64,
    ) -> io::Result<()>;
}

/// How many bytes of a buffer of `WINDOW_BYTES` follow on `offset` without a break.
pub(crate) fn unbroken(offset: u64) -> usize {
    (WINDOW_BYTES - offset % WINDOW_BYTES) as usize
}
