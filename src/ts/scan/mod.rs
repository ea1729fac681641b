//! One pass over the packets of a stream: tables, access points, clock, continuity.
//!
//! Nothing is allocated per packet, and a packet in the middle of an access unit costs a header, a
//! load from the PID table and a comparison of counters. The only clock is the stream's own.
//!
//! Invariants: offsets of access points grow strictly and point at packets with the start of a PES
//! packet; an access point names a version of the tables that was known before it.

mod access;
mod event;
mod pids;
mod place;
mod selection;

use std::sync::Arc;

use crate::ts::clock::MediaClock;
use crate::ts::packet::PACKET_BYTES;
use crate::ts::packet::PCR_HZ;
use crate::ts::packet::PID_NULL;
use crate::ts::packet::PID_PAT;
use crate::ts::packet::Packet;
use crate::ts::packet::Packets;
use crate::ts::psi::Codec;
use crate::ts::psi::Psi;
use crate::ts::psi::PsiCounters;
use crate::ts::psi::PsiTracker;
use crate::ts::scan::access::AccessSearch;
use crate::ts::scan::access::Verdict;
pub use crate::ts::scan::event::AccessKind;
pub use crate::ts::scan::event::AccessPoint;
pub use crate::ts::scan::event::Counters;
pub use crate::ts::scan::event::Event;
pub use crate::ts::scan::event::PidSeen;
use crate::ts::scan::pids::PidTable;
use crate::ts::scan::pids::Role;
use crate::ts::scan::place::Place;
use crate::ts::scan::selection::Selection;

/// PIDs not seen for so long are no longer part of the stream.
const PID_SEEN_S: u32 = 10;
/// Without an access point for so long any start of a video PES packet will do.
const DROUGHT_TICKS: u64 = 10 * PCR_HZ;
/// The same without a clock: 10 s at 13 Mbit/s.
const DROUGHT_BYTES: u64 = 16 << 20;
/// Points that are not keyframes come at most twice a second, or the ring's index would hold
/// nothing else.
const WEAK_TICKS_MIN: u64 = PCR_HZ / 2;
/// The same without a clock.
const WEAK_BYTES_MIN: u64 = 64 << 10;
/// A clock PID silent for so many bytes gives way to another one that has references: half a second
/// at 32 Mbit/s, where references are due every 100 ms.
const CLOCK_SILENT_BYTES_MAX: u64 = 2 << 20;
/// Without a clock so many bytes are taken for a second: 4 Mbit/s.
const SECOND_BYTES: u64 = 512 << 10;
/// A program whose table has not come after so many bytes is not waited for.
const SETTLE_BYTES: u64 = 2 << 20;

/// The scan of one stream.
#[derive(Clone, Debug)]
pub struct Scanner {
    pids: PidTable,
    tables: PsiTracker,
    clock: MediaClock,
    selection: Selection,
    unit: Option<Unit>,
    counters: Counters,
    /// Second of the media clock, or what the bytes are taken for without one.
    now_s: u32,
    /// Where the first packet stood.
    first_offset: Option<u64>,
    /// Where the search for an access point began, or found the last one.
    last_access: Option<Place>,
    /// The last weak point.
    last_weak: Option<Place>,
    /// The offset of the last point, to keep the order.
    last_offset: Option<u64>,
}

/// The access unit being looked into.
#[derive(Clone, Debug)]
struct Unit {
    point: AccessPoint,
    search: AccessSearch,
}

impl Scanner {
    /// Nothing seen.
    pub fn new() -> Scanner {
        Scanner {
            pids: PidTable::new(),
            tables: PsiTracker::new(),
            clock: MediaClock::new(),
            selection: Selection::default(),
            unit: None,
            counters: Counters::default(),
            now_s: 0,
            first_offset: None,
            last_access: None,
            last_weak: None,
            last_offset: None,
        }
    }

    /// Takes the next packets; `offset` is where the first of them stands in the stream.
    pub fn scan(&mut self, packets: Packets<'_>, offset: u64, sink: &mut impl FnMut(Event)) {
        if self.first_offset.is_none() {
            self.first_offset = Some(offset);
        }
        self.count_seconds(offset);
        self.counters.packets += packets.len() as u64;
        let mut at = offset;
        for packet in packets.iter() {
            if !self.pass(packet) {
                self.look(packet, at, sink);
            }
            at += PACKET_BYTES as u64;
        }
    }

