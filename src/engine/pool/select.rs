//! Which engine serves next: usable and under its limit, then least sessions (those of other nodes
//! included), then forwarded, then least recently chosen.
//!
//! *Usable* has two grades. Known to answer comes first; an engine that was never asked yet, has
//! an open strike, or is called unhealthy by its orchestrator is taken only when no better one is
//! there, so that the first viewer after a boot is served.

use std::cmp::Reverse;
use std::time::Duration;

use super::Denied;
use super::Granted;
use super::Held;
use super::Need;
use super::Output;
use super::Pool;
use super::Reservation;
use super::Select;
use super::engine::Engine;
use super::health::EngineState;
use crate::base::ids::EngineId;
use crate::base::prng::Prng;
use crate::base::time::Instant;

/// The setting that limits an engine without a `max=` of its own.
const LIMIT_SETTING: &str = "RINGCAST_MAX_STREAMS_PER_ENGINE";

impl Denied {
    pub fn message(self) -> String {
        match self {
            Self::NoEngine => "no engine is known: see RINGCAST_ENGINES".to_owned(),
            Self::NoUsableEngine => "no engine answers".to_owned(),
            Self::OnlyExcluded => "no other engine answers".to_owned(),
            Self::NoneToSpare => "fewer than half of the engines have nothing to do".to_owned(),
            Self::AllAtLimit { setting } => format!("every engine is at its limit ({setting})"),
        }
    }

    /// When it may be worth asking again.
    pub fn retry_after(self) -> Duration {
        match self {
            Self::NoEngine | Self::NoUsableEngine => Duration::from_secs(5),
            Self::OnlyExcluded | Self::NoneToSpare => Duration::from_secs(2),
            Self::AllAtLimit { .. } => Duration::from_secs(10),
        }
    }
}

impl Pool {
    pub(super) fn select(&mut self, select: &Select, now: Instant) {
        let output = match self.choose(select, now) {
            Ok(id) => self.grant(select, id, now),
            Err(reason) => {
                if reason == Denied::NoUsableEngine {
                    // Somebody waits: an engine that came back is found within a second.
                    self.engines.values_mut().for_each(|engine| engine.health.ask_soon(now));
                }
                Output::Denied {
                    token: select.token,
                    owner: select.owner,
                    reason,
                    retry_after: reason.retry_after(),
                }
            }
        };
        self.outputs.push_back(output);
    }

    fn grant(&mut self, select: &Select, id: EngineId, now: Instant) -> Output {
        let engine = self.engines.get_mut(&id).expect("it was just chosen");
        let reservation = match select.need {
            Need::Query => None,
            Need::Session | Need::Spare => {
                let reservation = Reservation(self.reservation_next);
                self.reservation_next += 1;
                self.choices += 1;
                engine.sessions += 1;
                engine.breaker.chosen(now);
                engine.chosen_at = self.choices;
                engine.chosen_total += 1;
                let held = Held { engine: id, owner: select.owner, stream: select.stream };
                self.reservations.insert(reservation, held);
                self.has_changed = true;
                Some(reservation)
            }
        };
        Output::Granted(Granted {
            token: select.token,
            owner: select.owner,
            engine: id,
            name: engine.name.clone(),
            address: engine.address().expect("only engines with an address are usable"),
            host_header: engine.host_header.clone(),
            forwarded: engine.forwarded,
            reservation,
        })
    }

    fn choose(&self, select: &Select, now: Instant) -> Result<EngineId, Denied> {
        if self.engines.values().all(|engine| engine.is_gone) {
            return Err(Denied::NoEngine);
        }
        let mut usable = self.engines.iter().filter(|(_, engine)| is_usable(engine)).peekable();
        if usable.peek().is_none() {
            return Err(Denied::NoUsableEngine);
        }
        if select.need == Need::Spare && !self.is_half_idle() {
            return Err(Denied::NoneToSpare);
        }
        let allowed = |id: &EngineId| {
            !select.exclude.contains(id) && select.only.is_none_or(|only| only == *id)
        };
        let mut allowed = usable.filter(|(id, _)| allowed(id)).peekable();
        let Some((_, first)) = allowed.peek() else { return Err(Denied::OnlyExcluded) };
        let setting = if first.max.is_some() { "max" } else { LIMIT_SETTING };
        let is_free = |engine: &Engine| match select.need {
            Need::Session | Need::Spare => self.has_room(engine),
            Need::Query => true,
        };
        allowed
            .filter(|(_, engine)| is_free(engine))
            .min_by_key(|(id, engine)| {
                (
                    select.prefer_not == Some(**id),
                    !engine.health.is_good() || engine.is_listed_unhealthy,
                    engine.breaker.is_resting(now),
                    // A query goes where the session would: first where there is room.
                    !self.has_room(engine),
                    select.prefer != Some(**id),
                    engine.sessions.saturating_add(engine.elsewhere),
                    Reverse(engine.forwarded),
                    select.order.map_or(engine.chosen_at, |order| rank(order, &engine.name)),
                    **id,
                )
            })
            .map(|(id, _)| *id)
            .ok_or(Denied::AllAtLimit { setting })
    }

    fn is_half_idle(&self) -> bool {
        let usable = || self.engines.values().filter(|engine| is_usable(engine));
        // Sessions of other nodes are as much to do as our own.
        let is_idle = |engine: &&Engine| engine.sessions == 0 && engine.elsewhere == 0;
        let idle = usable().filter(is_idle).count();
        idle * 2 >= usable().count()
    }

    fn has_room(&self, engine: &Engine) -> bool {
        let general = self.config.streams_per_engine_max;
        let max = engine.max.or((general != 0).then_some(general));
        max.is_none_or(|max| engine.sessions < max)
    }
}

/// An engine's place in an order of somebody's own. By name: its number is ours alone.
fn rank(order: u64, name: &str) -> u64 {
    name.bytes().fold(order, |hash, byte| Prng::new(hash ^ u64::from(byte)).next_u64())
}

fn is_usable(engine: &Engine) -> bool {
    !engine.is_draining()
        && engine.address().is_some()
        && engine.health.state() != EngineState::Down
}
