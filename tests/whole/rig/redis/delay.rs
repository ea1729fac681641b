//! A connection to Redis that takes its time: whatever passes in either direction passes later.

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(crate) struct Delay {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    delay_ms: AtomicU64,
    over: AtomicBool,
}

impl Delay {
    pub(crate) fn before(target: SocketAddr, delay_ms: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared =
            Arc::new(Shared { delay_ms: AtomicU64::new(delay_ms), over: AtomicBool::new(false) });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if serving.over.load(Ordering::Acquire) {
                    return;
                }
                let Ok(far) = TcpStream::connect(target) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let _ = from.set_nodelay(true);
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let serving = serving.clone();
                    std::thread::spawn(move || serving.carry(from, to));
                }
            }
        });
        Self { address, shared }
    }

    pub(crate) fn set_ms(&self, delay_ms: u64) {
        self.shared.delay_ms.store(delay_ms, Ordering::Release);
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    #[expect(clippy::disallowed_methods, reason = "being late is what this is for")]
    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16_384];
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(self.delay_ms.load(Ordering::Acquire)));
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }
}
