//! Continuity counters as a demultiplexer checks them.
//!
//! A packet with payload counts one up on its PID. A discontinuity_indicator excuses any jump, and
//! a mark (adaptation field only, with that indicator) sets the counter from which the next payload
//! continues. One identical repetition of a packet is allowed.

use crate::source::ts::NULL_PID;
use crate::source::ts::Packet;
use crate::source::ts::pid_of;

#[derive(Clone, Debug, Default)]
pub(crate) struct Continuity {
    /// (PID, counter, checksum of the last packet with payload, already repeated).
    pids: Vec<Last>,
}

#[derive(Clone, Debug)]
struct Last {
    pid: u16,
    counter: u8,
    packet: Packet,
    repeated: bool,
}

/// Whether a packet is an adaptation field alone that declares a discontinuity.
pub(crate) fn is_mark(packet: &Packet) -> bool {
    packet[3] & 0x30 == 0x20 && declares(packet)
}

fn declares(packet: &Packet) -> bool {
    packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x80 != 0
}

impl Continuity {
    /// False for a packet that does not continue its PID.
    pub(crate) fn check(&mut self, packet: &Packet) -> bool {
        let pid = pid_of(packet);
        if pid == NULL_PID {
            return true;
        }
        let counter = packet[3] & 0x0f;
        let payload = packet[3] & 0x10 != 0;
        let Some(last) = self.pids.iter_mut().find(|last| last.pid == pid) else {
            self.pids.push(Last { pid, counter, packet: *packet, repeated: false });
            return true;
        };
        let expected = if payload { (last.counter + 1) & 0x0f } else { last.counter };
        let repetition = payload && !last.repeated && counter == last.counter;
        if repetition && *packet == last.packet {
            last.repeated = true;
            return true;
        }
        let good = counter == expected || declares(packet);
        last.counter = counter;
        last.packet = *packet;
        last.repeated = false;
        good
    }
}
