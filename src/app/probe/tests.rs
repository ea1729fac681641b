//! URLs, and answers of every framing from a server of one connection.

use std::net::TcpListener;
use std::thread;

use super::*;

/// Answers once with these bytes, then closes. The request comes back.
fn server(answer: &'static [u8]) -> (HttpUrl, thread::JoinHandle<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut bytes = [0; 512];
            let count = stream.read(&mut bytes).unwrap();
            request.extend_from_slice(&bytes[..count]);
        }
        stream.write_all(answer).unwrap();
        String::from_utf8(request).unwrap()
    });
    (HttpUrl { host: "127.0.0.1".to_owned(), port, path: "/readyz".to_owned() }, served)
}

#[test]
fn urls() {
    let text = |url: &str| HttpUrl::parse(url).map(|url| url.to_string());
    assert_eq!(text("http://a").as_deref(), Some("http://a:80/"));
    assert_eq!(text("http://a:81/x?y=1").as_deref(), Some("http://a:81/x?y=1"));
    assert_eq!(text("http://[::1]:9/").as_deref(), Some("http://[::1]:9/"));
    assert_eq!(text("http://a?x").as_deref(), Some("http://a:80/?x"));
    for wrong in
        ["a", "https://a", "http://", "http://a:0", "http://a:x", "http://a b", "http://[::1"]
    {
        assert_eq!(text(wrong), None, "{wrong}");
    }
}

#[test]
fn bodies_of_every_framing() {
    for answer in [
        &b"HTTP/1.0 200 OK\r\n\r\nready"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready and more",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nre\r\n3\r\nady\r\n0\r\n\r\n",
    ] {
        let (url, served) = server(answer);
        assert_eq!(get(&url).unwrap(), Reply { status: 200, body: b"ready".to_vec() });
        let request = served.join().unwrap();
        assert!(request.starts_with("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
    }
}

#[test]
fn answers_that_are_none() {
    for answer in [
        &b""[..],
        b"HTTP/1.1 200",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
    ] {
        let (url, served) = server(answer);
        assert!(get(&url).is_err());
        served.join().unwrap();
    }
}

#[test]
fn nobody_there() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = HttpUrl { host: "127.0.0.1".to_owned(), port, path: "/".to_owned() };
    assert_eq!(get(&url), Err("connection refused".to_owned()));
    let named = HttpUrl { host: "localhost".to_owned(), ..url };
    assert!(get(&named).unwrap_err().ends_with(&format!(":{port}: connection refused")));
}
