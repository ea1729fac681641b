//! Settings into the plain structs of the floors below.

use crate::config::settings::Join;
use crate::config::settings::SendPath;
use crate::config::settings::Settings;
use crate::config::settings::SlowViewer;
use crate::engine::pool::PoolConfig;
use crate::net::egress::Driver;
use crate::net::host;
use crate::net::runtime::RuntimeDriver;
use crate::registry::directory::DirectoryConfig;
use crate::registry::resolver::ResolverConfig;
use crate::router::Access;
use crate::shard::Config;
use crate::shard::Live;
use crate::shard::SendMode;
use crate::stream;
use crate::viewer;
use std::time::Duration;

/// Part of a head, not complete after this: 408.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Log, journal, names, files that are read, and those who are told that there are too many.
const FILES_OF_OUR_OWN: usize = 96;

pub fn config(settings: &Settings) -> Config {
    Config {
        version: env!("CARGO_PKG_VERSION"),
        live: live(settings),
        policy: policy(settings),
        session: session(settings),
        init_timeout: settings.init_timeout,
        buffer_ttl: settings.buffer_ttl,
        head_timeout: HEAD_TIMEOUT,
        resolver: ResolverConfig::default(),
        directory: DirectoryConfig::default(),
        addresses: settings.log_addresses,
        runtime: RuntimeDriver::Auto,
        egress: Driver::Auto,
        send: send_mode(settings.send),
        pin: if settings.pin { host::features().cpus } else { Vec::new() },
        memory_bytes: settings.memory_bytes,
        files_max: files_max(settings),
        has_nodes: settings.node_url.is_some(),
        heartbeat: settings.heartbeat_interval,
    }
}

/// What the limit of open files leaves for connections, streams and engines: shards have some eight
/// each (rings, bells, listeners), and the rest of the program little.
fn files_max(settings: &Settings) -> usize {
    let ours = FILES_OF_OUR_OWN + 8 * settings.shards;
    (host::open_files_limit() as usize).saturating_sub(ours)
}

/// What a reload may change.
pub fn live(settings: &Settings) -> Live {
    let count = |limit: Option<u32>| limit.map_or(0, |limit| limit as usize);
    let channels = settings.channels.iter().map(|channel| channel.id);
    Live {
        access: access(settings),
        pool: PoolConfig {
            streams_per_engine_max: settings.max_streams_per_engine.unwrap_or(0),
            ..PoolConfig::default()
        },
        viewers_max: count(settings.max_viewers),
        viewers_per_address_max: count(settings.max_viewers_per_ip),
        starts_per_address_max: count(settings.max_starts_per_ip),
        streams_max: count(settings.max_streams),
        channels: settings.channels_only.then(|| channels.collect()),
    }
}

fn access(settings: &Settings) -> Access {
    Access {
        allow: settings.allow.clone(),
        trusted_proxies: settings.trusted_proxies.clone(),
        play_tokens: settings.play_tokens.clone(),
        api_tokens: settings.api_tokens.clone(),
        allow_url: settings.allow_url.clone(),
        allow_magnet: settings.allow_magnet,
    }
}

fn send_mode(path: SendPath) -> SendMode {
    match path {
        SendPath::Auto => SendMode::Auto,
        SendPath::Copy => SendMode::Copy,
        SendPath::Shared => SendMode::Shared,
        SendPath::Zerocopy => SendMode::ZeroCopy,
    }
}

fn policy(settings: &Settings) -> viewer::Policy {
    viewer::Policy {
        join: match settings.join {
            Join::Auto => viewer::JoinSeconds::Auto,
            Join::Behind(seconds) => viewer::JoinSeconds::Fixed(seconds),
        },
        catchup_rate: settings.catchup_rate.unwrap_or(0.0),
        slow: match settings.slow_viewer {
            SlowViewer::Skip => viewer::SlowViewer::Skip,
            SlowViewer::Close => viewer::SlowViewer::Close,
        },
        send_stall: settings.send_stall_timeout,
        ..viewer::Policy::default()
    }
}

fn session(settings: &Settings) -> stream::Settings {
    stream::Settings {
        start_timeout: settings.start_timeout,
        stall_timeout: settings.stall_timeout,
        outage_timeout: settings.outage_timeout,
        init_timeout: settings.init_timeout,
        grace_period: settings.grace_period,
        hedge_after: settings.hedge_after,
    }
}
