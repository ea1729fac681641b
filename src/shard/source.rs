//! A stream on its owner's shard: the session brain, the ring's writer, and what carries the
//! brain's orders out.
//!
//! `feed` is the only caller of the brain: one input, then outputs until there is none, then the
//! next input. Orders that need a socket become tasks; each task's answer comes back as an input
//! with the order's generation.

use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::ids::ShardId;
use crate::base::ids::Target;
use crate::base::prng::Prng;
use crate::base::sizes::STREAM_MEMORY_BYTES_MIN;
use crate::base::time::Instant;
use crate::base::time::Wall;
use crate::mirror::snapshots::Shelved;
use crate::net::Closer;
use crate::ring::Writer;
use crate::shard::channel::Channel;
use crate::shard::channel::ChannelId;
use crate::shard::core::Core;
use crate::shard::exchange::Address;
use crate::shard::home::no_capacity;
use crate::shard::ingest::Aside;
use crate::shard::ingest::Ingest;
use crate::shard::leasing::Question;
use crate::shard::message::Message;
use crate::shard::message::Subscribe;
use crate::shard::room::FILES_OF_A_STREAM;
use crate::shard::seats::Paid;
use crate::shard::seats::Seat;
use crate::stream::Answer;
use crate::stream::Code;
use crate::stream::Input;
use crate::stream::Session;
use crate::stream::Setup;
use crate::viewer::Policy;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The cap of a ring is looked at this often, and the silence of its engine.
pub(crate) const TEND_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Source {
    pub(crate) id: ChannelId,
    /// The key it was opened under, then the infohash that its engine named; none once it has let
    /// go of them.
    pub(crate) keys: Vec<Target>,
    /// How it was asked for, for people: the content id when there was one.
    pub(crate) open: Target,
    pub(crate) session: Session,
    pub(crate) channel: Arc<Channel>,
    pub(crate) writer: Writer,
    pub(crate) ingest: Ingest,
    /// A second session, whose bytes are not in the ring.
    pub(crate) aside: Option<Aside>,
    /// Engines that this stream was lent, with the address to ask.
    pub(crate) engines: BTreeMap<EngineId, Address>,
    pub(crate) engine_names: BTreeMap<EngineId, String>,
    /// Reservations that are out, by engine.
    pub(crate) lent: BTreeMap<EngineId, u64>,
    /// What each session is stopped with, as the journal knows it.
    pub(crate) stop_paths: BTreeMap<Generation, String>,
    /// What Redis has of the stream is still welcome.
    pub(crate) prime_until: Instant,
    /// A question for an engine that waits for a word of Redis.
    pub(crate) held_question: Option<(Question, Instant)>,
    /// The mirror has its ring.
    pub(crate) shelved: Option<Shelved>,
    /// Shards that hold a handle.
    pub(crate) subscribers: u64,
    /// Viewers for whom the kernel copies, by shard.
    pub(crate) copied: BTreeMap<ShardId, u32>,
    /// The memory file is given up then, unless somebody is served from it.
    pub(crate) twin_until: Instant,
    /// After a failure.
    pub(crate) twin_not_before: Instant,
    /// Newcomers of a stream that is ending for good: they start the next one.
    pub(crate) held: Vec<Subscribe>,
    /// What the address that wanted it first pays until it gives bytes, or ends.
    pub(crate) start: Option<Paid>,
    /// Its places among the descriptors.
    pub(crate) _files: Seat,
    pub(crate) ended: bool,
    /// How many times over the brain or the ring is at work: after a panic it is half done.
    pub(crate) hands: u32,
    pub(crate) told: crate::shard::mirror::Told,
    pub(crate) started_wall: Wall,
    pub(crate) tend_at: Instant,
}

impl Source {
    /// It is the stream of its content; another one may follow while viewers of this one linger.
    pub(crate) fn is_current(&self) -> bool {
        !self.keys.is_empty()
    }

    /// It is known by the infohash of its content; until then nothing is told of it.
    pub(crate) fn has_infohash(&self) -> bool {
        self.keys.contains(&Target::Infohash(self.session.infohash()))
    }

    /// The bytes of this order are wanted, in the ring or beside it.
    pub(crate) fn wants(&self, generation: Generation) -> bool {
        self.is_aside(generation) || self.ingest.is_wanted(generation)
    }

