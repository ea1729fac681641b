//! That shard threads allocate nothing while bytes flow: the real server in this process, viewers
//! on sockets, and an allocator that counts.
//!
//! Only threads with a shard's name are counted, and only while watched. What they allocate is
//! kept with its backtrace and printed by a test that fails, or with RINGCAST_TEST_TRACES set.
//! A window has no length in time: it ends when every viewer has got so many bytes more.

#![expect(unsafe_code, reason = "a global allocator, and the calling thread's name")]
#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

#[path = "support/fleet.rs"]
#[allow(dead_code, reason = "each test that includes it uses its part")]
mod fleet;

use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Knob;
use fleet::PATIENCE;
use fleet::SHARDS;
use fleet::Server;
use ringcast::base::ids::Infohash;
use ringcast::base::ids::Target;
use ringcast::net::egress::Driver;
use ringcast::net::runtime::RuntimeDriver;
use ringcast::registry::home;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::net::AddressFamily;
use rustix::net::SocketType;
use rustix::net::sockopt;
use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

const STREAMS: usize = 2;
const VIEWERS: usize = 50;
/// Of these, so many stop reading at the beginning and go on in the middle of the watch: the ring
/// has overtaken them by then.
const SLOW_VIEWERS: usize = 5;
const SLOW_BYTES: u64 = 1 << 20;
const SLOW_UNTIL_WINDOW: usize = 20;
/// Of each viewer's socket. Little, so that every server's send is cut short now and then: what a
/// viewer then keeps is allocated once, in the first seconds.
const RECEIVE_BYTES: usize = 64 << 10;
const BITRATE_BPS: u64 = 24_000_000;

/// What every viewer gets in a window, at least: a tick sends twice as much, every 50 ms.
const WINDOW_BYTES: u64 = 64 * 1_024;
const WINDOWS: usize = 60;
/// Less than half the ring, so that its owner need not hold the engine back.
const BURST_BYTES: u64 = 3 << 20;
/// Played before anything is counted: a viewer gets the burst's last second, and at the end of this
/// the ring of 8 MiB has gone round.
const WARM_UP_BYTES: u64 = 9 << 20;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static WATCHING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static WEIGHING: AtomicBool = AtomicBool::new(false);
static HELD_BYTES: AtomicI64 = AtomicI64::new(0);
static TRACES: Mutex<Vec<Backtrace>> = Mutex::new(Vec::new());
const TRACES_MAX: usize = 2_048;

/// One server at a time: the allocator is the process's.
static ONE: Mutex<()> = Mutex::new(());

