//! Texts and addresses from outside, made fit for logs, the API and Redis.
//!
//! Invariants: what [`clean`] returns is at most 256 bytes and holds no control character, so it
//! can neither break a log line nor steer a terminal.

use std::borrow::Cow;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// User-Agents, names and engine texts are cut to this.
pub const TEXT_BYTES_MAX: usize = 256;

/// At most 256 bytes, ended on a character; control characters, and those that turn the writing
/// direction, are escaped.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.len() <= TEXT_BYTES_MAX && !text.chars().any(is_unfit) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(TEXT_BYTES_MAX);
    let mut escaped = String::new();
    for character in text.chars() {
        escaped.clear();
        if is_unfit(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
        if out.len() + escaped.len() > TEXT_BYTES_MAX {
            break;
        }
        out.push_str(&escaped);
    }
    Cow::Owned(out)
}

fn is_unfit(character: char) -> bool {
    let bidi = matches!(character,
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || bidi
}

/// How much of a viewer's address is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AddressMode {
    #[default]
    Full,
    /// The network only: /24 of IPv4, /48 of IPv6.
    Masked,
    Off,
}

/// The address as it may be shown; `None` when it may not.
pub fn address(ip: IpAddr, mode: AddressMode) -> Option<String> {
    match (mode, ip.to_canonical()) {
        (AddressMode::Full, ip) => Some(ip.to_string()),
        (AddressMode::Masked, IpAddr::V4(ip)) => {
            Some(format!("{}/24", Ipv4Addr::from(u32::from(ip) & (u32::MAX << 8))))
        }
        (AddressMode::Masked, IpAddr::V6(ip)) => {
            Some(format!("{}/48", Ipv6Addr::from(u128::from(ip) & (u128::MAX << 80))))
        }
        (AddressMode::Off, _) => None,
    }
}
