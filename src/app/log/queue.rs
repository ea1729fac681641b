//! The bounded queue between whoever logs and stderr, and the thread that empties it.

use std::io::Write;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// A second of a thousand viewers leaving at once fits; 4 096 lines of 300 bytes are 1.2 MB.
const LINES_MAX: usize = 4_096;

/// Lines that are ready together go out in one write of at most this.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// How long an exit waits for a stderr that nobody reads.
const FLUSH_MAX: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub(super) struct Queue {
    sender: SyncSender<String>,
    count: Arc<Count>,
}

#[derive(Default)]
struct Count {
    queued: AtomicU64,
    /// Did not fit; taken by the writer when it says so.
    dropped: AtomicU64,
    /// Written, or lost to a stderr that is closed.
    written: Mutex<u64>,
    moved: Condvar,
}

impl Queue {
    /// Never waits: a line that does not fit is counted.
    pub(super) fn push(&self, line: String) {
        // Counted first, so that a flush never sees fewer queued than written.
        self.count.queued.fetch_add(1, Relaxed);
        if self.sender.try_send(line).is_err() {
            self.count.queued.fetch_sub(1, Relaxed);
            self.count.dropped.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn guard(&self) -> Guard {
        Guard { count: self.count.clone() }
    }
}

/// Waits, when dropped, until everything queued is written, half a second at most.
#[must_use]
pub struct Guard {
    count: Arc<Count>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let queued = self.count.queued.load(Relaxed);
        let written = self.count.written.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.count.moved.wait_timeout_while(written, FLUSH_MAX, |count| *count < queued);
    }
}

/// Starts the thread. It lives as long as anything can log.
pub(super) fn start(target: impl Write + Send + 'static) -> (Queue, Guard) {
    let (sender, receiver) = sync_channel(LINES_MAX);
    let count = Arc::new(Count::default());
    let writer = count.clone();
    let thread = std::thread::Builder::new().name("log".to_owned());
    // Without the thread the receiver is gone, and every line counts as dropped.
    let _ = thread.spawn(move || write_all(&receiver, &writer, target));
    let queue = Queue { sender, count };
    let guard = queue.guard();
    (queue, guard)
}

fn write_all(receiver: &Receiver<String>, count: &Count, mut target: impl Write) {
    let mut bytes: Vec<u8> = Vec::new();
    while let Ok(first) = receiver.recv() {
        bytes.clear();
        let mut lines = 0;
        let mut next = Some(first);
        while let Some(line) = next.take() {
            bytes.extend_from_slice(line.as_bytes());
            lines += 1;
            if bytes.len() < WRITE_BYTES_MAX {
                next = receiver.try_recv().ok();
            }
        }
        let dropped = count.dropped.swap(0, Relaxed);
        if dropped > 0 {
            bytes.extend_from_slice(format!("log lines dropped count={dropped}\n").as_bytes());
        }
        // A closed stderr loses the lines; there is nobody to tell.
        let _ = target.write_all(&bytes).and_then(|()| target.flush());
        *count.written.lock().unwrap_or_else(PoisonError::into_inner) += lines;
        count.moved.notify_all();
    }
}
