//! The oracle: is this what a viewer of a signed stream may be sent?
//!
//! A viewer's stream is an exact run of source packets (each is made again from its index and
//! compared byte for byte) between which only PAT and PMT, marks and null packets may stand. A skip
//! must be declared by a mark on every media PID. The verifier learns the source from the first
//! signature it meets, or is told which one to expect. It never panics, whatever it is fed.

mod align;
mod continuity;
mod report;
#[cfg(test)]
mod tests;

pub use report::Inserted;
pub use report::Latency;
pub use report::Report;

use crate::source::signed::Frame;
use crate::source::signed::Signature;
use crate::source::signed::Signed;
use crate::source::signed::SignedConfig;
use crate::source::signed::signature;
use crate::source::ts::NULL_PID;
use crate::source::ts::PACKET_BYTES;
use crate::source::ts::PAT_PID;
use crate::source::ts::PMT_PID;
use crate::source::ts::Packet;
use crate::source::ts::VIDEO_PID;
use crate::source::ts::pid_of;
use align::Aligner;
pub(crate) use continuity::Continuity;
use continuity::is_mark;

/// Tables before a source packet that may turn out to be the source's own.
const TABLES_HELD_MAX: usize = 8;

/// Checks one viewer's stream.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    aligner: Aligner,
    state: State,
}

#[derive(Clone, Debug, Default)]
struct State {
    wanted: Option<SignedConfig>,
    following: Option<Following>,
    continuity: Continuity,
    /// Since the last source packet: PIDs with a mark, tables, wrong packets.
    marked: Vec<u16>,
    tables: Vec<Packet>,
    wrong: u64,
    opening: Opening,
    report: Report,
}

/// The source and the packet of it that should come next.
#[derive(Clone, Debug)]
struct Following {
    signed: Signed,
    frame: Frame,
    next: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Opening {
    #[default]
    Nothing,
    Pat,
    Tables,
    Decided,
}

impl Verifier {
    /// Learns the source from the stream, and a new one when it changes.
    pub fn new() -> Verifier {
        Verifier::default()
    }

    /// Takes only packets of this source.
    pub fn expecting(config: SignedConfig) -> Verifier {
        let state = State { wanted: Some(config), ..State::default() };
        Verifier { aligner: Aligner::default(), state }
    }

    /// The next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.take(bytes, None);
    }

    /// The next bytes, received at this wall time: samples the latency since emission for each
    /// access unit of the video and for the last packet.
    pub fn feed_at(&mut self, bytes: &[u8], now_us: u64) {
        self.take(bytes, Some(now_us));
    }

    fn take(&mut self, bytes: &[u8], now_us: Option<u64>) {
        self.state.report.bytes += bytes.len() as u64;
        let state = &mut self.state;
        let mut newest_us = None;
        self.aligner.feed(bytes, |packet| {
            let source = state.packet(packet);
            let Some(now_us) = now_us.filter(|_| source) else { return };
            let pid = pid_of(packet);
            if pid == PAT_PID || pid == PMT_PID {
                return;
            }
            let age_us = now_us.saturating_sub(signature::emission_us(packet));
            if pid == VIDEO_PID && packet[1] & 0x40 != 0 {
                state.report.latency.record(age_us);
                newest_us = None;
            } else {
                newest_us = Some(age_us);
            }
        });
        if let Some(age_us) = newest_us {
            state.report.latency.record(age_us);
        }
    }

    /// Forgets the latencies so far: a join begins with the past.
    pub fn reset_latency(&mut self) {
        self.state.report.latency = Latency::default();
    }

    /// The source, once known.
    pub fn config(&self) -> Option<&SignedConfig> {
        self.state.following.as_ref().map(|following| following.signed.config())
    }

    /// When the newest packet of the source was emitted, µs since 1970.
    pub fn newest_emission_us(&self) -> Option<u64> {
        let following = self.state.following.as_ref()?;
        let config = following.signed.config();
        Some(config.epoch_us + config.emission_offset_us(following.next.checked_sub(1)?))
    }

    /// What was found so far.
    pub fn report(&self) -> Report {
        let mut report = self.state.report.clone();
        report.misaligned_bytes = self.aligner.misaligned_bytes;
        report.tail_partial_bytes = self.aligner.partial_bytes();
        if report.misaligned_bytes > 0 && report.first_fault.is_none() {
            report.first_fault = Some(format!("{} bytes out of step", report.misaligned_bytes));
        }
        report
    }
}

impl Following {
    fn at(signed: Signed, next: u64) -> Following {
        let frame = signed.frame_at(next);
        Following { signed, frame, next }
    }

    /// Whether this is the packet that should come; then the next one should.
    fn accept(&mut self, packet: &Packet) -> bool {
        if !self.frame.contains(self.next) {
            self.frame = self.signed.frame_after(&self.frame);
        }
        let mut expected = [0_u8; PACKET_BYTES];
        self.signed.write(&self.frame, self.next, &mut expected);
        let same = expected == *packet;
        self.next += u64::from(same);
        same
    }
}

