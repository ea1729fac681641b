//! A machine that stands still: a host that is short of cores stops everything for seconds now and
//! then, which no ring of two seconds bridges and no promise in milliseconds survives.
//!
//! Nothing is forgiven here. What failed while the machine stood still is asked again, on a server
//! of its own; what fails on a machine that runs has failed.

use super::say;
use std::sync::Once;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// Between two looks of the watcher.
const LOOK: Duration = Duration::from_millis(20);

/// A look that comes so much too late: something else had the cores.
const LATE_MIN: Duration = Duration::from_millis(80);

/// In all, while a test ran: less than this breaks no test.
const STILL_MIN: Duration = Duration::from_millis(250);

const TRIES: usize = 3;

static STILL_US: AtomicU64 = AtomicU64::new(0);

/// How long this process has not been let run, all told, since it was asked for the first time.
fn stood_still() -> Duration {
    static WATCHER: Once = Once::new();
    WATCHER.call_once(|| drop(std::thread::spawn(watch)));
    Duration::from_micros(STILL_US.load(Ordering::Acquire))
}

#[expect(clippy::disallowed_methods, reason = "how late a sleep ends is what is measured")]
fn watch() {
    loop {
        let begun = Instant::now();
        std::thread::sleep(LOOK);
        let late = begun.elapsed().saturating_sub(LOOK);
        if late >= LATE_MIN {
            STILL_US.fetch_add(u64::try_from(late.as_micros()).unwrap(), Ordering::AcqRel);
        }
    }
}

/// Runs a test that holds on a machine that runs: with a ring of two seconds, or a bound in
/// milliseconds. A failure counts unless the machine stood still meanwhile.
pub(crate) fn steadily(test: impl Fn()) {
    for tries_left in (0..TRIES).rev() {
        let before = stood_still();
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&test));
        let Err(why) = tried else { return };
        // The watcher wakes from the same standstill, and says so in a moment.
        super::throughout(LOOK + LATE_MIN, || true);
        let still = stood_still() - before;
        if tries_left == 0 || still < STILL_MIN {
            std::panic::resume_unwind(why);
        }
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        say(&format!("{name}: once more, the machine stood still for {still:?}"));
    }
}
