//! A road with faults in it, between the server and an engine or between a player and the server:
//! what is sent comes late, in slices, damaged, not at all, or ends in one of the ways that
//! connections end.

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What is wrong with the way back, from whom we connected to towards who came; nothing at first.
#[derive(Default)]
struct Faults {
    latency_ms: AtomicU64,
    /// Bytes of one write at most; 0 = all.
    slice_bytes: AtomicUsize,
    /// One byte in so many is another one; 0 = none.
    damage_every: AtomicU64,
    stalled: AtomicBool,
    over: AtomicBool,
}

pub(crate) struct FaultProxy {
    pub(crate) address: SocketAddr,
    faults: Arc<Faults>,
    /// Both ends of every connection.
    live: Arc<Mutex<Vec<(TcpStream, TcpStream)>>>,
}

impl FaultProxy {
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (faults, live) = (Arc::new(Faults::default()), Arc::new(Mutex::new(Vec::new())));
        let (serving, connections) = (Arc::clone(&faults), Arc::clone(&live));
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if serving.over.load(Relaxed) {
                    return;
                }
                let Ok(far) = TcpStream::connect(target) else { continue };
                let handles = near.try_clone().and_then(|near| Ok((near, far.try_clone()?)));
                let Ok(handles) = handles else { continue };
                connections.lock().unwrap_or_else(PoisonError::into_inner).push(handles);
                let (there, back) = (Arc::new(Faults::default()), Arc::clone(&serving));
                let ends = near.try_clone().and_then(|near| Ok((near, far.try_clone()?)));
                let Ok((near_too, far_too)) = ends else { continue };
                std::thread::spawn(move || carry(near_too, far_too, &there));
                std::thread::spawn(move || carry(far, near, &back));
            }
        });
        Self { address, faults, live }
    }

    pub(crate) fn latency(&self, latency: Duration) {
        self.faults.latency_ms.store(latency.as_millis() as u64, Relaxed);
    }

    pub(crate) fn slices(&self, bytes: usize) {
        self.faults.slice_bytes.store(bytes, Relaxed);
    }

    pub(crate) fn damage_every(&self, bytes: u64) {
        self.faults.damage_every.store(bytes, Relaxed);
    }

    /// Nothing moves while this is on, and nothing ends.
    pub(crate) fn stall(&self, on: bool) {
        self.faults.stalled.store(on, Relaxed);
    }

    /// Every connection ends with a reset, at both of its ends.
    pub(crate) fn reset(&self) {
        use rustix::net::sockopt;
        for (near, far) in self.drain() {
            for end in [near, far] {
                let _ = sockopt::set_socket_linger(&end, Some(Duration::ZERO));
                let _ = rustix::net::connect_unspec(&end);
            }
        }
    }

    /// Who came first hears no more, and may go on talking.
    pub(crate) fn half_close(&self) {
        for (near, _) in self.drain() {
            let _ = near.shutdown(Shutdown::Write);
        }
    }

    fn drain(&self) -> Vec<(TcpStream, TcpStream)> {
        std::mem::take(&mut *self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.faults.over.store(true, Relaxed);
        for (near, far) in self.drain() {
            let _ = near.shutdown(Shutdown::Both);
            let _ = far.shutdown(Shutdown::Both);
        }
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
    }
}

/// One direction, until either end has enough.
#[expect(clippy::disallowed_methods, reason = "latency is what it is for")]
fn carry(mut from: TcpStream, mut to: TcpStream, faults: &Faults) {
    let mut buffer = [0; 16 * 1024];
    let mut carried = 0_u64;
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(faults.latency_ms.load(Relaxed)));
        while faults.stalled.load(Relaxed) && !faults.over.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let bytes = &mut buffer[..n];
        let every = faults.damage_every.load(Relaxed);
        if every > 0 {
            for (at, byte) in bytes.iter_mut().enumerate() {
                if (carried + at as u64) % every == every - 1 {
                    *byte ^= 0x5A;
                }
            }
        }
        carried += n as u64;
        let slice = Some(faults.slice_bytes.load(Relaxed)).filter(|slice| *slice > 0);
        if bytes.chunks(slice.unwrap_or(n)).any(|part| to.write_all(part).is_err()) {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
