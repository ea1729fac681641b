//! What a seed makes of the world: sizes, settings, and which faults there are.

use std::time::Duration;

use ringcast::base::ids::Infohash;
use ringcast::base::ids::Target;
use ringcast::base::prng::Prng;
use ringcast::base::sizes::PACKET_BYTES;
use ringcast::stream::Settings;

use crate::media::PIECE_FRAMES_MAX;

/// Probabilities in thousandths of the moment that they are about.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    pub(crate) open_silent: u64,
    pub(crate) open_refused: u64,
    pub(crate) open_engine_error: u64,
    pub(crate) open_content_error: u64,
    pub(crate) open_newer_download: u64,
    /// The reply takes seconds.
    pub(crate) open_late: u64,
    /// Reported as failed, and succeeds afterwards.
    pub(crate) open_contradiction: u64,
    pub play_500: u64,
    pub play_403: u64,
    pub(crate) play_two_heads: u64,
    pub(crate) play_never: u64,
    pub(crate) body_cut: u64,
    pub(crate) body_stall: u64,
    pub(crate) body_paused: u64,
    pub(crate) stat_hangs: u64,
    pub(crate) stop_hangs: u64,
    pub(crate) stop_never_answered: u64,
    pub(crate) query_fails: u64,
    /// Any answer of an engine comes a second time.
    pub(crate) duplicate: u64,
    /// Of each second, for each stream: an operator moves it.
    pub(crate) moved: u64,
    /// Of each second, for each stream: an operator wants it for a while.
    pub(crate) warmed: u64,
    /// Of each second, for each engine: it is drained for a while.
    pub(crate) engine_drained: u64,
    /// A shard is not woken for what came.
    pub(crate) bell_lost: u64,
    /// A message waits with its sender.
    pub(crate) mailbox_full: u64,
    /// No slab is to be had for a read.
    pub(crate) arena_full: u64,
    /// A session's packets are not those of the others.
    pub(crate) other_make: u64,
    /// Of each second, for each engine.
    pub(crate) engine_restarts: u64,
    /// Of each second, for each stream.
    pub(crate) taken_over: u64,
    pub(crate) kicked: u64,
    /// A viewer, while the shards are asked whether the stream may end.
    pub(crate) comes_in_between: u64,
    /// Of each operation on a viewer's socket: it takes nothing for a while.
    pub(crate) socket_blocks: u64,
    /// While another stream's claim is being answered.
    pub(crate) kicked_in_between: u64,
    /// Of each second, for each shard; in calm worlds too.
    pub(crate) shard_lost: u64,
    /// Redis says something else of a stream's lease.
    pub(crate) lease_changed: u64,
}

impl Faults {
    fn draw(prng: &mut Prng) -> Self {
        // Off in half of the worlds, and in a fifth of the worlds everything is.
        let calm = prng.chance(200);
        let mut often = |in_thousand: u64| {
            let is_off = prng.chance(500) || calm;
            let much = 1 + prng.below(in_thousand);
            if is_off { 0 } else { much }
        };
        let told = Self {
            open_silent: often(200),
            open_refused: often(300),
            open_engine_error: often(200),
            open_content_error: often(200),
            open_newer_download: often(200),
            open_late: often(500),
            open_contradiction: often(300),
            play_500: often(600),
            play_403: often(200),
            play_two_heads: often(300),
            play_never: often(200),
            body_cut: often(30),
            body_stall: often(20),
            body_paused: often(20),
            stat_hangs: often(300),
            stop_hangs: often(500),
            stop_never_answered: often(200),
            query_fails: often(999),
            duplicate: often(300),
            moved: 0,
            warmed: often(10),
            engine_drained: 0,
            bell_lost: often(300),
            mailbox_full: often(30),
            arena_full: often(20),
            other_make: often(600),
            engine_restarts: often(20),
            taken_over: often(10),
            kicked: often(5),
            comes_in_between: often(500),
            socket_blocks: often(150),
            kicked_in_between: often(300),
            shard_lost: 0,
            lease_changed: often(100),
        };
        // What no engine is at fault for is there in calm worlds too.
        let mut seldom = |in_thousand: u64| {
            let much = 1 + prng.below(in_thousand);
            if prng.chance(600) { 0 } else { much }
        };
        let (moved, engine_drained, shard_lost) = (seldom(60), seldom(20), seldom(20));
        Self { moved, engine_drained, shard_lost, ..told }
    }
}

impl Faults {
    /// What keeps a session from being opened, or from giving bytes.
    fn of_sessions(&self) -> u64 {
        self.open_silent
            + self.open_refused
            + self.open_engine_error
            + self.open_content_error
            + self.open_newer_download
            + self.open_late
            + self.play_500
            + self.play_403
            + self.play_two_heads
            + self.play_never
            + self.body_cut
            + self.body_stall
            + self.body_paused
            + self.arena_full
            + self.engine_restarts
            + self.taken_over
    }
}

