//! The shared state of one emulator: channels, knobs, sessions, connections, counters.
//!
//! Lock order: `world` before nothing; no I/O happens under it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::clock::now_us;
use crate::config::Channel;
use crate::config::Config;
use crate::config::SignedSource;
use crate::config::Source;
use crate::config::is_hex40;
use crate::config::tag_of;
use crate::conn::Conn;
use crate::conn::End;
use crate::counters::Counting;
use crate::knobs::Knob;
use crate::knobs::Knobs;
use crate::prng::Prng;
use crate::server::Listeners;
use crate::session::Sessions;
use crate::source::Media;
use crate::source::picture::Picture;
use crate::source::signed::Signed;
use crate::source::signed::SignedConfig;

const HISTORY_US: u64 = 1_800_000_000;

/// Everything that changes, under one lock.
pub(crate) struct World {
    pub(crate) channels: BTreeMap<String, Arc<Tuned>>,
    pub(crate) knobs: Knobs,
    pub(crate) sessions: Sessions,
    pub(crate) prng: Prng,
    pub(crate) conns: BTreeMap<u64, Arc<Conn>>,
}

/// A channel with its medium (`None`: offline).
pub(crate) struct Tuned {
    pub(crate) channel: Channel,
    pub(crate) media: Option<Arc<dyn Media>>,
}

pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) epoch_us: u64,
    pub(crate) counting: Counting,
    pub(crate) next_conn: AtomicU64,
    /// The emulator is being dropped.
    pub(crate) over: AtomicBool,
    /// The knob `refuse` closed the listeners.
    pub(crate) refusing: AtomicBool,
    pub(crate) listeners: Mutex<Listeners>,
    world: Mutex<World>,
    changed: Condvar,
}

impl Engine {
    pub(crate) fn new(config: Config) -> io::Result<Arc<Engine>> {
        let epoch_us = config.epoch_us.unwrap_or_else(|| now_us() - HISTORY_US);
        let mut knobs = Knobs::default();
        for (knob, value) in &config.knobs {
            knobs.set(*knob, value.clone(), None, None);
        }
        let mut channels = BTreeMap::new();
        for channel in &config.channels {
            channels.insert(channel.infohash.clone(), Arc::new(tune(channel.clone(), epoch_us)?));
        }
        let world = World {
            channels,
            knobs,
            sessions: Sessions::default(),
            prng: Prng::new(config.seed ^ now_us()),
            conns: BTreeMap::new(),
        };
        Ok(Arc::new(Engine {
            config,
            epoch_us,
            counting: Counting::default(),
            next_conn: AtomicU64::new(1),
            over: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            listeners: Mutex::default(),
            world: Mutex::new(world),
            changed: Condvar::new(),
        }))
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait for a condition that something may have changed.
    pub(crate) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits a little for a change; the caller looks again.
    pub(crate) fn wait_change(&self, ms: u64) {
        let world = self.world();
        drop(self.changed.wait_timeout(world, std::time::Duration::from_millis(ms)));
    }

    pub(crate) fn elapsed_us(&self) -> u64 {
        now_us().saturating_sub(self.epoch_us)
    }

    pub(crate) fn put_channel(&self, channel: Channel) -> io::Result<()> {
        let tuned = tune(channel, self.epoch_us)?;
        self.world().channels.insert(tuned.channel.infohash.clone(), Arc::new(tuned));
        self.notify();
        Ok(())
    }

    /// The channel of an infohash; an unknown one becomes an offline or a signed channel.
    pub(crate) fn channel(&self, infohash: &str) -> Arc<Tuned> {
        let mut world = self.world();
        if let Some(known) = world.channels.get(infohash) {
            return known.clone();
        }
        let mut channel = Channel::offline(infohash);
        if world.knobs.peek_flag(Knob::AnyInfohash, None) {
            channel.source = Source::Signed(SignedSource {
                bitrate_bps: world.knobs.peek_number(Knob::AnyBitrateBps, None),
                tag: tag_of(infohash),
                ..SignedSource::default()
            });
        }
        let offline = Tuned { channel: Channel::offline(infohash), media: None };
        let tuned = Arc::new(tune(channel, self.epoch_us).unwrap_or(offline));
        if tuned.media.is_some() {
            world.channels.insert(infohash.to_owned(), tuned.clone());
        }
        tuned
    }

    /// The infohash of a content id (or URL) in the catalogue.
    pub(crate) fn resolve(&self, content_id: &str) -> Option<String> {
        let world = self.world();
        let known = world.channels.values().find(|tuned| {
            tuned.channel.content_ids.iter().any(|id| id.eq_ignore_ascii_case(content_id))
        });
        if let Some(tuned) = known {
            return Some(tuned.channel.infohash.clone());
        }
        let accepted = world.knobs.peek_flag(Knob::IdAcceptsInfohash, None);
        (accepted && is_hex40(content_id)).then(|| content_id.to_ascii_lowercase())
    }

    pub(crate) fn register(&self, conn: &Arc<Conn>) {
        self.world().conns.insert(conn.id, conn.clone());
        self.notify();
    }

    pub(crate) fn unregister(&self, conn: &Conn) {
        self.world().conns.remove(&conn.id);
        self.notify();
    }

    /// The process dies: every connection is reset, every session forgotten.
    pub(crate) fn lose_everything(&self) {
        let conns: Vec<Arc<Conn>> = {
            let mut world = self.world();
            world.sessions.lose_all(&self.counting);
            world.conns.values().filter(|conn| !conn.control).cloned().collect()
        };
        for conn in conns {
            conn.end(End::Killed);
        }
        self.notify();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The address of the first listener, also while it is closed.
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.addrs.first().copied()
    }
}

fn tune(channel: Channel, epoch_us: u64) -> io::Result<Tuned> {
    let media: Option<Arc<dyn Media>> = match &channel.source {
        Source::Offline => None,
        Source::Picture => Some(Picture::shared()),
        Source::Signed(source) => {
            let signed = Signed::new(signed_config(source, epoch_us));
            Some(Arc::new(signed.map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?))
        }
    };
    Ok(Tuned { channel, media })
}

pub(crate) fn signed_config(source: &SignedSource, epoch_us: u64) -> SignedConfig {
    SignedConfig {
        tag: source.tag,
        bitrate_bps: source.bitrate_bps,
        gop_ms: source.gop_ms,
        video: source.video,
        clock_start_90k: source.clock_start_90k,
        epoch_us,
    }
}
