//! The mirror's thread: a runtime, the connection, and the book that says what to do with it.
//!
//! It runs on tokio-uring, or on plain tokio where io_uring is forbidden, and in the static binary. When
//! it panics it is started again with an empty book and everything is told anew; the queues outlive it.

use crate::base::time;
use crate::base::time::Wall;
use crate::mirror::book::Order;
use crate::mirror::driver::Driver;
use crate::mirror::outbox;
use crate::mirror::outbox::Inbound;
use crate::mirror::outbox::Outbox;
use crate::mirror::outbox::Waker;
use crate::mirror::place::Place;
use crate::mirror::settings::Settings;
use crate::mirror::snapshots;
use crate::mirror::snapshots::Rings;
use crate::mirror::snapshots::Shelf;
use crate::mirror::snapshots::desk::Desk;
use crate::mirror::status::State;
use crate::mirror::status::Status;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::Notify;

/// After a panic.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// What a shard's inbox is to the mirror.
pub trait Shards: Send + Sync {
    fn count(&self) -> usize;

    /// Never waits. `None` is every shard.
    fn order(&self, shard: Option<usize>, order: Order);
}

/// Wakes the mirror's thread from any other.
#[derive(Default)]
pub(super) struct Bell {
    pub(super) notify: Notify,
    pub(super) stopping: AtomicBool,
}

impl Waker for Bell {
    fn wake(&self) {
        self.notify.notify_one();
    }
}

/// A mirror that is not running yet: the shards come first, and need their outboxes.
pub struct Prepared {
    settings: Settings,
    place: Place,
    inbounds: Vec<Inbound>,
    status: Arc<Status>,
    bell: Arc<Bell>,
    shelf: Shelf,
    rings: Rings,
}

/// The running thread, as the main thread sees it.
pub struct Mirror {
    bell: Arc<Bell>,
    ended: mpsc::Receiver<()>,
}

/// The outboxes of all shards, and the rest. The error names what is wrong with the URL.
pub fn prepare(settings: Settings, shards: usize) -> Result<(Vec<Outbox>, Prepared), String> {
    let place = Place::parse(&settings.url)?;
    let bell = Arc::new(Bell::default());
    let queue = |_| outbox::queue(outbox::RECORDS_MAX, bell.clone() as Arc<dyn Waker>);
    let (outboxes, inbounds) = (0..shards).map(queue).unzip();
    let status = Arc::new(Status::default());
    status.set_state(State::Connecting);
    let (shelf, rings) = snapshots::shelf(bell.clone() as Arc<dyn Waker>, status.clone());
    Ok((outboxes, Prepared { settings, place, inbounds, status, bell, shelf, rings }))
}

impl Prepared {
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// Where shards tell of their rings; none without snapshots.
    pub fn shelf(&self) -> Option<Shelf> {
        self.settings.snapshots.then(|| self.shelf.clone())
    }

    pub fn start(self, shards: Arc<dyn Shards>) -> io::Result<Mirror> {
        let (sender, ended) = mpsc::channel();
        let bell = self.bell.clone();
        std::thread::Builder::new().name("mirror".to_owned()).spawn(move || {
            self.supervise(&shards);
            // Nobody waits any more when this fails.
            let _ = sender.send(());
        })?;
        Ok(Mirror { bell, ended })
    }

    fn supervise(mut self, shards: &Arc<dyn Shards>) {
        let started_at = Wall::now();
        let mut delay = Duration::ZERO;
        loop {
            let Self { settings, place, inbounds, status, bell, rings, .. } = &mut self;
            let life = AssertUnwindSafe(|| {
                let desk = Desk::new(rings, settings);
                let driver = Driver::new(settings, place, status, bell, shards, started_at, desk);
                run(driver, inbounds, delay)
            });
            match std::panic::catch_unwind(life) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => {
                    tracing::error!("the Redis mirror cannot run: {error}");
                    self.status.set_state(State::Down);
                    return;
                }
                Err(_) => {
                    self.status.set_state(State::Down);
                    tracing::error!("the Redis mirror panicked; it is started again");
                    delay = RESTART_AFTER;
                }
            }
            if self.bell.stopping.load(Relaxed) {
                return;
            }
        }
    }
}

fn run(mut driver: Driver<'_>, inbounds: &mut [Inbound], delay: Duration) -> io::Result<()> {
    let life = async move {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        driver.live(inbounds).await;
    };
    #[cfg(not(target_env = "musl"))]
    match tokio_uring::Runtime::new(&tokio_uring::builder()) {
        Ok(runtime) => {
            runtime.block_on(life);
            return Ok(());
        }
        Err(error) => tracing::debug!("the mirror runs without io_uring: {error}"),
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, life);
    Ok(())
}

impl Mirror {
    /// The shards have ended: what they said last is written, the leases go back. True when that
    /// was done within `wait_max`.
    pub fn stop(self, wait_max: Duration) -> bool {
        self.bell.stopping.store(true, Relaxed);
        self.bell.notify.notify_one();
        let until = time::now() + wait_max;
        self.ended.recv_timeout(until.since(time::now())).is_ok()
    }
}
