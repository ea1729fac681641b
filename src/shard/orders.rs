//! What an operator wants to be otherwise, carried out by the shard that has it.
//!
//! An order goes to every shard, and each says whether it was meant: the owner of a stream, the
//! shard that a viewer sits on, the home of an id, shard 0 for engines. Nothing waits here for what
//! an order sets off; it is begun when this returns.

use crate::base::ids::EngineId;
use crate::base::ids::Infohash;
use crate::base::ids::Target;
use crate::base::ids::ViewerId;
use crate::base::time::Instant;
use crate::engine::pool;
use crate::engine::spec::Spec;
use crate::http::render::ErrorCode;
use crate::registry::directory::OfflineRow;
use crate::shard::audience::Phase;
use crate::shard::blocks::Person;
use crate::shard::core::Core;
use crate::shard::join::NotNow;
use crate::shard::message::Message;
use crate::shard::message::Watching;
use crate::shard::source::Source;
use crate::stream;
use crate::viewer::CloseReason;
use std::time::Duration;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    EndStream(Infohash),
    EndViewer {
        viewer: ViewerId,
        block: Duration,
    },
    MoveStream {
        stream: Infohash,
        to: Option<EngineId>,
    },
    /// Its number, for an order that names it.
    FindEngine(String),
    /// As a content id or an infohash.
    WarmStream {
        id: Infohash,
        span: Duration,
    },
    /// The infohash that an engine gave for a content id, for an order that names the id.
    FindInfohash(Infohash),
    /// By either.
    ClearOffline {
        id: Infohash,
        infohash: Option<Infohash>,
    },
    AddEngines(Vec<Spec>),
    DrainEngine {
        engine: String,
        draining: bool,
    },
    RemoveEngine(String),
    /// It is chosen as if it had never failed.
    EndRest(String),
}

/// What a shard says of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    NotMine,
    /// With what there is to say about it, as JSON.
    Begun(serde_json::Value),
    /// It was meant, and makes no sense: why.
    Refused(String),
}

impl Core {
    pub(crate) fn carry_out_order(&mut self, order: Order) -> Done {
        match order {
            Order::EndStream(id) => self.end_stream(id),
            Order::EndViewer { viewer, block } => self.end_viewer(viewer, block),
            Order::MoveStream { stream, to } => self.move_stream(stream, to),
            Order::FindEngine(engine) => match self.find_engine(&engine) {
                Some(id) => Done::Begun(serde_json::json!({ "number": id.0 })),
                None => Done::NotMine,
            },
            Order::WarmStream { id, span } => self.warm_stream(id, span),
            Order::FindInfohash(id) => match self.resolver.infohash_of(&Target::Id(id), self.now) {
                Some(infohash) => {
                    Done::Begun(serde_json::json!({ "infohash": infohash.to_string() }))
                }
                None => Done::NotMine,
            },
            Order::ClearOffline { id, infohash } => self.clear_offline(id, infohash),
            Order::AddEngines(specs) => self.add_engines(specs),
            Order::DrainEngine { engine, draining } => self.drain_engine(&engine, draining),
            Order::RemoveEngine(engine) => self.remove_engine(&engine),
            Order::EndRest(engine) => self.end_rest(&engine),
        }
    }

    /// The stream that is meant, by its number here.
    fn stream_of(&self, id: Infohash) -> Option<(u64, &Source)> {
        let is_meant = |source: &&Source| source.is_current() && source.is_known_as(id);
        let found = self.sources.iter().find(|(_, source)| is_meant(source));
        found.map(|(serial, source)| (*serial, source))
    }

    /// Begun when this returns: the viewers stay where they are until the other engine can follow.
    fn move_stream(&mut self, id: Infohash, to: Option<EngineId>) -> Done {
        let Some((serial, source)) = self.stream_of(id) else { return Done::NotMine };
        let from = source.session.engine_name().map(str::to_owned);
        let id = source.session.infohash().to_string();
        if to.is_some() && source.session.engine() == to {
            let name = from.unwrap_or_default();
            return Done::Refused(format!("the stream is on {name} already: name another engine"));
        }
        self.feed(serial, stream::Input::Move { to });
        Done::Begun(serde_json::json!({ "id": id, "from": from }))
    }

    /// The home of the id has an audience for it without a viewer, which finds the stream or starts
    /// it as one with viewers would.
    fn warm_stream(&mut self, id: Infohash, span: Duration) -> Done {
        let target = Target::Id(id);
        if crate::registry::home(&target, self.mail.shards()) != self.me {
            return Done::NotMine;
        }
        self.keep_warm(target, self.now + span);
        Done::Begun(serde_json::json!({ "id": id.to_string(), "seconds": span.as_secs() }))
    }

    pub(crate) fn keep_warm(&mut self, target: Target, until: Instant) {
        // An operator pays for no start.
        let at = self.audience_for(target, None);
        self.audiences[at].warm_until = Some(until);
        self.pass_warmth(at);
    }

