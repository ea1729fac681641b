//! The fleet of shard threads: what they share, how they start, how they end.

use crate::admin::hygiene::AddressMode;
use crate::base::ids::ShardId;
use crate::base::time;
use crate::base::time::Instant;
use crate::engine::pool;
use crate::mirror::Order;
use crate::mirror::Outbox;
use crate::mirror::Shards;
use crate::mirror::Status;
use crate::mirror::snapshots::Shelf;
use crate::net::bell::Bell;
use crate::net::egress::Driver;
use crate::net::egress::EgressConfig;
use crate::net::egress::RingEgress;
use crate::net::listen;
use crate::net::listen::Acceptor;
use crate::net::listen::Listener;
use crate::net::listen::Stopper;
use crate::net::runtime;
use crate::net::runtime::RuntimeDriver;
use crate::registry::directory::DirectoryConfig;
use crate::registry::resolver::ResolverConfig;
use crate::ring::Arena;
use crate::shard::accept;
use crate::shard::audience::SendMode;
use crate::shard::blocks::Blocks;
use crate::shard::core::Parts;
use crate::shard::core::Shard;
use crate::shard::live::Live;
use crate::shard::lost;
use crate::shard::lost::Estate;
use crate::shard::mailbox;
use crate::shard::mailbox::Mailboxes;
use crate::shard::message::Message;
use crate::shard::room;
use crate::shard::seats;
use crate::shard::seats::PerAddress;
use crate::shard::seats::Seats;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::time::Duration;

/// Clients at once that are told that there are too many. They too are open files.
const TURNED_AWAY_MAX: usize = 32;
/// Connections at once that have lost their place to a newcomer and are not closed yet.
const LEAVING_MAX: usize = 16;

/// Everything that a shard needs to know, in plain values.
#[derive(Clone)]
pub struct Config {
    pub version: &'static str,
    /// What a reload may change, as it is at the start.
    pub live: Live,
    pub policy: crate::viewer::Policy,
    pub session: crate::stream::Settings,
    pub init_timeout: Duration,
    pub buffer_ttl: Duration,
    /// A part of a head that is not complete after this is answered 408.
    pub head_timeout: Duration,
    pub resolver: ResolverConfig,
    pub directory: DirectoryConfig,
    pub addresses: AddressMode,
    pub runtime: RuntimeDriver,
    pub egress: Driver,
    pub send: SendMode,
    /// CPUs to pin to, one a shard; empty = not pinned.
    pub pin: Vec<usize>,
    pub memory_bytes: u64,
    /// Descriptors for connections, streams and engines: what the limit of open files leaves.
    pub files_max: usize,
    /// Other nodes may reach this one: streams are shared with them.
    pub has_nodes: bool,
    /// `PROXY_HEARTBEAT_INTERVAL`: how often Redis hears of each viewer.
    pub heartbeat: Duration,
}

/// Work that may block, for the main thread: names, which it passes on, and files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Chore {
    Resolve {
        name: String,
    },
    Watch {
        path: String,
    },
    Unwatch {
        path: String,
    },
    /// The process got a signal.
    Signal(i32),
    /// A shard thread has ended; true when it ended in order.
    Ended {
        shard: ShardId,
        clean: bool,
    },
}

/// Messages from outside of the mesh: the main thread's. Rare, so a lock will do.
pub(crate) struct Inbox {
    messages: Mutex<Vec<Message>>,
    bell: Bell,
}

impl Inbox {
    pub(crate) fn put(&self, message: Message) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        self.bell.ring();
    }

    pub(crate) fn take(&self, give: &mut impl FnMut(Message)) {
        // An empty inbox is the rule: looked at once a turn, without waiting for the lock.
        let Ok(mut messages) = self.messages.try_lock() else { return };
        messages.drain(..).for_each(give);
    }
}

impl mailbox::Ring for Bell {
    fn ring(&self) {
        Self::ring(self);
    }
}

struct Orders(Vec<Arc<Inbox>>);

