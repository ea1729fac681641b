//! A page of the book as commands of Redis: names, types, fields and times to live of the schema.
//!
//! Invariants: a stream's commands stand together, so that a cluster takes them in one go; no
//! command makes a key without its end, but for the two that have none.

mod commands;
#[cfg(test)]
mod tests;

use self::commands::Hash;
use self::commands::expire;
use self::commands::seconds;
use self::commands::set;
use self::commands::unlink;
use self::commands::with_end;
use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;
use crate::base::time::Wall;
use crate::mirror::book::Crowd;
use crate::mirror::book::NodeWrite;
use crate::mirror::book::Page;
use crate::mirror::keys::Keys;
use crate::mirror::keys::SCHEMA;
use crate::mirror::outbox::Chunk;
use crate::mirror::outbox::Rates;
use crate::mirror::outbox::StreamWrite;
use crate::mirror::outbox::StreamWrites;
use crate::mirror::outbox::ViewerWrite;
use crate::mirror::records::StreamFacts;
use crate::mirror::records::StreamOver;
use crate::mirror::records::ViewerFacts;
use crate::mirror::records::ViewerStats;
use crate::mirror::settings::Settings;
use redis::Cmd;
use std::time::Duration;

/// A stream's metadata is a lease, too: who does not refresh it is not there.
const METADATA_TTL: Duration = Duration::from_secs(30);
const STOPPING_TTL: Duration = Duration::from_secs(10);
const NODE_TTL: Duration = Duration::from_secs(30);

/// Members that one SADD or SREM names.
const MEMBERS_MAX: usize = 512;

/// Commands whose keys share a slot where there are slots.
#[derive(Debug)]
pub struct Group {
    pub commands: Vec<Cmd>,
    /// Commands at the end whose answers are stop keys.
    pub stops: Vec<(Infohash, Vec<ViewerId>)>,
}

pub struct Writer<'a> {
    pub keys: &'a Keys,
    pub settings: &'a Settings,
    pub now: Wall,
}

