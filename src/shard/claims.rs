//! Claims: a session whose engine named another infohash than it was opened as, and whose that is.
//!
//! The home of the infohash grants it, or passes the claim on to the shard that has the stream: that
//! one takes the session over, or the claimant merges into it. While that cannot be said yet the claim
//! waits here and goes round again. A claim is answered once: what waits outlives a shard that
//! panics, the one that it had in hand is reported lost, and those of streams that are gone with
//! their shard are thrown away.

use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::ids::ShardId;
use crate::base::ids::Target;
use crate::base::time::Instant;
use crate::engine::pool;
use crate::registry::directory::Claim as Claimed;
use crate::shard::channel::ChannelId;
use crate::shard::core::Core;
use crate::shard::message::Claim;
use crate::shard::message::Message;
use crate::stream;
use std::collections::BTreeMap;
use std::time::Duration;

/// A stream that opens or ends just now is asked again after this.
const MERGE_AGAIN: Duration = Duration::from_millis(100);

/// What a shard knows of claims besides the directory.
#[derive(Default)]
pub(crate) struct Claims {
    /// At most one for each stream that is being opened.
    waiting: Vec<(Instant, Box<Claim>)>,
    in_hand: Option<(ChannelId, Generation)>,
    /// The last serial of each shard that was lost: of these streams none claims any more, for those
    /// that went on had played.
    lost: BTreeMap<ShardId, u64>,
}

impl Claims {
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.waiting.iter().map(|(at, _)| *at).min()
    }

    fn due(&mut self, now: Instant) -> Vec<Claim> {
        self.waiting.extract_if(.., |(at, _)| *at <= now).map(|(_, claim)| *claim).collect()
    }

    fn is_lost(&self, channel: ChannelId) -> bool {
        self.lost.get(&channel.owner).is_some_and(|last| channel.serial <= *last)
    }

    pub(super) fn shard_lost(&mut self, shard: ShardId, last_serial: u64) {
        self.lost.insert(shard, last_serial);
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|(_, claim)| !self.is_lost(claim.channel));
        self.waiting = waiting;
    }

    /// The one that was being looked at when the shard panicked.
    pub(super) fn take_in_hand(&mut self) -> Option<(ChannelId, Generation)> {
        self.in_hand.take()
    }
}

impl Core {
    /// On the home of the infohash that an engine named.
    pub(crate) fn on_claim(&mut self, claim: Box<Claim>) {
        if self.takes_in_hand(&claim) {
            self.settle(claim);
            self.claims.in_hand = None;
        }
    }

    /// On the shard whose stream has that infohash.
    pub(crate) fn on_merge(&mut self, claim: Box<Claim>) {
        if self.takes_in_hand(&claim) {
            self.merge(claim);
            self.claims.in_hand = None;
        }
    }

    fn takes_in_hand(&mut self, claim: &Claim) -> bool {
        let is_wanted = !self.claims.is_lost(claim.channel);
        if is_wanted {
            self.claims.in_hand = Some((claim.channel, claim.generation));
        }
        is_wanted
    }

    fn settle(&mut self, claim: Box<Claim>) {
        let key = Target::Infohash(claim.infohash);
        match self.directory.claim(&key, claim.from) {
            Claimed::Taken(host) => self.mail.send(host, Message::Merge(claim)),
            // The claimant itself, or another stream of its shard.
            Claimed::Yours => self.mail.send(claim.from, Message::Merge(claim)),
            Claimed::Granted | Claimed::Full => {
                let Claim { channel, generation, from, .. } = *claim;
                self.mail.send(from, Message::Claimed { channel, generation });
            }
        }
    }

    /// It takes the new session over when its engine is the same (the engine has already ended the
    /// old one), else it stays as it is.
    fn merge(&mut self, claim: Box<Claim>) {
        let key = Target::Infohash(claim.infohash);
        let Some(serial) = self.source_keys.get(&key).copied() else {
            return self.claim_again(claim);
        };
        let source = &self.sources[&serial];
        if source.id == claim.channel {
            let Claim { channel, generation, from, .. } = *claim;
            return self.mail.send(from, Message::Claimed { channel, generation });
        }
        let adoption = source.session.adoption(claim.engine, claim.infohash);
        if adoption == stream::Adoption::Later {
            return self.claim_again(claim);
        }
        let adopted = adoption == stream::Adoption::Yes;
        let Claim { from, channel, generation, infohash, engine, .. } = *claim;
        if adopted {
            let Claim { reservation, opened, engine_name: name, address, .. } = *claim;
            if let Some(source) = self.sources.get_mut(&serial) {
                source.engines.insert(engine, address);
                source.engine_names.insert(engine, name.clone());
                source.lent.insert(engine, reservation);
            }
            let passed = pool::Reservation(reservation);
            self.ask_pool(pool::Input::Pass { reservation: passed, to: self.me });
            self.feed(serial, stream::Input::Adopt { engine, reservation, name, opened });
        }
        self.mail.send(from, Message::MergeInto { channel, generation, infohash, adopted });
    }

    /// The stream is being opened or ended at this moment, or has just ended: who has the infohash
    /// is known soon, at its home.
    fn claim_again(&mut self, claim: Box<Claim>) {
        self.claims.waiting.push((self.now + MERGE_AGAIN, claim));
    }

    pub(crate) fn claims_due(&mut self) {
        for claim in self.claims.due(self.now) {
            let key = Target::Infohash(claim.infohash);
            self.tell_home(key, |_| Message::Claim(Box::new(claim)));
        }
    }

    /// On the claimant's shard: its stream is another one that runs already.
    pub(crate) fn on_merge_into(
        &mut self,
        channel: ChannelId,
        generation: Generation,
        infohash: Infohash,
        adopted: bool,
    ) {
        if let Some(source) = self.sources.get(&channel.serial) {
            // Who asks for it next goes straight there.
            let (given, warm_until) = (source.open.clone(), source.session.warm_until());
            self.tell_home(given, |target| Message::Confirmed { target, infohash });
            if warm_until > self.now {
                // What an operator wanted of this stream, it wants of that one.
                self.keep_warm(Target::Infohash(infohash), warm_until);
            }
        }
        self.feed(channel.serial, stream::Input::MergeInto { generation, infohash, adopted });
    }

    pub(crate) fn on_claimed(&mut self, channel: ChannelId, generation: Generation) {
        self.feed(channel.serial, stream::Input::Claimed { generation });
        let Some(source) = self.sources.get_mut(&channel.serial) else { return };
        let infohash = source.session.infohash();
        let key = Target::Infohash(infohash);
        let given = source.open.clone();
        source.channel.update(|facts| facts.infohash = infohash);
        if !source.keys.contains(&key) {
            source.keys.push(key.clone());
            self.source_keys.insert(key, channel.serial);
        }
        let to = crate::registry::home(&given, self.mail.shards());
        self.mail.send(to, Message::Confirmed { target: given, infohash });
        self.mirror_stream(channel.serial);
    }

    /// Whoever had it in hand panicked: it is made again.
    pub(crate) fn on_claim_lost(&mut self, channel: ChannelId, generation: Generation) {
        self.feed(channel.serial, stream::Input::ClaimLost { generation });
    }
}
