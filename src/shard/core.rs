//! One shard's state and its turn: collect completions and messages, decide, submit once.
//!
//! Everything here is synchronous and runs on the shard's own thread; no borrow of [`Core`] lives
//! across an await. Brains are fed here and nowhere else: handle, then drain to quiet.

use crate::base::ids::Infohash;
use crate::base::ids::ShardId;
use crate::base::ids::Target;
use crate::base::ids::ViewerId;
use crate::base::time;
use crate::base::time::Instant;
use crate::engine::pool::Pool;
use crate::net::egress::Event;
use crate::net::egress::RingEgress;
use crate::net::runtime::Signal;
use crate::registry::directory::Directory;
use crate::registry::resolver::Resolver;
use crate::ring::SlabCache;
use crate::shard::Shared;
use crate::shard::agenda::Agenda;
use crate::shard::audience::Audience;
use crate::shard::audience::Paths;
use crate::shard::audience::Round;
use crate::shard::channel::ChannelId;
use crate::shard::claims::Claims;
use crate::shard::conversations::Conversations;
use crate::shard::gather::Gather;
use crate::shard::leasing::Contests;
use crate::shard::live::Live;
use crate::shard::lost::Estate;
use crate::shard::lost::Lives;
use crate::shard::mailbox::Mailboxes;
use crate::shard::message::Message;
use crate::shard::mirror::Teller;
use crate::shard::seats::Paid;
use crate::shard::source::Source;
use crate::shard::stats::Stats;
use crate::viewer::CloseReason;
use slab::Slab;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::rc::Weak;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that one read of an engine's socket may bring: the shard's only receive buffer.
pub(crate) const SCRATCH_BYTES: usize = 256 * 1024;

/// A server that ends gives its viewers so long to take what is in the ring, so that they end with
/// a whole packet. Of the 8 s that the process has, the stops need 5.
const LAST_BYTES_MAX: Duration = Duration::from_secs(2);

/// Those who then still hold memory by not acknowledging are reset after so long.
const LAST_ACKS_MAX: Duration = Duration::from_secs(1);

/// Between two turns without rest there are only the tasks that woke.
const SLEPT_MIN: Duration = Duration::from_millis(1);

/// A turn looks at every audience that there is, some 50 ns of them each. So with many of them turns
/// keep their distance: what happens in between is done together, and looking stays some percent of
/// a core whatever the number. It delays a byte by this at most.
const TURN_APART_PER_AUDIENCE: Duration = Duration::from_micros(4);
const TURN_APART_MAX: Duration = Duration::from_millis(4);

/// Fewer audiences need no distance.
const AUDIENCES_APART_MIN: usize = 128;

/// A shard that has nothing left looks this often whether the others have.
const QUIET_TURN_MAX: Duration = Duration::from_millis(10);

/// An idle shard still looks around this often, so that /readyz can tell it lives.
const IDLE_TURN_MAX: Duration = Duration::from_secs(1);

/// When a drain has begun, a request may take this long to come.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// The handle that tasks of a shard hold.
#[derive(Clone)]
pub(crate) struct Shard(Rc<Cell>);

struct Cell {
    /// None once it was taken, after a panic: nothing of the shard runs again.
    core: RefCell<Option<Core>>,
    signal: Signal,
}

/// Where a viewer stands: the tag that comes back with every egress event leads here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) audience: usize,
    pub(crate) entry: usize,
}

/// What an answer of the pool is for.
#[derive(Debug)]
pub(crate) enum Wanted {
    Session { serial: u64, generation: crate::base::ids::Generation },
    Query { query: crate::registry::resolver::QueryId, id: Infohash, deadline: Instant },
}

