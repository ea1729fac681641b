//! What this shard answers to a question of the API, and its lines in the log.

use crate::admin::hygiene;
use crate::admin::lines::EngineEvent;
use crate::admin::lines::EngineLine;
use crate::admin::lines::Line;
use crate::admin::lines::StreamFailed;
use crate::admin::lines::StreamStart;
use crate::admin::records::EngineRecord;
use crate::admin::records::EngineState;
use crate::admin::records::OfflineRecord;
use crate::admin::records::RestRecord;
use crate::admin::records::StreamRecord;
use crate::admin::records::ViewerRecord;
use crate::base::ids::EngineId;
use crate::base::ids::Infohash;
use crate::base::ids::Target;
use crate::base::time::Wall;
use crate::engine::pool;
use crate::net::egress::Driver;
use crate::shard::audience::Audience;
use crate::shard::audience::Entry;
use crate::shard::audience::Path;
use crate::shard::audience::Phase;
use crate::shard::core::Core;
use crate::shard::message::Ask;
use crate::shard::message::Told;
use crate::shard::source::Source;
use crate::shard::stats::EngineMetrics;
use crate::shard::stats::ShardMetrics;
use crate::stream::Purpose;
use crate::ts::splice::Join;
use crate::viewer::CloseReason;
use std::collections::BTreeMap;
use std::time::Duration;

impl Core {
    pub(crate) fn tell(&mut self, ask: Ask) -> Told {
        match ask {
            Ask::Ready => Told::Ready(self.pool.as_ref().map(pool::Pool::engines_up)),
            Ask::Metrics => Told::Metrics(Box::new(self.metrics())),
            Ask::Streams => {
                let running = self.sources.values().filter(|source| source.is_current());
                Told::Streams(running.map(|source| self.stream_record(source)).collect())
            }
            Ask::Viewers(stream) => Told::Viewers(self.viewer_records(stream)),
            Ask::Engines => Told::Engines(self.engine_records()),
            Ask::Offline => Told::Offline(self.offline_records()),
            Ask::Order(order) => {
                Told::Order(self.carry_out_order(std::sync::Arc::unwrap_or_clone(order)))
            }
        }
    }

