//! A player's socket: a request, a head, then bytes as they come.

use super::PATIENCE;
use ace_emulator::Report;
use ace_emulator::Verifier;
use ace_emulator::signed::SignedConfig;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

/// A whole reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// `error.code` of an error reply.
    pub(crate) fn error_code(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).expect("a JSON error");
        json["error"]["code"].as_str().expect("a code").to_owned()
    }

    pub(crate) fn error_message(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).expect("a JSON error");
        json["error"]["message"].as_str().expect("a message").to_owned()
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Reply {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
}

/// Sends these bytes and reads everything until the end.
pub(crate) fn request(address: SocketAddr, bytes: &str) -> Reply {
    let mut socket = connect(address);
    socket.write_all(bytes.as_bytes()).expect("the request is taken");
    let (status, head, mut body) = read_head(&mut socket).expect("a reply");
    // HEAD replies and errors end with the connection.
    let _ = socket.read_to_end(&mut body);
    Reply { status, head, body }
}

/// As [`request`], but everything up to a clean end must come: a reset fails the test.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> Reply {
    let mut socket = connect(address);
    socket.write_all(bytes).expect("the request is taken");
    whole_reply(&mut socket)
}

/// The reply on this socket, which must end with a FIN.
pub(crate) fn whole_reply(socket: &mut TcpStream) -> Reply {
    let (status, head, mut body) = read_head(socket).expect("a reply");
    socket.read_to_end(&mut body).expect("the reply ends in order, not with a reset");
    Reply { status, head, body }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(address).expect("the server accepts"))
}

fn patient(socket: TcpStream) -> TcpStream {
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    socket.set_write_timeout(Some(PATIENCE)).expect("a time-out");
    socket
}

/// Of this process alone: in a server that another test starts meanwhile it would stay open when it
/// is closed here.
fn socket(family: rustix::net::AddressFamily) -> rustix::fd::OwnedFd {
    let (kind, flags) = (rustix::net::SocketType::STREAM, rustix::net::SocketFlags::CLOEXEC);
    rustix::net::socket_with(family, kind, flags, None).expect("a socket")
}

/// A port of this host that nobody listens on, and nobody else is given while it is held.
pub(crate) fn reserve() -> (rustix::fd::OwnedFd, SocketAddr) {
    use rustix::net::AddressFamily;
    let fd = socket(AddressFamily::INET);
    // So that a listener, which asks for the same, is let in beside it.
    rustix::net::sockopt::set_socket_reuseaddr(&fd, true).expect("an option");
    rustix::net::bind(&fd, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let address = rustix::net::getsockname(&fd).expect("its name");
    (fd, address.try_into().expect("an address of IPv4"))
}

/// From an address of this host's own; loopback has 16 million.
pub(crate) fn connect_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    use rustix::net::AddressFamily;
    let family = if source.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let fd = socket(family);
    rustix::net::bind(&fd, &SocketAddr::new(source, 0)).expect("an address of this host");
    rustix::net::connect(&fd, &address).expect("the server accepts");
    let socket = TcpStream::from(fd);
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    socket
}

/// One read. A machine that is stopped and goes on interrupts those that have a time-out.
fn read_some(socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Status, head, and what came behind it.
fn read_head(socket: &mut TcpStream) -> io::Result<(u16, String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            let head = String::from_utf8_lossy(&bytes).into_owned();
            let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
            let status = status.ok_or_else(|| io::Error::other(format!("no status: {head}")))?;
            return Ok((status, head, rest));
        }
        let n = read_some(socket, &mut buffer)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..n]);
    }
}

/// A player in the middle of its stream. It has read its head; the rest comes when asked for.
pub(crate) struct Player {
    socket: TcpStream,
    pub(crate) status: u16,
    pub(crate) head: String,
    rest: Vec<u8>,
    verifier: Verifier,
    recording: Option<Vec<u8>>,
}

impl Player {
    fn begun(socket: TcpStream, status: u16, head: String, rest: Vec<u8>) -> Self {
        let verifier = Verifier::new();
        Self { socket, status, head, rest, verifier, recording: None }
    }

    /// What was sent as one head, as it is.
    pub(crate) fn send(address: SocketAddr, bytes: &[u8]) -> Asked {
        Self::send_on(connect(address), bytes)
    }

    pub(crate) fn send_on(mut socket: TcpStream, bytes: &[u8]) -> Asked {
        socket.write_all(bytes).expect("the request is taken");
        Asked { socket }
    }

    /// Asks and waits for the head, which is there when the stream can be played.
    pub(crate) fn open(address: SocketAddr, path: &str) -> Self {
        Self::ask(address, path).begin()
    }

    /// Only asks: [`Asked::begin`] waits for the head.
    pub(crate) fn ask(address: SocketAddr, path: &str) -> Asked {
        Self::ask_with(address, path, "")
    }

