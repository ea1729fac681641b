//! The bytes: a transport stream as an engine would send it, and the owner's ingest into the real
//! ring by way of the real synchroniser and scanner.
//!
//! Every packet of picture and sound carries a stamp (its broadcast and number), twice and around a
//! known filling, so that wherever one turns up it can be told whether it is whole and whether it
//! is its turn.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
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
use ringcast::ts::Packets;
use ringcast::ts::Scanner;
use ringcast::ts::Sync;
use ringcast::ts::psi::crc32;
use ringcast::ts::psi::packetise;
use ringcast::ts::scan::Event;
use ringcast::ts::splice::Join;
use ringcast::ts::splice::Recent;
use ringcast::ts::splice::Staging;

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

thread_local! {
    static ARENA: Cell<&'static Arena> = Cell::new(new_arena());
}

/// One for many seeds: its address space is never given back.
pub(crate) fn arena() -> &'static Arena {
    ARENA.get()
}

pub(crate) fn renew_arena() {
    ARENA.set(new_arena());
}

fn new_arena() -> &'static Arena {
    let budget_bytes = 96 << 20;
    let config = ArenaConfig { budget_bytes, page_bytes: 4_096, region_bytes_max: 8 << 20 };
    Arena::reserve(&config).expect("address space")
}

/// A make of a channel's stream. Engines that have the same one send the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Broadcast(pub(crate) u32);

/// What one session sends: a broadcast, from a moment of it on. Every packet is a function of the
/// broadcast and its number.
pub(crate) struct Source {
    broadcast: Broadcast,
    video_packets: u64,
    /// The next one to be made.
    frame: u64,
    /// So far behind the broadcast is the engine.
    lag: Duration,
    /// Pieces are cut anywhere.
    rest: Vec<u8>,
}

impl Source {
    pub(crate) fn new(
        broadcast: Broadcast,
        video_packets: u64,
        lag: Duration,
        now: Instant,
    ) -> Self {
        let burst = Instant::ZERO + now.since(Instant::ZERO + BURST + lag);
        let frame = frames_until(burst);
        Self { broadcast, video_packets, frame, lag, rest: Vec::new() }
    }

    /// What is due up to now, but for the last `held_back` bytes; at first a burst.
    pub(crate) fn piece(&mut self, now: Instant, held_back: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.rest);
        let due = frames_until(Instant::ZERO + now.since(Instant::ZERO + self.lag));
        let frame_end = due.min(self.frame + PIECE_FRAMES_MAX - 1);
        while self.frame < frame_end {
            self.make_frame(&mut bytes);
        }
        self.rest = bytes.split_off(bytes.len() - held_back.min(bytes.len()));
        bytes
    }

    fn make_frame(&mut self, out: &mut Vec<u8>) {
        let is_key = self.frame.is_multiple_of(GROUP_FRAMES);
        if is_key {
            self.make_tables(out);
        }
        for number in 0..self.video_packets {
            let picture = (number == 0).then_some(if is_key { 0xB3 } else { 0x00 });
            let nth = self.frame * self.video_packets + number;
            self.make(VIDEO, nth, number, picture, out);
        }
        self.make(AUDIO, self.frame, self.video_packets, None, out);
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
            packet[3] = packet[3] & 0xF0 | (self.frame / GROUP_FRAMES) as u8 & 0x0F;
            out.extend_from_slice(&packet);
        }
    }

    /// The `nth` packet of its PID, `number` in its frame. `picture`: the start of an access unit,
    /// with the code that follows its start code.
    fn make(&self, pid: u16, nth: u64, number: u64, picture: Option<u8>, out: &mut Vec<u8>) {
        let mut packet = [FILLING[0]; PACKET_BYTES];
        let start = u8::from(picture.is_some()) << 6;
        packet[..3].copy_from_slice(&[0x47, start | (pid >> 8) as u8, pid as u8]);
        // Different makes count differently.
        packet[3] = 0x10 | (nth + u64::from(self.broadcast.0)) as u8 & 0x0F;
        if let Some(code) = picture {
            packet[3] |= 0x20;
            let base = self.frame * FRAME.as_micros() as u64 * 9 / 100;
            packet[4..6].copy_from_slice(&[7, 0x10]);
            packet[6..10].copy_from_slice(&((base >> 1) as u32).to_be_bytes());
            packet[10..12].copy_from_slice(&[(base as u8 & 1) << 7 | 0x7E, 0]);
            packet[12..25].copy_from_slice(&[0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0, 0, 0, 1, code]);
        }
        let number = self.frame * (self.video_packets + 1) + number;
        let stamp = u64::from(self.broadcast.0) << 32 | number;
        packet[PACKET_BYTES - 8..].copy_from_slice(&stamp.to_be_bytes());
        packet[PACKET_BYTES - 16..PACKET_BYTES - 8].copy_from_slice(&(!stamp).to_be_bytes());
        out.extend_from_slice(&packet);
    }
}

