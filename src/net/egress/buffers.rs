//! Registered buffers: memory that the kernel knows for good, so that a zero-copy send need not
//! look its pages up.
//!
//! Registering pins the pages and counts against the user's limit of locked memory, once for every
//! ring that does it. So the process keeps one ring, the *library*, that only registers; the
//! shards' rings clone from it (Linux 6.13), and register for themselves where they cannot. Ours
//! have a single issuer, and the kernel clones from such a ring for its own thread alone: that is
//! why the library is a ring apart.
//!
//! A buffer that cannot be registered is an error to be told, never one of a viewer.

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::RawFd;
use std::sync::Mutex;
use std::sync::PoisonError;

use io_uring::IoUring;

use crate::ring::Region;

/// Regions that may be registered: the kernel's limit is the same.
const BUFFERS_MAX: u32 = 16_384;

/// Of the kernel's interface; the library that we use does not have it.
const REGISTER_CLONE_BUFFERS: libc::c_uint = 30;
const DST_REPLACE: u32 = 1 << 1;

#[repr(C)]
#[derive(Default)]
struct CloneBuffers {
    src_fd: u32,
    flags: u32,
    src_off: u32,
    dst_off: u32,
    nr: u32,
    pad: [u32; 3],
}

/// The regions known to one ring, by number.
pub(super) struct Buffers {
    /// None: this ring has no table.
    known: Option<Vec<bool>>,
    /// How many came from the library.
    pub(super) cloned: u32,
}

impl Buffers {
    /// A table of `buffers_max` empty places.
    pub(super) fn new(ring: &IoUring, buffers_max: u32) -> Self {
        let places = buffers_max.min(BUFFERS_MAX);
        let is_there = places > 0 && ring.submitter().register_buffers_sparse(places).is_ok();
        Self { known: is_there.then(|| vec![false; places as usize]), cloned: 0 }
    }

    pub(super) fn is_there(&self) -> bool {
        self.known.is_some()
    }

    /// The region is registered under its number when this is `Ok`.
    pub(super) fn ready(&mut self, ring: &IoUring, number: u32, region: Region) -> io::Result<u16> {
        let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
        let known = self.known.as_mut().ok_or_else(unsupported)?;
        let index = u16::try_from(number).map_err(|_| unsupported())?;
        let is_known = known.get_mut(usize::from(index)).ok_or_else(unsupported)?;
        if !*is_known {
            match clone_from_library(ring.as_raw_fd(), number, region) {
                Ok(()) => self.cloned += 1,
                Err(_) => register(ring, number, region)?,
            }
            *is_known = true;
        }
        Ok(index)
    }
}

/// The ring that only registers, made at the first need.
struct Library {
    ring: IoUring,
    /// Address and length, by place.
    known: Vec<(usize, usize)>,
}

static LIBRARY: Mutex<Option<Library>> = Mutex::new(None);

fn clone_from_library(ring: RawFd, number: u32, region: Region) -> io::Result<()> {
    // One that panicked while registering left the table as it was.
    let mut library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    if library.is_none() {
        let ring = IoUring::builder().dontfork().build(1)?;
        ring.submitter().register_buffers_sparse(BUFFERS_MAX)?;
        *library = Some(Library { ring, known: Vec::new() });
    }
    let Some(Library { ring: source, known }) = library.as_mut() else { unreachable!() };
    let key = (region.ptr.addr(), region.bytes);
    let place = known.iter().position(|have| *have == key).unwrap_or(known.len());
    if place == known.len() {
        register(source, place as u32, region)?;
        known.push(key);
    }
    let request = CloneBuffers {
        src_fd: source.as_raw_fd() as u32,
        flags: DST_REPLACE,
        src_off: place as u32,
        dst_off: number,
        nr: 1,
        pad: [0; 3],
    };
    // SAFETY: the kernel reads one structure of its own layout, which lives through the call; both
    // descriptors are rings that are open.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring,
            REGISTER_CLONE_BUFFERS,
            &raw const request,
            1,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn register(ring: &IoUring, number: u32, region: Region) -> io::Result<()> {
    let buffer = libc::iovec { iov_base: region.ptr.cast_mut().cast(), iov_len: region.bytes };
    // SAFETY: a region is committed memory of the arena, which is never unmapped; the kernel only
    // reads it, for sends of payloads that lie in it. Bytes that another mapping would put there
    // could not be: the address space is the arena's for the life of the process.
    unsafe { ring.submitter().register_buffers_update(number, &[buffer], None) }
}
