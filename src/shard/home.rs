//! What the home shard of a key does: resolves it once, and knows where its stream runs.

use crate::base::ids::Infohash;
use crate::base::ids::ShardId;
use crate::base::ids::Target;
use crate::base::time::Instant;
use crate::engine::pool;
use crate::http::render::ErrorCode;
use crate::registry::directory::Claim as Claimed;
use crate::registry::directory::Start;
use crate::registry::resolver;
use crate::registry::resolver::QueryId;
use crate::registry::resolver::QueryReply;
use crate::registry::resolver::Resolution;
use crate::shard::audience::Phase;
use crate::shard::audience::Stage;
use crate::shard::core::Core;
use crate::shard::core::Wanted;
use crate::shard::join::NotNow;
use crate::shard::join::stream_name;
use crate::shard::message::Message;
use crate::shard::message::StartFor;
use crate::shard::message::Subscribe;
use crate::shard::message::Watching;
use crate::shard::seats::AtLimit;
use crate::shard::seats::Paid;
use crate::stream::Answer;
use crate::stream::Code;
use std::net::IpAddr;
use std::time::Duration;

impl Core {
    pub(crate) fn resolve_for(
        &mut self,
        from: ShardId,
        token: u64,
        target: Target,
        payer: Option<IpAddr>,
    ) {
        let live = match &target {
            Target::Id(id) | Target::Infohash(id) => {
                self.directory.runs_on(&Target::Infohash(*id)).is_some()
                    || self.directory.is_offline_as_id(*id, self.now)
            }
            Target::Url(_) | Target::Magnet(_) => self.directory.runs_on(&target).is_some(),
        };
        if self.resolver.would_ask(&target, live, self.now) {
            if self.directory.is_offline(&target, self.now) {
                // No engine knew more of it than that it does not play.
                let resolution = Resolution::AsGiven(target);
                return self.mail.send(from, Message::Resolved { token, resolution, paid: None });
            }
            // A question to an engine is the first part of a cold start.
            let Ok(ticket) = self.shared.starts.take(payer) else {
                return self.mail.send(from, Message::Unresolved { token, payer });
            };
            self.tickets.insert(asked_by(from, token), (target.clone(), Paid::new(ticket)));
        } else if let Some(paid) = self.lookup_of(&target) {
            // Whoever joins the question has joined the start, however their ways cross from here on.
            self.tickets.insert(asked_by(from, token), (target.clone(), paid));
        }
        let token = asked_by(from, token);
        self.resolver.handle(resolver::Input::Resolve { token, target, live }, self.now);
        self.drain_resolver();
    }

    fn lookup_of(&self, target: &Target) -> Option<Paid> {
        let mut tickets = self.tickets.values();
        tickets.find(|(asked, _)| asked == target).map(|(_, paid)| paid.clone())
    }

    pub(crate) fn drain_resolver(&mut self) {
        while let Some(output) = self.resolver.poll_output() {
            match output {
                resolver::Output::Query { query, id, exclude, deadline } => {
                    let token = self.next_token();
                    self.wanted.insert(token, Wanted::Query { query, id, deadline });
                    let any = pool::Select::any(token, self.me, pool::Need::Query);
                    let exclude = exclude.into_iter().collect();
                    let select = pool::Select { stream: Some(id), exclude, ..any };
                    self.ask_pool(pool::Input::Select(select));
                }
                resolver::Output::Resolved { token, resolution } => {
                    if let Resolution::Assumed { infohash, .. } = resolution {
                        self.directory.asked_as(&Target::Infohash(infohash), infohash);
                    }
                    let paid = self.tickets.remove(&token).map(|(_, paid)| paid);
                    let to = ShardId((token >> 56) as u8);
                    let token = token & ((1 << 56) - 1);
                    self.mail.send(to, Message::Resolved { token, resolution, paid });
                }
            }
        }
    }

    pub(crate) fn on_query_result(
        &mut self,
        query: QueryId,
        engine: Option<crate::base::ids::EngineId>,
        result: QueryReply,
    ) {
        let input = resolver::Input::QueryResult { query, engine, result };
        self.resolver.handle(input, self.now);
        self.drain_resolver();
    }

