//! One buffer per stream, any number of viewers: the loop of `write`, `sendfile` and `zerocopy`.
//!
//! Whenever the send size has come, everybody gets it; a rest waits for more, or for its 100 ms.
//! Nothing is received over bytes that a viewer lacks: who would make that necessary is closed.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;

use crate::args::Args;
use crate::clock;
use crate::clock::UNSENT_MAX;
use crate::feed::Feed;
use crate::feed::Step;
use crate::front::Front;
use crate::front::Happening;
use crate::kind::Kind;
use crate::kind::RECEIVE_BYTES;
use crate::kind::WINDOW_BYTES;
use crate::request;
use crate::table::Key;
use crate::table::Table;
use crate::viewers;
use crate::viewers::State;
use crate::viewers::Viewer;

const PACKET_BYTES: u64 = 188;
/// How long an engine waits for viewers to take a burst; then they are too slow. A busy machine may
/// keep an able one from its core for a quarter of a second.
const STALL_MAX: Duration = Duration::from_secs(2);
/// How soon an engine that waits is looked at again.
const STALL_STEP: Duration = Duration::from_millis(2);
/// A stream that nobody watches goes on this long.
const EMPTY_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Server<K: Kind> {
    kind: K,
    front: Front,
    engine: SocketAddr,
    send_bytes: u64,
    quiet: bool,
    streams: Table<Stream<K::Store>>,
    names: HashMap<String, Key>,
    viewers: Table<Viewer>,
    /// Streams whose engine is not read because there is no room.
    stalled: Vec<Key>,
    /// No stream has anything to be done before.
    next_due: Option<Instant>,
    serial: u64,
    closed_slow: u64,
}

struct Stream<S> {
    name: String,
    feed: Feed,
    store: S,
    /// Received.
    head: u64,
    /// Everybody was brought up to here.
    sent: u64,
    /// A bound from below of what is still needed.
    low: u64,
    viewers: Vec<Key>,
    empty_since: Option<Instant>,
    due: Option<Instant>,
    /// Since when its engine waits.
    stalled: Option<Instant>,
}

#[expect(clippy::disallowed_methods, reason = "a stream is over and nothing is measured")]
fn rest() {
    std::thread::sleep(STALL_STEP);
}

/// Why a stream ends.
type Ended = String;

