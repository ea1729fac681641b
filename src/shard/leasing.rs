//! Whose a stream is, before an engine is asked for it.
//!
//! Only where there are other nodes (`RINGCAST_NODE_URL`). A cold start asks Redis for the lease when
//! its infohash is known, and waits for the answer for half a second at most, if Redis has answered
//! a moment ago; without an answer it starts unowned. An owner that Redis has not confirmed for the
//! length of a lease plays on, and opens no further session for as long again: by then whoever
//! could have got the lease has begun. Nobody is closed for it, and nobody waits for ever.
//!
//! A session is told what Redis says, because it decides how often it goes back to an engine on which
//! somebody else has taken its place; what it knows of them is kept for the next stream of the content.

use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Infohash;
use crate::base::prng::Prng;
use crate::base::time::Instant;
use crate::mirror::LeaseView;
use crate::mirror::StandingName;
use crate::mirror::lease::LEASE;
use crate::shard::core::Core;
use crate::stream::Contest;
use crate::stream::Input;
use crate::stream::Tenure;
use crate::stream::Wish;
use std::collections::BTreeMap;
use std::time::Duration;

const COLD_WAIT_MAX: Duration = Duration::from_millis(500);

/// Streams of the last three minutes that were fought for. Beyond it the next one begins anew.
const CONTESTS_MAX: usize = 1_024;

/// Of streams that are over.
#[derive(Default)]
pub(crate) struct Contests(BTreeMap<Infohash, Contest>);

impl Contests {
    fn keep(&mut self, infohash: Infohash, contest: Contest, now: Instant) {
        self.0.retain(|_, contest| !contest.is_over(now));
        if !contest.is_over(now) && self.0.len() < CONTESTS_MAX {
            self.0.insert(infohash, contest);
        }
    }
}

/// A session's question for an engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Question {
    pub(crate) generation: Generation,
    pub(crate) exclude: Vec<EngineId>,
    pub(crate) prefer: Option<EngineId>,
    pub(crate) wish: Wish,
}

/// What is known when an engine is to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    standing: StandingName,
    epoch: u64,
    /// When that was said.
    since: Instant,
    /// The first engine for this stream.
    is_cold: bool,
    /// Its infohash is known, so Redis was asked.
    is_asked: bool,
    started_at: Instant,
    /// Redis has answered a moment ago.
    is_fresh: bool,
}

impl Known {
    /// Until when to wait for a word of Redis; never longer than this.
    fn waits_until(self) -> Option<Instant> {
        match self.standing {
            StandingName::Unowned if self.is_cold && self.is_asked && self.is_fresh => {
                Some(self.started_at + COLD_WAIT_MAX)
            }
            StandingName::Unknown if self.epoch > 0 => Some(self.since + LEASE),
            StandingName::Unowned
            | StandingName::Unknown
            | StandingName::Owned
            | StandingName::Held
            | StandingName::Foreign => None,
        }
    }
}

impl Core {
    pub(crate) fn select(&mut self, serial: u64, question: Question) {
        let until = self.waits_until(serial);
        let Some(source) = self.sources.get_mut(&serial) else { return };
        source.held_question = None;
        match until {
            Some(until) => {
                source.held_question = Some((question, until));
                self.agenda.note(Some(until));
            }
            None => self.select_now(serial, question),
        }
    }

    /// Redis has spoken, or had its time.
    pub(crate) fn select_held(&mut self, serial: u64) {
        let Some(source) = self.sources.get(&serial) else { return };
        if source.held_question.is_none() || self.waits_until(serial).is_some() {
            return;
        }
        let source = self.sources.get_mut(&serial).expect("found above");
        if let Some((question, _)) = source.held_question.take()
            && !source.ended
        {
            self.select_now(serial, question);
        }
    }