    /// What follows is no continuation: counters, partial sections and the open access unit are
    /// forgotten; tables, clock and versions go on.
    pub fn splice(&mut self) {
        self.pids.loosen();
        self.tables.splice();
        self.clock.expect_jump();
        self.close_unit();
    }

    /// The tables valid now; None until the PAT and one PMT are known.
    pub fn psi(&self) -> Option<&Arc<Psi>> {
        self.tables.psi()
    }

    /// Their version, 0 while there are none.
    pub fn psi_version(&self) -> u32 {
        self.tables.version()
    }

    /// Over the last 8 s of media.
    pub fn bitrate_bps(&self) -> Option<u64> {
        self.clock.bitrate_bps()
    }

    /// The media clock, monotonic; None before the first reference.
    pub fn media_us(&self) -> Option<u64> {
        self.clock.ticks().map(|ticks| ticks / (PCR_HZ / 1_000_000))
    }

    /// The tables name a video stream.
    pub fn has_video(&self) -> bool {
        self.selection.video.is_some()
    }

    /// The video whose access units are looked into.
    pub fn first_video_pid(&self) -> Option<u16> {
        self.selection.video.map(|video| video.pid)
    }

    /// The first audio that the tables name.
    pub fn first_audio_pid(&self) -> Option<u16> {
        self.selection.audio_pid
    }

    /// Where the clock comes from.
    pub fn pcr_pid(&self) -> Option<u16> {
        self.selection.clock_pid
    }

    /// Media time since the last access point, or since video was first looked for.
    pub fn no_access_us(&self) -> Option<u64> {
        let since = self.last_access?.ticks?;
        self.clock.ticks().map(|now| now.saturating_sub(since) / (PCR_HZ / 1_000_000))
    }

    /// The PIDs seen in the last 10 s of media, without the null PID.
    pub fn pids(&self) -> impl Iterator<Item = PidSeen> {
        let oldest_s = self.now_s.saturating_sub(PID_SEEN_S);
        let recent = self.pids.records().iter().filter(move |record| record.seen_s >= oldest_s);
        recent.map(|record| PidSeen { pid: record.pid, cc: record.cc() })
    }

    /// The last counter of a PID, however long ago.
    pub fn last_cc(&self, pid: u16) -> Option<u8> {
        self.pids.get(pid).map(|record| record.cc())
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        Counters { bad_sections: self.tables.bad_sections(), ..self.counters }
    }

    /// True when the packet is of no further interest: a payload, nothing else, that continues a
    /// PID whose insides are not looked at now. Nearly every packet ends here.
    #[inline]
    fn pass(&mut self, packet: Packet<'_>) -> bool {
        let &[_, high, low, flags, ..] = packet.bytes();
        let pid = u16::from_be_bytes([high & 0x1F, low]);
        let Some(record) = self.pids.get_mut(pid) else {
            return false;
        };
        // No damage, no start; payload only, in the clear or not.
        let plain = high & 0xC0 == 0 && flags & 0x30 == 0x10;
        let cc = flags & 0x0F;
        if !plain || record.watched || !record.continues(cc) {
            return false;
        }
        record.set_cc(cc);
        record.repeated = false;
        record.seen_s = self.now_s;
        true
    }

    #[inline(never)]
    fn look(&mut self, packet: Packet<'_>, offset: u64, sink: &mut impl FnMut(Event)) {
        if packet.pid() == PID_NULL {
            self.counters.nulls += 1;
            return;
        }
        if packet.tei() {
            self.counters.tei += 1;
            return;
        }
        let (role, continuity) = self.follow(packet);
        if packet.has_adaptation()
            && let Some(pcr) = packet.pcr()
        {
            self.on_pcr(packet, pcr, offset, sink);
        }
        if continuity == Continuity::Repeat || !packet.has_payload() {
            return;
        }
        match role {
            Role::Other => {}
            Role::Psi => self.on_tables(packet, offset, sink),
            Role::Video => self.on_video(packet, offset, continuity, sink),
            Role::Audio => self.on_audio(packet, offset, sink),
        }
    }