    /// The owner is told once it is known; from then on it is the owner's.
    pub(crate) fn pass_warmth(&mut self, at: usize) {
        let audience = &mut self.audiences[at];
        let Some(channel) = audience.channel_id() else { return };
        if let Some(until) = audience.warm_until.take() {
            let what = Watching::Warm { until };
            self.mail.send(channel.owner, Message::Watching { channel, what });
        }
    }

    fn end_stream(&mut self, id: Infohash) -> Done {
        let Some((serial, source)) = self.stream_of(id) else { return Done::NotMine };
        let infohash = source.session.infohash().to_string();
        let viewers = source.session.viewers();
        self.feed(serial, stream::Input::Kick { reason: stream::CloseReason::Kicked });
        Done::Begun(serde_json::json!({ "id": infohash, "viewers": viewers }))
    }

    fn end_viewer(&mut self, viewer: ViewerId, block: Duration) -> Done {
        let found = self.audiences.iter().find_map(|(at, audience)| {
            let mut entries = audience.entries.iter();
            let meant = |phase: Phase| phase != Phase::Closing;
            let found = entries.find(|(_, entry)| entry.who.id == viewer && meant(entry.phase));
            found.map(|(index, entry)| (at, index, entry.phase))
        });
        let Some((at, index, phase)) = found else { return Done::NotMine };
        let who = &self.audiences[at].entries[index].who;
        let person = Person::of(who.name.as_deref(), who.limited_as).filter(|_| !block.is_zero());
        let blocked_seconds = if person.is_some() { block.as_secs() } else { 0 };
        if let Some(person) = person {
            self.shared.blocks.put(person, self.now + block);
        }
        match phase {
            Phase::Waiting => {
                let message = "this request was ended by the operator";
                self.refuse(at, index, &NotNow::new(ErrorCode::Forbidden, message));
            }
            Phase::Playing | Phase::Closing => self.finish(at, index, CloseReason::Kicked),
        }
        let id = viewer.to_string();
        Done::Begun(serde_json::json!({ "id": id, "blocked_seconds": blocked_seconds }))
    }

    /// Under this id, or made through it. What led there is asked anew.
    fn clear_offline(&mut self, id: Infohash, infohash: Option<Infohash>) -> Done {
        let own = |row: &OfflineRow| crate::shard::source::provisional(&row.target);
        let is_meant = |mark: Infohash| mark == id || Some(mark) == infohash;
        let named = |row: &OfflineRow| is_meant(own(row)) || row.content_id == Some(id);
        let rows = self.directory.offline(self.now).into_iter();
        let meant: Vec<OfflineRow> = rows.filter(named).collect();
        let Some(cleared) = meant.first().map(own) else { return Done::NotMine };
        for row in meant {
            self.directory.clear_offline(&row.target);
            let asked = [Some(own(&row)), row.content_id, Some(id)];
            for id in asked.into_iter().flatten() {
                self.tell_home(Target::Id(id), |target| Message::Forget { target });
            }
        }
        Done::Begun(serde_json::json!({ "id": cleared.to_string() }))
    }

    fn add_engines(&mut self, specs: Vec<Spec>) -> Done {
        if self.pool.is_none() {
            return Done::NotMine;
        }
        let texts: Vec<String> = specs.iter().map(Spec::to_string).collect();
        self.feed_pool(pool::Input::Add(specs));
        Done::Begun(serde_json::json!({ "engines": texts }))
    }

    fn drain_engine(&mut self, name: &str, draining: bool) -> Done {
        let Some(engine) = self.find_engine(name) else { return Done::NotMine };
        self.feed_pool(pool::Input::Drain { engine, draining });
        Done::Begun(serde_json::json!({ "id": name, "draining": draining }))
    }

    fn remove_engine(&mut self, name: &str) -> Done {
        let Some(engine) = self.find_engine(name) else { return Done::NotMine };
        self.feed_pool(pool::Input::Remove { engine });
        Done::Begun(serde_json::json!({ "id": name }))
    }

    fn end_rest(&mut self, name: &str) -> Done {
        let Some(engine) = self.find_engine(name) else { return Done::NotMine };
        let rows = self.pool.as_ref().map(pool::Pool::rows).unwrap_or_default();
        let mut rests = rows.into_iter().filter(|row| row.id == engine).filter_map(|row| row.rest);
        if !rests.any(|rest| rest.until > self.now) {
            return Done::NotMine;
        }
        self.feed_pool(pool::Input::EndRest { engine });
        Done::Begun(serde_json::json!({ "id": name }))
    }

    fn find_engine(&self, name: &str) -> Option<EngineId> {
        self.pool.as_ref().and_then(|pool| pool.find(name))
    }
}

impl Source {
    /// By its infohash, or by the content id that it was asked for with.
    fn is_known_as(&self, id: Infohash) -> bool {
        let asked = match self.open {
            Target::Id(asked) | Target::Infohash(asked) => asked == id,
            Target::Url(_) | Target::Magnet(_) => false,
        };
        asked || self.session.infohash() == id
    }
}
