//! A stream made in the test, written into a real ring: tables, pictures in groups, sound, and
//! two PIDs that show rarely. Its counters are right, and every packet but the tables says where
//! in the stream it stands.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::sizes::PACKET_BYTES;
use crate::ring::Access;
use crate::ring::Arena;
use crate::ring::Ring;
use crate::ring::SlabCache;
use crate::ring::Writer;
use crate::ring::small_arena;
use crate::ts::packet::Packet;
use crate::ts::psi::PsiTracker;
use crate::ts::psi::crc32;
use crate::ts::psi::packetise;

pub(super) const VIDEO: u16 = 0x100;
pub(super) const AUDIO: u16 = 0x101;
pub(super) const SUBTITLE: u16 = 0x102;
pub(super) const SDT: u16 = 0x11;
pub(super) const FRAME_US: u64 = 40_000;

/// How the stream and its ring are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) slab_packets: usize,
    pub(super) cap_slabs: u64,
    pub(super) video_packets: usize,
    pub(super) group_frames: u64,
    pub(super) psi_frames: u64,
    /// 300 and more make a PMT of two packets.
    pub(super) pmt_filler: usize,
    pub(super) programs: u16,
    /// Between two packets of the service description, or of the subtitles.
    pub(super) rare_frames: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            slab_packets: 64,
            cap_slabs: 32,
            video_packets: 8,
            group_frames: 12,
            psi_frames: 3,
            pmt_filler: 0,
            programs: 1,
            rare_frames: 25,
        }
    }
}

pub(super) struct Source {
    pub(super) shape: Shape,
    pub(super) arena: &'static Arena,
    writer: Option<Writer>,
    cache: SlabCache,
    counters: BTreeMap<u16, u8>,
    tracker: PsiTracker,
    table_version: u8,
    frame: u64,
    /// All that was ever appended.
    pub(super) stream: Vec<u8>,
    pub(super) access: BTreeSet<u64>,
    pub(super) media_us: u64,
    pub(super) bitrate_bps: u64,
    pending: Vec<u8>,
}

impl Source {
    pub(super) fn new(shape: Shape) -> Self {
        let slabs = 2 * shape.cap_slabs as u32 + 16;
        let arena = small_arena(shape.slab_packets, slabs);
        let slab_bytes = (shape.slab_packets * PACKET_BYTES) as u64;
        let promise = arena.promise(shape.cap_slabs * slab_bytes).expect("room in the arena");
        let writer = Writer::open(arena, promise, 1, shape.cap_slabs * slab_bytes, 1);
        let mut source = Self {
            shape,
            arena,
            writer: Some(writer),
            cache: SlabCache::new(arena),
            counters: BTreeMap::new(),
            tracker: PsiTracker::new(),
            table_version: 0,
            frame: 0,
            stream: Vec::new(),
            access: BTreeSet::new(),
            media_us: 0,
            bitrate_bps: 0,
            pending: Vec::new(),
        };
        source.bitrate_bps = (shape.video_packets as u64 + 2) * 188 * 8 * 25;
        source
    }

    pub(super) fn ring(&self) -> std::sync::Arc<Ring> {
        std::sync::Arc::clone(self.writer().ring())
    }

    pub(super) fn writer(&self) -> &Writer {
        self.writer.as_ref().expect("not closed")
    }

    pub(super) fn head(&self) -> u64 {
        self.writer().head()
    }

    pub(super) fn tail(&self) -> u64 {
        self.writer().tail()
    }

    pub(super) fn psi_pids(&self) -> BTreeSet<u16> {
        std::iter::once(0).chain((0..self.shape.programs).map(pmt_pid)).collect()
    }

    pub(super) fn end(&mut self) {
        self.writer.as_mut().expect("not closed").end();
    }

    /// The tables change now; they show with the next frame.
    pub(super) fn change_tables(&mut self) {
        self.table_version = (self.table_version + 1) % 32;
        self.frame = self.frame.next_multiple_of(self.shape.psi_frames);
    }

    /// Frames and a commit. False: the ring is full; what is left goes with the next call.
    pub(super) fn frames(&mut self, frames: u64) -> bool {
        for _ in 0..frames {
            if self.pending.is_empty() {
                self.make_frame();
            }
            if !self.flush() {
                return false;
            }
        }
        true
    }

    /// One packet more, which belongs to no frame: moves the head by the least.
    pub(super) fn packet(&mut self) {
        self.make(AUDIO, Make::default());
        assert!(self.flush());
    }

    fn flush(&mut self) -> bool {
        let writer = self.writer.as_mut().expect("not closed");
        let appended = match writer.append(&self.pending, &mut self.cache) {
            Ok(()) => self.pending.len(),
            Err(full) => full.appended_bytes,
        };
        self.pending.drain(..appended);
        if self.pending.is_empty() {
            writer.commit(self.media_us, self.bitrate_bps);
        }
        writer.tend(&mut self.cache);
        self.pending.is_empty()
    }

