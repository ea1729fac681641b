//! What deciding for viewers costs, in memory: a real ring, real plans, and sockets that take
//! everything. `cargo bench --bench viewers`.

mod rig;

use ace_emulator::signed::Signed;
use ace_emulator::signed::SignedConfig;
use rig::Case;
use rig::Rig;
use ringcast::base::time::Instant;
use ringcast::ring::Access;
use ringcast::ring::Arena;
use ringcast::ring::ArenaConfig;
use ringcast::ring::Pinned;
use ringcast::ring::Reader;
use ringcast::ring::SlabCache;
use ringcast::ring::Turn;
use ringcast::ring::Writer;
use ringcast::ts::Event;
use ringcast::ts::PACKET_BYTES;
use ringcast::ts::Packets;
use ringcast::ts::Scanner;
use ringcast::viewer::Entry;
use ringcast::viewer::Fanout;
use ringcast::viewer::Plan;
use ringcast::viewer::Policy;
use ringcast::viewer::Viewer;
use ringcast::viewer::plan_all;
use ringcast::viewer::plan_one;
use std::sync::Arc;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const VIEWERS: usize = 1_000;
const BITRATE_BPS: u64 = 8_000_000;
/// A slab of it: one send for every viewer, whose end is that of the slab.
const TICK_PACKETS: usize = 1_024;
const TICK_BYTES: u64 = (TICK_PACKETS * PACKET_BYTES) as u64;
const TICK: Duration = Duration::from_micros(TICK_BYTES * 8 * 1_000_000 / BITRATE_BPS);

fn main() {
    let mut rig = Rig::from_args();
    let case =
        |name, what, per_round, rounds| Case { name, what, per_round, rounds, is_counted: true };
    let each = VIEWERS as u64;
    rig.run(
        case("viewer_start", "a viewer begun: its point, its head, its tables", 1, 1_000_000),
        || Audience::open(0),
        counted::viewer_start,
    );
    rig.run(
        case("viewer_parked", "a plan of one of 1 000 viewers: nothing to do", each, 10_000),
        || Audience::open(VIEWERS),
        counted::viewer_parked,
    );
    rig.run(
        case("viewer_plan", "a plan of one of 1 000 viewers: a send, accepted", each, 10_000),
        || Audience::open(VIEWERS),
        counted::viewer_plan,
    );
    rig.run(
        case("fanout", "a send to one of 1 000 viewers, from tick to next plan", each, 10_000),
        || Audience::open(VIEWERS),
        counted::fanout,
    );
    rig.finish();
}

/// The viewers of one stream on one shard, at its head.
struct Audience {
    writer: Writer,
    cache: SlabCache,
    reader: Reader,
    fanout: Fanout,
    policy: Policy,
    players: Vec<Player>,
    /// What is appended a tick; nobody looks into it.
    packets: Vec<u8>,
    sockets: Sockets,
    out: Vec<u8>,
    now: Instant,
}

/// As a shard keeps one: more than the viewer, in one array.
struct Player {
    viewer: Viewer,
    slot: usize,
}

impl Entry for Player {
    fn viewer(&mut self) -> &mut Viewer {
        &mut self.viewer
    }
}

/// They take whatever they are given, and say so when asked.
struct Sockets {
    taken: Vec<(usize, Pinned)>,
    /// Whose send was completed.
    ready: Vec<usize>,
    bytes: u64,
}

impl Audience {
    fn open(viewers: usize) -> Self {
        let config = ArenaConfig {
            budget_bytes: 64 * MIB,
            page_bytes: 4_096,
            region_bytes_max: 64 * MIB as usize,
        };
        let arena = Arena::reserve(&config).expect("address space");
        let promise = arena.promise(8 * MIB).expect("8 MiB of 64");
        let mut writer = Writer::open(arena, promise, 2, 16 * MIB, 1);
        let mut cache = SlabCache::new(arena);
        let source = Signed::new(SignedConfig::default()).expect("the default is sound");
        // Two seconds and a bit: a group of pictures.
        let packets: Vec<u8> = (0..12 * 1_024).flat_map(|index| source.packet(index)).collect();
        publish(&mut writer, &mut cache, &packets);
        let reader = Reader::new(Arc::clone(writer.ring()), 0);
        let policy = Policy::default();
        let mut audience = Self {
            writer,
            cache,
            reader,
            fanout: Fanout::new(&policy),
            policy,
            players: Vec::with_capacity(viewers),
            packets: packets[..TICK_PACKETS * PACKET_BYTES].to_vec(),
            sockets: Sockets {
                taken: Vec::with_capacity(viewers),
                ready: Vec::with_capacity(viewers),
                bytes: 0,
            },
            out: Vec::with_capacity(64 * PACKET_BYTES + 1_024),
            now: Instant::from_micros(1_000_000),
        };
        (0..viewers).for_each(|slot| audience.join(slot));
        // The rest of the burst, so that everybody is at the head.
        while audience.round() > 0 {}
        audience
    }

    fn join(&mut self, slot: usize) {
        let mut viewer = Viewer::new(self.now, None);
        assert!(self.start(&mut viewer), "a random access point is there");
        self.players.push(Player { viewer, slot });
    }

    fn start(&mut self, viewer: &mut Viewer) -> bool {
        let Self { reader, policy, out, now, .. } = self;
        let turn = reader.turn(None);
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n";
        let starts = viewer.try_start(&turn, policy, 1_000_000, head, out, *now);
        if starts {
            viewer.inline_sent(out, out.len(), *now);
        }
        starts
    }

