//! `ringcast serve`: boots the shards, then stays the thread that may block on files, handles
//! signals and feeds the watchdog, until they have ended.
//!
//! Order of a boot: everything that can fail comes before the first listener accepts, and the
//! sockets are bound before memory is reserved, so that a port in use costs nothing.

use crate::app::boot::Boot;
use crate::app::errand::Errands;
use crate::app::journaling::Journaling;
use crate::app::log;
use crate::app::mirror;
use crate::app::reload::Reload;
use crate::app::wire;
use crate::base::sizes::MIB;
use crate::base::sizes::REGION_BYTES_MAX;
use crate::base::time;
use crate::base::time::Instant;
use crate::config::Settings;
use crate::engine::pool;
use crate::mirror::Mirror;
use crate::mirror::Prepared;
use crate::net::host;
use crate::net::listen;
use crate::net::listen::Inherited;
use crate::net::listen::ListenConfig;
use crate::net::listen::Listener;
use crate::ring::Arena;
use crate::ring::ArenaConfig;
use crate::shard::Chore;
use crate::shard::Fleet;
use crate::shard::Launch;
use sd_notify::NotifyState;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// A container is killed 10 s after SIGTERM; we are gone after this.
const END_MAX: Duration = Duration::from_secs(8);

/// The shards' part of it. What they leave is the journal's and the mirror's.
const DRAIN_MAX: Duration = Duration::from_millis(6_500);

/// Watched files and the watchdog are looked at this often.
const ROUND: Duration = Duration::from_secs(1);

/// A shard that has not turned for so long hangs: the watchdog of systemd is not fed.
const TICK_AGE_MAX: Duration = Duration::from_secs(5);

/// What the mirror still has to say: leases that go back, records that end.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// Until when what.
#[derive(Clone, Copy)]
struct Ending {
    drained_by: Instant,
    ended_by: Instant,
}

impl Ending {
    /// Nobody wants us to end.
    const NONE: Self = Self { drained_by: Instant::NEVER, ended_by: Instant::NEVER };

    fn begins(now: Instant) -> Self {
        Self { drained_by: now + DRAIN_MAX, ended_by: now + END_MAX }
    }

    fn has_begun(self) -> bool {
        self.ended_by != Instant::NEVER
    }

    /// How long the next chore is waited for.
    fn round(self, now: Instant) -> Duration {
        self.drained_by.since(now).min(ROUND)
    }

    fn last_words(self, now: Instant) -> Duration {
        self.ended_by.since(now).min(LAST_WORDS_MAX)
    }
}

pub fn run(boot: Boot) -> ExitCode {
    let _log = log::init(boot.settings.log, boot.settings.log_level);
    for notice in &boot.notices {
        tracing::warn!("{notice}");
    }
    match start(&boot) {
        Ok(running) => running.stay(),
        Err(line) => {
            tracing::error!("{line}");
            ExitCode::FAILURE
        }
    }
}

/// A server that accepts.
pub struct Running {
    fleet: Fleet,
    journaling: Journaling,
    errands: Errands,
    mirror: Option<Mirror>,
    reload: Reload,
    pub listening: Vec<SocketAddr>,
}

/// Binds, reserves, starts. The error is one line for the operator.
pub fn start(boot: &Boot) -> Result<Running, String> {
    let settings = &boot.settings;
    host::ignore_sigpipe();
    let inherited = listen::inherited(&boot.sources.environment)?;
    let config = wire::config(settings);
    let bound = if inherited.is_empty() { bind(settings)? } else { Bound::of(inherited, settings) };
    let arena = Arena::reserve(&ArenaConfig {
        budget_bytes: settings.memory_bytes,
        page_bytes: host::features().page_bytes,
        region_bytes_max: REGION_BYTES_MAX,
    })
    .map_err(|error| format!("ring memory: {error}"))?;
    print_bill(settings);
    let Bound { listeners, listening, spread } = bound;
    let boot_seed = boot_seed();
    // Players that come meanwhile wait in the listeners' queues.
    let journaling = Journaling::start(settings.state_dir.as_deref(), boot_seed);
    let journal = journaling.notes();
    let (outboxes, prepared) = mirror::prepare(settings, boot_seed)?;
    let status = prepared.as_ref().map(Prepared::status);
    let launch = Launch {
        config,
        arena,
        listeners,
        spread,
        boot_seed,
        journal,
        shelf: prepared.as_ref().and_then(Prepared::shelf),
        outboxes,
        mirror: status,
    };
    let fleet = Fleet::start(launch).map_err(|error| format!("shard threads: {error}"))?;
    let mirror = prepared.map(|prepared| prepared.start(fleet.orders())).transpose();
    let mirror = mirror.map_err(|error| format!("the Redis mirror: {error}"))?;
    watch_signals(&fleet).map_err(|error| format!("signals: {error}"))?;
    fleet.tell_pool(pool::Input::Configure(settings.engines.clone()));
    for address in &listening {
        tracing::info!("listening on http://{address}");
    }
    let _ = sd_notify::notify(false, &[NotifyState::Ready]);
    let reload = Reload::new(boot);
    let errands = Errands::start(&fleet).map_err(|error| format!("the names thread: {error}"))?;
    Ok(Running { fleet, journaling, errands, mirror, reload, listening })
}

/// Sockets that listen.
struct Bound {
    /// For each shard.
    listeners: Vec<Vec<Listener>>,
    listening: Vec<SocketAddr>,
    /// Not every shard has its own: those that accept hand connections on.
    spread: bool,
}

