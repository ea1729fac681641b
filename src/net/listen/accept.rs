//! Taking connections off a listener.
//!
//! The wait is for readiness and the taking is a plain accept4: a wait that is dropped leaves the
//! connection in the backlog, where a dropped asynchronous accept would lose it and its
//! descriptor.

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::Listener;
use super::congestion;
use crate::net::bell;
use crate::net::runtime;
use crate::net::sock;
use crate::net::source::Closer;
use crate::net::source::Source;

/// Accepts made at once before the shard turns to its viewers, whatever comes of them: one with its
/// options costs about 10 us, so that a storm holds a turn up for 0.6 ms.
const BATCH_MAX: usize = 64;
/// Of a request that nobody will answer: what is left unread turns the close into a reset.
const LAST_READ_BYTES_MAX: usize = 8 * 1024;
/// Out of descriptors for the whole system, not even one to refuse with: try again after this.
const STARVED_PAUSE: Duration = Duration::from_millis(100);
/// An error that is not one connection's may be there for ever (a filter that forbids to accept): the
/// listener is asked again after this, doubling.
const ERROR_PAUSE_MIN: Duration = Duration::from_millis(10);
const ERROR_PAUSE_MAX: Duration = Duration::from_secs(1);

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
    /// Ended before they were taken.
    pub gone: usize,
}

impl Batch {
    const fn accepts(self) -> usize {
        self.accepted + self.shed + self.gone
    }
}

/// What comes before the listener is asked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    Nothing,
    /// There may be more: first everybody else has a turn.
    Turn,
    Pause(Duration),
}

/// A listener on the runtime of its shard.
pub struct Acceptor {
    source: Source,
    /// A descriptor to give up when there are no others: with none left a connection could not
    /// even be refused, and the listener would stay readable for ever.
    spare: RefCell<Option<OwnedFd>>,
    /// For viewers on other hosts, where the listener's own does not pace.
    remote_congestion: Option<String>,
    stopped: Rc<Cell<bool>>,
    is_inherited: bool,
    rest: Cell<Rest>,
    /// After the next error.
    error_pause: Cell<Duration>,
    /// What is said to those who are refused for want of descriptors.
    last_words: Vec<u8>,
}

/// Ends the accepting of an [`Acceptor`] from outside of its task.
pub struct Stopper {
    closer: Closer,
    stopped: Rc<Cell<bool>>,
    is_inherited: bool,
}

impl Stopper {
    /// The backlog is refused, unless another process will take it.
    pub fn stop(&self) {
        self.stopped.set(true);
        if !self.is_inherited {
            self.closer.shutdown();
        }
    }
}

impl Acceptor {
    pub fn new(listener: OwnedFd) -> io::Result<Self> {
        Self::of(listener.into(), Vec::new())
    }

    pub fn of(listener: Listener, last_words: Vec<u8>) -> io::Result<Self> {
        let Listener { fd, is_inherited } = listener;
        rustix::io::ioctl_fionbio(&fd, true)?;
        let remote_congestion = congestion::unpace(&fd);
        let spare = RefCell::new(Some(bell::eventfd()?));
        let source = if is_inherited { Source::shared(fd)? } else { Source::new(fd)? };
        let stopped = Rc::new(Cell::new(false));
        Ok(Self {
            source,
            spare,
            remote_congestion,
            stopped,
            is_inherited,
            rest: Cell::new(Rest::Nothing),
            error_pause: Cell::new(ERROR_PAUSE_MIN),
            last_words,
        })
    }

    /// Waits for connections and appends those that are there, up to a limit. Fails only when the
    /// listener is shut down, or was stopped.
    pub async fn accept_batch(&self, out: &mut Vec<Accepted>) -> io::Result<Batch> {
        match self.rest.replace(Rest::Nothing) {
            Rest::Nothing => {}
            // A listener that stays readable would be asked on and on by this one task.
            Rest::Turn => runtime::yield_now().await,
            Rest::Pause(pause) => runtime::sleep(pause).await,
        }
        self.source.readable().await?;
        if self.stopped.get() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut batch = Batch::default();
        while batch.accepts() < BATCH_MAX {
            match rustix::net::acceptfrom_with(self.source.fd(), flags()) {
                Ok((fd, _)) => {
                    self.error_pause.set(ERROR_PAUSE_MIN);
                    match self.prepared(fd) {
                        Some(accepted) => {
                            out.push(accepted);
                            batch.accepted += 1;
                        }
                        None => batch.gone += 1,
                    }
                }
                Err(Errno::AGAIN) => return Ok(batch),
                Err(Errno::MFILE | Errno::NFILE) => {
                    if !self.shed_one() {
                        return Ok(self.paused(STARVED_PAUSE, batch));
                    }
                    batch.shed += 1;
                }
                // Shut down: it listens no more.
                Err(Errno::INVAL | Errno::BADF) => return Err(ErrorKind::BrokenPipe.into()),
                Err(Errno::NOBUFS | Errno::NOMEM) => {
                    return Ok(self.paused(STARVED_PAUSE, batch));
                }
                Err(errno) if is_of_one_connection(errno) => batch.gone += 1,
                Err(_) => {
                    let pause = self.error_pause.get();
                    self.error_pause.set((pause * 2).min(ERROR_PAUSE_MAX));
                    return Ok(self.paused(pause, batch));
                }
            }
        }
        self.rest.set(Rest::Turn);
        Ok(batch)
    }

    fn paused(&self, pause: Duration, batch: Batch) -> Batch {
        self.rest.set(Rest::Pause(pause));
        batch
    }

    pub fn stopper(&self) -> Stopper {
        let (stopped, is_inherited) = (Rc::clone(&self.stopped), self.is_inherited);
        Stopper { closer: self.source.closer(), stopped, is_inherited }
    }

    /// Refuses one connection with the spare descriptor. False when even that is not possible.
    fn shed_one(&self) -> bool {
        drop(self.spare.borrow_mut().take());
        let refused = rustix::net::accept_with(self.source.fd(), flags());
        let is_refused = refused.is_ok();
        if let Ok(fd) = refused {
            // Nobody can wait for this client: it reads the answer if it has sent its request.
            let _ = sock::send_now(fd.as_fd(), &self.last_words);
            sock::discard(fd.as_fd(), LAST_READ_BYTES_MAX);
            sock::shut_down(fd.as_fd());
        }
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

/// What accept(2) passes on of the connection that would have been next; it is gone with that.
fn is_of_one_connection(errno: Errno) -> bool {
    [
        Errno::INTR,
        Errno::CONNABORTED,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NONET,
        Errno::TIMEDOUT,
    ]
    .contains(&errno)
}

fn flags() -> SocketFlags {
    SocketFlags::NONBLOCK | SocketFlags::CLOEXEC
}
