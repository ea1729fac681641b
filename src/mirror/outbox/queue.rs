//! One shard's queue to the mirror. The shard has one end, the mirror's thread the other; the
//! queue outlives a mirror that dies.

use crate::mirror::records::Record;
use rtrb::Consumer;
use rtrb::Producer;
use rtrb::RingBuffer;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Records that one shard may have underway. A record is 64 bytes; with the boxes of joins some
/// 3 MiB when all of it is joins. The mirror empties it within a round (20 ms) while it lives.
pub const RECORDS_MAX: usize = 8_192;

const _: () = assert!(size_of::<Record>() <= 72);

/// What woke is told to the mirror's thread: it is there or will look by itself.
pub trait Waker: Send + Sync {
    fn wake(&self);
}

struct Counts {
    dropped: AtomicU64,
    overflown: AtomicBool,
}

/// The shard's end.
pub struct Outbox {
    producer: Producer<Record>,
    counts: Arc<Counts>,
    waker: Arc<dyn Waker>,
    fresh: bool,
}

/// The mirror's end.
pub struct Inbound {
    consumer: Consumer<Record>,
    counts: Arc<Counts>,
}

pub fn queue(records_max: usize, waker: Arc<dyn Waker>) -> (Outbox, Inbound) {
    let (producer, consumer) = RingBuffer::new(records_max);
    let counts = Arc::new(Counts { dropped: AtomicU64::new(0), overflown: AtomicBool::new(false) });
    let outbox = Outbox { producer, counts: counts.clone(), waker, fresh: false };
    (outbox, Inbound { consumer, counts })
}

impl Outbox {
    /// Never waits. What finds no room is lost and counted.
    pub fn tell(&mut self, record: Record) {
        if self.producer.push(record).is_ok() {
            self.fresh = true;
            return;
        }
        self.counts.dropped.fetch_add(1, Relaxed);
        self.counts.overflown.store(true, Relaxed);
    }

    /// Records that find room now: a full telling goes on later when there are none.
    pub fn room(&self) -> usize {
        self.producer.slots()
    }

    /// Once a turn: wakes the mirror if it was told anything.
    pub fn flush(&mut self) {
        if std::mem::take(&mut self.fresh) {
            self.waker.wake();
        }
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outbox({} free)", self.room())
    }
}

impl Inbound {
    pub fn pop(&mut self) -> Option<Record> {
        self.consumer.pop().ok()
    }

    /// True once after records were lost: the shard is to tell everything again.
    pub fn take_overflow(&self) -> bool {
        self.counts.overflown.swap(false, Relaxed)
    }

    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }
}
