//! Once a turn for every stream that this shard owns: publish what came, ring the bells, tell the
//! session, keep the ring within its share. And what an owner's word does to an audience.

use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::ids::ShardId;
use crate::base::ids::Target;
use crate::base::sizes::MIB;
use crate::base::time::Instant;
use crate::http::body::BodyDecoder;
use crate::ring::Pinned;
use crate::ring::Reader;
use crate::shard::audience::LARGE_BYTES_MIN;
use crate::shard::audience::Phase;
use crate::shard::audience::SendMode;
use crate::shard::audience::nothing_yet;
use crate::shard::channel::ChannelId;
use crate::shard::core::Core;
use crate::shard::engine_io::Bytes;
use crate::shard::ingest::Flow;
use crate::shard::message::Message;
use crate::shard::message::Watching;
use crate::shard::source::Source;
use crate::shard::source::TEND_EVERY;
use crate::stream;
use crate::stream::Answer;
use crate::stream::Input;
use crate::viewer::CloseReason;
use std::sync::Once;
use std::time::Duration;

/// Room above the promised seconds, for the jitter of a bitrate that is measured.
const CAP_MARGIN_PERCENT: u64 = 125;

/// With fewer the file would cost more than it saves.
const TWIN_VIEWERS_MIN: u32 = 2;

/// A file without viewers is kept so long, for those who zap.
const TWIN_LINGERS: Duration = Duration::from_secs(30);

/// How much of the stream's end stands in the file: a viewer that is further behind is served by
/// copy until it has caught up.
const TWIN_SECONDS: u64 = 8;
const TWIN_BYTES_MIN: u64 = 4 * MIB;

/// The coalescing time, for the size of the sends to expect.
const TWIN_TICK_MS: u64 = 100;

const TWIN_RETRY_AFTER: Duration = Duration::from_secs(10);

static SAID_NO_MEMORY_FILE: Once = Once::new();

impl Core {
    pub(crate) fn flow(&mut self, serial: u64, generation: Generation) -> Flow {
        let now = self.now;
        let Some(source) = self.sources.get_mut(&serial) else { return Flow::Stop };
        if let Some(aside) = source.aside.as_ref().filter(|aside| aside.is_wanted(generation)) {
            return aside.flow();
        }
        source.hands += 1;
        let flow = source.ingest.flow(generation, &mut source.writer, &mut self.cache, now);
        source.hands -= 1;
        let paused = source.ingest.paused_since;
        match (flow, paused) {
            (Flow::Pause(_), None) => {
                source.ingest.paused_since = Some(now);
                self.feed(serial, Input::RingFull);
            }
            (Flow::Read, Some(since)) => {
                source.ingest.paused_since = None;
                self.stats.paused_us += now.since(since).as_micros() as u64;
                self.feed(serial, Input::RingResumed);
            }
            _ => {}
        }
        flow
    }

    /// One read; the failure that ends the body, if it does.
    pub(crate) fn take(
        &mut self,
        serial: u64,
        generation: Generation,
        bytes: Bytes<'_>,
        decoder: &mut BodyDecoder,
    ) -> Option<stream::Failure> {
        let now = self.now;
        let Self { sources, agenda, cache, scratch, stats, .. } = self;
        let source = sources.get_mut(&serial)?;
        if !source.wants(generation) {
            return Some(stream::Failure::Cut);
        }
        let slice = match bytes {
            Bytes::Given(slice) => slice,
            Bytes::From(conn) => {
                match conn.try_recv(&mut scratch[..source.ingest.read_bytes_max()]) {
                    Ok(0) => return Some(stream::Failure::Cut),
                    Ok(n) => &scratch[..n],
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
                    Err(_) => return Some(stream::Failure::Cut),
                }
            }
        };
        let before = decoder.body_bytes();
        source.hands += 1;
        let Source { aside, ingest, writer, .. } = source;
        let beside = aside.as_mut().filter(|aside| aside.is_wanted(generation));
        let mut is_ready = false;
        let was_dirty = ingest.dirty;
        let result = match beside {
            Some(aside) => {
                let result = aside.take(slice, decoder, &ingest.recent, writer, now);
                is_ready = aside.is_playable(writer, now);
                result
            }
            None => ingest.take(slice, decoder, writer, cache, now),
        };
        let is_dirty = ingest.dirty;
        source.hands -= 1;
        if is_dirty && !was_dirty {
            agenda.moved(serial);
        }
        stats.ingest_bytes += decoder.body_bytes() - before;
        if is_ready {
            // At once: what has been compared ends where the ring ends now.
            self.feed(serial, Input::Ready { generation });
        }
        match result {
            Ok(false) => None,
            Ok(true) | Err(_) => Some(stream::Failure::Cut),
        }
    }

