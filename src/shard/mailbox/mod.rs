//! Mailboxes: N x N bounded single-producer queues and one bell per receiver.
//!
//! A full mailbox keeps the message with the sender until its next flush, so nothing is lost and
//! nobody waits. A bell is rung once per flush, not per message. A message to oneself never
//! touches a queue of another thread.

use crate::base::ids::ShardId;
use rtrb::Consumer;
use rtrb::Producer;
use rtrb::RingBuffer;
use std::collections::VecDeque;
use std::sync::Arc;

/// Messages that one shard may have underway to another. A storm of 1 000 joins on one shard is
/// 1 000 `Resolve` at most; what is over it waits with the sender.
pub const MAILBOX_MESSAGES_MAX: usize = 1_024;

/// What wakes a receiver; `net::bell::Bell` in the program, a counter in a test.
pub trait Ring: Send + Sync {
    fn ring(&self);
}

/// One shard's ends of all mailboxes.
pub struct Mailboxes<M> {
    me: ShardId,
    producers: Vec<Option<Producer<M>>>,
    consumers: Vec<Option<Consumer<M>>>,
    kept: Vec<VecDeque<M>>,
    own: VecDeque<M>,
    bells: Vec<Arc<dyn Ring>>,
    /// Shards that got something since the last flush.
    to_ring: u64,
}

/// Makes the ends of all shards at once: `bells[n]` wakes shard n.
pub fn mesh<M: Send>(bells: &[Arc<dyn Ring>]) -> Vec<Mailboxes<M>> {
    let shards = bells.len();
    let mut ends: Vec<Mailboxes<M>> = (0..shards)
        .map(|me| Mailboxes {
            me: ShardId(me as u8),
            producers: (0..shards).map(|_| None).collect(),
            consumers: (0..shards).map(|_| None).collect(),
            kept: (0..shards).map(|_| VecDeque::new()).collect(),
            own: VecDeque::new(),
            bells: bells.to_vec(),
            to_ring: 0,
        })
        .collect();
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (producer, consumer) = RingBuffer::new(MAILBOX_MESSAGES_MAX);
            ends[from].producers[to] = Some(producer);
            ends[to].consumers[from] = Some(consumer);
        }
    }
    ends
}

impl<M> Mailboxes<M> {
    pub fn me(&self) -> ShardId {
        self.me
    }

    pub fn shards(&self) -> usize {
        self.bells.len()
    }

    pub fn send(&mut self, to: ShardId, message: M) {
        if to == self.me {
            self.own.push_back(message);
            return;
        }
        self.kept[usize::from(to.0)].push_back(message);
    }

    /// Hands over what fits and rings each bell once. True when something stays here, so that
    /// the caller comes back though nobody wakes it.
    pub fn flush(&mut self) -> bool {
        let mut left = false;
        for (at, kept) in self.kept.iter_mut().enumerate() {
            let Some(producer) = &mut self.producers[at] else { continue };
            while let Some(message) = kept.pop_front() {
                if let Err(rtrb::PushError::Full(message)) = producer.push(message) {
                    kept.push_front(message);
                    left = true;
                    break;
                }
                // Also for what stayed here last time: the receiver may sleep again by now.
                self.to_ring |= 1 << at;
            }
        }
        for at in 0..self.bells.len() {
            if self.to_ring & (1 << at) != 0 {
                self.bells[at].ring();
            }
        }
        self.to_ring = 0;
        left
    }

    /// Rings the shards of `mask` at the next flush: a stream's head has moved.
    pub fn wake(&mut self, mask: u64) {
        self.to_ring |= mask & !(1 << self.me.0);
    }

    /// The next message of anybody, each sender in order.
    pub fn receive(&mut self) -> Option<M> {
        if let Some(message) = self.own.pop_front() {
            return Some(message);
        }
        self.consumers.iter_mut().flatten().find_map(|consumer| consumer.pop().ok())
    }

    pub fn has_own(&self) -> bool {
        !self.own.is_empty()
    }
}

#[cfg(test)]
mod tests;
