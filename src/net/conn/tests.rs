//! A connection over real loopback sockets, under both drivers of the runtime.

use std::cell::Cell;
use std::future::Future;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::Conn;
use super::Sweep;
use crate::base::time;
use crate::base::time::Instant;
use crate::net::runtime;
use crate::net::runtime::Signal;
use crate::net::testing::deaf_listener;
use crate::net::testing::in_ms;
use crate::net::testing::on_both_runtimes;
use crate::net::testing::pair;

#[test]
fn bytes_go_both_ways_and_the_end_is_zero() {
    on_both_runtimes(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let mut conn = Conn::connect(addr, in_ms(10_000)).await.unwrap();
        let (mut peer, from) = listener.accept().unwrap();
        assert_eq!(conn.local().unwrap(), from);
        assert_eq!(conn.peer().unwrap(), addr);
        let mut buf = [0; 16];
        assert_eq!(conn.try_recv(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        peer.write_all(b"answer").unwrap();
        assert_eq!(conn.recv(&mut buf).await.unwrap(), 6);
        assert_eq!(&buf[..6], b"answer");
        conn.send_all(b"question").await.unwrap();
        conn.shutdown_write();
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        drop(peer);
        assert_eq!(conn.recv(&mut buf).await.unwrap(), 0);
        assert!(!conn.swept());
    });
}

#[test]
fn a_wait_wakes_with_so_many_bytes_or_when_it_is_told_that_fewer_will_do() {
    on_both_runtimes(|| async {
        let ((fd, mut peer), (other_fd, mut other_peer)) = (pair(), pair());
        let mut conn = Conn::from_fd(fd).unwrap();
        let mut other = Conn::from_fd(other_fd).unwrap();
        let closer = conn.closer();
        let (got, woke) = (Rc::new(Cell::new(0)), Rc::new(Signal::new()));
        let (seen, waker) = (got.clone(), woke.clone());
        closer.wake_from(1_000);
        runtime::spawn(async move {
            let mut buf = [0; 4_096];
            while let Ok(n @ 1..) = conn.recv(&mut buf).await {
                seen.set(n);
                waker.notify();
            }
            seen.set(usize::MAX);
            waker.notify();
        });
        for (bytes, wakes) in [(600, false), (400, true), (10, false)] {
            peer.write_all(&vec![7; bytes]).unwrap();
            if wakes {
                woke.wait().await;
                assert_eq!(got.get(), 1_000);
            } else {
                let before = got.get();
                // Whatever woke would have been seen by now.
                other_peer.write_all(b"x").unwrap();
                other.recv(&mut [0; 16]).await.unwrap();
                assert_eq!(got.get(), before);
            }
        }
        closer.wake_from(1);
        woke.wait().await;
        assert_eq!(got.get(), 10);
        // An end is told whatever is waited for.
        closer.wake_from(1_000);
        drop(peer);
        woke.wait().await;
        assert_eq!(got.get(), usize::MAX);
    });
}

#[test]
fn much_is_sent_to_a_slow_reader() {
    on_both_runtimes(|| async {
        let (fd, mut peer) = pair();
        let bytes: Vec<u8> = (0..8_000_000u32).map(|i| (i / 7) as u8).collect();
        let expected = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            assert!(received == expected);
        });
        let mut conn = Conn::from_fd(fd).unwrap();
        conn.send_all(&bytes).await.unwrap();
        drop(conn);
        // The drop closes in the background on one of the drivers.
        runtime::sleep(std::time::Duration::from_millis(1)).await;
        reader.join().unwrap();
    });
}