    pub(crate) fn on_confirmed(&mut self, target: Target, infohash: Infohash) {
        self.resolver.handle(resolver::Input::Confirmed { target, infohash }, self.now);
        self.drain_resolver();
    }

    pub(crate) fn on_forget(&mut self, target: Target) {
        self.resolver.handle(resolver::Input::Forget { target }, self.now);
        self.drain_resolver();
    }

    pub(crate) fn on_hold(&mut self, target: Target, infohash: Infohash, until: Instant) {
        self.resolver.handle(resolver::Input::Hold { target, infohash, until }, self.now);
        self.drain_resolver();
    }

    /// A start found nothing to play. Until the mark ends no engine is asked for it: neither to play
    /// it nor what the id means that led here, which is asked anew by whoever comes then.
    pub(crate) fn on_offline(&mut self, key: &Target, reason: &str, open: Target) {
        let until = self.now + self.directory.mark_offline(key, reason, self.now);
        let Target::Infohash(infohash) = *key else { return };
        match open {
            Target::Infohash(_) if self.resolver.was_assumed(infohash) => {
                self.directory.asked_as(key, infohash);
            }
            Target::Infohash(_) => {}
            Target::Id(id) => {
                self.directory.asked_as(key, id);
                self.tell_home(open, |target| Message::Hold { target, infohash, until });
            }
            Target::Url(_) | Target::Magnet(_) => {
                self.tell_home(open, |target| Message::Hold { target, infohash, until });
            }
        }
    }

    /// On the shard that asked.
    pub(crate) fn on_resolved(&mut self, token: u64, resolution: Resolution, paid: Option<Paid>) {
        let Some(asked) = self.resolving.remove(&token) else { return };
        let Some(at) = self.resolving_as(token) else { return };
        if self.audiences[at].counts().0 == 0 {
            // Everybody left meanwhile: no engine is troubled for nobody.
            self.audiences[at].over = true;
            self.retire_detached();
            return;
        }
        let (key, open) = match resolution {
            Resolution::Infohash(infohash) => (Target::Infohash(infohash), asked),
            Resolution::Assumed { infohash, .. } => {
                (Target::Infohash(infohash), Target::Infohash(infohash))
            }
            Resolution::AsGiven(target) => (target.clone(), target),
            Resolution::Busy => {
                let answer = Answer {
                    code: Code::NoCapacity,
                    message: "too many channels are being looked up at once".to_owned(),
                    engine: None,
                    retry_after_s: Some(5),
                };
                self.decline(at, &answer);
                return;
            }
        };
        let open = match open {
            // An infohash that runs was asked for as an id.
            Target::Id(id) if key == Target::Infohash(id) => key.clone(),
            given @ (Target::Id(_) | Target::Infohash(_) | Target::Url(_) | Target::Magnet(_)) => {
                given
            }
        };
        let payer = self.payer_of(at);
        self.settle_key(at, key, open, StartFor { payer, paid });
    }

    fn resolving_as(&self, token: u64) -> Option<usize> {
        let found = self.audiences.iter().find(|(_, audience)| {
            matches!(audience.stage, Stage::Resolving { token: mine } if mine == token)
        });
        found.map(|(at, _)| at)
    }

    /// The address of whoever has waited for longest.
    fn payer_of(&self, at: usize) -> Option<IpAddr> {
        let mut entries = self.audiences[at].entries.iter();
        let waiting = entries.find(|(_, entry)| entry.phase == Phase::Waiting);
        waiting.and_then(|(_, entry)| entry.who.limited_as)
    }

    pub(crate) fn on_unresolved(&mut self, token: u64, payer: Option<IpAddr>) {
        self.resolving.remove(&token);
        if let Some(at) = self.resolving_as(token) {
            self.turn_away(at, payer);
        }
    }

    pub(crate) fn on_unpaid(&mut self, key: &Target, payer: Option<IpAddr>) {
        if let Some(at) = self.subscribing(key) {
            self.turn_away(at, payer);
        }
    }