impl<K: Kind> Server<K> {
    pub(crate) fn new(kind: K, front: Front, args: &Args) -> Server<K> {
        Server {
            kind,
            front,
            engine: args.engine,
            send_bytes: args.send_bytes,
            quiet: args.quiet,
            streams: Table::new(),
            names: HashMap::new(),
            viewers: Table::new(),
            stalled: Vec::new(),
            next_due: None,
            serial: 0,
            closed_slow: 0,
        }
    }

    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut happenings = Vec::new();
        loop {
            self.front.wait(self.time_max(), &mut happenings)?;
            for happening in happenings.drain(..) {
                match happening {
                    Happening::Join(fd, name) => self.join(fd, name)?,
                    Happening::Engine(key) => self.engine_event(key)?,
                    Happening::Viewer { key, left: true } => self.leave(key),
                    Happening::Viewer { key, left: false } => self.room_again(key)?,
                }
            }
            self.retry_stalled()?;
            if self.next_due.is_some_and(|due| due <= clock::now()) {
                self.look_at_all()?;
            }
        }
    }

    fn time_max(&self) -> Option<Duration> {
        if !self.stalled.is_empty() {
            return Some(STALL_STEP);
        }
        self.next_due.map(|due| due.saturating_duration_since(clock::now()))
    }

    fn join(&mut self, fd: OwnedFd, name: String) -> io::Result<()> {
        if net::send(&fd, request::OK, SendFlags::NOSIGNAL).is_err() {
            return Ok(());
        }
        let key = match self.names.get(&name) {
            Some(key) => *key,
            None => match self.open(&name)? {
                Some(key) => key,
                None => return Ok(()),
            },
        };
        let stream = self.streams.get(key).expect("a stream with a name is in the table");
        let cursor = stream.sent.next_multiple_of(PACKET_BYTES);
        let viewer = self.viewers.insert(Viewer { fd, stream: key, cursor, state: State::Ready });
        stream.viewers.push(viewer);
        stream.empty_since = None;
        let viewer_fd = &self.viewers.get(viewer).expect("it was just put there").fd;
        self.front.watch_viewer(viewer_fd, viewer)
    }

    fn open(&mut self, name: &str) -> io::Result<Option<Key>> {
        self.serial += 1;
        let feed = match Feed::open(self.engine, name, self.serial) {
            Ok(feed) => feed,
            Err(why) => {
                self.tell(format_args!("{name}: {why}"));
                return Ok(None);
            }
        };
        let key = self.streams.insert(Stream {
            name: name.to_owned(),
            feed,
            store: self.kind.open()?,
            head: 0,
            sent: 0,
            low: 0,
            viewers: Vec::new(),
            empty_since: None,
            due: None,
            stalled: None,
        });
        self.names.insert(name.to_owned(), key);
        let feed = &self.streams.get(key).expect("it was just put there").feed;
        self.front.watch_engine(feed, key)?;
        Ok(Some(key))
    }

    fn engine_event(&mut self, key: Key) -> io::Result<()> {
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        let ended = match stream.feed.step() {
            Ok(Step::Wait) => return Ok(()),
            Ok(Step::Hop) => return self.front.watch_engine(&stream.feed, key),
            Ok(Step::Body) => self.receive(key)?,
            Err(why) => Some(why),
        };
        match ended {
            Some(why) => self.end(key, &why),
            None => Ok(()),
        }
    }

    /// Takes all that an engine has, sends what makes a send.
    fn receive(&mut self, key: Key) -> io::Result<Option<Ended>> {
        loop {
            if !self.has_room(key) {
                let stream = self.streams.get(key).expect("a stream that is received");
                stream.stalled.get_or_insert_with(clock::now);
                if !self.stalled.contains(&key) {
                    self.stalled.push(key);
                }
                return Ok(None);
            }
            let stream = self.streams.get(key).expect("a stream that is received");
            stream.stalled = None;
            let room = (WINDOW_BYTES - (stream.head - stream.low)) as usize;
            let buffer = self.kind.buffer(&mut stream.store, stream.head, room);
            let received = match net::recv(&stream.feed, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Ok(Some("the engine hung up".to_owned())),
                Ok((_, received)) => received,
                Err(Errno::AGAIN) => {
                    self.sleep(key);
                    return Ok(None);
                }
                Err(error) => return Ok(Some(format!("the engine: {error}"))),
            };
            let is_all = received < buffer.len();
            let len = stream.feed.framing.squeeze(&mut buffer[..received]);
            self.kind.commit(&mut stream.store, stream.head, len, stream.low)?;
            stream.head += len as u64;
            let whole = (stream.head - stream.sent) / self.send_bytes * self.send_bytes;
            if whole > 0 {
                let target = stream.sent + whole;
                self.flush(key, target)?;
            }
            let stream = self.streams.get(key).expect("a stream that is received");
            if stream.feed.framing.is_over() {
                return Ok(Some("the engine ended it".to_owned()));
            }
            if is_all {
                self.sleep(key);
                return Ok(None);
            }
        }
    }

    /// Until there is enough for a send, or the time of what there is has come: where it is, here or
    /// still in the socket, makes no difference to a viewer.
    fn sleep(&mut self, key: Key) {
        let stream = self.streams.get(key).expect("a stream that is received");
        let rest = (stream.head - stream.sent).min(self.send_bytes - 1);
        stream.feed.wake_from((self.send_bytes - rest) as usize);
        if stream.due.is_none() {
            self.set_due(key);
        }
    }

    /// Everybody gets what there is up to `target`.
    fn flush(&mut self, key: Key, target: u64) -> io::Result<()> {
        let stream = self.streams.get(key).expect("a stream that is flushed");
        stream.sent = target;
        stream.due = None;
        self.kind.send(&stream.store, &mut self.viewers, &stream.viewers, target)?;
        self.close_broken(key);
        Ok(())
    }

    fn set_due(&mut self, key: Key) {
        let stream = self.streams.get(key).expect("a stream that waits");
        let due = clock::now() + UNSENT_MAX;
        stream.due = Some(due);
        self.look_at(due);
    }

    /// Whether a receive has room, if need be when the slow are gone.
    fn has_room(&mut self, key: Key) -> bool {
        let window = WINDOW_BYTES - RECEIVE_BYTES as u64;
        let stream = self.streams.get(key).expect("a stream that is received");
        if stream.head - stream.low <= window {
            return true;
        }
        let held = self.kind.held_from(&stream.store, stream.head);
        let mut low = held.min(stream.sent);
        let mut slow = false;
        let needed = stream.head.saturating_sub(window - K::HELD_BYTES);
        let is_patient = stream.stalled.is_none_or(|since| since.elapsed() < STALL_MAX);
        for viewer in &stream.viewers {
            let viewer = self.viewers.get(*viewer).expect("a stream's viewers are in the table");
            if viewer.cursor < needed && !is_patient {
                viewer.state = State::Broken;
                self.closed_slow += 1;
                slow = true;
            } else {
                low = low.min(viewer.cursor);
            }
        }
        stream.low = low;
        let has_room = stream.head - low <= window;
        if slow {
            self.close_broken(key);
            self.tell(format_args!("{} viewers were too slow so far", self.closed_slow));
        }
        has_room
    }

    fn retry_stalled(&mut self) -> io::Result<()> {
        for key in std::mem::take(&mut self.stalled) {
            self.engine_event(key)?;
        }
        Ok(())
    }

    fn room_again(&mut self, key: Key) -> io::Result<()> {
        let Some(viewer) = self.viewers.get(key) else { return Ok(()) };
        if viewer.state != State::Full {
            return Ok(());
        }
        viewer.state = State::Ready;
        let stream_key = viewer.stream;
        let stream = self.streams.get(stream_key).expect("a viewer has a stream");
        self.kind.send(&stream.store, &mut self.viewers, &[key], stream.sent)?;
        let viewer = self.viewers.get(key).expect("a send closes nobody");
        if viewer.state == State::Broken {
            self.leave(key);
        }
        Ok(())
    }

    fn leave(&mut self, key: Key) {
        let Some(viewer) = self.viewers.get(key) else { return };
        viewer.state = State::Broken;
        let stream = viewer.stream;
        self.close_broken(stream);
    }

    fn close_broken(&mut self, key: Key) {
        let stream = self.streams.get(key).expect("a stream with viewers");
        let viewers = &mut self.viewers;
        stream.viewers.retain(|key| {
            let viewer = viewers.get(*key).expect("a stream's viewers are in the table");
            let stays = viewer.state != State::Broken;
            if !stays && let Some(viewer) = viewers.remove(*key) {
                viewers::reset(viewer.fd);
            }
            stays
        });
        if stream.viewers.is_empty() && stream.empty_since.is_none() {
            let now = clock::now();
            stream.empty_since = Some(now);
            self.look_at(now + EMPTY_MAX);
        }
    }

    fn look_at(&mut self, due: Instant) {
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
    }

    /// Flushes what waited long enough, ends what nobody watches.
    fn look_at_all(&mut self) -> io::Result<()> {
        let now = clock::now();
        self.next_due = None;
        for key in self.streams.keys().collect::<Vec<_>>() {
            let stream = self.streams.get(key).expect("it is ended nowhere but here");
            let empty_until = stream.empty_since.map(|since| since + EMPTY_MAX);
            if empty_until.is_some_and(|until| until <= now) {
                self.end(key, "nobody watches")?;
                continue;
            }
            if stream.due.is_some_and(|due| due <= now) {
                // What has come meanwhile woke nobody.
                if let Some(why) = self.receive(key)? {
                    self.end(key, &why)?;
                    continue;
                }
                let stream = self.streams.get(key).expect("a receive ends no stream");
                if stream.due.is_some_and(|due| due <= now) {
                    stream.due = None;
                    let target = stream.head;
                    if target > stream.sent {
                        self.flush(key, target)?;
                    }
                    self.sleep(key);
                }
            }
            let stream = self.streams.get(key).expect("a flush ends no stream");
            let dues = [stream.due, empty_until];
            dues.into_iter().flatten().for_each(|due| self.look_at(due));
        }
        Ok(())
    }

    /// Who has everything is hung up on politely: the kernel sends what it holds.
    fn end(&mut self, key: Key, why: &str) -> io::Result<()> {
        let stream = self.streams.get(key).expect("a stream ends once");
        let target = stream.head;
        self.flush(key, target)?;
        self.wait_for_all(key, target)?;
        let stream = self.streams.remove(key).expect("a flush ends no stream");
        self.names.remove(&stream.name);
        for key in &stream.viewers {
            let viewer = self.viewers.remove(*key).expect("a stream's viewers are in the table");
            if viewer.cursor < target {
                self.closed_slow += 1;
                viewers::reset(viewer.fd);
            }
        }
        self.kind.close(stream.store);
        self.tell(format_args!("{}: {why}", stream.name));
        Ok(())
    }

    /// Nothing is measured when a stream ends, so that everything else may wait for its viewers.
    fn wait_for_all(&mut self, key: Key, target: u64) -> io::Result<()> {
        let begun = clock::now();
        loop {
            let stream = self.streams.get(key).expect("a stream that ends");
            let mut is_behind = false;
            for viewer in &stream.viewers {
                let viewer =
                    self.viewers.get(*viewer).expect("a stream's viewers are in the table");
                is_behind |= viewer.cursor < target;
                viewer.state = State::Ready;
            }
            if !is_behind || begun.elapsed() >= STALL_MAX {
                return Ok(());
            }
            rest();
            self.flush(key, target)?;
        }
    }

    fn tell(&self, what: std::fmt::Arguments<'_>) {
        if !self.quiet {
            eprintln!("floor: {what}");
        }
    }
}
