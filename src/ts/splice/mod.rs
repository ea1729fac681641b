//! What is written where a stream does not continue: tables with stepped counters, and marks.
//!
//! libdvbpsi ignores the discontinuity indicator, so that tables bridge the gap of their own
//! counters by being repeated; every other PID gets a mark. Works on plain values and allocates
//! nothing but what `out` needs. [`Staging`] finds out whether anything has to be written at all.

mod recent;
mod staging;

pub use self::recent::Recent;
pub use self::staging::BEHIND_MAX;
pub use self::staging::Join;
pub use self::staging::Past;
pub use self::staging::STAGED_BYTES_MAX;
pub use self::staging::STAGED_MAX;
pub use self::staging::Staging;
use crate::ts::packet::PACKET_BYTES;
use crate::ts::packet::PID_NULL;
use crate::ts::packet::Packets;
use crate::ts::packet::mark;
use crate::ts::psi::Psi;
use crate::ts::psi::push_with_cc;

/// PIDs that are followed: a channel has fewer than ten.
pub const PIDS_MAX: usize = 64;

/// A continuity counter for each PID met, at most [`PIDS_MAX`]; others are not known.
#[derive(Clone, Debug)]
pub struct CounterTable {
    entries: [(u16, u8); PIDS_MAX],
    len: usize,
}

impl CounterTable {
    /// Nothing known.
    pub fn new() -> CounterTable {
        CounterTable { entries: [(PID_NULL, 0); PIDS_MAX], len: 0 }
    }

    /// Notes the counter of the first payload of each PID not yet known.
    pub fn note_first(&mut self, packets: Packets<'_>) {
        for packet in packets.iter() {
            if packet.has_payload() && !packet.tei() && self.get(packet.pid()).is_none() {
                self.push(packet.pid(), packet.cc());
            }
        }
    }

    /// Notes the last counter of each PID, over what was known of it.
    pub fn note_last(&mut self, packets: Packets<'_>) {
        for packet in packets.iter() {
            if !packet.tei() {
                self.set(packet.pid(), packet.cc());
            }
        }
    }

    /// Notes one counter.
    pub fn set(&mut self, pid: u16, cc: u8) {
        match self.entries[..self.len].iter_mut().find(|entry| entry.0 == pid) {
            Some(entry) => entry.1 = cc,
            None => self.push(pid, cc),
        }
    }

    /// The counter noted for this PID.
    pub fn get(&self, pid: u16) -> Option<u8> {
        self.as_slice().iter().find(|entry| entry.0 == pid).map(|entry| entry.1)
    }

    /// All of them, in the order in which the PIDs were met.
    pub fn as_slice(&self) -> &[(u16, u8)] {
        &self.entries[..self.len]
    }

    /// How many PIDs are known.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when no PID is known.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn push(&mut self, pid: u16, cc: u8) {
        if pid != PID_NULL && self.len < PIDS_MAX {
            self.entries[self.len] = (pid, cc);
            self.len += 1;
        }
    }
}

impl Default for CounterTable {
    fn default() -> CounterTable {
        CounterTable::new()
    }
}

/// Appends a mark for each `(pid, first payload counter that follows)`, the PCR PID's first: it
/// announces the jump of the clock to the others.
pub fn write_marks(out: &mut Vec<u8>, pcr_pid: Option<u16>, pids: &[(u16, u8)]) {
    let is_clock = |entry: &&(u16, u8)| Some(entry.0) == pcr_pid;
    let clock = pids.iter().filter(is_clock);
    let others = pids.iter().filter(|entry| !is_clock(entry));
    for &(pid, following_cc) in clock.chain(others) {
        if pid != PID_NULL {
            out.extend_from_slice(&mark(pid, before(following_cc)));
        }
    }
}

/// What is known of one table PID around a jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PsiStep {
    /// The last counter that was sent.
    pub last_sent: Option<u8>,
    /// The first counter that follows.
    pub next: Option<u8>,
}