impl Shards for Orders {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn order(&self, shard: Option<usize>, order: Order) {
        match shard {
            Some(shard) => self.0[shard].put(Message::Mirror(order)),
            None => self.0.iter().for_each(|inbox| inbox.put(Message::Mirror(order.clone()))),
        }
    }
}

/// What all shards of a process share. Counts here change when a viewer or a stream comes or
/// goes, never with a byte.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) arena: &'static Arena,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) boot_nonce: u64,
    pub(crate) boot_seed: u64,
    pub(crate) started: Instant,
    pub(crate) journal: Option<crate::mirror::journal::Notes>,
    /// Only with snapshots.
    pub(crate) shelf: Option<Shelf>,
    chores: mpsc::Sender<Chore>,
    pub(crate) seats: Arc<Seats>,
    /// Cold starts in flight.
    pub(crate) starts: Arc<PerAddress>,
    pub(crate) blocks: Blocks,
    /// Places for connections of any kind, and for what streams need (`room`).
    pub(crate) sockets: Arc<Seats>,
    /// Those of them that are only told that there are too many.
    pub(crate) turned_away: Arc<Seats>,
    /// Those that have lost their place to a newcomer.
    pub(crate) leaving: Arc<Seats>,
    pub(crate) spread: bool,
    /// Only with Redis.
    pub(crate) mirror: Option<Arc<Status>>,
    streams: AtomicUsize,
    /// Shards that drain and have nothing left, or are gone; one bit each.
    quiet: AtomicU64,
    /// When each shard last turned, in microseconds of the one clock.
    ticks: Vec<AtomicU64>,
}

impl Shared {
    pub(crate) fn tick(&self, shard: ShardId, now: Instant) {
        self.ticks[usize::from(shard.0)].store(now.as_micros(), Relaxed);
    }

    pub(crate) fn set_quiet(&self, shard: ShardId, quiet: bool) {
        let bit = 1 << shard.0;
        if quiet {
            self.quiet.fetch_or(bit, Relaxed);
        } else {
            self.quiet.fetch_and(!bit, Relaxed);
        }
    }

    pub(crate) fn is_everybody_quiet(&self) -> bool {
        self.quiet.load(Relaxed).count_ones() as usize == self.ticks.len()
    }

    pub(crate) fn chore(&self, chore: Chore) {
        // The main thread outlives the shards; if it is gone, so are we in a moment.
        let _ = self.chores.send(chore);
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.load(Relaxed)
    }

    /// Counts one more stream, unless there are `max` already (0 = no limit).
    pub(crate) fn stream_opens(&self, max: usize) -> bool {
        seats::one_more(&self.streams, max)
    }

    pub(crate) fn streams_closed(&self, n: usize) {
        self.streams.fetch_sub(n, Relaxed);
    }
}

/// What a fleet is started from.
pub struct Launch {
    pub config: Config,
    pub arena: &'static Arena,
    /// For each shard its listening sockets.
    pub listeners: Vec<Vec<Listener>>,
    /// There are fewer than shards: who accepts hands on.
    pub spread: bool,
    /// Random bits of this boot: player ids and viewer ids must not repeat those of the last.
    pub boot_seed: u64,
    /// Where open engine sessions are put down, if anywhere.
    pub journal: Option<crate::mirror::journal::Notes>,
    /// Where the streams' rings are told to the mirror, if they are.
    pub shelf: Option<Shelf>,
    /// One for each shard, or none without Redis.
    pub outboxes: Vec<Outbox>,
    pub mirror: Option<Arc<Status>>,
}

