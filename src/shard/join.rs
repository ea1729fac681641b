//! A viewer's way into an audience, and what its socket says while it is there.
//!
//! Every viewer that came in leaves through [`Core::finish`]; its place is free only when its socket
//! has been closed and nothing of it is in flight.

use crate::admin::hygiene;
use crate::admin::lines::ViewerStart;
use crate::base::ids::Target;
use crate::base::time::Wall;
use crate::http::render::ErrorCode;
use crate::http::render::ErrorReply;
use crate::http::render::write_error;
use crate::net::egress::Event;
use crate::net::egress::SendId;
use crate::net::egress::Slot;
use crate::registry::home;
use crate::shard::audience::Audience;
use crate::shard::audience::Entry;
use crate::shard::audience::Path;
use crate::shard::audience::Phase;
use crate::shard::audience::Stage;
use crate::shard::audience::Who;
use crate::shard::core::Core;
use crate::shard::core::Place;
use crate::shard::message::Message;
use crate::shard::message::StartFor;
use crate::shard::message::Watching;
use crate::shard::seats::Seat;
use crate::viewer::CloseReason;
use crate::viewer::Fanout;
use crate::viewer::Viewer;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// A player whose request was understood and allowed.
pub(crate) struct Joining {
    pub(crate) fd: OwnedFd,
    pub(crate) seat: Seat,
    /// Among all connections.
    pub(crate) socket: Seat,
    pub(crate) target: Target,
    pub(crate) seekback_seconds: Option<u32>,
    pub(crate) address: IpAddr,
    /// What it counts under where addresses have limits.
    pub(crate) limited_as: Option<IpAddr>,
    pub(crate) agent: String,
    pub(crate) name: Option<String>,
}

/// Why a player gets no stream: a refusal that is not about the stream.
#[derive(Clone, Debug)]
pub(crate) struct NotNow {
    pub(crate) code: ErrorCode,
    message: String,
    retry_after_s: Option<u32>,
}

impl NotNow {
    pub(crate) fn new(code: ErrorCode, message: &str) -> Self {
        Self { code, message: message.to_owned(), retry_after_s: code.retry_after_s() }
    }

    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>, with_body: bool) {
        let retry_after_s = self.retry_after_s;
        let error = ErrorReply { retry_after_s, ..ErrorReply::new(self.code, &self.message) };
        write_error(out, &error, with_body);
    }
}

/// A send that is over.
struct Sent {
    slot: Slot,
    send: SendId,
    is_released: bool,
}

/// Errors that speak of how it was sent, not of the peer.
fn is_about_the_way(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(
        errno,
        Some(libc::ENOMEM | libc::ENOBUFS | libc::EINVAL | libc::EOPNOTSUPP | libc::EFAULT)
    )
}

impl Core {
    /// Takes the socket over. The viewer waits in its audience until it can start.
    pub(crate) fn join(&mut self, joining: Joining) -> io::Result<()> {
        let Joining { fd, seat, socket, target, limited_as, .. } = joining;
        let at = self.audience_for(target, limited_as);
        let place = self.places.insert(Place { audience: at, entry: usize::MAX });
        let slot = match self.egress.add(fd, place as u64) {
            Ok(slot) => slot,
            Err(error) => {
                self.places.remove(place);
                return Err(error);
            }
        };
        let who = Box::new(Who {
            id: self.next_viewer(),
            address: joining.address,
            limited_as,
            agent: joining.agent,
            name: joining.name,
            connected_at: Wall::now(),
            _seats: [seat, socket],
        });
        let wait_until = self.now + self.shared.config.init_timeout;
        let entry = Entry {
            viewer: Viewer::new(self.now, joining.seekback_seconds),
            slot,
            place,
            phase: Phase::Waiting,
            path: self.paths.first(),
            lent: 0,
            wait_until,
            who,
            rate_mark: (0, self.now),
            acked_mark: (0, 0),
        };
        self.stats.viewers += 1;
        // A turn may bring a send and a hang-up of everybody: it finds room for them.
        self.events.reserve(2 * self.places.len());
        self.round.reserve(self.places.len());
        let audience = &mut self.audiences[at];
        audience.waiting += 1;
        audience.wait_deadline = audience.wait_deadline.min(wait_until);
        self.places[place].entry = audience.entries.insert(entry);
        audience.ready.reserve(2 * audience.entries.len());
        Ok(())
    }

