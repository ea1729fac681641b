//! The mirror's keys as an independent reader finds them: one node, or all nodes of a cluster.

use super::Client;
use super::Reply;
use std::collections::BTreeMap;

pub(crate) struct View {
    nodes: Vec<Client>,
    prefix: String,
    /// The id of a stream stands in braces.
    tags: bool,
}

impl View {
    pub(crate) fn new(client: Client) -> Self {
        Self { nodes: vec![client], prefix: "ace_proxy".to_owned(), tags: false }
    }

    pub(crate) fn of_cluster(nodes: Vec<Client>) -> Self {
        Self { nodes, tags: true, prefix: "ace_proxy".to_owned() }
    }

    pub(crate) fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.to_owned();
        self
    }

    pub(crate) fn tags(mut self) -> Self {
        self.tags = true;
        self
    }

    /// The name of a global key.
    pub(crate) fn global(&self, suffix: &str) -> String {
        format!("{}:{suffix}", self.prefix)
    }

    /// The name of a stream's key.
    pub(crate) fn key(&self, infohash: &str, suffix: &str) -> String {
        let (open, close) = if self.tags { ("{", "}") } else { ("", "") };
        format!("{}:stream:{open}{infohash}{close}:{suffix}", self.prefix)
    }

    /// Where a stream's events are published: nothing to hash, so no braces in a cluster either.
    pub(crate) fn channel(&self, infohash: &str) -> String {
        format!("{}:stream:{infohash}:events", self.prefix)
    }

    /// Of the node that has the key.
    pub(crate) fn call(&mut self, words: &[&str]) -> Reply {
        for node in &mut self.nodes {
            let reply = node.ask(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
            if !reply.is_moved() {
                assert!(!matches!(reply, Reply::Error(_)), "{words:?}: {reply:?}");
                return reply;
            }
        }
        panic!("no node has the slot of {words:?}");
    }

    /// Every key there is, of any prefix, sorted.
    pub(crate) fn all_keys(&mut self) -> Vec<String> {
        let nodes = self.nodes.iter_mut();
        let mut keys: Vec<String> =
            nodes.flat_map(|node| node.call(&["KEYS", "*"]).texts()).collect();
        keys.sort();
        keys
    }

    /// The suffixes of all keys of a stream, sorted.
    pub(crate) fn suffixes(&mut self, infohash: &str) -> Vec<String> {
        let start = self.key(infohash, "");
        let keys = self.all_keys();
        keys.iter().filter_map(|key| key.strip_prefix(&start)).map(str::to_owned).collect()
    }

    pub(crate) fn exists(&mut self, key: &str) -> bool {
        self.call(&["EXISTS", key]).number() == 1
    }

    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        self.call(&["GET", key]).text()
    }

    pub(crate) fn bytes(&mut self, key: &str) -> Option<Vec<u8>> {
        let reply = self.call(&["GET", key]);
        (reply != Reply::Nothing).then(|| reply.bytes())
    }

    pub(crate) fn hash(&mut self, key: &str) -> BTreeMap<String, String> {
        self.call(&["HGETALL", key]).fields()
    }

    pub(crate) fn members(&mut self, key: &str) -> Vec<String> {
        self.call(&["SMEMBERS", key]).texts()
    }

    pub(crate) fn kind(&mut self, key: &str) -> String {
        self.call(&["TYPE", key]).text().expect("a type")
    }

    /// Milliseconds left; none for a key that stays.
    pub(crate) fn ttl_ms(&mut self, key: &str) -> Option<u64> {
        let left = self.call(&["PTTL", key]).number();
        assert_ne!(left, -2, "no such key: {key}");
        u64::try_from(left).ok()
    }

    /// The viewers of a stream.
    pub(crate) fn clients(&mut self, infohash: &str) -> Vec<String> {
        let key = self.key(infohash, "clients");
        self.members(&key)
    }

    /// The record of a viewer; empty where there is none.
    pub(crate) fn client(&mut self, infohash: &str, viewer: &str) -> BTreeMap<String, String> {
        let key = self.key(infohash, &format!("clients:{viewer}"));
        self.hash(&key)
    }

    pub(crate) fn metadata(&mut self, infohash: &str) -> BTreeMap<String, String> {
        let key = self.key(infohash, "metadata");
        self.hash(&key)
    }

    pub(crate) fn state(&mut self, infohash: &str) -> Option<String> {
        self.metadata(infohash).remove("state")
    }

    pub(crate) fn owner(&mut self, infohash: &str) -> Option<String> {
        let key = self.key(infohash, "owner");
        self.text(&key)
    }

    pub(crate) fn epoch(&mut self, infohash: &str) -> Option<u64> {
        let key = self.key(infohash, "owner:epoch");
        self.text(&key).map(|text| text.parse().expect("a counter"))
    }
}
