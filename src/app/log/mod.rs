//! Logging: one line per event on stderr, as text, as JSON, or as the journal takes it.
//!
//! Invariant: nobody who logs ever waits for stderr. Lines go through a bounded queue to one
//! thread; a full queue drops lines and says how many, a closed stderr loses them.

mod format;
mod queue;

use tracing::Event;
use tracing::Level;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::base::time::Wall;
use crate::config::LogFormat;
use crate::config::LogLevel;

pub use queue::Guard;

/// Sets logging up for the rest of the process. Lines logged before are lost, and so is a second
/// set-up. Dropping the guard waits shortly for what is queued.
pub fn init(log: LogFormat, level: LogLevel) -> Guard {
    let (queue, guard) = queue::start(std::io::stderr());
    let layer = Lines { log, queue };
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter(level))).try_init();
    guard
}

/// Libraries are heard from `warn` on: their inner life is not ours to log.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("ringcast", level)
        .with_target("ace_emulator", level)
}

struct Lines {
    log: LogFormat,
    queue: queue::Queue,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let message = format::message(event);
        let level = *event.metadata().level();
        self.queue.push(line(self.log, Wall::now(), level, &message));
    }
}

fn line(log: LogFormat, now: Wall, level: Level, message: &str) -> String {
    match log {
        LogFormat::Text => format::text(now, level, message),
        LogFormat::Json => format::json(now, level, message),
        LogFormat::Journald => format::journald(level, message),
    }
}

#[cfg(test)]
mod tests;
