//! One viewer per stream: what recv() brought, sendmsg() takes on, chunk heads left out.
//!
//! The payload is never moved (but when the buffer's end is near): the runs between the chunk
//! heads go out as one vector. A pair holds a buffer only while it has something unsent; the one
//! that was given back last, and is in the cache, is taken first. A viewer that does not take its bytes stops its engine; none is
//! lost.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net;
use rustix::net::RecvFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendFlags;

use crate::args::Args;
use crate::clock;
use crate::clock::UNSENT_MAX;
use crate::feed::Feed;
use crate::feed::Step;
use crate::front;
use crate::front::Front;
use crate::front::Happening;
use crate::kind::RECEIVE_BYTES;
use crate::request;
use crate::table::Key;
use crate::table::Table;

/// Runs per send.
const RUNS_MAX: usize = 16;
/// With less room than this, what is unsent moves to the front.
const ROOM_MIN: usize = RECEIVE_BYTES / 4;

pub(crate) struct Relay {
    front: Front,
    engine: SocketAddr,
    send_bytes: usize,
    quiet: bool,
    pairs: Table<Pair>,
    buffers: Vec<Box<[u8]>>,
    names: HashMap<String, Key>,
    next_due: Option<Instant>,
    serial: u64,
}

struct Pair {
    name: String,
    viewer: OwnedFd,
    feed: Feed,
    /// Empty while nothing is unsent.
    buffer: Box<[u8]>,
    /// Received up to here.
    end: usize,
    /// Where unsent payload stands in the buffer, in order.
    runs: VecDeque<Range<usize>>,
    unsent: usize,
    due: Option<Instant>,
    viewer_is_full: bool,
    /// The engine has more than the buffer has room for.
    engine_waits: bool,
}

/// Whether a pair goes on.
type Goes = Result<(), String>;

impl Relay {
    pub(crate) fn new(front: Front, args: &Args) -> Relay {
        Relay {
            front,
            engine: args.engine,
            send_bytes: args.send_bytes as usize,
            quiet: args.quiet,
            pairs: Table::new(),
            buffers: Vec::new(),
            names: HashMap::new(),
            next_due: None,
            serial: 0,
        }
    }

    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut happenings = Vec::new();
        loop {
            let time_max = self.next_due.map(|due| due.saturating_duration_since(clock::now()));
            self.front.wait(time_max, &mut happenings)?;
            for happening in happenings.drain(..) {
                match happening {
                    Happening::Join(fd, name) => self.join(fd, name)?,
                    Happening::Engine(key) => self.engine_event(key)?,
                    Happening::Viewer { key, left: true } => self.end(key, "the viewer left"),
                    Happening::Viewer { key, left: false } => self.room_again(key),
                }
            }
            if self.next_due.is_some_and(|due| due <= clock::now()) {
                self.look_at_all();
            }
        }
    }

    fn join(&mut self, viewer: OwnedFd, name: String) -> io::Result<()> {
        if self.names.contains_key(&name) {
            self.tell(format_args!("{name}: has its viewer"));
            front::refuse(&viewer, request::TAKEN);
            return Ok(());
        }
        self.serial += 1;
        let feed = match Feed::open(self.engine, &name, self.serial) {
            Ok(feed) => feed,
            Err(why) => {
                self.tell(format_args!("{name}: {why}"));
                return Ok(());
            }
        };
        if net::send(&viewer, request::OK, SendFlags::NOSIGNAL).is_err() {
            return Ok(());
        }
        let key = self.pairs.insert(Pair {
            name: name.clone(),
            viewer,
            feed,
            buffer: Box::default(),
            end: 0,
            runs: VecDeque::new(),
            unsent: 0,
            due: None,
            viewer_is_full: false,
            engine_waits: false,
        });
        self.names.insert(name, key);
        let pair = self.pairs.get(key).expect("it was just put there");
        self.front.watch_engine(&pair.feed, key)?;
        self.front.watch_viewer(&pair.viewer, key)
    }

    fn engine_event(&mut self, key: Key) -> io::Result<()> {
        let Some(pair) = self.pairs.get(key) else { return Ok(()) };
        let goes = match pair.feed.step() {
            Ok(Step::Wait) => return Ok(()),
            Ok(Step::Hop) => return self.front.watch_engine(&pair.feed, key),
            Ok(Step::Body) => pair.relay(self.send_bytes, &mut self.buffers),
            Err(why) => Err(why),
        };
        self.after(key, goes);
        Ok(())
    }

    fn room_again(&mut self, key: Key) {
        let Some(pair) = self.pairs.get(key).filter(|pair| pair.viewer_is_full) else { return };
        pair.viewer_is_full = false;
        let goes = pair.relay(self.send_bytes, &mut self.buffers);
        self.after(key, goes);
    }

    fn after(&mut self, key: Key, goes: Goes) {
        let pair = self.pairs.get(key).expect("a pair that is relayed");
        if pair.unsent == 0 && !pair.buffer.is_empty() {
            self.buffers.push(std::mem::take(&mut pair.buffer));
            pair.end = 0;
        }
        match goes {
            // What there is, here or still in the socket, has its time.
            Ok(()) if pair.due.is_none() => {
                let due = clock::now() + UNSENT_MAX;
                pair.due = Some(due);
                self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
            }
            Ok(()) => {}
            Err(why) => {
                let _ = pair.send(1, self.send_bytes);
                self.end(key, &why);
            }
        }
    }

    fn look_at_all(&mut self) {
        let now = clock::now();
        self.next_due = None;
        for key in self.pairs.keys().collect::<Vec<_>>() {
            let pair = self.pairs.get(key).expect("a number in use");
            if pair.due.is_some_and(|due| due <= now) {
                // What has come meanwhile woke nobody.
                let mut goes = pair.relay(self.send_bytes, &mut self.buffers);
                if goes.is_ok() && pair.due.is_some_and(|due| due <= now) {
                    pair.due = None;
                    goes = pair.send(1, self.send_bytes);
                    pair.sleep(self.send_bytes);
                }
                self.after(key, goes);
            }
            let due = self.pairs.get(key).and_then(|pair| pair.due);
            self.next_due = self.next_due.into_iter().chain(due).min();
        }
    }

    fn end(&mut self, key: Key, why: &str) {
        let Some(pair) = self.pairs.remove(key) else { return };
        self.names.remove(&pair.name);
        self.tell(format_args!("{}: {why}, {} bytes unsent", pair.name, pair.unsent));
    }

    fn tell(&self, what: std::fmt::Arguments<'_>) {
        if !self.quiet {
            eprintln!("floor: {what}");
        }
    }
}

