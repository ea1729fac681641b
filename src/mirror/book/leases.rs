//! The leases of the streams in the book, and of those that are just being given back.

use super::Book;
use super::KNOWN_EPOCHS_MAX;
use super::LeaseView;
use super::Order;
use super::Output;
use super::StandingName;
use super::stream::gate_of;
use super::stream::is_owner;
use super::stream::is_unknown;
use crate::base::ids::Infohash;
use crate::base::time::Instant;
use crate::mirror::events::What;
use crate::mirror::lease;
use crate::mirror::lease::Ask;
use crate::mirror::lease::Lease;
use crate::mirror::lease::Standing;
use crate::mirror::outbox::Gate;

/// A question for Redis about one lease. It comes back with the answer: a late one of an earlier
/// lease of the same stream is recognised by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    pub infohash: Infohash,
    pub lease: u64,
    pub ask: Ask,
}

pub(super) struct Held {
    pub(super) number: u64,
    pub(super) brain: Lease,
    /// The epoch that was published last.
    told_epoch: u64,
    /// The epoch that Redis named last, whoever's it is.
    seen: u64,
}

/// A lease that is being given back; its stream may be running again already.
pub(super) struct Parting {
    infohash: Infohash,
    held: Held,
}

impl Book {
    /// The entry of a stream that runs here from now on, with its lease.
    pub(super) fn open_lease(&mut self, infohash: Infohash, now: Instant) {
        let known = self.known.get(&infohash).copied().unwrap_or(0);
        self.next_lease += 1;
        let number = self.next_lease;
        let brain = Lease::new(known, self.link_up, now);
        let entry = self.streams.entry(infohash).or_default();
        entry.lease = Some(Held { number, brain, told_epoch: 0, seen: 0 });
        entry.started = false;
        self.drain_lease(infohash);
    }

    pub(super) fn feed_lease(
        &mut self,
        infohash: Infohash,
        number: u64,
        input: lease::Input,
        now: Instant,
    ) {
        let running = self.streams.get_mut(&infohash).and_then(|entry| entry.lease.as_mut());
        if let Some(held) = running.filter(|held| held.number == number) {
            held.brain.handle(input, now);
            self.drain_lease(infohash);
            return;
        }
        if let Some(parting) = self.parting.iter_mut().find(|p| p.held.number == number) {
            parting.held.brain.handle(input, now);
            self.drain_parting();
        }
    }

    /// A stream that has another epoch than before has passed to another node, or Redis has lost its
    /// owner, perhaps with everything else, and it was taken anew. Either way what is ours to write of
    /// it may not be there.
    pub(super) fn note_epoch(&mut self, question: &Question) {
        let entry = self.streams.get_mut(&question.infohash);
        let held = entry.and_then(|entry| entry.lease.as_mut());
        let Some(held) = held.filter(|held| held.number == question.lease) else { return };
        let epoch = held.brain.standing().epoch();
        if epoch > 0 {
            let before = std::mem::replace(&mut held.seen, epoch);
            self.resync_wanted |= before > 0 && before != epoch;
        }
    }

    /// Everybody hears the same.
    pub(super) fn tell_leases(&mut self, input: &lease::Input, now: Instant) {
        let running: Vec<(Infohash, u64)> = self
            .streams
            .iter()
            .filter_map(|(infohash, entry)| Some((*infohash, entry.lease.as_ref()?.number)))
            .chain(self.parting.iter().map(|parting| (parting.infohash, parting.held.number)))
            .collect();
        for (infohash, number) in running {
            self.feed_lease(infohash, number, input.clone(), now);
        }
    }

    pub(super) fn lease_timeout(&self) -> Option<Instant> {
        let running = self.streams.values().filter_map(|entry| entry.lease.as_ref());
        let parting = self.parting.iter().map(|parting| &parting.held);
        running.chain(parting).filter_map(|held| held.brain.poll_timeout()).min()
    }

    pub(super) fn lease_timers(&mut self, now: Instant) {
        let is_due = |held: &Held| held.brain.poll_timeout().is_some_and(|at| at <= now);
        let due: Vec<Infohash> = self
            .streams
            .iter()
            .filter(|(_, entry)| entry.lease.as_ref().is_some_and(is_due))
            .map(|(infohash, _)| *infohash)
            .collect();
        for infohash in due {
            if let Some(held) =
                self.streams.get_mut(&infohash).and_then(|entry| entry.lease.as_mut())
            {
                held.brain.handle_timeout(now);
            }
            self.drain_lease(infohash);
        }
        for parting in self.parting.iter_mut().filter(|parting| is_due(&parting.held)) {
            parting.held.brain.handle_timeout(now);
        }
        self.drain_parting();
    }

