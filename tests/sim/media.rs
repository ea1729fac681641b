//! The bytes: a transport stream as an engine would send it, and the owner's ingest into the real
//! ring by way of the real synchroniser and scanner.
//!
//! Every packet of picture and sound carries a stamp (its session and number), twice and around a
//! known filling, so that wherever one turns up it can be told whether it is whole and whether it
//! is its turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use ringcast::base::sizes::PACKET_BYTES;
use ringcast::base::time::Instant;
use ringcast::ring::Access;
use ringcast::ring::Arena;
use ringcast::ring::ArenaConfig;
use ringcast::ring::Ring;
use ringcast::ring::SlabCache;
use ringcast::ring::Writer;
use ringcast::ts::Packet;
use ringcast::ts::Scanner;
use ringcast::ts::Sync;
use ringcast::ts::psi::crc32;
use ringcast::ts::psi::packetise;
use ringcast::ts::scan::Event;

use crate::engines::Sid;

const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;
pub(crate) const PMT: u16 = 0x1000;
/// Headers, adaptation field and PES header of the longest.
const HEADERS_BYTES: usize = 25;
const FILLING: [u8; PACKET_BYTES - 16 - HEADERS_BYTES] = [0xAA; PACKET_BYTES - 16 - HEADERS_BYTES];
const FRAME: Duration = Duration::from_millis(200);
/// A rest of any length comes in pieces of at most 4 s.
pub(crate) const PIECE_FRAMES_MAX: u64 = 20;
const BURST: Duration = Duration::from_secs(4);
const GROUP_FRAMES: u64 = 5;
/// Of the ring: small, so that whoever waits long enough is lapped.
const CAP_BYTES: u64 = 600_000;

/// One for all seeds: its address space is never given back.
pub(crate) fn arena() -> &'static Arena {
    static ARENA: OnceLock<&'static Arena> = OnceLock::new();
    ARENA.get_or_init(|| {
        let budget_bytes = 96 << 20;
        let config = ArenaConfig { budget_bytes, page_bytes: 4_096, region_bytes_max: 8 << 20 };
        Arena::reserve(&config).expect("address space")
    })
}

/// What one session sends.
pub(crate) struct Source {
    sid: Sid,
    video_packets: u64,
    frame: u64,
    number: u64,
    until: Option<Instant>,
    counters: BTreeMap<u16, u8>,
    /// Pieces are cut anywhere.
    rest: Vec<u8>,
}

impl Source {
    pub(crate) fn new(sid: Sid, video_packets: u64) -> Self {
        let counters = BTreeMap::new();
        Self { sid, video_packets, frame: 0, number: 0, until: None, counters, rest: Vec::new() }
    }

    /// What is due up to now, but for the last `held_back` bytes; at first a burst.
    pub(crate) fn piece(&mut self, now: Instant, held_back: usize) -> Vec<u8> {
        let burst = Instant::ZERO + now.since(Instant::ZERO + BURST);
        let mut at = self.until.unwrap_or(burst);
        let mut bytes = std::mem::take(&mut self.rest);
        let frame_last = self.frame + PIECE_FRAMES_MAX - 1;
        while at < now && self.frame < frame_last {
            self.make_frame(&mut bytes);
            at = at + FRAME;
        }
        self.until = Some(at);
        self.rest = bytes.split_off(bytes.len() - held_back.min(bytes.len()));
        bytes
    }

    fn make_frame(&mut self, out: &mut Vec<u8>) {
        if self.frame.is_multiple_of(GROUP_FRAMES) {
            self.make_tables(out);
        }
        let is_key = self.frame.is_multiple_of(GROUP_FRAMES);
        for number in 0..self.video_packets {
            let picture = (number == 0).then_some(if is_key { 0xB3 } else { 0x00 });
            self.make(VIDEO, picture, out);
        }
        self.make(AUDIO, None, out);
        self.frame += 1;
    }

    fn make_tables(&mut self, out: &mut Vec<u8>) {
        let mut packets = Vec::new();
        packetise(&mut packets, 0, &section(0, &[0, 1, 0xE0 | (PMT >> 8) as u8, PMT as u8]));
        let video = [0x02, 0xE0 | (VIDEO >> 8) as u8, VIDEO as u8, 0xF0, 0];
        let audio = [0x0F, 0xE0 | (AUDIO >> 8) as u8, AUDIO as u8, 0xF0, 0];
        let clock = [0xE0 | (VIDEO >> 8) as u8, VIDEO as u8, 0xF0, 0];
        packetise(&mut packets, PMT, &section(2, &[&clock[..], &video, &audio].concat()));
        for mut packet in packets {
            let pid = Packet::new(&packet).expect("a packet").pid();
            packet[3] = packet[3] & 0xF0 | self.next_cc(pid);
            out.extend_from_slice(&packet);
        }
    }

    /// `picture`: the start of an access unit, with the code that follows its start code.
    fn make(&mut self, pid: u16, picture: Option<u8>, out: &mut Vec<u8>) {
        let mut packet = [FILLING[0]; PACKET_BYTES];
        let start = u8::from(picture.is_some()) << 6;
        packet[..3].copy_from_slice(&[0x47, start | (pid >> 8) as u8, pid as u8]);
        packet[3] = 0x10 | self.next_cc(pid);
        if let Some(code) = picture {
            packet[3] |= 0x20;
            let base = self.frame * FRAME.as_micros() as u64 * 9 / 100;
            packet[4..6].copy_from_slice(&[7, 0x10]);
            packet[6..10].copy_from_slice(&((base >> 1) as u32).to_be_bytes());
            packet[10..12].copy_from_slice(&[(base as u8 & 1) << 7 | 0x7E, 0]);
            packet[12..25].copy_from_slice(&[0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0, 0, 0, 1, code]);
        }
        let stamp = self.sid.0 << 32 | self.number;
        self.number += 1;
        packet[PACKET_BYTES - 8..].copy_from_slice(&stamp.to_be_bytes());
        packet[PACKET_BYTES - 16..PACKET_BYTES - 8].copy_from_slice(&(!stamp).to_be_bytes());
        out.extend_from_slice(&packet);
    }

