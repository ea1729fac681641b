//! epoll and sendfile(): a memory file per stream, filled by one pwrite() per receive.
//!
//! Offset o of the stream stands at o of the file. Pages are never written twice: sockets refer to
//! them until a peer has acknowledged them, so what nobody needs any more is punched out and new
//! pages are appended.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs;
use rustix::fs::FallocateFlags;
use rustix::fs::MemfdFlags;
use rustix::io::pwrite;

use super::Kind;
use super::RECEIVE_BYTES;
use super::WINDOW_BYTES;
use crate::table::Key;
use crate::table::Table;
use crate::viewers;
use crate::viewers::Viewer;

/// Punched at a time.
const PUNCH_BYTES_MIN: u64 = WINDOW_BYTES / 4;

pub(crate) struct SendFile {
    send_bytes: usize,
    page_bytes: u64,
    scratch: Box<[u8]>,
}

pub(crate) struct File {
    fd: OwnedFd,
    punched: u64,
}

impl SendFile {
    pub(crate) fn new(send_bytes: u64) -> io::Result<SendFile> {
        let mut kind = SendFile {
            send_bytes: send_bytes as usize,
            page_bytes: rustix::param::page_size() as u64,
            scratch: vec![0; RECEIVE_BYTES].into_boxed_slice(),
        };
        kind.open().map_err(|error| {
            io::Error::new(error.kind(), format!("sendfile needs memory files: {error}"))
        })?;
        Ok(kind)
    }
}

impl Kind for SendFile {
    type Store = File;

    const HELD_BYTES: u64 = 0;

    fn open(&mut self) -> io::Result<File> {
        let fd = fs::memfd_create("floor", MemfdFlags::CLOEXEC)?;
        Ok(File { fd, punched: 0 })
    }

    fn close(&mut self, store: File) {
        drop(store);
    }

    fn held_from(&mut self, _: &File, head: u64) -> u64 {
        head
    }

    fn buffer<'a>(&'a mut self, _: &'a mut File, _: u64, room: usize) -> &'a mut [u8] {
        let len = room.min(self.scratch.len());
        &mut self.scratch[..len]
    }

    fn commit(&mut self, store: &mut File, head: u64, len: usize, low: u64) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            done += pwrite(&store.fd, &self.scratch[done..len], head + done as u64)?;
        }
        let end = low / self.page_bytes * self.page_bytes;
        if end >= store.punched + PUNCH_BYTES_MIN {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fs::fallocate(&store.fd, flags, store.punched, end - store.punched)?;
            store.punched = end;
        }
        Ok(())
    }

    fn send(
        &mut self,
        store: &File,
        viewers: &mut Table<Viewer>,
        who: &[Key],
        target: u64,
    ) -> io::Result<()> {
        viewers::send_each(viewers, who, target, |fd, offset, len| {
            let mut at = offset;
            fs::sendfile(fd, &store.fd, Some(&mut at), len.min(self.send_bytes))
        });
        Ok(())
    }
}