    pub(crate) fn tend_sources(&mut self) {
        let now = self.now;
        let mut due = std::mem::take(&mut self.due_sources);
        self.agenda.take_moved(&mut due);
        let is_sweep = self.agenda.sweep(now);
        if is_sweep {
            let others = self.sources.iter().filter(|(_, source)| !source.ingest.dirty);
            let others = others.filter(|(_, source)| source.tend_at <= now);
            due.extend(others.map(|(serial, _)| *serial));
        }
        for serial in due.drain(..) {
            // One that has moved may have gone since.
            let Some(source) = self.sources.get_mut(&serial) else { continue };
            source.hands += 1;
            self.tend(serial);
            self.let_be(serial);
        }
        if is_sweep {
            due.extend(self.sources.keys());
            for serial in due.drain(..) {
                self.read_timer(serial);
                self.session_timer(serial);
            }
        }
        self.due_sources = due;
    }

    /// Bytes that wait in the engine's socket for others are not to wait any longer.
    fn read_timer(&mut self, serial: u64) {
        let (now, policy) = (self.now, &self.shared.config.policy);
        let Some(source) = self.sources.get_mut(&serial) else { return };
        if source.ingest.read_deadline(policy).is_some_and(|at| at <= now) {
            source.ingest.read_now(now);
        }
    }

    fn tend(&mut self, serial: u64) {
        let now = self.now;
        let fair = self.fair_share_bytes();
        let ttl = self.shared.config.buffer_ttl;
        let Some(source) = self.sources.get_mut(&serial) else { return };
        if source.ended {
            source.ingest.dirty = false;
            source.tend_at = now + TEND_EVERY;
            self.try_remove(serial);
            return;
        }
        if source.tend_at <= now {
            source.ingest.place(&mut source.writer, &mut self.cache, now);
        }
        let scanner = source.ingest.scanner();
        let bitrate = scanner.bitrate_bps();
        let media_us = scanner.media_us().unwrap_or(0);
        let fresh = std::mem::take(&mut source.ingest.fresh);
        let access = std::mem::take(&mut source.ingest.access_fresh);
        let moved = std::mem::take(&mut source.ingest.dirty);
        let staged = std::mem::take(&mut source.ingest.staged_fresh);
        let joined = source.ingest.joined.take();
        let generation = source.ingest.generation();
        if moved {
            source.channel.set_waited_since(source.ingest.waited_since());
            source.writer.commit(media_us, bitrate.unwrap_or(0));
            self.mail.wake(source.subscribers);
        }
        if source.tend_at <= now {
            source.tend_at = now + TEND_EVERY;
            let seconds = ttl.as_secs().max(1);
            let wish = bitrate.map_or(fair, |bps| bps / 8 * seconds * CAP_MARGIN_PERCENT / 100);
            let least = crate::base::sizes::STREAM_MEMORY_BYTES_MIN.min(fair);
            source.writer.set_cap(wish.clamp(least, fair));
            let gap = source.ingest.read_gap();
            source.channel.set_read_gap(gap);
            source.ingest.tune(bitrate.unwrap_or(0), &self.shared.config.policy, now);
        }
        source.tend_twin(bitrate.unwrap_or(0), self.shared.config.send, now);
        let tended = source.writer.tend(&mut self.cache);
        if let Some(offset) = tended.evict_below {
            let channel = source.id;
            let subscribers = source.subscribers;
            self.tell_shards(channel, subscribers, || Watching::EvictBelow { offset });
        }
        let Some(generation) = generation else { return };
        if let Some(join) = joined {
            self.log_joined(serial, join);
        }
        if staged {
            self.feed(serial, Input::Staged { generation });
        }
        if fresh > 0 {
            self.feed(serial, Input::Bytes { generation, n: fresh });
        }
        if access {
            self.feed(serial, Input::AccessPoint { generation });
        }
    }

    pub(crate) fn on_refuse(&mut self, channel: ChannelId, answer: &Answer) {
        if let Some(at) = self.audience_of(channel) {
            // Who comes now asks anew: this stream is ending, unless its owner says otherwise.
            self.audiences[at].over = true;
            self.answer_all(at, answer);
        }
    }

    /// The ring has ended: what is in it is still sent, then each viewer is closed.
    pub(crate) fn on_close_viewers(&mut self, channel: ChannelId, reason: CloseReason) {
        let Some(at) = self.audience_of(channel) else { return };
        self.audiences[at].over = true;
        let wait_answer = self.audiences[at].channel().and_then(|c| c.facts().wait_answer);
        self.answer_all(at, &wait_answer.unwrap_or_else(nothing_yet));
        let audience = &mut self.audiences[at];
        for (index, entry) in &mut audience.entries {
            if entry.phase == Phase::Playing {
                entry.viewer.end_with(reason);
                audience.ready.push(index);
            }
        }
    }

    /// The stream turned out to be another one that runs already.
    pub(crate) fn on_move_viewers(&mut self, channel: ChannelId, infohash: Infohash) {
        if let Some(at) = self.audience_of(channel) {
            self.move_waiting(at, Target::Infohash(infohash));
        }
    }

