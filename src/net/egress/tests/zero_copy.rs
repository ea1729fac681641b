//! Sends that the kernel reads from our memory, and sends from a file.

use std::io::Read;
use std::io::Seek;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use io_uring::IoUring;

use super::Driver;
use super::Event;
use super::Rig;
use super::Slot;
use super::Via;
use super::on_every_pair;
use crate::net::egress::buffers::Buffers;
use crate::net::host;
use crate::net::runtime::run_shard;
use crate::net::testing::RUNTIMES;
use crate::ring::Region;

/// With the test's bytes registered.
fn on_every_runtime<F, Fut>(test: F)
where
    F: Fn(Rig, u16) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = ()>,
{
    for runtime in RUNTIMES {
        let run = move || {
            run_shard(runtime, || async {
                let mut rig = Rig::new(Driver::Uring);
                assert!(rig.egress.can_zero_copy());
                let region = Region { ptr: rig.bytes.as_ptr(), bytes: rig.bytes.len() };
                let buffer = rig.egress.buffer(1, region).unwrap();
                assert_eq!(rig.egress.buffer(1, region).unwrap(), buffer);
                test(rig, buffer).await;
            })
        };
        std::thread::spawn(run).join().unwrap().unwrap();
    }
}

#[test]
fn several_sends_of_one_peer_are_lent_at_once_and_every_byte_arrives() {
    const SENDS: usize = 12;
    const LEN: usize = 70_000;
    on_every_runtime(|mut rig, buffer| async move {
        let (slot, mut peer) = rig.add(1);
        let bytes = Arc::clone(&rig.bytes);
        let reader = std::thread::spawn(move || {
            let mut received = vec![0; SENDS * LEN];
            peer.read_exact(&mut received).unwrap();
            assert!(received == bytes[..SENDS * LEN]);
            peer
        });
        let (mut cursor, mut sends, mut released, mut copied) = (0, 0, 0, 0);
        rig.egress.want_writable(slot);
        while released < sends || cursor < SENDS * LEN {
            for event in rig.turn().await {
                match event {
                    Event::Sent { send, result, is_released, .. } => {
                        if let Ok(n) = result {
                            assert_eq!(rig.egress.payload(send).range.start, cursor);
                            cursor += n;
                        }
                        if is_released {
                            drop(rig.egress.take_back(send));
                            released += 1;
                        }
                        rig.egress.want_writable(slot);
                    }
                    Event::Released { send, copied: report, .. } => {
                        drop(rig.egress.take_back(send));
                        released += 1;
                        copied += usize::from(report == Some(true));
                    }
                    Event::Writable { .. } if cursor < SENDS * LEN => {
                        let end = (cursor + LEN).min(SENDS * LEN);
                        let piece = rig.piece(cursor..end);
                        sends += 1;
                        rig.egress.send(slot, piece, Via::ZeroCopy { buffer, report: true });
                    }
                    Event::Writable { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        // Loopback always copies, and the kernel says so.
        assert!(copied > 0, "{sends} sends");
        assert_eq!(rig.egress.stats().zero_copy_sends, sends as u64);
        let _peer = reader.join().unwrap();
        rig.egress.close(slot);
        rig.closed(slot).await;
        rig.finish();
    });
}

#[test]
fn a_refused_zero_copy_send_gives_its_payload_back() {
    on_every_runtime(|mut rig, buffer| async move {
        let (slot, _peer) = rig.add(1);
        let outside = vec![0_u8; 100_000].into();
        let before = std::mem::replace(&mut rig.bytes, outside);
        let piece = rig.piece(0..50_000);
        rig.egress.send(slot, piece, Via::ZeroCopy { buffer, report: false });
        let mut is_refused = false;
        while rig.egress.in_flight() > 0 {
            for event in rig.turn().await {
                match event {
                    Event::Sent { send, result, is_released, .. } => {
                        is_refused = result.unwrap_err().raw_os_error() == Some(libc::EFAULT);
                        if is_released {
                            drop(rig.egress.take_back(send));
                        }
                    }
                    Event::Released { send, .. } => drop(rig.egress.take_back(send)),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(is_refused, "bytes outside of the buffer are no use");
        rig.bytes = before;
        rig.egress.close(slot);
        rig.closed(slot).await;
        rig.finish();
    });
}

#[test]
fn an_abort_releases_what_a_stuck_peer_holds() {
    on_every_runtime(|mut rig, buffer| async move {
        let (slot, _stuck) = rig.add(1);
        rig.fill(slot).await;
        let piece = rig.piece(0..100_000);
        rig.egress.send(slot, piece, Via::ZeroCopy { buffer, report: false });
        rig.egress.submit().unwrap();
        rig.egress.abort(slot);
        let mut is_closed = false;
        while !is_closed {
            for event in rig.turn().await {
                match event {
                    Event::Sent { send, is_released: true, .. } | Event::Released { send, .. } => {
                        drop(rig.egress.take_back(send));
                    }
                    Event::Sent { .. } => {}
                    Event::Closed { .. } => is_closed = true,
                    other => panic!("{other:?}"),
                }
            }
        }
        rig.finish();
    });
}

/// Zero-copy sends until the peer's window and our own queue are full: what stands in the queue stays
/// lent.
async fn lend_until_full(rig: &mut Rig, slot: Slot, buffer: u16) {
    let mut is_full = false;
    while !is_full {
        let piece = rig.piece(0..1 << 17);
        rig.egress.send(slot, piece, Via::ZeroCopy { buffer, report: false });
        let mut is_sent = false;
        while !is_sent {
            let events = rig.turn().await;
            for event in &events {
                if let Event::Sent { result, .. } = event {
                    (is_sent, is_full) = (true, result.is_err());
                }
            }
            rig.take_all_back(events);
        }
        let info = || rig.egress.acked(slot).unwrap();
        while is_full && info().unacked_segments > 0 {
            std::thread::yield_now();
        }
        is_full = is_full && info().notsent_bytes > 0;
    }
    let mut late = Vec::new();
    rig.egress.drain_wake();
    rig.egress.reap(&mut late);
    rig.take_all_back(late);
}

#[test]
fn what_a_peer_does_not_acknowledge_comes_back_with_a_reset_and_not_before() {
    on_every_runtime(|mut rig, buffer| async move {
        for is_closing in [false, true] {
            let (slot, _stuck) = rig.add(1);
            lend_until_full(&mut rig, slot, buffer).await;
            let lent = rig.egress.in_flight();
            assert!(lent > 0 && rig.egress.is_lent(slot));
            if is_closing {
                rig.egress.close(slot);
                rig.turn_taken().await;
            }
            rig.assert_quiet();
            assert_eq!(rig.egress.in_flight(), lent, "the kernel still reads it");
            if is_closing {
                rig.egress.abort_lingering();
            } else {
                rig.egress.abort(slot);
            }
            let mut is_closed = false;
            while !is_closed {
                rig.egress.submit().unwrap();
                assert!(rig.is_woken_within(Duration::from_millis(900)), "nothing comes back");
                let events = rig.turn().await;
                is_closed = events.iter().any(|event| matches!(event, Event::Closed { .. }));
                rig.take_all_back(events);
            }
            assert_eq!(rig.egress.in_flight(), 0);
        }
        rig.finish();
    });
}

#[test]
fn every_ring_has_the_region_of_the_first() {
    let bytes: &'static [u8] = Box::leak(vec![7; 1 << 20].into_boxed_slice());
    for _ in 0..2 {
        let shard = || {
            let ring = IoUring::new(4).unwrap();
            let mut buffers = Buffers::new(&ring, 4);
            let region = Region { ptr: bytes.as_ptr(), bytes: bytes.len() };
            assert_eq!(buffers.ready(&ring, 3, region).unwrap(), 3);
            // What only newer kernels can do is no reason to fail, but must be seen to work here.
            assert_eq!(buffers.cloned, u32::from(kernel_clones()));
            let error = buffers.ready(&ring, 4, region).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "four places");
        };
        std::thread::spawn(shard).join().unwrap();
    }
}

fn kernel_clones() -> bool {
    let kernel = host::features().kernel;
    (kernel.major, kernel.minor) >= (6, 13)
}

#[test]
fn a_file_is_sent_without_waiting() {
    on_every_pair(|mut rig| async move {
        let (slot, mut peer) = rig.add(1);
        let mut file = tempfile(&rig.bytes);
        let mut at = 0;
        loop {
            let left = rig.bytes.len() - at;
            match rig.egress.send_shared(slot, file.as_fd(), at as u64, left) {
                Ok(n) => at += n,
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    break;
                }
            }
            if at == rig.bytes.len() {
                break;
            }
        }
        assert!(at > 100_000);
        // Its own place in the file is nobody's.
        assert_eq!(file.stream_position().unwrap(), rig.bytes.len() as u64);
        rig.egress.close(slot);
        rig.closed(slot).await;
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert!(received == rig.bytes[..at]);
        assert_eq!(rig.alive.load(SeqCst), 0);
        rig.finish();
    });
}

fn tempfile(bytes: &[u8]) -> std::fs::File {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::memfd_create("test", flags).unwrap());
    file.write_all(bytes).unwrap();
    file
}
