//! The settings that a reload changes, and how they reach the shards.
//!
//! Each shard has its own handle on one immutable value; a reload sends every shard a new one. What
//! has come in under the old ones stays: a limit that is lower now closes nobody.

use crate::base::ids::Infohash;
use crate::engine::pool;
use crate::engine::pool::PoolConfig;
use crate::engine::spec::Spec;
use crate::router::Access;
use crate::shard::Fleet;
use crate::shard::core::Core;
use crate::shard::message::Message;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Live {
    pub access: Access,
    pub pool: PoolConfig,
    /// Limits; 0 = none of its own.
    pub viewers_max: usize,
    pub viewers_per_address_max: usize,
    pub starts_per_address_max: usize,
    pub streams_max: usize,
    /// Only these content ids and infohashes may be asked for, when given.
    pub channels: Option<BTreeSet<Infohash>>,
}

impl Fleet {
    /// Nobody is closed and nothing is opened; from the next request on the new settings hold.
    pub fn reload(&self, live: Live, engines: Vec<Spec>) {
        let shared = self.shared();
        shared.seats.set_max(live.viewers_max);
        shared.seats.by_address.set_max(live.viewers_per_address_max);
        shared.starts.set_max(live.starts_per_address_max);
        self.tell_pool(pool::Input::Limits(live.pool));
        self.tell_pool(pool::Input::Configure(engines));
        let live = Arc::new(live);
        shared.inboxes.iter().for_each(|inbox| inbox.put(Message::Reload(live.clone())));
    }
}

impl Core {
    pub(crate) fn on_reload(&mut self, live: Arc<Live>) {
        self.live = live;
    }
}
