//! epoll and write(): one buffer per stream, one copy into the kernel per viewer.

use std::io;

use rustix::net;
use rustix::net::SendFlags;

use super::Kind;
use super::RECEIVE_BYTES;
use super::WINDOW_BYTES;
use super::unbroken;
use crate::table::Key;
use crate::table::Table;
use crate::viewers;
use crate::viewers::Viewer;

pub(crate) struct Write {
    send_bytes: usize,
}

/// Offset o stands at o modulo its length.
pub(crate) struct Buffer(Box<[u8]>);

impl Write {
    pub(crate) fn new(send_bytes: u64) -> Write {
        Write { send_bytes: send_bytes as usize }
    }
}

impl Kind for Write {
    type Store = Buffer;

    const HELD_BYTES: u64 = 0;

    fn open(&mut self) -> io::Result<Buffer> {
        Ok(Buffer(vec![0; WINDOW_BYTES as usize].into_boxed_slice()))
    }

    fn close(&mut self, store: Buffer) {
        drop(store);
    }

    fn held_from(&mut self, _: &Buffer, head: u64) -> u64 {
        head
    }

    fn buffer<'a>(&'a mut self, store: &'a mut Buffer, head: u64, room: usize) -> &'a mut [u8] {
        let at = (head % WINDOW_BYTES) as usize;
        let len = room.min(unbroken(head)).min(RECEIVE_BYTES);
        &mut store.0[at..at + len]
    }

    fn commit(&mut self, _: &mut Buffer, _: u64, _: usize, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn send(
        &mut self,
        store: &Buffer,
        viewers: &mut Table<Viewer>,
        who: &[Key],
        target: u64,
    ) -> io::Result<()> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        viewers::send_each(viewers, who, target, |fd, offset, len| {
            let at = (offset % WINDOW_BYTES) as usize;
            let len = len.min(self.send_bytes).min(unbroken(offset));
            net::send(fd, &store.0[at..at + len], flags)
        });
        Ok(())
    }
}
