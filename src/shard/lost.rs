//! A shard that panicked, and the one that goes on in its place.
//!
//! The panic was caught at the top of the thread; the tasks are leaked there, and nothing of them
//! runs again. What they shared, the shard's [`Core`], is taken from them: its sockets are broken,
//! and what the kernel may still read is never used again. What other shards count on goes on under
//! the same number: the mailboxes, the numbers that were given out, who runs where, on shard 0 the
//! pool, the claims that wait, and the streams that somebody watches elsewhere. For such a stream it
//! is as if its engine had cut the body: another session follows by the road of every failover, into
//! the same ring.
//!
//! The heir tells everybody. Each shard then forgets the lost one's viewers and other streams, closes
//! its own viewers of those (`shard_lost`: they come back and start them anew), and asks again what
//! was not answered. A part that does not satisfy its invariants, or was being changed when it
//! happened, is not inherited; without the pool, or when it panics again soon, the process ends.

use crate::admin::hygiene;
use crate::admin::lines::ViewerEnd;
use crate::base::ids::Generation;
use crate::base::ids::ShardId;
use crate::base::sizes::SHARDS_MAX;
use crate::engine::pool;
use crate::engine::pool::Pool;
use crate::mirror::Outbox;
use crate::registry::directory::Directory;
use crate::shard::Shared;
use crate::shard::audience::Phase;
use crate::shard::audience::Stage;
use crate::shard::audience::shard_bit;
use crate::shard::channel::ChannelId;
use crate::shard::claims::Claims;
use crate::shard::core::Core;
use crate::shard::core::Shard;
use crate::shard::engine_io;
use crate::shard::exchange::Address;
use crate::shard::live::Live;
use crate::shard::mailbox::Mailboxes;
use crate::shard::message::Kept;
use crate::shard::message::Message;
use crate::shard::message::Subscribe;
use crate::shard::mirror::Teller;
use crate::shard::source::Source;
use crate::shard::stats::Stats;
use crate::stream::Input;
use crate::stream::Owed;
use crate::stream::UnlessReplaced;
use crate::viewer::CloseReason;
use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

/// Who panics twice within this does not get better by starting again.
pub(super) const PANIC_AGAIN_MAX: Duration = Duration::from_secs(60);

thread_local! {
    /// The shard of this thread, where a panic does not reach it.
    static RUNNING: RefCell<Option<Shard>> = const { RefCell::new(None) };
}

/// How often each shard has been lost, as far as this one has heard. There are two ways to hear of it:
/// from the heir, and by what the heir asks by way of a third, which may be ahead.
#[derive(Clone, Debug)]
pub(crate) struct Lives([u32; SHARDS_MAX]);

impl Default for Lives {
    fn default() -> Self {
        Self([0; SHARDS_MAX])
    }
}

impl Lives {
    /// Whether this is the first word of that life.
    fn begins(&mut self, shard: ShardId, life: u32) -> bool {
        let known = &mut self.0[usize::from(shard.0)];
        let is_news = life > *known;
        *known = life.max(*known);
        is_news
    }

    fn is_over(&self, shard: ShardId, life: u32) -> bool {
        life < self.0[usize::from(shard.0)]
    }
}

/// What a shard begins with: nothing yet, or what it inherits.
pub(crate) struct Estate {
    pub(crate) life: u32,
    pub(crate) lives: Lives,
    pub(crate) mail: Mailboxes<Message>,
    pub(crate) outbox: Option<Outbox>,
    pub(crate) live: Arc<Live>,
    pub(crate) pool: Option<Pool>,
    pub(crate) directory: Directory,
    pub(crate) claims: Claims,
    pub(crate) stats: Stats,
    /// Streams that go on.
    pub(crate) sources: Vec<Source>,
    /// Numbers given out: none of them is given out twice.
    pub(crate) tokens: u64,
    pub(crate) viewers: u64,
    pub(crate) serials: u64,
    /// None for a shard that nobody was before.
    debts: Option<Debts>,
}

/// What the lost shard owes to others.
pub(super) struct Debts {
    /// Sessions on engines that nobody reads any more.
    stops: Vec<Stop>,
    /// What it had in hand and did not answer.
    claim: Option<(ChannelId, Generation)>,
}

struct Stop {
    address: Address,
    path: String,
    unless_replaced: Option<UnlessReplaced>,
}

impl Estate {
    pub(super) fn first(mail: Mailboxes<Message>, outbox: Option<Outbox>, shared: &Shared) -> Self {
        let config = &shared.config;
        let has_pool = mail.me() == ShardId(0);
        Self {
            life: 0,
            lives: Lives::default(),
            mail,
            outbox,
            live: Arc::new(config.live.clone()),
            pool: has_pool.then(|| Pool::new(config.live.pool)),
            directory: Directory::new(config.directory),
            claims: Claims::default(),
            stats: Stats::default(),
            sources: Vec::new(),
            tokens: 0,
            viewers: 0,
            serials: 0,
            debts: None,
        }
    }
}

