//! Ends: the peer's, ours in order, ours at once.

use std::io::ErrorKind;
use std::io::Read;
use std::net::Shutdown;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use super::Driver;
use super::Event;
use super::Rig;
use super::Via;
use super::on_every_pair;

/// Closes with RST.
fn reset(peer: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_peer_that_leaves_is_reported_once() {
    on_every_pair(|mut rig| async move {
        let (left, peer) = rig.add(1);
        drop(peer);
        assert!(matches!(rig.next().await, Event::HungUp { key: 1, .. }));
        let (broke, peer) = rig.add(2);
        rig.assert_quiet_but_for_edges();
        reset(peer);
        assert!(matches!(rig.next().await, Event::HungUp { key: 2, .. }));
        // Somebody who had left before we began to look.
        let (fd, peer) = crate::net::testing::pair();
        drop(peer);
        let gone = rig.egress.add(fd, 3).unwrap();
        assert!(matches!(rig.next().await, Event::HungUp { key: 3, .. }));

        let piece = rig.piece(0..10);
        rig.egress.send(broke, piece, Via::Copy);
        let error = rig.next_sent().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
        rig.assert_quiet();
        assert_eq!(rig.egress.stats().hangups, 3);
        for slot in [left, broke, gone] {
            rig.egress.close(slot);
            rig.closed(slot).await;
        }
        rig.finish();
    });
}

#[test]
fn one_who_leaves_in_two_steps_is_still_reported_once() {
    on_every_pair(|mut rig| async move {
        let (slot, peer) = rig.add(1);
        peer.shutdown(Shutdown::Write).unwrap();
        assert!(matches!(rig.next().await, Event::HungUp { key: 1, .. }));
        reset(peer);
        let mut events = Vec::new();
        while rig.egress.send_inline(slot, b"x").is_ok() {
            rig.egress.reap(&mut events);
        }
        rig.egress.submit().unwrap();
        rig.egress.reap(&mut events);
        assert!(events.is_empty(), "{events:?}");
        rig.egress.close(slot);
        rig.closed(slot).await;
        rig.finish();
    });
}

#[test]
fn leavers_wake_us_every_time() {
    on_every_pair(|mut rig| async move {
        let (leave, leaving) = mpsc::channel::<TcpStream>();
        let leaver = std::thread::spawn(move || {
            for (count, peer) in leaving.iter().enumerate() {
                match count % 2 {
                    0 => drop(peer),
                    _ => reset(peer),
                }
            }
        });
        for key in 0..1_000 {
            let (slot, peer) = rig.add(key);
            rig.egress.submit().unwrap();
            leave.send(peer).unwrap();
            match rig.next().await {
                Event::HungUp { slot: hung_up, .. } => assert_eq!(hung_up, slot),
                other => panic!("{other:?}"),
            }
            rig.egress.close(slot);
            rig.closed(slot).await;
        }
        drop(leave);
        leaver.join().unwrap();
        rig.finish();
    });
}

#[test]
fn an_orderly_close_sends_everything_and_then_fin() {
    on_every_pair(|mut rig| async move {
        let (slot, mut peer) = rig.add(1);
        let filled = rig.fill(slot).await;
        // A poll for room and one for the leaver are armed: close() alone would say nothing.
        rig.egress.want_writable(slot);
        rig.egress.submit().unwrap();
        rig.egress.close(slot);
        rig.egress.close(slot);
        rig.closed(slot).await;
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), filled);
        rig.finish();
    });
}

#[test]
fn an_abort_resets_a_stuck_peer_at_once() {
    on_every_pair(|mut rig| async move {
        let (stuck, mut peer) = rig.add(1);
        rig.fill(stuck).await;
        rig.egress.want_writable(stuck);
        rig.egress.submit().unwrap();
        rig.egress.abort(stuck);
        rig.closed(stuck).await;
        assert_eq!(read_to_the_end(&mut peer), Err(ErrorKind::ConnectionReset));

        // An orderly close that changed its mind, which epoll has done already.
        let (slow, mut peer) = rig.add(2);
        rig.fill(slow).await;
        rig.egress.close(slow);
        rig.egress.abort(slow);
        rig.closed(slow).await;
        let is_reset = read_to_the_end(&mut peer).is_err();
        assert_eq!(is_reset, rig.egress.driver() == Driver::Uring);
        rig.finish();
    });
}

fn read_to_the_end(peer: &mut TcpStream) -> Result<(), ErrorKind> {
    peer.read_to_end(&mut Vec::new()).map(|_| ()).map_err(|error| error.kind())
}

#[test]
fn payloads_come_back_before_the_end_whatever_is_under_way() {
    on_every_pair(|mut rig| async move {
        let (slot, mut peer) = rig.add(9);
        // Never submitted before the close.
        let piece = rig.piece(0..100);
        rig.egress.send(slot, piece, Via::Copy);
        rig.egress.close(slot);
        // Closing already.
        rig.egress.want_writable(slot);
        assert!(rig.egress.send_inline(slot, b"x").is_err());
        let mut events = Vec::new();
        while events.len() < 2 {
            events.append(&mut rig.turn().await);
        }
        assert!(matches!(&events[..], [Event::Sent { .. }, Event::Closed { .. }]), "{events:?}");
        rig.take_all_back(events);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), 100);

        let (slot, _peer) = rig.add(10);
        rig.egress.close(slot);
        let piece = rig.piece(0..100);
        rig.egress.send(slot, piece, Via::Copy);
        let mut events = Vec::new();
        while events.len() < 2 {
            events.append(&mut rig.turn().await);
        }
        let cancelled = events.iter().any(|event| match event {
            Event::Sent { result: Err(error), is_released: true, .. } => {
                error.raw_os_error() == Some(libc::ECANCELED)
            }
            _ => false,
        });
        assert!(cancelled, "{events:?}");
        rig.take_all_back(events);
        rig.finish();
    });
}

impl Rig {
    /// A new socket may have told epoll that it is writable; that is no event.
    fn assert_quiet_but_for_edges(&mut self) {
        self.egress.submit().unwrap();
        let mut events = Vec::new();
        self.egress.drain_wake();
        self.egress.reap(&mut events);
        assert!(events.is_empty(), "{events:?}");
    }
}