    /// The stream is over: its lease goes back.
    pub(super) fn part(&mut self, infohash: Infohash, now: Instant) {
        let Some(entry) = self.streams.get_mut(&infohash) else { return };
        let Some(mut held) = entry.lease.take() else { return };
        let standing = held.brain.standing();
        entry.last_gate = Some((gate_of(standing), is_owner(standing)));
        held.brain.handle(lease::Input::Release, now);
        self.remember(infohash, held.brain.known());
        self.parting.push(Parting { infohash, held });
        self.drain_parting();
    }

    fn remember(&mut self, infohash: Infohash, epoch: u64) {
        if self.known.len() >= KNOWN_EPOCHS_MAX && !self.known.contains_key(&infohash) {
            // Whichever: one that comes back is told by Redis, which remembers a day.
            self.known.pop_first();
        }
        let known = self.known.entry(infohash).or_default();
        *known = (*known).max(epoch);
    }

    fn drain_lease(&mut self, infohash: Infohash) {
        loop {
            let running = self.streams.get_mut(&infohash).and_then(|entry| entry.lease.as_mut());
            let Some(held) = running else { return };
            let Some(output) = held.brain.poll_output() else { return };
            let lease = held.number;
            match output {
                lease::Output::Ask(ask) => {
                    self.outputs.push_back(Output::Ask(Question { infohash, lease, ask }));
                }
                lease::Output::Changed(standing) => self.on_standing(infohash, &standing),
            }
        }
    }

    fn drain_parting(&mut self) {
        let Self { parting, outputs, known, .. } = self;
        for Parting { infohash, held } in parting.iter_mut() {
            let (infohash, lease) = (*infohash, held.number);
            while let Some(output) = held.brain.poll_output() {
                if let lease::Output::Ask(ask) = output {
                    outputs.push_back(Output::Ask(Question { infohash, lease, ask }));
                }
            }
            if let Some(epoch) = known.get_mut(&infohash) {
                *epoch = (*epoch).max(held.brain.known());
            }
        }
        parting.retain(|parting| !parting.held.brain.is_over());
    }

    fn on_standing(&mut self, infohash: Infohash, standing: &Standing) {
        let view = view(&self.me, standing);
        let entry = self.streams.get_mut(&infohash).expect("drained from it");
        let held = entry.lease.as_mut().expect("drained from it");
        let shard = entry.shard;
        match standing {
            Standing::Owned { epoch } => {
                let epoch = *epoch;
                if std::mem::replace(&mut held.told_epoch, epoch) != epoch {
                    let owner = self.me.clone();
                    let what = What::OwnerChanged { owner, epoch };
                    self.publish(infohash, what, None);
                }
            }
            Standing::Foreign { by } => {
                let by = by.clone();
                self.outputs.push_back(Output::Foreign { infohash, by });
            }
            Standing::Unowned
            | Standing::Unknown { .. }
            | Standing::Held { .. }
            | Standing::Released => {}
        }
        match gate_of(standing) {
            Gate::Drop => {
                self.table.forget(&infohash);
                self.streams.entry(infohash).or_default().is_owed = true;
            }
            Gate::Write if is_unknown(standing) => {
                self.streams.entry(infohash).or_default().is_owed = true;
            }
            Gate::Write => {
                // What was not written while it was another program's, or perhaps another node's.
                let entry = self.streams.entry(infohash).or_default();
                self.resync_wanted |= std::mem::take(&mut entry.is_owed);
            }
            Gate::Later => {}
        }
        let order = Order::Lease { infohash, view };
        self.outputs.push_back(Output::Order { shard, order });
    }
}

fn view(me: &str, standing: &Standing) -> LeaseView {
    let (owner, standing_name) = match standing {
        Standing::Owned { .. } => (Some(me.to_owned()), StandingName::Owned),
        Standing::Unknown { epoch } => ((*epoch > 0).then(|| me.to_owned()), StandingName::Unknown),
        Standing::Held { by, .. } => (Some(by.clone()), StandingName::Held),
        Standing::Foreign { by } => (Some(by.clone()), StandingName::Foreign),
        Standing::Unowned | Standing::Released => (None, StandingName::Unowned),
    };
    LeaseView { owner, epoch: standing.epoch(), standing: standing_name }
}
