//! One engine of the pool: the facts its source gives, its addresses, its health, its counts.
//!
//! It never chooses and never counts a reservation itself; the pool does.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

use super::EngineRow;
use super::breaker::Breaker;
use super::health::Change;
use super::health::EngineState;
use super::health::Health;
use super::sources::Member;
use crate::base::ids::EngineId;
use crate::base::time::Instant;
use crate::engine::reply::Failure;
use crate::engine::reply::Status;
use crate::engine::spec::host_header;

#[derive(Debug)]
pub(super) struct Engine {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) name: Arc<str>,
    pub(super) host_header: Arc<str>,
    pub(super) source: String,
    pub(super) forwarded: bool,
    pub(super) max: Option<u32>,
    pub(super) health: Health,
    pub(super) breaker: Breaker,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) address_at: usize,
    /// Addresses that refused since one of them last answered.
    addresses_refused: usize,
    pub(super) version: Option<String>,
    /// What the last licence failure said: a warning is written once.
    licence: Option<String>,
    pub(super) sessions: u32,
    /// Of other nodes that share it. They are not ours to limit.
    pub(super) elsewhere: u32,
    /// The value of the pool's count of choices when it was last chosen.
    pub(super) chosen_at: u64,
    pub(super) chosen_total: u64,
    pub(super) failures_total: u64,
    pub(super) drain_listed: bool,
    pub(super) drain_asked: bool,
    /// Those who have sessions on it were told to leave.
    pub(super) is_vacated: bool,
    pub(super) is_listed_unhealthy: bool,
    /// No source names it any more; it stays until its last session ends.
    pub(super) is_gone: bool,
}

/// What an observation means to the world outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Transition {
    Nothing,
    /// The row reads differently.
    Changed,
    Up,
    Down,
}

impl From<Change> for Transition {
    fn from(change: Change) -> Self {
        match change {
            Change::Nothing => Self::Nothing,
            Change::WentUp => Self::Up,
            Change::WentDown => Self::Down,
        }
    }
}

impl Engine {
    pub(super) fn new(member: &Member, now: Instant) -> Self {
        let header = host_header(&member.host, member.port);
        Self {
            host: member.host.clone(),
            port: member.port,
            name: Arc::from(""),
            host_header: Arc::from(header),
            source: String::new(),
            forwarded: false,
            max: None,
            health: Health::new(now),
            breaker: Breaker::default(),
            addresses: Vec::new(),
            address_at: 0,
            addresses_refused: 0,
            version: None,
            licence: None,
            sessions: 0,
            elsewhere: 0,
            chosen_at: 0,
            chosen_total: 0,
            failures_total: 0,
            drain_listed: false,
            drain_asked: false,
            is_vacated: false,
            is_listed_unhealthy: false,
            is_gone: false,
        }
    }

    pub(super) fn set_facts(&mut self, member: Member, name: Arc<str>) {
        self.name = name;
        self.source = member.source;
        self.forwarded = member.forwarded;
        self.max = member.max.map(std::num::NonZeroU32::get);
        self.drain_listed = member.draining;
        self.is_listed_unhealthy = member.unhealthy;
        self.is_gone = false;
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_to_be_left() || self.is_gone
    }

    /// Those who play on it are to move. On one that was removed they play on.
    pub(super) fn is_to_be_left(&self) -> bool {
        self.drain_listed || self.drain_asked
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        let address = self.addresses.get(self.address_at)?;
        Some(SocketAddr::new(*address, self.port))
    }

    /// What its host resolves to now; without an address it is down, and says why.
    pub(super) fn set_addresses(
        &mut self,
        addresses: Vec<IpAddr>,
        error: Option<&str>,
        now: Instant,
    ) -> Transition {
        if addresses == self.addresses {
            let is_lost = self.addresses.is_empty() && self.health.state() != EngineState::Down;
            return match error {
                Some(error) if is_lost => self.health.unreachable(error, now).into(),
                Some(_) | None => Transition::Nothing,
            };
        }
        let current = self.addresses.get(self.address_at).copied();
        let kept = addresses.iter().position(|address| Some(*address) == current);
        self.addresses = addresses;
        self.address_at = kept.unwrap_or(0);
        self.addresses_refused = 0;
        if kept.is_none() {
            self.health.abandon_probe();
            self.health.ask_now(now);
        }
        Transition::Changed
    }