    /// Keeps the record of the packet's PID.
    fn follow(&mut self, packet: Packet<'_>) -> (Role, Continuity) {
        let pid = packet.pid();
        if self.pids.get(pid).is_none() {
            self.pids.insert(pid, self.role_of(pid), self.now_s);
        }
        let flagged = packet.discontinuity();
        self.counters.discontinuities += u64::from(flagged);
        let now_s = self.now_s;
        let Some(record) = self.pids.get_mut(pid) else {
            return (Role::Other, Continuity::Continued);
        };
        record.seen_s = now_s;
        let cc = packet.cc();
        if !packet.has_payload() {
            if flagged {
                record.set_cc(cc);
            }
            return (record.role, Continuity::Continued);
        }
        let continuity = if record.continues(cc) || record.is_loose() {
            Continuity::Continued
        } else if flagged {
            Continuity::Lost
        } else if record.cc() == cc && !record.repeated {
            Continuity::Repeat
        } else {
            self.counters.cc_errors += 1;
            Continuity::Lost
        };
        record.repeated = continuity == Continuity::Repeat;
        record.set_cc(cc);
        (record.role, continuity)
    }

    fn on_pcr(&mut self, packet: Packet<'_>, pcr: u64, offset: u64, sink: &mut impl FnMut(Event)) {
        if self.selection.clock_pid != Some(packet.pid()) && !self.adopt_clock(packet, offset) {
            return;
        }
        sink(Event::ClockReference { offset });
        if self.clock.on_pcr(pcr, offset, packet.discontinuity()) {
            self.counters.clock_jumps += 1;
            sink(Event::ClockJump { offset });
        }
        self.count_seconds(offset);
    }

    /// True when this PID becomes the clock, because there is none or the one named is silent.
    fn adopt_clock(&mut self, packet: Packet<'_>, offset: u64) -> bool {
        let named = self.selection.clock_pid.is_some();
        let since = self.clock.offset().or(self.first_offset).unwrap_or(offset);
        let since = since.max(self.selection.known_offset);
        let silent = offset.saturating_sub(since) > CLOCK_SILENT_BYTES_MAX;
        if !silent && (named || self.psi().is_none()) {
            return false;
        }
        self.selection.clock_pid = Some(packet.pid());
        self.clock.expect_jump();
        true
    }

    fn on_tables(&mut self, packet: Packet<'_>, offset: u64, sink: &mut impl FnMut(Event)) {
        sink(Event::PsiPacket { offset, pid: packet.pid(), cc: packet.cc() });
        let version = self.tables.version();
        if !self.tables.push(packet) {
            return;
        }
        if self.tables.version() != version {
            self.select(offset);
            sink(Event::PsiChanged { offset, version: self.tables.version() });
        }
        self.assign_roles();
    }

    /// Follows what the new tables name.
    fn select(&mut self, offset: u64) {
        let Some(psi) = self.tables.psi() else { return };
        let selection = Selection::of(psi, self.selection.clock_pid);
        if selection.clock_pid != self.selection.clock_pid && self.clock.ticks().is_some() {
            self.clock.expect_jump();
        }
        if selection.video != self.selection.video {
            self.unit = None;
        }
        self.selection = Selection { known_offset: offset, known_s: self.now_s, ..selection };
    }

    fn assign_roles(&mut self) {
        let searching = self.unit.is_some();
        for index in 0..self.pids.records().len() {
            let role = self.role_of(self.pids.records()[index].pid);
            let record = &mut self.pids.records_mut()[index];
            record.role = role;
            record.watched = role == Role::Psi || role == Role::Video && searching;
        }
    }

    fn role_of(&self, pid: u16) -> Role {
        if pid == PID_PAT || self.tables.pmt_pids().any(|pmt_pid| pmt_pid == pid) {
            Role::Psi
        } else {
            self.selection.role_of(pid)
        }
    }

    fn on_video(
        &mut self,
        packet: Packet<'_>,
        offset: u64,
        continuity: Continuity,
        sink: &mut impl FnMut(Event),
    ) {
        let Some(video) = self.selection.video else {
            return;
        };
        if packet.pusi() {
            self.decide(None, sink);
            self.open_unit(packet, offset, video.codec);
        }
        let Some(unit) = &mut self.unit else {
            return;
        };
        let verdict = if packet.scrambling() != 0 {
            self.counters.scrambled += u64::from(packet.pusi());
            let flagged = packet.pusi() && packet.random_access();
            if flagged { Verdict::Found(AccessKind::Scrambled) } else { Verdict::NotFound }
        } else if continuity == Continuity::Lost && !packet.pusi() {
            Verdict::NotFound
        } else {
            unit.search.feed(packet.payload())
        };
        if verdict != Verdict::Undecided {
            self.decide(Some(verdict), sink);
        }
    }

