//! A real picture through a real ring to a real decoder: what viewers are sent from any join
//! point, and across forced skips, plays in ffmpeg at its strictest from the first byte on.
//!
//! Without ffmpeg on the PATH there is nothing to ask, and the tests say so and pass.

use std::io::ErrorKind;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ace_emulator::Picture;
use ace_emulator::source::Media;
use ringcast::base::sizes::KIB;
use ringcast::base::sizes::MIB;
use ringcast::base::sizes::PACKET_BYTES;
use ringcast::base::time::Instant;
use ringcast::ring::Access;
use ringcast::ring::Arena;
use ringcast::ring::ArenaConfig;
use ringcast::ring::Reader;
use ringcast::ring::SlabCache;
use ringcast::ring::Writer;
use ringcast::ts::Event;
use ringcast::ts::Packets;
use ringcast::ts::Scanner;
use ringcast::viewer::Plan;
use ringcast::viewer::Policy;
use ringcast::viewer::Viewer;

const STEP: Duration = Duration::from_millis(100);
const LOOP_US: u64 = 24_000_000;

/// The test card, received.
struct Channel {
    picture: Arc<Picture>,
    packets: u64,
    elapsed: Duration,
    scanner: Scanner,
    writer: Writer,
    cache: SlabCache,
    reader: Reader,
    policy: Policy,
    out: Vec<u8>,
    /// Where the tables stand that precede each picture.
    pictures: Vec<u64>,
}

struct Player {
    viewer: Viewer,
    body: Vec<u8>,
}