    /// One address has too many starts in flight: its viewers are told so, and whoever else waits
    /// for the same channel asks on its own account.
    fn turn_away(&mut self, at: usize, payer: Option<IpAddr>) {
        let entries = self.audiences[at].entries.iter();
        let its = entries
            .filter(|(_, entry)| entry.phase == Phase::Waiting && entry.who.limited_as == payer);
        let message = "too many channels of this address are starting: \
                       RINGCAST_MAX_STARTS_PER_IP is reached";
        let refusal = NotNow::new(ErrorCode::TooMany, message).retry_after(10);
        for index in its.map(|(index, _)| index).collect::<Vec<_>>() {
            self.refuse(at, index, &refusal);
        }
        if self.audiences[at].counts().0 == 0 {
            self.audiences[at].over = true;
            return self.retire_detached();
        }
        self.ask_anew(at);
    }

    /// From the beginning: what was asked before is not answered, or not to be.
    pub(crate) fn ask_anew(&mut self, at: usize) {
        let token = self.next_token();
        self.audiences[at].stage = Stage::Resolving { token };
        let (target, payer) = (self.audiences[at].keys[0].clone(), self.payer_of(at));
        self.ask_home(token, target, payer);
    }

    fn settle_key(&mut self, at: usize, key: Target, open: Target, start: StartFor) {
        match self.audience_keys.get(&key) {
            Some(other) if *other != at && !self.audiences[*other].over => {
                let into = *other;
                self.merge_audiences(at, into);
            }
            _ => {
                self.audience_keys.insert(key.clone(), at);
                if !self.audiences[at].keys.contains(&key) {
                    self.audiences[at].keys.push(key.clone());
                }
                self.subscribe(at, key, open, start);
            }
        }
    }

    /// Answers everybody who waits and forgets the audience when nobody is left.
    pub(crate) fn decline(&mut self, at: usize, answer: &Answer) {
        self.audiences[at].over = true;
        if self.audiences[at].warm_until.take().is_some() {
            let (id, reason) = (stream_name(&self.audiences[at]), &answer.message);
            tracing::warn!("stream not warmed id={id} reason={reason:?}");
        }
        self.answer_all(at, answer);
        self.retire_detached();
    }

    /// Audiences without a stream, or without its owner, go as soon as their last socket is closed
    /// and nothing of the ring is in flight.
    pub(crate) fn retire_detached(&mut self) {
        let gone = self.audiences.iter().filter(|(_, audience)| {
            let in_flight = audience.reader.as_ref().map_or(0, crate::ring::Reader::in_flight);
            let is_detached = audience.channel().is_none() || audience.is_orphan;
            audience.over && is_detached && audience.entries.is_empty() && in_flight == 0
        });
        let gone: Vec<usize> = gone.map(|(at, _)| at).collect();
        for at in gone {
            self.drop_audience(at);
        }
    }

    pub(crate) fn on_declined(&mut self, key: &Target, answer: &Answer) {
        if let Some(at) = self.subscribing(key) {
            self.decline(at, answer);
        }
    }

    fn subscribing(&self, key: &Target) -> Option<usize> {
        let found = self.audiences.iter().find(|(_, audience)| {
            matches!(audience.stage, Stage::Subscribing) && audience.keys.contains(key)
        });
        found.map(|(at, _)| at)
    }

    pub(crate) fn on_subscribed(
        &mut self,
        life: u32,
        key: &Target,
        channel: std::sync::Arc<crate::shard::channel::Channel>,
    ) {
        // To one before us: the owner may have forgotten it since, and end without a word to us.
        let asked = self.subscribing(key).filter(|_| life == self.life);
        let Some(at) = asked else {
            if let Some(other) = self.audience_of(channel.id) {
                // Under another key there is somebody: their number, not that of nobody.
                self.audiences[other].told = None;
                return;
            }
            // Nobody here remembers: the owner must not count on this shard.
            let what = Watching::Count { from: self.me, count: 0, waiting: 0, copied: 0 };
            let channel = channel.id;
            self.mail.send(channel.owner, Message::Watching { channel, what });
            return;
        };
        if let Some(other) = self.audience_of(channel.id)
            && other != at
        {
            // Another key of the same stream, or a stream that goes on after it had refused
            // those who waited: one audience, one reader.
            self.merge_audiences(at, other);
            self.audiences[other].over = false;
            return;
        }
        let index = usize::from(self.me.0);
        let audience = &mut self.audiences[at];
        audience.reader = Some(crate::ring::Reader::new(channel.ring.clone(), index));
        audience.stage = Stage::Attached(channel);
        // What an audience before this one said may arrive after what this one asked with.
        audience.told = None;
        self.pass_warmth(at);
    }