impl Pair {
    /// Takes all that the engine has, sends what makes a send.
    fn relay(&mut self, send_bytes: usize, buffers: &mut Vec<Box<[u8]>>) -> Goes {
        self.send(send_bytes, send_bytes)?;
        if self.buffer.is_empty() {
            let fresh = || vec![0; send_bytes + RECEIVE_BYTES].into_boxed_slice();
            self.buffer = buffers.pop().unwrap_or_else(fresh);
        }
        loop {
            self.make_room();
            let room = &mut self.buffer[self.end..];
            self.engine_waits = room.is_empty();
            if self.engine_waits {
                return Ok(());
            }
            let room_len = room.len();
            let received = match net::recv(&self.feed, room, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err("the engine hung up".to_owned()),
                Ok((_, received)) => received,
                Err(Errno::AGAIN) => {
                    self.sleep(send_bytes);
                    return Ok(());
                }
                Err(error) => return Err(format!("the engine: {error}")),
            };
            let bytes = &self.buffer[self.end..self.end + received];
            let mut at = 0;
            while let Some(run) = self.feed.framing.next(bytes, &mut at) {
                self.unsent += run.len();
                self.runs.push_back(self.end + run.start..self.end + run.end);
            }
            self.end += received;
            self.send(send_bytes, send_bytes)?;
            if self.feed.framing.is_over() {
                return Err("the engine ended it".to_owned());
            }
            if received < room_len {
                self.sleep(send_bytes);
                return Ok(());
            }
        }
    }

    /// Until there is enough for a send.
    fn sleep(&mut self, send_bytes: usize) {
        self.feed.wake_from(send_bytes - self.unsent.min(send_bytes - 1));
    }

    /// Sends while there are at least `least` bytes and the viewer takes them.
    fn send(&mut self, least: usize, send_bytes: usize) -> Goes {
        while self.unsent >= least && !self.viewer_is_full {
            let mut vector = [IoSlice::new(&[]); RUNS_MAX];
            let (mut parts, mut len) = (0, 0);
            for run in self.runs.iter().take(RUNS_MAX) {
                let part = run.len().min(send_bytes - len);
                if part == 0 {
                    break;
                }
                vector[parts] = IoSlice::new(&self.buffer[run.start..run.start + part]);
                parts += 1;
                len += part;
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let none = &mut SendAncillaryBuffer::default();
            let sent = if parts == 1 {
                net::send(&self.viewer, &vector[0], flags)
            } else {
                net::sendmsg(&self.viewer, &vector[..parts], none, flags)
            };
            match sent {
                Ok(sent) => self.take(sent),
                Err(Errno::AGAIN) => self.viewer_is_full = true,
                Err(error) => return Err(format!("the viewer: {error}")),
            }
        }
        Ok(())
    }

    fn take(&mut self, mut sent: usize) {
        self.due = None;
        self.unsent -= sent;
        while sent > 0 {
            let run = self.runs.front_mut().expect("what was sent stood in a run");
            let part = sent.min(run.len());
            run.start += part;
            sent -= part;
            if run.start == run.end {
                self.runs.pop_front();
            }
        }
    }

    fn make_room(&mut self) {
        if self.runs.is_empty() {
            self.end = 0;
        } else if self.buffer.len() - self.end < ROOM_MIN {
            let mut end = 0;
            for run in &mut self.runs {
                self.buffer.copy_within(run.clone(), end);
                *run = end..end + run.len();
                end = run.end;
            }
            self.end = end;
        }
    }
}
