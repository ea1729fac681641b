//! The Redis mirror from settings: nothing at all without `RINGCAST_REDIS_URL`.

use crate::config::Settings;
use crate::config::settings::AutoSwitch;
use crate::config::settings::Secret;
use crate::mirror;
use crate::mirror::Outbox;
use crate::mirror::Prepared;
use crate::net::host;

/// The outboxes of the shards and what is started behind them.
pub(super) fn prepare(
    settings: &Settings,
    boot_seed: u64,
) -> Result<(Vec<Outbox>, Option<Prepared>), String> {
    let Some(url) = &settings.redis_url else { return Ok((Vec::new(), None)) };
    install_tls();
    let prepared = mirror::prepare(wire(settings, url, boot_seed), settings.shards);
    let (outboxes, prepared) = prepared.map_err(|why| format!("RINGCAST_REDIS_URL: {why}"))?;
    Ok((outboxes, Some(prepared)))
}

/// rustls has several makers of its primitives and wants to be told which, once a process.
pub(super) fn install_tls() {
    // A second time is as good as the first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn wire(settings: &Settings, url: &Secret, boot_seed: u64) -> mirror::Settings {
    let node = settings.node_id.clone().unwrap_or_else(host::hostname);
    mirror::Settings {
        url: url.expose().to_owned(),
        prefix: settings.redis_prefix.clone(),
        hash_tags: match settings.redis_hash_tags {
            AutoSwitch::Auto => None,
            AutoSwitch::On => Some(true),
            AutoSwitch::Off => Some(false),
        },
        worker_id: mirror::worker_id(&node, std::process::id(), (boot_seed >> 32) as u32),
        seed: boot_seed,
        node_url: settings.node_url.clone(),
        version: env!("CARGO_PKG_VERSION"),
        client_ttl: settings.client_ttl,
        heartbeat: settings.heartbeat_interval,
        cleanup: settings.cleanup_interval,
        buffer_ttl: settings.buffer_ttl,
        snapshots: settings.snapshots,
        chunk_bytes: settings.chunk_bytes,
        snapshot_rate_bytes: settings.snapshot_rate_bytes,
        snapshot_memory_bytes: settings.snapshot_memory_bytes,
    }
}