fn frames_until(at: Instant) -> u64 {
    at.as_micros() / FRAME.as_micros() as u64
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
    /// Where in `media` a viewer may begin, by the stamp found there: more than one place when an
    /// engine has sent the same again.
    access: BTreeMap<u64, Vec<usize>>,
    /// Marks since the last packet of picture or sound.
    marks: u32,
    pub(crate) overlaps: u64,
    pub(crate) jumps: u64,
}

impl Log {
    pub(crate) fn stamp_at(&self, index: usize) -> Option<u64> {
        self.media.get(index).map(|(_, stamp)| *stamp)
    }

    /// The places with this stamp where a viewer may begin.
    pub(crate) fn accesses(&self, stamp: u64) -> impl Iterator<Item = usize> {
        self.access.get(&stamp).into_iter().flatten().copied()
    }

    fn note_access(&mut self, offset: u64) {
        let index = self.media.binary_search_by_key(&offset, |(at, _)| *at);
        let index = index.expect("an access point is a packet of picture or sound");
        self.access.entry(self.media[index].1).or_default().push(index);
    }

    /// A packet goes into the ring at this offset. Without a mark it is the one that the broadcast
    /// has next, whichever engine it came from.
    fn note(&mut self, packet: Packet<'_>, offset: u64) {
        match packet.pid() {
            0 | PMT => {}
            _ if !packet.has_payload() => {
                assert!(packet.discontinuity(), "a packet without payload is a mark");
                self.marks += 1;
            }
            _ => {
                let stamp = stamp(packet).expect("the engine's packets are whole");
                let last = self.media.last().map(|(_, stamp)| *stamp);
                let continues = last.is_none_or(|last| stamp == last + 1);
                assert!(
                    continues || self.marks > 0,
                    "{stamp:x} follows {last:x?} in the ring, and nothing says so"
                );
                self.marks = 0;
                self.media.push((offset, stamp));
            }
        }
    }
}

/// The owner's side of a ring.
pub(crate) struct Ingest {
    writer: Option<Writer>,
    sync: Sync,
    scanner: Scanner,
    recent: Recent,
    staging: Option<Staging>,
    /// A second body, whose bytes are not in the ring.
    aside: Option<(Sync, Staging)>,
}

impl Ingest {
    pub(crate) fn new(readers: usize) -> Self {
        let promise = arena().promise(CAP_BYTES).expect("an arena for more streams than there are");
        let writer = Some(Writer::open(arena(), promise, readers, CAP_BYTES, 1));
        Self {
            writer,
            sync: Sync::new(),
            scanner: Scanner::new(),
            recent: Recent::new(),
            staging: None,
            aside: None,
        }
    }

    pub(crate) fn ring(&self) -> Arc<Ring> {
        Arc::clone(self.writer.as_ref().expect("not closed").ring())
    }

    /// Other bytes follow those of the last session.
    pub(crate) fn splice(&mut self) {
        self.staging = Some(Staging::new());
    }

    pub(crate) fn begin_aside(&mut self) {
        self.aside = Some((Sync::new(), Staging::new()));
    }

    pub(crate) fn drop_aside(&mut self) {
        self.aside = None;
    }

