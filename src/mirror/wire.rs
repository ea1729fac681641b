//! A page of the book as commands of Redis: names, types, fields and times to live of the schema.
//!
//! Invariant: a stream's commands stand together, so that a cluster takes them in one go.

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
            Some(StreamWrite::Facts(facts)) if crowd.is_owner => self.facts(&mut out, facts, None),
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
            let mut add = redis::cmd("SADD");
            add.arg(&clients);
            for viewer in ids {
                add.arg(viewer.to_string());
            }
            out.push(add);
        }
        let worker = self.keys.worker(id, &self.settings.worker_id);
        if crowd.viewers > 0 {
            out.push(expire(&clients, ttl));
            out.push(set(&worker, crowd.viewers, ttl));
            if !here.is_empty() {
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
        let mut hash = Hash::new(&key);
        hash.field("client_id", stats.id);
        hash.field("stream_id", stats.infohash);
        hash.field("worker_id", &self.settings.worker_id);
        hash.maybe("ip_address", facts.address.as_ref());
        hash.field("user_agent", &facts.agent);
        hash.maybe("name", facts.name.as_ref());
        hash.field("protocol", "TS");
        hash.field("connected_at", seconds(facts.connected_at));
        self.numbers(&mut hash, stats, rates);
        hash.finish(out, self.settings.client_ttl);
    }

    fn stats(&self, out: &mut Vec<Cmd>, stats: &ViewerStats, rates: Rates) {
        let key = self.keys.client(&stats.infohash, stats.id);
        let mut hash = Hash::new(&key);
        self.numbers(&mut hash, stats, rates);
        hash.finish(out, self.settings.client_ttl);
    }

    fn numbers(&self, hash: &mut Hash<'_>, stats: &ViewerStats, rates: Rates) {
        let chunks = stats.bytes_sent / self.settings.chunk_bytes.max(1);
        hash.field("last_active", seconds(stats.last_active));
        hash.field("bytes_sent", stats.bytes_sent);
        hash.field("chunks_sent", chunks);
        hash.field("avg_rate_KBps", format_args!("{:.3}", rates.average));
        hash.field("current_rate_KBps", format_args!("{:.3}", rates.current));
        hash.field("seconds_behind", format_args!("{:.3}", stats.behind_ms as f64 / 1e3));
        hash.field("stats_updated_at", seconds(stats.updated_at));
    }

    fn facts(&self, out: &mut Vec<Cmd>, facts: &StreamFacts, over: Option<&StreamOver>) {
        let key = self.keys.metadata(&facts.infohash);
        let engine = facts.engine.as_ref();
        let mut hash = Hash::new(&key);
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
        hash.finish(out, METADATA_TTL);
        if let Some(at) = facts.last_byte_at {
            let activity = self.keys.activity(&facts.infohash);
            out.push(set(&activity, seconds(at), self.settings.client_ttl));
        }
        if facts.state == "stopping" {
            out.push(set(&self.keys.stopping(&facts.infohash), "true", STOPPING_TTL));
        }
    }

    fn over(&self, out: &mut Vec<Cmd>, over: &StreamOver) {
        self.facts(out, &over.facts, Some(over));
        let id = &over.facts.infohash;
        // How it ended can be read for as long as who watched it.
        let ttl = METADATA_TTL.min(self.settings.client_ttl);
        out.push(expire(&self.keys.metadata(id), ttl));
        out.push(unlink(&self.keys.stopping(id)));
        out.push(unlink(&self.keys.activity(id)));
    }

    fn chunk(&self, chunk: &Chunk) -> Vec<Cmd> {
        let ttl = self.settings.buffer_ttl;
        let id = &chunk.infohash;
        let metadata = self.keys.metadata(id);
        let mut first = redis::cmd("HSET");
        first.arg(&metadata).arg("snapshot_first").arg(chunk.first);
        first.arg("snapshot_epoch").arg(chunk.epoch);
        vec![
            first,
            expire(&metadata, METADATA_TTL),
            set(&self.keys.buffer_chunk(id, chunk.sequence), chunk.bytes.as_slice(), ttl),
            set(&self.keys.buffer_index(id), chunk.sequence, ttl),
        ]
    }

    fn node(&self, node: &NodeWrite) -> Vec<Group> {
        let me = &self.settings.worker_id;
        let mut schema = redis::cmd("SET");
        schema.arg(self.keys.schema()).arg(SCHEMA);
        let info = self.keys.info(me);
        let mut hash = Hash::new(&info);
        hash.maybe("address", self.settings.node_url.as_ref());
        hash.field("version", self.settings.version);
        hash.field("started_at", seconds(node.started_at));
        hash.field("streams", node.streams);
        hash.field("viewers", node.viewers);
        let mut about = Vec::new();
        hash.finish(&mut about, NODE_TTL);
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
        let mut write = redis::cmd("HSET");
        write.arg(&key).arg(me).arg(sessions);
        vec![write, expire(&key, NODE_TTL)]
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

/// Unix seconds with three decimals.
pub fn seconds(at: Wall) -> String {
    let ms = at.unix_ms();
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

fn ms(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

fn set(key: &str, value: impl redis::ToRedisArgs, ttl: Duration) -> Cmd {
    let mut set = redis::cmd("SET");
    set.arg(key).arg(value).arg("PX").arg(ms(ttl));
    set
}

fn expire(key: &str, ttl: Duration) -> Cmd {
    let mut expire = redis::cmd("PEXPIRE");
    expire.arg(key).arg(ms(ttl));
    expire
}

fn unlink(key: &str) -> Cmd {
    let mut unlink = redis::cmd("UNLINK");
    unlink.arg(key);
    unlink
}

/// One HSET, one HDEL of the fields that nobody knows, one end.
struct Hash<'a> {
    key: &'a str,
    set: Cmd,
    unknown: Vec<&'static str>,
}

impl<'a> Hash<'a> {
    fn new(key: &'a str) -> Self {
        let mut set = redis::cmd("HSET");
        set.arg(key);
        Self { key, set, unknown: Vec::new() }
    }

    fn field(&mut self, name: &'static str, value: impl std::fmt::Display) {
        self.set.arg(name).arg(value.to_string());
    }

    fn maybe(&mut self, name: &'static str, value: Option<&impl std::fmt::Display>) {
        match value {
            Some(value) => self.field(name, value),
            None => self.unknown.push(name),
        }
    }

    fn finish(self, out: &mut Vec<Cmd>, ttl: Duration) {
        out.push(self.set);
        if !self.unknown.is_empty() {
            let mut remove = redis::cmd("HDEL");
            remove.arg(self.key);
            for name in self.unknown {
                remove.arg(name);
            }
            out.push(remove);
        }
        out.push(expire(self.key, ttl));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::outbox::Batch;
    use std::collections::BTreeMap;
    use std::collections::BTreeSet;

    fn settings() -> Settings {
        Settings {
            url: String::new(),
            prefix: "p".to_owned(),
            hash_tags: None,
            worker_id: "n:1:00000001".to_owned(),
            seed: 0,
            node_url: None,
            version: "0",
            client_ttl: Duration::from_secs(60),
            heartbeat: Duration::from_secs(10),
            cleanup: Duration::from_secs(60),
            buffer_ttl: Duration::from_secs(60),
            snapshots: true,
            chunk_bytes: 1_000,
            snapshot_rate_bytes: 0,
            snapshot_memory_bytes: 0,
        }
    }

    fn words(command: &Cmd) -> Vec<String> {
        command
            .args_iter()
            .map(|arg| match arg {
                redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                redis::Arg::Cursor => "0".to_owned(),
                _ => panic!("an argument of a kind that is not used"),
            })
            .collect()
    }

    fn page() -> Page {
        let at = Wall::from_unix_ms(1_700_000_000_050);
        let infohash = Infohash::from_bytes([7; 20]);
        let facts = StreamFacts {
            infohash,
            content_id: None,
            state: "stopping",
            state_changed_at: at,
            started_at: at,
            ready_at: None,
            last_byte_at: Some(at),
            engine: None,
            is_live: true,
            is_encrypted: false,
            bitrate_bps: Some(8),
            bytes_total: 9,
            peers: None,
            told_at: at,
        };
        let stats = ViewerStats {
            id: ViewerId(1),
            infohash,
            last_active: at,
            bytes_sent: 2_500,
            behind_ms: 1_234,
            updated_at: at,
        };
        let viewer = ViewerFacts {
            stats,
            address: None,
            agent: "VLC 3".to_owned(),
            name: None,
            connected_at: at,
            is_new: true,
        };
        let full = ViewerWrite::Full(Box::new(viewer), Rates { average: 1.5, current: 2.0 });
        let writes = StreamWrites {
            stream: Some(StreamWrite::Facts(Box::new(facts))),
            viewers: vec![(ViewerId(1), full), (ViewerId(2), ViewerWrite::Gone)],
        };
        let chunk = Chunk { infohash, sequence: 4, first: 2, epoch: 3, bytes: vec![0x47; 188] };
        let batch = Batch {
            streams: BTreeMap::from([(infohash, writes)]),
            events: Vec::new(),
            chunks: vec![chunk],
        };
        let crowds = BTreeMap::from([(infohash, Crowd { viewers: 1, is_owner: true })]);
        let loads = BTreeMap::from([("e1".to_owned(), 1)]);
        let node = Some(NodeWrite { started_at: at, streams: 1, viewers: 1, loads });
        Page { batch, crowds, node, stops: vec![(infohash, vec![ViewerId(1)])] }
    }

    fn commands(page: &Page) -> Vec<Vec<String>> {
        let (keys, settings) = (Keys::new("p", false), settings());
        let writer = Writer { keys: &keys, settings: &settings, now: Wall::from_unix_ms(0) };
        let groups = writer.groups(page);
        groups.iter().flat_map(|group| &group.commands).map(words).collect()
    }

    #[test]
    fn every_key_has_an_end_but_two() {
        let mut written = BTreeSet::new();
        let mut ended = BTreeSet::new();
        for words in commands(&page()) {
            let key = words[1].clone();
            match words[0].as_str() {
                "SET" if words.contains(&"PX".to_owned()) => _ = ended.insert(key.clone()),
                "PEXPIRE" => _ = ended.insert(key.clone()),
                _ => {}
            }
            if matches!(words[0].as_str(), "SET" | "HSET" | "SADD") {
                written.insert(key);
            }
        }
        assert!(written.len() > 10, "{written:?}");
        let endless: Vec<_> = written.difference(&ended).collect();
        assert_eq!(endless, ["p:schema", "p:workers"]);
    }

    #[test]
    fn values_are_those_of_the_schema() {
        let all = commands(&page());
        let client = "p:stream:0707070707070707070707070707070707070707:clients:0000000000000001";
        let hash = all.iter().find(|words| words[0] == "HSET" && words[1] == client).unwrap();
        let field = |name: &str| {
            let at = hash.iter().position(|word| word == name).unwrap();
            hash[at + 1].as_str()
        };
        assert_eq!(field("connected_at"), "1700000000.050");
        assert_eq!((field("bytes_sent"), field("chunks_sent")), ("2500", "2"));
        assert_eq!((field("avg_rate_KBps"), field("seconds_behind")), ("1.500", "1.234"));
        assert_eq!((field("protocol"), field("user_agent")), ("TS", "VLC 3"));
        assert!(!hash.contains(&"ip_address".to_owned()), "addresses are off");
        let gone = |words: &&Vec<String>| words[0] == "SREM" && words[2] == "0000000000000002";
        assert!(all.iter().any(|words| gone(&words)));
        let stop = all.last().unwrap();
        assert_eq!(stop[0], "MGET");
        assert!(stop[1].ends_with(":client:0000000000000001:stop"));
    }

    #[test]
    fn what_another_node_owns_is_not_written() {
        let mut page = page();
        page.crowds.values_mut().for_each(|crowd| crowd.is_owner = false);
        page.batch.chunks.clear();
        let all = commands(&page);
        assert!(!all.iter().any(|words| words[1].ends_with(":metadata")));
        assert!(all.iter().any(|words| words[0] == "SADD" && words[1].ends_with(":clients")));
    }
}
