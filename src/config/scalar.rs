//! Durations, sizes, numbers and switches as people write them, and back.
//!
//! `90`, `1.5s`, `500ms`, `2m` are durations; `64MiB`, `2G`, `32 MB/s` are sizes: K, M, G, T and
//! KiB… count in 1 024, KB… in 1 000.

use std::time::Duration;

use crate::base::sizes::GIB;
use crate::base::sizes::KIB;
use crate::base::sizes::MIB;

const TIB: u64 = GIB << 10;

/// A bare number is seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let unit_ms = match unit.to_ascii_lowercase().as_str() {
        "" | "s" => 1_000.0,
        "ms" => 1.0,
        "m" | "min" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return None,
    };
    let ms = number * unit_ms;
    // A century: everything beyond it is out of every range, and must not overflow a float.
    (ms <= 3.2e12).then(|| Duration::from_millis(ms.round() as u64))
}

/// A bare number is bytes.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let unit_bytes = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => KIB,
        "m" | "mib" => MIB,
        "g" | "gib" => GIB,
        "t" | "tib" => TIB,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    let bytes = number * unit_bytes as f64;
    (bytes <= 9e18).then_some(bytes.round() as u64)
}

/// A size with or without `/s`.
pub fn rate(text: &str) -> Option<u64> {
    size(text.trim_end().strip_suffix("/s").unwrap_or(text))
}

/// A plain decimal number, finite and not negative.
pub fn number(text: &str) -> Option<f64> {
    match split_unit(text)? {
        (number, "") => Some(number),
        _ => None,
    }
}

/// Digits only.
pub fn count(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

pub fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// `1.5s` is 1.5 and `s`. No sign, no exponent, no "inf": only what a person types.
fn split_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if !digits.starts_with(|first: char| first.is_ascii_digit()) || digits.len() > 20 {
        return None;
    }
    Some((digits.parse().ok()?, unit.trim()))
}

/// The number of seconds, without zeros at the end.
pub fn seconds_text(duration: Duration) -> String {
    trimmed(duration.as_millis() as u64, 1_000)
}

/// The largest binary unit that divides the size, else bytes.
pub fn size_text(bytes: u64) -> (String, &'static str) {
    for (unit_bytes, unit) in [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")] {
        if bytes != 0 && bytes.is_multiple_of(unit_bytes) {
            return ((bytes / unit_bytes).to_string(), unit);
        }
    }
    (bytes.to_string(), "bytes")
}

/// Rates are counted in thousands, as networks are.
pub fn rate_text(bytes: u64) -> (String, &'static str) {
    if bytes != 0 && bytes.is_multiple_of(1_000_000) {
        return ((bytes / 1_000_000).to_string(), "MB/s");
    }
    (bytes.to_string(), "bytes/s")
}

fn trimmed(thousandths: u64, unit: u64) -> String {
    let whole = thousandths / unit;
    match thousandths % unit {
        0 => whole.to_string(),
        rest => format!("{whole}.{rest:03}").trim_end_matches('0').to_owned(),
    }
}
