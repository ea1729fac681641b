//! Engine bytes on their way into the ring: body framing, alignment, one copy, the scan.
//!
//! Nothing here allocates, logs or locks per packet. A read is only made when the ring has room
//! for all of it, so that no byte ever has to be put aside.

mod aside;

pub(crate) use self::aside::Aside;
use crate::base::ids::Generation;
use crate::base::sizes::PACKET_BYTES;
use crate::base::time::Instant;
use crate::http::body::BodyDecoder;
use crate::net::Closer;
use crate::ring::Access;
use crate::ring::SlabCache;
use crate::ring::Writer;
use crate::shard::core::SCRATCH_BYTES;
use crate::ts;
use crate::ts::Scanner;
use crate::ts::splice::Join;
use crate::ts::splice::Recent;
use crate::ts::splice::Staging;
use crate::viewer::Policy;
use std::time::Duration;

mod low_water;

use self::low_water::LowWater;

/// While the bitrate is unknown, this part of the cap may be read ahead.
const READ_AHEAD_UNKNOWN: u64 = 2;

/// A ring's length in time while its bitrate is not known.
const UNKNOWN_RING_US: u64 = 60_000_000;

/// A pause is looked at again after this at the latest.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// What a paced read brings, in time of the stream.
const PACED_READ_MS: u64 = 20;
const PACED_READ_BYTES_MIN: usize = 16 * 1024;

/// What the reading task does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    Read,
    /// The ring is ahead of its viewers, or full.
    Pause(Duration),
    /// This body is not wanted any more.
    Stop,
}

pub(crate) struct Ingest {
    sync: ts::Sync,
    /// Of the synchronisers before this one.
    sync_losses_before: u64,
    scanner: Scanner,
    /// Bytes of a session that follows another one, until they can be placed.
    staging: Option<Box<Staging>>,
    /// What of the ring could be recognised in the bytes of another session.
    pub(super) recent: Recent,
    /// Where this stream does not continue, all told.
    pub(crate) jumps: u64,
    /// How the bytes of another session have gone on, until it is told.
    pub(crate) joined: Option<Join>,
    /// Bytes came that wait.
    pub(crate) staged_fresh: bool,
    /// The ring has what Redis had, and nothing of an engine yet.
    is_primed: bool,
    /// The play order whose bytes are wanted.
    generation: Option<Generation>,
    closer: Option<Closer>,
    /// Bytes of packets that came since the last turn.
    pub(crate) fresh: u64,
    pub(crate) access_fresh: bool,
    pub(crate) dirty: bool,
    /// Media and wall clock when the first media time of this body came.
    clock: Option<(u64, Instant)>,
    started_at_byte: u64,
    /// When this body began.
    began: Instant,
    pub(crate) paused_since: Option<Instant>,
    /// Reading has been held back: the engine has more than the ring may take.
    is_paced: bool,
    low_water: LowWater,
    last_read: Instant,
    /// Since when bytes that are not published yet may have waited.
    waited_since: Instant,
    /// The longest gaps between reads of this minute and the last one.
    gap: Duration,
    gap_before: Duration,
    gap_turn: Instant,
}

