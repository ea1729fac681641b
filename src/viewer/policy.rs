//! What a viewer is promised and what it may cost: the policy, the plan's vocabulary, and the
//! reasons for which a connection ends.
//!
//! Plain values, the same for every viewer of a process; the settings table fills them.

use std::time::Duration;

use crate::base::sizes::KIB;
use crate::base::sizes::PACKET_BYTES;
use crate::base::time::Instant;

/// How viewers are served. One per process; a reload replaces it whole.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Policy {
    pub join: JoinSeconds,
    /// Multiple of the stream's bitrate at which a viewer may catch up; zero or less: no cap.
    pub catchup_rate: f64,
    pub slow: SlowViewer,
    /// A peer that acknowledges nothing for so long, while bytes wait for it, is given up.
    pub send_stall: Duration,
    pub coalesce_bytes: u64,
    pub coalesce_after: Duration,
    pub send_bytes_max: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            join: JoinSeconds::Auto,
            catchup_rate: 4.0,
            slow: SlowViewer::Skip,
            send_stall: Duration::from_secs(20),
            // On loopback the knee is at 64-96 KiB; on a card 128 KiB still gains 10 % over 64.
            coalesce_bytes: 128 * KIB,
            // With a round of some 20 ms for a thousand viewers and an engine's pieces of 16 KiB, 99 of
            // 100 bytes at 8 Mbit/s are with the player 120 ms after they were emitted.
            coalesce_after: Duration::from_millis(90),
            send_bytes_max: 256 * KIB as usize,
        }
    }
}

impl Policy {
    /// The longest send, in whole packets and never less than one.
    pub(crate) const fn send_bytes(&self) -> u64 {
        let packets = self.send_bytes_max / PACKET_BYTES;
        (if packets == 0 { PACKET_BYTES } else { packets * PACKET_BYTES }) as u64
    }
}

/// How far behind live a viewer starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinSeconds {
    /// Three seconds, or twice the longest gap between engine reads when that is more: what the
    /// viewer's own buffer must bridge.
    Auto,
    Fixed(Duration),
}

impl JoinSeconds {
    /// `longest_read_gap` is that of the last 60 s, measured where the engine is read.
    pub fn us(self, longest_read_gap: Duration) -> u64 {
        let behind = match self {
            Self::Auto => (longest_read_gap * 2).max(Duration::from_secs(3)),
            Self::Fixed(behind) => behind,
        };
        u64::try_from(behind.as_micros()).unwrap_or(u64::MAX)
    }
}

/// What happens to a viewer whose next byte has left the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlowViewer {
    /// A declared, counted skip to a later random access point.
    Skip,
    Close,
}

/// What to do for a viewer now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Send ring bytes from here, up to so many, or as many as lie together. One at a time.
    Send { offset: u64, len_max: usize },
    /// The bytes to send were put into `out`.
    Inline,
    /// Nothing to do before the head moves, the tick or the viewer's deadline.
    Park,
    /// The socket has the word: a send is in flight, or a writable socket is awaited.
    Wait,
    /// The catch-up cap: plan again then.
    Until(Instant),
    /// Said once. Afterwards the plan is `Wait` for ever.
    Close(CloseReason),
}

/// Why a viewer's connection ended. The names are those of the log, the API and the metrics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CloseReason {
    Left,
    Slow,
    Stuck,
    Kicked,
    Drain,
    EngineGone,
    Unstable,
    Contended,
    TakenOver,
    ShardLost,
    Error,
}

impl CloseReason {
    pub const ALL: [Self; 11] = [
        Self::Left,
        Self::Slow,
        Self::Stuck,
        Self::Kicked,
        Self::Drain,
        Self::EngineGone,
        Self::Unstable,
        Self::Contended,
        Self::TakenOver,
        Self::ShardLost,
        Self::Error,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Slow => "slow",
            Self::Stuck => "stuck",
            Self::Kicked => "kicked",
            Self::Drain => "drain",
            Self::EngineGone => "engine_gone",
            Self::Unstable => "unstable",
            Self::Contended => "contended",
            Self::TakenOver => "taken_over",
            Self::ShardLost => "shard_lost",
            Self::Error => "error",
        }
    }

    /// Its place in [`Self::ALL`], for a table of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}
