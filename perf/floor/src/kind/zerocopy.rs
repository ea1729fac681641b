//! io_uring SEND_ZC: one registered buffer per stream, no copy, one system call for many viewers.
//!
//! The kernel reads a buffer until the notification of a send: `region` counts them, and what they
//! hold is not received into. Notifications are collected with the next flush (a large count to
//! wait for and no time to wait in), never waited for. Sends are non-blocking and come back within
//! the call that handed them over; room in a socket is epoll's to tell.
#![expect(unsafe_code, reason = "the kernel reads the buffers while we go on")]

use std::io;
use std::os::fd::AsRawFd;

use io_uring::IoUring;
use io_uring::Probe;
use io_uring::cqueue;
use io_uring::opcode;
use io_uring::types;
use rustix::io::Errno;

use super::Kind;
use super::RECEIVE_BYTES;
use super::WINDOW_BYTES;
use super::region::BLOCK_BITS;
use super::region::BLOCK_BYTES;
use super::region::Region;
use super::unbroken;
use crate::front::SEND_BUFFER_BYTES;
use crate::table::Key;
use crate::table::Table;
use crate::viewers::State;
use crate::viewers::Viewer;

/// Entries per call.
const SQ_ENTRIES: u32 = 1024;
/// A completion and a notification of several thousand viewers.
const CQ_ENTRIES: u32 = 16_384;
/// With a small number the kernel leaves deferred work undone.
const COLLECT_ALL: usize = CQ_ENTRIES as usize;
const REGIONS_MAX: usize = 1 << REGION_BITS;

/// Of a viewer's and a region's number travel with a send; the rest is the block's.
const VIEWER_BITS: u32 = 24;
const REGION_BITS: u32 = 12;
const _: () = assert!(VIEWER_BITS + REGION_BITS + BLOCK_BITS == 64);

/// Completion flags of the kernel's.
const MORE: u32 = 1 << 1;
const NOTIFICATION: u32 = 1 << 3;

pub(crate) struct ZeroCopy {
    send_bytes: usize,
    ring: IoUring,
    regions: Vec<Region>,
    free: Vec<usize>,
    /// Streams that are gone while the kernel still reads their buffers.
    retired: Vec<usize>,
    /// Sends handed over or queued whose completion has not come.
    owed: usize,
    /// Viewers to send to, in a flush.
    todo: Vec<Key>,
}

/// A number in `regions`, which is the number of the registered buffer.
pub(crate) struct Place(usize);

impl ZeroCopy {
    pub(crate) fn new(send_bytes: u64) -> io::Result<ZeroCopy> {
        let ring = build()?;
        let mut kind = ZeroCopy {
            send_bytes: send_bytes as usize,
            ring,
            regions: Vec::new(),
            free: Vec::new(),
            retired: Vec::new(),
            owed: 0,
            todo: Vec::new(),
        };
        let first = kind.open()?;
        kind.close(first);
        Ok(kind)
    }

    /// Queues what a viewer gets next. False: the queue is full.
    fn queue(&mut self, place: usize, viewers: &mut Table<Viewer>, key: Key, target: u64) -> bool {
        let viewer = viewers.get(key).expect("a stream's viewers are in the table");
        if viewer.state != State::Ready || viewer.cursor >= target {
            return true;
        }
        if self.ring.submission().is_full() {
            return false;
        }
        let offset = viewer.cursor;
        let len = (target - offset).min(self.send_bytes as u64) as usize;
        let len = len.min(unbroken(offset));
        let fd = types::Fd(viewer.fd.as_raw_fd());
        let region = &mut self.regions[place];
        let block = region.hold(offset);
        let entry = opcode::SendZc::new(fd, region.at(offset), len as u32)
            .buf_index(Some(place as u16))
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            .build()
            .user_data(pack(key.index, place, block));
        // SAFETY: the bytes lie in a registered region, which is never unmapped; they are below
        // the stream's head, where nothing is received again before `held_from` has passed them,
        // which it does not before this send's notification. The descriptor is open now, and
        // `send`, which called this, closes none before all that is queued was handed over.
        unsafe { self.ring.submission().push(&entry) }.expect("it is not full");
        self.owed += 1;
        true
    }

    /// Hands over what is queued and has the kernel do its deferred work.
    fn enter(&mut self) -> io::Result<()> {
        let no_time = types::Timespec::new();
        let args = types::SubmitArgs::new().timespec(&no_time);
        match self.ring.submitter().submit_with_args(COLLECT_ALL, &args) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                Some(_) | None => Err(error),
            },
        }
    }

    fn reap(&mut self, viewers: &mut Table<Viewer>, target: u64) {
        for completion in self.ring.completion() {
            let (viewer, place, block) = unpack(completion.user_data());
            let flags = completion.flags();
            let is_notification = flags & NOTIFICATION != 0;
            if is_notification || flags & MORE == 0 {
                self.regions[place].release(block);
            }
            if is_notification {
                continue;
            }
            self.owed -= 1;
            let (key, viewer) = viewers.at(viewer).expect("viewers stay while a flush lasts");
            viewer.sent(result(&completion));
            if viewer.state == State::Ready && viewer.cursor < target {
                self.todo.push(key);
            }
        }
    }

    fn collect(&mut self) -> io::Result<()> {
        self.enter()?;
        self.reap(&mut Table::new(), 0);
        let regions = &mut self.regions;
        let free = &mut self.free;
        self.retired.retain(|place| {
            let idle = regions[*place].is_idle();
            if idle {
                free.push(*place);
            }
            !idle
        });
        Ok(())
    }
}

