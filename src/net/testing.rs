//! What the tests of this floor share.

use std::future::Future;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::base::time;
use crate::base::time::Instant;
use crate::net::runtime::RuntimeDriver;
use crate::net::runtime::run_shard;

pub(crate) const RUNTIMES: [RuntimeDriver; 2] = [RuntimeDriver::Uring, RuntimeDriver::Legacy];

/// Runs a test on each of the runtime's drivers, on a thread of its own.
pub(crate) fn on_both_runtimes<F, Fut>(test: F)
where
    F: Fn() -> Fut + Copy + Send + 'static,
    Fut: Future<Output = ()>,
{
    for driver in RUNTIMES {
        std::thread::spawn(move || run_shard(driver, test).unwrap())
            .join()
            .unwrap_or_else(|_| panic!("on {driver:?}"));
    }
}

/// Two ends of a loopback connection, both blocking: ours, and a peer's.
pub(crate) fn pair() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (OwnedFd::from(listener.accept().unwrap().0), peer)
}

pub(crate) fn in_ms(ms: u64) -> Instant {
    time::now() + Duration::from_millis(ms)
}

/// A listener whose backlog is full: connecting to it neither succeeds nor fails.
pub(crate) fn deaf_listener() -> (SocketAddr, Vec<OwnedFd>) {
    let socket = || {
        let family = rustix::net::AddressFamily::INET;
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let kind = rustix::net::SocketType::STREAM;
        rustix::net::socket_with(family, kind, flags, None).unwrap()
    };
    let listener = socket();
    rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let addr = SocketAddr::try_from(rustix::net::getsockname(&listener).unwrap()).unwrap();
    let mut held = vec![listener];
    for _ in 0..4 {
        let filler = socket();
        let _ = rustix::net::connect(&filler, &addr);
        held.push(filler);
    }
    (addr, held)
}
