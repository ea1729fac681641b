//! What is said of each trouble; a real Redis is asked in the whole-program tests.

use std::net::TcpListener;

use super::*;
use crate::app::doctor::Level;

#[test]
fn each_trouble_has_its_fix() {
    let of = |trouble| finding("h:6379", Err(trouble), "tv");
    let why = || "NOPERM x".to_owned();
    let rights = of(Trouble::Rights(why()));
    assert!(rights.fix.contains("~tv:* &tv:* +@read"), "{rights:?}");
    assert!(of(Trouble::Login(why())).fix.contains("password"));
    assert!(of(Trouble::Refused(why())).fix.contains("maxmemory"));
    assert!(of(Trouble::Silent(why())).fix.contains("start Redis"));
    let ok = finding("h:6379", Ok("7.0.15".to_owned()), "tv");
    assert_eq!((ok.level, ok.found.as_str()), (Level::Ok, "h:6379: answers (7.0.15)"));
}

#[test]
fn nothing_that_listens_is_a_warning_without_the_password() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = Secret::new(format!("redis://:secret@127.0.0.1:{port}"));
    let found = check(Some(&url), "tv").unwrap();
    assert_eq!(found.level, Level::Warn);
    assert!(found.found.starts_with(&format!("127.0.0.1:{port}: ")), "{found:?}");
    assert!(!format!("{found:?}").contains("secret"));
}

#[test]
fn nothing_configured_is_nothing_found() {
    assert_eq!(check(None, "tv"), None);
}
