//! What shards say to each other. Nothing else crosses between them but the handles in here.

use crate::admin::records::EngineRecord;
use crate::admin::records::OfflineRecord;
use crate::admin::records::StreamRecord;
use crate::admin::records::ViewerRecord;
use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::ids::ShardId;
use crate::base::ids::Target;
use crate::base::time::Instant;
use crate::engine::pool;
use crate::net::listen::Accepted;
use crate::registry::resolver::Resolution;
use crate::shard::channel::Channel;
use crate::shard::channel::ChannelId;
use crate::shard::exchange::Address;
use crate::shard::live::Live;
use crate::shard::orders::Done;
use crate::shard::orders::Order;
use crate::shard::seats::Paid;
use crate::shard::seats::Seat;

use crate::shard::stats::ShardMetrics;
use crate::stream::Answer;
use crate::stream::Opened;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A stream that outlives the shard that read it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) channel: ChannelId,
    pub(crate) keys: Vec<Target>,
}

/// A shard that asks for a stream, with what it has to show for it.
#[derive(Debug)]
pub(crate) struct Subscribe {
    pub(crate) from: ShardId,
    /// How often that shard had been lost before; comes back too.
    pub(crate) life: u32,
    /// The audience's key there; it comes back in `Subscribed`.
    pub(crate) key: Target,
    /// How an engine is to be asked, should the stream have to start.
    pub(crate) open: Target,
    pub(crate) count: u32,
    pub(crate) waiting: u32,
    pub(crate) start: StartFor,
}

/// Whose cold start it is, should it become one.
#[derive(Debug, Default)]
pub(crate) struct StartFor {
    /// The address that it counts against; None when limits do not hold for it.
    pub(crate) payer: Option<IpAddr>,
    /// Counted already, when its id had to be asked for.
    pub(crate) paid: Option<Paid>,
}

/// A session whose engine named another infohash than it was opened as.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) from: ShardId,
    pub(crate) channel: ChannelId,
    pub(crate) generation: Generation,
    pub(crate) infohash: Infohash,
    pub(crate) engine: EngineId,
    pub(crate) engine_name: String,
    pub(crate) address: Address,
    pub(crate) reservation: u64,
    pub(crate) opened: Opened,
}

#[derive(Debug)]
pub(crate) enum Message {
    // To shard 0, which alone grants engines, and its replies.
    Pool(pool::Input),
    Granted(pool::Granted),
    Denied {
        token: u64,
        reason: pool::Denied,
        retry_after: Duration,
    },

    /// What this shard has on that engine is to go to another one, or need not any more.
    Vacate {
        engine: EngineId,
        leave: bool,
    },

    // To the home of a target, and back.
    Resolve {
        from: ShardId,
        token: u64,
        target: Target,
        payer: Option<IpAddr>,
    },
    Resolved {
        token: u64,
        resolution: Resolution,
        paid: Option<Paid>,
    },
    /// Not asked: this address has as many starts in flight as it may.
    Unresolved {
        token: u64,
        payer: Option<IpAddr>,
    },
    Confirmed {
        target: Target,
        infohash: Infohash,
    },
    Forget {
        target: Target,
    },
    /// What it led to is offline until then.
    Hold {
        target: Target,
        infohash: Infohash,
        until: Instant,
    },
    Offline {
        key: Target,
        reason: String,
        /// How an engine was asked for it.
        open: Target,
    },
    Online {
        key: Target,
    },
    Release {
        key: Target,
        from: ShardId,
    },
    Claim(Box<Claim>),
    /// The home knows that the stream runs on the receiver.
    Merge(Box<Claim>),
    Claimed {
        channel: ChannelId,
        generation: Generation,
    },
    MergeInto {
        channel: ChannelId,
        generation: Generation,
        infohash: Infohash,
        adopted: bool,
    },
    /// Who was looking at it panicked.
    ClaimLost {
        channel: ChannelId,
        generation: Generation,
    },

    Subscribe(Subscribe),
    /// The home passes a subscription on to the shard that hosts the stream.
    Hosted(Subscribe),
    Subscribed {
        life: u32,
        key: Target,
        channel: Arc<Channel>,
    },
    /// The stream could not even begin.
    Declined {
        key: Target,
        answer: Answer,
    },
    /// Not started: this address has as many starts in flight as it may.
    Unpaid {
        key: Target,
        payer: Option<IpAddr>,
    },
    Watching {
        channel: ChannelId,
        what: Watching,
    },

    /// The journal has what an open waits for.
    Journaled {
        entry: u64,
    },

    // Questions of the API, put to every shard.
    Ask {
        from: ShardId,
        token: u64,
        ask: Ask,
    },
    Tell {
        token: u64,
        told: Told,
    },

    /// A connection that another shard accepted.
    Adopt(Box<(Accepted, Seat)>),
    /// A shard panicked, and goes on with little of what it had.
    ShardLost {
        shard: ShardId,
        /// Of the one that follows.
        life: u32,
        /// Its streams that go on.
        kept: Arc<[Kept]>,
        /// Of the streams that it had: those that follow have higher ones.
        last_serial: u64,
    },
    /// For tests.
    #[cfg(debug_assertions)]
    Panic,
    Reload(Arc<Live>),
    /// What the mirror wants.
    Mirror(crate::mirror::Order),

    Drain,
}

/// Between a stream's owner and the shards that serve its viewers.
#[derive(Debug)]
pub(crate) enum Watching {
    /// `copied`: viewers for whom the kernel copies, and a file would not be.
    Count {
        from: ShardId,
        count: u32,
        waiting: u32,
        copied: u32,
    },
    /// Kept until then, whoever watches.
    Warm {
        until: Instant,
    },
    Refuse {
        answer: Answer,
    },
    CloseViewers {
        reason: crate::viewer::CloseReason,
    },
    MoveViewers {
        infohash: Infohash,
    },
    EvictBelow {
        offset: u64,
    },
    /// Nothing follows what the ring was primed with.
    PrimedOver,
    MayClose {
        generation: Generation,
    },
    Idle {
        from: ShardId,
        generation: Generation,
    },
    Busy {
        from: ShardId,
        generation: Generation,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    Ready,
    Metrics,
    Streams,
    Viewers(Option<Infohash>),
    Engines,
    Offline,
    Order(Arc<Order>),
}

#[derive(Debug)]
pub(crate) enum Told {
    /// Engines that answer, on shard 0; nothing elsewhere.
    Ready(Option<usize>),
    Metrics(Box<ShardMetrics>),
    Streams(Vec<StreamRecord>),
    Viewers(Vec<ViewerRecord>),
    Engines(Vec<EngineRecord>),
    Offline(Vec<OfflineRecord>),
    Order(Done),
}