    /// The audience of a key, made when there is none (or only one that is ending). `payer` is the
    /// address that a start would count against.
    pub(crate) fn audience_for(&mut self, target: Target, payer: Option<IpAddr>) -> usize {
        if let Some(at) = self.audience_keys.get(&target)
            && !self.audiences[*at].over
        {
            return *at;
        }
        let fanout = Fanout::new(&self.shared.config.policy);
        let token = self.next_token();
        let audience = Audience::new(target.clone(), Stage::Resolving { token }, fanout);
        let at = self.audiences.insert(audience);
        // An ending audience of this key keeps its viewers, but nobody finds it any more.
        self.audience_keys.insert(target.clone(), at);
        self.ask_home(token, target, payer);
        at
    }

    pub(crate) fn ask_home(&mut self, token: u64, target: Target, payer: Option<IpAddr>) {
        self.resolving.insert(token, target.clone());
        let to = home(&target, self.mail.shards());
        self.mail.send(to, Message::Resolve { from: self.me, token, target, payer });
    }

    /// Asks the key's home for the stream.
    pub(crate) fn subscribe(&mut self, at: usize, key: Target, open: Target, start: StartFor) {
        let audience = &mut self.audiences[at];
        audience.stage = Stage::Subscribing;
        let (count, waiting, copied) = audience.counts();
        audience.told = Some((count, waiting, copied));
        let to = home(&key, self.mail.shards());
        let (from, life) = (self.me, self.life);
        let subscribe =
            crate::shard::message::Subscribe { from, life, key, open, count, waiting, start };
        self.mail.send(to, Message::Subscribe(subscribe));
    }

    /// Puts everybody of `from` into `into`; both mean the same stream.
    pub(crate) fn merge_audiences(&mut self, from: usize, into: usize) {
        assert_ne!(from, into);
        let mut old = self.audiences.remove(from);
        let audience = &mut self.audiences[into];
        for key in old.keys.drain(..) {
            if self.audience_keys.get(&key) == Some(&from) {
                self.audience_keys.insert(key.clone(), into);
                audience.keys.push(key);
            }
        }
        for entry in old.entries.drain() {
            match entry.phase {
                Phase::Waiting => audience.waiting += 1,
                Phase::Closing => audience.closing += 1,
                Phase::Playing => unreachable!("an audience without a ring has nobody playing"),
            }
            audience.wait_deadline = audience.wait_deadline.min(entry.wait_until);
            let place = entry.place;
            let index = audience.entries.insert(entry);
            self.places[place] = Place { audience: into, entry: index };
        }
        // The owner was told two numbers and kept the later one: it needs the sum.
        audience.told = None;
        audience.warm_until = audience.warm_until.max(old.warm_until);
        self.pass_warmth(into);
    }

    pub(crate) fn drop_audience(&mut self, at: usize) {
        let audience = self.audiences.remove(at);
        for key in &audience.keys {
            if self.audience_keys.get(key) == Some(&at) {
                self.audience_keys.remove(key);
            }
        }
    }

    /// Tells the owners how many viewers are here, once a turn and only when it changed; and
    /// drops audiences that nobody needs any more.
    pub(crate) fn report_counts(&mut self) {
        let Self { audiences, mail, me, .. } = self;
        let mut empty = Vec::new();
        for (at, audience) in audiences.iter_mut() {
            let counts = audience.counts();
            let Stage::Attached(channel) = &audience.stage else {
                // Nobody left before the owner answered: the answer will find nobody, and the
                // owner must still hear that nobody waits.
                continue;
            };
            if audience.told != Some(counts) {
                audience.told = Some(counts);
                let (count, waiting, copied) = counts;
                let what = Watching::Count { from: *me, count, waiting, copied };
                let channel = channel.id;
                mail.send(channel.owner, Message::Watching { channel, what });
            }
            if audience.may_close.is_some() {
                empty.push(at);
            }
        }
        for at in empty {
            self.answer_may_close(at);
        }
    }

    fn answer_may_close(&mut self, at: usize) {
        let audience = &mut self.audiences[at];
        let Some(generation) = audience.may_close else { return };
        let Some(channel) = audience.channel_id() else { return };
        let from = self.me;
        if audience.counts().0 > 0 && !audience.over {
            audience.may_close = None;
            let what = Watching::Busy { from, generation };
            self.mail.send(channel.owner, Message::Watching { channel, what });
            return;
        }
        let in_flight = audience.reader.as_ref().map_or(0, crate::ring::Reader::in_flight);
        if !audience.entries.is_empty() || in_flight > 0 {
            return; // Closing sockets still hold bytes of the ring: the answer comes with the last.
        }
        self.drop_audience(at);
        let what = Watching::Idle { from, generation };
        self.mail.send(channel.owner, Message::Watching { channel, what });
    }

