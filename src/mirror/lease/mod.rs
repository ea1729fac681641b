//! The lease of one stream: who owns it among the nodes that share a Redis. A brain without I/O.
//!
//! Three outcomes, never two: *owned*, *held* by another one, *unknown* because Redis did not
//! answer. Unknown is read neither as owned nor as lost: the stream goes on, and after a lost
//! acquire the next question is a read, not a second acquire.
//!
//! Invariants:
//! - At most one question is out, and only the answer to the newest one counts: late and double
//!   answers say nothing.
//! - A lease is counted from the moment its question was *sent*, so it ends here before it ends in
//!   Redis, also when the process was stopped in between.
//! - The epoch of an owner never goes back.
//! - Nothing here ever closes a viewer or a session: it only says what is known.

mod reply;

pub use self::reply::Reply;
use crate::base::time::Instant;
use std::time::Duration;

/// How long a lease lasts in Redis, and here since its last confirmed question.
pub const LEASE: Duration = Duration::from_secs(10);

/// An owner asks again this often: three questions may be lost before the lease is.
pub const REFRESH_EVERY: Duration = Duration::from_secs(3);

/// A question that is not answered by then is lost.
pub const ANSWER_MS_MAX: Duration = Duration::from_millis(500);

/// After a lost question the next one follows sooner than an ordinary refresh.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Somebody else's lease, and keys of foreign writers, are looked at again this often.
const LOOK_EVERY: Duration = Duration::from_secs(3);
const LOOK_FOREIGN_EVERY: Duration = Duration::from_secs(10);

/// Twenty minutes, when an epoch is a time in milliseconds.
const START_STEP_MAX: u64 = 1 << 20;

/// A release that nobody confirms is left to the lease's own end.
const RELEASES_MAX: u32 = 2;

const _: () = assert!(REFRESH_EVERY.as_millis() * 3 < LEASE.as_millis());

/// What is known of a stream's ownership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Redis has not said anything about it yet. Epoch 0, which always loses.
    Unowned,
    Owned {
        epoch: u64,
    },
    /// It was asked for or owned, and Redis has not answered since.
    Unknown {
        epoch: u64,
    },
    /// Another node's.
    Held {
        by: String,
        epoch: u64,
    },
    /// A key of a program that knows no epochs: not held by anybody, and not to be touched.
    Foreign {
        by: String,
    },
    /// Given back.
    Released,
}

impl Standing {
    /// 0 for everybody but who owns or owned it.
    pub const fn epoch(&self) -> u64 {
        match self {
            Self::Owned { epoch } | Self::Unknown { epoch } | Self::Held { epoch, .. } => *epoch,
            Self::Unowned | Self::Foreign { .. } | Self::Released => 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// `known`: the highest epoch that this process has seen of the stream.
    Acquire {
        known: u64,
    },
    Refresh {
        epoch: u64,
    },
    Release {
        epoch: u64,
    },
    Read,
}

/// A question for Redis. Its number comes back with the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    pub number: u64,
    pub verb: Verb,
}

impl Verb {
    /// When this is answered with `epoch` as ours, the lease runs from the question on. A read, and a
    /// refresh of an epoch that is over, only say how it stands.
    const fn gave_time(self, epoch: u64) -> bool {
        match self {
            Self::Acquire { .. } => true,
            Self::Refresh { epoch: asked } => asked == epoch,
            Self::Read | Self::Release { .. } => false,
        }
    }
}

impl Ask {
    /// Where a counter begins that Redis does not have: above every epoch that was seen and, as a
    /// rule, above those that were not, since time has passed; and by a random step, so that two
    /// nodes that have seen the same do not get the same. Far below 2^53, which Lua counts to.
    pub const fn start(&self, clock_ms: u64, random: u64) -> u64 {
        let known = match self.verb {
            Verb::Acquire { known } => known,
            Verb::Refresh { .. } | Verb::Release { .. } | Verb::Read => 0,
        };
        let seen = if known > clock_ms { known } else { clock_ms };
        seen + 1 + random % START_STEP_MAX
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    Answered {
        number: u64,
        reply: Reply,
    },
    /// It was not sent, or the connection broke under it.
    Lost {
        number: u64,
    },
    /// The connection is there, or gone: without one nothing is asked.
    Link {
        up: bool,
    },
    /// The stream is over.
    Release,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    Ask(Ask),
    Changed(Standing),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pending {
    ask: Ask,
    sent_at: Instant,
}

pub struct Lease {
    standing: Standing,
    told: Option<Standing>,
    /// The highest epoch that was seen, whoever's it was.
    known: u64,
    /// When the question was sent that the standing rests on.
    confirmed_at: Instant,
    pending: Option<Pending>,
    asked: u64,
    next_at: Instant,
    next_verb: Next,
    link_up: bool,
    releases: u32,
    to_ask: Option<Ask>,
}

/// What to ask next, once its time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Acquire,
    Refresh,
    Read,
    Release,
    Nothing,
}

impl Lease {
    /// `known`: what this process has seen of the stream's epochs before.
    pub fn new(known: u64, link_up: bool, now: Instant) -> Self {
        let mut lease = Self {
            standing: Standing::Unowned,
            told: None,
            known,
            confirmed_at: Instant::ZERO,
            pending: None,
            asked: 0,
            next_at: now,
            next_verb: Next::Acquire,
            link_up,
            releases: 0,
            to_ask: None,
        };
        lease.come_to_rest(now);
        lease
    }