    /// What an engine's reads bring until the next tick.
    fn tick(&mut self) {
        self.writer.append(&self.packets, &mut self.cache).expect("nobody holds a slab for long");
        self.writer.commit(0, BITRATE_BPS);
        self.writer.tend(&mut self.cache);
        self.now = self.now + TICK;
    }

    /// A round over everybody, and whatever follows until all sockets are silent. Bytes sent.
    fn round(&mut self) -> u64 {
        let Self { reader, fanout, policy, players, sockets, out, now, .. } = self;
        let before = sockets.bytes;
        let mut turn = reader.turn(fanout.lowest_cursor(false));
        fanout.note_head(turn.head(), *now, *now, *now);
        plan_all(fanout, &mut turn, policy, players.iter_mut(), out, *now, &mut sockets.act(*now));
        drop(turn);
        while sockets.complete(players, reader, *now) {
            let mut turn = reader.turn(fanout.lowest_cursor(false));
            let ready = std::mem::take(&mut sockets.ready);
            for slot in &ready {
                let player = &mut players[*slot];
                plan_one(fanout, &mut turn, policy, player, out, *now, &mut sockets.act(*now));
            }
            sockets.ready = ready;
            sockets.ready.clear();
        }
        sockets.bytes - before
    }
}

impl Sockets {
    fn act<'r>(
        &mut self,
        now: Instant,
    ) -> impl FnMut(&mut Player, Plan, &mut Turn<'r>, &mut Vec<u8>) {
        move |player, plan, turn, out| match plan {
            Plan::Send { offset, len_max } => {
                self.taken.push((player.slot, turn.pin(offset, len_max)));
            }
            Plan::Inline => player.viewer.inline_sent(out, out.len(), now),
            Plan::Park | Plan::Wait | Plan::Until(_) => {}
            Plan::Close(reason) => unreachable!("{reason:?}"),
        }
    }

    /// Everything was sent whole. False: there was nothing.
    fn complete(&mut self, players: &mut [Player], reader: &mut Reader, now: Instant) -> bool {
        for (slot, pinned) in self.taken.drain(..) {
            self.bytes += pinned.len() as u64;
            players[slot].viewer.ring_done(&pinned, pinned.len(), now);
            reader.done(pinned);
            self.ready.push(slot);
        }
        !self.ready.is_empty()
    }
}

/// As an owner does it: packets, then the scan's access points and tables, then the head.
fn publish(writer: &mut Writer, cache: &mut SlabCache, bytes: &[u8]) {
    let mut scanner = Scanner::new();
    let packets = Packets::new_checked(bytes).expect("whole packets");
    let mut points = Vec::new();
    writer.append(bytes, cache).expect("an empty ring");
    scanner.scan(packets, 0, &mut |event| match event {
        Event::RandomAccess(point) => points.push(point),
        Event::PsiPacket { offset, pid, cc } => writer.push_psi_packet(offset, pid, cc),
        Event::PsiChanged { .. } | Event::ClockReference { .. } | Event::ClockJump { .. } => {}
    });
    let psi = scanner.psi().expect("tables");
    writer.set_psi(psi.version(), psi.clone());
    for point in points {
        writer.push_access(Access {
            offset: point.offset,
            media_us: point.pcr.expect("a clock at every point") / 27,
            psi_version: point.psi_version,
            pat_cc: point.psi_counters.get(0),
            pmt_cc: std::array::from_fn(|at| point.psi_counters.get(at + 1)),
        });
    }
    writer.commit(scanner.media_us().unwrap_or(0), BITRATE_BPS);
}

mod counted {
    use super::*;

    #[inline(never)]
    pub(super) fn viewer_start(audience: &mut Audience, rounds: u64) -> u64 {
        let mut begun = 0;
        for _ in 0..rounds {
            let mut viewer = Viewer::new(audience.now, None);
            begun += u64::from(audience.start(&mut viewer)) + viewer.bytes_sent();
        }
        begun
    }

    #[inline(never)]
    pub(super) fn viewer_parked(audience: &mut Audience, rounds: u64) -> u64 {
        let Audience { reader, policy, players, out, now, .. } = audience;
        let mut parked = 0;
        for _ in 0..rounds {
            let turn = reader.turn(Some(players[0].viewer.cursor().expect("it plays")));
            for player in &mut *players {
                let plan = player.viewer.plan(&turn, policy, true, out, *now);
                parked += u64::from(plan == Plan::Park);
            }
        }
        assert_eq!(parked, rounds * players.len() as u64);
        parked
    }

    #[inline(never)]
    pub(super) fn viewer_plan(audience: &mut Audience, rounds: u64) -> u64 {
        let mut sent = 0;
        for _ in 0..rounds {
            audience.tick();
            let Audience { reader, policy, players, out, now, .. } = &mut *audience;
            let turn = reader.turn(players[0].viewer.cursor());
            for player in players {
                let plan = player.viewer.plan(&turn, policy, true, out, *now);
                let Plan::Send { len_max, .. } = plan else { unreachable!("{plan:?}") };
                player.viewer.ring_sent(len_max, &[], *now);
                sent += len_max as u64;
            }
        }
        assert_eq!(sent, rounds * TICK_BYTES * VIEWERS as u64);
        sent
    }

    #[inline(never)]
    pub(super) fn fanout(audience: &mut Audience, rounds: u64) -> u64 {
        let mut sent = 0;
        for _ in 0..rounds {
            audience.tick();
            sent += audience.round();
        }
        assert_eq!(sent, rounds * TICK_BYTES * VIEWERS as u64);
        sent
    }
}
