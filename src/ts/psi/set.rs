//! The set of tables valid now: followed by [`PsiTracker`], handed out as [`Psi`].
//!
//! A [`Psi`] never changes after it was made: an access point names the version that it needs.
//! Sections are kept as packets that begin with them, so that they can be written with any
//! continuity counter.

use std::sync::Arc;

use crate::ts::packet::PACKET_BYTES;
use crate::ts::packet::PID_NULL;
use crate::ts::packet::PID_PAT;
use crate::ts::packet::Packet;
use crate::ts::psi::section::SectionAssembler;
use crate::ts::psi::section::packetise;
use crate::ts::psi::tables::ElementaryStream;
use crate::ts::psi::tables::Pat;
use crate::ts::psi::tables::Pmt;

/// Programs followed; a channel has one, a whole transponder has a dozen and is no channel.
pub const PROGRAMS_MAX: usize = 8;
/// Packets of one set: a viewer's inline send takes 64, of which a jump may need several sets.
pub const PSI_PACKETS_MAX: usize = 16;
/// PIDs below are reserved by the standard; a PMT there is a damaged PAT.
const PMT_PID_MIN: u16 = 0x10;

const _: () = assert!(PROGRAMS_MAX < PsiCounters::COUNT_MAX);

/// The PAT and every PMT known, of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Psi {
    version: u32,
    complete: bool,
    /// The PAT, then one entry for each PMT PID.
    tables: Vec<Table>,
    pmts: Vec<Pmt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    pid: u16,
    packets: Vec<[u8; PACKET_BYTES]>,
}

impl Psi {
    /// Counts the changes of content from 1 on.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Every program of the PAT (of the first [`PROGRAMS_MAX`]) has shown its PMT.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The PAT's PID, then those of the PMTs: the order of [`PsiCounters`].
    pub fn pids(&self) -> impl Iterator<Item = u16> {
        self.tables.iter().map(|table| table.pid)
    }

    /// True for the PAT's PID and those of the PMTs.
    pub fn contains(&self, pid: u16) -> bool {
        self.tables.iter().any(|table| table.pid == pid)
    }

    /// How many packets the table of this PID takes; zero when it is no PID of tables.
    pub fn packets_of(&self, pid: u16) -> usize {
        let table = self.tables.iter().find(|table| table.pid == pid);
        table.map_or(0, |table| table.packets.len())
    }

    /// How many packets all tables take.
    pub fn packet_count(&self) -> usize {
        self.tables.iter().map(|table| table.packets.len()).sum()
    }

    /// The PMTs in the order of the PAT.
    pub fn pmts(&self) -> &[Pmt] {
        &self.pmts
    }

    /// The streams of all programs in the order of the PAT.
    pub fn streams(&self) -> impl Iterator<Item = &ElementaryStream> {
        self.pmts.iter().flat_map(|pmt| &pmt.streams)
    }

    /// Appends all tables; `cc_of` is asked once for each packet.
    pub fn write(&self, out: &mut Vec<u8>, cc_of: &mut dyn FnMut(u16) -> u8) {
        for table in &self.tables {
            for packet in &table.packets {
                push_with_cc(out, packet, cc_of(table.pid));
            }
        }
    }

    /// Appends all tables with the counters that make the tables following in the stream continue
    /// them: the last packet of each PID carries the counter last seen before the access point.
    pub fn write_leading(&self, out: &mut Vec<u8>, counters: PsiCounters) {
        for (index, table) in self.tables.iter().enumerate() {
            let first = usize::from(counters.get(index)) + 1 + 16 - table.packets.len();
            for (step, packet) in table.packets.iter().enumerate() {
                push_with_cc(out, packet, (first + step) as u8);
            }
        }
    }

    /// The packets of one PID, counters meaningless.
    pub(crate) fn table(&self, pid: u16) -> &[[u8; PACKET_BYTES]] {
        let table = self.tables.iter().find(|table| table.pid == pid);
        table.map_or(&[], |table| &table.packets)
    }
}

/// Appends `packet` with its continuity counter replaced.
pub(crate) fn push_with_cc(out: &mut Vec<u8>, packet: &[u8; PACKET_BYTES], cc: u8) {
    let start = out.len();
    out.extend_from_slice(packet);
    out[start + 3] = packet[3] & 0xF0 | cc & 0x0F;
}

/// The continuity counters last seen on the PIDs of a [`Psi`], in its order: sixteen nibbles, so
/// that they fit an atomic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PsiCounters(u64);

impl PsiCounters {
    /// Nibbles in 64 bits.
    pub const COUNT_MAX: usize = 16;

    pub fn from_bits(bits: u64) -> PsiCounters {
        PsiCounters(bits)
    }

    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The counter of the table at `index` (0 is the PAT).
    pub fn get(self, index: usize) -> u8 {
        assert!(index < PsiCounters::COUNT_MAX);
        (self.0 >> (index * 4)) as u8 & 0x0F
    }

    /// Replaces the counter of the table at `index`.
    pub fn set(&mut self, index: usize, cc: u8) {
        assert!(index < PsiCounters::COUNT_MAX);
        self.0 &= !(0x0F << (index * 4));
        self.0 |= u64::from(cc & 0x0F) << (index * 4);
    }
}

/// Follows the tables of a stream.
#[derive(Clone, Debug, Default)]
pub struct PsiTracker {
    pat: SectionAssembler,
    pat_section: Vec<u8>,
    /// One for each PMT PID, in the order of the PAT.
    slots: Vec<PmtSlot>,
    version: u32,
    psi: Option<Arc<Psi>>,
}

