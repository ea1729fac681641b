//! The PIDs of a stream with their last continuity counters: a fixed table, found in one load.

use crate::ts::packet::PID_NULL;
use crate::ts::splice::PIDS_MAX;

/// PIDs are 13 bits.
const PID_COUNT: usize = 1 << 13;
/// In `slot_of`: a PID that has no record.
const NONE: u8 = 0;
/// In a record's counter: what follows need not continue it.
const LOOSE: u8 = 0x80;

const _: () = assert!(PIDS_MAX < 256, "a slot is a byte and 0 is taken");

/// What the packets of a PID are to the scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Only its counter is followed.
    Other,
    /// PAT or PMT: every packet is looked at.
    Psi,
    /// The first video: access units are looked into.
    Video,
    /// The first audio of a stream without video.
    Audio,
}

/// One PID.
#[derive(Clone, Copy, Debug)]
pub(super) struct PidRecord {
    pub(super) pid: u16,
    /// Low nibble: the last counter. [`LOOSE`]: the next payload need not continue it.
    counter: u8,
    /// The packet before was a repeat of the one before it.
    pub(super) repeated: bool,
    pub(super) role: Role,
    /// Its packets are looked at even when nothing in their header asks for it.
    pub(super) watched: bool,
    /// Second of the media clock in which it was last seen.
    pub(super) seen_s: u32,
}

impl PidRecord {
    const EMPTY: PidRecord = PidRecord {
        pid: PID_NULL,
        counter: LOOSE,
        repeated: false,
        role: Role::Other,
        watched: false,
        seen_s: 0,
    };

    /// The last counter seen.
    #[inline]
    pub(super) fn cc(&self) -> u8 {
        self.counter & 0x0F
    }

    /// True when a payload with `cc` continues what was seen; false also when anything would do.
    #[inline]
    pub(super) fn continues(&self, cc: u8) -> bool {
        (self.counter + 1) & (LOOSE | 0x0F) == cc
    }

    /// True when any counter may follow.
    pub(super) fn is_loose(&self) -> bool {
        self.counter & LOOSE != 0
    }

    #[inline]
    pub(super) fn set_cc(&mut self, cc: u8) {
        self.counter = cc;
    }
}

/// At most [`PIDS_MAX`] records; the one not seen for longest makes room for a new one.
#[derive(Clone, Debug)]
pub(super) struct PidTable {
    /// Index of the record + 1.
    slot_of: Box<[u8; PID_COUNT]>,
    records: [PidRecord; PIDS_MAX],
    len: usize,
}

impl PidTable {
    pub(super) fn new() -> PidTable {
        PidTable {
            slot_of: Box::new([NONE; PID_COUNT]),
            records: [PidRecord::EMPTY; PIDS_MAX],
            len: 0,
        }
    }

    /// The record of `pid`, if it was seen.
    #[inline]
    pub(super) fn get_mut(&mut self, pid: u16) -> Option<&mut PidRecord> {
        match self.slot_of[usize::from(pid) % PID_COUNT] {
            NONE => None,
            slot => self.records.get_mut(usize::from(slot) - 1),
        }
    }

    pub(super) fn get(&self, pid: u16) -> Option<&PidRecord> {
        match self.slot_of[usize::from(pid) % PID_COUNT] {
            NONE => None,
            slot => self.records.get(usize::from(slot) - 1),
        }
    }

    /// A record for a PID that has none.
    pub(super) fn insert(&mut self, pid: u16, role: Role, now_s: u32) {
        debug_assert!(self.get(pid).is_none());
        let index = if self.len < PIDS_MAX {
            self.len += 1;
            self.len - 1
        } else {
            let rank = |index: &usize| {
                let record = &self.records[*index];
                (record.role != Role::Other, record.seen_s)
            };
            (0..PIDS_MAX).min_by_key(rank).unwrap_or(0)
        };
        let evicted = std::mem::replace(
            &mut self.records[index],
            PidRecord { pid, role, watched: role == Role::Psi, seen_s: now_s, ..PidRecord::EMPTY },
        );
        self.slot_of[usize::from(evicted.pid) % PID_COUNT] = NONE;
        self.slot_of[usize::from(pid) % PID_COUNT] = index as u8 + 1;
    }

    pub(super) fn records(&self) -> &[PidRecord] {
        &self.records[..self.len]
    }

    pub(super) fn records_mut(&mut self) -> &mut [PidRecord] {
        &mut self.records[..self.len]
    }

    /// What follows is no continuation: any counter will do.
    pub(super) fn loosen(&mut self) {
        self.records_mut().iter_mut().for_each(|record| record.counter |= LOOSE);
    }
}
