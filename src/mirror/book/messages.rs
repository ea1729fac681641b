//! What goes into the book and what comes out of it: plain values, no behaviour.

use super::leases::Question;
use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;
use crate::base::time::Wall;
use crate::mirror::events::Command;
use crate::mirror::lease;
use crate::mirror::outbox::Batch;
use crate::mirror::records::Record;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    Told {
        shard: usize,
        record: Record,
    },
    /// A queue of a shard was too small for a moment.
    Overflow,
    LinkUp,
    LinkDown,
    Answered {
        question: Question,
        reply: lease::Reply,
    },
    Lost {
        question: Question,
    },
    /// The last batch: every command of it was carried out, or not.
    Written {
        ok: bool,
    },
    /// Sessions of other workers, by engine.
    Loads(BTreeMap<String, u32>),
    Command(Command),
    /// The process ends: every lease goes back.
    Close,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    Ask(Question),
    /// To one shard, or to all of them.
    Order {
        shard: Option<usize>,
        order: Order,
    },
    /// What other workers have on these engines.
    LookAtLoads(Vec<String>),
    Subscribe(Infohash),
    Unsubscribe(Infohash),
    /// Its keys are another program's: one line for the operator.
    Foreign {
        infohash: Infohash,
        by: String,
    },
}

/// What the mirror asks of a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Tell everything, then `Synced` with this number.
    TellAll {
        generation: u32,
    },
    /// By somebody who said so in Redis.
    StopViewer {
        infohash: Infohash,
        viewer: ViewerId,
    },
    StopStream {
        infohash: Infohash,
    },
    /// What is known of a stream's ownership.
    Lease {
        infohash: Infohash,
        view: LeaseView,
    },
    /// Sessions of other nodes, by engine; of those that are not named nothing is known.
    Loads(BTreeMap<String, u32>),
    /// What Redis has of a stream that starts there.
    Primed {
        serial: u64,
        bytes: Arc<Vec<u8>>,
    },
}

/// For people and for the shard that hosts the stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaseView {
    pub owner: Option<String>,
    pub epoch: u64,
    pub standing: StandingName,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StandingName {
    #[default]
    Unowned,
    Owned,
    Unknown,
    Held,
    Foreign,
}

/// What a batch says of this process.
#[derive(Clone, PartialEq, Debug)]
pub struct NodeWrite {
    pub started_at: Wall,
    pub streams: usize,
    pub viewers: usize,
    /// Playback sessions by engine; 0 = no longer any.
    pub loads: BTreeMap<String, u32>,
}

/// A batch with what the book adds to the table's part of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Page {
    pub batch: Batch,
    /// Of the streams in the batch: viewers of this worker, and whether the stream is ours.
    pub crowds: BTreeMap<Infohash, Crowd>,
    /// Of these, streams that are not stopping any more.
    pub revived: BTreeSet<Infohash>,
    pub node: Option<NodeWrite>,
    /// Viewers whose stop keys are to be looked for.
    pub stops: Vec<(Infohash, Vec<ViewerId>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Crowd {
    pub viewers: usize,
    pub is_owner: bool,
}
