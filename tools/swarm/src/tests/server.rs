//! A server of signed streams with the faults that a swarm must find. A thread per viewer.

use std::collections::BTreeMap;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ace_emulator::now_us;
use ace_emulator::signed::Signed;
use ace_emulator::signed::SignedConfig;
use ace_emulator::source::Media;
use ace_emulator::tag_of;

const PACKET: u64 = 188;
/// A viewer begins this far in the past: the 40 ms of a frame and a few GOPs.
const BEHIND_US: u64 = 500_000;
const PACE: Duration = Duration::from_millis(20);

/// What it does wrong; places are packets of a viewer's body.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) flip_bit_at: Option<u64>,
    /// From, how many.
    pub(super) lose: Option<(u64, u64)>,
    pub(super) close_after: Option<u64>,
    pub(super) refuse: bool,
    pub(super) chunked: bool,
    pub(super) wrong_tag: bool,
}

pub(super) struct Server {
    pub(super) addr: SocketAddr,
    state: Arc<State>,
}

struct State {
    faults: Faults,
    epoch_us: u64,
    sent_bytes: AtomicU64,
    joins: Mutex<BTreeMap<u32, u64>>,
    over: AtomicBool,
    /// Where streaming threads wait for the next 20 ms or the end.
    pace: (Mutex<()>, Condvar),
    open: Mutex<Vec<TcpStream>>,
}

impl Server {
    pub(super) fn start(faults: Faults) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            faults,
            epoch_us: now_us() - 10_000_000,
            sent_bytes: AtomicU64::new(0),
            joins: Mutex::default(),
            over: AtomicBool::new(false),
            pace: (Mutex::new(()), Condvar::new()),
            open: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.over.load(SeqCst) {
                    break;
                }
                let state = Arc::clone(&shared);
                std::thread::spawn(move || state.serve(stream));
            }
        });
        Server { addr, state }
    }

    /// How many joined each stream, by its tag.
    pub(super) fn joins(&self) -> BTreeMap<u32, u64> {
        self.state.joins.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.over.store(true, SeqCst);
        self.state.pace.1.notify_all();
        for stream in self.state.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        let _ = TcpStream::connect(self.addr);
    }
}

impl State {
    /// Ends with the viewer.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        self.open.lock().unwrap().push(stream.try_clone().ok()?);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?;
        if head.starts_with("GET /metrics ") {
            let sent = self.sent_bytes.load(SeqCst);
            let page = format!("# TYPE x counter\nringcast_sent_bytes_total {sent}\n");
            let text = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n{page}");
            stream.write_all(text.as_bytes()).ok()?;
            return stream.shutdown(std::net::Shutdown::Both).ok();
        }
        let id = head.split_once("id=")?.1.split(' ').next()?;
        *self.joins.lock().unwrap().entry(tag_of(id)).or_default() += 1;
        if self.faults.refuse {
            let text = b"HTTP/1.1 404 Not Found\r\n\r\n{\"error\": \"no such stream\"}";
            stream.write_all(text).ok()?;
            return stream.shutdown(std::net::Shutdown::Both).ok();
        }
        let framing = if self.faults.chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
        let text = format!("HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n{framing}\r\n");
        stream.write_all(text.as_bytes()).ok()?;
        self.play(&mut stream, tag_of(id) + u32::from(self.faults.wrong_tag));
        stream.shutdown(std::net::Shutdown::Both).ok()
    }

    fn play(&self, stream: &mut TcpStream, tag: u32) -> Option<()> {
        let epoch_us = self.epoch_us;
        let config = SignedConfig { tag, gop_ms: 200, epoch_us, ..SignedConfig::default() };
        let signed = Signed::new(config).unwrap();
        let behind = config.packets_until(now_us() - epoch_us - BEHIND_US);
        // The PAT and the PMT stand before the access point.
        let mut next = (behind..).find(|index| signed.is_access_point(*index))? - 2;
        let first = next;
        while !self.over.load(SeqCst) {
            let end = config.packets_until(now_us() - epoch_us);
            let mut media = Vec::new();
            for index in next..end {
                self.packet(&signed, index, index - first, &mut media);
            }
            next = end;
            self.write(stream, &media)?;
            if self.faults.close_after.is_some_and(|packets| next - first >= packets) {
                return None;
            }
            let held = self.pace.0.lock().unwrap();
            drop(self.pace.1.wait_timeout(held, PACE).unwrap());
        }
        None
    }

    fn packet(&self, signed: &Signed, index: u64, place: u64, media: &mut Vec<u8>) {
        if self.faults.lose.is_some_and(|(from, count)| (from..from + count).contains(&place)) {
            return;
        }
        let at = media.len();
        signed.read(index * PACKET, PACKET as usize, media);
        if self.faults.flip_bit_at == Some(place) {
            media[at + 100] ^= 0x10;
        }
    }

    fn write(&self, stream: &mut TcpStream, media: &[u8]) -> Option<()> {
        if media.is_empty() {
            return Some(());
        }
        if self.faults.chunked {
            stream.write_all(format!("{:x}\r\n", media.len()).as_bytes()).ok()?;
        }
        stream.write_all(media).ok()?;
        if self.faults.chunked {
            stream.write_all(b"\r\n").ok()?;
        }
        self.sent_bytes.fetch_add(media.len() as u64, SeqCst);
        Some(())
    }
}