/// Appends every table of `psi`, repeated so that its counters run from the last sent + 1 to the
/// next − 1, at least once whole.
///
/// Where one side is not known, or where `packets_max` (counted over this call) would be exceeded,
/// a table is written once, behind a mark when its counters do not continue; where even that does
/// not fit it is left out.
pub fn write_psi_stepped(
    out: &mut Vec<u8>,
    psi: &Psi,
    packets_max: usize,
    step_of: &mut dyn FnMut(u16) -> PsiStep,
) {
    let mut left = packets_max;
    // What the tables still to come need at least: a mark and themselves.
    let mut reserved: usize = psi.pids().map(|pid| psi.packets_of(pid) + 1).sum();
    for pid in psi.pids() {
        let table = psi.table(pid);
        reserved -= table.len() + 1;
        let stepped_max = left.saturating_sub(reserved);
        let plan = Bridge::plan(step_of(pid), table.len(), stepped_max);
        if plan.packets > left {
            continue;
        }
        left -= plan.packets;
        plan.write(out, pid, table);
    }
}

/// Both sides of a jump, for [`write_jump`].
#[derive(Clone, Copy, Debug)]
pub struct Jump<'a> {
    /// The tables valid where the stream goes on.
    pub psi: &'a Psi,
    /// The clock's PID where the stream goes on.
    pub pcr_pid: Option<u16>,
    /// The last counters that were sent.
    pub last_sent: &'a CounterTable,
    /// The first payload counters that follow.
    pub following: &'a CounterTable,
    /// At most so many packets are written.
    pub packets_max: usize,
}

/// Appends the stepped tables and a mark for every other PID that follows.
pub fn write_jump(out: &mut Vec<u8>, jump: &Jump<'_>) {
    let mut marks = [(PID_NULL, 0); PIDS_MAX];
    let mut count = 0;
    for &(pid, cc) in jump.following.as_slice() {
        if !jump.psi.contains(pid) {
            marks[count] = (pid, cc);
            count += 1;
        }
    }
    let psi_packets_min = jump.psi.packet_count() + jump.psi.pids().count();
    let count = count.min(jump.packets_max.saturating_sub(psi_packets_min));
    write_psi_stepped(out, jump.psi, jump.packets_max - count, &mut |pid| PsiStep {
        last_sent: jump.last_sent.get(pid),
        next: jump.following.get(pid),
    });
    write_marks(out, jump.pcr_pid, &marks[..count]);
}

/// How the counters of one table are led across a jump.
struct Bridge {
    /// A mark comes first, with this counter.
    mark_cc: Option<u8>,
    /// The counter of the first packet of a table.
    first_cc: u8,
    /// Packets written, the mark included.
    packets: usize,
}

impl Bridge {
    /// Stepped when that takes at most `stepped_max` packets.
    fn plan(step: PsiStep, table_packets: usize, stepped_max: usize) -> Bridge {
        let length = table_packets as u8;
        let marked = |first_cc: u8| Bridge {
            mark_cc: Some(before(first_cc)),
            first_cc,
            packets: table_packets + 1,
        };
        match (step.last_sent, step.next) {
            (Some(last), Some(next)) => {
                let mut packets = usize::from(next.wrapping_sub(last).wrapping_sub(1) & 0x0F);
                if packets < table_packets {
                    packets += 16;
                }
                if packets <= stepped_max {
                    Bridge { mark_cc: None, first_cc: last.wrapping_add(1), packets }
                } else {
                    marked(next.wrapping_sub(length))
                }
            }
            (None, Some(next)) => marked(next.wrapping_sub(length)),
            (Some(last), None) => {
                Bridge { mark_cc: None, first_cc: last.wrapping_add(1), packets: table_packets }
            }
            (None, None) => marked(0),
        }
    }

    /// Steps that make no whole table are repeats of its first packet: each begins the table anew,
    /// so that a table which the jump cut is dropped, never mended with packets of another. They
    /// come first so that what ends is a whole table.
    fn write(&self, out: &mut Vec<u8>, pid: u16, table: &[[u8; PACKET_BYTES]]) {
        let mut cc = self.first_cc;
        let mut packets = self.packets;
        if let Some(mark_cc) = self.mark_cc {
            out.extend_from_slice(&mark(pid, mark_cc));
            packets -= 1;
        }
        let fillers = table.iter().take(1).cycle().take(packets % table.len());
        let tables = table.iter().cycle().take(packets - packets % table.len());
        for packet in fillers.chain(tables) {
            push_with_cc(out, packet, cc);
            cc = cc.wrapping_add(1);
        }
    }
}

/// The counter before `cc`.
fn before(cc: u8) -> u8 {
    cc.wrapping_sub(1) & 0x0F
}