    fn make_frame(&mut self) {
        let frame = self.frame;
        self.frame += 1;
        self.media_us += FRAME_US;
        if frame.is_multiple_of(self.shape.psi_frames) {
            self.make_tables();
        }
        let is_key = frame.is_multiple_of(self.shape.group_frames);
        if is_key {
            self.push_access();
        }
        for number in 0..self.shape.video_packets {
            let first = number == 0;
            self.make(VIDEO, Make { start: first, key: first && is_key, pcr: first });
            if number == 1 {
                self.make(AUDIO, Make { start: true, ..Make::default() });
            }
        }
        self.make(AUDIO, Make::default());
        if frame % self.shape.rare_frames == 3 % self.shape.rare_frames {
            self.make(SDT, Make { start: true, ..Make::default() });
        }
        if frame % self.shape.rare_frames == 7 % self.shape.rare_frames {
            self.make(SUBTITLE, Make { start: true, ..Make::default() });
        }
    }

    fn push_access(&mut self) {
        let offset = self.stream.len() as u64;
        let mut pmt_cc = [0; 8];
        for (program, cc) in (0..self.shape.programs).zip(&mut pmt_cc) {
            *cc = self.counters[&pmt_pid(program)];
        }
        let access = Access {
            offset,
            media_us: self.media_us,
            psi_version: self.tracker.version(),
            pat_cc: self.counters[&0],
            pmt_cc,
        };
        self.writer.as_mut().expect("not closed").push_access(access);
        self.access.insert(offset);
    }

    fn make_tables(&mut self) {
        let mut packets = Vec::new();
        packetise(&mut packets, 0, &pat_section(self.shape.programs, self.table_version));
        for program in 0..self.shape.programs {
            let section = pmt_section(program, self.table_version, self.shape.pmt_filler);
            packetise(&mut packets, pmt_pid(program), &section);
        }
        for mut packet in packets {
            let pid = Packet::new(&packet).expect("a packet").pid();
            let cc = self.next_cc(pid);
            packet[3] = packet[3] & 0xF0 | cc;
            let offset = self.stream.len() as u64;
            let writer = self.writer.as_mut().expect("not closed");
            writer.push_psi_packet(offset, pid, cc);
            if self.tracker.push(Packet::new(&packet).expect("a packet"))
                && let Some(psi) = self.tracker.psi()
            {
                writer.set_psi(psi.version(), std::sync::Arc::clone(psi));
            }
            self.put(&packet);
        }
    }

    fn make(&mut self, pid: u16, make: Make) {
        let cc = self.next_cc(pid);
        let mut packet = [0xAA; PACKET_BYTES];
        packet[0] = 0x47;
        packet[1] = u8::from(make.start) << 6 | (pid >> 8) as u8;
        packet[2] = pid as u8;
        packet[3] = 0x10 | cc;
        if make.pcr {
            packet[3] |= 0x20;
            packet[4] = 7;
            packet[5] = 0x10 | u8::from(make.key) << 6;
            let base = self.media_us * 9 / 100;
            packet[6..10].copy_from_slice(&((base >> 1) as u32).to_be_bytes());
            packet[10] = (base as u8 & 1) << 7 | 0x7E;
            packet[11] = 0;
        }
        let offset = self.stream.len() as u64;
        packet[PACKET_BYTES - 8..].copy_from_slice(&offset.to_be_bytes());
        self.put(&packet);
    }

    fn put(&mut self, packet: &[u8; PACKET_BYTES]) {
        self.stream.extend_from_slice(packet);
        self.pending.extend_from_slice(packet);
    }

    fn next_cc(&mut self, pid: u16) -> u8 {
        // Every PID begins somewhere else.
        let cc = self.counters.entry(pid).or_insert((pid * 7 % 16) as u8);
        *cc = (*cc + 1) & 0x0F;
        *cc
    }
}

#[derive(Clone, Copy, Default)]
struct Make {
    start: bool,
    key: bool,
    pcr: bool,
}

pub(super) fn pmt_pid(program: u16) -> u16 {
    0x1000 + program
}

fn pat_section(programs: u16, version: u8) -> Vec<u8> {
    let mut body = Vec::new();
    for program in 0..programs {
        body.extend_from_slice(&(program + 1).to_be_bytes());
        body.extend_from_slice(&(0xE000 | pmt_pid(program)).to_be_bytes());
    }
    section(0x00, 1, version, &body)
}

fn pmt_section(program: u16, version: u8, filler: usize) -> Vec<u8> {
    let mut body = (0xE000 | VIDEO).to_be_bytes().to_vec();
    let mut info = Vec::new();
    let mut left = filler;
    while left > 0 {
        let part = left.min(100);
        info.extend_from_slice(&[0xC0, part as u8]);
        info.extend(std::iter::repeat_n(version, part));
        left -= part;
    }
    body.extend_from_slice(&(0xF000 | info.len() as u16).to_be_bytes());
    body.extend_from_slice(&info);
    for (stream_type, pid) in [(0x1B, VIDEO), (0x0F, AUDIO), (0x06, SUBTITLE)] {
        body.push(stream_type);
        body.extend_from_slice(&(0xE000 | pid).to_be_bytes());
        body.extend_from_slice(&[0xF0, 0]);
    }
    section(0x02, program + 1, version, &body)
}

fn section(table: u8, extension: u16, version: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() + 9;
    let mut bytes = vec![table, 0xB0 | (length >> 8) as u8, length as u8];
    bytes.extend_from_slice(&extension.to_be_bytes());
    bytes.extend_from_slice(&[0xC1 | version << 1, 0, 0]);
    bytes.extend_from_slice(body);
    let crc = crc32(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}