    /// Whether the second body could follow what is in the ring.
    pub(crate) fn take_aside(&mut self, bytes: &[u8], now: Instant) -> bool {
        let Self { writer, recent, aside, .. } = self;
        let past = writer.as_ref().expect("not closed");
        let (sync, staging) = aside.as_mut().expect("a second body is read");
        if !staging.is_full() {
            sync.feed(bytes, &mut |packets| staging.push(packets, recent, past, now));
        }
        staging.is_playable(past.written(), now)
    }

    /// The second body follows from here on.
    pub(crate) fn promote(&mut self) {
        let (sync, staging) = self.aside.take().expect("a second body is read");
        self.sync = sync;
        self.staging = Some(staging);
    }

    /// The head of another body has come.
    pub(crate) fn body_begins(&mut self) {
        self.sync.reset();
    }

    /// Whether there is room: otherwise the engine is not read for now.
    pub(crate) fn has_room(&mut self, bytes: usize, cache: &mut SlabCache) -> bool {
        let waiting = self.staging.as_ref().map_or(0, Staging::placed_bytes_max);
        let writer = self.writer.as_mut().expect("not closed");
        writer.tend(cache);
        writer.reserve(waiting + bytes + PACKET_BYTES * 4, cache)
    }

    /// How many bytes went into the ring.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        cache: &mut SlabCache,
        log: &mut Log,
        now: Instant,
    ) -> Taken {
        let mut runs = Vec::new();
        let Self { writer, sync, staging, recent, .. } = self;
        let past = writer.as_ref().expect("not closed");
        sync.feed(bytes, &mut |packets| match staging {
            Some(staging) => staging.push(packets, recent, past, now),
            None => runs.extend_from_slice(packets.bytes()),
        });
        self.place(&mut runs, log, now);
        self.append(&runs, cache, log)
    }

    /// What waits goes first, if it is known how it goes on.
    fn place(&mut self, runs: &mut Vec<u8>, log: &mut Log, now: Instant) {
        let Some(staging) = &mut self.staging else { return };
        let end = self.writer.as_ref().expect("not closed").written();
        let Some(join) = staging.place(&self.scanner, end, now, runs) else { return };
        self.staging = None;
        match join {
            Join::Overlap => log.overlaps += 1,
            Join::Jump => {
                log.jumps += 1;
                self.scanner.splice();
                self.recent.clear();
            }
        }
    }

    fn append(&mut self, bytes: &[u8], cache: &mut SlabCache, log: &mut Log) -> Taken {
        let Self { writer, scanner, recent, .. } = self;
        let writer = writer.as_mut().expect("not closed");
        let offset = writer.written();
        writer.append(bytes, cache).expect("room was reserved");
        let packets = Packets::new_checked(bytes).expect("whole packets");
        for (number, packet) in packets.iter().enumerate() {
            log.note(packet, offset + (number * PACKET_BYTES) as u64);
        }
        let mut events = Vec::new();
        scanner.scan(packets, offset, &mut |event| events.push(event));
        let mut has_access = false;
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
                Event::PsiPacket { offset, pid, cc } => writer.push_psi_packet(offset, pid, cc),
                Event::PsiChanged { version, .. } => {
                    let psi = scanner.psi().expect("tables that have changed are there");
                    writer.set_psi(version, Arc::clone(psi));
                }
                Event::ClockReference { offset: at } => {
                    let packet = packets.iter().nth((at - offset) as usize / PACKET_BYTES);
                    recent.note(packet.expect("it was just scanned"), at);
                }
                Event::ClockJump { .. } => {}
            }
        }
        writer.commit(scanner.media_us().unwrap_or(0), scanner.bitrate_bps().unwrap_or(0));
        let evict_below = writer.tend(cache).evict_below;
        Taken { bytes: bytes.len() as u64, has_access, evict_below }
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

/// What one read has done.
pub(crate) struct Taken {
    /// That went into the ring.
    pub(crate) bytes: u64,
    pub(crate) has_access: bool,
    /// Readers must let go below it.
    pub(crate) evict_below: Option<u64>,
}
