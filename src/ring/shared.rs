//! The shared part of a ring: the words that its writer and its readers meet on.
//!
//! It holds no bytes and decides nothing. Each hot word has a cache line of its own. Who writes
//! what: `head`, `tail`, `state`, the twin's base, the slab table and the indices are the
//! writer's, `pins[r]` is reader r's alone; everybody reads everything.
//!
//! Invariants: `tail <= head`, both multiples of 188; neither ever goes back.

use super::arena::Arena;
use super::index::ACCESS_ENTRIES;
use super::index::Log;
use super::index::PSI_ENTRIES;
use super::sync::AtomicBool;
use super::sync::AtomicU32;
use super::sync::AtomicU64;
use super::sync::Mutex;
use super::sync::Ordering;
use super::sync::fence;
use super::sync::lock;
use super::twin;
use super::twin::TwinFile;
use crate::ts::psi::Psi;
use crossbeam_utils::CachePadded;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;

/// Versions of the tables that are kept: a ring of 60 s sees one or two.
const PSI_VERSIONS_MAX: usize = 16;

/// A pin that holds nothing.
pub(super) const UNPINNED: u64 = u64::MAX;

pub struct Ring {
    /// Published: below it the bytes never change again.
    pub(super) head: CachePadded<AtomicU64>,
    /// The first byte still promised.
    pub(super) tail: CachePadded<AtomicU64>,
    pub(super) ended: CachePadded<AtomicBool>,
    pub(super) pins: Box<[CachePadded<Pins>]>,
    /// A reader's place is taken: two on one pin would undo each other's.
    pub(super) taken: Box<[AtomicBool]>,
    pub(super) table: SlabTable,
    pub(super) access: Log<4>,
    pub(super) psi_packets: Log<2>,
    pub(super) notes: CachePadded<Notes>,
    /// The first byte that is sent from the twin, or `twin::ABSENT`.
    pub(super) twin_base: CachePadded<AtomicU64>,
    /// Made when it is first needed, and kept: a reader may look at it at any time.
    pub(super) twin_file: OnceLock<TwinFile>,
    psi: Mutex<VecDeque<(u32, Arc<Psi>)>>,
    arena: &'static Arena,
    generation: u32,
}

/// A reader's word to the owner. Both stand on one cache line: they are written together.
pub(super) struct Pins {
    /// The lowest byte that the reader may touch in the slabs, or [`UNPINNED`].
    pub(super) slabs: AtomicU64,
    /// The lowest byte that a running turn may send from the twin, or [`UNPINNED`].
    pub(super) twin: AtomicU64,
}

impl Pins {
    fn new() -> Self {
        Self { slabs: AtomicU64::new(UNPINNED), twin: AtomicU64::new(UNPINNED) }
    }
}

/// What the writer says about its stream, roughly at head.
pub(super) struct Notes {
    pub(super) media_us: AtomicU64,
    pub(super) bitrate_bps: AtomicU64,
}

impl Ring {
    pub(super) fn new(
        arena: &'static Arena,
        readers: usize,
        slabs_max: usize,
        generation: u32,
    ) -> Self {
        let word = |value| CachePadded::new(AtomicU64::new(value));
        Self {
            head: word(0),
            tail: word(0),
            ended: CachePadded::new(AtomicBool::new(false)),
            pins: (0..readers).map(|_| CachePadded::new(Pins::new())).collect(),
            taken: (0..readers).map(|_| AtomicBool::new(false)).collect(),
            table: SlabTable::new(slabs_max),
            access: Log::new(ACCESS_ENTRIES),
            psi_packets: Log::new(PSI_ENTRIES),
            notes: CachePadded::new(Notes {
                media_us: AtomicU64::new(0),
                bitrate_bps: AtomicU64::new(0),
            }),
            twin_base: word(twin::ABSENT),
            twin_file: OnceLock::new(),
            psi: Mutex::new(VecDeque::with_capacity(PSI_VERSIONS_MAX)),
            arena,
            generation,
        }
    }

    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    pub fn tail(&self) -> u64 {
        self.tail.load(Ordering::Acquire)
    }

    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Nothing more will come. What is there stays readable until the writer closes.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub fn readers(&self) -> usize {
        self.pins.len()
    }

    pub fn arena(&self) -> &'static Arena {
        self.arena
    }

    /// The tables of a version, of the last sixteen. For the control path: it takes a lock.
    pub fn psi(&self, version: u32) -> Option<Arc<Psi>> {
        let known = lock(&self.psi);
        known.iter().rev().find(|(v, _)| *v == version).map(|(_, psi)| Arc::clone(psi))
    }

    pub(super) fn set_psi(&self, version: u32, psi: Arc<Psi>) {
        let mut known = lock(&self.psi);
        known.retain(|(v, _)| *v != version);
        if known.len() == PSI_VERSIONS_MAX {
            known.pop_front();
        }
        known.push_back((version, psi));
    }

    /// The stream's media clock at about head.
    pub fn media_us_at_head(&self) -> u64 {
        self.notes.media_us.load(Ordering::Relaxed)
    }

    pub fn bitrate_bps(&self) -> u64 {
        self.notes.bitrate_bps.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn slab_bytes(&self) -> u64 {
        self.arena.slab_bytes() as u64
    }

    /// The reader's half of the protocol (rule 3). Returns the tail: every byte from
    /// max(pin, tail) on stays as it is until the pin is raised.
    #[inline]
    pub(super) fn pin_and_read_tail(&self, reader: usize, pin: u64) -> u64 {
        self.pins[reader].slabs.store(pin, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.tail.load(Ordering::Acquire)
    }

    /// Release: what the reader read below the new pin happened before it.
    #[inline]
    pub(super) fn raise_pin(&self, reader: usize, pin: u64) {
        self.pins[reader].slabs.store(pin, Ordering::Release);
    }

    /// The owner's half (rule 4): after this, a slab whose end is not above the result is read by
    /// no turn, now or later.
    pub(super) fn move_tail_and_read_pins(&self, tail: u64) -> u64 {
        self.tail.store(tail, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.lowest_pin()
    }

    /// For slabs that were condemned under an earlier tail, whose fence lies before this.
    pub(super) fn lowest_pin(&self) -> u64 {
        self.pins.iter().map(|pin| pin.slabs.load(Ordering::Acquire)).min().unwrap_or(UNPINNED)
    }
}

/// Slab numbers by the sequence of slabs in the stream: slab s holds the bytes from
/// s x slab bytes on. An entry is overwritten only when its slab is neither live nor condemned.
pub(super) struct SlabTable {
    numbers: Box<[AtomicU32]>,
}

impl SlabTable {
    fn new(slabs_max: usize) -> Self {
        let entries = slabs_max.next_power_of_two();
        Self { numbers: (0..entries).map(|_| AtomicU32::new(u32::MAX)).collect() }
    }

    pub(super) fn len(&self) -> u64 {
        self.numbers.len() as u64
    }

    #[inline]
    pub(super) fn get(&self, sequence: u64) -> u32 {
        self.numbers[self.at(sequence)].load(Ordering::Relaxed)
    }

    /// Relaxed: the release store of head that covers the slab's first byte carries it.
    pub(super) fn set(&self, sequence: u64, number: u32) {
        self.numbers[self.at(sequence)].store(number, Ordering::Relaxed);
    }

    #[inline]
    fn at(&self, sequence: u64) -> usize {
        sequence as usize & (self.numbers.len() - 1)
    }
}
