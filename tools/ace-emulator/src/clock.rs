//! The emulator's clock: wall time in microseconds, and the one place that sleeps.
//!
//! An engine paces its media by wall clock, and several emulators of one broadcast agree on their
//! bytes because they agree on the time of day. Nothing else in this crate asks the system for time.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// Microseconds since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the emulator paces by wall clock; this is its one clock"
)]
pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Sleeps where an engine is slow: in its accept loop and between attempts to bind a port again.
#[expect(clippy::disallowed_methods, reason = "a slow engine is slow by sleeping")]
pub(crate) fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// A time as HTTP writes it: `Sat, 28 Jan 2023 15:04:06 GMT`.
pub(crate) fn http_date(unix_us: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = unix_us / 1_000_000;
    let days = seconds / 86_400;
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    // Civil date from a day count, by eras of 400 years that begin on 1 March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 2 } else { month_from_march - 10 };
    let year = year_of_era + era * 400 + u64::from(month < 2);
    format!(
        "{}, {day:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_like_http() {
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(1_674_918_246_000_000), "Sat, 28 Jan 2023 15:04:06 GMT");
        assert_eq!(http_date(1_709_164_800_000_000), "Thu, 29 Feb 2024 00:00:00 GMT");
    }
}