#[test]
fn connecting_is_refused_or_times_out() {
    on_both_runtimes(|| async {
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = Conn::connect(addr, in_ms(10_000)).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

        let (addr, _held) = deaf_listener();
        let (begun, deadline) = (time::now(), in_ms(60));
        let late = Conn::connect(addr, deadline).await.err().unwrap();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        assert!(time::now() >= deadline && time::now().since(begun).as_millis() < 2_000);
        let past = Conn::connect(addr, Instant::ZERO).await.err().unwrap();
        assert_eq!(past.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_deadline_ends_a_recv_and_still_lets_us_answer() {
    on_both_runtimes(|| async {
        let (fd, mut peer) = pair();
        let mut conn = Conn::from_fd(fd).unwrap();
        peer.write_all(b"GET /").unwrap();
        conn.set_deadline(in_ms(50), Sweep::Read);
        let mut buf = [0; 16];
        assert_eq!(conn.recv(&mut buf).await.unwrap(), 5);
        assert_eq!(conn.recv(&mut buf).await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(conn.swept());
        conn.send_all(b"408").await.unwrap();
        drop(conn.into_fd().unwrap());
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "408");
    });
}

#[test]
fn a_deadline_ends_a_send_to_a_stuck_peer() {
    on_both_runtimes(|| async {
        let (fd, _peer) = pair();
        let mut conn = Conn::from_fd(fd).unwrap();
        conn.set_deadline(in_ms(50), Sweep::Both);
        let error = conn.send_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn deadlines_move_in_both_directions_and_can_be_cleared() {
    on_both_runtimes(|| async {
        let (fd, mut peer) = pair();
        let mut conn = Conn::from_fd(fd).unwrap();
        let mut buf = [0; 16];
        // Later: the first date passes without effect.
        conn.set_deadline(in_ms(20), Sweep::Both);
        conn.set_deadline(in_ms(120), Sweep::Both);
        runtime::sleep(std::time::Duration::from_millis(60)).await;
        assert!(!conn.swept());
        // Cleared, then one that is sooner than the one that still stands in the queue.
        conn.clear_deadline();
        runtime::sleep(std::time::Duration::from_millis(90)).await;
        assert!(!conn.swept());
        peer.write_all(b"x").unwrap();
        assert_eq!(conn.recv(&mut buf).await.unwrap(), 1);
        conn.set_deadline(in_ms(3_600_000), Sweep::Both);
        let begun = time::now();
        conn.set_deadline(in_ms(30), Sweep::Both);
        assert_eq!(conn.recv(&mut buf).await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(time::now().since(begun).as_millis() < 2_000);
    });
}

#[test]
fn a_closer_wakes_the_waiter_and_outlives_the_connection() {
    on_both_runtimes(|| async {
        let (fd, _peer) = pair();
        let mut conn = Conn::from_fd(fd).unwrap();
        let closer = conn.closer();
        let waiting = Rc::new(Signal::new());
        runtime::spawn({
            let (closer, waiting) = (closer.clone(), Rc::clone(&waiting));
            async move {
                waiting.wait().await;
                closer.shutdown_read();
            }
        });
        waiting.notify();
        assert_eq!(conn.recv(&mut [0; 16]).await.unwrap(), 0);
        assert!(!conn.swept());
        drop(conn);
        closer.shutdown();
    });
}

/// Polls a recv once and drops it.
async fn give_up_a_recv(conn: &mut Conn) {
    let mut buf = [0; 16];
    let mut recv = pin!(conn.recv(&mut buf));
    poll_fn(|context| {
        assert!(recv.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[test]
fn a_dropped_recv_loses_nothing_and_the_socket_can_be_handed_on() {
    on_both_runtimes(|| async {
        let (fd, mut peer) = pair();
        let mut conn = Conn::from_fd(fd).unwrap();
        give_up_a_recv(&mut conn).await;
        peer.write_all(b"kept").unwrap();
        let mut buf = [0; 16];
        assert_eq!(conn.recv(&mut buf).await.unwrap(), 4);
        give_up_a_recv(&mut conn).await;
        let mut again = Conn::from_fd(conn.into_fd().unwrap()).unwrap();
        peer.write_all(b"more").unwrap();
        assert_eq!(again.recv(&mut buf).await.unwrap(), 4);
        drop(again);
        runtime::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(peer.read(&mut buf).unwrap(), 0, "both numbers are closed");
    });
}

#[test]
fn unread_bytes_are_discarded_before_the_last_words() {
    on_both_runtimes(|| async {
        let (fd, mut peer) = pair();
        let mut conn = Conn::from_fd(fd).unwrap();
        peer.write_all(&[b'x'; 10_000]).unwrap();
        let mut first = [0; 1];
        assert_eq!(conn.recv(&mut first).await.unwrap(), 1);
        assert_eq!(conn.discard(5_000), 5_000);
        assert_eq!(conn.discard(64 << 10), 4_999);
        conn.send_all(b"405").await.unwrap();
        drop(conn.into_fd().unwrap());
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "405");
    });
}

#[test]
fn after_a_panic_the_sockets_of_the_dead_tasks_are_closed() {
    for driver in crate::net::testing::RUNTIMES {
        let (fd, mut peer) = pair();
        let (other_fd, mut other_peer) = pair();
        std::thread::spawn(move || {
            let result = std::panic::catch_unwind(|| {
                runtime::run_shard(driver, || async {
                    runtime::spawn(async move {
                        let mut conn = Conn::from_fd(fd).unwrap();
                        let _ = conn.recv(&mut [0; 16]).await;
                    });
                    let mut other = Conn::from_fd(other_fd).unwrap();
                    give_up_a_recv(&mut other).await;
                    let other = Rc::new(Cell::new(Some(other)));
                    std::mem::forget(Rc::clone(&other));
                    runtime::sleep(std::time::Duration::from_millis(5)).await;
                    panic!("as expected");
                })
            });
            assert!(result.is_err());
            // One or two: the runtime may drop a task on its way down.
            assert!((1..=2).contains(&runtime::abandon_all()));
            assert_eq!(runtime::abandon_all(), 0);
        })
        .join()
        .unwrap();
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(other_peer.read(&mut [0; 1]).unwrap(), 0);
    }
}