    fn next_cc(&mut self, pid: u16) -> u8 {
        let cc = self.counters.entry(pid).or_insert(0);
        *cc = (*cc + 1) & 0x0F;
        *cc
    }
}

/// The stamp of a packet of picture or sound, if it is whole.
pub(crate) fn stamp(packet: Packet<'_>) -> Option<u64> {
    let bytes = packet.bytes();
    let word = |at: usize| {
        let eight = bytes[at..at + 8].try_into().expect("eight bytes");
        u64::from_be_bytes(eight)
    };
    let stamp = word(PACKET_BYTES - 8);
    let is_filled = bytes[HEADERS_BYTES..PACKET_BYTES - 16] == FILLING;
    (is_filled && word(PACKET_BYTES - 16) == !stamp).then_some(stamp)
}

fn section(table: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![table, 0xB0, body.len() as u8 + 9, 0, 1, 0xC1, 0, 0];
    bytes.extend_from_slice(body);
    let crc = crc32(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// What went into a ring, for the checkers.
#[derive(Default)]
pub(crate) struct Log {
    /// Offset and stamp of every packet of picture and sound.
    media: Vec<(u64, u64)>,
    /// Where in `media` a viewer may begin, by the stamp found there.
    access: BTreeMap<u64, usize>,
}

impl Log {
    pub(crate) fn stamp_at(&self, index: usize) -> Option<u64> {
        self.media.get(index).map(|(_, stamp)| *stamp)
    }

    pub(crate) fn access(&self, stamp: u64) -> Option<usize> {
        self.access.get(&stamp).copied()
    }

    fn note_access(&mut self, offset: u64) {
        let index = self.media.binary_search_by_key(&offset, |(at, _)| *at);
        let index = index.expect("an access point is a packet of picture or sound");
        self.access.insert(self.media[index].1, index);
    }
}

/// The owner's side of a ring.
pub(crate) struct Ingest {
    writer: Option<Writer>,
    sync: Sync,
    scanner: Scanner,
}

impl Ingest {
    pub(crate) fn new(readers: usize) -> Self {
        let promise = arena().promise(CAP_BYTES).expect("an arena for more streams than there are");
        let writer = Some(Writer::open(arena(), promise, readers, CAP_BYTES, 1));
        Self { writer, sync: Sync::new(), scanner: Scanner::new() }
    }

    pub(crate) fn ring(&self) -> Arc<Ring> {
        Arc::clone(self.writer.as_ref().expect("not closed").ring())
    }

    /// Other bytes follow those of the last session.
    pub(crate) fn splice(&mut self) {
        self.sync.reset();
        self.scanner.splice();
    }

    /// Whether there is room: otherwise the engine is not read for now.
    pub(crate) fn has_room(&mut self, bytes: usize, cache: &mut SlabCache) -> bool {
        let writer = self.writer.as_mut().expect("not closed");
        writer.tend(cache);
        writer.reserve(bytes + PACKET_BYTES * 4, cache)
    }

    /// Answers whether an access point was found, and below which offset readers must let go.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        cache: &mut SlabCache,
        log: &mut Log,
    ) -> (bool, Option<u64>) {
        let Self { writer, sync, scanner } = self;
        let writer = writer.as_mut().expect("not closed");
        let mut has_access = false;
        sync.feed(bytes, &mut |packets| {
            let offset = writer.written();
            writer.append(packets.bytes(), cache).expect("room was reserved");
            for (number, packet) in packets.iter().enumerate() {
                if packet.pid() != 0 && packet.pid() != PMT {
                    let stamp = stamp(packet).expect("the engine's packets are whole");
                    log.media.push((offset + (number * PACKET_BYTES) as u64, stamp));
                }
            }
            let mut events = Vec::new();
            scanner.scan(packets, offset, &mut |event| events.push(event));
            for event in events {
                match event {
                    Event::RandomAccess(point) => {
                        has_access = true;
                        log.note_access(point.offset);
                        let ticks = point.pcr.unwrap_or(0);
                        let access = Access {
                            offset: point.offset,
                            media_us: ticks / 27,
                            psi_version: point.psi_version,
                            pat_cc: 0,
                            pmt_cc: [0; 8],
                        };
                        writer.push_access(access.with_psi_counters(point.psi_counters));
                    }
                    Event::PsiPacket { offset, pid, cc } => {
                        writer.push_psi_packet(offset, pid, cc);
                    }
                    Event::PsiChanged { version, .. } => {
                        let psi = scanner.psi().expect("tables that have changed are there");
                        writer.set_psi(version, Arc::clone(psi));
                    }
                    Event::ClockJump { .. } => {}
                }
            }
        });
        writer.commit(scanner.media_us().unwrap_or(0), scanner.bitrate_bps().unwrap_or(0));
        (has_access, writer.tend(cache).evict_below)
    }

    pub(crate) fn end(&mut self) {
        let writer = self.writer.as_mut().expect("not closed");
        if !writer.ring().is_ended() {
            writer.end();
        }
    }

    /// Nobody has a byte of it in flight, or the stream must not have ended.
    pub(crate) fn close(&mut self, cache: &mut SlabCache) {
        let mut writer = self.writer.take().expect("not closed");
        writer.end();
        assert!(writer.close(cache).is_ok(), "a ring is closed under a reader");
    }
}
