//! The course of a run: ramp, settle, window, report.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::crowd;
use crate::crowd::Crowd;
use crate::crowd::Occasion;
use crate::crowd::Role;
use crate::crowd::Shared;
use crate::crowd::State;
use crate::events;
use crate::host;
use crate::metrics;
use crate::metrics::Counters;
use crate::options::Options;
use crate::process;
use crate::report::Checked;
use crate::report::Ends;
use crate::report::GB;
use crate::report::Report;
use crate::report::Spread;
use crate::report::Stuck;
use crate::report::Switches;
use crate::sweep;

/// Who has no byte by then holds nobody up.
const FIRST_BYTE_PATIENCE: Duration = Duration::from_secs(15);
/// With --hold the server's own count is the only one.
const SENT_BYTES: &str = "ringcast_sent_bytes_total";

pub(crate) struct Outcome {
    pub(crate) report: Report,
    /// What makes the numbers doubtful.
    pub(crate) notes: Vec<String>,
}

/// Everything that is sampled at both ends of the window.
struct End {
    at: Instant,
    server: Option<process::Sample>,
    own: process::Sample,
    host: process::Host,
    counters: Option<Counters>,
}

pub(crate) async fn run(options: Options) -> Result<Outcome, String> {
    options.check()?;
    host::open_files_for(u64::from(options.viewers) + u64::from(options.storm))?;
    let receive = host::receive();
    let crowd = Crowd::new(&options, receive.buffer_bytes);
    let shared: Shared = Rc::new(crowd.into());
    let sweep = tokio::task::spawn_local(sweep::sweep(Rc::clone(&shared)));
    ramp(&options, &shared).await;
    tokio::time::sleep(Duration::from_millis(options.settle_ms)).await;
    someone_plays(&shared)?;

    let start = begin(&options, &shared).await?;
    let until = start.at + options.window();
    let events = events::start(&options, &shared, start.at);
    tokio::time::sleep_until(until).await;
    let end = finish(&options, &shared).await?;
    events.stop();
    sweep.abort();

    let report = report(&options, &shared.borrow(), &start, &end);
    let mut notes: Vec<String> = receive.note.into_iter().collect();
    let crowd = shared.borrow();
    notes.extend(crowd.first_refusal.as_ref().map(|why| format!("first refusal: {why}")));
    let waiting = crowd.viewers.iter().filter(|viewer| viewer.state == State::Waiting).count();
    if waiting > 0 {
        notes.push(format!("{waiting} viewers still had no byte at the end"));
    }
    Ok(Outcome { report, notes })
}

/// Connects everybody; ends when the last has its first byte, a refusal, or no more patience.
async fn ramp(options: &Options, shared: &Shared) {
    let count = options.viewers;
    shared.borrow_mut().undecided = count as usize;
    let decided = Rc::clone(&shared.borrow().decided);
    let start = Instant::now();
    let ramp = Duration::from_millis(options.ramp_ms);
    for number in 0..count {
        tokio::time::sleep_until(start + ramp * number / count).await;
        let number = shared.borrow_mut().add(role(options, number));
        tokio::task::spawn_local(crowd::live(Rc::clone(shared), number, Occasion::Ramp));
    }
    let patience = Instant::now() + FIRST_BYTE_PATIENCE;
    while shared.borrow().undecided > 0 {
        if tokio::time::timeout_at(patience, decided.notified()).await.is_err() {
            break;
        }
    }
}

/// Checked ones first, then the pausing; stuck ones evenly among the rest.
fn role(options: &Options, number: u32) -> Role {
    let Options { viewers, check, pausing, stuck, hold, .. } = *options;
    if hold {
        return Role::Holds;
    }
    if number < check {
        return Role::Checked;
    }
    if number < check + pausing {
        return Role::Pauses;
    }
    let number = u64::from(number - check - pausing);
    let rest = u64::from(viewers - check - pausing);
    let stuck = (u64::from(viewers) * u64::from(stuck) / 100).min(rest);
    let stuck_before = |number: u64| number * stuck / rest;
    if stuck_before(number + 1) > stuck_before(number) { Role::Sticks } else { Role::Discards }
}

