//! Ids are exact: nothing but forty hex digits is one.

use super::Infohash;
use super::place;

#[test]
fn an_infohash_is_forty_hex_digits_in_any_case() {
    let text = "0123456789abcdefABCDEF0123456789abcdef01";
    let id = Infohash::parse(text.as_bytes()).unwrap();
    assert_eq!(id.to_string(), text.to_lowercase());
    assert!(Infohash::parse(&text.as_bytes()[1..]).is_none());
    assert!(Infohash::parse(text.replace('0', "g").as_bytes()).is_none());
    assert!(Infohash::parse(b"").is_none());
}

#[test]
fn placing_is_stable_and_uses_every_shard() {
    let mut seen = [0_u32; 4];
    for n in 0_u32..4_000 {
        let key = n.to_be_bytes();
        assert_eq!(place(&key, 4), place(&key, 4));
        seen[usize::from(place(&key, 4).0)] += 1;
    }
    assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
}