    pub fn handle(&mut self, input: Input, now: Instant) {
        self.expire(now);
        match input {
            Input::Answered { number, reply } => {
                let pending = self.pending.filter(|pending| pending.ask.number == number);
                if let Some(pending) = pending {
                    self.pending = None;
                    self.on_reply(pending, reply, now);
                }
            }
            Input::Lost { number } => {
                if self.pending.is_some_and(|pending| pending.ask.number == number) {
                    self.on_lost(now);
                }
            }
            Input::Link { up } => self.on_link(up, now),
            Input::Release => self.on_release(now),
        }
        self.come_to_rest(now);
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        if self.told.as_ref() != Some(&self.standing) {
            self.told = Some(self.standing.clone());
            return Some(Output::Changed(self.standing.clone()));
        }
        self.to_ask.take().map(Output::Ask)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let owned = matches!(self.standing, Standing::Owned { .. });
        let expires = owned.then(|| self.confirmed_at + LEASE);
        let asks = match self.pending {
            Some(pending) => Some(pending.sent_at + ANSWER_MS_MAX),
            None => (self.link_up && self.next_verb != Next::Nothing).then_some(self.next_at),
        };
        [expires, asks].into_iter().flatten().min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
        self.come_to_rest(now);
    }

    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    pub const fn known(&self) -> u64 {
        self.known
    }

    /// True when nothing is left to say to Redis.
    pub fn is_over(&self) -> bool {
        self.standing == Standing::Released
            && self.pending.is_none()
            && self.next_verb == Next::Nothing
    }

    pub fn check_invariants(&self) {
        assert!(self.standing.epoch() <= self.known);
        assert!(self.to_ask.is_none_or(|ask| self.pending.is_some_and(|p| p.ask == ask)));
        if self.standing == Standing::Released {
            assert!(matches!(self.next_verb, Next::Release | Next::Nothing));
        }
    }
}

impl Lease {
    /// An owner that was not confirmed for the length of a lease knows nothing any more.
    fn expire(&mut self, now: Instant) {
        if let Standing::Owned { epoch } = self.standing
            && now >= self.confirmed_at + LEASE
        {
            self.standing = Standing::Unknown { epoch };
        }
    }

