//! Taking connections off a listener.
//!
//! The wait is for readiness and the taking is a plain accept4: a wait that is dropped leaves the
//! connection in the backlog, where a dropped asynchronous accept would lose it and its
//! descriptor.

use std::cell::RefCell;
use std::io;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::congestion;
use crate::net::bell;
use crate::net::runtime;
use crate::net::sock;
use crate::net::source::Closer;
use crate::net::source::Source;

/// Connections taken at once before the shard turns to its viewers: an accept with its options
/// costs about 10 us, so that a storm holds a turn up for 0.6 ms.
const BATCH_MAX: usize = 64;
/// Out of descriptors for the whole system, not even one to refuse with: try again after this.
const STARVED_PAUSE: Duration = Duration::from_millis(100);

/// A viewer's socket: non-blocking, options set.
#[derive(Debug)]
pub struct Accepted {
    pub fd: OwnedFd,
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

/// What one call did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    pub accepted: usize,
    /// Closed at once, because the limit of open files is reached.
    pub shed: usize,
}

/// A listener on the runtime of its shard.
pub struct Acceptor {
    source: Source,
    /// A descriptor to give up when there are no others: with none left a connection could not
    /// even be refused, and the listener would stay readable for ever.
    spare: RefCell<Option<OwnedFd>>,
    /// For viewers on other hosts, where the listener's own does not pace.
    remote_congestion: Option<String>,
}

impl Acceptor {
    pub fn new(listener: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        let remote_congestion = congestion::unpace(&listener);
        let spare = RefCell::new(Some(bell::eventfd()?));
        Ok(Self { source: Source::new(listener)?, spare, remote_congestion })
    }

    /// Waits for connections and appends those that are there, up to a limit. Fails only when the
    /// listener is shut down.
    pub async fn accept_batch(&self, out: &mut Vec<Accepted>) -> io::Result<Batch> {
        self.source.readable().await?;
        let mut batch = Batch::default();
        while batch.accepted + batch.shed < BATCH_MAX {
            match rustix::net::acceptfrom_with(self.source.fd(), flags()) {
                Ok((fd, _)) => {
                    if let Some(accepted) = self.prepared(fd) {
                        out.push(accepted);
                        batch.accepted += 1;
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::MFILE | Errno::NFILE) => {
                    if !self.shed_one() {
                        runtime::sleep(STARVED_PAUSE).await;
                        break;
                    }
                    batch.shed += 1;
                }
                // Shut down: it listens no more.
                Err(Errno::INVAL | Errno::BADF) => return Err(ErrorKind::BrokenPipe.into()),
                Err(Errno::NOBUFS | Errno::NOMEM) => {
                    runtime::sleep(STARVED_PAUSE).await;
                    break;
                }
                // Whatever else is wrong is wrong with that one connection (see accept(2)).
                Err(_) => {}
            }
        }
        Ok(batch)
    }

    /// `shutdown` stops listening: the backlog is refused, `accept_batch` fails.
    pub fn closer(&self) -> Closer {
        self.source.closer()
    }

    /// Refuses one connection with the spare descriptor. False when even that is not possible.
    fn shed_one(&self) -> bool {
        drop(self.spare.borrow_mut().take());
        let refused = rustix::net::accept_with(self.source.fd(), flags());
        let is_refused = refused.is_ok();
        drop(refused);
        *self.spare.borrow_mut() = bell::eventfd().ok();
        is_refused
    }

    /// None when the connection has ended in the meantime.
    fn prepared(&self, fd: OwnedFd) -> Option<Accepted> {
        let peer = sock::peer(fd.as_fd()).ok()?;
        let local = sock::local(fd.as_fd()).ok()?;
        sock::prepare_viewer(fd.as_fd()).ok()?;
        if let Some(name) = &self.remote_congestion
            && peer.ip() != local.ip()
        {
            congestion::set(&fd, name);
        }
        Some(Accepted { fd, peer, local })
    }
}

fn flags() -> SocketFlags {
    SocketFlags::NONBLOCK | SocketFlags::CLOEXEC
}