impl Ingest {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            sync: ts::Sync::new(),
            sync_losses_before: 0,
            scanner: Scanner::new(),
            staging: None,
            recent: Recent::new(),
            jumps: 0,
            joined: None,
            staged_fresh: false,
            is_primed: false,
            generation: None,
            closer: None,
            fresh: 0,
            access_fresh: false,
            dirty: false,
            clock: None,
            started_at_byte: 0,
            began: now,
            paused_since: None,
            is_paced: false,
            low_water: LowWater::new(now),
            last_read: now,
            waited_since: now,
            gap: Duration::ZERO,
            gap_before: Duration::ZERO,
            gap_turn: now,
        }
    }

    /// The bytes of this order are wanted from now on, and of no other.
    pub(crate) fn begin(&mut self, generation: Generation) {
        self.close_any();
        self.generation = Some(generation);
        self.paused_since = None;
    }

    pub(crate) fn is_wanted(&self, generation: Generation) -> bool {
        self.generation == Some(generation)
    }

    pub(crate) fn generation(&self) -> Option<Generation> {
        self.generation
    }

    /// The connection of the order; false when it is not wanted any more.
    pub(crate) fn connected(&mut self, generation: Generation, closer: Closer) -> bool {
        if !self.is_wanted(generation) {
            return false;
        }
        self.closer = Some(closer);
        true
    }

    /// What Redis had of the stream is the beginning of its ring. False: there is no room for it.
    pub(crate) fn prime(
        &mut self,
        packets: ts::Packets<'_>,
        writer: &mut Writer,
        cache: &mut SlabCache,
    ) -> bool {
        if !writer.reserve(packets.bytes().len(), cache) {
            return false;
        }
        let offset = writer.written();
        writer.append(packets.bytes(), cache).expect("room was reserved for all of it");
        // The session is not told: its engine has given nothing yet.
        let mut found = false;
        scan(&mut self.scanner, &mut self.recent, packets, offset, writer, &mut found);
        (self.dirty, self.is_primed) = (true, true);
        // Its body may have begun without a packet.
        self.splice();
        true
    }

    /// The ring has nothing but what Redis had.
    pub(crate) const fn is_primed(&self) -> bool {
        self.is_primed
    }

    pub(crate) fn body_begins(&mut self, generation: Generation, written: u64, now: Instant) {
        if !self.is_wanted(generation) {
            return;
        }
        // Whatever the ring has is another body's, also when its session was never told of it: a body
        // may end in the very turn of its first bytes. And what waits of another one goes.
        if self.is_primed || written > 0 {
            self.splice();
        }
        self.sync.reset();
        self.clock = None;
        self.is_paced = false;
        self.started_at_byte = written;
        self.began = now;
        self.low_water = LowWater::new(now);
        self.last_read = now;
    }

    /// What comes next follows other bytes in the ring.
    pub(crate) fn splice(&mut self) {
        self.staging = Some(Box::new(Staging::new()));
    }

    /// The bytes of another session follow from here on: they have been read beside ours.
    pub(crate) fn promote(
        &mut self,
        aside: Aside,
        writer: &mut Writer,
        cache: &mut SlabCache,
        now: Instant,
    ) {
        self.begin(aside.generation);
        self.body_begins(aside.generation, writer.written(), now);
        self.sync_losses_before += self.sync.losses();
        self.sync = aside.sync;
        self.closer = aside.closer;
        self.staging = Some(aside.staging);
        self.dirty = true;
        self.place(writer, cache, now);
    }

    pub(crate) fn close(&mut self, generation: Generation) {
        if self.is_wanted(generation) {
            self.close_any();
        }
    }

    pub(crate) fn close_any(&mut self) {
        self.generation = None;
        // What waits of it goes with it. Were it placed later, the next body would follow these few
        // packets, and not what the viewers have watched.
        if self.staging.is_some() {
            self.splice();
        }
        if let Some(closer) = self.closer.take() {
            closer.shutdown();
        }
    }

    pub(crate) fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    /// Of this stream's present body, or of its last one.
    pub(crate) fn last_read(&self) -> Instant {
        self.last_read
    }

    pub(crate) fn sync_losses(&self) -> u64 {
        self.sync_losses_before + self.sync.losses()
    }

    /// Since when what is published now may have waited.
    pub(crate) fn waited_since(&self) -> Instant {
        self.waited_since
    }

    /// Once in a while, with the bitrate of the stream.
    pub(crate) fn tune(&mut self, bitrate_bps: u64, policy: &Policy, now: Instant) {
        let Some(closer) = self.closer.as_ref().filter(|_| self.staging.is_none()) else { return };
        let buffer = closer.receive_buffer_bytes() as u64;
        if let Some(bytes) = self.low_water.tune(buffer, bitrate_bps, policy, now) {
            closer.wake_from(bytes as usize);
        }
    }

    /// When what has come is to be read, however little it is.
    pub(crate) fn read_deadline(&self, policy: &Policy) -> Option<Instant> {
        self.low_water.deadline(self.last_read, policy)
    }

    /// That time has come.
    pub(crate) fn read_now(&mut self, now: Instant) {
        let bytes = self.low_water.give_up(now);
        if let Some(closer) = &self.closer {
            closer.wake_from(bytes as usize);
        }
    }

    pub(crate) fn read_gap(&self) -> Duration {
        self.gap.max(self.gap_before)
    }

    /// May another read be made?
    pub(crate) fn flow(
        &mut self,
        generation: Generation,
        writer: &mut Writer,
        cache: &mut SlabCache,
        now: Instant,
    ) -> Flow {
        if !self.is_wanted(generation) {
            return Flow::Stop;
        }
        if !writer.reserve(SCRATCH_BYTES + PACKET_BYTES, cache) {
            return Flow::Pause(PAUSE_MAX);
        }
        if self.staging.as_ref().is_some_and(|staging| staging.is_full()) {
            return Flow::Pause(PAUSE_MAX);
        }
        match self.ahead(writer, now) {
            Some(over) => {
                self.is_paced = true;
                Flow::Pause(over.min(PAUSE_MAX))
            }
            None => Flow::Read,
        }
    }

    /// A burst that does not fit keeps the reading at its threshold for good. There the engine's
    /// socket is always full, and a read of all that it has would be a quarter of a second of
    /// stream: small ones go out as evenly as they were broadcast.
    pub(crate) fn read_bytes_max(&self) -> usize {
        let bytes = self.scanner.bitrate_bps().unwrap_or(0) / 8 * PACED_READ_MS / 1_000;
        let paced = usize::try_from(bytes).unwrap_or(SCRATCH_BYTES);
        if self.is_paced { paced.clamp(PACED_READ_BYTES_MIN, SCRATCH_BYTES) } else { SCRATCH_BYTES }
    }

    /// How far the media received is ahead of half the ring: the burst at a start must not lap
    /// the viewers that it is for.
    fn ahead(&self, writer: &Writer, now: Instant) -> Option<Duration> {
        let written = writer.written() - self.started_at_byte;
        let (Some(bitrate), Some((media_us, at))) = (self.scanner.bitrate_bps(), self.clock) else {
            // A stream without a clock is taken for one that fills the ring in a minute.
            let cap = writer.cap_bytes();
            let since_us = now.since(self.began).as_micros() as u64;
            let due = cap.saturating_mul(since_us) / UNKNOWN_RING_US;
            return (written > cap / READ_AHEAD_UNKNOWN + due).then_some(PAUSE_MAX);
        };
        let ring_us = writer.cap_bytes().saturating_mul(8_000_000) / bitrate.max(1);
        let media = self.scanner.media_us().unwrap_or(media_us).saturating_sub(media_us);
        let lead = media.saturating_sub(now.since(at).as_micros() as u64);
        let over = lead.saturating_sub(ring_us / 2);
        (over > 0).then(|| Duration::from_micros(over).max(Duration::from_millis(10)))
    }

    /// One read's bytes. True when the body is complete.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        decoder: &mut BodyDecoder,
        writer: &mut Writer,
        cache: &mut SlabCache,
        now: Instant,
    ) -> Result<bool, crate::http::body::BodyError> {
        let gap = now.since(self.last_read);
        let waited_since = self.low_water.read(bytes.len(), self.last_read, now);
        let is_first = !self.dirty;
        self.waited_since =
            if is_first { waited_since } else { self.waited_since.min(waited_since) };
        self.last_read = now;
        if now.since(self.gap_turn) > Duration::from_secs(60) {
            self.gap_before = std::mem::take(&mut self.gap);
            self.gap_turn = now;
        }
        self.gap = self.gap.max(gap);
        if self.staging.is_some() {
            return self.stage(bytes, decoder, writer, cache, now);
        }
        let Self { sync, scanner, recent, fresh, access_fresh, .. } = self;
        let progress = decoder.feed(bytes, &mut |slice| {
            sync.feed(slice, &mut |packets| {
                let offset = writer.written();
                writer.append(packets.bytes(), cache).expect("room was reserved for the read");
                *fresh += packets.bytes().len() as u64;
                scan(scanner, recent, packets, offset, writer, access_fresh);
            });
        })?;
        self.dirty = true;
        if self.clock.is_none() {
            self.clock = self.scanner.media_us().map(|media_us| (media_us, now));
        }
        Ok(progress.done)
    }
}