    pub(crate) fn is_aside(&self, generation: Generation) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.is_wanted(generation))
    }

    /// The connection of an order; false when it is not wanted any more.
    pub(crate) fn connected(&mut self, generation: Generation, closer: Closer) -> bool {
        match &mut self.aside {
            Some(aside) if aside.is_wanted(generation) => {
                aside.connected(closer);
                true
            }
            Some(_) | None => self.ingest.connected(generation, closer),
        }
    }

    pub(crate) fn close_body(&mut self, generation: Generation) {
        if let Some(aside) = self.aside.take_if(|aside| aside.is_wanted(generation)) {
            aside.close();
        }
        self.ingest.close(generation);
    }

    pub(crate) fn next_deadline(&self, policy: &Policy) -> Option<Instant> {
        let session = if self.ended { None } else { self.session.poll_timeout() };
        let tend = (self.writer.held_bytes() > 0 || self.ended).then_some(self.tend_at);
        let read = self.ingest.read_deadline(policy);
        let wish = self.held_question.as_ref().map(|(_, until)| *until);
        [session, tend, read, wish].into_iter().flatten().min()
    }
}

/// The name of a stream before an engine said its infohash.
pub(crate) fn provisional(target: &Target) -> Infohash {
    match target {
        Target::Id(id) | Target::Infohash(id) => *id,
        Target::Url(text) | Target::Magnet(text) => {
            let mut bytes = [0; 20];
            let seed =
                text.bytes().fold(0_u64, |hash, byte| Prng::new(hash ^ u64::from(byte)).next_u64());
            let mut prng = Prng::new(seed);
            bytes.iter_mut().for_each(|byte| *byte = prng.next_u64() as u8);
            Infohash::from_bytes(bytes)
        }
    }
}

impl Core {
    /// Promises memory, then starts the session: nothing has changed when this fails.
    pub(crate) fn open_source(&mut self, subscribe: &mut Subscribe) -> Result<u64, Answer> {
        if self.draining {
            return Err(shutting_down());
        }
        let arena = self.shared.arena;
        let Some(promise) = arena.promise(STREAM_MEMORY_BYTES_MIN) else {
            let message = "no memory for another stream: RINGCAST_MEMORY is used up".to_owned();
            let code = Code::NoMemory;
            return Err(Answer { code, message, ..no_capacity("RINGCAST_MEMORY") });
        };
        let Ok(files) = self.shared.sockets.take_many(FILES_OF_A_STREAM) else {
            return Err(no_capacity("its limit of open files (ulimit -n, LimitNOFILE)"));
        };
        if !self.shared.stream_opens(self.live.streams_max) {
            return Err(no_capacity("RINGCAST_MAX_STREAMS"));
        }
        let id = self.next_channel();
        let cap_max = arena.slabs_total() as u64 * arena.slab_bytes() as u64;
        // The mirror reads, too.
        let readers = self.mail.shards() + usize::from(self.shared.shelf.is_some());
        let mut writer = Writer::open(arena, promise, readers, cap_max, id.serial as u32);
        writer.set_cap(self.fair_share_bytes());
        let infohash = provisional(&subscribe.key);
        let channel = Arc::new(Channel::new(id, writer.ring().clone(), infohash));
        let seed = self.shared.boot_seed ^ (u64::from(self.me.0) << 56 | id.serial);
        let setup = Setup {
            infohash,
            target: subscribe.open.clone(),
            is_claimed: matches!(subscribe.key, Target::Infohash(_)),
            seed,
            settings: self.shared.config.session,
            contest: self.contest_of(&infohash),
        };
        let source = Source {
            id,
            keys: vec![subscribe.key.clone()],
            open: subscribe.open.clone(),
            session: Session::new(setup, self.now),
            channel,
            writer,
            ingest: Ingest::new(self.now),
            aside: None,
            engines: BTreeMap::new(),
            engine_names: BTreeMap::new(),
            lent: BTreeMap::new(),
            stop_paths: BTreeMap::new(),
            prime_until: Instant::ZERO,
            held_question: None,
            shelved: None,
            subscribers: 0,
            copied: BTreeMap::new(),
            twin_until: Instant::ZERO,
            twin_not_before: Instant::ZERO,
            held: Vec::new(),
            start: subscribe.start.paid.take(),
            _files: files,
            ended: false,
            hands: 0,
            told: crate::shard::mirror::Told::default(),
            started_wall: Wall::now(),
            tend_at: self.now + TEND_EVERY,
        };
        self.agenda.note(source.next_deadline(&self.shared.config.policy));
        self.sources.insert(id.serial, source);
        self.source_keys.insert(subscribe.key.clone(), id.serial);
        self.wish_to_prime(id.serial);
        Ok(id.serial)
    }

