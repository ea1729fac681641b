//! What a player may be sent, written down as strictly as a demultiplexer can be: every byte is
//! the stream's or one of the three things that a viewer may add, and every counter continues.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::sizes::PACKET_BYTES;
use crate::ts::packet::PID_NULL;
use crate::ts::packet::Packet;
use crate::ts::psi::SectionAssembler;
use crate::viewer::tests::source::Source;

/// What was found in a player's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Packets before the first one of the stream.
    pub(super) leading: usize,
    /// The access point that it began with.
    pub(super) start: u64,
    /// (the first byte missed, the access point after it)
    pub(super) skips: Vec<(u64, u64)>,
    pub(super) nulls: usize,
    /// The next byte of the stream that would come.
    pub(super) end: u64,
}

struct Checker<'a> {
    source: &'a Source,
    psi_pids: BTreeSet<u16>,
    report: Report,
    at: Option<u64>,
    counters: BTreeMap<u16, u8>,
    /// Since the last packet of the stream that is no table: tables completed, PIDs marked.
    tables: BTreeSet<u16>,
    marked: BTreeSet<u16>,
    jumping: bool,
    /// PIDs with a payload since the last jump; at any time before it.
    since: BTreeSet<u16>,
    before: BTreeSet<u16>,
    sections: BTreeMap<u16, SectionAssembler>,
}

/// Panics on the first byte that a viewer must not get. `body` may end within a packet.
pub(super) fn check(source: &Source, body: &[u8]) -> Report {
    let mut checker = Checker {
        source,
        psi_pids: source.psi_pids(),
        report: Report::default(),
        at: None,
        counters: BTreeMap::new(),
        tables: BTreeSet::new(),
        marked: BTreeSet::new(),
        jumping: true,
        since: BTreeSet::new(),
        before: BTreeSet::new(),
        sections: BTreeMap::new(),
    };
    let (packets, _cut) = body.as_chunks::<PACKET_BYTES>();
    for (number, bytes) in packets.iter().enumerate() {
        let packet = Packet::new(bytes).unwrap_or_else(|| panic!("packet {number}: no sync byte"));
        checker.take(number, packet);
    }
    checker.report
}

impl Checker<'_> {
    fn take(&mut self, number: usize, packet: Packet<'_>) {
        let pid = packet.pid();
        if pid == PID_NULL {
            assert!(self.at.is_some(), "packet {number}: a null packet before the first real one");
            self.report.nulls += 1;
            return;
        }
        self.check_counter(number, packet);
        if self.continues(packet) {
            self.report.end += PACKET_BYTES as u64;
            self.at = Some(self.report.end);
            self.check_marked(number, packet);
            if self.psi_pids.contains(&pid) {
                // It may as well be the first of our own tables, and the same as what was missed.
                self.note_table(number, packet);
            } else {
                self.tables.clear();
            }
            return;
        }
        if self.psi_pids.contains(&pid) {
            // Tables behind marks: overtaken again before the point was sent.
            if !self.jumping || !self.marked.is_empty() {
                if self.jumping {
                    self.tables.clear();
                }
                self.begin_jump();
            }
            self.note_table(number, packet);
            return;
        }
        let is_mark = packet.discontinuity() && !packet.has_payload();
        if is_mark {
            if !self.jumping {
                // All of our own tables may be the same as what was missed.
                assert_eq!(self.tables, self.psi_pids, "packet {number}: a mark before the tables");
                self.begin_jump();
            }
            assert_eq!(packet.adaptation().len(), 183, "packet {number}: a whole mark");
            assert!(self.marked.insert(pid), "packet {number}: {pid} marked twice");
            return;
        }
        self.land(number, packet);
    }

    fn continues(&self, packet: Packet<'_>) -> bool {
        let Some(at) = self.at else {
            return false;
        };
        let at = at as usize;
        let is_next = self.source.stream.get(at..at + PACKET_BYTES) == Some(packet.bytes());
        // Tables of our own may look like those that come next in the stream.
        is_next && !(self.jumping && self.psi_pids.contains(&packet.pid()))
    }

    fn begin_jump(&mut self) {
        self.jumping = true;
        self.marked.clear();
        self.before.append(&mut self.since);
    }

    /// A packet from elsewhere in the stream: only behind tables and marks, and only a point.
    fn land(&mut self, number: usize, packet: Packet<'_>) {
        let place = packet.bytes()[PACKET_BYTES - 8..].try_into().expect("eight bytes");
        let offset = u64::from_be_bytes(place);
        let at = offset as usize;
        assert_eq!(
            self.source.stream.get(at..at + PACKET_BYTES),
            Some(&packet.bytes()[..]),
            "packet {number} is no packet of the stream"
        );
        assert!(self.jumping, "packet {number} jumps to {offset} from {:?}", self.at);
        assert!(self.source.access.contains(&offset), "packet {number}: {offset} is no point");
        assert_eq!(self.tables, self.psi_pids, "packet {number}: not all tables before the jump");
        match self.at {
            None => {
                self.report.leading = number;
                self.report.start = offset;
            }
            Some(from) => {
                assert!(offset > from, "packet {number}: back from {from} to {offset}");
                self.report.skips.push((from, offset));
            }
        }
        self.jumping = false;
        self.tables.clear();
        self.report.end = offset + PACKET_BYTES as u64;
        self.at = Some(self.report.end);
        self.check_marked(number, packet);
    }

    fn check_marked(&mut self, number: usize, packet: Packet<'_>) {
        let pid = packet.pid();
        let is_table = self.psi_pids.contains(&pid);
        if packet.has_payload() && self.since.insert(pid) && !is_table && self.before.contains(&pid)
        {
            assert!(self.marked.contains(&pid), "packet {number}: {pid} was not marked");
        }
    }

    /// The flag excuses any PID but those of the tables, as libdvbpsi sees it.
    fn check_counter(&mut self, number: usize, packet: Packet<'_>) {
        let (pid, cc) = (packet.pid(), packet.cc());
        let excused = packet.discontinuity() && !self.psi_pids.contains(&pid);
        if let Some(last) = self.counters.insert(pid, cc)
            && !excused
        {
            let due = if packet.has_payload() { (last + 1) & 0x0F } else { last };
            assert_eq!(cc, due, "packet {number}: the counter of {pid}, last {last}");
        }
    }

    fn note_table(&mut self, number: usize, packet: Packet<'_>) {
        let pid = packet.pid();
        assert!(packet.has_payload(), "packet {number}: a mark on the PID of a table");
        let first = self.at.is_none() && self.tables.is_empty();
        assert!(!first || pid == 0, "packet {number}: the PAT comes first");
        let tables = &mut self.tables;
        let assembler = self.sections.entry(pid).or_default();
        assembler.push(packet, &mut |_| {
            tables.insert(pid);
        });
        assert_eq!(assembler.bad_sections(), 0, "packet {number}: a bad section");
    }
}
