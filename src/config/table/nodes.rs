//! Rows: the Redis mirror, and several nodes that share channels.

use super::Group::Nodes;
use super::Group::Redis;
use super::Key;
use super::Row;
use crate::base::sizes::GIB;
use crate::base::sizes::MIB;
use crate::base::sizes::PACKET_BYTES;
use crate::config::kind::Kind;

const DAY_MS: u64 = 86_400_000;

pub(super) const REDIS_ROWS: &[Row] = &[
    Row::new(
        Key::RedisUrl,
        Redis,
        ("RINGCAST_REDIS_URL", "redis"),
        Kind::Url(&[
            "redis://",
            "rediss://",
            "redis+unix://",
            "unix://",
            "redis+sentinel://",
            "rediss+sentinel://",
            "redis+cluster://",
            "rediss+cluster://",
        ]),
        "",
        "Redis or Valkey that streams and viewers are mirrored to",
    )
    .secret("redis-file")
    .essential(),
    Row::new(
        Key::RedisPrefix,
        Redis,
        ("RINGCAST_REDIS_PREFIX", "redis-prefix"),
        Kind::Name { others: "._-:", bytes_max: 64 },
        "ace_proxy",
        "What every Redis key begins with",
    ),
    Row::new(
        Key::RedisHashTags,
        Redis,
        ("RINGCAST_REDIS_HASH_TAGS", "redis-hash-tags"),
        Kind::Choice(&["auto", "on", "off"]),
        "auto",
        "Put the stream's id in a hash tag, as Redis Cluster needs it",
    )
    .means("on when the server is a cluster"),
    Row::new(
        Key::ClientTtl,
        Redis,
        ("PROXY_CLIENT_TTL", "proxy-client-ttl"),
        Kind::Duration { min_ms: 2_000, max_ms: DAY_MS, word: None },
        "60",
        "How long a viewer's record lives in Redis without a refresh",
    ),
    Row::new(
        Key::HeartbeatInterval,
        Redis,
        ("PROXY_HEARTBEAT_INTERVAL", "proxy-heartbeat-interval"),
        Kind::Duration { min_ms: 1_000, max_ms: DAY_MS, word: None },
        "10",
        "How often viewers' records are refreshed; twice this must fit into PROXY_CLIENT_TTL",
    ),
    Row::new(
        Key::Snapshots,
        Redis,
        ("RINGCAST_SNAPSHOTS", "snapshots"),
        Kind::Switch,
        "on",
        "Copy the streams' last seconds to Redis",
    ),
    Row::new(
        Key::ChunkSize,
        Redis,
        ("PROXY_CHUNK_SIZE", "proxy-chunk-size"),
        Kind::Size { min: PACKET_BYTES as u64, max: 64 * MIB, word: None },
        "1048576",
        "Bytes of one snapshot chunk, rounded down to whole packets",
    ),
    Row::new(
        Key::SnapshotRate,
        Redis,
        ("RINGCAST_SNAPSHOT_RATE", "snapshot-rate"),
        Kind::Rate { min: 100_000, max: 10_000_000_000 },
        "32MB/s",
        "Snapshot bytes a second of this node; whole streams are left out above it",
    ),
    Row::new(
        Key::SnapshotMemory,
        Redis,
        ("RINGCAST_SNAPSHOT_MEMORY", "snapshot-memory"),
        Kind::Size { min: MIB, max: 1_024 * GIB, word: None },
        "256MiB",
        "Snapshot bytes of this node in Redis at once; whole streams are left out above it",
    ),
];

pub(super) const ROWS: &[Row] = &[
    Row::new(
        Key::NodeUrl,
        Nodes,
        ("RINGCAST_NODE_URL", "node-url"),
        Kind::Url(&["http://", "https://"]),
        "",
        "How other nodes reach this one. With it, a cold start first asks Redis whose the stream is",
    )
    .part("sharing of streams between nodes"),
    Row::new(
        Key::NodeToken,
        Nodes,
        ("RINGCAST_NODE_TOKEN", "node-token"),
        Kind::Tokens,
        "",
        "Token that nodes show each other",
    )
    .secret("node-token-file")
    .pending(),
    Row::new(
        Key::NodeId,
        Nodes,
        ("RINGCAST_NODE_ID", "node-id"),
        Kind::Name { others: "._-", bytes_max: 64 },
        "",
        "This node's name in Redis",
    )
    .means("the host's name"),
];