pub(crate) struct Channel {
    pub(crate) infohash: Infohash,
    /// Content ids that lead to it.
    pub(crate) ids: Vec<Infohash>,
    /// No peers: never a byte.
    pub(crate) is_dead: bool,
    pub(crate) is_vod: bool,
    /// From the open to the first byte.
    pub(crate) warm_up: Duration,
}

pub(crate) struct Plan {
    pub(crate) faults: Faults,
    pub(crate) settings: Settings,
    pub(crate) shards: usize,
    pub(crate) engines: usize,
    pub(crate) streams_per_engine_max: u32,
    pub(crate) channels: Vec<Channel>,
    pub(crate) people: usize,
    /// After it nobody comes any more, and everybody leaves.
    pub(crate) horizon: Duration,
    pub(crate) drains: bool,
    /// There is a Redis, and with it other nodes that keep to the rules of a contest.
    pub(crate) has_redis: bool,
    pub(crate) mail_delay_us_max: u64,
    /// Of each frame: the bitrate.
    pub(crate) video_packets: u64,
}

impl Plan {
    pub(crate) fn draw(prng: &mut Prng) -> Self {
        let faults = Faults::draw(prng);
        let settings = Settings {
            start_timeout: Duration::from_secs(10 + prng.below(50)),
            stall_timeout: Duration::from_secs(5 + prng.below(15)),
            outage_timeout: Duration::from_secs(10 + prng.below(80)),
            init_timeout: Duration::from_secs(5 + prng.below(25)),
            grace_period: Duration::from_millis(500 + prng.below(8_000)),
            hedge_after: prng.chance(400).then(|| Duration::from_secs(1 + prng.below(8))),
        };
        let channels = (0..1 + prng.below(4)).map(|n| Channel::draw(n as u8, prng)).collect();
        Self {
            faults,
            settings,
            shards: 1 + prng.below(4) as usize,
            engines: [1, 2, 2, 3][prng.below(4) as usize],
            streams_per_engine_max: if prng.chance(300) { 1 + prng.below(2) as u32 } else { 0 },
            channels,
            people: 3 + prng.below(25) as usize,
            horizon: Duration::from_secs(30 + prng.below(120)),
            drains: prng.chance(200),
            has_redis: prng.chance(500),
            mail_delay_us_max: 1 + prng.below(100_000),
            // In some worlds the ring holds seconds, and whoever waits is overtaken.
            video_packets: if prng.chance(200) { 60 } else { 2 },
        }
    }

    /// No fault, a limit that cannot bite: whoever waits is served.
    pub(crate) fn is_kind(&self) -> bool {
        let faults = &self.faults;
        let any = faults.of_sessions()
            + faults.stat_hangs
            + faults.stop_hangs
            + faults.stop_never_answered
            + faults.query_fails
            + faults.mailbox_full
            + faults.engine_drained
            + faults.kicked
            + faults.kicked_in_between;
        any == 0 && self.streams_per_engine_max == 0
    }

    /// Nothing but the pool keeps a stream of this channel from another engine.
    pub(crate) fn can_leave(&self, channel: &Channel) -> bool {
        let has_time = channel.warm_up + Duration::from_secs(6) < self.settings.start_timeout;
        self.faults.of_sessions() == 0 && has_time && self.streams_per_engine_max == 0
    }

    /// Of a piece, so that room for it can be asked for before it is read.
    pub(crate) fn piece_bytes_max(&self) -> usize {
        (self.video_packets as usize + 2) * PACKET_BYTES * PIECE_FRAMES_MAX as usize
    }

    /// What a person asks for: a channel by its infohash, by a content id, or by a value that
    /// nobody knows.
    pub(crate) fn target(&self, prng: &mut Prng) -> (Option<usize>, Target) {
        let channel = prng.below(self.channels.len() as u64) as usize;
        let known = &self.channels[channel];
        let target = match prng.below(10) {
            0..4 => Target::Infohash(known.infohash),
            4 => Target::Id(known.infohash),
            _ => Target::Id(known.ids[prng.below(known.ids.len() as u64) as usize]),
        };
        (Some(channel), target)
    }
}

impl Channel {
    fn draw(number: u8, prng: &mut Prng) -> Self {
        let warm_up_ms_max = if prng.chance(500) { 50 } else { 20_000 };
        let ids = (0..1 + prng.below(2)).map(|n| name(0xC0 + number, n as u8)).collect();
        Self {
            infohash: name(number + 1, 0),
            ids,
            is_dead: prng.chance(100),
            is_vod: prng.chance(50),
            warm_up: Duration::from_millis(prng.below(warm_up_ms_max)),
        }
    }
}

fn name(kind: u8, number: u8) -> Infohash {
    let mut bytes = [kind; 20];
    bytes[19] = number;
    Infohash::from_bytes(bytes)
}