impl Ingest {
    /// One read's bytes into the staging buffer, and out of it when they can be placed.
    fn stage(
        &mut self,
        bytes: &[u8],
        decoder: &mut BodyDecoder,
        writer: &mut Writer,
        cache: &mut SlabCache,
        now: Instant,
    ) -> Result<bool, crate::http::body::BodyError> {
        let Self { sync, staging, recent, .. } = self;
        let Some(waiting) = staging else { return Ok(false) };
        self.staged_fresh = true;
        self.dirty = true;
        let progress = decoder.feed(bytes, &mut |slice| {
            sync.feed(slice, &mut |packets| waiting.push(packets, recent, writer, now));
        })?;
        self.place(writer, cache, now);
        Ok(progress.done)
    }

    /// Puts what waits into the ring, if it is known by now how it goes on.
    pub(crate) fn place(&mut self, writer: &mut Writer, cache: &mut SlabCache, now: Instant) {
        let Some(waiting) = &mut self.staging else { return };
        if !writer.reserve(waiting.placed_bytes_max(), cache) {
            return;
        }
        let mut placed = Vec::new();
        let Some(join) = waiting.place(&self.scanner, writer.written(), now, &mut placed) else {
            return;
        };
        self.staging = None;
        self.is_primed = false;
        self.joined = Some(join);
        if join == Join::Jump {
            self.scanner.splice();
            self.recent.clear();
            self.jumps += 1;
        }
        let offset = writer.written();
        writer.append(&placed, cache).expect("room was reserved for all of it");
        self.fresh += placed.len() as u64;
        self.dirty = true;
        let packets = ts::Packets::new_checked(&placed).expect("whole packets went in");
        let Self { scanner, recent, access_fresh, .. } = self;
        scan(scanner, recent, packets, offset, writer, access_fresh);
    }
}