impl Kind for ZeroCopy {
    type Store = Place;

    /// The kernel doubles the buffer that was asked for; blocks are held whole.
    const HELD_BYTES: u64 = 2 * SEND_BUFFER_BYTES as u64 + 2 * BLOCK_BYTES;

    fn open(&mut self) -> io::Result<Place> {
        if self.free.is_empty() && !self.retired.is_empty() {
            self.collect()?;
        }
        if let Some(place) = self.free.pop() {
            return Ok(Place(place));
        }
        let place = self.regions.len();
        if place == REGIONS_MAX {
            return Err(io::Error::other(format!("more than {REGIONS_MAX} streams")));
        }
        let region = Region::new(WINDOW_BYTES as usize)?;
        let bytes = libc::iovec {
            iov_base: region.at(0).cast_mut().cast(),
            iov_len: WINDOW_BYTES as usize,
        };
        // SAFETY: a region is one mapping of this length that is never unmapped.
        let registered =
            unsafe { self.ring.submitter().register_buffers_update(place as u32, &[bytes], None) };
        registered.map_err(|error| {
            let hint = match error.raw_os_error() {
                Some(libc::ENOMEM) => " (raise the limit of locked memory, ulimit -l)",
                Some(_) | None => "",
            };
            io::Error::new(error.kind(), format!("zerocopy cannot register memory: {error}{hint}"))
        })?;
        self.regions.push(region);
        Ok(Place(place))
    }

    fn close(&mut self, store: Place) {
        if self.regions[store.0].is_idle() {
            self.free.push(store.0);
        } else {
            self.retired.push(store.0);
        }
    }

    fn held_from(&mut self, store: &Place, head: u64) -> u64 {
        if let Err(error) = self.collect() {
            eprintln!("floor: io_uring_enter: {error}");
        }
        self.regions[store.0].held_from().map_or(head, |from| from.min(head))
    }

    fn buffer<'a>(&'a mut self, store: &'a mut Place, head: u64, room: usize) -> &'a mut [u8] {
        let len = room.min(unbroken(head)).min(RECEIVE_BYTES);
        self.regions[store.0].free_bytes(head, len)
    }

    fn commit(&mut self, _: &mut Place, _: u64, _: usize, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn send(
        &mut self,
        store: &Place,
        viewers: &mut Table<Viewer>,
        who: &[Key],
        target: u64,
    ) -> io::Result<()> {
        self.todo.clear();
        self.todo.extend_from_slice(who);
        let mut at = 0;
        loop {
            while let Some(key) = self.todo.get(at).copied() {
                if !self.queue(store.0, viewers, key, target) {
                    break;
                }
                at += 1;
            }
            if self.owed == 0 {
                return Ok(());
            }
            self.enter()?;
            self.reap(viewers, target);
        }
    }
}

fn build() -> io::Result<IoUring> {
    let missing = |what: &str, error: io::Error| {
        io::Error::new(error.kind(), format!("zerocopy needs io_uring with {what}: {error}"))
    };
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_cqsize(CQ_ENTRIES)
        .dontfork()
        .build(SQ_ENTRIES)
        .map_err(|error| missing("deferred work (io_uring_setup)", error))?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| missing("a probe", error))?;
    if !probe.is_supported(opcode::SendZc::CODE) {
        return Err(missing("SEND_ZC", io::Error::other("this kernel has none")));
    }
    ring.submitter()
        .register_buffers_sparse(REGIONS_MAX as u32)
        .map_err(|error| missing("registered buffers", error))?;
    Ok(ring)
}

fn result(completion: &cqueue::Entry) -> Result<usize, Errno> {
    let result = completion.result();
    usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result))
}

fn pack(viewer: u32, place: usize, block: u64) -> u64 {
    assert!(viewer < 1 << VIEWER_BITS && place < REGIONS_MAX);
    u64::from(viewer) | (place as u64) << VIEWER_BITS | block << (VIEWER_BITS + REGION_BITS)
}

fn unpack(number: u64) -> (u32, usize, u64) {
    let viewer = number & ((1 << VIEWER_BITS) - 1);
    let place = number >> VIEWER_BITS & ((1 << REGION_BITS) - 1);
    (viewer as u32, place as usize, number >> (VIEWER_BITS + REGION_BITS))
}