pub(crate) struct Core {
    pub(crate) me: ShardId,
    /// How many had this number before.
    pub(crate) life: u32,
    pub(crate) lives: Lives,
    pub(crate) now: Instant,
    /// What this turn finds has not come before then.
    pub(crate) news_since: Instant,
    /// When the last turn began and ended.
    turned: (Instant, Instant),
    pub(crate) shared: Arc<Shared>,
    pub(crate) live: Arc<Live>,
    pub(crate) mail: Mailboxes<Message>,
    pub(crate) egress: RingEgress,
    pub(crate) events: Vec<Event>,
    pub(crate) paths: Paths,
    pub(crate) cache: SlabCache,
    pub(crate) places: Slab<Place>,
    pub(crate) audiences: Slab<Audience>,
    pub(crate) audience_keys: BTreeMap<Target, usize>,
    /// Streams that this shard owns, by serial.
    pub(crate) sources: BTreeMap<u64, Source>,
    pub(crate) source_keys: BTreeMap<Target, u64>,
    pub(crate) agenda: Agenda,
    pub(crate) resolver: Resolver,
    pub(crate) directory: Directory,
    pub(crate) claims: Claims,
    pub(crate) pool: Option<Pool>,
    pub(crate) wanted: BTreeMap<u64, Wanted>,
    pub(crate) contests: Contests,
    pub(crate) resolving: BTreeMap<u64, Target>,
    /// Questions that are out here, each paid for by the address that it was asked for.
    pub(crate) tickets: BTreeMap<u64, (Target, Paid)>,
    pub(crate) gathers: BTreeMap<u64, Rc<Gather>>,
    pub(crate) scratch: Box<[u8]>,
    /// Bytes that go before or between ranges of a ring, built anew for each viewer.
    pub(crate) out: Vec<u8>,
    /// What a turn found to do; kept so that a turn allocates nothing.
    pub(crate) due_audiences: Vec<usize>,
    pub(crate) round: Round,
    pub(crate) due_sources: Vec<u64>,
    pub(crate) stats: Stats,
    /// Only with Redis.
    pub(crate) teller: Option<Teller>,
    pub(crate) draining: bool,
    pub(crate) conversations: Conversations,
    /// When viewers who have not taken the last of their bytes by now are closed all the same.
    drain_until: Instant,
    abort_at: Instant,
    /// When sockets that take nothing are looked at next.
    pub(crate) look_at: Instant,
    /// Requests to engines that must end before the thread may: stops.
    pub(crate) stops_pending: u32,
    /// Opens that wait for the journal.
    pub(crate) journal_waits: BTreeMap<u64, Rc<crate::net::runtime::Signal>>,
    next_token: u64,
    next_viewer: u64,
    next_serial: u64,
    handle: Weak<Cell>,
}

pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) estate: Estate,
    pub(crate) egress: RingEgress,
}

const TAKEN: &str = "a shard whose core was taken runs no more";

impl Shard {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Rc::new_cyclic(|handle| Cell {
            core: RefCell::new(Some(Core::new(parts, handle.clone()))),
            signal: Signal::new(),
        }))
    }

    /// Runs `act` on the state, then lets a turn follow.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        let result = self.quietly(act);
        self.0.signal.notify();
        result
    }

    /// Runs `act` on the state without asking for a turn.
    pub(crate) fn quietly<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.0.core.borrow_mut();
        let core = core.as_mut().expect(TAKEN);
        core.now = time::now();
        act(core)
    }

    /// After a panic: None when the panicking frame still holds it.
    pub(super) fn take_core(&self) -> Option<Core> {
        self.0.core.try_borrow_mut().ok()?.take()
    }

    pub(crate) fn notify(&self) {
        self.0.signal.notify();
    }

    pub(crate) async fn signalled_until(&self, at: Instant) {
        self.0.signal.wait_until(at).await;
    }

    /// One turn; when to come back though nothing wakes the shard.
    pub(crate) fn turn(&self) -> Instant {
        self.0.core.borrow_mut().as_mut().expect(TAKEN).turn()
    }
}

