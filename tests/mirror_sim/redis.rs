//! What the scripts do, written a second time: an owner and a counter, each with an end.

use std::collections::BTreeMap;
use std::time::Duration;

use ringcast::base::time::Instant;
use ringcast::mirror::lease::LEASE;
use ringcast::mirror::lease::Reply;
use ringcast::mirror::lease::Verb;

#[derive(Default)]
pub(crate) struct Redis {
    owner: Option<(String, Instant)>,
    epoch: u64,
    /// How far its clock is ahead: keys end by it.
    pub(crate) leap: Duration,
    /// Every epoch that was ever granted, whatever was forgotten since. A grant whose answer is lost, and
    /// that Redis then forgets, is nobody's and may be made again: what counts is who heard of it.
    pub(crate) granted: BTreeMap<u64, String>,
    pub(crate) takeovers: u64,
    last: String,
}

impl Redis {
    pub(crate) fn forget(&mut self) {
        self.owner = None;
        self.epoch = 0;
    }

    pub(crate) fn owner(&mut self, now: Instant) -> Option<&str> {
        let now = now + self.leap;
        if self.owner.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.owner = None;
        }
        self.owner.as_ref().map(|(name, _)| name.as_str())
    }

    fn held(&self, now: Instant) -> Reply {
        let (by, until) = self.owner.clone().expect("asked for after it was seen");
        Reply::Held { by, epoch: self.epoch, ttl: until.since(now + self.leap) }
    }

    fn grant(&mut self, me: &str, epoch: u64, now: Instant) -> Reply {
        self.granted.insert(epoch, me.to_owned());
        self.takeovers += u64::from(!self.last.is_empty() && self.last != me);
        me.clone_into(&mut self.last);
        self.owner = Some((me.to_owned(), now + self.leap + LEASE));
        self.epoch = epoch;
        Reply::Owned { epoch }
    }

    /// `start`: where the asking node begins when the counter is not there.
    pub(crate) fn run(&mut self, me: &str, verb: Verb, start: u64, now: Instant) -> Reply {
        let owner = self.owner(now).map(str::to_owned);
        let is_mine = owner.as_deref() == Some(me);
        match verb {
            Verb::Acquire { known } => {
                if owner.is_some() && !is_mine {
                    return self.held(now);
                }
                let next = if self.epoch > 0 { self.epoch + 1 } else { start };
                self.grant(me, next.max(known + 1), now)
            }
            Verb::Refresh { epoch } => match owner {
                None => Reply::Free { epoch: self.epoch },
                Some(_) if self.epoch < epoch => {
                    self.grant(me, epoch, now);
                    Reply::Retaken { epoch }
                }
                Some(_) if is_mine && self.epoch == epoch => self.grant(me, epoch, now),
                Some(_) if is_mine => Reply::Owned { epoch: self.epoch },
                Some(_) => self.held(now),
            },
            Verb::Release { epoch } => {
                if is_mine && self.epoch == epoch {
                    self.owner = None;
                    return Reply::Free { epoch };
                }
                match owner {
                    None => Reply::Free { epoch: self.epoch },
                    Some(_) => self.held(now),
                }
            }
            Verb::Read => match owner {
                None => Reply::Free { epoch: self.epoch },
                Some(_) if is_mine => Reply::Owned { epoch: self.epoch },
                Some(_) => self.held(now),
            },
        }
    }
}
