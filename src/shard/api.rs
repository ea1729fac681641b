//! Pages for operators and tools: gathered from every shard, rendered by `admin`.

use crate::admin::engine_shape;
use crate::admin::metrics::EngineMetrics;
use crate::admin::metrics::MetricsSnapshot;
use crate::admin::metrics::StreamMetrics;
use crate::admin::records::EngineRecord;
use crate::admin::records::MemoryRecord;
use crate::admin::records::OfflineRecord;
use crate::admin::records::RedisRecord;
use crate::admin::records::RedisState;
use crate::admin::records::StatusRecord;
use crate::admin::records::StreamRecord;
use crate::admin::records::ViewerRecord;
use crate::admin::records::list;
use crate::admin::records::one;
use crate::base::ids::Infohash;
use crate::base::time;
use crate::http::render::ErrorCode;
use crate::http::render::ErrorReply;
use crate::http::render::Head;
use crate::http::render::write_error;
use crate::http::render::write_head;
use crate::mirror::State;
use crate::mirror::Status;
use crate::net::host;
use crate::router::Api;
use crate::router::Route;
use crate::router::ViewerSort;
use crate::router::ViewersQuery;
use crate::shard::change;
use crate::shard::core::Shard;
use crate::shard::gather::gather;
use crate::shard::message::Ask;
use crate::shard::message::Told;
use crate::shard::stats::ShardMetrics;
use std::cmp::Ordering;

/// The engine's version that we answer with where clients expect an engine: the newest one that
/// most images run, so that nobody turns a feature off for our sake.
const ENGINE_VERSION: &str = "3.2.11";

const JSON: &str = "application/json";

pub(crate) struct Page {
    pub(crate) status: u16,
    content_type: &'static str,
    body: Result<String, (ErrorCode, String)>,
    header: Option<(&'static str, String)>,
}

impl Page {
    pub(super) fn json(body: String) -> Self {
        Self { status: 200, content_type: JSON, body: Ok(body), header: None }
    }

    pub(super) fn error(code: ErrorCode, message: &str) -> Self {
        let body = Err((code, message.to_owned()));
        Self { status: code.status(), content_type: JSON, body, header: None }
    }