impl Core {
    fn new(parts: Parts, handle: Weak<Cell>) -> Self {
        let Parts { shared, estate, egress } = parts;
        let config = &shared.config;
        let Estate { lives, mail, outbox, live, pool, directory, claims, stats, .. } = estate;
        let (tokens, viewers, serials) = (estate.tokens, estate.viewers, estate.serials);
        let sources: BTreeMap<u64, Source> =
            estate.sources.into_iter().map(|source| (source.id.serial, source)).collect();
        let of = |(serial, source): (&u64, &Source)| {
            source.keys.iter().map(|key| (key.clone(), *serial)).collect::<Vec<_>>()
        };
        let source_keys = sources.iter().flat_map(of).collect();
        Self {
            me: mail.me(),
            life: estate.life,
            lives,
            now: time::now(),
            news_since: time::now(),
            turned: (time::now(), time::now()),
            live,
            mail,
            paths: Paths::new(config.send, &egress),
            egress,
            events: Vec::with_capacity(1_024),
            cache: SlabCache::new(shared.arena),
            places: Slab::new(),
            audiences: Slab::new(),
            audience_keys: BTreeMap::new(),
            sources,
            source_keys,
            agenda: Agenda::new(),
            resolver: Resolver::new(config.resolver),
            directory,
            claims,
            pool,
            wanted: BTreeMap::new(),
            contests: Contests::default(),
            resolving: BTreeMap::new(),
            tickets: BTreeMap::new(),
            gathers: BTreeMap::new(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            out: Vec::with_capacity(64 * 188 + 1_024),
            due_audiences: Vec::new(),
            round: Round::default(),
            due_sources: Vec::new(),
            stats,
            teller: outbox.map(|outbox| Teller::new(outbox, config.heartbeat)),
            draining: false,
            conversations: Conversations::default(),
            drain_until: Instant::NEVER,
            abort_at: Instant::NEVER,
            look_at: Instant::ZERO,
            stops_pending: 0,
            journal_waits: BTreeMap::new(),
            next_token: tokens,
            next_viewer: viewers,
            next_serial: serials,
            handle,
            shared,
        }
    }

    pub(crate) fn handle(&self) -> Shard {
        Shard(self.handle.upgrade().expect("the cell outlives every borrow of its core"))
    }

    /// Those that were given out last: tokens, viewers, serials.
    pub(super) fn numbers(&self) -> (u64, u64, u64) {
        (self.next_token, self.next_viewer, self.next_serial)
    }

    pub(crate) fn next_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    pub(crate) fn next_viewer(&mut self) -> ViewerId {
        self.next_viewer += 1;
        ViewerId(u64::from(self.me.0) << 56 | self.shared.boot_nonce << 32 | self.next_viewer)
    }

    pub(crate) fn next_channel(&mut self) -> ChannelId {
        self.next_serial += 1;
        ChannelId { owner: self.me, serial: self.next_serial }
    }

    /// The audience of a channel, if this shard has one.
    pub(crate) fn audience_of(&self, channel: ChannelId) -> Option<usize> {
        let found =
            self.audiences.iter().find(|(_, audience)| audience.channel_id() == Some(channel));
        found.map(|(at, _)| at)
    }

    fn turn(&mut self) -> Instant {
        let began = time::now();
        self.now = began;
        // A shard that did not sleep has not looked since its last turn began: what it finds now may
        // have waited all that time.
        let slept = began.since(self.turned.1) >= SLEPT_MIN + self.apart();
        self.news_since = if slept { began } else { self.turned.0 };
        self.collect();
        self.receive();
        self.timers();
        self.tend_sources();
        self.serve_audiences();
        // What the viewers' decisions set off here (a count, an answer) is not left for later.
        self.receive();
        if let Err(error) = self.egress.submit() {
            self.stats.submit_errors += 1;
            tracing::warn!("egress submit failed: {error}");
        }
        self.tell_mirror();
        let left = self.mail.flush();
        let ended = time::now();
        self.turned = (began, ended);
        self.stats.turn.record(ended.since(began).as_micros() as u64);
        self.shared.tick(self.me, ended);
        if left || self.mail.has_own() || self.has_ready() {
            return ended;
        }
        let idle_max = if self.draining { QUIET_TURN_MAX } else { IDLE_TURN_MAX };
        self.next_deadline().min(ended + idle_max)
    }

    fn apart(&self) -> Duration {
        match self.audiences.len() {
            ..AUDIENCES_APART_MIN => Duration::ZERO,
            many => (TURN_APART_PER_AUDIENCE * many as u32).min(TURN_APART_MAX),
        }
    }

    /// The next turn begins then at the earliest.
    pub(crate) fn rests_until(&self) -> Instant {
        self.turned.1 + self.apart()
    }

    /// Takes what the egress has to say, so that its wake-up is silent again; the events are
    /// handled in the next turn.
    pub(crate) fn drain_egress(&mut self) {
        self.egress.drain_wake();
        self.egress.reap(&mut self.events);
    }

    fn collect(&mut self) {
        self.drain_egress();
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.on_egress(event);
        }
        self.events = events;
    }

