//! Both drivers on both runtimes, against real sockets.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test panics on every other event")]

mod closing;
mod flow;
mod life;
mod zero_copy;

use std::future::Future;
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;

use super::Driver;
use super::Egress;
use super::EgressConfig;
use super::Event;
use super::Payload;
use super::Slot;
use super::Via;
use crate::net::bell::Watch;
use crate::net::runtime::run_shard;
use crate::net::testing::RUNTIMES;
use crate::net::testing::pair;

/// A piece of shared bytes that counts how many of its kind are alive.
pub(super) struct Piece {
    bytes: Arc<[u8]>,
    range: Range<usize>,
    alive: Arc<AtomicUsize>,
}

// SAFETY: an Arc<[u8]> never moves its bytes, and nobody writes through it.
unsafe impl Payload for Piece {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.range)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

/// One egress on one runtime, the bytes to send, and what has happened.
struct Rig {
    egress: Egress<Piece>,
    watch: Watch,
    bytes: Arc<[u8]>,
    alive: Arc<AtomicUsize>,
}

type Happening = Event;

impl Rig {
    fn new(driver: Driver) -> Self {
        let egress =
            Egress::new(&EgressConfig { driver, slots_max: 4096, buffers_max: 4 }).unwrap();
        assert_eq!(egress.driver(), driver);
        Self::with(egress)
    }

    fn with(egress: Egress<Piece>) -> Self {
        let watch = Watch::new(egress.wake_fd()).unwrap();
        let bytes = pattern();
        Self { egress, watch, bytes, alive: Arc::default() }
    }

    fn piece(&self, range: Range<usize>) -> Piece {
        self.alive.fetch_add(1, SeqCst);
        Piece { bytes: Arc::clone(&self.bytes), range, alive: Arc::clone(&self.alive) }
    }

    fn add(&mut self, key: u64) -> (Slot, TcpStream) {
        let (fd, peer) = pair();
        (self.egress.add(fd, key).unwrap(), peer)
    }

    /// Submits, waits to be woken, collects.
    async fn turn(&mut self) -> Vec<Happening> {
        self.egress.submit().unwrap();
        self.watch.readable().await.unwrap();
        self.egress.drain_wake();
        let mut events = Vec::new();
        self.egress.reap(&mut events);
        events
    }

    /// The next event, which comes alone.
    async fn next(&mut self) -> Happening {
        loop {
            let mut events = self.turn().await;
            assert!(events.len() <= 1, "{events:?}");
            if let Some(event) = events.pop() {
                return event;
            }
        }
    }

    /// Nothing wakes, and nothing is there.
    fn assert_quiet(&mut self) {
        self.egress.submit().unwrap();
        let mut events = Vec::new();
        // What woke before may still stand in the eventfd.
        self.egress.drain_wake();
        self.egress.reap(&mut events);
        assert!(events.is_empty(), "{events:?}");
        assert!(!self.is_woken_within(Duration::from_millis(20)));
    }

    fn is_woken_within(&self, limit: Duration) -> bool {
        let fd = self.egress.wake_fd();
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&limit)).unwrap() > 0
    }

    /// Sends until the socket is full for good: everything that the peer's window has room for is
    /// acknowledged, and the rest waits. Says how many bytes it took.
    async fn fill(&mut self, slot: Slot) -> usize {
        let (mut filled, mut is_settled) = (0, false);
        loop {
            let piece = self.piece(0..1 << 18);
            self.egress.send(slot, piece, Via::Copy);
            let event = self.next().await;
            match self.sent(event) {
                Ok(bytes) => (filled, is_settled) = (filled + bytes, false),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    if is_settled {
                        return filled;
                    }
                    let info = || self.egress.acked(slot).unwrap();
                    while info().unacked_segments > 0 {
                        std::thread::yield_now();
                    }
                    is_settled = info().notsent_bytes > 0;
                }
            }
        }
    }

    /// Of the next event, which is a send by copy.
    async fn next_sent(&mut self) -> std::io::Result<usize> {
        let event = self.next().await;
        self.sent(event)
    }

    async fn closed(&mut self, slot: Slot) {
        match self.next().await {
            Event::Closed { slot: closed, .. } => assert_eq!(closed, slot),
            other => panic!("{other:?}"),
        }
    }

    /// The result of a send, whose payload must have been released with it.
    fn sent(&mut self, event: Happening) -> std::io::Result<usize> {
        match event {
            Event::Sent { send, result, is_released: true, .. } => {
                drop(self.egress.take_back(send));
                result
            }
            other => panic!("{other:?}"),
        }
    }

    async fn turn_taken(&mut self) {
        let events = self.turn().await;
        self.take_all_back(events);
    }

    fn take_all_back(&mut self, events: Vec<Happening>) {
        for event in events {
            if let Event::Sent { send, is_released: true, .. } | Event::Released { send, .. } =
                event
            {
                drop(self.egress.take_back(send));
            }
        }
    }

    fn finish(self) {
        assert!(self.egress.is_empty());
        assert_eq!(self.egress.in_flight(), 0);
        drop(self.egress);
        assert_eq!(self.alive.load(SeqCst), 0, "every payload came back");
    }
}

fn pattern() -> Arc<[u8]> {
    let mut state = 0x9E37_79B9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..1 << 20).map(|_| next()).collect()
}

/// Runs a test with each driver on each runtime, each on a thread of its own.
fn on_every_pair<F, Fut>(test: F)
where
    F: Fn(Rig) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = ()>,
{
    for runtime in RUNTIMES {
        for driver in [Driver::Uring, Driver::Epoll] {
            std::thread::spawn(move || {
                run_shard(runtime, || async { test(Rig::new(driver)).await }).unwrap();
            })
            .join()
            .unwrap_or_else(|_| panic!("{driver:?} on {runtime:?}"));
        }
    }
}
