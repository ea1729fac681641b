//! The viewers' shard: real readers, fan-outs and viewers over sockets that take their time.
//!
//! A socket accepts all, some or nothing; what was sent stays in flight for a while. Whatever it
//! accepts goes to the person's checker at once.

use std::sync::Arc;
use std::time::Duration;

use ringcast::base::ids::ShardId;
use ringcast::base::prng::Prng;
use ringcast::base::sizes::PACKET_BYTES;
use ringcast::base::time::Instant;
use ringcast::ring::Pinned;
use ringcast::ring::Reader;
use ringcast::ring::Ring;
use ringcast::ring::Turn;
use ringcast::ts::Packet;
use ringcast::ts::packet::PID_NULL;
use ringcast::viewer::CloseReason;
use ringcast::viewer::Entry;
use ringcast::viewer::Fanout;
use ringcast::viewer::Plan;
use ringcast::viewer::Policy;
use ringcast::viewer::Viewer;
use ringcast::viewer::plan_all;
use ringcast::viewer::plan_one;

use crate::homes::Visit;
use crate::media::Log;
use crate::media::PMT;
use crate::media::stamp;
use crate::world::Event;
use crate::world::StreamId;
use crate::world::World;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
const JOIN_US: u64 = 3_000_000;
/// Deadlines are looked at so far apart at most.
const SWEEP: Duration = Duration::from_millis(20);

/// What one shard serves of one ring.
pub(crate) struct Feed {
    reader: Reader,
    fanout: Fanout,
    seats: Vec<Seat>,
    out: Vec<u8>,
    turn_at: Option<Instant>,
    has_ended: bool,
}

struct Seat {
    visit: Visit,
    viewer: Viewer,
    sending: Option<Pinned>,
    blocked_until: Instant,
    checker: Checker,
    closed: Option<CloseReason>,
}

impl Entry for Seat {
    fn viewer(&mut self) -> &mut Viewer {
        &mut self.viewer
    }
}

/// Whole packets, in order, a subset of what the engine sent, beginning at an access point behind its
/// tables, and going on behind a gap only at another one, behind a mark and its tables.
#[derive(Default)]
struct Checker {
    bytes: Vec<u8>,
    is_behind_head: bool,
    /// Where it may be in the log: an engine may have sent the same again.
    next: Vec<usize>,
    has_pat: bool,
    has_pmt: bool,
    has_mark: bool,
    skips: u64,
    nulls: u64,
}

impl Checker {
    fn take(&mut self, bytes: &[u8], log: &Log) {
        self.bytes.extend_from_slice(bytes);
        if !self.is_behind_head {
            if self.bytes.len() < HEAD.len() {
                return;
            }
            assert_eq!(&self.bytes[..HEAD.len()], HEAD, "the head comes first, once");
            self.bytes.drain(..HEAD.len());
            self.is_behind_head = true;
        }
        let whole = std::mem::take(&mut self.bytes);
        let (packets, rest) = whole.as_chunks::<PACKET_BYTES>();
        for bytes in packets {
            self.packet(Packet::new(bytes).expect("a viewer gets whole packets"), log);
        }
        self.bytes = rest.to_vec();
    }

    fn packet(&mut self, packet: Packet<'_>, log: &Log) {
        match packet.pid() {
            PID_NULL => {
                assert!(!self.next.is_empty(), "a null packet before the first real one");
                self.nulls += 1;
            }
            0 => self.has_pat = true,
            PMT => {
                assert!(self.has_pat || !self.next.is_empty(), "the PAT comes first");
                self.has_pmt = true;
            }
            _ if !packet.has_payload() => {
                let is_behind = self.has_pat || !self.next.is_empty();
                assert!(packet.discontinuity() && is_behind, "a mark declares a skip");
                self.has_mark = true;
            }
            _ => self.media(packet, log),
        }
    }

    fn media(&mut self, packet: Packet<'_>, log: &Log) {
        let stamp = stamp(packet).expect("a packet is as the engine sent it");
        let last = self.next.first().copied();
        self.next.retain(|next| log.stamp_at(*next) == Some(stamp));
        if self.next.is_empty() {
            assert!(self.has_pat && self.has_pmt, "a jump has its tables before it");
            assert!(self.has_mark || last.is_none(), "a gap that nothing declares");
            self.next.extend(log.accesses(stamp).filter(|at| last.is_none_or(|last| *at > last)));
            assert!(!self.next.is_empty(), "a jump lands on an access point, and never goes back");
            self.skips += u64::from(last.is_some());
        }
        self.next.iter_mut().for_each(|next| *next += 1);
        self.has_pat = false;
        self.has_pmt = false;
        self.has_mark = false;
    }
}

impl Feed {
    pub(crate) fn new(ring: Arc<Ring>, shard: ShardId) -> Self {
        Self {
            reader: Reader::new(ring, usize::from(shard.0)),
            fanout: Fanout::new(&Policy::default()),
            seats: Vec::new(),
            out: Vec::new(),
            turn_at: None,
            has_ended: false,
        }
    }