    /// Nobody comes to this audience any more, and those who wait in it ask for the key.
    pub(crate) fn move_waiting(&mut self, at: usize, key: Target) {
        self.audiences[at].over = true;
        let waiting: Vec<usize> = self.audiences[at]
            .entries
            .iter()
            .filter_map(|(index, entry)| (entry.phase == Phase::Waiting).then_some(index))
            .collect();
        if waiting.is_empty() {
            return;
        }
        let payer = self.audiences[at].entries[waiting[0]].who.limited_as;
        let into = self.audience_for(key, payer);
        for index in waiting {
            let from = &mut self.audiences[at];
            let entry = from.entries.remove(index);
            from.waiting -= 1;
            let place = entry.place;
            let audience = &mut self.audiences[into];
            audience.waiting += 1;
            audience.wait_deadline = audience.wait_deadline.min(entry.wait_until);
            let entry = audience.entries.insert(entry);
            self.places[place] = crate::shard::core::Place { audience: into, entry };
        }
    }

    pub(crate) fn on_evict(&mut self, channel: ChannelId, offset: u64) {
        let Some(at) = self.audience_of(channel) else { return };
        let slow: Vec<usize> = self.audiences[at]
            .entries
            .iter()
            .filter(|(_, entry)| entry.phase == Phase::Playing && entry.viewer.must_evict(offset))
            .map(|(index, _)| index)
            .chain(self.holders_below(at, offset))
            .collect();
        for index in slow {
            self.finish(at, index, CloseReason::Slow);
        }
    }

    /// Viewers that still hold bytes below `offset` with sends that are complete: zero-copy ones that
    /// were not acknowledged.
    fn holders_below(&self, at: usize, offset: u64) -> impl Iterator<Item = usize> {
        let audience = &self.audiences[at];
        let ring = audience.reader.as_ref().map(Reader::number);
        let below =
            move |pinned: &Pinned| ring == Some(pinned.reader()) && pinned.offset() < offset;
        let lent = self.egress.lent().filter(move |(_, pinned)| below(pinned));
        lent.filter_map(|(slot, _)| {
            let mut entries = audience.entries.iter();
            entries.find(|(_, entry)| entry.slot == slot).map(|(index, _)| index)
        })
    }

    pub(crate) fn note_copied(&mut self, serial: u64, shard: ShardId, copied: u32) {
        if let Some(source) = self.sources.get_mut(&serial) {
            source.copied.insert(shard, copied);
        }
    }

    /// The owner wants to end the stream: answered when nobody is here, or that somebody is.
    pub(crate) fn on_may_close(&mut self, channel: ChannelId, generation: Generation) {
        let Some(at) = self.audience_of(channel) else {
            let from = self.me;
            let what = Watching::Idle { from, generation };
            self.mail.send(channel.owner, Message::Watching { channel, what });
            return;
        };
        self.audiences[at].may_close = Some(generation);
    }
}

impl Source {
    /// The memory file is there while somebody is served from it: from the second viewer on, since
    /// for one it would be a copy more.
    fn tend_twin(&mut self, bitrate_bps: u64, mode: SendMode, now: Instant) {
        let copied: u32 = self.copied.values().sum();
        let viewers_min = if mode == SendMode::Shared { 1 } else { TWIN_VIEWERS_MIN };
        if copied > 0 && self.writer.has_twin() {
            self.twin_until = now + TWIN_LINGERS;
        } else if self.writer.has_twin() {
            if now >= self.twin_until {
                self.writer.close_twin();
            }
        } else if copied >= viewers_min && now >= self.twin_not_before {
            let tick_bytes = bitrate_bps / 8 * TWIN_TICK_MS / 1_000;
            if tick_bytes < LARGE_BYTES_MIN as u64 {
                return; // Its sends are so small that copying them is cheapest.
            }
            let wish = bitrate_bps / 8 * TWIN_SECONDS;
            let window = wish.clamp(TWIN_BYTES_MIN, self.writer.cap_bytes().max(TWIN_BYTES_MIN));
            self.twin_until = now + TWIN_LINGERS;
            if let Err(error) = self.writer.open_twin(window) {
                self.twin_not_before = now + TWIN_RETRY_AFTER;
                let infohash = self.session.infohash();
                // Every stream would say it, and again after each pause.
                SAID_NO_MEMORY_FILE.call_once(|| {
                    tracing::warn!(
                        "no memory file for stream={infohash}, its viewers are sent copies: {error}"
                    );
                });
            }
        }
    }

    /// The ring's seconds at the measured bitrate.
    pub(crate) fn ring_seconds(&self) -> f64 {
        let bytes = self.writer.head().saturating_sub(self.writer.tail());
        let bitrate = self.ingest.scanner().bitrate_bps().unwrap_or(0);
        if bitrate == 0 { 0.0 } else { bytes as f64 * 8.0 / bitrate as f64 }
    }
}
