//! The memory file of a twin: written, sent from and punched by offset, never mapped.
//!
//! It keeps no count of what it holds. Under loom there is no file, only the model's watch over
//! its packets; miri knows no memory files.

use crate::ring::sync::Shadow;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

/// Packets that the model watches.
const SHADOW_BYTES: usize = 16 * crate::base::sizes::PACKET_BYTES;

pub(in crate::ring) struct TwinFile {
    fd: OwnedFd,
    shadow: Shadow,
    #[cfg(test)]
    pub(in crate::ring) pretend: Pretend,
}

impl TwinFile {
    pub(super) fn create() -> io::Result<Self> {
        Ok(Self {
            fd: create()?,
            shadow: Shadow::new(SHADOW_BYTES),
            #[cfg(test)]
            pretend: Pretend::default(),
        })
    }

    #[inline]
    pub(in crate::ring) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// All of it, or an error after a part.
    pub(in crate::ring) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.note(at, bytes.len(), Shadow::write);
        let (mut rest, mut at) = (bytes, at);
        while !rest.is_empty() {
            match self.write_some(rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    at += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives the memory of a range back. Both ends are at a page's, or bytes that somebody still
    /// sends would be zeroed.
    pub(super) fn punch(&self, from: u64, to: u64) -> io::Result<()> {
        self.note(from, (to - from) as usize, Shadow::write);
        #[cfg(test)]
        if self.pretend.keeps_pages.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(());
        }
        punch(self.fd(), from, to - from)
    }

    /// Gives all memory back.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.note(0, SHADOW_BYTES, Shadow::write);
        clear(self.fd())
    }

    /// The largest page that the kernel may keep it in: punching a part of a page zeroes it in
    /// place.
    pub(super) fn page_bytes_max(&self) -> io::Result<u64> {
        #[cfg(test)]
        if let Some(pretended) = self.pretend.page_bytes_max() {
            return Ok(pretended);
        }
        page_bytes_max(self.fd())
    }

    /// Tells the model of a read; nothing in a normal build.
    #[inline]
    pub(in crate::ring) fn note_read(&self, at: u64, bytes: usize) {
        self.note(at, bytes, Shadow::read);
    }

    #[inline]
    fn note(&self, at: u64, bytes: usize, note: impl Fn(&Shadow, usize, usize)) {
        if cfg!(ringcast_loom) {
            note(&self.shadow, at as usize, bytes);
        }
    }

    #[cfg(not(test))]
    fn write_some(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        write_some(self.fd(), bytes, at)
    }

    #[cfg(test)]
    fn write_some(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let len = self.pretend.take_room(bytes.len())?;
        write_some(self.fd(), &bytes[..len], at)
    }
}

/// What a test makes of the host.
#[cfg(test)]
#[derive(Default)]
pub(in crate::ring) struct Pretend {
    /// What may be written before the memory is full.
    pub(in crate::ring) room_bytes: std::sync::Mutex<Option<usize>>,
    pub(in crate::ring) page_bytes_max: std::sync::Mutex<Option<u64>>,
    /// Nothing is punched.
    pub(in crate::ring) keeps_pages: std::sync::atomic::AtomicBool,
}

#[cfg(test)]
impl Pretend {
    fn take_room(&self, wanted: usize) -> io::Result<usize> {
        let mut room = self.room_bytes.lock().expect("no panic while it is held");
        let Some(left) = *room else { return Ok(wanted) };
        let len = wanted.min(left);
        *room = Some(left - len);
        if len > 0 { Ok(len) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn page_bytes_max(&self) -> Option<u64> {
        *self.page_bytes_max.lock().expect("no panic while it is held")
    }
}

#[cfg(not(any(miri, ringcast_loom)))]
fn create() -> io::Result<OwnedFd> {
    use rustix::fs::MemfdFlags;
    use rustix::fs::OFlags;
    use rustix::fs::fcntl_setfl;
    use rustix::fs::memfd_create;
    use rustix::io::Errno;
    let flags = MemfdFlags::CLOEXEC;
    let fd = match memfd_create("ringcast-twin", flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3.
        Err(Errno::INVAL) => memfd_create("ringcast-twin", flags)?,
        other => other?,
    };
    fcntl_setfl(&fd, OFlags::RDWR | OFlags::NONBLOCK)?;
    Ok(fd)
}

#[cfg(not(any(miri, ringcast_loom)))]
fn write_some(fd: BorrowedFd<'_>, bytes: &[u8], at: u64) -> io::Result<usize> {
    Ok(rustix::io::pwrite(fd, bytes, at)?)
}

#[cfg(not(any(miri, ringcast_loom)))]
fn punch(fd: BorrowedFd<'_>, at: u64, bytes: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(fd, mode, at, bytes)?)
}

#[cfg(not(any(miri, ringcast_loom)))]
fn clear(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::ftruncate(fd, 0)?)
}

#[cfg(not(any(miri, ringcast_loom)))]
fn page_bytes_max(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::fstat(fd)?.st_blksize as u64)
}

#[cfg(ringcast_loom)]
fn create() -> io::Result<OwnedFd> {
    Ok(std::fs::File::open("/dev/null")?.into())
}

#[cfg(all(miri, not(ringcast_loom)))]
fn create() -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(any(miri, ringcast_loom))]
fn write_some(_fd: BorrowedFd<'_>, bytes: &[u8], _at: u64) -> io::Result<usize> {
    Ok(bytes.len())
}

#[cfg(any(miri, ringcast_loom))]
fn punch(_fd: BorrowedFd<'_>, _at: u64, _bytes: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(any(miri, ringcast_loom))]
fn clear(_fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(())
}

#[cfg(any(miri, ringcast_loom))]
fn page_bytes_max(_fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(1)
}
