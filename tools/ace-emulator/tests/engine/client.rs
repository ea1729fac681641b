//! A small HTTP client that shows bytes as they came.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use serde_json::Value as Json;

pub(crate) const INFOHASH: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba98";
pub(crate) const CONTENT_ID: &str = "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
    /// Nothing came for the client's patience.
    Silence,
    /// The terminal chunk, whatever the socket does afterwards.
    LastChunk,
}

/// Two signed channels, quick.
pub(crate) fn config() -> Config {
    let first = Channel::signed(INFOHASH).content_id(CONTENT_ID).bitrate_bps(4_000_000);
    Config::default().channel(first).channel(Channel::signed(OTHER))
}

pub(crate) fn emulator() -> Emulator {
    Emulator::start(config()).unwrap()
}

pub(crate) fn connect(addr: SocketAddr, patience_ms: u64) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(patience_ms))).unwrap();
    stream
}

pub(crate) fn ask(addr: SocketAddr, request: &str, patience_ms: u64) -> (Vec<u8>, End) {
    let mut stream = connect(addr, patience_ms);
    stream.write_all(request.as_bytes()).unwrap();
    read_to_end(&mut stream)
}

pub(crate) fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 65_536];
    let deadline_us = ace_emulator::now_us() + 10_000_000;
    loop {
        assert!(ace_emulator::now_us() < deadline_us, "the reply goes on");
        match stream.read(&mut buffer) {
            Ok(0) => return (bytes, End::Fin),
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (bytes, End::Silence),
            Err(_) => return (bytes, End::Reset),
        }
    }
}

pub(crate) fn get_request(addr: SocketAddr, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")
}

pub(crate) fn get(addr: SocketAddr, target: &str) -> String {
    let (bytes, end) = ask(addr, &get_request(addr, target), 5_000);
    assert_eq!(end, End::Fin, "{target}");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How a request ends that may never be answered.
pub(crate) fn outcome(addr: SocketAddr, target: &str) -> (String, End) {
    let (bytes, end) = ask(addr, &get_request(addr, target), 150);
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

pub(crate) fn post(addr: SocketAddr, target: &str, body: &str) -> String {
    let length = body.len();
    let request =
        format!("POST {target} HTTP/1.1\r\nHost: {addr}\r\nContent-Length: {length}\r\n\r\n{body}");
    String::from_utf8_lossy(&ask(addr, &request, 5_000).0).into_owned()
}

pub(crate) fn body_of(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").unwrap().1
}

pub(crate) fn json_of(reply: &str) -> Json {
    serde_json::from_str(body_of(reply)).unwrap()
}

pub(crate) fn status_of(reply: &str) -> &str {
    reply.split(' ').nth(1).unwrap()
}

pub(crate) fn header_of<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    let head = reply.split("\r\n\r\n").next().unwrap();
    let mut pairs = head.lines().filter_map(|line| line.split_once(": "));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A session by JSON; gives the response object.
pub(crate) fn open(addr: SocketAddr, infohash: &str, pid: &str) -> Json {
    let reply = get(addr, &format!("/ace/getstream?infohash={infohash}&format=json&pid={pid}"));
    json_of(&reply)["response"].clone()
}

/// Path and query of a URL.
pub(crate) fn path_of(url: &Json) -> String {
    let rest = url.as_str().unwrap().strip_prefix("http://").unwrap();
    rest[rest.find('/').unwrap()..].to_owned()
}

/// The `/content` path of a session.
pub(crate) fn content_path(addr: SocketAddr, response: &Json) -> String {
    let reply = get(addr, &path_of(&response["playback_url"]));
    assert_eq!(status_of(&reply), "302", "{reply}");
    path_of(&Json::from(header_of(&reply, "Location").unwrap()))
}

/// A body that is being read.
pub(crate) struct Body {
    stream: TcpStream,
    raw: Vec<u8>,
    pub(crate) head: String,
    chunked: bool,
    ended: Option<End>,
    pub(crate) chunk_sizes: Vec<usize>,
    left: usize,
}

impl Body {
    pub(crate) fn open(addr: SocketAddr, path: &str) -> Body {
        let mut stream = connect(addr, 3_000);
        stream.write_all(get_request(addr, path).as_bytes()).unwrap();
        let mut body = Body {
            stream,
            raw: Vec::new(),
            head: String::new(),
            chunked: false,
            ended: None,
            chunk_sizes: Vec::new(),
            left: 0,
        };
        while body.ended.is_none() {
            let end = body.raw.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(at) = end {
                body.head = String::from_utf8_lossy(&body.raw[..at]).into_owned();
                body.raw.drain(..at + 4);
                break;
            }
            body.receive();
        }
        body.chunked = body.head.contains("Transfer-Encoding: chunked");
        body
    }

    /// Of a new session.
    pub(crate) fn start(addr: SocketAddr, infohash: &str, pid: &str) -> Body {
        Body::open(addr, &content_path(addr, &open(addr, infohash, pid)))
    }

    pub(crate) fn patience_ms(&self, ms: u64) {
        self.stream.set_read_timeout(Some(Duration::from_millis(ms))).unwrap();
    }

    /// At least `bytes` of payload, unless the body ends.
    pub(crate) fn read(&mut self, bytes: usize) -> Vec<u8> {
        let mut payload = Vec::new();
        // A live body that ought to end and does not would go on for ever.
        let deadline_us = ace_emulator::now_us() + 10_000_000;
        loop {
            assert!(ace_emulator::now_us() < deadline_us, "the body goes on");
            self.decode(&mut payload);
            if payload.len() >= bytes || self.ended.is_some() {
                return payload;
            }
            self.receive();
        }
    }

    /// Everything up to the end, and how it ended.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        let payload = self.read(usize::MAX);
        (payload, self.ended.unwrap())
    }

    /// Whether a chunk was announced that did not come whole.
    pub(crate) fn is_mid_chunk(&self) -> bool {
        self.left > 0
    }

    /// What the socket does after the end of the body.
    pub(crate) fn after_end(&mut self, patience_ms: u64) -> End {
        self.patience_ms(patience_ms);
        read_to_end(&mut self.stream).1
    }

    fn receive(&mut self) {
        let mut buffer = vec![0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = Some(End::Fin),
            Ok(read) => self.raw.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.ended = Some(End::Silence),
            Err(_) => self.ended = Some(End::Reset),
        }
    }

    fn decode(&mut self, payload: &mut Vec<u8>) {
        if !self.chunked {
            payload.append(&mut self.raw);
            return;
        }
        loop {
            if self.left == 0 {
                let from = if self.raw.starts_with(b"\r\n") { 2 } else { 0 };
                let line = self.raw[from..].windows(2).position(|two| two == b"\r\n");
                let Some(line) = line else { return };
                let digits = std::str::from_utf8(&self.raw[from..from + line]).unwrap();
                self.left = usize::from_str_radix(digits, 16).unwrap();
                self.chunk_sizes.push(self.left);
                self.raw.drain(..from + line + 2);
                if self.left == 0 {
                    self.ended = Some(End::LastChunk);
                    return;
                }
            }
            let take = self.left.min(self.raw.len());
            payload.extend(self.raw.drain(..take));
            self.left -= take;
            if self.left > 0 {
                return;
            }
        }
    }
}