/// The running shard threads, as the main thread sees them.
pub struct Fleet {
    shared: Arc<Shared>,
    pub chores: mpsc::Receiver<Chore>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Fleet {
    pub fn start(launch: Launch) -> io::Result<Self> {
        let Launch { config, arena, listeners, spread, boot_seed, .. } = launch;
        let Launch { journal, shelf, outboxes, mirror, .. } = launch;
        let shards = listeners.len();
        let bells = (0..shards).map(|_| Bell::new()).collect::<io::Result<Vec<_>>>()?;
        let rings: Vec<Arc<dyn mailbox::Ring>> =
            bells.iter().map(|bell| Arc::new(bell.clone()) as Arc<dyn mailbox::Ring>).collect();
        let inbox =
            |bell: &Bell| Arc::new(Inbox { messages: Mutex::new(Vec::new()), bell: bell.clone() });
        let (sender, chores) = mpsc::channel();
        let live = &config.live;
        let seats = Seats::new(live.viewers_max, live.viewers_per_address_max);
        let starts = PerAddress::new(live.starts_per_address_max);
        let sockets = Seats::new(room::places(config.files_max, 1), 0);
        let shared = Arc::new(Shared {
            config,
            arena,
            inboxes: bells.iter().map(inbox).collect(),
            boot_nonce: boot_seed & 0xFF_FFFF,
            boot_seed,
            started: time::now(),
            journal,
            shelf,
            chores: sender,
            seats: Arc::new(seats),
            starts: Arc::new(starts),
            blocks: Blocks::default(),
            sockets: Arc::new(sockets),
            turned_away: Arc::new(Seats::new(TURNED_AWAY_MAX, 0)),
            leaving: Arc::new(Seats::new(LEAVING_MAX, 0)),
            spread,
            mirror,
            streams: AtomicUsize::new(0),
            quiet: AtomicU64::new(0),
            ticks: (0..shards).map(|_| AtomicU64::new(time::now().as_micros())).collect(),
        });
        let mut threads = Vec::with_capacity(shards);
        let mails = mailbox::mesh(&rings);
        let mut outboxes = outboxes.into_iter();
        for ((mail, listeners), bell) in mails.into_iter().zip(listeners).zip(bells) {
            let outbox = outboxes.next();
            let shared = shared.clone();
            let me = mail.me();
            let builder = std::thread::Builder::new().name(format!("shard-{}", me.0));
            threads.push(builder.spawn(move || {
                let clean = run(&shared, mail, outbox, listeners, &bell);
                shared.set_quiet(me, true);
                shared.chore(Chore::Ended { shard: me, clean });
            })?);
        }
        Ok(Self { shared, chores, threads })
    }

    pub fn shards(&self) -> usize {
        self.threads.len()
    }

    /// For other threads that have something to tell the main thread.
    pub fn sender(&self) -> mpsc::Sender<Chore> {
        self.shared.chores.clone()
    }

    /// How long the shard that turned least recently has not.
    pub fn oldest_tick_age(&self, now: Instant) -> Duration {
        let ticks = self.shared.ticks.iter().map(|tick| tick.load(Relaxed));
        now.since(Instant::from_micros(ticks.min().unwrap_or(0)))
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// To the pool, on shard 0.
    pub fn tell_pool(&self, input: pool::Input) {
        self.shared.inboxes[0].put(Message::Pool(input));
    }

    /// The same, for another thread.
    pub fn pool_teller(&self) -> impl Fn(pool::Input) + Send + Sync + use<> {
        let inbox = self.shared.inboxes[0].clone();
        move |input| inbox.put(Message::Pool(input))
    }

    /// For tests of what comes then.
    #[cfg(debug_assertions)]
    pub fn panic_in(&self, shard: ShardId) {
        self.shared.inboxes[usize::from(shard.0)].put(Message::Panic);
    }

    /// For the mirror's thread: what it asks goes to the inboxes.
    pub fn orders(&self) -> Arc<dyn Shards> {
        Arc::new(Orders(self.shared.inboxes.clone()))
    }

    /// Every shard stops accepting, ends its viewers, stops its sessions, then its thread ends.
    pub fn drain(&self) {
        self.shared.inboxes.iter().for_each(|inbox| inbox.put(Message::Drain));
    }

    /// Waits for threads that have said they ended.
    pub fn join(self) {
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// A shard thread's life. False when it did not end in order.
fn run(
    shared: &Arc<Shared>,
    mail: Mailboxes<Message>,
    outbox: Option<Outbox>,
    mut listeners: Vec<Listener>,
    bell: &Bell,
) -> bool {
    let me = mail.me();
    let config = &shared.config;
    if let Some(cpu) = config.pin.get(usize::from(me.0))
        && let Err(error) = crate::net::host::pin_thread(*cpu)
    {
        tracing::warn!("shard {} is not pinned to CPU {cpu}: {error}", me.0);
    }
    let mut estate = Estate::first(mail, outbox, shared);
    let mut panicked_at = None;
    loop {
        let again: Vec<listen::Again> = listeners.iter().filter_map(listen::Again::of).collect();
        let life = || live(shared.clone(), estate, listeners, bell.clone());
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime::run_shard(config.runtime, life)
        }));
        match caught {
            Ok(Ok(Ok(()))) => return true,
            Ok(Ok(Err(error)) | Err(error)) => {
                tracing::error!("shard {} cannot run: {error}", me.0);
                return false;
            }
            Err(_) => {}
        }
        let closed = runtime::abandon_all();
        let now = time::now();
        let before: Option<Instant> = panicked_at.replace(now);
        let is_first = before.is_none_or(|at| now.since(at) > lost::PANIC_AGAIN_MAX);
        let heir = lost::take_estate().filter(|_| is_first);
        let Some(heir) = heir else {
            tracing::error!("shard {} panicked; {closed} connections closed", me.0);
            return false;
        };
        tracing::error!("shard {} panicked; {closed} connections closed; it starts again", me.0);
        estate = heir;
        listeners = match again.into_iter().map(listen::Again::listen).collect() {
            Ok(listeners) => listeners,
            Err(error) => {
                tracing::error!("shard {} cannot listen again: {error}", me.0);
                return false;
            }
        };
    }
}

async fn live(
    shared: Arc<Shared>,
    mut estate: Estate,
    listeners: Vec<Listener>,
    bell: Bell,
) -> io::Result<()> {
    let slots_max = 1 << 20;
    let buffers_max = match shared.config.send {
        SendMode::Auto | SendMode::ZeroCopy => shared.arena.regions_max(),
        SendMode::Copy | SendMode::Shared => 0,
    };
    let driver = shared.config.egress;
    let egress = RingEgress::new(&EgressConfig { driver, slots_max, buffers_max })?;
    let wake = crate::net::bell::Watch::new(egress.wake_fd())?;
    let waiter = bell.waiter()?;
    let debts = estate.take_debts();
    let shard = Shard::new(Parts { shared, estate, egress });
    lost::remember(&shard);
    if let Some(debts) = debts {
        shard.with(|core| core.settle_estate(debts));
    }
    let mut stoppers = Vec::new();
    for listener in listeners {
        let acceptor = Acceptor::of(listener, accept::no_room())?;
        stoppers.push(acceptor.stopper());
        runtime::spawn(accept::accept(shard.clone(), acceptor));
    }
    let woken = shard.clone();
    runtime::spawn(async move {
        while waiter.wait().await.is_ok() {
            woken.notify();
        }
    });
    let reaping = shard.clone();
    runtime::spawn(async move {
        while wake.readable().await.is_ok() {
            reaping.with(crate::shard::core::Core::drain_egress);
        }
    });
    let ended = std::rc::Rc::new(runtime::Signal::new());
    let end = ended.clone();
    runtime::spawn(async move {
        turns(&shard, stoppers).await;
        end.notify();
    });
    ended.wait().await;
    lost::forget();
    Ok(())
}

async fn turns(shard: &Shard, mut stoppers: Vec<Stopper>) {
    loop {
        let next = shard.turn();
        if shard.quietly(|core| core.draining) {
            stoppers.drain(..).for_each(|stopper| stopper.stop());
            if shard.quietly(|core| core.is_everybody_quiet()) {
                return;
            }
        }
        wait(shard, next).await;
        let rest = shard.quietly(|core| core.rests_until());
        if rest > time::now() {
            runtime::sleep_until(rest).await;
        }
    }
}

/// Until something happened or `next` has come.
async fn wait(shard: &Shard, next: Instant) {
    if next <= time::now() {
        // Others first: a mailbox that is full must get a chance to empty.
        runtime::yield_now().await;
        return;
    }
    shard.signalled_until(next).await;
}
