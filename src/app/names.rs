//! Names to addresses, on a thread of their own: a dead DNS server keeps a question for many
//! seconds, and the main thread has signals to handle and a watchdog to feed.
//!
//! Nobody waits for this thread, at the end of the process neither. Questions wait in a bounded
//! queue; the pool is told of each what came of it, or that there was no room for it.

use crate::engine::pool;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::SyncSender;

/// The names of all engines that a pool may have, twice over.
const NAMES_WAITING_MAX: usize = 1_024;

type Tell = dyn Fn(pool::Input) + Send + Sync;

/// The asking end.
pub(super) struct Names {
    queue: SyncSender<String>,
    tell: Arc<Tell>,
}

impl Names {
    pub(super) fn start(
        tell: impl Fn(pool::Input) + Send + Sync + 'static,
        resolve: impl Fn(&str) -> Result<Vec<IpAddr>, String> + Send + 'static,
    ) -> io::Result<Self> {
        let tell: Arc<Tell> = Arc::new(tell);
        let (queue, questions) = mpsc::sync_channel::<String>(NAMES_WAITING_MAX);
        let answers = tell.clone();
        std::thread::Builder::new().name("names".to_owned()).spawn(move || {
            for name in questions {
                let result = resolve(&name);
                answers(pool::Input::Resolved { name, result });
            }
        })?;
        Ok(Self { queue, tell })
    }

    /// Returns at once.
    pub(super) fn ask(&self, name: String) {
        if let Err(mpsc::TrySendError::Full(name) | mpsc::TrySendError::Disconnected(name)) =
            self.queue.try_send(name)
        {
            let result = Err("not asked: the resolver does not answer".to_owned());
            (self.tell)(pool::Input::Resolved { name, result });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_that_hangs_keeps_nobody_and_its_queue_is_bounded() {
        let (told, answers) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        let resolve = move |_: &str| {
            let _ = begun.send(());
            gate.recv().map(|()| Vec::new()).map_err(|_| "the test is over".to_owned())
        };
        let tell = move |input| {
            let _ = told.send(input);
        };
        let names = Names::start(tell, resolve).unwrap();
        names.ask("hangs".to_owned());
        begins.recv().unwrap();
        for n in 0..NAMES_WAITING_MAX {
            names.ask(format!("waits-{n}"));
        }
        assert!(answers.try_recv().is_err());
        names.ask("one-too-many".to_owned());
        let next = || {
            let pool::Input::Resolved { name, result } = answers.recv().unwrap() else {
                panic!("only names are answered");
            };
            (name, result.is_ok())
        };
        assert_eq!(next(), ("one-too-many".to_owned(), false));
        go.send(()).unwrap();
        assert_eq!(next(), ("hangs".to_owned(), true));
    }
}
