//! The journal of open engine sessions at boot and at the end: ours begins, those of dead
//! processes are swept.

use crate::app::probe;
use crate::mirror::journal::Ask;
use crate::mirror::journal::Engine;
use crate::mirror::journal::Journal;
use crate::mirror::journal::Notes;
use crate::mirror::journal::Unasked;
use crate::mirror::journal::sweep::Sweep;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// How long a boot lets old sessions be stopped before it opens new ones. Engines that answer take
/// milliseconds; the others are looked after while the server runs.
const SWEEP_FIRST_MAX: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Journaling {
    journal: Option<Journal>,
    _sweep: Option<Sweep>,
}

impl Journaling {
    /// Without a directory there is neither. A host that has no thread for them goes on as well.
    pub(super) fn start(dir: Option<&Path>, boot_seed: u64) -> Self {
        let Some(dir) = dir else { return Self::default() };
        let told = |error: &std::io::Error| tracing::warn!("journal {}: {error}", dir.display());
        let sweep = Sweep::start(dir, Box::new(Engines)).inspect_err(told).ok();
        let journal = Journal::start(dir, (boot_seed >> 32) as u32).inspect_err(told).ok();
        if let Some(sweep) = &sweep {
            sweep.wait(SWEEP_FIRST_MAX);
        }
        Self { journal, _sweep: sweep }
    }

    pub(super) fn notes(&self) -> Option<Notes> {
        self.journal.as_ref().map(Journal::notes)
    }

    /// When every shard has ended.
    pub(super) fn close(self) {
        if let Some(journal) = self.journal {
            journal.close();
        }
    }
}

struct Engines;

impl Ask for Engines {
    fn ask(
        &self,
        engine: &Engine,
        path: &str,
        within: Duration,
    ) -> Result<(u16, Vec<u8>), Unasked> {
        let stream = TcpStream::connect_timeout(&engine.socket, probe::CONNECT_MAX);
        let stream = stream.map_err(|_| Unasked::Unreachable)?;
        let reply = probe::ask(stream, &engine.host, path, within);
        reply.map(|reply| (reply.status, reply.body)).map_err(|_| Unasked::Unanswered)
    }
}
