//! What a viewer gets instead of the bytes that it missed.
//!
//! Tables whose counters lead from the last one sent to the next one in the stream, then a mark
//! for every other PID: the stream that follows is complete for any demultiplexer. At most
//! [`INLINE_PACKETS_MAX`] packets, always whole.

use crate::base::sizes::MIB;
use crate::base::sizes::PACKET_BYTES;
use crate::ring::Turn;
use crate::ts::packet::Packets;
use crate::ts::splice::CounterTable;
use crate::ts::splice::Jump;
use crate::ts::splice::write_jump;
use crate::viewer::PACKET;
use crate::viewer::join::Point;
use crate::viewer::side::INLINE_PACKETS_MAX;

/// Whole packets looked at around a point to learn its counters: 4 MiB is four seconds at
/// 8 Mbit/s, in which every PID of a channel shows, and 22 000 packets, some 100 us.
const LOOKED_AT_BYTES_MAX: u64 = 4 * MIB / PACKET * PACKET;

/// The first payload counters that follow a random access point, learnt once for all viewers that
/// skip to it.
#[derive(Debug, Default)]
pub struct Following {
    known: Option<(u64, CounterTable)>,
}

impl Following {
    fn at(&mut self, turn: &Turn<'_>, point: &Point) -> &CounterTable {
        let offset = point.access.offset;
        let fresh = self.known.take().filter(|known| known.0 == offset);
        let known = fresh.unwrap_or_else(|| (offset, learn(turn, point)));
        &self.known.insert(known).1
    }
}

/// Appends what leads a viewer that has everything of the stream below `sent_to` to `point`.
pub(super) fn write(
    turn: &Turn<'_>,
    point: &Point,
    sent_to: u64,
    following: &mut Following,
    out: &mut Vec<u8>,
) {
    let following = following.at(turn, point);
    let mut last_sent = CounterTable::new();
    for pid in point.psi.pids() {
        if let Some(cc) = turn.psi_cc_before(sent_to, pid) {
            last_sent.set(pid, cc);
        }
    }
    let pcr_pid = point.psi.pmts().iter().find_map(|pmt| pmt.pcr_pid);
    // The rest of a cut packet is there already and counts as one.
    let packets_max = INLINE_PACKETS_MAX - out.len().div_ceil(PACKET_BYTES);
    write_jump(
        out,
        &Jump { psi: &point.psi, pcr_pid, last_sent: &last_sent, following, packets_max },
    );
}

/// Looks ahead for the first payload of each PID; what does not show there is looked for behind
/// the point, where the last payload was that the first one to come follows.
fn learn(turn: &Turn<'_>, point: &Point) -> CounterTable {
    let offset = point.access.offset;
    let mut following = CounterTable::new();
    let ahead = (turn.head() - offset).min(LOOKED_AT_BYTES_MAX);
    each_run(turn, offset, offset + ahead, |packets| following.note_first(packets));

    let mut before = CounterTable::new();
    let behind = (offset - turn.tail()).min(LOOKED_AT_BYTES_MAX - ahead);
    if turn.reach(offset - behind) {
        each_run(turn, offset - behind, offset, |packets| before.note_last(packets));
    }
    let counters = point.access.psi_counters();
    for (index, pid) in point.psi.pids().enumerate() {
        before.set(pid, counters.get(index));
    }
    for &(pid, cc) in before.as_slice() {
        if following.get(pid).is_none() {
            following.set(pid, cc.wrapping_add(1) & 0x0F);
        }
    }
    following
}

/// Runs over the packets from `start` to `end`, slab by slab.
fn each_run(turn: &Turn<'_>, start: u64, end: u64, mut visit: impl FnMut(Packets<'_>)) {
    let mut offset = start;
    while offset < end {
        let bytes = turn.bytes(offset, (end - offset) as usize);
        let packets = Packets::new_checked(bytes).expect("a ring holds whole packets");
        visit(packets);
        offset += bytes.len() as u64;
    }
}