    fn come_to_rest(&mut self, now: Instant) {
        if self.pending.is_some_and(|pending| now >= pending.sent_at + ANSWER_MS_MAX) {
            self.on_lost(now);
        }
        if self.pending.is_none() && self.link_up && now >= self.next_at {
            self.ask(now);
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn ask(&mut self, now: Instant) {
        let epoch = self.standing.epoch();
        let verb = match self.next_verb {
            Next::Acquire => Verb::Acquire { known: self.known },
            Next::Refresh => Verb::Refresh { epoch },
            Next::Read => Verb::Read,
            Next::Release => Verb::Release { epoch: self.known },
            Next::Nothing => return,
        };
        self.asked += 1;
        let ask = Ask { number: self.asked, verb };
        self.pending = Some(Pending { ask, sent_at: now });
        self.to_ask = Some(ask);
    }

    fn then(&mut self, next: Next, at: Instant) {
        self.next_verb = next;
        self.next_at = at;
    }

    fn on_reply(&mut self, pending: Pending, reply: Reply, now: Instant) {
        if self.standing == Standing::Released {
            // An acquire that was out when the stream ended, and succeeded: given back as well.
            let (Reply::Owned { epoch } | Reply::Retaken { epoch }) = reply else {
                return self.then(Next::Nothing, now);
            };
            self.known = self.known.max(epoch);
            return self.then(Next::Release, now);
        }
        match reply {
            Reply::Owned { epoch } | Reply::Retaken { epoch }
                if pending.ask.verb.gave_time(epoch) =>
            {
                self.on_owned(epoch, pending.sent_at, now);
            }
            Reply::Owned { epoch } | Reply::Retaken { epoch } => self.on_read(epoch, now),
            Reply::Held { by, epoch, ttl } => {
                self.known = self.known.max(epoch);
                self.standing = Standing::Held { by, epoch };
                // A lease that its owner does not refresh ends by itself: then it is anybody's.
                self.then(Next::Acquire, now + ttl.clamp(ASK_AGAIN, LOOK_EVERY));
            }
            Reply::Free { epoch } => {
                self.known = self.known.max(epoch);
                // Nobody has it: an owner keeps what it has until its time is over, and asks anew.
                if let Standing::Held { .. } | Standing::Foreign { .. } = self.standing {
                    self.standing = Standing::Unowned;
                }
                self.then(Next::Acquire, now);
            }
            Reply::Foreign { by } => {
                self.standing = Standing::Foreign { by };
                self.then(Next::Acquire, now + LOOK_FOREIGN_EVERY);
            }
        }
    }

    /// It is ours, as of an acquire or refresh whose answer was lost, and nobody knows for how much
    /// longer. A refresh of that epoch gives it time.
    fn on_read(&mut self, epoch: u64, now: Instant) {
        if epoch < self.standing.epoch() {
            return self.then(Next::Acquire, now);
        }
        self.known = self.known.max(epoch);
        if !matches!(self.standing, Standing::Owned { .. }) {
            self.standing = Standing::Unknown { epoch };
        }
        self.then(Next::Refresh, now);
    }

    fn on_owned(&mut self, epoch: u64, sent_at: Instant, now: Instant) {
        if epoch < self.standing.epoch() {
            // A Redis that has forgotten: the acquire that follows goes above what we know.
            return self.then(Next::Acquire, now);
        }
        self.known = self.known.max(epoch);
        self.confirmed_at = sent_at;
        self.standing = Standing::Owned { epoch };
        self.expire(now);
        let confirmed = matches!(self.standing, Standing::Owned { .. });
        self.then(Next::Refresh, if confirmed { sent_at + REFRESH_EVERY } else { now });
    }

    fn on_lost(&mut self, now: Instant) {
        let Some(pending) = self.pending.take() else { return };
        self.to_ask = None;
        let again = now + ASK_AGAIN;
        match pending.ask.verb {
            Verb::Acquire { .. } if self.standing == Standing::Released => {
                self.then(Next::Nothing, now);
            }
            Verb::Acquire { .. } => {
                // It may have been carried out: an owner by now, or not.
                if self.standing == Standing::Unowned {
                    self.standing = Standing::Unknown { epoch: 0 };
                }
                self.then(Next::Read, again);
            }
            Verb::Read => self.then(Next::Read, again),
            Verb::Refresh { .. } => self.then(Next::Refresh, again),
            Verb::Release { .. } => {
                self.releases += 1;
                let more = self.releases < RELEASES_MAX;
                self.then(if more { Next::Release } else { Next::Nothing }, again);
            }
        }
    }

    fn on_link(&mut self, up: bool, now: Instant) {
        if self.link_up == up {
            return;
        }
        self.link_up = up;
        if up {
            self.next_at = now;
        } else {
            self.on_lost(now);
        }
    }

    fn on_release(&mut self, now: Instant) {
        if self.standing == Standing::Released {
            return;
        }
        let owns = matches!(self.standing, Standing::Owned { .. } | Standing::Unknown { .. });
        self.standing = Standing::Released;
        // An acquire that is out is waited for: what it gets is given back.
        let is_out = |pending: &Pending| matches!(pending.ask.verb, Verb::Acquire { .. });
        if self.to_ask.take().is_some() || !self.pending.as_ref().is_some_and(is_out) {
            self.pending = None;
        }
        self.then(if owns { Next::Release } else { Next::Nothing }, now);
    }
}

#[cfg(test)]
mod tests;