    pub(super) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(super) fn with_header(self, name: &'static str, value: String) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>, with_body: bool, cors: bool) {
        match &self.body {
            Ok(body) => {
                let header = self.header.as_ref().map(|(name, value)| (*name, value.as_str()));
                let head = Head {
                    status: self.status,
                    content_type: self.content_type,
                    content_length: Some(body.len() as u64),
                    headers: header.as_slice(),
                    cors,
                    no_store: true,
                };
                write_head(out, &head);
                if with_body {
                    out.extend_from_slice(body.as_bytes());
                }
            }
            Err((code, message)) => {
                let reply = ErrorReply { cors, ..ErrorReply::new(*code, message) };
                write_error(out, &reply, with_body);
            }
        }
    }
}

pub(crate) async fn page(shard: &Shard, route: Route, request_body: &[u8]) -> Page {
    match route {
        Route::GetVersion => Page::json(engine_shape::get_version(ENGINE_VERSION)),
        Route::GetStatus => Page::json(engine_shape::get_status(ENGINE_VERSION)),
        Route::AceStatus { id } => ace_status(shard, id).await,
        Route::Api(api) => api_page(shard, api, request_body).await,
        Route::Metrics => metrics_page(shard).await,
        Route::Healthz => Page::json("{\"status\":\"ok\"}".to_owned()),
        Route::Readyz => ready_page(shard).await,
        Route::Play(_) | Route::PlayHead(_) | Route::Preflight { .. } => {
            unreachable!("answered where the socket is")
        }
    }
}

async fn api_page(shard: &Shard, api: Api, request_body: &[u8]) -> Page {
    match api {
        Api::Change(change) => change::page(shard, change, request_body).await,
        Api::LogIn(cookie) => change::log_in(&cookie),
        Api::LogOut => change::log_out(),
        Api::Status => Page::json(one(&status(shard).await)),
        Api::Streams => {
            let rows = streams(shard).await;
            Page::json(list("streams", &rows, rows.len(), None))
        }
        Api::Stream(id) => {
            let wanted = id.to_string();
            let rows = streams(shard).await;
            let found = rows
                .into_iter()
                .find(|row| row.id == wanted || row.content_id.as_ref() == Some(&wanted));
            match found {
                Some(row) => Page::json(one(&row)),
                None => Page::error(ErrorCode::NotFound, "no stream of this id runs"),
            }
        }
        Api::Viewers(query) => viewers_page(shard, query).await,
        Api::Engines => {
            let mut rows: Vec<EngineRecord> = Vec::new();
            for told in gather(shard, Ask::Engines).await.answers {
                if let Told::Engines(mine) = told {
                    rows.extend(mine);
                }
            }
            Page::json(list("engines", &rows, rows.len(), None))
        }
        Api::Offline => {
            let mut rows: Vec<OfflineRecord> = Vec::new();
            for told in gather(shard, Ask::Offline).await.answers {
                if let Told::Offline(mine) = told {
                    rows.extend(mine);
                }
            }
            Page::json(list("offline", &rows, rows.len(), None))
        }
    }
}

async fn streams(shard: &Shard) -> Vec<StreamRecord> {
    let mut rows = Vec::new();
    for told in gather(shard, Ask::Streams).await.answers {
        if let Told::Streams(mine) = told {
            rows.extend(mine);
        }
    }
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    rows
}

async fn viewers(shard: &Shard, stream: Option<Infohash>) -> Vec<ViewerRecord> {
    let mut rows = Vec::new();
    for told in gather(shard, Ask::Viewers(stream)).await.answers {
        if let Told::Viewers(mine) = told {
            rows.extend(mine);
        }
    }
    rows
}

async fn viewers_page(shard: &Shard, query: ViewersQuery) -> Page {
    let mut rows = viewers(shard, query.stream).await;
    let total = rows.len();
    // Ids break ties, so that a page follows another one without a gap.
    rows.sort_by(|a, b| {
        let order = compare(query.sort, a, b).then_with(|| a.id.cmp(&b.id));
        if query.descending { order.reverse() } else { order }
    });
    if let Some(after) = query.after {
        let after = after.to_string();
        let Some(behind) = page_begin(&rows, &query, &after) else {
            let message = "the viewer of after= has left, and with it its place in this order";
            return Page::error(ErrorCode::NotFound, message);
        };
        rows.drain(..behind);
    }
    let more = rows.len() > query.limit;
    rows.truncate(query.limit);
    let after = if more { rows.last().map(|row| row.id.clone()) } else { None };
    Page::json(list("viewers", &rows, total, after.as_deref()))
}

/// How many rows stand before the page that follows `after`. In the order of ids that is known
/// also when the viewer has left.
fn page_begin(rows: &[ViewerRecord], query: &ViewersQuery, after: &str) -> Option<usize> {
    if query.sort != ViewerSort::Id {
        return rows.iter().position(|row| row.id == after).map(|at| at + 1);
    }
    let before = |row: &ViewerRecord| {
        let order = row.id.as_str().cmp(after);
        let order = if query.descending { order.reverse() } else { order };
        order != Ordering::Greater
    };
    Some(rows.partition_point(before))
}

fn compare(sort: ViewerSort, a: &ViewerRecord, b: &ViewerRecord) -> Ordering {
    match sort {
        ViewerSort::Id => Ordering::Equal,
        ViewerSort::ConnectedAt => a.connected_at.total_cmp(&b.connected_at),
        ViewerSort::BytesSent => a.bytes_sent.cmp(&b.bytes_sent),
        ViewerSort::RateBps => a.rate_bps.cmp(&b.rate_bps),
        ViewerSort::SecondsBehind => a.seconds_behind.total_cmp(&b.seconds_behind),
        ViewerSort::Skips => a.skips.cmp(&b.skips),
    }
}

async fn ace_status(shard: &Shard, id: Option<Infohash>) -> Page {
    let rows = streams(shard).await;
    let Some(id) = id else {
        let clients = rows.iter().map(|row| row.viewers).sum();
        return Page::json(engine_shape::acexy_status(clients, rows.len() as u64, None));
    };
    let wanted = id.to_string();
    let found =
        rows.iter().find(|row| row.id == wanted || row.content_id.as_ref() == Some(&wanted));
    match found {
        Some(row) => {
            let stat = format!("/api/v1/streams/{}", row.id);
            let stream = Some((row.id.as_str(), stat.as_str()));
            Page::json(engine_shape::acexy_status(row.viewers, 1, stream))
        }
        None => Page::error(ErrorCode::NotFound, "no stream of this id runs"),
    }
}

async fn ready_page(shard: &Shard) -> Page {
    let gathered = gather(shard, Ask::Ready).await;
    let up: usize = gathered
        .answers
        .iter()
        .map(|told| if let Told::Ready(Some(up)) = told { *up } else { 0 })
        .sum();
    if !gathered.complete {
        return Page::error(ErrorCode::NoCapacity, "a shard does not answer");
    }
    if up == 0 {
        return Page::error(ErrorCode::NoEngine, "no engine answers");
    }
    Page::json(format!("{{\"status\":\"ready\",\"engines_up\":{up}}}"))
}

async fn shard_metrics(shard: &Shard) -> Vec<ShardMetrics> {
    let mut all = Vec::new();
    for told in gather(shard, Ask::Metrics).await.answers {
        if let Told::Metrics(mine) = told {
            all.push(*mine);
        }
    }
    all.sort_by_key(|metrics| metrics.shard);
    all
}

async fn status(shard: &Shard) -> StatusRecord {
    let all = shard_metrics(shard).await;
    let redis = shard.quietly(|core| redis_record(core.shared.mirror.as_deref()));
    let (version, started, budget, streams, twin_bytes) = shard.quietly(|core| {
        let shared = &core.shared;
        let arena = shared.arena;
        let budget = u64::from(arena.slabs_total()) * arena.slab_bytes() as u64;
        let (streams, twin_bytes) = (shared.streams() as u64, arena.twin_bytes());
        (shared.config.version, shared.started, budget, streams, twin_bytes)
    });
    let sum = |field: fn(&ShardMetrics) -> u64| all.iter().map(field).sum::<u64>();
    let engines = all.iter().flat_map(|metrics| &metrics.engines);
    StatusRecord {
        version: version.to_owned(),
        uptime_seconds: time::now().since(started).as_secs(),
        shards: all.len(),
        send_path: send_paths(&all),
        streams,
        viewers: sum(|metrics| metrics.viewers),
        engines: engines.clone().count() as u64,
        engine_sessions: engines.map(|engine| engine.sessions).sum(),
        bytes_in_total: sum(|metrics| metrics.ingest_bytes),
        bytes_out_total: sum(|metrics| metrics.sent_bytes),
        redis,
        memory: MemoryRecord {
            budget_bytes: budget,
            ring_bytes: sum(|metrics| metrics.ring_bytes),
            twin_bytes,
            viewer_bytes: sum(|metrics| metrics.viewer_bytes),
        },
    }
}

/// What newcomers get; a shard that lacks a way has its own words beside the others'.
fn send_paths(all: &[ShardMetrics]) -> String {
    let mut paths: Vec<&str> = all.iter().map(|metrics| metrics.send_path).collect();
    paths.sort_unstable();
    paths.dedup();
    paths.join(", ")
}

async fn metrics_page(shard: &Shard) -> Page {
    let all = shard_metrics(shard).await;
    let rows = streams(shard).await;
    let (version, started, budget, twin_bytes) = shard.quietly(|core| {
        let arena = core.shared.arena;
        let budget = u64::from(arena.slabs_total()) * arena.slab_bytes() as u64;
        (core.shared.config.version, core.shared.started, budget, arena.twin_bytes())
    });
    let redis = shard.quietly(|core| redis_record(core.shared.mirror.as_deref()));
    let sum = |field: fn(&ShardMetrics) -> u64| all.iter().map(field).sum::<u64>();
    let of_mirror = |value: fn(&Status) -> u64| {
        shard.quietly(|core| core.shared.mirror.as_deref().map_or(0, value))
    };
    let mut snapshot = MetricsSnapshot {
        version: version.to_owned(),
        driver: send_paths(&all),
        uptime_seconds: time::now().since(started).as_secs_f64(),
        viewers: sum(|metrics| metrics.viewers),
        streams: states(&all),
        streams_frozen: rows.iter().filter(|row| row.frozen).count() as u64,
        ingest_bytes: sum(|metrics| metrics.ingest_bytes),
        ingest_paused_us: sum(|metrics| metrics.paused_us),
        sent_bytes: sum(|metrics| metrics.sent_bytes),
        viewer_skips: sum(|metrics| metrics.skips),
        redis_up: redis.state == RedisState::Up,
        redis_lag_ms: redis.lag_ms,
        redis_dropped: redis.dropped_total,
        ts_sync_losses: sum(|metrics| metrics.sync_losses),
        send_copied_bytes: sum(|metrics| metrics.copied_bytes),
        send_shared_bytes: sum(|metrics| metrics.shared_bytes),
        send_zerocopy_bytes: sum(|metrics| metrics.zerocopy_bytes),
        sends: sum(|metrics| metrics.sends),
        memory: vec![
            ("budget", budget),
            ("ring", sum(|metrics| metrics.ring_bytes)),
            ("twin", twin_bytes),
            ("viewer", sum(|metrics| metrics.viewer_bytes)),
            ("resident", host::rss_bytes().unwrap_or(0)),
        ],
        open_files: host::open_files().unwrap_or(0) as u64,
        redis_snapshot_bytes: of_mirror(Status::snapshot_bytes),
        redis_snapshot_alive_bytes: of_mirror(Status::snapshot_alive_bytes),
        redis_snapshot_left_out: of_mirror(Status::snapshot_left_out),
        streams_primed: sum(|metrics| metrics.primed),
        journal_missed: shard.quietly(|core| {
            core.shared.journal.as_ref().map_or(0, crate::mirror::journal::Notes::missed)
        }),
        shard_turns: all.iter().map(|metrics| metrics.turn.clone()).collect(),
        per_stream: rows
            .iter()
            .map(|row| StreamMetrics {
                stream: row.id.clone(),
                viewers: row.viewers,
                ingest_bytes: row.head_offset,
            })
            .collect(),
        ..MetricsSnapshot::default()
    };
    for metrics in &all {
        merge(&mut snapshot, metrics);
    }
    let body = crate::admin::metrics::render(&snapshot);
    let content_type = crate::admin::metrics::CONTENT_TYPE;
    Page { content_type, ..Page::json(body) }
}

fn redis_record(mirror: Option<&Status>) -> RedisRecord {
    let Some(status) = mirror else { return RedisRecord::default() };
    let state = match status.state() {
        State::Connecting => RedisState::Connecting,
        State::Up => RedisState::Up,
        State::Down => RedisState::Down,
    };
    RedisRecord { state, lag_ms: status.lag_ms(), dropped_total: status.dropped() }
}

/// Streams by state; a state without a stream is a zero, not a hole.
fn states(all: &[ShardMetrics]) -> Vec<(&'static str, u64)> {
    let names = crate::stream::State::ALL.iter().map(|state| state.as_str());
    let count = |name: &str| {
        let of = |metrics: &ShardMetrics| metrics.streams_by_state.get(name).copied().unwrap_or(0);
        all.iter().map(of).sum::<u64>()
    };
    names.map(|name| (name, count(name))).collect()
}

/// What is counted by label or in histograms.
fn merge(snapshot: &mut MetricsSnapshot, metrics: &ShardMetrics) {
    snapshot.first_byte.merge(&metrics.first_byte);
    snapshot.start.merge(&metrics.start);
    snapshot.delivery_latency.merge(&metrics.latency);
    add(&mut snapshot.viewer_closed, metrics.closed.iter());
    add(&mut snapshot.stream_starts, metrics.starts.iter());
    add(&mut snapshot.failovers, metrics.failovers.iter());
    add(&mut snapshot.rivals_failed, metrics.rivals_failed.iter());
    for ((route, code), count) in &metrics.responses {
        let known =
            snapshot.http_responses.iter_mut().find(|row| (row.0, row.1) == (*route, *code));
        match known {
            Some(row) => row.2 += count,
            None => snapshot.http_responses.push((route, *code, *count)),
        }
    }
    for engine in &metrics.engines {
        snapshot.engines.push(EngineMetrics {
            engine: engine.name.clone(),
            up: engine.up,
            sessions: engine.sessions,
        });
    }
}

fn add<'a>(
    rows: &mut Vec<(&'static str, u64)>,
    more: impl Iterator<Item = (&'a &'static str, &'a u64)>,
) {
    for (name, count) in more {
        match rows.iter_mut().find(|row| row.0 == *name) {
            Some(row) => row.1 += count,
            None => rows.push((name, *count)),
        }
    }
}
