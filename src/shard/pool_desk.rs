//! Shard 0 owns the engine pool; everybody else asks by mailbox, and only it grants.

use crate::base::ids::EngineId;
use crate::base::ids::ShardId;
use crate::engine::pool;
use crate::registry::resolver::QueryReply;
use crate::shard::Chore;
use crate::shard::core::Core;
use crate::shard::core::Wanted;
use crate::shard::engine_io;
use crate::shard::exchange::Address;
use crate::shard::message::Message;
use crate::shard::room;
use crate::stream::Input;
use std::time::Duration;

/// Where the pool lives.
const POOL: ShardId = ShardId(0);

impl Core {
    pub(crate) fn ask_pool(&mut self, input: pool::Input) {
        self.mail.send(POOL, Message::Pool(input));
    }

    pub(crate) fn feed_pool(&mut self, input: pool::Input) {
        let now = self.now;
        let pool = self.pool.as_mut().expect("only shard 0 is sent these");
        pool.handle(input, now);
        self.drain_pool();
    }

    pub(crate) fn drain_pool(&mut self) {
        while let Some(output) = self.pool.as_mut().and_then(pool::Pool::poll_output) {
            self.carry_out_pool(output);
        }
    }

    fn carry_out_pool(&mut self, output: pool::Output) {
        use crate::admin::lines::EngineEvent;
        use crate::admin::lines::EngineLine;
        match output {
            pool::Output::Resolve { name } => self.shared.chore(Chore::Resolve { name }),
            pool::Output::WatchFile { path } => self.shared.chore(Chore::Watch { path }),
            pool::Output::UnwatchFile { path } => self.shared.chore(Chore::Unwatch { path }),
            pool::Output::FetchOrchestrator { url, address, deadline } => {
                let task = engine_io::orchestrator(self.handle(), url, address, deadline);
                crate::net::runtime::spawn(task);
            }
            pool::Output::Probe { engine, generation, address, host_header, deadline } => {
                let forwarded = false; // Nobody asks after it.
                let address = Address { engine, socket: address, host: host_header, forwarded };
                let task = engine_io::probe(self.handle(), generation, address, deadline);
                crate::net::runtime::spawn(task);
            }
            pool::Output::Granted(granted) => {
                self.mail.send(granted.owner, Message::Granted(granted));
            }
            pool::Output::Denied { token, owner, reason, retry_after } => {
                self.mail.send(owner, Message::Denied { token, reason, retry_after });
            }
            pool::Output::EngineUp { name, version, .. } => {
                let version = version.as_deref();
                let what = EngineEvent::Up;
                let line = EngineLine { what, engine: &name, version, reason: None };
                tracing::info!("{line}");
            }
            pool::Output::EngineDown { name, reason, .. } => {
                let reason = Some(reason.as_str());
                let what = EngineEvent::Down;
                let line = EngineLine { what, engine: &name, version: None, reason };
                tracing::warn!("{line}");
            }
            pool::Output::Vacate { engine, owner } => {
                self.mail.send(owner, Message::Vacate { engine, leave: true });
            }
            pool::Output::Stay { engine, owner } => {
                self.mail.send(owner, Message::Vacate { engine, leave: false });
            }
            pool::Output::Warning { text } => tracing::warn!("{text}"),
            pool::Output::Changed => {
                self.room_for_engines();
                self.tell_engines();
            }
        }
    }

    /// However many there are by now, whatever the settings name them by.
    fn room_for_engines(&self) {
        let engines = self.pool.as_ref().map_or(0, |pool| pool.names().count());
        let places = room::places(self.shared.config.files_max, engines);
        self.shared.sockets.set_max(places);
    }

    pub(crate) fn on_granted(&mut self, granted: pool::Granted) {
        let address = Address {
            engine: granted.engine,
            socket: granted.address,
            host: granted.host_header.clone(),
            forwarded: granted.forwarded,
        };
        match self.wanted.remove(&granted.token) {
            Some(Wanted::Session { serial, generation }) => {
                let reservation = granted.reservation.map_or(0, |reservation| reservation.0);
                let Some(source) = self.sources.get_mut(&serial).filter(|source| !source.ended)
                else {
                    let reservation = pool::Reservation(reservation);
                    self.ask_pool(pool::Input::Release { reservation });
                    return;
                };
                source.engines.insert(granted.engine, address);
                source.lent.insert(granted.engine, reservation);
                let engine = granted.engine;
                let name = granted.name.to_string();
                source.engine_names.insert(engine, name.clone());
                let input = Input::Granted { generation, engine, reservation, name };
                self.feed(serial, input);
            }
            Some(Wanted::Query { query, id, deadline }) => {
                let Ok(place) = self.shared.sockets.take(None) else {
                    // No fact about this id; that there is no room for its stream is said next.
                    return self.on_query_result(query, None, QueryReply::Unreachable);
                };
                let asked = (query, id, place);
                let task = engine_io::media_files(self.handle(), asked, address, deadline);
                crate::net::runtime::spawn(task);
            }
            // Asked for by a shard that panicked since.
            None => {
                if let Some(reservation) = granted.reservation {
                    self.ask_pool(pool::Input::Release { reservation });
                }
            }
        }
    }

    pub(crate) fn on_denied(&mut self, token: u64, reason: &pool::Denied, retry_after: Duration) {
        match self.wanted.remove(&token) {
            Some(Wanted::Session { serial, generation }) => {
                let text = reason.message();
                let no_engine = !matches!(reason, pool::Denied::AllAtLimit { .. });
                self.feed(serial, Input::Denied { generation, no_engine, text, retry_after });
            }
            Some(Wanted::Query { query, .. }) => {
                self.on_query_result(query, None, QueryReply::Unreachable);
            }
            // As above.
            None => {}
        }
    }

    pub(crate) fn engine_name(&self, engine: EngineId) -> String {
        let pool = self.pool.as_ref();
        let row = pool.and_then(|pool| pool.rows().into_iter().find(|row| row.id == engine));
        row.map_or_else(|| format!("#{}", engine.0), |row| row.name.to_string())
    }
}
