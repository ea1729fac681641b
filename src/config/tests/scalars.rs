//! Durations, sizes and the edit distance.

use std::time::Duration;

use crate::config::nearest::nearest;
use crate::config::scalar;

#[test]
fn durations_as_people_write_them() {
    let ms = |text: &str| scalar::duration(text).map(|duration| duration.as_millis());
    assert_eq!(ms("90"), Some(90_000));
    assert_eq!(ms("1.5s"), Some(1_500));
    assert_eq!(ms("500ms"), Some(500));
    assert_eq!(ms(" 2 min "), Some(120_000));
    assert_eq!(ms("1h"), Some(3_600_000));
    for wrong in ["", "s", "-1", "1.2.3", "5x", "1e3", "inf", "99999999999999999999h", ".5", "1 2"]
    {
        assert_eq!(ms(wrong), None, "{wrong}");
    }
}

#[test]
fn sizes_as_people_write_them() {
    assert_eq!(scalar::size("64MiB"), Some(64 << 20));
    assert_eq!(scalar::size("2G"), Some(2 << 30));
    assert_eq!(scalar::size("1048576"), Some(1 << 20));
    assert_eq!(scalar::size("1.5 k"), Some(1_536));
    assert_eq!(scalar::size("10 MB"), Some(10_000_000));
    assert_eq!(scalar::rate("32 MB/s"), Some(32_000_000));
    assert_eq!(scalar::rate("1000"), Some(1_000));
    for wrong in ["MiB", "1 XB", "-5", "1G5", "99999999999999999999T"] {
        assert_eq!(scalar::size(wrong), None, "{wrong}");
    }
}

#[test]
fn what_is_shown_can_be_read_again() {
    for ms in [0, 1, 500, 1_500, 90_000, 3_600_000] {
        let duration = Duration::from_millis(ms);
        assert_eq!(scalar::duration(&scalar::seconds_text(duration)), Some(duration));
    }
    for bytes in [1, 1_000, 1 << 10, 3 << 20, 1_048_577, 5 << 40] {
        let (value, unit) = scalar::size_text(bytes);
        let unit = if unit == "bytes" { "" } else { unit };
        assert_eq!(scalar::size(&format!("{value}{unit}")), Some(bytes));
    }
}

#[test]
fn the_nearest_name() {
    let names = ["listen", "log", "log_level"];
    assert_eq!(nearest("lsiten", names), Some(("listen", 1)));
    assert_eq!(nearest("LOGLEVEL", names), Some(("log_level", 1)));
    assert_eq!(nearest("log", names), Some(("log", 0)));
    assert_eq!(nearest("x", []), None);
}