    /// What one stream may take of the memory: an equal part for each that runs, half of it all
    /// when it is alone.
    pub(crate) fn fair_share_bytes(&self) -> u64 {
        let arena = self.shared.arena;
        let budget = u64::from(arena.slabs_total()) * arena.slab_bytes() as u64;
        let streams = (self.shared.streams() as u64).max(1);
        (budget / (streams + 1)).max(STREAM_MEMORY_BYTES_MIN)
    }

    /// A shard joins a stream that runs here, or is held until the next one can start.
    pub(crate) fn admit(&mut self, serial: u64, subscribe: Subscribe) {
        let source = self.sources.get_mut(&serial).expect("keys lead to sources");
        if !source.session.accepts_viewers() {
            source.held.push(subscribe);
            return;
        }
        let Subscribe { from, life, key, count, waiting, .. } = subscribe;
        source.subscribers |= crate::shard::audience::shard_bit(from);
        let channel = source.channel.clone();
        self.mail.send(from, Message::Subscribed { life, key, channel });
        self.feed(serial, Input::Attached { shard: from, count, waiting });
    }

    pub(crate) fn feed(&mut self, serial: u64, input: Input) {
        let now = self.now;
        let Some(source) = self.sources.get_mut(&serial) else { return };
        if source.ended {
            return;
        }
        source.hands += 1;
        source.session.handle(input, now);
        self.drain_session(serial);
        self.let_be(serial);
    }

    /// The stream is as it should be again.
    pub(crate) fn let_be(&mut self, serial: u64) {
        if let Some(source) = self.sources.get_mut(&serial) {
            source.hands -= 1;
        }
    }

    fn drain_session(&mut self, serial: u64) {
        while let Some(source) = self.sources.get_mut(&serial) {
            let Some(output) = source.session.poll_output() else {
                self.agenda.note(source.next_deadline(&self.shared.config.policy));
                return;
            };
            self.carry_out(serial, output);
        }
    }

    /// An engine is being drained, or not any more: each stream knows whether that is about it.
    pub(crate) fn vacate(&mut self, engine: EngineId, leave: bool) {
        let serials: Vec<u64> = self.sources.keys().copied().collect();
        for serial in serials {
            let input = if leave { Input::Leave { engine } } else { Input::Stay { engine } };
            self.feed(serial, input);
        }
    }

    pub(crate) fn session_timer(&mut self, serial: u64) {
        let now = self.now;
        self.select_held(serial);
        let Some(source) = self.sources.get_mut(&serial) else { return };
        source.hands += 1;
        if !source.ended && source.session.poll_timeout().is_some_and(|at| at <= now) {
            source.session.handle_timeout(now);
        }
        self.drain_session(serial);
        self.let_be(serial);
    }

    pub(crate) fn on_ended(&mut self, serial: u64) {
        let source = self.sources.get_mut(&serial).expect("fed");
        source.ended = true;
        source.start = None;
        source.ingest.close_any();
        if let Some(aside) = source.aside.take() {
            aside.close();
        }
        source.writer.end();
        self.remember_contest(serial);
        self.let_go(serial);
        self.try_remove(serial);
    }

    /// Nobody finds this stream any more; those who came while it was ending start the next one.
    pub(crate) fn let_go(&mut self, serial: u64) {
        self.unshelve(serial);
        self.mirror_over(serial);
        let source = self.sources.get_mut(&serial).expect("fed");
        let keys = std::mem::take(&mut source.keys);
        let held = std::mem::take(&mut source.held);
        let me = self.me;
        for key in keys {
            if self.source_keys.get(&key) == Some(&serial) {
                self.source_keys.remove(&key);
            }
            self.tell_home(key, |key| Message::Release { key, from: me });
        }
        // Behind the release, so that they find the key free.
        for subscribe in held {
            self.tell_home(subscribe.key.clone(), |_| Message::Subscribe(subscribe));
        }
    }

    /// An ended source goes when no reader holds its memory any more.
    pub(crate) fn try_remove(&mut self, serial: u64) {
        let Some(source) = self.sources.remove(&serial) else { return };
        let Source { writer, .. } = source;
        match writer.close(&mut self.cache) {
            Ok(()) => {}
            Err(writer) => {
                let tend_at = self.now + TEND_EVERY;
                self.agenda.note(Some(tend_at));
                self.sources.insert(serial, Source { writer, tend_at, ..source });
                return;
            }
        }
        self.stats.sync_losses_gone += source.ingest.sync_losses();
        self.shared.streams_closed(1);
    }
}

pub(crate) fn shutting_down() -> Answer {
    Answer {
        code: Code::ShuttingDown,
        message: "this server is shutting down".to_owned(),
        engine: None,
        retry_after_s: Some(5),
    }
}
