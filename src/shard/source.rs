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
use crate::engine::pool;
use crate::net::Closer;
use crate::ring::Writer;
use crate::shard::channel::Channel;
use crate::shard::channel::ChannelId;
use crate::shard::core::Core;
use crate::shard::core::Wanted;
use crate::shard::engine_io;
use crate::shard::engine_io::Address;
use crate::shard::home::no_capacity;
use crate::shard::ingest::Aside;
use crate::shard::ingest::Ingest;
use crate::shard::message::Claim;
use crate::shard::message::Message;
use crate::shard::message::Subscribe;
use crate::shard::message::Watching;
use crate::shard::seats::Ticket;
use crate::stream::Answer;
use crate::stream::Code;
use crate::stream::Input;
use crate::stream::Output;
use crate::stream::Session;
use crate::stream::Setup;
use crate::stream::Wish;
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
    pub(crate) start: Option<Ticket>,
    pub(crate) ended: bool,
    pub(crate) told: crate::shard::mirror::Told,
    pub(crate) started_wall: Wall,
    pub(crate) tend_at: Instant,
}

impl Source {
    /// It is the stream of its content; another one may follow while viewers of this one linger.
    pub(crate) fn is_current(&self) -> bool {
        !self.keys.is_empty()
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

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let session = if self.ended { None } else { self.session.poll_timeout() };
        let tend = (self.writer.held_bytes() > 0 || self.ended).then_some(self.tend_at);
        [session, tend].into_iter().flatten().min()
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
        if !self.shared.stream_opens(self.live.streams_max) {
            return Err(no_capacity("RINGCAST_MAX_STREAMS"));
        }
        let id = self.next_channel();
        let cap_max = arena.slabs_total() as u64 * arena.slab_bytes() as u64;
        let mut writer =
            Writer::open(arena, promise, self.mail.shards(), cap_max, id.serial as u32);
        writer.set_cap(self.fair_share_bytes());
        let infohash = provisional(&subscribe.key);
        let channel = Arc::new(Channel::new(id, writer.ring().clone(), infohash));
        let seed = self.shared.boot_seed ^ (u64::from(self.me.0) << 56 | id.serial);
        let setup = Setup {
            infohash,
            target: subscribe.open.clone(),
            seed,
            settings: self.shared.config.session,
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
            subscribers: 0,
            copied: BTreeMap::new(),
            twin_until: Instant::ZERO,
            twin_not_before: Instant::ZERO,
            held: Vec::new(),
            start: subscribe.start.ticket.take(),
            ended: false,
            told: crate::shard::mirror::Told::default(),
            started_wall: Wall::now(),
            tend_at: self.now + TEND_EVERY,
        };
        self.agenda.note(source.next_deadline());
        self.sources.insert(id.serial, source);
        self.source_keys.insert(subscribe.key.clone(), id.serial);
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
        let Subscribe { from, key, count, waiting, .. } = subscribe;
        source.subscribers |= crate::shard::audience::shard_bit(from);
        let channel = source.channel.clone();
        self.mail.send(from, Message::Subscribed { key, channel });
        self.feed(serial, Input::Attached { shard: from, count, waiting });
    }

    pub(crate) fn feed(&mut self, serial: u64, input: Input) {
        let now = self.now;
        let Some(source) = self.sources.get_mut(&serial) else { return };
        if source.ended {
            return;
        }
        source.session.handle(input, now);
        self.drain_session(serial);
    }

    fn drain_session(&mut self, serial: u64) {
        while let Some(source) = self.sources.get_mut(&serial) {
            let Some(output) = source.session.poll_output() else {
                self.agenda.note(source.next_deadline());
                return;
            };
            self.carry_out(serial, output);
        }
    }

    /// An engine is being drained: the streams on it look for another one, their viewers staying.
    pub(crate) fn vacate(&mut self, engine: EngineId) {
        let on_it = self
            .sources
            .iter()
            .filter(|(_, source)| !source.ended && source.session.engine() == Some(engine));
        let serials: Vec<u64> = on_it.map(|(serial, _)| *serial).collect();
        for serial in serials {
            self.feed(serial, Input::Move { to: None, insists: true });
        }
    }

    pub(crate) fn session_timer(&mut self, serial: u64) {
        let now = self.now;
        let Some(source) = self.sources.get_mut(&serial) else { return };
        if !source.ended && source.session.poll_timeout().is_some_and(|at| at <= now) {
            source.session.handle_timeout(now);
        }
        self.drain_session(serial);
    }