    /// On the key's home: whose stream is it?
    pub(crate) fn on_subscribe(&mut self, subscribe: Subscribe) {
        if !self.is_asked_by_the_living(&subscribe) {
            return;
        }
        match self.directory.claim(&subscribe.key, self.me) {
            Claimed::Taken(host) => self.mail.send(host, Message::Hosted(subscribe)),
            Claimed::Granted | Claimed::Yours => self.host(subscribe),
            Claimed::Full => {
                let answer = no_capacity("RINGCAST_MAX_STREAMS");
                let key = subscribe.key;
                self.mail.send(subscribe.from, Message::Declined { key, answer });
            }
        }
    }

    /// On a shard that hosted the stream a moment ago.
    pub(crate) fn on_hosted(&mut self, subscribe: Subscribe) {
        if !self.is_asked_by_the_living(&subscribe) {
            return;
        }
        match self.source_keys.get(&subscribe.key).copied() {
            Some(serial) => self.admit(serial, subscribe),
            // It has ended: the home hears of that before it hears this.
            None => self.tell_home(subscribe.key.clone(), |_| Message::Subscribe(subscribe)),
        }
    }

    /// On the key's home, which is the stream's owner.
    fn host(&mut self, mut subscribe: Subscribe) {
        if let Some(serial) = self.source_keys.get(&subscribe.key).copied() {
            self.admit(serial, subscribe);
            return;
        }
        if let Start::Offline { retry_after, reason, .. } =
            self.directory.may_start(&subscribe.key, self.now)
        {
            let answer = offline(&reason, retry_after);
            let key = subscribe.key;
            self.directory.release(&key, self.me);
            self.mail.send(subscribe.from, Message::Declined { key, answer });
            return;
        }
        if subscribe.start.paid.is_none() {
            let payer = subscribe.start.payer;
            match self.shared.starts.take(payer) {
                Ok(ticket) => subscribe.start.paid = Some(Paid::new(ticket)),
                Err(AtLimit) => {
                    let Subscribe { from, key, .. } = subscribe;
                    self.directory.probe_dropped(&key);
                    self.directory.release(&key, self.me);
                    return self.mail.send(from, Message::Unpaid { key, payer });
                }
            }
        }
        match self.open_source(&mut subscribe) {
            Ok(serial) => self.admit(serial, subscribe),
            Err(answer) => self.refuse_start(subscribe, answer),
        }
    }

    fn refuse_start(&mut self, subscribe: Subscribe, answer: Answer) {
        let key = subscribe.key;
        // Nobody has found anything out: the next one may.
        self.directory.probe_dropped(&key);
        self.directory.release(&key, self.me);
        self.mail.send(subscribe.from, Message::Declined { key, answer });
    }

    pub(crate) fn on_release(&mut self, key: &Target, from: ShardId) {
        self.directory.probe_dropped(key);
        self.directory.release(key, from);
    }
}

/// The resolver knows one token; who asked, and under which number, rides in it.
fn asked_by(from: ShardId, token: u64) -> u64 {
    u64::from(from.0) << 56 | token
}

pub(crate) fn no_capacity(setting: &str) -> Answer {
    Answer {
        code: Code::NoCapacity,
        message: format!("this server is full: {setting} is reached"),
        engine: None,
        retry_after_s: Some(10),
    }
}

fn offline(reason: &str, retry_after: Duration) -> Answer {
    Answer {
        code: Code::NothingToPlay,
        message: format!("{reason} (asked a moment ago)"),
        engine: None,
        retry_after_s: Some(u32::try_from(retry_after.as_secs()).unwrap_or(60).max(1)),
    }
}
