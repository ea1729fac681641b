//! What a mirror is made from, in plain values.

use std::time::Duration;

#[derive(Clone)]
pub struct Settings {
    /// `RINGCAST_REDIS_URL`, with its password.
    pub url: String,
    /// `RINGCAST_REDIS_PREFIX`
    pub prefix: String,
    /// `RINGCAST_REDIS_HASH_TAGS`; `None` is auto: on when the server is a cluster.
    pub hash_tags: Option<bool>,
    /// `<node id or hostname>:<pid>:<8 hex digits of this boot>`: a container that comes back
    /// must not look like its dead predecessor.
    pub worker_id: String,
    /// Random bits of this boot.
    pub seed: u64,
    /// `RINGCAST_NODE_URL`
    pub node_url: Option<String>,
    pub version: &'static str,
    /// `PROXY_CLIENT_TTL`
    pub client_ttl: Duration,
    /// `PROXY_HEARTBEAT_INTERVAL`
    pub heartbeat: Duration,
    /// `PROXY_CLEANUP_INTERVAL`
    pub cleanup: Duration,
    /// `PROXY_BUFFER_TTL`
    pub buffer_ttl: Duration,
    /// `RINGCAST_SNAPSHOTS`
    pub snapshots: bool,
    /// `PROXY_CHUNK_SIZE`, as given.
    pub chunk_bytes: u64,
    /// `RINGCAST_SNAPSHOT_RATE`, bytes a second.
    pub snapshot_rate_bytes: u64,
    /// `RINGCAST_SNAPSHOT_MEMORY`
    pub snapshot_memory_bytes: u64,
}

impl std::fmt::Debug for Settings {
    /// Without the URL, which holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mirror::Settings({}, {})", self.prefix, self.worker_id)
    }
}

/// The name of this process among all that use the same Redis. What does not fit into a key is
/// left out of the node's name.
pub fn worker_id(node: &str, pid: u32, nonce: u32) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let node: String = node.chars().filter(fits).take(64).collect();
    let node = if node.is_empty() { "node" } else { &node };
    format!("{node}:{pid}:{nonce:08x}")
}

#[cfg(test)]
mod tests {
    use super::worker_id;

    #[test]
    fn a_worker_id_has_the_form_that_the_scripts_know() {
        assert_eq!(worker_id("tv-1.lan", 7, 0xAB), "tv-1.lan:7:000000ab");
        assert_eq!(worker_id("{a:b} \n", 1, u32::MAX), "ab:1:ffffffff");
        assert_eq!(worker_id("", 1, 0), "node:1:00000000");
        let long = worker_id(&"x".repeat(300), 1, 0);
        assert_eq!(long.len(), 64 + ":1:00000000".len());
    }
}