    fn carry_out(&mut self, serial: u64, output: Output) {
        match output {
            Output::Select { generation, exclude, prefer, wish } => {
                self.select(serial, generation, exclude, prefer, wish);
            }
            Output::Release { reservation } => self.release(serial, reservation),
            Output::Open { generation, engine, target, pid } => {
                self.order(serial, engine, |shard, address| {
                    engine_io::open(shard, serial, generation, engine, address, target, pid)
                });
            }
            Output::Claim { generation, engine, infohash } => {
                self.claim(serial, generation, engine, infohash);
            }
            Output::SetActivityTimeout { generation, engine, path } => {
                self.note_session(serial, generation, &path);
                self.order(serial, engine, |shard, address| {
                    engine_io::activity_timeout(shard, address, path)
                });
            }
            Output::Play { generation, engine, path } => {
                self.sources.get_mut(&serial).expect("fed").ingest.begin(generation);
                self.order(serial, engine, |shard, address| {
                    engine_io::play(shard, serial, generation, engine, address, path)
                });
            }
            Output::PlayAside { generation, engine, path } => {
                let source = self.sources.get_mut(&serial).expect("fed");
                if let Some(before) = source.aside.replace(Aside::new(generation)) {
                    before.close();
                }
                self.order(serial, engine, |shard, address| {
                    engine_io::play(shard, serial, generation, engine, address, path)
                });
            }
            Output::Promote { generation } => self.promote(serial, generation),
            Output::Splice { .. } => {
                self.sources.get_mut(&serial).expect("fed").ingest.splice();
            }
            Output::CloseBody { generation } => {
                self.sources.get_mut(&serial).expect("fed").close_body(generation);
            }
            Output::PollStat { generation, engine, path } => {
                self.order(serial, engine, |shard, address| {
                    engine_io::stat(shard, serial, generation, address, path)
                });
            }
            Output::AskStatus { generation, engine } => {
                self.order(serial, engine, |shard, address| {
                    engine_io::ask_status(shard, serial, generation, address)
                });
            }
            Output::Stop { generation, engine, path, unless_replaced } => {
                self.stops_pending += 1;
                self.stats.stops += 1;
                self.note_session(serial, generation, &path);
                self.order(serial, engine, |shard, address| {
                    engine_io::stop(shard, serial, generation, address, path, unless_replaced)
                });
            }
            told @ (Output::SessionOver { .. }
            | Output::State { .. }
            | Output::WaitAnswer(_)
            | Output::Refuse(_)
            | Output::CloseViewers(_)
            | Output::MoveViewers { .. }
            | Output::MayClose { .. }) => self.tell_viewers(serial, told),
            told @ (Output::MarkOffline(_)
            | Output::ClearOffline
            | Output::StartLog { .. }
            | Output::FailLog { .. }
            | Output::Failover { .. }
            | Output::EngineTakenOver { .. }
            | Output::Frozen(_)
            | Output::LetGo
            | Output::Ended) => self.tell_others(serial, told),
        }
    }

    /// Outputs that concern the shards with viewers.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`carry_out` has sorted them by name")]
    fn tell_viewers(&mut self, serial: u64, output: Output) {
        let source = self.sources.get_mut(&serial).expect("fed");
        let channel = source.id;
        let subscribers = source.subscribers;
        match output {
            Output::SessionOver { generation, engine, outcome } => {
                self.journal_over(serial, generation, engine);
                self.stats.session_over(outcome);
            }
            Output::State { .. } => self.mirror_stream(serial),
            Output::WaitAnswer(answer) => {
                source.channel.update(|facts| facts.wait_answer = Some(answer));
            }
            Output::Refuse(answer) => self
                .tell_shards(channel, subscribers, || Watching::Refuse { answer: answer.clone() }),
            Output::CloseViewers(reason) => {
                let reason = close_reason(reason);
                source.channel.update(|facts| facts.close_reason = Some(reason));
                source.writer.end();
                self.tell_shards(channel, subscribers, || Watching::CloseViewers { reason });
            }
            Output::MoveViewers { infohash } => {
                self.tell_shards(channel, subscribers, || Watching::MoveViewers { infohash });
            }
            Output::MayClose { close_generation, shards } => {
                for shard in shards.iter() {
                    let what = Watching::MayClose { generation: close_generation };
                    self.mail.send(shard, Message::Watching { channel, what });
                }
            }
            other => unreachable!("not for viewers: {other:?}"),
        }
    }

    /// Outputs for the home of the stream, the counters and the log.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`carry_out` has sorted them by name")]
    fn tell_others(&mut self, serial: u64, output: Output) {
        match output {
            Output::MarkOffline(answer) => self.mark_offline(serial, &answer),
            Output::ClearOffline => {
                let source = &self.sources[&serial];
                let (key, open) = (source.keys[0].clone(), source.open.clone());
                let infohash = source.session.infohash();
                self.tell_home(key, |key| Message::Online { key });
                self.tell_home(open, |target| Message::Confirmed { target, infohash });
            }
            Output::StartLog { engine_name, first_packet_ms } => {
                self.sources.get_mut(&serial).expect("fed").start = None;
                self.log_start_of(serial, &engine_name, first_packet_ms);
            }
            Output::FailLog { engine_name, after, answer, reason } => {
                self.stats.starts_failed += 1;
                self.note_error(serial, &reason);
                self.log_failure_of(serial, engine_name.as_deref(), after, answer, &reason);
            }
            Output::Failover { from, reason } => {
                self.stats.failover(reason);
                self.log_failover(serial, from, reason);
                let from = self.sources[&serial].engines.get(&from);
                let from = from.map(|address| address.host.to_string()).unwrap_or_default();
                self.mirror_failover(serial, from, reason);
            }
            Output::EngineTakenOver { engine } => self.log_takeover(serial, engine),
            Output::Frozen(frozen) => self.log_frozen(serial, frozen),
            Output::LetGo => self.let_go(serial),
            Output::Ended => self.on_ended(serial),
            other => unreachable!("not for the log: {other:?}"),
        }
    }

