//! How one thread wakes another: an eventfd that the other's runtime watches.
//!
//! Invariant: a ring after the waiter looked at its mailboxes always wakes it. The waiter empties
//! the eventfd first, then says that it is not rung any more, then looks; a ringer puts its
//! message down first, then rings, and may skip the system call only while the bell is rung.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::AcqRel;

use rustix::event::EventfdFlags;
use rustix::io::Errno;

use crate::net::source::Source;

/// The ringing end, for any thread.
#[derive(Clone)]
pub struct Bell(Arc<Shared>);

/// The hearing end, on the runtime of the thread that is woken. One per bell.
pub struct BellWaiter {
    shared: Arc<Shared>,
    source: Source,
}

/// Readiness of somebody else's descriptor, such as [`Egress::wake_fd`].
///
/// [`Egress::wake_fd`]: crate::net::egress::Egress::wake_fd
pub struct Watch(Source);

struct Shared {
    eventfd: OwnedFd,
    is_rung: AtomicBool,
}

impl Bell {
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Shared { eventfd: eventfd()?, is_rung: AtomicBool::new(false) })))
    }

    /// Costs a system call only when the bell is not rung already.
    pub fn ring(&self) {
        if !self.0.is_rung.swap(true, AcqRel) {
            signal(self.0.eventfd.as_fd());
        }
    }

    pub fn waiter(&self) -> io::Result<BellWaiter> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.0.eventfd, 0)?;
        Ok(BellWaiter { shared: Arc::clone(&self.0), source: Source::new(fd)? })
    }
}

impl BellWaiter {
    /// Returns after at least one ring. Rings that came together wake once.
    pub async fn wait(&self) -> io::Result<()> {
        self.source.readable().await?;
        drain(self.source.fd());
        self.shared.is_rung.swap(false, AcqRel);
        Ok(())
    }
}

impl Watch {
    pub fn new(fd: BorrowedFd<'_>) -> io::Result<Self> {
        // A number of its own: the runtime closes what it watches.
        Ok(Self(Source::new(rustix::io::fcntl_dupfd_cloexec(fd, 0)?)?))
    }

    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }
}

pub(super) fn eventfd() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)
}

pub(super) fn signal(eventfd: BorrowedFd<'_>) {
    loop {
        match rustix::io::write(eventfd, &1u64.to_ne_bytes()) {
            Err(Errno::INTR) => {}
            // EAGAIN: the counter is full, so it is readable, which is all we want.
            Ok(_) | Err(_) => return,
        }
    }
}

pub(super) fn drain(eventfd: BorrowedFd<'_>) {
    let mut count = [0; 8];
    while let Err(Errno::INTR) = rustix::io::read(eventfd, &mut count) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use super::Bell;
    use super::Watch;
    use crate::net::runtime;
    use crate::net::testing::on_both_runtimes;

    #[test]
    fn no_ring_of_another_thread_is_lost() {
        on_both_runtimes(|| async {
            const RINGS: u64 = 10_000;
            let (there, back) = (Bell::new().unwrap(), Bell::new().unwrap());
            let sent = Arc::new(AtomicU64::new(0));
            let waiter = there.waiter().unwrap();
            let ringer = std::thread::spawn({
                let (there, back, sent) = (there.clone(), back.clone(), Arc::clone(&sent));
                move || {
                    runtime::run_shard(runtime::RuntimeDriver::Legacy, || async move {
                        let waiter = back.waiter().unwrap();
                        for message in 1..=RINGS {
                            sent.store(message, Relaxed);
                            there.ring();
                            // A lost ring on either side stops both for ever.
                            waiter.wait().await.unwrap();
                        }
                    })
                }
            });
            for message in 1..=RINGS {
                waiter.wait().await.unwrap();
                assert_eq!(sent.load(Relaxed), message);
                back.ring();
            }
            ringer.join().unwrap().unwrap();
        });
    }

    #[test]
    fn rings_in_a_rush_are_never_all_lost() {
        on_both_runtimes(|| async {
            const RINGS: u64 = 100_000;
            let bell = Bell::new().unwrap();
            let sent = Arc::new(AtomicU64::new(0));
            let waiter = bell.waiter().unwrap();
            let ringer = std::thread::spawn({
                let (bell, sent) = (bell.clone(), Arc::clone(&sent));
                move || {
                    for message in 1..=RINGS {
                        sent.store(message, Relaxed);
                        bell.ring();
                    }
                }
            });
            // Waits for ever when the ring after the last message is lost.
            while sent.load(Relaxed) < RINGS {
                waiter.wait().await.unwrap();
            }
            ringer.join().unwrap();
        });
    }

    #[test]
    fn a_watch_sees_a_foreign_descriptor() {
        on_both_runtimes(|| async {
            let eventfd = super::eventfd().unwrap();
            let watch = Watch::new(std::os::fd::AsFd::as_fd(&eventfd)).unwrap();
            for _ in 0..3 {
                super::signal(std::os::fd::AsFd::as_fd(&eventfd));
                watch.readable().await.unwrap();
                watch.readable().await.unwrap();
                super::drain(std::os::fd::AsFd::as_fd(&eventfd));
            }
        });
    }
}
