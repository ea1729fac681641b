//! Finds the packets in a byte stream: [`Sync`] is fed whatever a socket gave and delivers runs of
//! whole packets.
//!
//! What is delivered does not depend on how the stream was cut into feeds. Runs are borrowed from
//! the input; only a packet that straddles two feeds (and what was held back while hunting) is
//! delivered from the carry, alone. Garbage is skipped and counted, never an error.
//!
//! Invariants: while locked at most 187 bytes are carried and the first of them is 0x47; while
//! hunting at most [`LOCK_BYTES`] − 1 = 376, and they begin with a byte that may still turn out to
//! be the start of a packet; while in doubt at most [`DOUBT_BYTES`] − 1 = 564, from where a packet
//! should have begun.

use crate::ts::packet::PACKET_BYTES;
use crate::ts::packet::Packets;
use crate::ts::packet::SYNC_BYTE;

/// Sync bytes in a row that make a lock: a false one among random bytes has 1 chance in 2^24, and
/// what must be held back for them (two packets) is far less than the first read of a stream.
const LOCK_SYNCS: usize = 3;
/// The bytes that hold them.
const LOCK_BYTES: usize = (LOCK_SYNCS - 1) * PACKET_BYTES + 1;
/// A packet without its sync byte, and a lock behind it: then the packet is damaged and the lock
/// still holds. Many packets repeat a 0x47 at one place of their payload, and a hunt that begins
/// in the damaged one may take that for the next start.
const DOUBT_BYTES: usize = PACKET_BYTES + LOCK_BYTES;
/// Room to top up a full carry by at least one packet when hunting.
const CARRY_BYTES: usize = LOCK_BYTES + PACKET_BYTES;

/// The packets of one byte stream.
#[derive(Clone, Debug)]
pub struct Sync {
    carry: [u8; CARRY_BYTES],
    carried: usize,
    locked: bool,
    /// The lock was lost where the carry begins, and it is not known yet whether the next packets
    /// are in their places.
    in_doubt: bool,
    skipped_bytes: u64,
    losses: u64,
}

impl Sync {
    /// Hunting, with nothing carried.
    pub fn new() -> Sync {
        Sync {
            carry: [0; CARRY_BYTES],
            carried: 0,
            locked: false,
            in_doubt: false,
            skipped_bytes: 0,
            losses: 0,
        }
    }

