//! Socket options and the ways to end a connection, as the peer sees them.

use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::SendFlags;

use super::disconnect;
use super::prepare_viewer;
use super::queued;
use super::tcp_info;
use crate::base::time;
use crate::net::testing::pair;

fn until(mut condition: impl FnMut() -> bool) {
    let begun = time::now();
    while !condition() {
        assert!(time::now().since(begun) < Duration::from_secs(10), "in vain");
        std::thread::yield_now();
    }
}

#[test]
fn the_kernel_counts_what_was_acknowledged_and_what_waits() {
    let (fd, mut peer) = pair();
    rustix::net::send(&fd, &[0; 1000], SendFlags::NOSIGNAL).unwrap();
    until(|| tcp_info(fd.as_fd()).unwrap().bytes_acked == 1000);
    let info = tcp_info(fd.as_fd()).unwrap();
    assert_eq!((info.bytes_sent, info.bytes_retrans), (1000, 0));
    assert!(info.snd_cwnd > 0 && info.snd_mss > 500 && info.rtt_us > 0, "{info:?}");
    assert_eq!(queued(fd.as_fd()).unwrap(), 0);

    // A peer that does not read: bytes wait here, and the window is what holds them back.
    prepare_viewer(fd.as_fd()).unwrap();
    let mut sent = 1000;
    while let Ok(n) = rustix::net::send(&fd, &[0; 65536], SendFlags::DONTWAIT) {
        sent += n;
    }
    until(|| tcp_info(fd.as_fd()).unwrap().rwnd_limited_us > 0);
    let info = tcp_info(fd.as_fd()).unwrap();
    assert!(info.notsent_bytes > 0 && info.notsent_bytes <= 256 * 1024 + 65536, "{info:?}");
    assert!(queued(fd.as_fd()).unwrap() >= info.notsent_bytes as usize);

    peer.read_exact(&mut vec![0; sent]).unwrap();
    until(|| queued(fd.as_fd()).unwrap() == 0);
}

#[test]
fn disconnecting_resets_the_peer() {
    let (fd, mut peer) = pair();
    rustix::net::send(&fd, b"never read", SendFlags::NOSIGNAL).unwrap();
    disconnect(fd.as_fd());
    until(|| peer.write_all(b"x").is_err());
    let mut rest = Vec::new();
    let _ = peer.read_to_end(&mut rest);
    assert!(tcp_info(fd.as_fd()).is_ok());
}
