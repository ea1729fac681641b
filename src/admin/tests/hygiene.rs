//! Texts and addresses from outside.

use crate::admin::hygiene::AddressMode;
use crate::admin::hygiene::TEXT_BYTES_MAX;
use crate::admin::hygiene::address;
use crate::admin::hygiene::clean;

#[test]
fn good_text_is_left_alone() {
    assert!(matches!(clean("VLC/3.0.21 – é"), std::borrow::Cow::Borrowed("VLC/3.0.21 – é")));
}

#[test]
fn control_and_direction_characters_are_escaped() {
    assert_eq!(clean("a\r\nb\u{1b}[2J\u{0}"), "a\\r\\nb\\u{1b}[2J\\u{0}");
    assert_eq!(clean("\u{202e}exe\u{9b}"), "\\u{202e}exe\\u{9b}");
}

#[test]
fn text_is_cut_on_a_character() {
    let cut = clean(&"é".repeat(200)).into_owned();
    assert_eq!(cut, "é".repeat(128));
    let odd = clean(&format!("x{}", "é".repeat(200))).into_owned();
    assert_eq!(odd.len(), TEXT_BYTES_MAX - 1);
    // An escape is never cut in half.
    let escapes = clean(&"\n".repeat(400)).into_owned();
    assert_eq!(escapes, "\\n".repeat(128));
    assert!(clean(&format!("{}\u{1b}", "x".repeat(255))).len() <= TEXT_BYTES_MAX);
}

#[test]
fn addresses_are_shown_as_much_as_is_allowed() {
    let show = |text: &str, mode| address(text.parse().unwrap(), mode);
    assert_eq!(show("192.0.2.77", AddressMode::Full).as_deref(), Some("192.0.2.77"));
    assert_eq!(show("::ffff:192.0.2.77", AddressMode::Full).as_deref(), Some("192.0.2.77"));
    assert_eq!(show("192.0.2.77", AddressMode::Masked).as_deref(), Some("192.0.2.0/24"));
    assert_eq!(show("::ffff:192.0.2.77", AddressMode::Masked).as_deref(), Some("192.0.2.0/24"));
    assert_eq!(show("2001:db8:1:2::3", AddressMode::Masked).as_deref(), Some("2001:db8:1::/48"));
    assert_eq!(show("192.0.2.77", AddressMode::Off), None);
}
