//! What the tests of this floor share.
#![expect(unsafe_code, reason = "a seccomp filter has no safe wrapper")]

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

/// From now on these system calls fail with EPERM on this thread, as under a container's seccomp
/// profile. Nothing undoes it.
pub(crate) fn forbid(calls: &[libc::c_long]) {
    // The system call's number is the first word of what a filter sees.
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let step = |code: u32, jt, k| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let mut filter = vec![step(load, 0, 0)];
    for (at, call) in calls.iter().enumerate() {
        // Over the calls that follow, and over the "allow".
        filter.push(step(equal, (calls.len() - at) as u8, *call as u32));
    }
    filter.push(step(libc::BPF_RET, 0, libc::SECCOMP_RET_ALLOW));
    filter.push(step(libc::BPF_RET, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    let len = filter.len() as u16;
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    // SAFETY: the program outlives the calls, and the kernel copies it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
    }
}