fn someone_plays(shared: &Shared) -> Result<(), String> {
    let crowd = shared.borrow();
    if crowd.playing() > 0 {
        return Ok(());
    }
    let why = crowd.first_refusal.as_deref();
    let why = why.unwrap_or(match crowd.closed_early {
        0 => "the server accepts, but sends nothing",
        _ => "the server has closed all that had one",
    });
    Err(format!("no viewer plays: {why}"))
}

async fn begin(options: &Options, shared: &Shared) -> Result<End, String> {
    let counters = counters(options).await?;
    let mut crowd = shared.borrow_mut();
    crowd.empty_all();
    crowd.in_window = true;
    for viewer in &mut crowd.viewers {
        viewer.bytes_at_start = viewer.bytes;
        let reads = matches!(viewer.role, Role::Discards | Role::Checked);
        viewer.stays = reads && viewer.state == State::Playing;
    }
    end(options, counters)
}

/// In the order of the beginning: what is late by the emptying is so at both ends.
async fn finish(options: &Options, shared: &Shared) -> Result<End, String> {
    let mut sampled = {
        let mut crowd = shared.borrow_mut();
        crowd.empty_all();
        crowd.close_silent();
        crowd.in_window = false;
        end(options, None)?
    };
    sampled.counters = counters(options).await?;
    Ok(sampled)
}

fn end(options: &Options, counters: Option<Counters>) -> Result<End, String> {
    Ok(End {
        server: options.pid.map(process::sample).transpose()?,
        own: process::sample(std::process::id())?,
        host: process::Host::sample(),
        at: Instant::now(),
        counters,
    })
}

async fn counters(options: &Options) -> Result<Option<Counters>, String> {
    if !options.metrics {
        return Ok(None);
    }
    metrics::fetch(options.metrics_target.unwrap_or(options.target)).await.map(Some)
}

fn report(options: &Options, crowd: &Crowd, start: &End, end: &End) -> Report {
    let metrics = match (&start.counters, &end.counters) {
        (Some(start), Some(end)) => Some(metrics::difference(start, end)),
        _ => None,
    };
    let received: u64 =
        crowd.viewers.iter().map(|viewer| viewer.bytes - viewer.bytes_at_start).sum();
    let sent =
        metrics.as_ref().and_then(|metrics| metrics.get(SENT_BYTES)).map(|sent| *sent as u64);
    let bytes = if options.hold { sent } else { Some(received) };
    let stays = crowd.viewers.iter().filter(|viewer| viewer.stays);
    let spread = Spread::of(stays.map(|viewer| viewer.bytes - viewer.bytes_at_start).collect());
    let both = start.server.as_ref().zip(end.server.as_ref());
    let spent = both.map(|(start, end)| start.until(end));
    let gb = bytes.map(|bytes| bytes as f64 / GB).filter(|gb| *gb > 0.0);
    Report {
        viewers: u64::from(options.viewers) + u64::from(options.storm),
        playing: crowd.playing() as u64,
        refused: crowd.refused,
        closed_early: crowd.closed_early,
        stuck: Stuck::of(crowd),
        window_s: (end.at - start.at).as_secs_f64(),
        bytes,
        bytes_per_viewer: spread,
        cpu_s: spent.map(|spent| spent.run_s),
        cpu_wait_s: spent.map(|spent| spent.wait_s),
        cpu_s_per_gb: spent.zip(gb).map(|(spent, gb)| spent.run_s / gb),
        threads: spent.map(|spent| spent.threads),
        threads_lost: spent.map(|spent| spent.threads_lost),
        rss_bytes: both.map(|(start, end)| Ends { start: start.rss_bytes, end: end.rss_bytes }),
        context_switches: spent
            .map(|spent| Switches { voluntary: spent.voluntary, involuntary: spent.involuntary }),
        steal_percent: start.host.steal_percent_until(end.host),
        swarm_cpu_s: start.own.until(&end.own).run_s,
        swarm_late_ms_max: crowd.late_max.as_secs_f64() * 1e3,
        first_byte_ms: crowd.times.first_byte.percentiles(),
        churn_first_byte_ms: crowd.times.churn_first_byte.percentiles(),
        storm_first_byte_ms: crowd.times.storm_first_byte.percentiles(),
        delivery_ms: crowd.times.delivery.percentiles(),
        gap_ms: crowd.times.gap.percentiles(),
        checked: Checked::of(crowd),
        metrics,
    }
}