impl Writer<'_> {
    pub fn groups(&self, page: &Page) -> Vec<Group> {
        let mut groups = Vec::new();
        for (infohash, writes) in &page.batch.streams {
            let crowd = page.crowds.get(infohash).copied().unwrap_or_default();
            push(&mut groups, self.stream(infohash, writes, crowd));
        }
        for chunk in &page.batch.chunks {
            push(&mut groups, self.chunk(chunk));
        }
        for event in &page.batch.events {
            let message = event.message(self.now);
            // Each alone: a channel carries no tag, and a cluster's client takes it for a key.
            for channel in self.keys.channels(&event.infohash) {
                let mut publish = redis::cmd("PUBLISH");
                publish.arg(channel).arg(&message);
                push(&mut groups, vec![publish]);
            }
        }
        if let Some(node) = &page.node {
            groups.extend(self.node(node));
        }
        for (infohash, viewers) in &page.stops {
            let mut mget = redis::cmd("MGET");
            for viewer in viewers {
                mget.arg(self.keys.client_stop(infohash, *viewer));
            }
            let stops = vec![(*infohash, viewers.clone())];
            groups.push(Group { commands: vec![mget], stops });
        }
        groups
    }

    fn stream(&self, id: &Infohash, writes: &StreamWrites, crowd: Crowd) -> Vec<Cmd> {
        let mut out = Vec::new();
        match &writes.stream {
            Some(StreamWrite::Facts(facts)) if crowd.is_owner => {
                self.facts(&mut out, facts, None, METADATA_TTL);
            }
            Some(StreamWrite::Over(over)) => self.over(&mut out, over),
            Some(StreamWrite::Facts(_)) | None => {}
        }
        let mut here = Vec::new();
        let mut left = Vec::new();
        for (viewer, write) in &writes.viewers {
            match write {
                ViewerWrite::Full(facts, rates) => {
                    self.viewer(&mut out, facts, *rates);
                    here.push(*viewer);
                }
                ViewerWrite::Stats(stats, rates) => {
                    self.stats(&mut out, stats, *rates);
                    here.push(*viewer);
                }
                ViewerWrite::Gone => left.push(*viewer),
            }
        }
        self.crowd(&mut out, id, crowd, &here, &left);
        out
    }

    fn crowd(
        &self,
        out: &mut Vec<Cmd>,
        id: &Infohash,
        crowd: Crowd,
        here: &[ViewerId],
        left: &[ViewerId],
    ) {
        let clients = self.keys.clients(id);
        let ttl = self.settings.client_ttl;
        for ids in left.chunks(MEMBERS_MAX) {
            let mut unlink = redis::cmd("UNLINK");
            let mut remove = redis::cmd("SREM");
            remove.arg(&clients);
            for viewer in ids {
                unlink.arg(self.keys.client(id, *viewer));
                remove.arg(viewer.to_string());
            }
            out.extend([unlink, remove]);
        }
        for ids in here.chunks(MEMBERS_MAX) {
            let mut add = with_end("SADD", &clients, ttl);
            for viewer in ids {
                add.arg(viewer.to_string());
            }
            out.push(add);
        }
        let worker = self.keys.worker(id, &self.settings.worker_id);
        if crowd.viewers > 0 {
            out.push(set(&worker, crowd.viewers, ttl));
            if here.is_empty() {
                out.push(expire(&clients, ttl));
            } else {
                out.push(unlink(&self.keys.last_disconnect(id)));
            }
        } else {
            out.push(unlink(&worker));
            if !left.is_empty() {
                out.push(set(&self.keys.last_disconnect(id), seconds(self.now), ttl));
            }
        }
    }

    fn viewer(&self, out: &mut Vec<Cmd>, facts: &ViewerFacts, rates: Rates) {
        let stats = &facts.stats;
        let key = self.keys.client(&stats.infohash, stats.id);
        let mut hash = Hash::new(&key, self.settings.client_ttl);
        hash.field("client_id", stats.id);
        hash.field("stream_id", stats.infohash);
        hash.field("worker_id", &self.settings.worker_id);
        hash.maybe("ip_address", facts.address.as_ref());
        hash.field("user_agent", &facts.agent);
        hash.maybe("name", facts.name.as_ref());
        hash.field("protocol", "TS");
        hash.field("connected_at", seconds(facts.connected_at));
        self.numbers(&mut hash, stats, rates);
        hash.finish(out);
    }

    fn stats(&self, out: &mut Vec<Cmd>, stats: &ViewerStats, rates: Rates) {
        let key = self.keys.client(&stats.infohash, stats.id);
        let mut hash = Hash::new(&key, self.settings.client_ttl);
        self.numbers(&mut hash, stats, rates);
        hash.finish(out);
    }

    fn numbers(&self, hash: &mut Hash, stats: &ViewerStats, rates: Rates) {
        let chunks = stats.bytes_sent / self.settings.chunk_bytes.max(1);
        hash.field("last_active", seconds(stats.last_active));
        hash.field("bytes_sent", stats.bytes_sent);
        hash.field("chunks_sent", chunks);
        hash.field("avg_rate_KBps", format_args!("{:.3}", rates.average));
        hash.field("current_rate_KBps", format_args!("{:.3}", rates.current));
        hash.field("seconds_behind", format_args!("{:.3}", stats.behind_ms as f64 / 1e3));
        hash.field("stats_updated_at", seconds(stats.updated_at));
    }

    fn facts(
        &self,
        out: &mut Vec<Cmd>,
        facts: &StreamFacts,
        over: Option<&StreamOver>,
        ttl: Duration,
    ) {
        let key = self.keys.metadata(&facts.infohash);
        let engine = facts.engine.as_ref();
        let mut hash = Hash::new(&key, ttl);
        hash.field("content_id", facts.content_id.unwrap_or(facts.infohash));
        hash.field("infohash", facts.infohash);
        hash.field("state", facts.state);
        hash.field("state_changed_at", seconds(facts.state_changed_at));
        hash.field("init_time", seconds(facts.started_at));
        hash.maybe("connection_ready_time", facts.ready_at.map(seconds).as_ref());
        hash.field("owner", &self.settings.worker_id);
        hash.maybe("engine_id", engine.map(|engine| &engine.id));
        hash.maybe("engine_host", engine.map(|engine| &engine.host));
        hash.maybe("engine_port", engine.map(|engine| &engine.port));
        hash.maybe("engine_forwarded", engine.map(|engine| &engine.forwarded));
        hash.maybe("playback_session_id", engine.map(|engine| &engine.playback_session_id));
        hash.maybe("stat_url", engine.map(|engine| &engine.stat_url));
        hash.maybe("command_url", engine.map(|engine| &engine.command_url));
        hash.field("is_live", facts.is_live);
        hash.field("is_encrypted", facts.is_encrypted);
        hash.maybe("bitrate", facts.bitrate_bps.as_ref());
        hash.field("total_bytes", facts.bytes_total);
        hash.maybe("peers", facts.peers.as_ref());
        let error = over.and_then(|over| over.error.as_ref());
        hash.maybe("error_message", error);
        hash.maybe("error_time", error.map(|_| seconds(facts.told_at)).as_ref());
        hash.finish(out);
        if let Some(at) = facts.last_byte_at {
            let activity = self.keys.activity(&facts.infohash);
            out.push(set(&activity, seconds(at), self.settings.client_ttl));
        }
        if facts.state == "stopping" {
            out.push(set(&self.keys.stopping(&facts.infohash), "true", STOPPING_TTL));
        }
    }

    fn over(&self, out: &mut Vec<Cmd>, over: &StreamOver) {
        // How it ended can be read for as long as who watched it.
        let ttl = METADATA_TTL.min(self.settings.client_ttl);
        self.facts(out, &over.facts, Some(over), ttl);
        let id = &over.facts.infohash;
        out.push(unlink(&self.keys.stopping(id)));
        out.push(unlink(&self.keys.activity(id)));
    }

    fn chunk(&self, chunk: &Chunk) -> Vec<Cmd> {
        let ttl = self.settings.buffer_ttl;
        let id = &chunk.infohash;
        let metadata = self.keys.metadata(id);
        let mut first = with_end("HSET", &metadata, METADATA_TTL);
        first.arg("snapshot_first").arg(chunk.first);
        first.arg("snapshot_epoch").arg(chunk.epoch);
        vec![
            first,
            set(&self.keys.buffer_chunk(id, chunk.sequence), chunk.bytes.as_slice(), ttl),
            set(&self.keys.buffer_index(id), chunk.sequence, ttl),
        ]
    }

    fn node(&self, node: &NodeWrite) -> Vec<Group> {
        let me = &self.settings.worker_id;
        let mut schema = redis::cmd("SET");
        schema.arg(self.keys.schema()).arg(SCHEMA);
        let info = self.keys.info(me);
        let mut hash = Hash::new(&info, NODE_TTL);
        hash.maybe("address", self.settings.node_url.as_ref());
        hash.field("version", self.settings.version);
        hash.field("started_at", seconds(node.started_at));
        hash.field("streams", node.streams);
        hash.field("viewers", node.viewers);
        let mut about = Vec::new();
        hash.finish(&mut about);
        let mut add = redis::cmd("SADD");
        add.arg(self.keys.workers()).arg(me);
        let heartbeat = set(&self.keys.heartbeat(me), seconds(self.now), NODE_TTL);
        let mut groups = Vec::new();
        for commands in [vec![schema], about, vec![add], vec![heartbeat]] {
            push(&mut groups, commands);
        }
        for (engine, sessions) in &node.loads {
            push(&mut groups, self.load(engine, *sessions));
        }
        groups
    }

    fn load(&self, engine: &str, sessions: u32) -> Vec<Cmd> {
        let me = &self.settings.worker_id;
        let key = self.keys.engine_load(engine);
        if sessions == 0 {
            let mut remove = redis::cmd("HDEL");
            remove.arg(&key).arg(me);
            return vec![remove];
        }
        let mut write = with_end("HSET", &key, NODE_TTL);
        write.arg(me).arg(sessions);
        vec![write]
    }

    /// What a process takes with it when it ends in order.
    pub fn goodbye(&self, engines: &[String]) -> Vec<Group> {
        let me = &self.settings.worker_id;
        let mut remove = redis::cmd("SREM");
        remove.arg(self.keys.workers()).arg(me);
        let mut groups = Vec::new();
        push(&mut groups, vec![remove]);
        push(&mut groups, vec![unlink(&self.keys.heartbeat(me))]);
        push(&mut groups, vec![unlink(&self.keys.info(me))]);
        for engine in engines {
            push(&mut groups, self.load(engine, 0));
        }
        groups
    }
}

fn push(groups: &mut Vec<Group>, commands: Vec<Cmd>) {
    if !commands.is_empty() {
        groups.push(Group { commands, stops: Vec::new() });
    }
}