    pub(crate) fn on_egress(&mut self, event: Event) {
        match event {
            Event::Sent { slot, key, send, result, is_released } => {
                self.on_sent(Sent { slot, send, is_released }, key, &result);
            }
            Event::Released { key, send, copied, .. } => self.on_released(key, send, copied),
            Event::Writable { key, .. } => {
                let Place { audience, entry } = self.places[key as usize];
                let audience = &mut self.audiences[audience];
                audience.entries[entry].viewer.writable(self.now);
                audience.ready.push(entry);
            }
            Event::HungUp { key, .. } => {
                let Place { audience, entry } = self.places[key as usize];
                self.finish(audience, entry, CloseReason::Left);
            }
            Event::Closed { key, .. } => self.on_closed(key as usize),
        }
    }

    fn on_sent(&mut self, sent: Sent, key: u64, result: &io::Result<usize>) {
        let Sent { slot, send, is_released } = sent;
        let Place { audience: at, entry: index } = self.places[key as usize];
        let audience = &mut self.audiences[at];
        let entry = &mut audience.entries[index];
        let pinned = self.egress.payload(send);
        let (end, len) = (pinned.end(), pinned.len());
        let mut gone = false;
        match result {
            Ok(n) if *n > 0 => {
                let way = if is_released { Path::Copy } else { Path::ZeroCopy };
                self.stats.sent(way, *n);
                if let Some(committed) = audience.commits.reached(end) {
                    self.stats.latency.record(self.now.since(committed).as_micros() as u64);
                }
                entry.viewer.ring_done(pinned, *n, self.now);
                if *n < len {
                    entry.viewer.blocked(self.now);
                    self.egress.want_writable(slot);
                } else {
                    audience.ready.push(index);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                entry.viewer.blocked(self.now);
                self.egress.want_writable(slot);
            }
            Err(error) if is_about_the_way(error) && entry.path.is_zero_copy() => {
                // Nothing of it was accepted: the same bytes go by another way.
                entry.viewer.ring_done(pinned, 0, self.now);
                let path = self.paths.without_zero_copy("a send", error);
                audience.take_path(index, path);
                audience.ready.push(index);
            }
            Ok(_) | Err(_) => gone = true,
        }
        if is_released {
            self.take_back(at, send);
        } else {
            self.audiences[at].entries[index].lent += 1;
        }
        if gone {
            self.finish(at, index, CloseReason::Left);
        }
    }

    fn on_released(&mut self, key: u64, send: SendId, copied: Option<bool>) {
        let Place { audience: at, entry: index } = self.places[key as usize];
        self.take_back(at, send);
        let audience = &mut self.audiences[at];
        if let Some(entry) = audience.entries.get_mut(index) {
            entry.lent -= 1;
        }
        if let Some(copied) = copied {
            let path = self.paths.after_report(audience.entries[index].path, copied);
            audience.take_path(index, path);
        }
    }

    fn take_back(&mut self, at: usize, send: SendId) {
        let pinned = self.egress.take_back(send);
        if let Some(reader) = &mut self.audiences[at].reader {
            reader.done(pinned);
        }
    }

    fn on_closed(&mut self, place: usize) {
        let Place { audience: at, entry: index } = self.places.remove(place);
        let audience = &mut self.audiences[at];
        let entry = audience.entries.remove(index);
        debug_assert_eq!(entry.phase, Phase::Closing);
        audience.closing -= 1;
        self.stats.viewers -= 1;
        if audience.may_close.is_some() {
            self.answer_may_close(at);
        } else if audience.over {
            self.retire_detached();
        }
    }

    pub(crate) fn log_start(&mut self, at: usize, index: usize) {
        self.mirror_viewer(at, index);
        let audience = &self.audiences[at];
        let entry = &audience.entries[index];
        let address = hygiene::address(entry.who.address, self.shared.config.addresses);
        let line = ViewerStart {
            viewer: entry.who.id,
            stream: stream_name(audience),
            address: address.as_deref(),
            agent: &entry.who.agent,
            name: entry.who.name.as_deref(),
        };
        tracing::info!("{line}");
    }
}

/// The infohash once it is known, else what was asked for.
pub(crate) fn stream_name(audience: &Audience) -> crate::base::ids::Infohash {
    if let Some(channel) = audience.channel() {
        return channel.facts().infohash;
    }
    crate::shard::source::provisional(&audience.keys[0])
}