    fn mark_offline(&mut self, serial: u64, answer: &Answer) {
        let source = &self.sources[&serial];
        let key = source.keys[0].clone();
        let open = source.open.clone();
        let reason = answer.message.clone();
        self.tell_home(key, |key| Message::Offline { key, reason });
        self.tell_home(open, |target| Message::Forget { target });
    }

    pub(crate) fn tell_home(&mut self, target: Target, message: impl FnOnce(Target) -> Message) {
        let to = crate::registry::home(&target, self.mail.shards());
        self.mail.send(to, message(target));
    }

    pub(crate) fn tell_shards(
        &mut self,
        channel: ChannelId,
        shards: u64,
        make: impl Fn() -> Watching,
    ) {
        for at in (0..64).filter(|at| shards & (1 << at) != 0) {
            self.mail.send(ShardId(at), Message::Watching { channel, what: make() });
        }
    }

    /// What was read beside the stream is its continuation.
    fn promote(&mut self, serial: u64, generation: Generation) {
        let now = self.now;
        let Self { sources, agenda, cache, .. } = self;
        let source = sources.get_mut(&serial).expect("fed");
        if let Some(aside) = source.aside.take_if(|aside| aside.is_wanted(generation)) {
            if !source.ingest.dirty {
                agenda.moved(serial);
            }
            source.ingest.promote(aside, &mut source.writer, cache, now);
        }
    }

    fn select(
        &mut self,
        serial: u64,
        generation: Generation,
        exclude: Vec<EngineId>,
        prefer: Option<EngineId>,
        wish: Wish,
    ) {
        let (need, only) = match wish {
            Wish::Any => (pool::Need::Session, None),
            Wish::Only(engine) => (pool::Need::Session, Some(engine)),
            Wish::Spare => (pool::Need::Spare, None),
        };
        let token = self.next_token();
        let select = pool::Select {
            token,
            owner: self.me,
            stream: Some(self.sources[&serial].session.infohash()),
            need,
            exclude,
            prefer,
            prefer_not: None,
            only,
        };
        self.wanted.insert(token, Wanted::Session { serial, generation });
        self.ask_pool(pool::Input::Select(select));
    }

    fn release(&mut self, serial: u64, reservation: u64) {
        let source = self.sources.get_mut(&serial).expect("fed");
        source.lent.retain(|_, mine| *mine != reservation);
        let reservation = pool::Reservation(reservation);
        self.ask_pool(pool::Input::Release { reservation });
    }

    /// Spawns what `make` returns, with the engine's address.
    fn order<F>(
        &mut self,
        serial: u64,
        engine: EngineId,
        make: impl FnOnce(crate::shard::core::Shard, Address) -> F,
    ) where
        F: Future<Output = ()> + 'static,
    {
        let address = self.sources[&serial].engines.get(&engine).cloned();
        let address = address.expect("a session only orders from engines that it was granted");
        let task = make(self.handle(), address);
        crate::net::runtime::spawn(task);
    }

    fn claim(&mut self, serial: u64, generation: Generation, engine: EngineId, named: Infohash) {
        let source = &self.sources[&serial];
        let opened = source.session.opened().expect("a claim follows an open").clone();
        let claim = Claim {
            from: self.me,
            channel: source.id,
            generation,
            infohash: named,
            engine,
            engine_name: source.session.engine_name().unwrap_or_default().to_owned(),
            address: source.engines[&engine].clone(),
            reservation: source.lent.get(&engine).copied().unwrap_or(0),
            opened,
        };
        self.tell_home(Target::Infohash(named), |_| Message::Claim(Box::new(claim)));
    }

    fn on_ended(&mut self, serial: u64) {
        let source = self.sources.get_mut(&serial).expect("fed");
        source.ended = true;
        source.start = None;
        source.ingest.close_any();
        if let Some(aside) = source.aside.take() {
            aside.close();
        }
        source.writer.end();
        self.let_go(serial);
        self.try_remove(serial);
    }

    /// Nobody finds this stream any more; those who came while it was ending start the next one.
    fn let_go(&mut self, serial: u64) {
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

const fn close_reason(reason: crate::stream::CloseReason) -> crate::viewer::CloseReason {
    use crate::stream::CloseReason as Why;
    use crate::viewer::CloseReason;
    match reason {
        Why::EngineGone => CloseReason::EngineGone,
        Why::Unstable => CloseReason::Unstable,
        Why::Contended => CloseReason::Contended,
        Why::TakenOver => CloseReason::TakenOver,
        Why::Kicked => CloseReason::Kicked,
        Why::Drain => CloseReason::Drain,
        Why::Error => CloseReason::Error,
    }
}