fn bind(settings: &Settings) -> Result<Bound, String> {
    let mut bound = Bound::none(settings);
    for address in &settings.listen {
        let listeners = listen::bind(&ListenConfig::new(*address, settings.shards))
            .map_err(|error| error.to_string())?;
        for note in &listeners.notes {
            tracing::warn!("{note}");
        }
        bound.listening.push(listeners.local);
        for (shard, fd) in listeners.fds.into_iter().enumerate() {
            bound.listeners[shard].push(fd.into());
        }
    }
    Ok(bound)
}

impl Bound {
    fn none(settings: &Settings) -> Self {
        let listeners = (0..settings.shards).map(|_| Vec::new()).collect();
        Self { listeners, listening: Vec::new(), spread: false }
    }

    /// Those that somebody else opened: RINGCAST_LISTEN has no say.
    fn of(inherited: Vec<Inherited>, settings: &Settings) -> Self {
        tracing::info!("{} listening sockets were handed over (LISTEN_FDS)", inherited.len());
        let mut bound = Self { spread: true, ..Self::none(settings) };
        for (at, Inherited { fd, local }) in inherited.into_iter().enumerate() {
            bound.listening.push(local);
            let shard = &mut bound.listeners[at % settings.shards];
            shard.push(Listener { fd, is_inherited: true });
        }
        bound
    }
}

/// What this configuration may take, before it takes it.
fn print_bill(settings: &Settings) {
    let viewers = settings.max_viewers.map_or(0, u64::from);
    let ring = settings.memory_bytes / MIB;
    let per_viewer_kib = 1;
    tracing::info!(
        "memory: rings up to {ring} MiB (RINGCAST_MEMORY), committed as they fill; \
         {viewers} viewers x {per_viewer_kib} KiB = {} MiB of our own; \
         the kernel holds up to 512 KiB of send buffer for each viewer that is behind",
        viewers * per_viewer_kib / 1_024
    );
    tracing::info!(
        "{} shards{}, {} engine sources, ring seconds at most {}",
        settings.shards,
        if settings.pin { ", pinned" } else { "" },
        settings.engines.len(),
        settings.buffer_ttl.as_secs()
    );
}

/// Differs between boots, also of a container that comes back with the same pid and hostname.
fn boot_seed() -> u64 {
    let mut bytes = [0; 8];
    let random = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    match random {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => time::Wall::now().unix_ms() << 16 | u64::from(std::process::id()),
    }
}

fn watch_signals(fleet: &Fleet) -> std::io::Result<()> {
    use signal_hook::consts::SIGHUP;
    use signal_hook::consts::SIGINT;
    use signal_hook::consts::SIGTERM;
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let chores = fleet.sender();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if chores.send(Chore::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

impl Running {
    /// Until the shards have ended, in order or not.
    pub fn stay(mut self) -> ExitCode {
        let shards = self.fleet.shards();
        let mut ended = 0;
        let mut clean = true;
        let mut ending = Ending::NONE;
        while ended < shards {
            match self.fleet.chores.recv_timeout(ending.round(time::now())) {
                Ok(Chore::Ended { shard, clean: in_order }) => {
                    ended += 1;
                    if !in_order || !ending.has_begun() {
                        clean = false;
                        tracing::error!("shard {} ended; stopping", shard.0);
                        if !ending.has_begun() {
                            ending = Ending::begins(time::now());
                        }
                        self.fleet.drain();
                    }
                }
                Ok(Chore::Signal(signal_hook::consts::SIGHUP)) => {
                    self.reload.run(&self.fleet);
                }
                Ok(Chore::Signal(signal)) => {
                    if ending.has_begun() {
                        tracing::warn!("signal {signal} again: ending at once");
                        return ExitCode::FAILURE;
                    }
                    tracing::info!("signal {signal}: draining");
                    let _ = sd_notify::notify(false, &[NotifyState::Stopping]);
                    ending = Ending::begins(time::now());
                    self.fleet.drain();
                }
                Ok(chore) => self.errands.run(chore, &self.fleet),
                Err(RecvTimeoutError::Timeout) => self.errands.look(&self.fleet),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if time::now() >= ending.drained_by {
                tracing::warn!("not drained in {} s: ending", DRAIN_MAX.as_secs_f32());
                // The journal stays as it is, for the next start to stop what is left.
                end_mirror(self.mirror.take(), ending);
                return ExitCode::from(u8::from(!clean));
            }
            if self.fleet.oldest_tick_age(time::now()) < TICK_AGE_MAX {
                let _ = sd_notify::notify(false, &[NotifyState::Watchdog]);
            }
        }
        self.fleet.join();
        self.journaling.close();
        end_mirror(self.mirror.take(), ending);
        tracing::info!("ended");
        if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn end_mirror(mirror: Option<Mirror>, ending: Ending) {
    let wait_max = ending.last_words(time::now());
    if !mirror.is_none_or(|mirror| mirror.stop(wait_max)) {
        tracing::warn!("Redis was not told the end: its records of this node expire");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SIGTERM to the end: the last round, the journal's second and the mirror's words.
    #[test]
    fn nothing_waits_beyond_the_eight_seconds() {
        let begun = Instant::from_micros(1);
        assert_eq!(Ending::NONE.round(begun), ROUND);
        let ending = Ending::begins(begun);
        assert_eq!(ending.round(begun), ROUND);
        assert_eq!(ending.last_words(begun), LAST_WORDS_MAX);
        let late = begun + DRAIN_MAX.saturating_sub(Duration::from_millis(10));
        assert_eq!(ending.round(late), Duration::from_millis(10));
        let journal_max = Duration::from_secs(1);
        let drained = late + ending.round(late) + journal_max;
        let ended = drained + ending.last_words(drained);
        assert_eq!(ended.since(begun), END_MAX);
    }
}
