//! What shards tell, and what the book makes of it.

use super::Book;
use super::Output;
use super::shard_of;
use super::stream::Seen;
use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;
use crate::base::time::Instant;
use crate::base::time::Wall;
use crate::mirror::events::Event;
use crate::mirror::events::What;
use crate::mirror::outbox::Gate;
use crate::mirror::outbox::StreamWrite;
use crate::mirror::outbox::ViewerWrite;
use crate::mirror::records::Record;
use crate::mirror::records::StreamFacts;
use crate::mirror::records::StreamOver;
use crate::mirror::records::ViewerFacts;
use crate::mirror::records::ViewerGone;
use crate::mirror::records::ViewerStats;

impl Book {
    pub(super) fn on_record(&mut self, shard: usize, record: Record, now: Instant) {
        match record {
            Record::Stream(facts) => self.on_stream(shard, facts, now),
            Record::StreamOver(over) => self.on_over(*over, now),
            Record::Failover { infohash, from, reason } => {
                if let Some(entry) = self.streams.get_mut(&infohash) {
                    entry.failover = Some((from, reason));
                }
            }
            Record::Viewer(facts) => self.on_viewer(facts, now),
            Record::ViewerStats(stats) => self.on_stats(stats, now),
            Record::ViewerGone(gone) => self.on_gone(&gone, now),
            Record::Engines(engines) => {
                self.engines_known = engines;
                self.look_at_loads();
            }
            Record::Synced { generation } => self.on_synced(shard, generation, now),
        }
    }

    fn on_stream(&mut self, shard: usize, facts: Box<StreamFacts>, now: Instant) {
        let infohash = facts.infohash;
        let at = facts.told_at;
        let entry = self.streams.entry(infohash).or_default();
        entry.shard = Some(shard);
        if entry.lease.is_none() {
            self.open_lease(infohash, now);
            self.outputs.push_back(Output::Subscribe(infohash));
        }
        let entry = self.streams.get_mut(&infohash).expect("made above");
        entry.generation = self.generation;
        entry.note_state(facts.state);
        entry.content_id = facts.content_id;
        let engine = facts.engine.as_ref().map(|engine| engine.id.clone());
        let mut events = Vec::new();
        if facts.ready_at.is_some() && !std::mem::replace(&mut entry.started, true) {
            events.push(What::StreamStarted);
        }
        if let (Some(to), Some((from, reason))) =
            (&engine, entry.failover.take_if(|_| engine.is_some()))
        {
            events.push(What::StreamFailover { from, to: to.clone(), reason });
        }
        if entry.engine != engine {
            entry.engine = engine;
            // Nodes that share engines spread over them: soon, not at the next heartbeat.
            self.node_at = now;
        }
        self.table.put_stream(infohash, StreamWrite::Facts(facts), now);
        for what in events {
            self.publish(infohash, what, Some(at));
        }
    }

    fn on_over(&mut self, over: StreamOver, now: Instant) {
        let infohash = over.facts.infohash;
        let at = over.facts.told_at;
        let Some(entry) = self.streams.get_mut(&infohash) else { return };
        let Some(held) = &mut entry.lease else { return };
        // It may have been told before a pause, and be read behind it.
        held.brain.handle_timeout(now);
        let reason = over.reason;
        if entry.engine.take().is_some() {
            self.node_at = now;
        }
        self.publish(infohash, What::StreamStopped { reason }, Some(at));
        match self.streams[&infohash].gate() {
            Gate::Write if self.streams[&infohash].is_owner() => {
                self.table.put_stream(infohash, StreamWrite::Over(Box::new(over)), now);
            }
            // What is still to be told of it is the owner's to tell, whoever that is.
            Gate::Write => self.table.forget_stream(&infohash),
            Gate::Later | Gate::Drop => self.table.forget(&infohash),
        }
        self.part(infohash, now);
        self.outputs.push_back(Output::Unsubscribe(infohash));
        self.drop_if_empty(&infohash);
    }