#[derive(Clone, Debug)]
struct PmtSlot {
    pid: u16,
    programs: Vec<u16>,
    assembler: SectionAssembler,
    /// At most one for each program.
    tables: Vec<(Vec<u8>, Pmt)>,
}

impl PsiTracker {
    /// Nothing known.
    pub fn new() -> PsiTracker {
        PsiTracker::default()
    }

    /// The set valid now; None until the PAT and one PMT are known.
    pub fn psi(&self) -> Option<&Arc<Psi>> {
        self.psi.as_ref()
    }

    /// The version of the set, 0 while there is none.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The PIDs to push packets of, besides the PAT's.
    pub fn pmt_pids(&self) -> impl Iterator<Item = u16> {
        self.slots.iter().map(|slot| slot.pid)
    }

    /// Sections dropped for their length or their CRC.
    pub fn bad_sections(&self) -> u64 {
        let of_slots: u64 = self.slots.iter().map(|slot| slot.assembler.bad_sections()).sum();
        self.pat.bad_sections() + of_slots
    }

    /// What follows is no continuation; the tables stay valid until others come.
    pub fn splice(&mut self) {
        self.pat.reset();
        self.slots.iter_mut().for_each(|slot| slot.assembler.reset());
    }

    /// Takes a packet of the PAT's or a PMT's PID; true when the set or the PMT PIDs changed.
    pub fn push(&mut self, packet: Packet<'_>) -> bool {
        let changed = match packet.pid() {
            PID_PAT => self.push_pat(packet),
            pid => self.push_pmt(pid, packet),
        };
        if changed {
            self.rebuild();
        }
        changed
    }

    fn push_pat(&mut self, packet: Packet<'_>) -> bool {
        let (known, slots) = (&mut self.pat_section, &mut self.slots);
        let mut changed = false;
        self.pat.push(packet, &mut |section| {
            if known == section {
                return;
            }
            if let Some(pat) = Pat::parse(section) {
                section.clone_into(known);
                *slots = slots_of(&pat, std::mem::take(slots));
                changed = true;
            }
        });
        changed
    }

    fn push_pmt(&mut self, pid: u16, packet: Packet<'_>) -> bool {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.pid == pid) else {
            return false;
        };
        let (programs, tables) = (&slot.programs, &mut slot.tables);
        let mut changed = false;
        slot.assembler.push(packet, &mut |section| {
            if tables.iter().any(|(known, _)| known == section) {
                return;
            }
            let Some(pmt) = Pmt::parse(section) else {
                return;
            };
            // Some muxers number the program of the PMT differently; alone on its PID it is meant.
            let alone = programs.len() == 1;
            if alone {
                tables.clear();
            } else if programs.contains(&pmt.program_number) {
                tables.retain(|(_, known)| known.program_number != pmt.program_number);
            } else {
                return;
            }
            tables.push((section.to_vec(), pmt));
            changed = true;
        });
        changed
    }

    fn rebuild(&mut self) {
        let mut pat = Table { pid: PID_PAT, packets: Vec::new() };
        packetise(&mut pat.packets, PID_PAT, &self.pat_section);
        let mut packet_count = pat.packets.len();
        let mut tables = vec![pat];
        let mut pmts = Vec::new();
        for slot in &self.slots {
            let mut table = Table { pid: slot.pid, packets: Vec::new() };
            for (section, pmt) in &slot.tables {
                let mut packets = Vec::new();
                packetise(&mut packets, slot.pid, section);
                if packet_count + packets.len() > PSI_PACKETS_MAX {
                    continue;
                }
                packet_count += packets.len();
                table.packets.append(&mut packets);
                pmts.push(pmt.clone());
            }
            if !table.packets.is_empty() {
                tables.push(table);
            }
        }
        if pmts.is_empty() {
            // The version stays: an access point found before the PMTs of a new PAT came would
            // otherwise name a set that does not exist.
            return;
        }
        let complete = self.slots.iter().all(|slot| slot.tables.len() == slot.programs.len());
        let same = |psi: &Arc<Psi>| psi.tables == tables && psi.complete == complete;
        if self.psi.as_ref().is_some_and(same) {
            return;
        }
        self.version += 1;
        self.psi = Some(Arc::new(Psi { version: self.version, complete, tables, pmts }));
    }
}

/// A slot for each PMT PID of the PAT; what is known of a program that stays where it was is kept.
fn slots_of(pat: &Pat, mut known: Vec<PmtSlot>) -> Vec<PmtSlot> {
    let mut slots: Vec<PmtSlot> = Vec::new();
    for program in pat.programs.iter().take(PROGRAMS_MAX) {
        if !(PMT_PID_MIN..PID_NULL).contains(&program.pmt_pid) {
            continue;
        }
        if let Some(slot) = slots.iter_mut().find(|slot| slot.pid == program.pmt_pid) {
            slot.programs.push(program.number);
            continue;
        }
        let programs = vec![program.number];
        let slot = match known.iter().position(|slot| slot.pid == program.pmt_pid) {
            Some(index) => PmtSlot { programs, ..known.swap_remove(index) },
            None => PmtSlot {
                pid: program.pmt_pid,
                programs,
                assembler: SectionAssembler::new(),
                tables: Vec::new(),
            },
        };
        slots.push(slot);
    }
    for slot in &mut slots {
        let alone = slot.programs.len() == 1 && slot.tables.len() == 1;
        let programs = &slot.programs;
        slot.tables.retain(|(_, pmt)| alone || programs.contains(&pmt.program_number));
    }
    slots
}