impl Estate {
    pub(super) fn take_debts(&mut self) -> Option<Debts> {
        self.debts.take()
    }
}

/// Keeps the shard in reach until [`forget`].
pub(super) fn remember(shard: &Shard) {
    RUNNING.set(Some(shard.clone()));
}

/// The shard has ended in order.
pub(super) fn forget() {
    RUNNING.set(None);
}

/// After a panic on this thread: what there is to inherit. None when going on is not safe.
pub(super) fn take_estate() -> Option<Estate> {
    let core = RUNNING.take()?.take_core()?;
    // Whatever breaks here was broken already: it is left alone, and the process ends.
    catch_unwind(AssertUnwindSafe(|| core.into_estate())).ok().flatten()
}

impl Core {
    fn into_estate(mut self) -> Option<Estate> {
        if self.draining {
            return None;
        }
        self.mourn();
        let kept = self.take_survivors();
        let stops = self.abandoned_sessions();
        let (tokens, viewers, serials) = self.numbers();
        let Self { me, life, shared, live, mail, egress, audiences, sources, .. } = self;
        let Self { pool, mut lives, mut directory, mut claims, stats, teller, .. } = self;
        let life = life + 1;
        lives.begins(me, life);
        let pool = match pool {
            Some(pool) if catch_unwind(AssertUnwindSafe(|| pool.check_invariants())).is_err() => {
                return None;
            }
            pool => pool,
        };
        if catch_unwind(AssertUnwindSafe(|| directory.check_invariants())).is_err() {
            directory = Directory::new(shared.config.directory);
        }
        directory.release_shard(me);
        claims.shard_lost(me, serials);
        let claim = claims.take_in_hand();
        // First the sockets, then the readers, which put what was in flight under quarantine.
        drop(egress.abandon());
        drop(audiences);
        let streams = sources.len();
        drop(sources);
        shared.streams_closed(streams);
        Some(Estate {
            life,
            lives,
            mail,
            outbox: teller.map(Teller::into_outbox),
            live,
            pool,
            directory,
            claims,
            stats,
            sources: kept,
            tokens,
            viewers,
            serials,
            debts: Some(Debts { stops, claim }),
        })
    }

    /// Every viewer that ends gets its line.
    fn mourn(&mut self) {
        let now = self.now;
        let mode = self.shared.config.addresses;
        for (_, audience) in &self.audiences {
            for (_, entry) in audience.entries.iter().filter(|(_, e)| e.phase == Phase::Playing) {
                self.stats.closed[CloseReason::ShardLost.index()] += 1;
                self.stats.skips += u64::from(entry.viewer.skips());
                let address = hygiene::address(entry.who.address, mode);
                let line = ViewerEnd {
                    viewer: entry.who.id,
                    stream: crate::shard::join::stream_name(audience),
                    address: address.as_deref(),
                    agent: &entry.who.agent,
                    name: entry.who.name.as_deref(),
                    reason: CloseReason::ShardLost.name(),
                    bytes: entry.viewer.bytes_sent(),
                    seconds: now.since(entry.viewer.created_at()).as_secs_f64(),
                    skips: u64::from(entry.viewer.skips()),
                    rwnd_limited_ms: 0,
                };
                tracing::info!("{line}");
            }
        }
        self.stats.viewers = 0;
    }

    /// Streams that somebody watches on another shard, and whose brain and ring nobody was changing.
    fn take_survivors(&mut self) -> Vec<Source> {
        let me = shard_bit(self.me);
        let goes_on = |source: &Source| {
            source.hands == 0
                && source.is_current()
                && source.session.accepts_viewers()
                && source.session.first_packet_at().is_some()
                && source.subscribers & !me != 0
                && catch_unwind(AssertUnwindSafe(|| source.session.check_invariants())).is_ok()
        };
        let sources = std::mem::take(&mut self.sources).into_values();
        let (mut kept, over): (Vec<_>, Vec<_>) = sources.partition(goes_on);
        self.sources = over.into_iter().map(|source| (source.id.serial, source)).collect();
        for source in &mut kept {
            source.subscribers &= !me;
            source.copied.remove(&self.me);
        }
        kept
    }

    fn abandoned_sessions(&self) -> Vec<Stop> {
        let running = self.sources.values().filter(|source| !source.ended);
        let owed = running.flat_map(|source| {
            source.session.owed().into_iter().filter_map(
                move |Owed { engine, path, unless_replaced }| {
                    let address = source.engines.get(&engine)?.clone();
                    Some(Stop { address, path, unless_replaced })
                },
            )
        });
        owed.collect()
    }

