//! URLs, and what a server may answer.

use std::io::Read;
use std::net::TcpListener;

use super::*;
use crate::app::doctor::Level;

/// Takes one connection; the answer goes out when the request ends in PING.
fn server(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"PING\r\n") {
            let mut bytes = [0; 512];
            let count = stream.read(&mut bytes).unwrap();
            request.extend_from_slice(&bytes[..count]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (format!("127.0.0.1:{port}"), served)
}

fn check_url(url: &str) -> Finding {
    check(Some(&Secret::new(url))).unwrap()
}

#[test]
fn urls() {
    let place = Place::parse("redis://u%40x:p:w@h:6380/3").unwrap();
    assert_eq!((place.host.as_str(), place.port), ("h", 6380));
    assert_eq!((place.user.as_str(), place.password.as_str()), ("u@x", "p:w"));
    assert_eq!(Place::parse("redis://[::1]").unwrap().port, 6379);
    assert_eq!(Place::parse("redis://h:80").unwrap().port, 80);
    assert_eq!(Place::parse("rediss://h"), None);
}

#[test]
fn a_server_that_answers() {
    let (place, served) = server("+PONG\r\n");
    assert_eq!(check_url(&format!("redis://{place}")).level, Level::Ok);
    assert_eq!(served.join().unwrap(), "*1\r\n$4\r\nPING\r\n");
}

#[test]
fn a_password_is_sent_and_its_error_told() {
    let (place, served) = server("-WRONGPASS invalid\r\n-NOAUTH required\r\n");
    let found = check_url(&format!("redis://:secret@{place}"));
    assert_eq!(found.level, Level::Warn);
    assert!(found.found.ends_with("WRONGPASS invalid"), "{found:?}");
    assert!(!format!("{found:?}").contains("secret"));
    assert!(served.join().unwrap().starts_with("*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n"));
}

#[test]
fn something_else_that_answers() {
    let (place, served) = server("HTTP/1.1 400 Bad Request\r\n");
    let found = check_url(&format!("redis://{place}"));
    assert!(found.found.ends_with("what answers there is no Redis"), "{found:?}");
    served.join().unwrap();
}

#[test]
fn nothing_configured_and_nothing_asked() {
    assert_eq!(check(None), None);
    assert_eq!(check_url("rediss://h").level, Level::Ok);
}
