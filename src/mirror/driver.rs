//! Carries out what the book decides: one round after another, each collects what was told and
//! answered, lets times pass, asks, writes one page, and waits for the next thing to happen.
//!
//! Invariants: at most one page is being written; answers of a connection that is gone are
//! recognised by its number; nothing is awaited in a round itself.

use crate::base::prng::Prng;
use crate::base::time;
use crate::base::time::Instant;
use crate::base::time::Wall;
use crate::mirror::book;
use crate::mirror::book::Book;
use crate::mirror::book::Output;
use crate::mirror::book::Question;
use crate::mirror::events::Command;
use crate::mirror::keys::Keys;
use crate::mirror::lease;
use crate::mirror::link;
use crate::mirror::link::Link;
use crate::mirror::link::Pipe;
use crate::mirror::listen;
use crate::mirror::listen::Interest;
use crate::mirror::outbox::Inbound;
use crate::mirror::outbox::Table;
use crate::mirror::place::Place;
use crate::mirror::questions;
use crate::mirror::settings::Settings;
use crate::mirror::snapshots;
use crate::mirror::snapshots::desk::Desk;
use crate::mirror::status::State;
use crate::mirror::status::Status;
use crate::mirror::sweep;
use crate::mirror::thread::Bell;
use crate::mirror::thread::Shards;
use crate::mirror::upkeep::Step;
use crate::mirror::upkeep::Upkeep;
use crate::mirror::wire::Writer;
use crate::mirror::writing;
use crate::mirror::writing::Written;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What comes within this of a wake-up is written together.
const ROUND_MS_MIN: Duration = Duration::from_millis(20);

/// While a page is being written, what is due may have to wait for it.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// Answers that wait for the next round.
const NEWS_MAX: usize = 1_024;

/// Subscriptions that wait for the message pipe: all streams of a node that has many.
const INTERESTS_MAX: usize = 4_096;

/// The last words of a process: the leases, and that it is gone.
const CLOSE_MAX: Duration = Duration::from_millis(1_200);

/// A foreign writer's keys are named in the log this often at most.
const FOREIGN_LINE_EVERY: Duration = Duration::from_secs(600);

/// A Redis that is full says so once a second.
const REFUSED_LINE_EVERY: Duration = Duration::from_secs(60);

/// What tasks bring back.
pub(super) enum News {
    Connected(Result<Box<Link>, String>),
    Answered(Question, Option<lease::Reply>),
    Pong(bool),
    Written(Written),
    Command(Command),
    /// A pipe broke.
    Broken(String),
    Swept(Result<usize, String>),
    Snapshot(snapshots::desk::Done),
}

struct Up {
    asks: Pipe,
    writes: Pipe,
    interests: mpsc::Sender<Interest>,
    listener: JoinHandle<()>,
}

