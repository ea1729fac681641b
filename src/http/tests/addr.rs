//! Address lists, their edges, and mapped addresses.

use std::net::IpAddr;

use proptest::prelude::*;

use crate::http::addr::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn networks_contain_their_addresses() {
    let table: &[(&str, &str, bool)] = &[
        ("10.0.0.0/8", "10.255.255.255", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("10.1.2.3/8", "10.200.0.1", true),
        ("192.168.1.7", "192.168.1.7", true),
        ("192.168.1.7", "192.168.1.8", false),
        ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "::1", false),
        ("::/0", "2001:db8::1", true),
        ("::/0", "10.0.0.1", false),
        ("fd00::/8", "fdff::1", true),
        ("fd00::/8", "fe00::1", false),
        ("[::1]", "::1", true),
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "::ffff:11.1.2.3", false),
    ];
    for (network, address, expected) in table {
        let network: Cidr = network.parse().unwrap();
        assert_eq!(network.contains(ip(address)), *expected, "{network} {address}");
    }
}

#[test]
fn what_is_no_network_says_so() {
    let table = [
        "",
        "a",
        "10.0.0",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/x",
        "10.0.0.0/999",
    ];
    for text in table {
        assert_eq!(text.parse::<Cidr>(), Err(BadCidr::Syntax(text.to_owned())), "{text}");
    }
    for (text, max) in [("10.0.0.0/33", 32), ("::/129", 128)] {
        assert_eq!(text.parse::<Cidr>(), Err(BadCidr::Prefix { text: text.to_owned(), max }));
    }
    assert_eq!(CidrList::parse(&"::1,".repeat(1025)), Err(BadCidr::TooMany));
}

#[test]
fn lists() {
    let list = CidrList::parse(" 10.0.0.0/8, ::1\tfd00::/8 ").unwrap();
    assert_eq!((list.len(), list.to_string().as_str()), (3, "10.0.0.0/8,::1/128,fd00::/8"));
    assert!(list.contains(ip("::ffff:10.0.0.1")) && !list.contains(ip("192.168.0.1")));
    assert!(CidrList::parse("").unwrap().is_empty());
    assert!(!CidrList::EMPTY.contains(ip("::1")));
}

#[test]
fn allow_is_private_unless_said() {
    let private = AllowList::default();
    let yes = [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.9.9",
        "169.254.1.1",
        "fe80::1",
        "fd12::1",
        "fc00::1",
        "100.64.0.1",
        "100.127.255.255",
        "::ffff:192.168.0.1",
    ];
    let no = [
        "172.15.0.1",
        "172.32.0.1",
        "100.63.255.255",
        "100.128.0.0",
        "8.8.8.8",
        "2001:db8::1",
        "::ffff:8.8.8.8",
        "0.0.0.0",
        "::",
    ];
    assert!(yes.iter().all(|address| private.allows(ip(address))));
    for address in no {
        assert!(!private.allows(ip(address)), "{address}");
        assert!("any".parse::<AllowList>().unwrap().allows(ip(address)));
    }
    assert_eq!(" Private ".parse(), Ok(AllowList::Private));
    let list: AllowList = "203.0.113.0/24".parse().unwrap();
    assert!(list.allows(ip("203.0.113.9")) && !list.allows(ip("127.0.0.1")));
    assert!("".parse::<AllowList>().is_err() && "privat".parse::<AllowList>().is_err());
}

#[test]
fn limits_count_a_household_as_one() {
    assert_eq!(limit_key(ip("::ffff:1.2.3.4")), ip("1.2.3.4"));
    assert_eq!(limit_key(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
}

proptest! {
    #[test]
    fn printed_networks_are_read_again(bits in any::<u128>(), prefix in 0u8..=128) {
        let network: Cidr = format!("{}/{prefix}", IpAddr::V6(bits.into())).parse().unwrap();
        prop_assert_eq!(network.to_string().parse(), Ok(network));
        prop_assert!(network.contains(IpAddr::V6(bits.into())));
        let v4 = IpAddr::V4((bits as u32).into());
        let network: Cidr = format!("{v4}/{}", prefix % 33).parse().unwrap();
        prop_assert!(network.contains(v4));
    }

    #[test]
    fn no_text_panics(text in "[0-9a-f.:/,\\[\\] ]{0,40}") {
        let _ = text.parse::<AllowList>();
    }
}
