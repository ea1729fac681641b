//! Real sockets: what was sent from the twin is right when it is read long after the window has
//! moved on and the pages were given back.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

use super::SLAB;
use super::check_bytes;
use super::fixture;
use crate::base::prng::Prng;
use crate::ring::Reader;
use rustix::io::Errno;
use std::io::Read;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::channel;

fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    sender.set_nonblocking(true).unwrap();
    (sender, listener.accept().unwrap().0)
}

fn unix() -> (UnixStream, UnixStream) {
    let (sender, receiver) = UnixStream::pair().unwrap();
    sender.set_nonblocking(true).unwrap();
    (sender, receiver)
}

/// A turn: as much of the twin as the socket takes. The new cursor.
fn send(reader: &mut Reader, socket: &impl AsFd, cursor: u64, len_max: usize) -> u64 {
    let turn = reader.turn(Some(cursor));
    let mut at = cursor;
    while let Some(shared) = turn.shared(at, len_max) {
        let mut from = shared.at;
        match rustix::fs::sendfile(socket, shared.file, Some(&mut from), shared.len) {
            Ok(0) => panic!("the file ends at {at}"),
            Ok(sent) => at += sent as u64,
            Err(Errno::AGAIN) => break,
            Err(error) => panic!("sendfile: {error}"),
        }
    }
    at
}

fn receive(socket: &mut impl Read, from: u64, to: u64) {
    let mut bytes = vec![0; (to - from) as usize];
    socket.read_exact(&mut bytes).unwrap();
    check_bytes(&bytes, from);
}

#[test]
fn a_reader_that_stalls_gets_no_wrong_byte() {
    let (sender, mut receiver) = tcp();
    stall(&sender, &mut receiver);
    let (sender, mut receiver) = unix();
    stall(&sender, &mut receiver);
}

fn stall(sender: &impl AsFd, receiver: &mut impl Read) {
    let mut f = fixture(64, 8);
    let mut reader = f.reader(0);
    f.go(3);
    f.writer.open_twin(4 * SLAB).unwrap();
    for round in 0..4 {
        f.go(5);
        let from = f.writer.head() - 4 * SLAB;
        let to = send(&mut reader, sender, from, 128 * 1024);
        assert!(to > from, "the queue is empty and takes something");
        f.go(25);
        if round == 1 {
            f.writer.close_twin();
            assert_eq!(f.held(), 0);
            f.go(1);
            f.writer.open_twin(4 * SLAB).unwrap();
            f.go(10);
        }
        assert!(f.held() <= 6 * SLAB, "a socket's queue is no memory of the file");
        receive(receiver, from, to);
    }
}

#[test]
fn a_page_that_is_sent_and_appended_to_is_right() {
    let mut f = fixture(64, 8);
    let mut reader = f.reader(0);
    let (sender, mut receiver) = tcp();
    f.writer.open_twin(2 * SLAB).unwrap();
    let (mut cursor, mut read) = (0, 0);
    for round in 0..400 {
        f.commit(1 + round % 7);
        f.writer.tend(&mut f.cache);
        cursor = send(&mut reader, &sender, cursor, 1 << 20);
        assert_eq!(cursor, f.writer.head());
        if round % 50 == 49 {
            receive(&mut receiver, read, cursor);
            read = cursor;
        }
    }
}

/// A viewer that reads in fits, on a thread of its own; a sender on another, behind an owner that
/// waits for nobody.
#[test]
fn threads_send_right_bytes_while_the_window_runs_away() {
    let mut f = fixture(128, 12);
    let (arena, ring) = (f.arena, f.writer.ring().clone());
    f.go(6);
    f.writer.open_twin(3 * SLAB).unwrap();
    let readers = [0, 1].map(|index| f.reader(index));
    let sent = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        // Here, so that a panic ends the stream, and with it the senders.
        let mut f = f;
        let senders: Vec<_> = readers
            .into_iter()
            .zip(&sent)
            .map(|(reader, sent)| scope.spawn(move || send_until_ended(reader, sent)))
            .collect();
        let mut prng = Prng::new(5);
        let mut rounds = 0;
        while rounds < 400 || sent.iter().any(|sent| sent.load(Ordering::Relaxed) < SLAB) {
            rounds += 1;
            f.commit_in_time(1 + prng.below(900) as usize);
            f.writer.tend(&mut f.cache);
            if prng.chance(20) {
                f.writer.close_twin();
                f.writer.open_twin((1 + prng.below(4)) * SLAB).unwrap();
            }
        }
        f.writer.end();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        f.writer.close_twin();
    });
    let stat = rustix::fs::fstat(ring.twin_file.get().unwrap().fd()).unwrap();
    assert_eq!((arena.twin_bytes(), stat.st_blocks), (0, 0));
}

/// Sends runs of the stream, from near head whenever it was overtaken; what is on the wire says
/// nothing of the jumps, so the receiver is told through a channel.
fn send_until_ended(mut reader: Reader, sent: &AtomicU64) {
    let (sender, receiver) = tcp();
    std::thread::scope(|scope| {
        let (tell, told) = channel();
        scope.spawn(move || receive_in_fits(receiver, &told));
        let mut prng = Prng::new(reader.index() as u64);
        let mut cursor = 0;
        loop {
            let ended = reader.ring().is_ended();
            let turn = reader.turn(None);
            let (head, goes_on) = (turn.head(), turn.shared(cursor, 1).is_some());
            let is_there = turn.shared(head - 1, 1).is_some();
            drop(turn);
            if ended && (cursor >= head || !is_there) {
                return;
            }
            if !goes_on {
                cursor = head.saturating_sub(prng.below(4 * SLAB) / 188 * 188);
            }
            let to = send(&mut reader, &sender, cursor, 1 + prng.below(2 * SLAB) as usize);
            if tell.send((cursor, to)).is_err() {
                return;
            }
            sent.fetch_add(to - cursor, Ordering::Relaxed);
            if to == cursor {
                std::thread::yield_now();
            }
            cursor = to;
        }
    });
}

/// A run of no bytes is one that did not fit: now all that waits is read.
fn receive_in_fits(mut receiver: TcpStream, told: &Receiver<(u64, u64)>) {
    let mut prng = Prng::new(1);
    let mut waiting = Vec::new();
    while let Ok((from, to)) = told.recv() {
        waiting.push((from, to));
        if from == to || prng.chance(300) {
            waiting.drain(..).for_each(|(from, to)| receive(&mut receiver, from, to));
        }
    }
    waiting.drain(..).for_each(|(from, to)| receive(&mut receiver, from, to));
}