fn scan(
    scanner: &mut Scanner,
    recent: &mut Recent,
    packets: ts::Packets<'_>,
    offset: u64,
    writer: &mut Writer,
    access_fresh: &mut bool,
) {
    let mut psi_changed = false;
    let mut points: [Option<ts::AccessPoint>; 4] = [None; 4];
    let mut rest = packets;
    let mut at = offset;
    // A slab's worth at a time: a handful of access points at most between two looks.
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(64));
        scanner.scan(now, at, &mut |event| match event {
            ts::Event::RandomAccess(point) => {
                if let Some(free) = points.iter_mut().find(|free| free.is_none()) {
                    *free = Some(point);
                }
            }
            ts::Event::PsiChanged { .. } => psi_changed = true,
            ts::Event::PsiPacket { offset, pid, cc } => writer.push_psi_packet(offset, pid, cc),
            ts::Event::ClockReference { offset } => {
                let index = (offset - at) as usize / PACKET_BYTES;
                if let Some(packet) = now.iter().nth(index) {
                    recent.note(packet, offset);
                }
            }
            ts::Event::ClockJump { .. } => {}
        });
        if std::mem::take(&mut psi_changed)
            && let Some(psi) = scanner.psi()
        {
            writer.set_psi(psi.version(), psi.clone());
        }
        for point in points.iter_mut().filter_map(Option::take) {
            *access_fresh = true;
            writer.push_access(access(&point, scanner.media_us()));
        }
        at += now.bytes().len() as u64;
        rest = later;
    }
}

fn access(point: &ts::AccessPoint, media_us: Option<u64>) -> Access {
    let clock = point.pcr.map(|pcr| pcr / 27);
    Access {
        offset: point.offset,
        media_us: clock.or(media_us).unwrap_or(0),
        psi_version: point.psi_version,
        pat_cc: point.psi_counters.get(0),
        pmt_cc: std::array::from_fn(|at| point.psi_counters.get(at + 1)),
    }
}

#[cfg(test)]
mod tests;