    pub(super) fn probed(&mut self, result: Result<Status, Failure>, now: Instant) -> Transition {
        match result {
            Ok(status) => {
                self.addresses_refused = 0;
                let is_new = status.version.is_some() && status.version != self.version;
                if is_new {
                    self.version = status.version;
                }
                let transition = Transition::from(self.health.answered(now));
                if is_new && transition == Transition::Nothing {
                    return Transition::Changed;
                }
                transition
            }
            Err(Failure::Refused) => self.refused(now),
            Err(Failure::Lack(_)) => {
                self.health.not_asked(now);
                Transition::Nothing
            }
            Err(Failure::Silent) => {
                self.health.unanswered("hangs: no answer to get_status in 5 s", now).into()
            }
            Err(failure) => self.health.unanswered(&format!("get_status: {failure}"), now).into(),
        }
    }

    /// No connection to its current address. Only when all of them refused is it a strike.
    pub(super) fn refused(&mut self, now: Instant) -> Transition {
        let count = self.addresses.len().max(1);
        self.address_at = (self.address_at + 1) % count;
        self.addresses_refused += 1;
        if self.addresses_refused < count {
            // A probe that is out asks the address that was just left.
            self.health.abandon_probe();
            self.health.ask_now(now);
            return Transition::Nothing;
        }
        self.addresses_refused = 0;
        self.health.refused("no connection", now).into()
    }

    /// What was seen of it, and a warning when the operator should know.
    pub(super) fn outcome(
        &mut self,
        result: Result<(), Failure>,
        now: Instant,
    ) -> (Transition, Option<String>) {
        let Err(failure) = result else {
            self.addresses_refused = 0;
            return (self.health.answered(now).into(), None);
        };
        if failure.blames_engine() {
            self.failures_total += 1;
            if self.breaker.failed(&failure, now) {
                let text = format!("fails what is asked of it ({failure}): others come first");
                return (Transition::Changed, Some(text));
            }
        }
        match failure {
            // A refused connect comes as ConnectFailed, with its address.
            Failure::Refused | Failure::Silent | Failure::Cut | Failure::Other(_) => {
                self.health.ask_soon(now);
                (Transition::Changed, None)
            }
            Failure::Premium(text) => {
                let warning = (self.licence.as_ref() != Some(&text)).then(|| text.clone());
                self.licence = Some(text);
                (Transition::Changed, warning)
            }
            Failure::Content(_)
            | Failure::Superseded
            | Failure::SessionGone(_)
            | Failure::Prebuffering(_)
            | Failure::Forbidden
            | Failure::Lack(_)
            | Failure::MalformedHead => (Transition::Changed, None),
        }
    }

    /// An engine without an address cannot be asked anything.
    pub(super) fn next_event(&self) -> Option<Instant> {
        (!self.addresses.is_empty()).then(|| self.health.next_event())
    }

    pub(super) fn row(&self, id: EngineId) -> EngineRow {
        let reason = self.health.reason().map(str::to_owned);
        EngineRow {
            id,
            name: Arc::clone(&self.name),
            host: self.host.clone(),
            port: self.port,
            address: self.address(),
            source: self.source.clone(),
            forwarded: self.forwarded,
            max: self.max,
            sessions: self.sessions,
            state: self.health.state(),
            reason: reason.or_else(|| self.licence.clone()),
            version: self.version.clone(),
            last_ok: self.health.last_ok(),
            draining: self.is_draining(),
            rest: self.breaker.rest().cloned(),
            chosen_total: self.chosen_total,
            failures_total: self.failures_total,
        }
    }
}
