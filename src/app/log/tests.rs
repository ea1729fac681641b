//! The three forms of a line, and a stderr that does not keep up.

use std::io;
use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::sync_channel;

use serde_json::Value;
use tracing::Level;

use super::*;

const NOW: Wall = Wall::from_unix_ms(1_767_323_045_678);

#[test]
fn text_has_time_level_and_message() {
    assert_eq!(
        line(LogFormat::Text, NOW, Level::INFO, "viewer start viewer=1"),
        "2026-01-02T03:04:05.678Z INFO  viewer start viewer=1\n"
    );
}

#[test]
fn the_journal_gets_a_priority() {
    let at = |level| line(LogFormat::Journald, NOW, level, "x");
    assert_eq!(at(Level::ERROR), "<3>x\n");
    assert_eq!(at(Level::WARN), "<4>x\n");
    assert_eq!(at(Level::INFO), "<6>x\n");
    assert_eq!(at(Level::DEBUG), "<7>x\n");
}

#[test]
fn json_takes_the_fields_apart() {
    let message = "viewer end viewer=12 stream=0123456789012345678901234567890123456789 \
                   agent=\"VLC \\\"3\\\"\" bytes=188 seconds=1.5 message=no";
    let text = line(LogFormat::Json, NOW, Level::WARN, message);
    assert!(text.ends_with("}\n") && text.lines().count() == 1);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["time"], "2026-01-02T03:04:05.678Z");
    assert_eq!(value["level"], "warn");
    assert_eq!(value["message"], "viewer end");
    assert_eq!(value["viewer"], "12");
    assert_eq!(value["stream"], "0123456789012345678901234567890123456789");
    assert_eq!(value["agent"], "VLC \"3\"");
    assert_eq!(value["bytes"], 188);
    assert_eq!(value["seconds"], 1.5);
    let words: Value =
        serde_json::from_str(&line(LogFormat::Json, NOW, Level::INFO, "just\nwords")).unwrap();
    assert_eq!(words["message"], "just\nwords");
}

#[test]
fn a_line_break_does_not_make_two_lines() {
    let text = line(LogFormat::Text, NOW, Level::INFO, "a\nb\u{1b}[1m");
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains("a\\nb\\u{1b}[1m"));
}

#[test]
fn dates_of_the_calendar() {
    let date = |seconds: u64| format::timestamp(Wall::from_unix_ms(seconds * 1_000));
    assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(date(951_782_400), "2000-02-29T00:00:00.000Z");
    assert_eq!(date(1_709_251_199), "2024-02-29T23:59:59.000Z");
    assert_eq!(date(1_709_251_200), "2024-03-01T00:00:00.000Z");
    assert_eq!(date(4_102_444_799), "2099-12-31T23:59:59.000Z");
}

#[test]
fn fields_of_an_event_stand_behind_its_message() {
    let target = Shared::default();
    let (queue, guard) = queue::start(target.clone());
    let layer = Lines { log: LogFormat::Journald, queue };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter(LogLevel::Info)));
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(port = 8_878, name = "a b", "listening");
        tracing::debug!("not heard");
        tracing::info!(target: "monoio", "not heard either");
        tracing::warn!(target: "monoio", "heard");
    });
    drop(guard);
    assert_eq!(target.text(), "<6>listening port=8878 name=\"a b\"\n<4>heard\n");
}

#[test]
fn a_stderr_that_nobody_reads_costs_lines_not_time() {
    let (open, gate) = sync_channel(0);
    let target = Shared::default();
    let (queue, guard) = queue::start(Gated { gate, target: target.clone() });
    // The writer hangs in its first write, at the latest with one batch in hand.
    for number in 0..10_000 {
        // A batch is 64 KiB: with longer lines it cannot hold all that the queue does not.
        queue.push(format!("{number:0100}\n"));
    }
    drop(open);
    drop(guard);
    let guard = queue.guard();
    queue.push("last\n".to_owned());
    drop(guard);
    let text = target.text();
    let said = "log lines dropped count=";
    let dropped = text.lines().filter_map(|line| line.strip_prefix(said));
    let dropped: usize = dropped.map(|count| count.parse::<usize>().unwrap()).sum();
    let written = text.lines().filter(|line| !line.starts_with(said)).count();
    assert!(dropped > 0);
    assert_eq!(written + dropped, 10_001);
}

#[test]
fn a_closed_stderr_is_survived() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (queue, guard) = queue::start(Closed);
    queue.push("lost\n".to_owned());
    drop(guard);
    queue.push("lost too\n".to_owned());
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes nothing before the gate is open.
struct Gated {
    gate: Receiver<()>,
    target: Shared,
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.gate.recv();
        self.target.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
