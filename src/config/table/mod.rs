//! The table of settings: one row each. Everything that a user reads about a setting, and
//! everything that reads one, comes from here.
//!
//! Invariants (tests hold them): each [`Key`] has exactly one row; the TOML key is the name in
//! lower case without `RINGCAST_`; every default is accepted by its own row.

mod access;
mod engines;
mod logging;
mod machine;
mod nodes;
mod streams;
mod viewers;

use super::kind::Kind;

/// A setting's name in code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Listen,
    Allow,
    TrustedProxies,
    PlayToken,
    ApiToken,
    AllowUrl,
    AllowMagnet,
    BaseUrl,
    ChannelsOnly,
    Engines,
    MaxStreamsPerEngine,
    HedgeAfter,
    BufferTtl,
    InitTimeout,
    GracePeriod,
    CleanupInterval,
    StartTimeout,
    OutageTimeout,
    StallTimeout,
    MaxStreams,
    JoinSeconds,
    CatchupRate,
    SlowViewer,
    SendStallTimeout,
    Send,
    MaxViewers,
    MaxViewersPerIp,
    MaxStartsPerIp,
    Shards,
    Pin,
    Memory,
    StateDir,
    RedisUrl,
    RedisPrefix,
    RedisHashTags,
    ChunkSize,
    ClientTtl,
    HeartbeatInterval,
    Snapshots,
    SnapshotRate,
    SnapshotMemory,
    NodeUrl,
    NodeToken,
    NodeId,
    Log,
    LogLevel,
    LogAddresses,
}

/// The heading under which help and docs show a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Access,
    Engines,
    Streams,
    Viewers,
    Machine,
    Redis,
    Nodes,
    Logging,
}

impl Group {
    pub const ALL: [Self; 8] = [
        Self::Access,
        Self::Engines,
        Self::Streams,
        Self::Viewers,
        Self::Machine,
        Self::Redis,
        Self::Nodes,
        Self::Logging,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Access => "Addresses and access",
            Self::Engines => "Engines",
            Self::Streams => "Streams",
            Self::Viewers => "Viewers",
            Self::Machine => "Cores, memory, files",
            Self::Redis => "Redis",
            Self::Nodes => "More than one node",
            Self::Logging => "Logging",
        }
    }
}

/// How much of a setting has an effect in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Full,
    /// Accepted and checked; what is named here is not yet in effect.
    Part(&'static str),
    /// Accepted and checked, not yet in effect.
    Pending,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub key: Key,
    pub group: Group,
    /// The environment variable, which is the setting's name everywhere.
    pub name: &'static str,
    /// The long flag, without dashes.
    pub flag: &'static str,
    pub kind: Kind,
    /// The default as a user would write it; empty: nothing is set.
    pub default: &'static str,
    /// What the default means, when it is not simply its text.
    pub default_means: &'static str,
    pub help: &'static str,
    /// Shown as `***`, never logged, and readable from a file (`…_FILE`).
    pub secret: bool,
    /// The flag that names a file with the secret; empty for others.
    pub file_flag: &'static str,
    /// Applied by a reload (SIGHUP), without a restart.
    pub reload: bool,
    /// One of the ten that matter.
    pub essential: bool,
    pub effect: Effect,
}

impl Row {
    const fn new(
        key: Key,
        group: Group,
        names: (&'static str, &'static str),
        kind: Kind,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            key,
            group,
            name: names.0,
            flag: names.1,
            kind,
            default,
            default_means: "",
            help,
            secret: false,
            file_flag: "",
            reload: false,
            essential: false,
            effect: Effect::Full,
        }
    }

    const fn means(mut self, default_means: &'static str) -> Self {
        self.default_means = default_means;
        self
    }

    const fn secret(mut self, file_flag: &'static str) -> Self {
        self.secret = true;
        self.file_flag = file_flag;
        self
    }

    const fn reload(mut self) -> Self {
        self.reload = true;
        self
    }

    const fn essential(mut self) -> Self {
        self.essential = true;
        self
    }

    const fn pending(mut self) -> Self {
        self.effect = Effect::Pending;
        self
    }

    const fn part(mut self, what: &'static str) -> Self {
        self.effect = Effect::Part(what);
        self
    }

    /// The key in the TOML file.
    pub fn toml(&self) -> String {
        self.name.strip_prefix("RINGCAST_").unwrap_or(self.name).to_ascii_lowercase()
    }

    /// The default in words for help and docs.
    pub fn default_text(&self) -> String {
        match (self.default, self.default_means) {
            ("", "") => self.nothing().to_owned(),
            ("", means) => means.to_owned(),
            (default, "") => default.to_owned(),
            (default, means) => format!("{default} ({means})"),
        }
    }

    /// The word for "nothing is set".
    pub fn nothing(&self) -> &'static str {
        if self.kind.is_list() { "none" } else { "off" }
    }
}

/// Every row, in the order of help and docs.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    access::ROWS
        .iter()
        .chain(engines::ROWS)
        .chain(streams::ROWS)
        .chain(viewers::ROWS)
        .chain(machine::ROWS)
        .chain(nodes::REDIS_ROWS)
        .chain(nodes::ROWS)
        .chain(logging::ROWS)
}

impl Key {
    pub fn row(self) -> &'static Row {
        rows().find(|row| row.key == self).expect("a test counts one row for each key")
    }

    /// `RINGCAST_MAX_VIEWERS`, for messages that say which setting refuses.
    pub fn name(self) -> &'static str {
        self.row().name
    }
}
