//! Bytes: all of them, in order, to peers of every speed.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::Event;
use super::Rig;
use super::Slot;
use super::Via;
use super::on_every_pair;
use crate::base::prng::Prng;
use crate::net::host;

const SOCKETS: u64 = 1_000;

/// What one viewer of the crowd is to get: `range` of the pattern.
struct Course {
    slot: Slot,
    cursor: usize,
    end: usize,
}

#[test]
fn a_thousand_sockets_get_exactly_their_bytes() {
    host::raise_open_files(8_192).unwrap();
    on_every_pair(|mut rig| async move {
        let mut random = Prng::new(7);
        let mut courses = BTreeMap::new();
        let mut peers = Vec::new();
        for key in 0..SOCKETS {
            let (slot, peer) = rig.add(key);
            let start = random.below(500_000) as usize;
            let end = start + random.below(100_000) as usize;
            courses.insert(key, Course { slot, cursor: start, end });
            peers.push((peer, start..end));
        }
        let bytes = Arc::clone(&rig.bytes);
        let readers = std::thread::spawn(move || {
            for (mut peer, range) in peers {
                let mut received = Vec::new();
                peer.read_to_end(&mut received).unwrap();
                assert!(received == bytes[range]);
            }
        });
        for course in courses.values_mut() {
            go_on(&mut rig, course, &mut random);
        }
        let mut closed = 0;
        while closed < SOCKETS {
            for event in rig.turn().await {
                match event {
                    Event::Sent { key, send, result, is_released: true, .. } => {
                        drop(rig.egress.take_back(send));
                        let course = courses.get_mut(&key).unwrap();
                        match result {
                            Ok(sent) => course.cursor += sent,
                            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                        }
                        rig.egress.want_writable(course.slot);
                    }
                    Event::Writable { key, .. } => {
                        go_on(&mut rig, courses.get_mut(&key).unwrap(), &mut random);
                    }
                    Event::Closed { .. } => closed += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        readers.join().unwrap();
        let stats = rig.egress.stats();
        let total: usize = courses.values().map(|course| course.end).sum();
        assert!(stats.sent_bytes > 0 && stats.sent_bytes < total as u64);
        assert_eq!((stats.overflows, stats.hangups), (0, 0));
        rig.finish();
    });
}

/// The next piece of random size, by either way of sending, or the end.
fn go_on(rig: &mut Rig, course: &mut Course, random: &mut Prng) {
    let size = 1 + random.below(60_000) as usize;
    let until = course.end.min(course.cursor + size);
    if course.cursor == course.end {
        rig.egress.close(course.slot);
    } else if size.is_multiple_of(8) {
        let bytes = Arc::clone(&rig.bytes);
        match rig.egress.send_inline(course.slot, &bytes[course.cursor..until]) {
            Ok(sent) => course.cursor += sent,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        rig.egress.want_writable(course.slot);
    } else {
        let piece = rig.piece(course.cursor..until);
        rig.egress.send(course.slot, piece, Via::Copy);
    }
}

#[test]
fn a_stuck_peer_blocks_and_a_reading_one_makes_room() {
    on_every_pair(|mut rig| async move {
        let (slot, mut peer) = rig.add(1);
        for _ in 0..3 {
            let filled = rig.fill(slot).await;
            assert!(rig.egress.queued(slot).unwrap() > 0);
            rig.egress.want_writable(slot);
            rig.egress.want_writable(slot);
            rig.assert_quiet();
            peer.read_exact(&mut vec![0; filled]).unwrap();
            assert!(matches!(rig.next().await, Event::Writable { key: 1, .. }));
            // Once asked, once told.
            rig.assert_quiet();
        }
        // There is room already: told at once.
        rig.egress.want_writable(slot);
        assert!(matches!(rig.next().await, Event::Writable { .. }));
        assert!(rig.egress.stats().blocked >= 3);
        rig.egress.close(slot);
        rig.closed(slot).await;
        rig.finish();
    });
}

#[test]
fn what_a_peer_says_after_its_request_wakes_nobody() {
    on_every_pair(|mut rig| async move {
        let (slot, mut peer) = rig.add(1);
        let piece = rig.piece(0..1000);
        rig.egress.send(slot, piece, Via::Copy);
        assert_eq!(rig.next_sent().await.unwrap(), 1000);
        rig.assert_quiet();
        for _ in 0..5 {
            peer.write_all(&[b'x'; 1000]).unwrap();
            rig.assert_quiet();
        }
        // And does not spoil the end: unread bytes would turn FIN into RST.
        rig.egress.close(slot);
        rig.closed(slot).await;
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert!(received == rig.bytes[..1000]);
        rig.finish();
    });
}

#[test]
fn half_a_peer_can_still_be_sent_to() {
    on_every_pair(|mut rig| async move {
        let (slot, mut peer) = rig.add(5);
        peer.shutdown(Shutdown::Write).unwrap();
        assert!(matches!(rig.next().await, Event::HungUp { key: 5, .. }));
        rig.assert_quiet();
        let piece = rig.piece(0..100);
        rig.egress.send(slot, piece, Via::Copy);
        assert_eq!(rig.next_sent().await.unwrap(), 100);
        assert_eq!(rig.egress.send_inline(slot, b"more").unwrap(), 4);
        rig.egress.close(slot);
        rig.closed(slot).await;
        assert_eq!(peer.read_to_end(&mut Vec::new()).unwrap(), 104);
        rig.finish();
    });
}

#[test]
fn the_kernel_says_what_arrived() {
    on_every_pair(|mut rig| async move {
        let (slot, mut peer) = rig.add(1);
        let piece = rig.piece(0..5000);
        rig.egress.send(slot, piece, Via::Copy);
        assert_eq!(rig.next_sent().await.unwrap(), 5000);
        peer.read_exact(&mut [0; 5000]).unwrap();
        while rig.egress.queued(slot).unwrap() > 0 {
            std::thread::yield_now();
        }
        assert_eq!(rig.egress.acked(slot).unwrap().bytes_acked, 5000);
        rig.egress.close(slot);
        rig.closed(slot).await;
        assert!(rig.egress.acked(slot).is_err() && rig.egress.queued(slot).is_err());
        rig.finish();
    });
}

#[test]
fn ten_thousand_sends_wake_ten_thousand_times() {
    on_every_pair(|mut rig| async move {
        let (slot, peer) = rig.add(1);
        let reader = std::thread::spawn(move || read_all(peer));
        for at in 0..10_000 {
            let piece = rig.piece(at..at + 1);
            rig.egress.send(slot, piece, Via::Copy);
            // One that is lost stops here for ever.
            assert_eq!(rig.next_sent().await.unwrap(), 1);
            assert_eq!(rig.alive.load(SeqCst), 0);
        }
        rig.egress.close(slot);
        rig.closed(slot).await;
        assert!(reader.join().unwrap() == rig.bytes[..10_000]);
        rig.finish();
    });
}

fn read_all(mut peer: TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    received
}
