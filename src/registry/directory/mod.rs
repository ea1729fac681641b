//! Which stream runs on which shard, and which channels are known to be off the air.
//!
//! A plain table on each key's home shard: it sends nothing and times nothing. A stream that was
//! opened before its infohash was known runs elsewhere than at its infohash's home; there the
//! entry names the shard. Invariant: one key, one shard; both tables are bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::ids::Infohash;
use crate::base::ids::ShardId;
use crate::base::ids::Target;
use crate::base::time::Instant;

/// The first pause of an offline channel; doubles to [`OFFLINE_MAX`].
pub const OFFLINE_MIN: Duration = Duration::from_secs(10);
pub const OFFLINE_MAX: Duration = Duration::from_secs(60);
/// A probe is a whole start; one that never reported holds the others back no longer than this.
const PROBE_MAX: Duration = Duration::from_secs(90);
/// What is told to those who ask during a probe.
const PROBE_RETRY: Duration = Duration::from_secs(5);
/// A mark that nobody asked about for so long is forgotten, and its count with it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10 * 60);
const REASON_BYTES_MAX: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectoryConfig {
    pub entries_max: usize,
    pub offline_max: usize,
}

impl Default for DirectoryConfig {
    fn default() -> Self {
        Self { entries_max: 65_536, offline_max: 4_096 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    Granted,
    /// That shard has claimed it before.
    Yours,
    Taken(ShardId),
    Full,
}

/// Whether a stream may be started now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    Yes,
    /// It was offline: this start is the one that finds out.
    Probe,
    Offline {
        retry_after: Duration,
        reason: String,
        failures: u32,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OfflineRow {
    pub target: Target,
    /// What it was asked for as, where that is another id.
    pub content_id: Option<Infohash>,
    pub reason: String,
    pub failures: u32,
    pub since: Instant,
    /// Zero: the next request is its probe.
    pub retry_in: Duration,
    pub probing: bool,
}

#[derive(Debug)]
struct Mark {
    reason: String,
    failures: u32,
    since: Instant,
    until: Instant,
    /// A start is finding out, at the latest until then.
    probe_until: Option<Instant>,
    content_id: Option<Infohash>,
    /// It is what an `id=` of the same digits means: an engine has said so, or that it knows no such
    /// content id. Without that an infohash that somebody made of a content id would keep others
    /// from the channel.
    is_id: bool,
}

#[derive(Debug)]
pub struct Directory {
    config: DirectoryConfig,
    entries: BTreeMap<Target, ShardId>,
    marks: BTreeMap<Target, Mark>,
}

impl Directory {
    pub fn new(config: DirectoryConfig) -> Self {
        Self { config, entries: BTreeMap::new(), marks: BTreeMap::new() }
    }

    /// Asks for the right to run this key on a shard.
    pub fn claim(&mut self, target: &Target, shard: ShardId) -> Claim {
        match self.entries.get(target) {
            Some(owner) if *owner == shard => Claim::Yours,
            Some(owner) => Claim::Taken(*owner),
            None if self.entries.len() >= self.config.entries_max => Claim::Full,
            None => {
                self.entries.insert(target.clone(), shard);
                Claim::Granted
            }
        }
    }

    pub fn runs_on(&self, target: &Target) -> Option<ShardId> {
        self.entries.get(target).copied()
    }

    /// False when the key is not this shard's: a late release takes nothing from anybody.
    pub fn release(&mut self, target: &Target, shard: ShardId) -> bool {
        let is_owner = self.runs_on(target) == Some(shard);
        is_owner && self.entries.remove(target).is_some()
    }

    /// A shard died: what it ran is free again.
    pub fn release_shard(&mut self, shard: ShardId) -> Vec<Target> {
        let lost = self.entries.iter().filter(|(_, owner)| **owner == shard);
        let lost: Vec<Target> = lost.map(|(target, _)| target.clone()).collect();
        self.entries.retain(|_, owner| *owner != shard);
        lost
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// May a stream be started? Asked only when none runs: who finds one running joins it.
    pub fn may_start(&mut self, target: &Target, now: Instant) -> Start {
        self.forget_old(now);
        let Some(mark) = self.marks.get_mut(target) else { return Start::Yes };
        let is_probing = mark.probe_until.is_some_and(|until| until > now);
        if mark.until <= now && !is_probing {
            mark.probe_until = Some(now + PROBE_MAX);
            return Start::Probe;
        }
        let retry_after = if is_probing { PROBE_RETRY } else { mark.until.since(now) };
        Start::Offline { retry_after, reason: mark.reason.clone(), failures: mark.failures }
    }

    /// A start found nothing to play. Answers how long the mark holds.
    pub fn mark_offline(&mut self, target: &Target, reason: &str, now: Instant) -> Duration {
        self.forget_old(now);
        if !self.marks.contains_key(target) && self.marks.len() >= self.config.offline_max {
            let soonest = self.marks.iter().min_by_key(|(_, mark)| mark.until);
            if let Some(soonest) = soonest.map(|(target, _)| target.clone()) {
                self.marks.remove(&soonest);
            }
        }
        let mark = self.marks.entry(target.clone()).or_insert_with(|| Mark {
            reason: String::new(),
            failures: 0,
            since: now,
            until: now,
            probe_until: None,
            content_id: None,
            is_id: false,
        });
        let doublings = mark.failures.min(8);
        let pause = (OFFLINE_MIN * 2_u32.pow(doublings)).min(OFFLINE_MAX);
        mark.failures += 1;
        mark.until = now + pause;
        mark.probe_until = None;
        mark.reason = cut(reason).to_owned();
        pause
    }

    /// What is marked was asked for as this id, and an engine was asked what that means.
    pub fn asked_as(&mut self, target: &Target, id: Infohash) {
        let Target::Infohash(infohash) = target else { return };
        let Some(mark) = self.marks.get_mut(target) else { return };
        mark.is_id = true;
        if *infohash != id {
            mark.content_id = Some(id);
        }
    }

    /// A start would be refused: neither is it time to find out, nor does a start do so.
    pub fn is_offline(&self, target: &Target, now: Instant) -> bool {
        self.marks.get(target).is_some_and(|mark| mark.until > now)
    }

    /// As [`Self::is_offline`], of the infohash that an `id=` of these digits means.
    pub fn is_offline_as_id(&self, id: Infohash, now: Instant) -> bool {
        let mark = self.marks.get(&Target::Infohash(id));
        mark.is_some_and(|mark| mark.is_id && mark.until > now)
    }

    /// It gave bytes.
    pub fn mark_online(&mut self, target: &Target) {
        self.marks.remove(target);
    }

    /// The start that was its probe ended without a verdict: the next one may find out.
    pub fn probe_dropped(&mut self, target: &Target) {
        if let Some(mark) = self.marks.get_mut(target) {
            mark.probe_until = None;
        }
    }

    /// An operator says to try again. False when there was no mark.
    pub fn clear_offline(&mut self, target: &Target) -> bool {
        self.marks.remove(target).is_some()
    }

    pub fn offline(&self, now: Instant) -> Vec<OfflineRow> {
        let current = self.marks.iter().filter(|(_, mark)| !mark.is_old(now));
        current
            .map(|(target, mark)| OfflineRow {
                target: target.clone(),
                content_id: mark.content_id,
                reason: mark.reason.clone(),
                failures: mark.failures,
                since: mark.since,
                retry_in: mark.until.since(now),
                probing: mark.probe_until.is_some_and(|until| until > now),
            })
            .collect()
    }

    pub fn check_invariants(&self) {
        assert!(self.entries.len() <= self.config.entries_max);
        assert!(self.marks.len() <= self.config.offline_max.max(1));
        assert!(self.marks.values().all(|mark| mark.failures > 0 && mark.until >= mark.since));
    }

    fn forget_old(&mut self, now: Instant) {
        self.marks.retain(|_, mark| !mark.is_old(now));
    }
}

impl Mark {
    fn is_old(&self, now: Instant) -> bool {
        now.since(self.probe_until.unwrap_or(self.until).max(self.until)) >= FORGOTTEN_AFTER
    }
}

fn cut(reason: &str) -> &str {
    let end =
        (0..=reason.len().min(REASON_BYTES_MAX)).rev().find(|at| reason.is_char_boundary(*at));
    &reason[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests;
