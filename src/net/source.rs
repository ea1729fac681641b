//! A descriptor whose readiness the runtime watches: the base of connections, listeners, bells.
//!
//! The kernel is asked for readiness only and never for bytes, so that a wait which is given up
//! loses nothing. Invariants:
//! - Every source of a thread stands in that thread's register until it is dropped, so that after
//!   a panic, which leaks the tasks and what they own, [`abandon_all`] still finds the descriptors.
//! - A descriptor is closed exactly once: by the runtime when the source is dropped, by the egress
//!   that took it over, or by [`abandon_all`]; whoever does it takes the number out of [`Held`].
#![expect(unsafe_code, reason = "descriptors are lent to the runtime by number")]

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::IntoRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::rc::Rc;

use monoio::net::TcpStream;
use rustix::net::Shutdown;
use slab::Slab;

use crate::base::time::Instant;
use crate::net::sock;
use crate::net::sweep;
use crate::net::sweep::Sweep;

const GONE: RawFd = -1;

thread_local! {
    static LIVE: RefCell<Slab<Rc<Held>>> = const { RefCell::new(Slab::new()) };
}

/// Readiness of one descriptor. `!Send`: it belongs to the runtime that it was made on.
pub(super) struct Source {
    /// Taken out in `drop` and `into_fd` only.
    stream: ManuallyDrop<TcpStream>,
    held: Rc<Held>,
    /// Waits begun and not seen through: the runtime may still hold the descriptor for them.
    waits: Cell<usize>,
}

/// What others may know about a source: its number while it is open, and its deadline.
pub(super) struct Held {
    raw: Cell<RawFd>,
    live_key: Cell<usize>,
    pub(super) deadline: Cell<Instant>,
    pub(super) sweep: Cell<Sweep>,
    pub(super) swept: Cell<bool>,
    /// Where this source stands in the sweeper's queue, at or before `deadline`.
    pub(super) queued: Cell<Option<(Instant, u64)>>,
    /// Another process holds it too, and a shutdown would be felt there.
    is_shared: bool,
}

/// Wakes whoever waits on a connection or listener, by shutting it down. Harmless once that is
/// gone.
#[derive(Clone)]
pub struct Closer(Rc<Held>);

impl Source {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        Self::with(fd, false)
    }

    /// One that another process holds as well: it is closed, never shut down.
    pub(super) fn shared(fd: OwnedFd) -> io::Result<Self> {
        Self::with(fd, true)
    }

    fn with(fd: OwnedFd, is_shared: bool) -> io::Result<Self> {
        // The runtime knows sockets only; an eventfd, an epoll or a listener in this disguise is
        // fine as long as nothing but readiness is asked of it.
        let stream = TcpStream::from_std(std::net::TcpStream::from(fd))?;
        let held = Rc::new(Held {
            raw: Cell::new(std::os::fd::AsRawFd::as_raw_fd(&stream)),
            live_key: Cell::new(0),
            deadline: Cell::new(Instant::NEVER),
            sweep: Cell::new(Sweep::Both),
            swept: Cell::new(false),
            queued: Cell::new(None),
            is_shared,
        });
        held.live_key.set(LIVE.with_borrow_mut(|live| live.insert(Rc::clone(&held))));
        Ok(Self { stream: ManuallyDrop::new(stream), held, waits: Cell::new(0) })
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.waits.set(self.waits.get() + 1);
        let result = self.stream.readable(false).await;
        // Not reached when the wait is dropped; then the count tells `into_fd`.
        self.waits.set(self.waits.get() - 1);
        result
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        self.waits.set(self.waits.get() + 1);
        let result = self.stream.writable(false).await;
        self.waits.set(self.waits.get() - 1);
        result
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.held.fd().expect("only the tasks of a dead thread hold an abandoned source")
    }

    pub(super) fn held(&self) -> &Rc<Held> {
        &self.held
    }

    pub(super) fn closer(&self) -> Closer {
        Closer(Rc::clone(&self.held))
    }

    /// Takes the descriptor back from the runtime. After a wait that was given up the runtime may
    /// still refer to it (the io_uring driver would panic), so that one gets a second number.
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        if self.waits.get() > 0 {
            return Ok(rustix::io::fcntl_dupfd_cloexec(self.fd(), 0)?);
        }
        self.held.give_up();
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so the stream is taken exactly once.
        let stream = unsafe { ManuallyDrop::take(&mut this.stream) };
        // SAFETY: same; the Rc is read out of a value that is never used again.
        drop(unsafe { std::ptr::read(&this.held) });
        // SAFETY: the runtime gives the number back without closing it, and no wait is left that
        // could share it; we are its only owner now.
        Ok(unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if self.held.give_up().is_some() {
            // SAFETY: taken here and in `into_fd` only, which forgets self.
            unsafe { ManuallyDrop::drop(&mut self.stream) };
        }
        // else: abandoned, its number is closed and may be someone else's by now.
    }
}

