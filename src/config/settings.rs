//! The settings as the program uses them: typed, decided, in range.
//!
//! Invariant: nothing here says `auto` unless the thing itself decides at run time; what this
//! host decides (shards, memory, limits) is decided already. Debug never shows a secret.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::channel::Channel;
use super::facts::Facts;
use super::load::Values;
use super::table::Key;
use crate::admin::hygiene::AddressMode;
use crate::engine::spec::Spec;
use crate::http::addr::AllowList;
use crate::http::addr::CidrList;
use crate::http::token::Tokens;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// For the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// From the gaps between engine reads.
    Auto,
    Behind(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowViewer {
    Skip,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendPath {
    Auto,
    Copy,
    Shared,
    Zerocopy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoSwitch {
    Auto,
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
    Journald,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `None` in a limit is "no limit of its own".
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: Vec<SocketAddr>,
    pub allow: AllowList,
    pub trusted_proxies: CidrList,
    pub play_tokens: Tokens,
    pub api_tokens: Tokens,
    /// Each begins with http:// or https:// and ends its host with a slash.
    pub allow_url: Vec<String>,
    pub allow_magnet: bool,
    /// Without a slash at its end.
    pub base_url: Option<String>,
    pub channels_only: bool,
    pub channels: Vec<Channel>,

    /// In the order given.
    pub engines: Vec<Spec>,
    pub max_streams_per_engine: Option<u32>,
    pub hedge_after: Option<Duration>,

    pub buffer_ttl: Duration,
    pub init_timeout: Duration,
    pub grace_period: Duration,
    pub cleanup_interval: Duration,
    pub start_timeout: Duration,
    pub outage_timeout: Duration,
    pub stall_timeout: Duration,
    pub max_streams: Option<u32>,

    pub join: Join,
    /// Times the stream's bitrate; `None` is as fast as the viewer takes it.
    pub catchup_rate: Option<f64>,
    pub slow_viewer: SlowViewer,
    pub send_stall_timeout: Duration,
    pub send: SendPath,
    pub max_viewers: Option<u32>,
    pub max_viewers_per_ip: Option<u32>,
    pub max_starts_per_ip: Option<u32>,

    pub shards: usize,
    pub pin: bool,
    pub memory_bytes: u64,
    pub state_dir: Option<PathBuf>,

    pub redis_url: Option<Secret>,
    pub redis_prefix: String,
    pub redis_hash_tags: AutoSwitch,
    pub client_ttl: Duration,
    pub heartbeat_interval: Duration,
    pub snapshots: bool,
    /// As given: whoever cuts chunks rounds it down to whole packets.
    pub chunk_bytes: u64,
    pub snapshot_rate_bytes: u64,
    pub snapshot_memory_bytes: u64,

    pub node_url: Option<String>,
    pub node_tokens: Tokens,
    pub node_id: Option<String>,

    pub log: LogFormat,
    pub log_level: LogLevel,
    pub log_addresses: AddressMode,
}

impl Settings {
    /// Every default, on a free loopback port, small and without files: for tests.
    pub fn for_tests() -> Self {
        let mut settings = super::load(&super::Sources::default(), &Facts::default())
            .expect("the defaults are valid")
            .settings;
        settings.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        settings.shards = 1;
        settings.pin = false;
        settings.memory_bytes = 64 << 20;
        settings.state_dir = None;
        settings
    }

    pub(super) fn from_values(
        values: &Values,
        channels: Vec<Channel>,
        facts: &Facts,
        environment: &[(OsString, OsString)],
    ) -> Self {
        let text = |key| values.text(key).map(str::to_owned);
        let size = |key| values.number(key).expect("the row is a number without a word");
        let shards = shards(values, facts);
        let allow = allow(values);
        Self {
            listen: values.addresses(Key::Listen).to_vec(),
            trusted_proxies: values.networks(Key::TrustedProxies),
            play_tokens: values.tokens(Key::PlayToken),
            api_tokens: values.tokens(Key::ApiToken),
            allow_url: values.list(Key::AllowUrl).to_vec(),
            allow_magnet: values.switch(Key::AllowMagnet),
            base_url: text(Key::BaseUrl),
            channels_only: values.switch(Key::ChannelsOnly),
            channels,
            max_streams_per_engine: limit(values, Key::MaxStreamsPerEngine),
            hedge_after: values.duration_or_word(Key::HedgeAfter),
            buffer_ttl: values.duration(Key::BufferTtl),
            init_timeout: values.duration(Key::InitTimeout),
            grace_period: values.duration(Key::GracePeriod),
            cleanup_interval: values.duration(Key::CleanupInterval),
            start_timeout: values.duration(Key::StartTimeout),
            outage_timeout: values.duration(Key::OutageTimeout),
            stall_timeout: values.duration(Key::StallTimeout),
            max_streams: limit(values, Key::MaxStreams),
            join: values.duration_or_word(Key::JoinSeconds).map_or(Join::Auto, Join::Behind),
            catchup_rate: values.factor(Key::CatchupRate),
            slow_viewer: slow_viewer(values),
            send_stall_timeout: values.duration(Key::SendStallTimeout),
            send: send_path(values),
            max_viewers: max_viewers(values, facts),
            max_viewers_per_ip: limit(values, Key::MaxViewersPerIp),
            max_starts_per_ip: max_starts_per_ip(values, &allow),
            allow,
            engines: values.engines().to_vec(),
            shards,
            pin: pin(values, facts, shards),
            memory_bytes: values.number(Key::Memory).unwrap_or_else(|| facts.memory_auto_bytes()),
            state_dir: state_dir(values, environment),
            redis_url: values.text(Key::RedisUrl).map(Secret::new),
            redis_prefix: text(Key::RedisPrefix).expect("the row has a default"),
            redis_hash_tags: auto_switch(values, Key::RedisHashTags),
            client_ttl: values.duration(Key::ClientTtl),
            heartbeat_interval: values.duration(Key::HeartbeatInterval),
            snapshots: values.switch(Key::Snapshots),
            chunk_bytes: size(Key::ChunkSize),
            snapshot_rate_bytes: size(Key::SnapshotRate),
            snapshot_memory_bytes: size(Key::SnapshotMemory),
            node_url: text(Key::NodeUrl),
            node_tokens: values.tokens(Key::NodeToken),
            node_id: text(Key::NodeId),
            log: log_format(values, facts),
            log_level: log_level(values),
            log_addresses: address_mode(values),
        }
    }
}

/// Cold starts that one address of the open internet may have in flight.
const STARTS_PER_IP_OPEN: u32 = 8;

fn allow(values: &Values) -> AllowList {
    // Whoever has a play token is let in from anywhere, unless a list was asked for.
    let token = !values.tokens(Key::PlayToken).is_empty();
    if token && !values.is_given(Key::Allow) { AllowList::Any } else { values.allow() }
}

fn limit(values: &Values, key: Key) -> Option<u32> {
    let number = values.number(key).filter(|number| *number > 0)?;
    Some(u32::try_from(number).unwrap_or(u32::MAX))
}

fn max_viewers(values: &Values, facts: &Facts) -> Option<u32> {
    match values.word(Key::MaxViewers) {
        Some(_) => Some(facts.viewers_auto(values.engines().len())),
        None => limit(values, Key::MaxViewers),
    }
}

fn max_starts_per_ip(values: &Values, allow: &AllowList) -> Option<u32> {
    match values.word(Key::MaxStartsPerIp) {
        Some(_) => (*allow == AllowList::Any).then_some(STARTS_PER_IP_OPEN),
        None => limit(values, Key::MaxStartsPerIp),
    }
}

fn shards(values: &Values, facts: &Facts) -> usize {
    values.number(Key::Shards).map_or_else(|| facts.shards_auto(), |count| count as usize)
}

fn pin(values: &Values, facts: &Facts, shards: usize) -> bool {
    match auto_switch(values, Key::Pin) {
        AutoSwitch::Auto => facts.pin_auto(shards),
        AutoSwitch::On => true,
        AutoSwitch::Off => false,
    }
}

/// systemd's directory, else the user's, else none.
fn state_dir(values: &Values, environment: &[(OsString, OsString)]) -> Option<PathBuf> {
    if values.is_given(Key::StateDir) {
        return values.text(Key::StateDir).map(PathBuf::from);
    }
    let variable = |name: &str| {
        let found = environment.iter().find(|(variable, _)| variable == name);
        found.and_then(|(_, value)| value.to_str()).filter(|value| !value.is_empty())
    };
    // systemd separates several directories by colons; ours is the first.
    let service = variable("STATE_DIRECTORY").and_then(|paths| paths.split(':').next());
    service
        .map(PathBuf::from)
        .or_else(|| variable("XDG_STATE_HOME").map(|home| PathBuf::from(home).join("ringcast")))
}

fn slow_viewer(values: &Values) -> SlowViewer {
    if values.word(Key::SlowViewer) == Some("close") { SlowViewer::Close } else { SlowViewer::Skip }
}

fn send_path(values: &Values) -> SendPath {
    match values.word(Key::Send) {
        Some("copy") => SendPath::Copy,
        Some("shared") => SendPath::Shared,
        Some("zerocopy") => SendPath::Zerocopy,
        Some(_) | None => SendPath::Auto,
    }
}

fn auto_switch(values: &Values, key: Key) -> AutoSwitch {
    match values.word(key) {
        Some("on") => AutoSwitch::On,
        Some("off") => AutoSwitch::Off,
        Some(_) | None => AutoSwitch::Auto,
    }
}

fn log_format(values: &Values, facts: &Facts) -> LogFormat {
    match values.word(Key::Log) {
        _ if facts.journal && !values.is_given(Key::Log) => LogFormat::Journald,
        Some("json") => LogFormat::Json,
        Some("journald") => LogFormat::Journald,
        Some(_) | None => LogFormat::Text,
    }
}

fn log_level(values: &Values) -> LogLevel {
    match values.word(Key::LogLevel) {
        Some("error") => LogLevel::Error,
        Some("warn") => LogLevel::Warn,
        Some("debug") => LogLevel::Debug,
        Some("trace") => LogLevel::Trace,
        Some(_) | None => LogLevel::Info,
    }
}

fn address_mode(values: &Values) -> AddressMode {
    match values.word(Key::LogAddresses) {
        Some("masked") => AddressMode::Masked,
        Some("off") => AddressMode::Off,
        Some(_) | None => AddressMode::Full,
    }
}