    /// `headers` are whole lines.
    pub(crate) fn ask_with(address: SocketAddr, path: &str, headers: &str) -> Asked {
        let mut socket = connect(address);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: test player\r\n{headers}\r\n"
        );
        socket.write_all(request.as_bytes()).expect("the request is taken");
        Asked { socket }
    }

    /// A player whose kernel takes little on its behalf: `receive_bytes` and no more.
    pub(crate) fn ask_narrow(address: SocketAddr, path: &str, receive_bytes: usize) -> Asked {
        use rustix::net::AddressFamily;
        use rustix::net::sockopt;
        let fd = socket(AddressFamily::INET);
        sockopt::set_socket_recv_buffer_size(&fd, receive_bytes).unwrap();
        rustix::net::connect(&fd, &address).expect("the server accepts");
        let mut socket = patient(TcpStream::from(fd));
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: narrow\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("the request is taken");
        Asked { socket }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The number that it has on the API and in the log.
    pub(crate) fn id(&self) -> String {
        self.header("x-ringcast-viewer").expect("a viewer has an id").to_owned()
    }

    /// What makes the packets that came, once one of them said so.
    pub(crate) fn source(&self) -> Option<SignedConfig> {
        self.verifier.config().copied()
    }

    /// Plays until `bytes` of the body have come, all told.
    pub(crate) fn play(&mut self, bytes: u64) -> Report {
        while self.verifier.report().bytes < bytes {
            if self.step().expect("the stream goes on") == 0 {
                break;
            }
        }
        self.verifier.report()
    }

    /// Plays so many bytes more; the end is a failure.
    pub(crate) fn play_on(&mut self, bytes: u64) -> Report {
        let until = self.verifier.report().bytes + bytes;
        let report = self.play(until);
        assert!(report.bytes >= until, "the stream ended: {report:?}");
        report
    }

    /// Plays until the end, and says what was seen.
    pub(crate) fn play_out(&mut self) -> Report {
        while self.step().is_ok_and(|n| n > 0) {}
        self.verifier.report()
    }

    /// Plays until the server closes, which must be an orderly end: FIN, and whole packets.
    pub(crate) fn play_to_the_end(&mut self) -> Report {
        while self.step().expect("FIN, not a reset or a time-out") > 0 {}
        let report = self.verifier.report();
        assert_eq!(report.tail_partial_bytes, 0, "{report:?}");
        report
    }

    /// One read.
    pub(crate) fn step(&mut self) -> io::Result<usize> {
        self.step_of(65_536)
    }

    /// One read of at most so many bytes.
    pub(crate) fn step_of(&mut self, bytes_max: usize) -> io::Result<usize> {
        let mut buffer = [0; 65_536];
        let buffer = &mut buffer[..bytes_max];
        if !self.rest.is_empty() {
            let n = self.rest.len().min(bytes_max);
            let rest: Vec<u8> = self.rest.drain(..n).collect();
            self.take(&rest);
            return Ok(n);
        }
        let n = read_some(&mut self.socket, buffer)?;
        self.take(&buffer[..n]);
        Ok(n)
    }

    fn take(&mut self, bytes: &[u8]) {
        self.verifier.feed_at(bytes, ace_emulator::now_us());
        if let Some(recording) = &mut self.recording {
            recording.extend_from_slice(bytes);
        }
    }

    /// Keeps what comes from here on, which should be from the beginning.
    pub(crate) fn record(&mut self) {
        self.recording = Some(Vec::new());
    }

    pub(crate) fn recording(&mut self) -> Vec<u8> {
        self.recording.take().expect("it was asked to record")
    }

    /// Plays on, a packet at a time, until so many null packets have been added in all; when that
    /// was.
    pub(crate) fn await_nulls(&mut self, nulls: u64) -> Instant {
        while self.verifier.report().inserted.nulls < nulls {
            assert!(self.step_of(188).expect("the stream goes on") > 0, "the stream ended");
        }
        super::stopwatch()
    }

    pub(crate) fn report(&self) -> Report {
        self.verifier.report()
    }

    /// Latency samples before this are forgotten: the burst is old when it comes.
    pub(crate) fn reset_latency(&mut self) {
        self.verifier.reset_latency();
    }

    /// The raw bytes of the body from here on, at least `bytes` of them.
    pub(crate) fn raw(mut self, bytes: usize) -> Vec<u8> {
        let mut body = std::mem::take(&mut self.rest);
        let mut buffer = [0; 65_536];
        while body.len() < bytes {
            let n = read_some(&mut self.socket, &mut buffer).expect("the stream goes on");
            if n == 0 {
                break;
            }
            body.extend_from_slice(&buffer[..n]);
        }
        body
    }

    /// The same, with what the head was: every byte that the socket gave.
    pub(crate) fn bytes_received(&self) -> u64 {
        (self.head.len() + self.rest.len()) as u64 + self.verifier.report().bytes
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Leaves as a player that is switched off does.
    pub(crate) fn leave(self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// A request that has been sent.
pub(crate) struct Asked {
    socket: TcpStream,
}

impl Asked {
    pub(crate) fn begin(mut self) -> Player {
        let (status, head, rest) = read_head(&mut self.socket).expect("a head");
        Player::begun(self.socket, status, head, rest)
    }

    /// Waits for the head for so long at most, then hangs up.
    pub(crate) fn begin_within(mut self, patience: Duration) -> Option<Player> {
        self.socket.set_read_timeout(Some(patience)).expect("a time-out");
        match read_head(&mut self.socket) {
            Ok((status, head, rest)) => {
                self.socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
                let socket = self.socket;
                Some(Player::begun(socket, status, head, rest))
            }
            Err(error) => {
                let late = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
                assert!(late.contains(&error.kind()), "neither a head nor silence: {error}");
                self.leave();
                None
            }
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Not a byte has come.
    pub(crate) fn is_silent(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let peeked = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false).unwrap();
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The whole reply, for a request that is refused.
    pub(crate) fn reply(mut self) -> Reply {
        let (status, head, mut body) = read_head(&mut self.socket).expect("a reply");
        let _ = self.socket.read_to_end(&mut body);
        Reply { status, head, body }
    }

    pub(crate) fn leave(self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