    /// Takes all of `bytes` and gives every packet that is complete and in its place to `sink`.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(Packets<'_>)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match (self.locked, self.carried) {
                (true, 0) => self.run(rest, sink),
                (true, _) => self.complete(rest, sink),
                (false, _) if self.in_doubt => self.doubt(rest, sink),
                (false, 0) => self.hunt(rest),
                (false, _) => self.hunt_in_carry(rest, sink),
            };
        }
        self.check_invariants();
    }

    /// Another connection follows: what is carried will never be completed. Not a loss.
    pub fn reset(&mut self) {
        self.skipped_bytes += self.carried as u64;
        self.carried = 0;
        self.locked = false;
        self.in_doubt = false;
    }

    /// Packets are being delivered as they come.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Bytes that wait for their packet to be completed.
    pub fn carried_bytes(&self) -> usize {
        self.carried
    }

    /// Bytes that belonged to no packet.
    pub fn skipped_bytes(&self) -> u64 {
        self.skipped_bytes
    }

    /// How often a lock was lost.
    pub fn losses(&self) -> u64 {
        self.losses
    }

    /// Locked, nothing carried: deliver the run that `bytes` begin with, carry a beginning.
    fn run<'a>(&mut self, bytes: &'a [u8], sink: &mut impl FnMut(Packets<'_>)) -> &'a [u8] {
        let packets = Packets::prefix_of(bytes);
        if !packets.is_empty() {
            sink(packets);
        }
        let rest = &bytes[packets.bytes().len()..];
        match rest.first() {
            None => rest,
            Some(&SYNC_BYTE) => {
                self.carry[..rest.len()].copy_from_slice(rest);
                self.carried = rest.len();
                &[]
            }
            Some(_) => {
                self.lose();
                rest
            }
        }
    }

    /// What follows begins no packet, where one should begin.
    fn lose(&mut self) {
        self.locked = false;
        self.in_doubt = true;
        self.losses += 1;
    }

    /// Collects the place of a lost packet and the three after it: when those begin as they should,
    /// only that one is damaged, else the stream has shifted and the hunt begins.
    fn doubt<'a>(&mut self, bytes: &'a [u8], sink: &mut impl FnMut(Packets<'_>)) -> &'a [u8] {
        let taken = self.top_up(bytes, DOUBT_BYTES);
        if self.carried < DOUBT_BYTES {
            return &[];
        }
        self.in_doubt = false;
        let mut next = (1..=LOCK_SYNCS).map(|n| self.carry[n * PACKET_BYTES]);
        if next.all(|byte| byte == SYNC_BYTE) {
            self.skipped_bytes += PACKET_BYTES as u64;
            self.drop_carry(PACKET_BYTES);
        }
        // Nothing is taken of it: the carry is full, or is a lock.
        self.hunt_in_carry(&[], sink);
        &bytes[taken..]
    }

    /// Locked, part of a packet carried: complete it.
    fn complete<'a>(&mut self, bytes: &'a [u8], sink: &mut impl FnMut(Packets<'_>)) -> &'a [u8] {
        let taken = self.top_up(bytes, PACKET_BYTES);
        if self.carried == PACKET_BYTES {
            sink(Packets::prefix_of(&self.carry[..PACKET_BYTES]));
            self.carried = 0;
        }
        &bytes[taken..]
    }

    /// Hunting, nothing carried: look for a lock in place, carry what may become one.
    fn hunt<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (skip, locked) = find_lock(bytes);
        self.skipped_bytes += skip as u64;
        self.locked = locked;
        let rest = &bytes[skip..];
        if locked {
            return rest;
        }
        self.carry[..rest.len()].copy_from_slice(rest);
        self.carried = rest.len();
        &[]
    }

    /// Hunting with a possible start carried: extend it until it is one, or is none.
    fn hunt_in_carry<'a>(
        &mut self,
        bytes: &'a [u8],
        sink: &mut impl FnMut(Packets<'_>),
    ) -> &'a [u8] {
        let taken = self.top_up(bytes, CARRY_BYTES);
        let (skip, locked) = find_lock(&self.carry[..self.carried]);
        self.skipped_bytes += skip as u64;
        self.locked = locked;
        let mut start = skip;
        if locked {
            let packets = Packets::prefix_of(&self.carry[skip..self.carried]);
            sink(packets);
            start += packets.bytes().len();
        }
        self.drop_carry(start);
        if locked && self.carried > 0 && self.carry[0] != SYNC_BYTE {
            self.lose();
        }
        &bytes[taken..]
    }

    fn drop_carry(&mut self, bytes: usize) {
        self.carry.copy_within(bytes..self.carried, 0);
        self.carried -= bytes;
    }

    /// Extends the carry to at most `limit` bytes; how many were taken.
    fn top_up(&mut self, bytes: &[u8], limit: usize) -> usize {
        let taken = bytes.len().min(limit - self.carried);
        self.carry[self.carried..self.carried + taken].copy_from_slice(&bytes[..taken]);
        self.carried += taken;
        taken
    }

    fn check_invariants(&self) {
        let limit = match (self.locked, self.in_doubt) {
            (true, _) => PACKET_BYTES,
            (false, true) => DOUBT_BYTES,
            (false, false) => LOCK_BYTES,
        };
        debug_assert!(self.carried < limit, "{} bytes carried, limit {limit}", self.carried);
        let begins = self.carried == 0 || self.carry[0] == SYNC_BYTE;
        debug_assert!(begins || self.in_doubt, "carry begins no packet");
    }
}

impl Default for Sync {
    fn default() -> Sync {
        Sync::new()
    }
}

/// How many bytes to skip, and whether a lock begins there; without a lock what remains is shorter
/// than [`LOCK_BYTES`] and may still become one.
fn find_lock(bytes: &[u8]) -> (usize, bool) {
    let mut from = 0;
    while let Some(found) = memchr::memchr(SYNC_BYTE, &bytes[from..]) {
        let start = from + found;
        let mut strides = (1..LOCK_SYNCS).map(|n| bytes.get(start + n * PACKET_BYTES));
        if strides.all(|byte| byte.is_none_or(|byte| *byte == SYNC_BYTE)) {
            return (start, bytes.len() - start >= LOCK_BYTES);
        }
        from = start + 1;
    }
    (bytes.len(), false)
}
