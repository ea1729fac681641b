//! A session's orders, carried out: to the pool, to its engine, to the shards with viewers, to the
//! stream's home and the log.
//!
//! Nothing is decided here. An order that needs a socket becomes a task, whose answer is fed with the
//! order's generation.

use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::ids::ShardId;
use crate::base::ids::Target;
use crate::engine::pool;
use crate::shard::channel::ChannelId;
use crate::shard::core::Core;
use crate::shard::core::Wanted;
use crate::shard::engine_io;
use crate::shard::exchange::Address;
use crate::shard::ingest::Aside;
use crate::shard::leasing::Question;
use crate::shard::message::Claim;
use crate::shard::message::Message;
use crate::shard::message::Watching;
use crate::stream::Answer;
use crate::stream::Failure;
use crate::stream::Output;
use crate::stream::Wish;

impl Core {
    pub(crate) fn carry_out(&mut self, serial: u64, output: Output) {
        match output {
            Output::Select { generation, exclude, prefer, wish } => {
                self.select(serial, Question { generation, exclude, prefer, wish });
            }
            Output::Release { reservation } => self.release(serial, reservation),
            Output::Claim { generation, engine, infohash } => {
                self.claim(serial, generation, engine, infohash);
            }
            Output::Promote { generation } => self.promote(serial, generation),
            Output::Splice { .. } => {
                self.sources.get_mut(&serial).expect("fed").ingest.splice();
            }
            Output::CloseBody { generation } => {
                self.sources.get_mut(&serial).expect("fed").close_body(generation);
            }
            asked @ (Output::Open { .. }
            | Output::SetActivityTimeout { .. }
            | Output::Play { .. }
            | Output::PlayAside { .. }
            | Output::PollStat { .. }
            | Output::AskStatus { .. }
            | Output::Stop { .. }) => self.ask_engine(serial, asked),
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
            | Output::RivalFailed { .. }
            | Output::EngineTakenOver { .. }
            | Output::Frozen(_)
            | Output::LetGo
            | Output::Ended) => self.tell_others(serial, told),
        }
    }

    /// Outputs that an engine answers.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`carry_out` has sorted them by name")]
    fn ask_engine(&mut self, serial: u64, output: Output) {
        match output {
            Output::Open { generation, engine, target, pid } => {
                self.order(serial, engine, |shard, address| {
                    engine_io::open(shard, serial, generation, engine, address, target, pid)
                });
            }
            Output::SetActivityTimeout { generation, engine, path } => {
                self.note_session(serial, generation, &path);
                self.order(serial, engine, |shard, address| {
                    engine_io::activity_timeout(shard, address, path)
                });
            }
            Output::Play { generation, engine, path } => {
                self.sources.get_mut(&serial).expect("fed").ingest.begin(generation);
                self.shelve(serial);
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
            other => unreachable!("not for an engine: {other:?}"),
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
            Output::Refuse(answer) => {
                let is_primed = source.ingest.is_primed();
                self.tell_shards(channel, subscribers, || Watching::Refuse {
                    answer: answer.clone(),
                });
                if is_primed {
                    self.tell_shards(channel, subscribers, || Watching::PrimedOver);
                }
            }
            Output::CloseViewers(reason) => {
                let reason = close_reason(reason);
                source.channel.update(|facts| facts.close_reason = Some(reason));
                source.writer.end();
                self.tell_shards(channel, subscribers, || Watching::CloseViewers { reason });
            }
            Output::MoveViewers { infohash } => {
                if source.ingest.is_primed() {
                    self.tell_shards(channel, subscribers, || Watching::PrimedOver);
                }
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
                let (keys, open) = (source.keys.clone(), source.open.clone());
                let infohash = source.session.infohash();
                for key in keys {
                    self.tell_home(key, |key| Message::Online { key });
                }
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
                if reason == Failure::Silent.as_str() {
                    self.ask_pool(pool::Input::Quiet { engine: from });
                }
                self.log_failover(serial, from, reason);
                let name = self.sources[&serial].engine_names.get(&from);
                let from = name.cloned().unwrap_or_default();
                self.mirror_failover(serial, from, reason);
            }
            Output::RivalFailed { purpose, engine, reason } => {
                *self.stats.rivals_failed.entry(purpose.as_str()).or_default() += 1;
                self.log_rival_failed(serial, purpose, engine, &reason);
            }
            Output::EngineTakenOver { engine } => self.log_takeover(serial, engine),
            Output::Frozen(frozen) => self.log_frozen(serial, frozen),
            Output::LetGo => self.let_go(serial),
            Output::Ended => self.on_ended(serial),
            other => unreachable!("not for the log: {other:?}"),
        }
    }

    /// Under its infohashes, where an engine has named one: whatever was asked for leads there.
    fn mark_offline(&mut self, serial: u64, answer: &Answer) {
        let source = &self.sources[&serial];
        let (mut keys, open) = (source.keys.clone(), source.open.clone());
        if source.has_infohash() {
            keys.retain(|key| matches!(key, Target::Infohash(_)));
        }
        for key in keys {
            let (reason, open) = (answer.message.clone(), open.clone());
            self.tell_home(key, |key| Message::Offline { key, reason, open });
        }
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

    pub(crate) fn select_now(&mut self, serial: u64, question: Question) {
        let Question { generation, exclude, prefer, wish } = question;
        let order = self.engine_order(serial);
        let (need, only) = match wish {
            Wish::Any => (pool::Need::Session, None),
            Wish::Only(engine) => (pool::Need::Session, Some(engine)),
            Wish::Spare => (pool::Need::Spare, None),
        };
        let token = self.next_token();
        let stream = Some(self.sources[&serial].session.infohash());
        let any = pool::Select::any(token, self.me, need);
        let select = pool::Select { stream, exclude, prefer, order, only, ..any };
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
