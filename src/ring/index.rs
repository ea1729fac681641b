//! Where things stand in a ring: random access points, and the packets of the PSI tables.
//!
//! Both are fixed rings of atomics ([`Log`]): one writer, readers that take no lock, the oldest
//! entry overwritten. An entry carries its own number twice over (a sequence lock), so a reader
//! recognises one that was overwritten under its eyes. The log knows nothing of head and tail:
//! the turn re-checks them after reading an entry.
//!
//! Invariant: offsets grow strictly with the number of the entry.

use super::sync::AtomicU64;
use super::sync::Ordering;
use super::sync::fence;
use crate::ts::psi::PsiCounters;
use crossbeam_utils::CachePadded;

/// Random access points: at two a second (the most that the scanner gives without video), 8 min.
pub(super) const ACCESS_ENTRIES: usize = entries(1_024);

/// Packets of PAT and PMT: at 10 tables a second, one packet each, about 3 min.
pub(super) const PSI_ENTRIES: usize = entries(4_096);

/// Every atomic costs the checkers time.
const fn entries(full: usize) -> usize {
    if cfg!(ringcast_loom) {
        2
    } else if cfg!(miri) {
        full / 16
    } else {
        full
    }
}

/// A point in the ring where a decoder can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub offset: u64,
    /// On the stream's own clock, which never goes back.
    pub media_us: u64,
    /// Of the tables that are valid here.
    pub psi_version: u32,
    /// The last counter of the PAT before this point.
    pub pat_cc: u8,
    /// The last counters of the PMTs before this point, in the order of the PAT.
    pub pmt_cc: [u8; 8],
}

impl Access {
    /// The counters in the scanner's form: PAT, then PMTs.
    pub fn psi_counters(&self) -> PsiCounters {
        let mut counters = PsiCounters::default();
        for (index, cc) in std::iter::once(self.pat_cc).chain(self.pmt_cc).enumerate() {
            counters.set(index, cc);
        }
        counters
    }

    pub fn with_psi_counters(self, counters: PsiCounters) -> Self {
        let pmt_cc = std::array::from_fn(|index| counters.get(index + 1));
        Self { pat_cc: counters.get(0), pmt_cc, ..self }
    }

    pub(super) fn to_words(self) -> [u64; 4] {
        let psi = u64::from(self.psi_version) << 8 | u64::from(self.pat_cc);
        [self.offset, self.media_us, psi, u64::from_le_bytes(self.pmt_cc)]
    }

    pub(super) fn from_words(words: [u64; 4]) -> Self {
        let [offset, media_us, psi, pmt_cc] = words;
        Self {
            offset,
            media_us,
            psi_version: (psi >> 8) as u32,
            pat_cc: psi as u8,
            pmt_cc: pmt_cc.to_le_bytes(),
        }
    }
}

/// A packet of the PAT or of a PMT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PsiPacket {
    pub(super) offset: u64,
    pub(super) pid: u16,
    pub(super) cc: u8,
}

impl PsiPacket {
    pub(super) fn to_words(self) -> [u64; 2] {
        [self.offset, u64::from(self.pid) << 8 | u64::from(self.cc)]
    }

    pub(super) fn from_words(words: [u64; 2]) -> Self {
        let [offset, rest] = words;
        Self { offset, pid: (rest >> 8) as u16, cc: rest as u8 }
    }
}

/// A ring of entries of `W` words, the first of which is the offset.
pub(super) struct Log<const W: usize> {
    /// Entries that readers may look at, ever written.
    published: CachePadded<AtomicU64>,
    entries: Box<[Entry<W>]>,
}

struct Entry<const W: usize> {
    /// 0: never written. 2n + 1: entry n is being written. 2n + 2: entry n stands here.
    state: AtomicU64,
    words: [AtomicU64; W],
}

impl<const W: usize> Log<W> {
    pub(super) fn new(entries: usize) -> Self {
        assert!(entries.is_power_of_two());
        let entry = || Entry {
            state: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
        };
        Self {
            published: CachePadded::new(AtomicU64::new(0)),
            entries: (0..entries).map(|_| entry()).collect(),
        }
    }

    /// Only the writer, with consecutive numbers. Visible after [`Log::publish`].
    pub(super) fn write(&self, number: u64, words: [u64; W]) {
        let entry = self.entry(number);
        entry.state.store(2 * number + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (slot, word) in entry.words.iter().zip(words) {
            slot.store(word, Ordering::Relaxed);
        }
        entry.state.store(2 * number + 2, Ordering::Release);
    }

    pub(super) fn publish(&self, entries: u64) {
        self.published.store(entries, Ordering::Release);
    }

    /// The numbers that may still be there.
    pub(super) fn numbers(&self) -> std::ops::Range<u64> {
        let published = self.published.load(Ordering::Acquire);
        published.saturating_sub(self.entries.len() as u64)..published
    }

    /// None: overwritten, now or long ago.
    pub(super) fn read(&self, number: u64) -> Option<[u64; W]> {
        let entry = self.entry(number);
        let whole = 2 * number + 2;
        if entry.state.load(Ordering::Acquire) != whole {
            return None;
        }
        let words = std::array::from_fn(|i| entry.words[i].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        (entry.state.load(Ordering::Relaxed) == whole).then_some(words)
    }

    /// The first number within `numbers` whose entry is not `below`, by bisection. What was
    /// overwritten was the oldest: it counts as below.
    pub(super) fn first_not(
        &self,
        numbers: std::ops::Range<u64>,
        below: impl Fn([u64; W]) -> bool,
    ) -> u64 {
        let (mut low, mut high) = (numbers.start, numbers.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.read(middle).is_none_or(&below) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn entry(&self, number: u64) -> &Entry<W> {
        &self.entries[number as usize & (self.entries.len() - 1)]
    }
}