impl Held {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        let raw = self.raw.get();
        // SAFETY: a number that stands here is open: it is taken out before it is closed, on this
        // same thread (Held is !Send), and the borrow cannot outlive the call that uses it
        // because nothing else runs on this thread meanwhile.
        (raw != GONE).then(|| unsafe { BorrowedFd::borrow_raw(raw) })
    }

    /// Takes the number out of every register. None when somebody else already did.
    fn give_up(&self) -> Option<RawFd> {
        let raw = self.raw.replace(GONE);
        if raw == GONE {
            return None;
        }
        // A thread that is being torn down has no register any more.
        let _ = LIVE.try_with(|live| live.borrow_mut().try_remove(self.live_key.get()));
        sweep::forget(self);
        Some(raw)
    }

    pub(super) fn shut_down(&self, sweep: Sweep) {
        let how = match sweep {
            Sweep::Read => Shutdown::Read,
            Sweep::Both => Shutdown::Both,
        };
        if let Some(fd) = self.fd().filter(|_| !self.is_shared) {
            // ENOTCONN: the peer was faster, and then the waiter is awake already.
            let _ = rustix::net::shutdown(fd, how);
        }
    }
}

impl Closer {
    /// A waiting `recv` wakes; what the peer already sent is still read, then the end.
    pub fn shutdown_read(&self) {
        self.0.shut_down(Sweep::Read);
    }

    /// Every wait of the connection or listener wakes.
    pub fn shutdown(&self) {
        self.0.shut_down(Sweep::Both);
    }

    /// From now on a wait for bytes wakes when so many are there, or an end; one that waits and has
    /// them wakes at once. The kernel wakes with fewer when the peer could not send more.
    pub fn wake_from(&self, bytes: usize) {
        if let Some(fd) = self.0.fd() {
            sock::set_receive_low(fd, bytes);
        }
    }

    /// What the kernel may hold of what the peer sent; zero when the connection is gone.
    pub fn receive_buffer_bytes(&self) -> usize {
        let size = |fd| rustix::net::sockopt::socket_recv_buffer_size(fd).ok();
        self.0.fd().and_then(size).unwrap_or(0)
    }
}

/// After a panic was caught at the top of this thread: shuts down and closes what its dead tasks
/// still own. Closing alone would not do, because their waits refer to the open file.
pub(super) fn abandon_all() -> usize {
    let dead: Vec<Rc<Held>> =
        LIVE.with_borrow(|live| live.iter().map(|(_, held)| Rc::clone(held)).collect());
    let mut count = 0;
    for held in dead {
        held.shut_down(Sweep::Both);
        if let Some(raw) = held.give_up() {
            // SAFETY: the number was ours alone to give up, and `Source::drop` will see that it
            // is gone should the leaked task ever be dropped.
            drop(unsafe { OwnedFd::from_raw_fd(raw) });
            count += 1;
        }
    }
    count
}