    pub(crate) fn seat(&mut self, visit: Visit, now: Instant) {
        self.seats.push(Seat {
            visit,
            viewer: Viewer::new(now, None),
            sending: None,
            blocked_until: Instant::ZERO,
            checker: Checker::default(),
            closed: None,
        });
    }

    /// The connection is gone: what was in flight is cancelled. Answers how often it was skipped, and
    /// heard a null packet.
    pub(crate) fn leave(&mut self, person: usize) -> (u64, u64) {
        let at = self.seats.iter().position(|seat| seat.visit.person == person);
        let mut seat = self.seats.remove(at.expect("who waits or watches has a seat"));
        if let Some(pinned) = seat.sending.take() {
            self.reader.done(pinned);
        }
        let counted = u64::from(seat.viewer.skips());
        assert!(
            seat.checker.skips <= counted,
            "{counted} gaps of {} are counted",
            seat.checker.skips
        );
        (seat.checker.skips, seat.checker.nulls)
    }

    /// How long the one has heard nothing that has waited longest, of those who have begun and could
    /// take something.
    pub(crate) fn longest_silence(&self, now: Instant) -> Option<Duration> {
        let head = self.reader.ring().head();
        // It catches up, at the rate that it is allowed.
        let is_paced = |viewer: &Viewer| {
            let is_behind = viewer.cursor().is_some_and(|cursor| cursor < head);
            is_behind && viewer.next_deadline().is_some_and(|at| at + SWEEP > now)
        };
        let could = self.seats.iter().filter(|seat| {
            seat.closed.is_none()
                && seat.sending.is_none()
                && seat.blocked_until <= now
                && !seat.viewer.is_blocked()
                && !seat.checker.next.is_empty()
                && !is_paced(&seat.viewer)
        });
        let since = could.filter_map(|seat| seat.viewer.last_accepted());
        since.map(|at| now.since(at)).max()
    }

    pub(crate) fn describe(&self) -> String {
        let seats = self.seats.iter().map(|seat| {
            let viewer = &seat.viewer;
            let (cursor, heard) = (viewer.cursor(), viewer.last_accepted());
            let next = viewer.next_deadline();
            format!("{:?} at {cursor:?}, heard {heard:?}, next {next:?}", seat.visit)
        });
        let seats = seats.collect::<Vec<_>>().join("; ");
        let (head, tick, at) = (self.reader.ring().head(), self.fanout.next_tick(), self.turn_at);
        format!("head {head}, tick {tick:?}, turn {at:?}: {seats}")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    pub(crate) fn end_with(&mut self, reason: CloseReason) {
        for seat in &mut self.seats {
            seat.viewer.end_with(reason);
        }
    }

    fn evict_below(&mut self, offset: u64) {
        for seat in &mut self.seats {
            if seat.viewer.must_evict(offset) {
                seat.closed = Some(CloseReason::Slow);
            }
        }
    }
}

/// What a turn leaves behind for the world.
#[derive(Default)]
struct After {
    started: Vec<usize>,
    /// Who waits for what, and how long.
    sends: Vec<(Visit, Duration)>,
    writables: Vec<(Visit, Duration)>,
}

struct Socket<'a> {
    prng: &'a mut Prng,
    blocks: u64,
    now: Instant,
    log: &'a Log,
    after: &'a mut After,
}

impl Socket<'_> {
    /// How much of so many bytes a socket takes.
    fn accepts(&mut self, seat: &mut Seat, bytes: usize) -> usize {
        if seat.blocked_until > self.now {
            return 0;
        }
        if !self.prng.chance(self.blocks) {
            return bytes;
        }
        let ms = match self.prng.below(3) {
            0 => self.prng.below(100),
            1 => self.prng.below(5_000),
            _ => self.prng.below(60_000),
        };
        seat.blocked_until = self.now + Duration::from_millis(1 + ms);
        self.prng.below(bytes as u64) as usize
    }

    fn inline(&mut self, seat: &mut Seat, out: &[u8]) {
        let accepted = self.accepts(seat, out.len());
        seat.checker.take(&out[..accepted], self.log);
        seat.viewer.inline_sent(out, accepted, self.now);
        if accepted < out.len() {
            self.block(seat);
        }
    }

    fn block(&mut self, seat: &mut Seat) {
        seat.viewer.blocked(self.now);
        let wait = seat.blocked_until.since(self.now).max(Duration::from_micros(1));
        self.after.writables.push((seat.visit, wait));
    }

    fn act(&mut self, seat: &mut Seat, plan: Plan, turn: &mut Turn<'_>, out: &[u8]) {
        match plan {
            Plan::Send { offset, len_max } => {
                assert!(seat.sending.is_none(), "one send in flight");
                seat.sending = Some(turn.pin(offset, len_max));
                let is_stuck = self.prng.chance(self.blocks / 4);
                let us_max = if is_stuck { 15_000_000 } else { 10_000 };
                let wait = Duration::from_micros(self.prng.below(us_max));
                self.after.sends.push((seat.visit, wait));
            }
            Plan::Inline => self.inline(seat, out),
            Plan::Close(reason) => seat.closed = Some(reason),
            Plan::Park | Plan::Wait | Plan::Until(_) => unreachable!("these ask for nothing"),
        }
    }

    /// The kernel has had a send.
    fn complete(&mut self, seat: &mut Seat, reader: &mut Reader) {
        let pinned = seat.sending.take().expect("a send was in flight");
        let accepted = self.accepts(seat, pinned.len());
        seat.checker.take(&pinned.as_slice()[..accepted], self.log);
        if accepted > 0 {
            seat.viewer.ring_done(&pinned, accepted, self.now);
        }
        let is_short = accepted < pinned.len();
        reader.done(pinned);
        if is_short {
            self.block(seat);
        }
    }
}