    /// Somebody is to be served again at once: a turn ends before it takes too long.
    fn has_ready(&self) -> bool {
        self.audiences.iter().any(|(_, audience)| !audience.ready.is_empty())
    }

    fn receive(&mut self) {
        self.shared.inboxes[usize::from(self.me.0)].take(&mut |message| {
            self.mail.send(self.me, message);
        });
        while let Some(message) = self.mail.receive() {
            self.on_message(message);
        }
    }

    fn timers(&mut self) {
        let now = self.now;
        if self.resolver.poll_timeout().is_some_and(|at| at <= now) {
            self.resolver.handle_timeout(now);
            self.drain_resolver();
        }
        if let Some(pool) = &mut self.pool
            && pool.poll_timeout().is_some_and(|at| at <= now)
        {
            pool.handle_timeout(now);
            self.drain_pool();
        }
        self.claims_due();
        self.look_for_life();
        self.end_waits();
        if self.drain_until <= now {
            self.drain_until = now + LAST_ACKS_MAX;
            self.finish_everybody(CloseReason::Drain);
            if now >= self.abort_at {
                self.egress.abort_lingering();
            }
        }
    }

    fn next_deadline(&self) -> Instant {
        let mut next = Instant::NEVER;
        let mut consider = |at: Option<Instant>| next = next.min(at.unwrap_or(Instant::NEVER));
        consider(Some(self.drain_until));
        consider(self.mirror_deadline());
        consider(self.resolver.poll_timeout());
        consider(self.claims.next_at());
        consider(self.pool.as_ref().and_then(Pool::poll_timeout));
        consider(Some(self.agenda.next_sweep()));
        for (_, audience) in &self.audiences {
            consider(audience.next_deadline());
        }
        next
    }

    /// True when no shard has anything left: until then each of them answers the others.
    pub(crate) fn is_everybody_quiet(&self) -> bool {
        self.shared.set_quiet(self.me, self.is_quiet());
        // A connection may be on its way from one shard to another.
        self.shared.is_everybody_quiet() && self.shared.sockets.taken() == 0
    }

    /// True when nothing of this shard is left that an engine, a viewer or a client waits for.
    fn is_quiet(&self) -> bool {
        self.sources.is_empty()
            && self.places.is_empty()
            && self.stops_pending == 0
            && self.conversations.is_empty()
    }

    pub(crate) fn drain(&mut self) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        self.drain_until = self.now + LAST_BYTES_MAX;
        self.abort_at = self.drain_until + LAST_ACKS_MAX;
        self.drain_audiences();
        let serials: Vec<u64> = self.sources.keys().copied().collect();
        for serial in serials {
            self.feed(serial, crate::stream::Input::Drain);
        }
        // Whoever is about to ask is still told; whoever only keeps a connection is not waited for.
        let shard = self.handle();
        crate::net::runtime::spawn(async move {
            crate::net::runtime::sleep(LAST_WORDS_MAX).await;
            shard.quietly(|core| {
                core.conversations.end_the_silent();
            });
        });
    }
}