    /// The heir's first deed.
    pub(super) fn settle_estate(&mut self, debts: Debts) {
        let Debts { stops, claim } = debts;
        let owner = self.me;
        let reservations = self.sources.values().flat_map(|source| source.session.reservations());
        let held = reservations.map(pool::Reservation).collect();
        self.ask_pool(pool::Input::ReleaseAll { owner, kept: held });
        let (_, _, last_serial) = self.numbers();
        let kept = self.sources.values();
        let kept: Arc<[Kept]> =
            kept.map(|source| Kept { channel: source.id, keys: source.keys.clone() }).collect();
        for to in (0..self.mail.shards()).map(|to| ShardId(to as u8)).filter(|to| *to != owner) {
            let kept = kept.clone();
            let life = self.life;
            self.mail.send(to, Message::ShardLost { shard: owner, life, kept, last_serial });
        }
        if let Some((channel, generation)) = claim {
            self.mail.send(channel.owner, Message::ClaimLost { channel, generation });
        }
        self.claim_kept(owner, &kept);
        let serials: Vec<u64> = self.sources.keys().copied().collect();
        for serial in serials {
            self.go_on(serial);
        }
        for Stop { address, path, unless_replaced } in stops {
            self.stops_pending += 1;
            let task = engine_io::stop(
                self.handle(),
                0,
                Generation::default(),
                address,
                path,
                unless_replaced,
            );
            crate::net::runtime::spawn(task);
        }
    }

    /// Nobody reads the bodies of this stream any more, nor waits for what it has asked.
    fn go_on(&mut self, serial: u64) {
        let Some(source) = self.sources.get_mut(&serial) else { return };
        self.agenda.note(source.next_deadline(&self.shared.config.policy));
        if source.ingest.dirty {
            self.agenda.moved(serial);
        }
        // First: what is due in this moment is due for a stream that knows of it.
        self.feed(serial, Input::Inherited);
        self.feed(serial, Input::ShardLost { shard: self.me });
    }

    /// On the homes of their keys.
    fn claim_kept(&mut self, owner: ShardId, kept: &[Kept]) {
        for key in kept.iter().flat_map(|kept| &kept.keys) {
            if crate::registry::home(key, self.mail.shards()) == self.me {
                self.directory.claim(key, owner);
            }
        }
    }

    /// What another shard had is gone, but for the streams that go on.
    pub(crate) fn on_shard_lost(
        &mut self,
        shard: ShardId,
        life: u32,
        kept: &[Kept],
        last_serial: u64,
    ) {
        self.directory.release_shard(shard);
        self.claims.shard_lost(shard, last_serial);
        self.claim_kept(shard, kept);
        if self.lives.begins(shard, life) {
            self.forget_viewers_of(shard);
        }
        let audiences: Vec<usize> = self.audiences.iter().map(|(at, _)| at).collect();
        for at in audiences {
            let Some(audience) = self.audiences.get_mut(at) else { continue };
            match &audience.stage {
                Stage::Attached(channel) if kept.iter().any(|kept| kept.channel == channel.id) => {
                    // What was told may have been lost with who heard it.
                    audience.told = None;
                }
                Stage::Attached(channel) if channel.id.owner == shard => {
                    let channel = channel.id;
                    // Nobody will ask for it: it goes with its last viewer.
                    audience.is_orphan = true;
                    audience.may_close = None;
                    // Whoever has had nothing of it yet begins anew.
                    let key = audience.keys[0].clone();
                    self.move_waiting(at, key);
                    self.on_close_viewers(channel, CloseReason::ShardLost);
                }
                Stage::Attached(_) => {}
                Stage::Resolving { .. } | Stage::Subscribing if !audience.over => self.ask_anew(at),
                Stage::Resolving { .. } | Stage::Subscribing => {}
            }
        }
        self.retire_detached();
    }

    /// False: nobody waits for it any more. An heir may be heard of by what it asks before it is heard
    /// itself: what its forerunner watched is forgotten first, and nothing of what it watches later.
    pub(crate) fn is_asked_by_the_living(&mut self, subscribe: &Subscribe) -> bool {
        let Subscribe { from, life, .. } = *subscribe;
        if self.lives.begins(from, life) {
            self.forget_viewers_of(from);
        }
        !self.lives.is_over(from, life)
    }

    fn forget_viewers_of(&mut self, shard: ShardId) {
        let serials: Vec<u64> = self.sources.keys().copied().collect();
        for serial in serials {
            if let Some(source) = self.sources.get_mut(&serial) {
                source.subscribers &= !shard_bit(shard);
                source.copied.remove(&shard);
            }
            self.feed(serial, Input::ShardLost { shard });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_begins_once_and_the_one_before_is_over() {
        let (mut lives, shard) = (Lives::default(), ShardId(3));
        assert!(!lives.begins(shard, 0), "nobody was lost");
        assert!(lives.begins(shard, 1), "by whichever way it is heard of first");
        assert!(!lives.begins(shard, 1), "and by the other one");
        assert!(lives.is_over(shard, 0) && !lives.is_over(shard, 1));
        assert!(lives.begins(shard, 3), "a word was overtaken");
        assert!(!lives.begins(shard, 2) && lives.is_over(shard, 2), "and comes late");
        assert!(!lives.is_over(ShardId(4), 0), "each has its own");
    }
}