    fn on_viewer(&mut self, facts: Box<ViewerFacts>, now: Instant) {
        let stats = facts.stats;
        let generation = self.generation;
        let entry = self.streams.entry(stats.infohash).or_default();
        let connected_at = facts.connected_at;
        let known = entry.viewers.contains_key(&stats.id);
        let new = || Seen::new(connected_at, &stats, generation);
        let seen = entry.viewers.entry(stats.id).or_insert_with(new);
        seen.generation = generation;
        let rates = seen.note(&stats);
        let event = (facts.is_new && !known)
            .then(|| What::ClientConnected { id: stats.id, agent: facts.agent.clone() });
        let write = ViewerWrite::Full(facts, rates);
        self.table.put_viewer(stats.id, stats.infohash, write, now);
        if let Some(what) = event {
            self.publish(stats.infohash, what, Some(connected_at));
        }
    }

    fn on_stats(&mut self, stats: ViewerStats, now: Instant) {
        let entry = self.streams.get_mut(&stats.infohash);
        let Some(seen) = entry.and_then(|entry| entry.viewers.get_mut(&stats.id)) else {
            // Its join was lost on the way: it comes with the next full telling.
            self.resync_wanted = true;
            return;
        };
        let write = ViewerWrite::Stats(stats, seen.note(&stats));
        self.table.put_viewer(stats.id, stats.infohash, write, now);
    }

    fn on_gone(&mut self, gone: &ViewerGone, now: Instant) {
        let Some(entry) = self.streams.get_mut(&gone.infohash) else { return };
        if entry.viewers.remove(&gone.id).is_none() {
            return;
        }
        let remaining = entry.viewers.len();
        self.take_off(gone.infohash, gone.id, now);
        let what = What::ClientDisconnected {
            id: gone.id,
            agent: gone.agent.clone(),
            remaining,
            reason: gone.reason,
            bytes_sent: gone.bytes_sent,
            seconds: gone.seconds,
        };
        self.publish(gone.infohash, what, Some(gone.at));
        self.drop_if_empty(&gone.infohash);
    }

    /// What the shard did not tell again is not there any more.
    fn on_synced(&mut self, shard: usize, generation: u32, now: Instant) {
        if generation != self.generation || self.to_sync & (1 << shard) == 0 {
            return;
        }
        self.to_sync &= !(1 << shard);
        let mut gone = Vec::new();
        let mut over = Vec::new();
        for (infohash, entry) in &self.streams {
            let old = entry
                .viewers
                .iter()
                .filter(|(id, seen)| shard_of(**id) == shard && seen.generation != generation);
            gone.extend(old.map(|(id, _)| (*infohash, *id)));
            if entry.shard == Some(shard) && entry.lease.is_some() && entry.generation != generation
            {
                over.push(*infohash);
            }
        }
        for (infohash, id) in gone {
            if let Some(entry) = self.streams.get_mut(&infohash) {
                entry.viewers.remove(&id);
            }
            self.take_off(infohash, id, now);
            self.drop_if_empty(&infohash);
        }
        for infohash in over {
            self.table.forget_stream(&infohash);
            self.part(infohash, now);
            self.outputs.push_back(Output::Unsubscribe(infohash));
            self.drop_if_empty(&infohash);
        }
    }

    /// A viewer's keys are taken off, if they were ever ours to write.
    fn take_off(&mut self, infohash: Infohash, id: ViewerId, now: Instant) {
        let Some(entry) = self.streams.get(&infohash) else { return };
        let may_come = entry.lease.is_some();
        match entry.gate() {
            Gate::Write => self.table.put_viewer(id, infohash, ViewerWrite::Gone, now),
            Gate::Later if may_come => {
                self.table.put_viewer(id, infohash, ViewerWrite::Gone, now);
            }
            Gate::Later | Gate::Drop => self.table.forget_viewer(&infohash, id),
        }
    }

    pub(super) fn publish(&mut self, infohash: Infohash, what: What, at: Option<Wall>) {
        // Who listens now hears of now; nobody wants the events of an outage.
        if !self.link_up {
            return;
        }
        let content_id = self.streams.get(&infohash).and_then(|entry| entry.content_id);
        let worker = self.me.clone();
        self.table.put_event(Event { infohash, content_id, worker, at, what });
    }

    /// With the entry goes what is known of its keys: what must not be written is forgotten first.
    fn drop_if_empty(&mut self, infohash: &Infohash) {
        let Some(entry) = self.streams.get(infohash).filter(|entry| entry.is_empty()) else {
            return;
        };
        match entry.gate() {
            Gate::Write => {}
            Gate::Later | Gate::Drop => self.table.forget(infohash),
        }
        self.streams.remove(infohash);
    }
}