    pub(crate) fn send_path(&self) -> &'static str {
        let is_uring = self.egress.driver() == Driver::Uring;
        match self.paths.first() {
            Path::Probing | Path::ZeroCopy => "io_uring zerocopy",
            Path::Shared if is_uring => "io_uring shared",
            Path::Copy if is_uring => "io_uring copy",
            Path::Shared => "epoll shared",
            Path::Copy => "epoll copy",
        }
    }

    fn metrics(&self) -> ShardMetrics {
        let stats = &self.stats;
        let mut streams_by_state = BTreeMap::new();
        let mut sync_losses = stats.sync_losses_gone;
        let mut ring_bytes = 0;
        for source in self.sources.values() {
            *streams_by_state.entry(source.session.state().as_str()).or_default() += 1;
            sync_losses += source.ingest.sync_losses();
            ring_bytes += source.writer.held_bytes();
        }
        let closed = CloseReason::ALL.iter();
        let skips = self.audiences.iter().flat_map(|(_, audience)| &audience.entries);
        let skips: u64 = skips
            .filter(|(_, entry)| entry.phase != Phase::Closing)
            .map(|(_, entry)| u64::from(entry.viewer.skips()))
            .sum();
        let engines = self.pool.iter().flat_map(pool::Pool::rows).map(|row| EngineMetrics {
            name: row.name.to_string(),
            up: row.state == pool::EngineState::Up,
            sessions: u64::from(row.sessions),
        });
        ShardMetrics {
            shard: self.me,
            send_path: self.send_path(),
            viewers: stats.viewers,
            viewer_bytes: stats.viewers * size_of::<Entry>() as u64,
            streams_by_state,
            engines: engines.collect(),
            ingest_bytes: stats.ingest_bytes,
            sent_bytes: stats.sent_bytes,
            copied_bytes: stats.copied_bytes,
            shared_bytes: stats.shared_bytes,
            zerocopy_bytes: stats.zerocopy_bytes,
            sends: self.egress.stats().sends,
            paused_us: stats.paused_us,
            skips: stats.skips + skips,
            sync_losses,
            primed: stats.primed,
            closed: closed.map(|why| (why.name(), stats.closed[why.index()])).collect(),
            starts: BTreeMap::from([("ok", stats.starts_ok), ("failed", stats.starts_failed)]),
            failovers: stats.failovers.clone(),
            rivals_failed: stats.rivals_failed.clone(),
            responses: stats.responses.clone(),
            ring_bytes,
            turn: stats.turn.snapshot(),
            first_byte: stats.first_byte.snapshot(),
            start: stats.start.snapshot(),
            latency: stats.latency.snapshot(),
        }
    }

    fn stream_record(&self, source: &Source) -> StreamRecord {
        let session = &source.session;
        let content_id = match &source.open {
            Target::Id(id) if *id != session.infohash() => Some(id.to_string()),
            Target::Id(_) | Target::Infohash(_) | Target::Url(_) | Target::Magnet(_) => None,
        };
        StreamRecord {
            id: session.infohash().to_string(),
            content_id,
            state: session.state().as_str(),
            engine: session.engine_name().map(str::to_owned),
            viewers: u64::from(session.viewers()),
            bitrate_bps: source.ingest.scanner().bitrate_bps(),
            ring_seconds: source.ring_seconds(),
            ring_bytes: source.writer.held_bytes(),
            head_offset: source.writer.head(),
            started_at: source.started_wall.unix_seconds(),
            failovers: u64::from(session.failovers()),
            discontinuities: source.ingest.jumps,
            frozen: session.frozen(),
            peers: session.stat().map(|stat| u64::from(stat.peers)),
            speed_down_kbps: session.stat().map(|stat| stat.speed_down_kbps),
            lease: source.told.record(),
        }
    }

    fn viewer_records(&mut self, stream: Option<Infohash>) -> Vec<ViewerRecord> {
        let now = self.now;
        let shard = self.me.0;
        let mode = self.shared.config.addresses;
        let mut records = Vec::new();
        for (_, audience) in &mut self.audiences {
            let name = stream_of(audience);
            if stream.is_some_and(|wanted| wanted != name) {
                continue;
            }
            let lags = lags(audience);
            for (index, entry) in &mut audience.entries {
                if entry.phase == Phase::Closing {
                    continue;
                }
                let acked = self.egress.acked(entry.slot).ok();
                let bytes_sent = entry.viewer.bytes_sent();
                let (bytes_then, then) = entry.rate_mark;
                let elapsed = now.since(then).max(Duration::from_millis(1));
                let rate = (bytes_sent - bytes_then) as f64 * 8.0 / elapsed.as_secs_f64();
                if elapsed > Duration::from_secs(1) {
                    entry.rate_mark = (bytes_sent, now);
                }
                records.push(ViewerRecord {
                    id: entry.who.id.to_string(),
                    name: entry.who.name.clone(),
                    stream: name.to_string(),
                    address: hygiene::address(entry.who.address, mode),
                    user_agent: hygiene::clean(&entry.who.agent).into_owned(),
                    protocol: "TS",
                    shard,
                    send_path: entry.path.name(),
                    connected_at: entry.who.connected_at.unix_seconds(),
                    bytes_sent,
                    rate_bps: rate as u64,
                    seconds_behind: lags.get(&index).copied().unwrap_or(0) as f64 / 1e6,
                    skips: u64::from(entry.viewer.skips()),
                    rwnd_limited_ms: acked.map_or(0, |info| info.rwnd_limited_us / 1_000),
                });
            }
        }
        records
    }

    fn engine_records(&self) -> Vec<EngineRecord> {
        let Some(pool) = &self.pool else { return Vec::new() };
        let now = self.now;
        let wall = Wall::now().unix_seconds();
        let rows = pool.rows().into_iter();
        rows.map(|row| EngineRecord {
            id: row.name.to_string(),
            host: row.host,
            port: row.port,
            source: row.source,
            state: match row.state {
                _ if row.draining => EngineState::Draining,
                pool::EngineState::Up => EngineState::Up,
                pool::EngineState::Down => EngineState::Down,
                pool::EngineState::Unknown => EngineState::Unknown,
            },
            forwarded: row.forwarded,
            sessions: u64::from(row.sessions),
            max_sessions: row.max.map(u64::from),
            version: row.version,
            last_answer_at: row.last_ok.map(|at| wall - now.since(at).as_secs_f64()),
            failures: row.failures_total,
            rest: row.rest.filter(|rest| rest.until > now).map(|rest| RestRecord {
                until: wall + rest.until.since(now).as_secs_f64(),
                reason: hygiene::clean(&rest.reason).into_owned(),
            }),
            last_error: row.reason,
        })
        .collect()
    }

    fn offline_records(&self) -> Vec<OfflineRecord> {
        let now = self.now;
        let wall = Wall::now().unix_seconds();
        let rows = self.directory.offline(now).into_iter();
        rows.map(|row| OfflineRecord {
            id: crate::shard::source::provisional(&row.target).to_string(),
            content_id: row.content_id.map(|id| id.to_string()),
            reason: row.reason,
            since: wall - now.since(row.since).as_secs_f64(),
            until: wall + row.retry_in.as_secs_f64(),
            failures: u64::from(row.failures),
        })
        .collect()
    }

    pub(crate) fn log_start_of(&mut self, serial: u64, engine: &str, first_packet_ms: u64) {
        self.stats.starts_ok += 1;
        self.stats.start.record(first_packet_ms * 1_000);
        let source = &self.sources[&serial];
        let id = asked_as(source);
        let infohash = source.session.infohash();
        let line = StreamStart { id: &id, infohash, engine, first_packet_ms };
        tracing::info!("{line}");
    }

    pub(crate) fn log_failure_of(
        &self,
        serial: u64,
        engine: Option<&str>,
        after: Duration,
        answer: u16,
        reason: &str,
    ) {
        let id = asked_as(&self.sources[&serial]);
        let after_s = after.as_secs_f64();
        let line = StreamFailed { id: &id, engine, after_s, answer, reason };
        tracing::warn!("{line}");
    }

    pub(crate) fn log_takeover(&self, serial: u64, engine: EngineId) {
        let name = self.sources[&serial].session.engine_name().unwrap_or_default().to_owned();
        let name = if name.is_empty() { self.engine_name(engine) } else { name };
        let reason = Some("another player opens the same content on this engine");
        let what = EngineEvent::TakenOver;
        let line = EngineLine { what, engine: &name, version: None, reason };
        tracing::warn!("{line}");
    }

    pub(crate) fn log_failover(&self, serial: u64, from: EngineId, reason: &str) {
        let source = &self.sources[&serial];
        let engine = source.engine_names.get(&from).map_or("", |name| name);
        let line = Line::new("stream switches").field("id", asked_as(source));
        tracing::warn!("{}", line.field("engine", engine).field("reason", reason));
    }

    /// Nothing has changed for anybody who watches.
    pub(crate) fn log_rival_failed(
        &self,
        serial: u64,
        purpose: Purpose,
        engine: Option<EngineId>,
        reason: &str,
    ) {
        let source = &self.sources[&serial];
        let what = match purpose {
            Purpose::Move => "stream not moved",
            Purpose::Hedge => "stream not hedged",
        };
        let line = Line::new(what).field("id", asked_as(source));
        let line = line.field("engine", source.session.engine_name().unwrap_or_default());
        let to = engine.and_then(|engine| source.engine_names.get(&engine));
        let line = line.field("to", to.map_or("", |name| name));
        tracing::warn!("{}", line.field("reason", reason));
    }

    /// The bytes of another session go on in the ring.
    pub(crate) fn log_joined(&self, serial: u64, join: Join) {
        let source = &self.sources[&serial];
        let how = match join {
            Join::Overlap => "overlap",
            Join::Jump => "jump",
        };
        let engine = source.session.engine_name().unwrap_or_default();
        let line = Line::new("stream goes on").field("id", asked_as(source));
        tracing::info!("{}", line.field("engine", engine).field("join", how));
    }

    pub(crate) fn log_frozen(&self, serial: u64, frozen: bool) {
        let id = asked_as(&self.sources[&serial]);
        let what = if frozen { "stream frozen" } else { "stream moves again" };
        tracing::warn!("{}", Line::new(what).field("id", &id));
    }
}

fn asked_as(source: &Source) -> String {
    match &source.open {
        Target::Id(id) | Target::Infohash(id) => id.to_string(),
        Target::Url(_) | Target::Magnet(_) => source.session.infohash().to_string(),
    }
}

fn stream_of(audience: &Audience) -> Infohash {
    match audience.channel() {
        Some(channel) => channel.facts().infohash,
        None => crate::shard::source::provisional(&audience.keys[0]),
    }
}

/// How far behind live each viewer is, in microseconds, from one view of the ring.
fn lags(audience: &mut Audience) -> BTreeMap<usize, u64> {
    let lowest = audience.fanout.lowest_cursor(false);
    let Some(reader) = &mut audience.reader else { return BTreeMap::new() };
    let turn = reader.turn(lowest);
    let playing = audience.entries.iter().filter(|(_, entry)| entry.phase == Phase::Playing);
    playing.map(|(index, entry)| (index, entry.viewer.lag_us(&turn))).collect()
}