impl State {
    /// True for a packet of the source.
    fn packet(&mut self, packet: &Packet) -> bool {
        self.report.packets += 1;
        if !self.continuity.check(packet) {
            self.report.continuity_errors += 1;
            self.fault(format_args!("counter {} on PID {}", packet[3] & 15, pid_of(packet)));
        }
        let expected = self.wrong == 0 && self.tables.is_empty();
        let accepted = self.following.as_mut().is_some_and(|following| following.accept(packet));
        if accepted {
            // A packet that came after wrong ones or tables is at its place as well.
            if !expected || !self.marked.is_empty() {
                self.settle();
            }
            self.count_source(packet);
            return true;
        }
        let pid = pid_of(packet);
        if let Some(found) = signature::read(packet) {
            return self.elsewhere(packet, found);
        }
        if pid == NULL_PID {
            self.report.inserted.nulls += 1;
        } else if is_mark(packet) {
            self.report.inserted.marks += 1;
            self.marked.push(pid);
        } else if pid == PAT_PID || pid == PMT_PID {
            self.table(packet);
        } else {
            self.wrong_packet(packet);
        }
        if self.opening != Opening::Decided {
            self.open(packet, false);
        }
        false
    }

    /// A PAT or PMT that is not the source's next packet.
    fn table(&mut self, packet: &Packet) {
        if self.following.as_ref().is_some_and(|following| !following.signed.is_table(packet)) {
            return self.wrong_packet(packet);
        }
        self.report.inserted.psi += 1;
        if self.tables.len() == TABLES_HELD_MAX {
            self.tables.remove(0);
        }
        self.tables.push(*packet);
    }

    /// An intact signed packet that is not the one expected.
    fn elsewhere(&mut self, packet: &Packet, found: Signature) -> bool {
        let known = self.following.as_ref().map(|following| *following.signed.config());
        let wanted = self.wanted.is_none_or(|wanted| wanted == found.config);
        let Some(signed) = Signed::new(found.config).ok().filter(|_| wanted) else {
            self.wrong_packet(packet);
            return false;
        };
        if signed.packet(found.index) != *packet {
            self.wrong_packet(packet);
            return false;
        }
        let first = found.index - self.own_tables(&signed, found.index);
        let declared = signed.media_pids().iter().all(|pid| self.marked.contains(pid));
        if known.is_none() {
            let tables = std::mem::take(&mut self.tables);
            for table in tables.iter().filter(|table| !signed.is_table(table)) {
                self.report.inserted.psi -= 1;
                self.wrong_packet(table);
            }
            self.report.first_index = Some(first);
        } else if known == Some(found.config) {
            self.jump(&signed, first, found.index, declared);
        } else {
            self.report.switches += 1;
            self.report.undeclared_switches += u64::from(!declared);
            self.report.first_index = Some(first);
            if !declared {
                self.fault(format_args!("undeclared switch to tag {}", found.config.tag));
            }
        }
        self.following = Some(Following::at(signed, found.index + 1));
        self.settle();
        self.count_source(packet);
        true
    }

    fn jump(&mut self, signed: &Signed, first: u64, index: u64, declared: bool) {
        let next = self.following.as_ref().map_or(first, |following| following.next);
        // Wrong packets stand in for as many source packets: no gap then.
        if next + self.wrong == first {
            return;
        }
        self.report.add_gap(next, first, declared);
        if !declared {
            self.fault(format_args!("undeclared gap from {next} to {first}"));
        }
        self.report.gaps_off_access_point += u64::from(!signed.is_access_point(index));
    }

    /// How many of the tables just before packet `index` are the source's own.
    fn own_tables(&mut self, signed: &Signed, index: u64) -> u64 {
        let mut own = 0;
        while let Some(table) = self.tables.last() {
            if index == own || signed.packet(index - own - 1) != *table {
                break;
            }
            own += 1;
            self.tables.pop();
        }
        self.report.inserted.psi -= own;
        self.report.source_packets += own;
        own
    }

    fn settle(&mut self) {
        self.marked.clear();
        self.tables.clear();
        self.wrong = 0;
    }

    fn count_source(&mut self, packet: &Packet) {
        self.report.source_packets += 1;
        let Some(following) = &self.following else { return };
        let index = following.next - 1;
        self.report.last_index = Some(index);
        if self.opening != Opening::Decided {
            let access_point = following.signed.is_access_point(index);
            self.open(packet, access_point);
        }
    }

    fn open(&mut self, packet: &Packet, access_point: bool) {
        self.opening = match (self.opening, pid_of(packet)) {
            (Opening::Nothing | Opening::Pat, PAT_PID) => Opening::Pat,
            (Opening::Pat | Opening::Tables, PMT_PID) => Opening::Tables,
            (Opening::Tables, PAT_PID) => Opening::Tables,
            (opening, _) => {
                let good = opening == Opening::Tables && access_point;
                self.report.starts_with_pat_pmt_rap = good;
                if !good {
                    self.fault(format_args!("starts without PAT, PMT, random access point"));
                }
                Opening::Decided
            }
        };
    }

    fn wrong_packet(&mut self, packet: &Packet) {
        self.report.wrong_packets += 1;
        self.wrong += 1;
        let next = self.following.as_ref().map(|following| following.next);
        let head = &packet[..8];
        self.fault(format_args!("wrong packet {head:02x?}, expected index {next:?}"));
    }

    fn fault(&mut self, what: std::fmt::Arguments) {
        if self.report.first_fault.is_none() {
            self.report.first_fault = Some(format!("packet {}: {what}", self.report.packets));
        }
    }
}