impl Drop for Up {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

pub(super) struct Driver<'a> {
    settings: &'a Settings,
    place: &'a Place,
    status: &'a Arc<Status>,
    bell: &'a Arc<Bell>,
    shards: &'a Arc<dyn Shards>,
    book: Book,
    desk: Desk<'a>,
    keys: Keys,
    up: Option<Up>,
    upkeep: Upkeep,
    prng: Prng,
    sweep_at: Instant,
    sweeping: bool,
    told_down: bool,
    foreign_line_at: Instant,
    refused_line_at: Instant,
    sender: mpsc::Sender<(u64, News)>,
    news: mpsc::Receiver<(u64, News)>,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        place: &'a Place,
        status: &'a Arc<Status>,
        bell: &'a Arc<Bell>,
        shards: &'a Arc<dyn Shards>,
        started_at: Wall,
        desk: Desk<'a>,
    ) -> Self {
        let (sender, news) = mpsc::channel(NEWS_MAX);
        let now = time::now();
        let me = settings.worker_id.clone();
        Self {
            settings,
            place,
            status,
            bell,
            shards,
            book: Book::new(me, started_at, shards.count(), Table::default()),
            desk,
            keys: Keys::new(&settings.prefix, settings.hash_tags.unwrap_or(false)),
            up: None,
            upkeep: Upkeep::new(now),
            prng: Prng::new(settings.seed),
            sweep_at: now + settings.cleanup,
            sweeping: false,
            told_down: false,
            foreign_line_at: Instant::ZERO,
            refused_line_at: Instant::ZERO,
            sender,
            news,
        }
    }

    /// Until it is told to stop.
    pub(super) async fn live(&mut self, inbounds: &mut [Inbound]) {
        while !self.bell.stopping.load(Relaxed) {
            self.round(inbounds);
            self.wait().await;
        }
        self.close(inbounds).await;
    }

    fn round(&mut self, inbounds: &mut [Inbound]) {
        let now = time::now();
        self.collect(inbounds, now);
        while let Ok((number, news)) = self.news.try_recv() {
            self.on_news(number, news, now);
        }
        self.book.handle_timeout(now);
        self.carry_out(now);
        self.keep_up(now);
        self.take_snapshots(now);
        self.write(now);
        self.status.set_lag(self.book.lag(now));
        let dropped: u64 = inbounds.iter().map(Inbound::dropped).sum();
        self.status.set_dropped(dropped + self.book.dropped());
    }

    fn collect(&mut self, inbounds: &mut [Inbound], now: Instant) {
        for (shard, inbound) in inbounds.iter_mut().enumerate() {
            while let Some(record) = inbound.pop() {
                self.book.handle(book::Input::Told { shard, record }, now);
            }
            if inbound.take_overflow() {
                self.book.handle(book::Input::Overflow, now);
            }
        }
    }

    async fn wait(&mut self) {
        let next = self.next_deadline();
        let pause = next.since(time::now()).max(PAUSE_MIN);
        let news = tokio::select! {
            biased;
            news = self.news.recv() => news,
            () = self.bell.notify.notified() => {
                tokio::time::sleep(ROUND_MS_MIN).await;
                None
            }
            () = tokio::time::sleep(pause) => None,
        };
        if let Some((number, news)) = news {
            self.on_news(number, news, time::now());
        }
    }

    fn next_deadline(&self) -> Instant {
        let book = self.book.poll_timeout().unwrap_or(Instant::NEVER);
        let desk = self.desk.poll_timeout().unwrap_or(Instant::NEVER);
        let may_sweep = self.up.is_some() && !self.sweeping;
        let sweep = if may_sweep { self.sweep_at } else { Instant::NEVER };
        book.min(desk).min(self.upkeep.poll_timeout()).min(sweep)
    }

    fn carry_out(&mut self, now: Instant) {
        while let Some(output) = self.book.poll_output() {
            match output {
                Output::Ask(question) => self.ask(question, now),
                Output::Order { shard, order } => self.shards.order(shard, order),
                Output::Subscribe(infohash) => self.interest(Interest::Begin(infohash)),
                Output::Unsubscribe(infohash) => self.interest(Interest::End(infohash)),
                Output::Foreign { infohash, by } => self.say_foreign(infohash, &by, now),
            }
        }
    }

    fn interest(&mut self, interest: Interest) {
        // A pipe that is that far behind is broken; the next one subscribes to everything.
        let full = self.up.as_ref().is_some_and(|up| up.interests.try_send(interest).is_err());
        if full {
            self.break_up("the message pipe does not keep up", time::now());
        }
    }

    fn say_foreign(&mut self, infohash: crate::base::ids::Infohash, by: &str, now: Instant) {
        let by = crate::admin::hygiene::clean(by);
        if now < self.foreign_line_at {
            tracing::debug!("stream {infohash} is owned by \"{by}\", which knows no epochs");
            return;
        }
        self.foreign_line_at = now + FOREIGN_LINE_EVERY;
        let prefix = self.keys.prefix();
        tracing::warn!(
            "Redis has keys of another program: stream {infohash} under {prefix}: is owned by \
             \"{by}\"; such streams are not mirrored; set RINGCAST_REDIS_PREFIX to keep apart"
        );
    }

    /// The connection: made when there is none, asked when it is silent.
    fn keep_up(&mut self, now: Instant) {
        match self.upkeep.handle_timeout(now) {
            Some(Step::Connect) => {
                let (place, tags) = (self.place.clone(), self.settings.hash_tags);
                self.spawn(async move {
                    News::Connected(link::connect(&place, tags).await.map(Box::new))
                });
            }
            Some(Step::Ping) => {
                if let Some(up) = &self.up {
                    let asks = up.asks.clone();
                    self.spawn(async move { News::Pong(questions::ping(asks).await) });
                }
            }
            Some(Step::GiveUp) => self.break_up("it does not answer", now),
            None => {}
        }
        if now >= self.sweep_at && !self.sweeping {
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Instant) {
        let Some(up) = &self.up else { return };
        self.sweeping = true;
        self.sweep_at = now + self.settings.cleanup;
        let round = sweep::Round {
            me: self.settings.worker_id.clone(),
            keys: self.keys.clone(),
            streams: self.book.own_streams().collect(),
            engines: self.book.engines().map(str::to_owned).collect(),
        };
        let asks = up.asks.clone();
        self.spawn(async move { News::Swept(round.run(asks).await) });
    }

    fn ask(&mut self, question: Question, now: Instant) {
        let Some(up) = &self.up else {
            self.book.handle(book::Input::Lost { question }, now);
            return;
        };
        let asks = up.asks.clone();
        let me = &self.settings.worker_id;
        let command = questions::command(&question, &self.keys, me, self.prng.next_u64());
        self.spawn(async move { News::Answered(question, questions::ask(asks, &command).await) });
    }

    fn take_snapshots(&mut self, now: Instant) {
        let jobs = self.desk.round(&mut self.book, now);
        self.status.set_snapshots(&self.desk);
        let Some(up) = &self.up else { return };
        for job in jobs {
            let (pipe, keys) = (up.writes.clone(), self.keys.clone());
            self.spawn(async move { News::Snapshot(job.run(pipe, keys).await) });
        }
    }

    fn write(&mut self, now: Instant) {
        let Some(up) = &self.up else { return };
        let Some(page) = self.book.page(now) else { return };
        let writer = Writer { keys: &self.keys, settings: self.settings, now: Wall::now() };
        let groups = writer.groups(&page);
        let writes = up.writes.clone();
        self.spawn(async move { News::Written(writing::write(writes, groups).await) });
    }

    fn spawn(&self, task: impl Future<Output = News> + 'static) {
        let (number, sender) = (self.upkeep.number(), self.sender.clone());
        tokio::task::spawn_local(async move {
            let news = task.await;
            // A driver that is gone wants no news.
            let _ = sender.send((number, news)).await;
        });
    }

    fn on_news(&mut self, number: u64, news: News, now: Instant) {
        if number != self.upkeep.number() {
            return;
        }
        match news {
            News::Connected(Ok(link)) => self.on_connected(*link, now),
            News::Connected(Err(why)) => self.on_refused(&why, now),
            News::Broken(why) => self.break_up(&why, now),
            News::Command(command) => self.book.handle(book::Input::Command(command), now),
            News::Answered(question, Some(reply)) => {
                self.heard(now);
                self.book.handle(book::Input::Answered { question, reply }, now);
            }
            News::Answered(question, None) => {
                self.book.handle(book::Input::Lost { question }, now);
            }
            News::Pong(answered) => {
                self.upkeep.pinged();
                if answered {
                    self.heard(now);
                }
            }
            News::Written(written) => self.on_written(written, now),
            News::Snapshot(done) => {
                if let Some((shard, order)) = self.desk.done(done) {
                    self.shards.order(Some(shard), order);
                }
            }
            News::Swept(result) => {
                self.sweeping = false;
                match result {
                    Ok(0) => {}
                    Ok(n) => tracing::debug!("{n} orphans taken off Redis"),
                    Err(why) => tracing::debug!("the sweep of Redis stopped: {why}"),
                }
            }
        }
    }

    fn heard(&mut self, now: Instant) {
        self.upkeep.heard(now);
        self.status.replied(now);
    }

    fn on_written(&mut self, written: Written, now: Instant) {
        let later = written.may_be_written_later();
        let Written { result, commands, bytes, stops, refused } = written;
        for (infohash, viewer) in stops {
            let command = Command::ClientStop { infohash, viewer };
            self.book.handle(book::Input::Command(command), now);
        }
        match result {
            Ok(()) => {
                self.heard(now);
                self.status.wrote(commands, bytes);
                if let Some(error) = &refused
                    && now >= self.refused_line_at
                {
                    self.refused_line_at = now + REFUSED_LINE_EVERY;
                    tracing::warn!("Redis refuses what the mirror writes: {error}");
                }
                if refused.is_some() {
                    self.desk.lost_some(&mut self.book);
                }
                self.book.handle(book::Input::Written { ok: !later }, now);
            }
            Err(why) => {
                self.book.handle(book::Input::Written { ok: false }, now);
                self.break_up(&why, now);
            }
        }
    }

    fn on_connected(&mut self, link: Link, now: Instant) {
        let Link { asks, writes, messages, tags, version } = link;
        self.upkeep.connected(now);
        self.told_down = false;
        self.keys = Keys::new(&self.settings.prefix, tags);
        let (interests, receiver) = mpsc::channel(INTERESTS_MAX);
        let (keys, number) = (self.keys.clone(), self.upkeep.number());
        let sender = self.sender.clone();
        let listener = tokio::task::spawn_local(async move {
            let give = async |command| {
                let _ = sender.send((number, News::Command(command))).await;
            };
            let why = listen::listen(messages, keys, receiver, give).await;
            let _ = sender.send((number, News::Broken(why))).await;
        });
        self.up = Some(Up { asks, writes, interests, listener });
        self.sweeping = false;
        self.heard(now);
        self.status.set_state(State::Up);
        tracing::info!("Redis up: {} ({version})", self.place.name());
        self.book.handle(book::Input::LinkUp, now);
        let streams: Vec<_> = self.book.streams().collect();
        for infohash in streams {
            self.interest(Interest::Begin(infohash));
        }
    }

    fn on_refused(&mut self, why: &str, now: Instant) {
        if self.status.state() == State::Up || !self.told_down {
            tracing::warn!(
                "Redis down: {}: {why}; streams play without it (RINGCAST_REDIS_URL)",
                self.place.name()
            );
        }
        self.told_down = true;
        self.status.set_state(State::Down);
        self.upkeep.lost(now, self.prng.next_u64());
    }

    /// The connection is given up; another one is made after a while, not all nodes at once.
    fn break_up(&mut self, why: &str, now: Instant) {
        if self.up.take().is_none() {
            return;
        }
        self.desk.lost_some(&mut self.book);
        self.status.set_state(State::Down);
        self.told_down = true;
        tracing::warn!("Redis down: {}: {why}; streams play without it", self.place.name());
        self.book.handle(book::Input::LinkDown, now);
        self.upkeep.lost(now, self.prng.next_u64());
    }

    /// What is left to say, within a time: then the process ends.
    async fn close(&mut self, inbounds: &mut [Inbound]) {
        let until = time::now() + CLOSE_MAX;
        let engines: Vec<String> = self.book.engines().map(str::to_owned).collect();
        self.collect(inbounds, time::now());
        self.book.handle(book::Input::Close, time::now());
        while self.up.is_some() && !self.book.is_done() && time::now() < until {
            self.round(inbounds);
            let left = until.since(time::now()).min(ROUND_MS_MIN);
            if let Ok(Some((number, news))) = tokio::time::timeout(left, self.news.recv()).await {
                self.on_news(number, news, time::now());
            }
        }
        if let Some(up) = &self.up {
            let writer = Writer { keys: &self.keys, settings: self.settings, now: Wall::now() };
            let last = writing::write(up.writes.clone(), writer.goodbye(&engines));
            let _ = tokio::time::timeout(CLOSE_MAX / 3, last).await;
        }
    }
}
