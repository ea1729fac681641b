//! A scripted HTTP server: an orchestrator, an engine that talks nonsense, a host that nobody
//! must connect to.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// From the target of a request to the whole reply; an empty one is a closed connection.
type Script = Box<dyn FnMut(&str) -> Vec<u8> + Send>;

pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Script>,
    connections: AtomicUsize,
    over: AtomicBool,
}

impl Web {
    pub(crate) fn new(script: impl FnMut(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let script: Script = Box::new(script);
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            connections: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if serving.over.load(Ordering::Acquire) {
                    return;
                }
                serving.connections.fetch_add(1, Ordering::AcqRel);
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(socket));
            }
        });
        Self { address, shared }
    }

    /// The same body, as JSON, for every request.
    pub(crate) fn json(body: &str) -> Self {
        let reply = json(body);
        Self::new(move |_| reply.clone())
    }

    /// What is said from now on.
    pub(crate) fn say(&self, script: impl FnMut(&str) -> Vec<u8> + Send + 'static) {
        *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(script);
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, mut socket: TcpStream) {
        let mut reader = BufReader::new(socket.try_clone().expect("a second handle"));
        let mut request = String::new();
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
            if request.is_empty() {
                request.clone_from(&line);
            }
            line.clear();
        }
        let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let reply = (self.script.lock().unwrap_or_else(PoisonError::into_inner))(&target);
        let _ = socket.write_all(&reply);
    }
}

pub(crate) fn json(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
