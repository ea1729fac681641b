//! A player that goes on playing while a test does something else.

use super::Player;
use super::stopwatch;
use ace_emulator::Report;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) struct Watch {
    pub(crate) id: String,
    shared: Arc<Shared>,
    thread: JoinHandle<Player>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    bytes: AtomicU64,
    worst_gap_us: AtomicU64,
    /// The longest time without a packet of the stream itself.
    worst_quiet_us: AtomicU64,
    long_gaps: AtomicU64,
}

/// Longer than a piece and the wait for company of any channel here, and shorter than whatever is
/// waited for with a time-out.
const LONG_GAP: Duration = Duration::from_millis(400);

/// Waits until each has so many bytes more than now.
pub(crate) fn watch_together(watches: &[Watch], bytes: u64) {
    let until: Vec<_> = watches.iter().map(|watch| watch.bytes() + bytes).collect();
    watches.iter().zip(until).for_each(|(watch, until)| watch.await_until(until));
}

impl Watch {
    pub(crate) fn of(mut player: Player) -> Self {
        assert_eq!(player.status, 200, "{}", player.head);
        let id = player.id();
        let shared = Arc::new(Shared::default());
        let playing = shared.clone();
        let thread = std::thread::spawn(move || {
            let mut last = stopwatch();
            let mut played = (player.report().source_packets, last);
            while !playing.over.load(Ordering::Acquire) {
                let n = player.step().expect("the stream goes on");
                if n == 0 {
                    break;
                }
                let now = stopwatch();
                let gap = now.duration_since(last);
                last = now;
                let gap_us = u64::try_from(gap.as_micros()).unwrap();
                playing.worst_gap_us.fetch_max(gap_us, Ordering::AcqRel);
                playing.long_gaps.fetch_add(u64::from(gap > LONG_GAP), Ordering::AcqRel);
                let packets = player.report().source_packets;
                if packets > played.0 {
                    let quiet_us = now.duration_since(played.1).as_micros();
                    let quiet_us = u64::try_from(quiet_us).unwrap();
                    playing.worst_quiet_us.fetch_max(quiet_us, Ordering::AcqRel);
                    played = (packets, now);
                }
                playing.bytes.fetch_add(n as u64, Ordering::AcqRel);
            }
            player
        });
        Self { id, shared, thread }
    }

    /// The longest time without a byte since the last [`Watch::forget`].
    pub(crate) fn worst_gap(&self) -> Duration {
        Duration::from_micros(self.shared.worst_gap_us.load(Ordering::Acquire))
    }

    /// The longest time without a packet of the stream, null packets left out, since the last
    /// [`Watch::forget`].
    pub(crate) fn worst_quiet(&self) -> Duration {
        Duration::from_micros(self.shared.worst_quiet_us.load(Ordering::Acquire))
    }

    /// How many times it waited for [`LONG_GAP`] and more.
    pub(crate) fn long_gaps(&self) -> u64 {
        self.shared.long_gaps.load(Ordering::Acquire)
    }

    pub(crate) fn forget(&self) {
        self.shared.worst_gap_us.store(0, Ordering::Release);
        self.shared.worst_quiet_us.store(0, Ordering::Release);
        self.shared.long_gaps.store(0, Ordering::Release);
    }

    /// Waits until so many bytes more have come.
    pub(crate) fn await_more(&self, bytes: u64) {
        self.await_until(self.bytes() + bytes);
    }

    fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Acquire)
    }

    fn await_until(&self, bytes: u64) {
        super::eventually("the stream to go on", || (self.bytes() >= bytes).then_some(()));
    }

    /// The server closed it.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Takes the player back, at a byte of its choice.
    pub(crate) fn end(self) -> Player {
        self.shared.over.store(true, Ordering::Release);
        self.thread.join().expect("it played")
    }

    /// Leaves, having seen every byte.
    pub(crate) fn leave_unbroken(self) -> Report {
        let player = self.end();
        let report = player.report();
        assert!(report.is_unbroken(), "{report:?}");
        player.leave();
        report
    }
}