thread_local! {
    /// Whether this is a shard's thread, once somebody asked.
    static IS_SHARD: Cell<Option<bool>> = const { Cell::new(None) };
    /// What is allocated for a trace does not count.
    static IS_NOTING: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, watched.
struct Counting;

// SAFETY: everything is done by `System`; `note` touches neither layout nor memory, and the
// allocations it makes itself come back here and end at its guard.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        weigh(layout.size() as i64);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        weigh(layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        weigh(new_size as i64 - layout.size() as i64);
        // SAFETY: as above; every block came from `System`.
        unsafe { System.realloc(start, layout, new_size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        weigh(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }
}

/// What the shards' threads hold, while that is asked.
fn weigh(bytes: i64) {
    if WEIGHING.load(Relaxed) && is_shard() {
        HELD_BYTES.fetch_add(bytes, Relaxed);
    }
}

fn note() {
    if !WATCHING.load(Relaxed) || !is_shard() || IS_NOTING.replace(true) {
        return;
    }
    ALLOCATIONS.fetch_add(1, Relaxed);
    let mut traces = TRACES.lock().unwrap_or_else(PoisonError::into_inner);
    if traces.len() < TRACES_MAX {
        traces.push(Backtrace::force_capture());
    }
    drop(traces);
    IS_NOTING.set(false);
}

/// Asked while watched only: by then the threads have their names.
fn is_shard() -> bool {
    if let Some(known) = IS_SHARD.get() {
        return known;
    }
    let mut name = [0_u8; 16];
    // SAFETY: the kernel writes at most 16 bytes, its end included.
    let failed = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    let is_shard = failed == 0 && name.starts_with(b"shard-");
    IS_SHARD.set(Some(is_shard));
    is_shard
}

#[test]
fn a_shard_allocates_nothing_while_bytes_flow() {
    watch("auto", Driver::Auto, RuntimeDriver::Auto).judge();
}

#[test]
fn a_shard_that_only_copies_allocates_nothing_while_bytes_flow() {
    watch("copy", Driver::Auto, RuntimeDriver::Auto).judge();
}

#[test]
fn a_shard_with_zero_copy_sends_allocates_nothing_while_bytes_flow() {
    watch("zerocopy", Driver::Auto, RuntimeDriver::Auto).judge();
}

#[test]
fn a_shard_on_epoll_allocates_nothing_while_bytes_flow() {
    watch("auto", Driver::Epoll, RuntimeDriver::Legacy).judge();
}

/// Everything that a viewer makes its shard keep on the heap, whatever table it is in and however that
/// grows: four hundred more of them, each weighed with what it needed while it caught up.
#[test]
fn a_viewer_takes_a_kibibyte_of_the_heap_at_most() {
    const MORE: usize = 400;
    const BYTES_PER_VIEWER_MAX: i64 = 1_024;
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let hashes = hashes();
    let engine = engine_of(&hashes, 1_000_000, 500_000);
    let server = Server::start(&engine, &[], Driver::Auto, RuntimeDriver::Auto);
    let first = Crowd::join(server.address, &hashes);
    first.await_more(WINDOW_BYTES);
    WEIGHING.store(true, Relaxed);
    let more: Vec<Crowd> =
        (0..MORE / VIEWERS).map(|_| Crowd::join(server.address, &hashes)).collect();
    more.iter().for_each(|crowd| crowd.await_more(WINDOW_BYTES));
    WEIGHING.store(false, Relaxed);
    assert_eq!(server.metric("ringcast_viewers") as usize, VIEWERS + MORE);
    let held = HELD_BYTES.load(Relaxed);
    // Tables double, so that a shard with 230 viewers has room for 256.
    let rows = server.get("/api/v1/viewers").unwrap();
    let room_of = |shard: usize| {
        rows.matches(&format!("\"shard\":{shard},")).count().next_power_of_two() as i64
    };
    let room: i64 = (0..SHARDS).map(room_of).sum();
    let (each, of_room) = (held / MORE as i64, held / room);
    eprintln!("{each} bytes of the heap for a viewer, {of_room} for each there is room for");
    assert!((100..=BYTES_PER_VIEWER_MAX).contains(&of_room), "{of_room} bytes");
    first.leave();
    more.into_iter().for_each(Crowd::leave);
    server.stop();
}

/// What may be seen in the backtrace of an allocation: a question to an engine, its answer, and
/// the deadlines that lead to one. Everything else is on the way of a byte.
const CONTROL: &[&str] = &[
    "session_timers",
    "fire_stat",
    "engine_io::stat",
    "engine_io::probe",
    "src/engine/pool/",
    "on_evict",
];

/// Also: the end of a viewer that was too slow for zero-copy sends, its line in the log for one.
const ENDS: &[&str] = &["on_evict", "settle<"];
const ALLOCATIONS_PER_END_MAX: usize = 40;

/// Also: the room for what a cut send leaves, made when a viewer's socket first pushes back. Once
/// in a viewer's life.
const PUSHED_BACK: &str = "ring_sent";

/// Of one question and its answer: a connection, two heads, a JSON body of forty values.
const ALLOCATIONS_PER_QUESTION_MAX: u64 = 150;

/// What was seen while watched.
struct Seen {
    /// Allocations in each window.
    windows: Vec<u64>,
    traces: Vec<Backtrace>,
    /// Requests that the engine got.
    questions: u64,
    bytes: u64,
}

impl Seen {
    fn judge(&self) {
        let all: u64 = self.windows.iter().sum();
        let loud = self.windows.iter().filter(|allocations| **allocations > 0).count() as u64;
        let Self { questions, bytes, .. } = self;
        eprintln!(
            "{all} allocations in {loud} of {WINDOWS} windows; {questions} questions, {bytes} bytes"
        );
        let traces: Vec<String> = self.traces.iter().map(ToString::to_string).collect();
        if std::env::var_os("RINGCAST_TEST_TRACES").is_some() {
            eprintln!("{}", traces.join("\n"));
        }
        let has_any = |trace: &str, frames: &[&str]| frames.iter().any(|one| trace.contains(one));
        let count = |frames: &[&str]| traces.iter().filter(|trace| has_any(trace, frames)).count();
        let known = [CONTROL, ENDS, &[PUSHED_BACK]].concat();
        let is_data = |trace: &&String| !has_any(trace, &known);
        let data: Vec<&String> = traces.iter().filter(is_data).collect();
        assert!(data.is_empty(), "{} for bytes, the first:\n{}", data.len(), data[0]);
        assert!(all as usize <= traces.len(), "not all of {all} were traced");
        let (control, pushed_back) = (count(CONTROL) as u64, count(&[PUSHED_BACK]));
        assert!(pushed_back <= VIEWERS, "{pushed_back} of {VIEWERS} viewers");
        assert!(count(ENDS) <= SLOW_VIEWERS * ALLOCATIONS_PER_END_MAX, "{}", count(ENDS));
        assert!(control <= questions * ALLOCATIONS_PER_QUESTION_MAX, "{control} of {questions}");
        // A question may begin in one window and end in the next.
        let windows_max = 2 * questions + (pushed_back + SLOW_VIEWERS) as u64;
        assert!(loud <= windows_max, "{loud} windows, {questions} questions");
    }
}

fn watch(send: &str, egress: Driver, runtime: RuntimeDriver) -> Seen {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let hashes = hashes();
    let engine = engine(&hashes);
    let more = [("PROXY_BUFFER_TTL", "2"), ("RINGCAST_SEND", send)];
    let server = Server::start(&engine, &more, egress, runtime);
    let crowd = Crowd::join(server.address, &hashes);
    crowd.await_more(WARM_UP_BYTES);
    let questions = engine.control().counters().requests;
    let bytes = crowd.bytes();
    let mut windows = Vec::with_capacity(WINDOWS);
    WATCHING.store(true, Relaxed);
    for window in 0..WINDOWS {
        if window == SLOW_UNTIL_WINDOW {
            crowd.received.is_slow.store(false, Relaxed);
        }
        let before = ALLOCATIONS.load(Relaxed);
        crowd.await_more(WINDOW_BYTES);
        windows.push(ALLOCATIONS.load(Relaxed) - before);
    }
    WATCHING.store(false, Relaxed);
    let bytes = crowd.bytes() - bytes;
    // Those that were underway at the beginning are answered while watched: of each stream one,
    // and whether the engine lives.
    let underway = STREAMS as u64 + 1;
    let questions = engine.control().counters().requests - questions + underway;
    let traces = std::mem::take(&mut *TRACES.lock().unwrap_or_else(PoisonError::into_inner));
    // A zero-copy send in flight holds memory, so that whoever leaves it there is closed.
    let skips = server.metric("ringcast_viewer_skips_total");
    let closed = server.metric("ringcast_viewer_closed_total{reason=\"slow\"}");
    assert!(skips + closed >= SLOW_VIEWERS as f64, "{skips} skips, {closed} closed");
    crowd.leave();
    server.stop();
    Seen { windows, traces, questions, bytes }
}

/// One stream of each shard.
fn hashes() -> Vec<String> {
    let text = |n: u32| format!("{:032x}{n:08x}", 0xa110c_u32);
    let of_shard = |shard: usize| {
        let mut all = (0..).map(text);
        let is_its = |hash: &String| {
            let target = Target::Infohash(Infohash::parse(hash.as_bytes()).unwrap());
            usize::from(home(&target, SHARDS).0) == shard
        };
        all.find(is_its).unwrap()
    };
    (0..STREAMS).map(|stream| of_shard(stream % SHARDS)).collect()
}

fn engine(hashes: &[String]) -> Emulator {
    engine_of(hashes, BITRATE_BPS, BURST_BYTES)
}

fn engine_of(hashes: &[String], bitrate_bps: u64, burst_bytes: u64) -> Emulator {
    let config =
        Config::default().knob(Knob::BurstBytes, burst_bytes).knob(Knob::PieceBytes, 48_000_u64);
    let channel = |hash: &String| Channel::signed(hash).bitrate_bps(bitrate_bps);
    let config = hashes.iter().fold(config, |config, hash| config.channel(channel(hash)));
    Emulator::start(config).expect("the emulated engine starts")
}

/// Viewers that read whatever comes, on a thread of their own.
struct Crowd {
    received: Arc<Received>,
    reader: JoinHandle<()>,
}

#[derive(Default)]
struct Received {
    bytes: Mutex<Vec<u64>>,
    grown: Condvar,
    /// The slow ones do not read.
    is_slow: AtomicBool,
    is_over: AtomicBool,
}

impl Crowd {
    fn join(address: SocketAddr, hashes: &[String]) -> Self {
        let viewer = |n: usize| {
            let mut socket = connect(address);
            let path = format!("/ace/getstream?infohash={}", hashes[n % hashes.len()]);
            write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let sockets: Vec<TcpStream> = (0..VIEWERS).map(viewer).collect();
        let received = Arc::new(Received::default());
        *received.bytes.lock().unwrap() = vec![0; VIEWERS];
        received.is_slow.store(true, Relaxed);
        let theirs = received.clone();
        let reader = std::thread::spawn(move || theirs.read(sockets));
        Self { received, reader }
    }

    /// Waits until every viewer that is not slow has got so many bytes more.
    fn await_more(&self, bytes: u64) {
        let mut now = self.received.bytes.lock().unwrap();
        let goals: Vec<u64> = now.iter().map(|had| had + bytes).collect();
        while now.iter().zip(&goals).skip(SLOW_VIEWERS).any(|(have, goal)| have < goal) {
            let (guard, waited) = self.received.grown.wait_timeout(now, PATIENCE).unwrap();
            now = guard;
            assert!(!waited.timed_out(), "nobody got anything: {now:?}");
        }
    }

    fn bytes(&self) -> u64 {
        self.received.bytes.lock().unwrap().iter().sum()
    }

    fn leave(self) {
        self.received.is_over.store(true, Relaxed);
        self.reader.join().unwrap();
    }
}

impl Received {
    fn read(&self, mut sockets: Vec<TcpStream>) {
        let mut buffer = vec![0; 256 * 1_024];
        let mut got = vec![0; sockets.len()];
        let mut gone = vec![false; sockets.len()];
        while !self.is_over.load(Relaxed) {
            for at in self.readable(&sockets, &gone) {
                let n = sockets[at].read(&mut buffer).unwrap_or(0);
                assert!(n > 0 || at < SLOW_VIEWERS, "the stream ended");
                gone[at] = n == 0;
                got[at] = n as u64;
            }
            let mut bytes = self.bytes.lock().unwrap();
            for (sum, n) in bytes.iter_mut().zip(&mut got) {
                *sum += std::mem::take(n);
            }
            drop(bytes);
            self.grown.notify_all();
        }
    }

    /// Those that have something to read, and read now; awaited.
    fn readable(&self, sockets: &[TcpStream], gone: &[bool]) -> Vec<usize> {
        let bytes = self.bytes.lock().unwrap();
        let is_slow = self.is_slow.load(Relaxed);
        let pauses = |at: usize| is_slow && at < SLOW_VIEWERS && bytes[at] >= SLOW_BYTES;
        let reads = |at: &usize| !gone[*at] && !pauses(*at);
        let reading: Vec<usize> = (0..sockets.len()).filter(reads).collect();
        drop(bytes);
        let polled = |at: &usize| PollFd::new(&sockets[*at], PollFlags::IN);
        let mut polled: Vec<PollFd<'_>> = reading.iter().map(polled).collect();
        let timeout = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        rustix::event::poll(&mut polled, Some(&timeout)).unwrap();
        let ready = polled.iter().map(|one| !one.revents().is_empty());
        reading.into_iter().zip(ready).filter_map(|(at, ready)| ready.then_some(at)).collect()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let fd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&fd, RECEIVE_BYTES).unwrap();
    rustix::net::connect(&fd, &address).unwrap();
    TcpStream::from(fd)
}