impl Channel {
    /// A slab holds six seconds of the test card.
    fn new(slabs: u64) -> Self {
        let config = ArenaConfig {
            budget_bytes: 16 * MIB,
            page_bytes: 4_096,
            region_bytes_max: 64 * MIB as usize,
        };
        let arena = Arena::reserve(&config).expect("address space");
        let promise = arena.promise(MIB).expect("room");
        let writer = Writer::open(arena, promise, 1, slabs * 188 * KIB, 1);
        let reader = Reader::new(Arc::clone(writer.ring()), 0);
        Self {
            picture: Picture::shared(),
            packets: 0,
            elapsed: Duration::ZERO,
            scanner: Scanner::new(),
            writer,
            cache: SlabCache::new(arena),
            reader,
            policy: Policy { catchup_rate: 0.0, ..Policy::default() },
            out: Vec::new(),
            pictures: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(1_000_000) + self.elapsed
    }

    fn receive(&mut self, time: Duration) {
        let until = self.elapsed + time;
        while self.elapsed < until {
            self.elapsed = until.min(self.elapsed + STEP);
            let packets = self.picture.packets_until(self.elapsed.as_micros() as u64);
            let mut bytes = vec![0; (packets - self.packets) as usize * PACKET_BYTES];
            self.picture.fill(self.packets, &mut bytes);
            self.packets = packets;
            self.ingest(&bytes);
        }
    }

    /// On to just before the test card begins again: what was sent by then ends with a whole
    /// picture and whole sound.
    fn receive_loop(&mut self) {
        let over_us = self.elapsed.as_micros() as u64 % LOOP_US;
        self.receive(Duration::from_micros(LOOP_US - 1 - over_us));
    }

    fn ingest(&mut self, bytes: &[u8]) {
        let start = self.writer.written();
        let packets = Packets::new_checked(bytes).expect("whole packets");
        let mut points = Vec::new();
        let mut tables = Vec::new();
        self.scanner.scan(packets, start, &mut |event| match event {
            Event::RandomAccess(point) => points.push(point),
            Event::PsiPacket { offset, pid, cc } => tables.push((offset, pid, cc)),
            Event::PsiChanged { .. } | Event::ClockReference { .. } | Event::ClockJump { .. } => {}
        });
        for (offset, pid, cc) in tables {
            self.writer.push_psi_packet(offset, pid, cc);
            if pid == 0 {
                self.pictures.push(offset);
            }
        }
        if let Some(psi) = self.scanner.psi() {
            self.writer.set_psi(psi.version(), Arc::clone(psi));
        }
        for point in points {
            let access = Access {
                offset: point.offset,
                media_us: point.pcr.map_or(0, |pcr| pcr / 27),
                psi_version: point.psi_version,
                pat_cc: 0,
                pmt_cc: [0; 8],
            };
            self.writer.push_access(access.with_psi_counters(point.psi_counters));
        }
        self.writer.append(bytes, &mut self.cache).expect("room");
        self.writer.commit(self.scanner.media_us().unwrap_or(0), 0);
        self.writer.tend(&mut self.cache);
    }

    fn join(&mut self, behind: Duration) -> Player {
        let now = self.now();
        let mut viewer = Viewer::new(now, None);
        let behind_us = behind.as_micros() as u64;
        let turn = self.reader.turn(None);
        assert!(viewer.try_start(&turn, &self.policy, behind_us, b"", &mut self.out, now));
        viewer.inline_sent(&self.out, self.out.len(), now);
        Player { viewer, body: self.out.clone() }
    }

    /// The socket takes up to `bytes`, or all there is.
    fn send(&mut self, player: &mut Player, mut bytes: usize) {
        let now = self.now();
        while bytes > 0 {
            let mut turn = self.reader.turn(player.viewer.cursor());
            match player.viewer.plan(&turn, &self.policy, true, &mut self.out, now) {
                Plan::Send { offset, len_max } => {
                    let pinned = turn.pin(offset, len_max);
                    drop(turn);
                    let n = pinned.len().min(bytes);
                    player.body.extend_from_slice(&pinned.as_slice()[..n]);
                    player.viewer.ring_done(&pinned, n, now);
                    self.reader.done(pinned);
                    bytes -= n;
                }
                Plan::Inline => {
                    player.body.extend_from_slice(&self.out);
                    player.viewer.inline_sent(&self.out, self.out.len(), now);
                }
                Plan::Park => return,
                plan @ (Plan::Wait | Plan::Until(_) | Plan::Close(_)) => panic!("{plan:?}"),
            }
        }
    }
}

/// Takes the stream apart and decodes everything, or passes the pieces on as they are.
#[derive(Clone, Copy)]
enum Depth {
    Decode,
    Copy,
}

/// None: there is no ffmpeg here. Else whether it succeeded, and what it said.
fn ffmpeg(body: &[u8], depth: Depth) -> Option<(bool, String)> {
    let codec: &[&str] = match depth {
        Depth::Decode => &[],
        Depth::Copy => &["-c", "copy"],
    };
    let child = Command::new("ffmpeg")
        .args(["-v", "warning", "-xerror", "-err_detect", "crccheck+bitstream+buffer+explode"])
        .args(["-i", "-"])
        .args(codec)
        .args(["-f", "null", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("no ffmpeg on the PATH: nothing was decoded");
            return None;
        }
        Err(error) => panic!("ffmpeg: {error}"),
    };
    // A decoder that gives up closes its end: its status says so.
    let _ = child.stdin.take().expect("piped").write_all(body);
    let output = child.wait_with_output().expect("ffmpeg ends");
    Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn plays(player: &Player, depth: Depth, what: &str) {
    let Some((success, said)) = ffmpeg(&player.body, depth) else {
        return;
    };
    assert!(success, "{what}: {said}");
}

#[test]
fn every_join_point_plays_from_its_first_byte() {
    let mut channel = Channel::new(6);
    channel.receive(Duration::from_secs(13));
    let mut players = Vec::new();
    for number in 0..10 {
        channel.receive(Duration::from_millis(730));
        let behind = Duration::from_millis(400 * number);
        let mut player = channel.join(behind);
        channel.send(&mut player, usize::MAX);
        players.push(player);
    }
    channel.receive_loop();
    for (number, player) in players.iter_mut().enumerate() {
        channel.send(player, usize::MAX);
        plays(player, Depth::Decode, &format!("join {number}"));
    }
}

/// A player whose socket stops where `stop` says, until the ring has overtaken it; twice.
fn skipped(channel: &mut Channel, mut stop: impl FnMut(&Channel, u64) -> u64) -> Player {
    channel.receive(Duration::from_millis(370));
    let mut player = channel.join(Duration::from_secs(3));
    for _ in 0..2 {
        channel.send(&mut player, PACKET_BYTES);
        let cursor = player.viewer.cursor().expect("started");
        let stop = stop(channel, cursor);
        channel.send(&mut player, (stop - cursor) as usize);
        while channel.writer.tail() <= stop {
            channel.receive(STEP);
        }
    }
    channel.receive_loop();
    channel.send(&mut player, usize::MAX);
    assert_eq!(player.viewer.skips(), 2);
    player
}

#[test]
fn a_skip_between_two_pictures_decodes_without_a_word() {
    let mut channel = Channel::new(3);
    channel.receive(Duration::from_secs(13));
    for number in 0..10 {
        // Within the table before a picture: its packet is mended, no picture is cut.
        let player = skipped(&mut channel, |channel, cursor| {
            let after = cursor + 20_000 + 5_000 * number;
            let tables = channel.pictures.iter().find(|offset| **offset > after);
            tables.expect("a picture later") + 100
        });
        plays(&player, Depth::Decode, &format!("skip {number}"));
    }
}

/// A picture that the skip cut is lost to any decoder; nothing else may be.
#[test]
fn a_skip_anywhere_is_a_whole_stream() {
    let mut channel = Channel::new(3);
    channel.receive(Duration::from_secs(13));
    for number in 0..10 {
        let player = skipped(&mut channel, |_, cursor| cursor + 41_000 + 3_577 * number);
        plays(&player, Depth::Copy, &format!("skip {number}"));
    }
}

#[test]
fn the_decoder_would_notice_a_skip_that_is_not_declared() {
    let mut channel = Channel::new(6);
    channel.receive(Duration::from_secs(13));
    let mut player = channel.join(Duration::from_secs(8));
    channel.receive_loop();
    channel.send(&mut player, usize::MAX);
    plays(&player, Depth::Decode, "before the hole");
    let packets = player.body.len() / PACKET_BYTES;
    let hole = packets / 3 * PACKET_BYTES..packets / 2 * PACKET_BYTES;
    player.body.drain(hole);
    for depth in [Depth::Decode, Depth::Copy] {
        assert!(ffmpeg(&player.body, depth).is_none_or(|(success, _)| !success));
    }
}