    fn open_unit(&mut self, packet: Packet<'_>, offset: u64, codec: Codec) {
        let place = Place { ticks: self.clock.ticks(), offset };
        self.last_access.get_or_insert(place);
        let search = AccessSearch::begin(codec, packet.random_access());
        let point = self.point_at(offset, AccessKind::AnyStart);
        self.unit = Some(Unit { point, search });
        self.watch_video(true);
    }

    /// Ends the open access unit, if any; None when it ended before it was decided.
    fn decide(&mut self, verdict: Option<Verdict>, sink: &mut impl FnMut(Event)) {
        let Some(unit) = self.unit.take() else {
            return;
        };
        self.watch_video(false);
        match verdict.unwrap_or_else(|| unit.search.finish()) {
            Verdict::Found(kind) => {
                let point = AccessPoint { kind, ..unit.point };
                self.last_access = Some(Place::of(&point));
                self.report(point, sink);
            }
            Verdict::NotFound | Verdict::Undecided => {
                if self.is_drought(&unit.point) {
                    self.report_weak(unit.point, sink);
                }
            }
        }
    }

    fn close_unit(&mut self) {
        self.unit = None;
        self.watch_video(false);
    }

    /// While an access unit is open every packet of the video is looked at.
    fn watch_video(&mut self, watched: bool) {
        if let Some(video) = self.selection.video
            && let Some(record) = self.pids.get_mut(video.pid)
            && record.role == Role::Video
        {
            record.watched = watched;
        }
    }

    fn on_audio(&mut self, packet: Packet<'_>, offset: u64, sink: &mut impl FnMut(Event)) {
        if !packet.pusi() {
            return;
        }
        if self.is_without_video(offset) {
            let point = self.point_at(offset, AccessKind::Audio);
            self.report_weak(point, sink);
        }
    }

    /// The tables name no video, or one that does not come.
    fn is_without_video(&self, offset: u64) -> bool {
        match self.selection.video {
            // Another program's table may still come and bring one.
            None => {
                let complete = self.psi().is_some_and(|psi| psi.is_complete());
                complete || offset.saturating_sub(self.selection.known_offset) > SETTLE_BYTES
            }
            Some(video) => {
                let seen_s = self.pids.get(video.pid).map_or(0, |record| record.seen_s);
                self.now_s.saturating_sub(seen_s.max(self.selection.known_s)) > PID_SEEN_S
            }
        }
    }

    fn point_at(&self, offset: u64, kind: AccessKind) -> AccessPoint {
        let mut psi_counters = PsiCounters::default();
        if let Some(psi) = self.tables.psi() {
            for (index, pid) in psi.pids().enumerate() {
                psi_counters.set(index, self.last_cc(pid).unwrap_or(0));
            }
        }
        let pcr = self.clock.ticks();
        AccessPoint { offset, pcr, psi_version: self.psi_version(), psi_counters, kind }
    }

    fn report(&mut self, point: AccessPoint, sink: &mut impl FnMut(Event)) {
        // A damaged stream may show sound without a picture behind a picture that is still looked at:
        // what is known is in order, and viewers begin at the later one.
        if self.last_offset.is_some_and(|last| last >= point.offset) {
            return;
        }
        debug_assert!(point.psi_version > 0, "an access point without tables");
        self.last_offset = Some(point.offset);
        sink(Event::RandomAccess(point));
    }

    fn report_weak(&mut self, point: AccessPoint, sink: &mut impl FnMut(Event)) {
        let far = |last: Place| last.is_before(&point, WEAK_TICKS_MIN, WEAK_BYTES_MIN);
        if self.last_weak.is_none_or(far) {
            self.last_weak = Some(Place::of(&point));
            self.report(point, sink);
        }
    }

    fn is_drought(&self, point: &AccessPoint) -> bool {
        self.last_access.is_some_and(|last| last.is_before(point, DROUGHT_TICKS, DROUGHT_BYTES))
    }

    fn count_seconds(&mut self, offset: u64) {
        let first_offset = self.first_offset.unwrap_or(offset);
        let now_s = match self.clock.ticks() {
            Some(ticks) => ticks / PCR_HZ,
            None => offset.saturating_sub(first_offset) / SECOND_BYTES,
        };
        self.now_s = self.now_s.max(u32::try_from(now_s).unwrap_or(u32::MAX));
    }
}

impl Default for Scanner {
    fn default() -> Scanner {
        Scanner::new()
    }
}

/// How a payload relates to the one before on its PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Continuity {
    Continued,
    /// The same packet again, which the standard allows once.
    Repeat,
    Lost,
}