/// Why a shard turns to a feed.
#[derive(Clone, Copy)]
pub(crate) enum Cause {
    Bell,
    Sent(Visit),
    Writable(Visit),
}

impl World {
    pub(crate) fn turn(&mut self, shard: ShardId, stream: StreamId, cause: Cause) {
        let now = self.now;
        let blocks = self.plan.faults.socket_blocks;
        let policy = Policy::default();
        let mut after = After::default();
        let Some(sub) = self.shards[usize::from(shard.0)].subs.get_mut(&stream) else { return };
        let log = self.logs.get(&stream).expect("kept as long as the world");
        let feed = &mut sub.feed;
        let prng = &mut self.prng;
        let mut socket = Socket { prng, blocks, now, log, after: &mut after };
        let Feed { reader, fanout, seats, out, turn_at, has_ended } = feed;
        let woken = match cause {
            Cause::Bell => None,
            Cause::Sent(visit) => {
                let seat = seats.iter_mut().find(|seat| seat.visit == visit);
                let Some(seat) = seat.filter(|seat| seat.sending.is_some()) else { return };
                socket.complete(seat, reader);
                Some(visit)
            }
            Cause::Writable(visit) => {
                let Some(seat) = seats.iter_mut().find(|seat| seat.visit == visit) else { return };
                seat.viewer.writable(now);
                Some(visit)
            }
        };
        fanout.note_head(reader.ring().head(), now, now, now);
        if reader.ring().is_ended() && !std::mem::replace(has_ended, true) {
            fanout.note_end();
        }
        let joins = seats.iter().any(|seat| !seat.viewer.started());
        let mut turn = reader.turn(fanout.lowest_cursor(joins));
        for seat in seats.iter_mut().filter(|seat| seat.closed.is_none()) {
            let is_new = !seat.viewer.started();
            if is_new && seat.viewer.try_start(&turn, &policy, JOIN_US, HEAD, out, now) {
                socket.after.started.push(seat.visit.person);
                socket.inline(seat, out);
            }
            let is_up = is_new || Some(seat.visit) == woken;
            if is_up && seat.viewer.started() {
                let act = &mut |seat: &mut Seat, plan, turn: &mut Turn<'_>, out: &mut Vec<u8>| {
                    socket.act(seat, plan, turn, out);
                };
                plan_one(fanout, &mut turn, &policy, seat, out, now, act);
            }
        }
        if fanout.due(now) {
            let entries = seats.iter_mut().filter(|s| s.viewer.started() && s.closed.is_none());
            let act = &mut |seat: &mut Seat, plan, turn: &mut Turn<'_>, out: &mut Vec<u8>| {
                socket.act(seat, plan, turn, out);
            };
            plan_all(fanout, &mut turn, &policy, entries, out, now, act);
        }
        drop(turn);
        let next =
            fanout.next_tick().filter(|at| turn_at.is_none_or(|due| due <= now || *at < due));
        if let Some(at) = next {
            *turn_at = Some(at);
        }
        self.after_turn(shard, stream, after, next);
    }

    fn after_turn(
        &mut self,
        shard: ShardId,
        stream: StreamId,
        after: After,
        next: Option<Instant>,
    ) {
        if let Some(at) = next {
            let wait = at.since(self.now);
            self.after(wait, Event::Turn { shard, stream, cause: Cause::Bell });
        }
        for (visit, wait) in after.sends {
            self.after(wait, Event::Turn { shard, stream, cause: Cause::Sent(visit) });
        }
        for (visit, wait) in after.writables {
            self.after(wait, Event::Turn { shard, stream, cause: Cause::Writable(visit) });
        }
        for person in &after.started {
            self.starts(*person, stream);
        }
        let feed = &self.shards[usize::from(shard.0)].subs[&stream].feed;
        let closed = feed.seats.iter().filter_map(|seat| Some((seat.visit.person, seat.closed?)));
        for (person, reason) in closed.collect::<Vec<_>>() {
            self.is_closed(person, stream, reason);
        }
    }

    pub(crate) fn evict(&mut self, shard: ShardId, stream: StreamId, below: u64) {
        if let Some(sub) = self.shards[usize::from(shard.0)].subs.get_mut(&stream) {
            sub.feed.evict_below(below);
            self.after_turn(shard, stream, After::default(), None);
        }
    }
}
