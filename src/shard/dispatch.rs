//! What a message to a shard means: which part of it acts on it.
//!
//! Nothing is decided here, and every kind of message is named once.

use crate::shard::accept;
use crate::shard::channel::ChannelId;
use crate::shard::core::Core;
use crate::shard::message::Message;
use crate::shard::message::Watching;

impl Core {
    pub(crate) fn on_message(&mut self, message: Message) {
        match message {
            Message::Pool(input) => self.feed_pool(input),
            Message::Granted(granted) => self.on_granted(granted),
            Message::Denied { token, reason, retry_after } => {
                self.on_denied(token, &reason, retry_after);
            }
            Message::Vacate { engine, leave } => self.vacate(engine, leave),
            Message::Resolve { from, token, target, payer } => {
                self.resolve_for(from, token, target, payer);
            }
            Message::Resolved { token, resolution, paid } => {
                self.on_resolved(token, resolution, paid);
            }
            Message::Unresolved { token, payer } => self.on_unresolved(token, payer),
            Message::Confirmed { target, infohash } => self.on_confirmed(target, infohash),
            Message::Forget { target } => self.on_forget(target),
            Message::Hold { target, infohash, until } => self.on_hold(target, infohash, until),
            Message::Offline { key, reason, open } => self.on_offline(&key, &reason, open),
            Message::Online { key } => self.directory.mark_online(&key),
            Message::Release { key, from } => self.on_release(&key, from),
            Message::Claim(claim) => self.on_claim(claim),
            Message::Merge(claim) => self.on_merge(claim),
            Message::Claimed { channel, generation } => self.on_claimed(channel, generation),
            Message::MergeInto { channel, generation, infohash, adopted } => {
                self.on_merge_into(channel, generation, infohash, adopted);
            }
            Message::ClaimLost { channel, generation } => {
                self.on_claim_lost(channel, generation);
            }
            Message::Subscribe(subscribe) => self.on_subscribe(subscribe),
            Message::Hosted(subscribe) => self.on_hosted(subscribe),
            Message::Subscribed { life, key, channel } => {
                self.on_subscribed(life, &key, channel);
            }
            Message::Declined { key, answer } => self.on_declined(&key, &answer),
            Message::Unpaid { key, payer } => self.on_unpaid(&key, payer),
            Message::Watching { channel, what } => self.on_watching(channel, what),
            Message::Ask { from, token, ask } => {
                let told = self.tell(ask);
                self.mail.send(from, Message::Tell { token, told });
            }
            Message::Tell { token, told } => {
                if let Some(gather) = self.gathers.get(&token) {
                    gather.put(told);
                }
            }
            Message::Adopt(adopted) => {
                let (accepted, socket) = *adopted;
                crate::net::runtime::spawn(accept::serve(self.handle(), accepted, socket));
            }
            Message::ShardLost { shard, life, kept, last_serial } => {
                self.on_shard_lost(shard, life, &kept, last_serial);
            }
            #[cfg(debug_assertions)]
            Message::Panic => panic!("a shard was asked to panic"),
            Message::Reload(live) => self.on_reload(live),
            Message::Journaled { entry } => self.on_journaled(entry),
            Message::Mirror(order) => self.on_mirror(order),
            Message::Drain => self.drain(),
        }
    }

    fn on_watching(&mut self, channel: ChannelId, what: Watching) {
        use crate::stream::Input;
        let serial = channel.serial;
        match what {
            Watching::Count { from: shard, count, waiting, copied } => {
                self.note_copied(serial, shard, copied);
                self.feed(serial, Input::Viewers { shard, count, waiting });
            }
            Watching::Idle { from: shard, generation: close_generation } => {
                self.feed(serial, Input::Idle { shard, close_generation });
            }
            Watching::Busy { from: shard, generation: close_generation } => {
                self.feed(serial, Input::Busy { shard, close_generation });
            }
            Watching::Warm { until } => self.feed(channel.serial, Input::Warm { until }),
            Watching::Refuse { answer } => self.on_refuse(channel, &answer),
            Watching::CloseViewers { reason } => self.on_close_viewers(channel, reason),
            Watching::MoveViewers { infohash } => self.on_move_viewers(channel, infohash),
            Watching::EvictBelow { offset } => self.on_evict(channel, offset),
            Watching::PrimedOver => self.on_primed_over(channel),
            Watching::MayClose { generation } => self.on_may_close(channel, generation),
        }
    }
}