    pub(crate) fn on_lease(&mut self, serial: u64, view: LeaseView) {
        let now = self.now;
        let Some(source) = self.sources.get_mut(&serial) else { return };
        if source.told.lease.standing != view.standing {
            source.told.lease_at = now;
        }
        let tenure = match view.standing {
            StandingName::Owned => Tenure::Owner,
            StandingName::Unowned
            | StandingName::Unknown
            | StandingName::Held
            | StandingName::Foreign => Tenure::Other,
        };
        source.told.lease = view;
        self.feed(serial, Input::Tenure(tenure));
        self.select_held(serial);
    }

    /// What is known of others who want a content that a stream is opened for.
    pub(crate) fn contest_of(&mut self, infohash: &Infohash) -> Contest {
        if self.teller.is_none() {
            return Contest::new(Tenure::Alone);
        }
        let kept = self.contests.0.remove(infohash);
        kept.map_or(Contest::new(Tenure::Other), |contest| contest.of(Tenure::Other))
    }

    pub(crate) fn remember_contest(&mut self, serial: u64) {
        let Self { sources, contests, now, teller, .. } = self;
        if let Some(source) = sources.get(&serial).filter(|_| teller.is_some()) {
            let session = &source.session;
            contests.keep(session.infohash(), session.contest().clone(), *now);
        }
    }

    fn waits_until(&self, serial: u64) -> Option<Instant> {
        let status = self.shared.mirror.as_ref().filter(|_| self.shared.config.has_nodes)?;
        let source = self.sources.get(&serial)?;
        let known = Known {
            standing: source.told.lease.standing,
            epoch: source.told.lease.epoch,
            since: source.told.lease_at,
            is_cold: source.engines.is_empty(),
            is_asked: source.has_infohash(),
            started_at: source.session.started_at(),
            is_fresh: status.is_fresh(self.now),
        };
        known.waits_until().filter(|until| self.now < *until)
    }

    /// Nodes that do not know whose a stream is begin on engines that are not each other's, as often as
    /// the hash has it.
    pub(crate) fn engine_order(&self, serial: u64) -> Option<u64> {
        let source = self.sources.get(&serial).filter(|_| self.teller.is_some())?;
        let is_known = match source.told.lease.standing {
            StandingName::Unowned | StandingName::Unknown => false,
            StandingName::Owned | StandingName::Held | StandingName::Foreign => true,
        };
        let infohash = source.session.infohash();
        let seed = infohash.as_bytes().iter().fold(self.shared.boot_seed, |hash, byte| {
            Prng::new(hash ^ u64::from(*byte)).next_u64()
        });
        (!is_known).then_some(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Instant = Instant::from_micros(1_000_000);

    fn known(standing: StandingName, epoch: u64) -> Known {
        let (since, started_at) = (T0 + Duration::from_secs(60), T0);
        Known { standing, epoch, since, is_cold: true, is_asked: true, started_at, is_fresh: true }
    }

    #[test]
    fn a_cold_start_waits_half_a_second_while_redis_answers() {
        let cold = known(StandingName::Unowned, 0);
        assert_eq!(cold.waits_until(), Some(T0 + Duration::from_millis(500)));
        assert_eq!(Known { is_fresh: false, ..cold }.waits_until(), None);
        assert_eq!(Known { is_cold: false, ..cold }.waits_until(), None);
        let without_infohash = Known { is_asked: false, ..cold };
        assert_eq!(without_infohash.waits_until(), None, "a URL: nobody was asked yet");
        assert_eq!(known(StandingName::Unknown, 0).waits_until(), None, "asked, and not answered");
        for answered in [StandingName::Owned, StandingName::Held, StandingName::Foreign] {
            assert_eq!(known(answered, 7).waits_until(), None);
        }
    }

    #[test]
    fn an_owner_that_lost_touch_waits_for_the_length_of_a_lease() {
        let lost = Known { is_cold: false, is_fresh: false, ..known(StandingName::Unknown, 7) };
        assert_eq!(lost.waits_until(), Some(lost.since + LEASE));
    }
}
