//! What the journal of open engine sessions is told by a shard.
//!
//! An open waits a moment for its note, nothing else ever waits. A session is known to the journal
//! by its engine and the path it is stopped with, because it may change hands between streams.

use crate::base::ids::EngineId;
use crate::base::ids::Generation;
use crate::base::ids::Target;
use crate::base::time;
use crate::mirror::journal::ACK_MAX;
use crate::mirror::journal::Engine;
use crate::mirror::journal::Note;
use crate::mirror::journal::Over;
use crate::mirror::journal::Session;
use crate::net::runtime::Signal;
use crate::shard::core::Core;
use crate::shard::core::Shard;
use crate::shard::exchange::Address;
use crate::shard::message::Message;
use crate::stream::Opened;
use std::rc::Rc;

/// Says that an engine is going to be asked for a session; the number is its name from here on.
pub(crate) async fn opens(shard: &Shard, address: &Address, target: &Target) -> u64 {
    let (entry, written) = shard.quietly(|core| core.journal_opens(address, target));
    if let Some(written) = written {
        written.wait_until(time::now() + ACK_MAX).await;
        shard.quietly(|core| {
            if core.journal_waits.remove(&entry).is_some() {
                core.shared.journal.iter().for_each(crate::mirror::journal::Notes::miss);
            }
        });
    }
    entry
}

impl Core {
    fn journal_opens(&mut self, address: &Address, target: &Target) -> (u64, Option<Rc<Signal>>) {
        // Tokens are a shard's own, and the journal is the process'.
        let entry = u64::from(self.me.0) << 56 | self.next_token();
        let Some(notes) = &self.shared.journal else { return (entry, None) };
        let (shared, me) = (self.shared.clone(), usize::from(self.me.0));
        let written = Box::new(move || shared.inboxes[me].put(Message::Journaled { entry }));
        let what = match target {
            Target::Id(id) => format!("id={id}"),
            Target::Infohash(infohash) => format!("infohash={infohash}"),
            Target::Url(_) => "url".to_owned(),
            Target::Magnet(_) => "magnet".to_owned(),
        };
        notes.put(Note::Opens { entry, engine: engine(address), what, written });
        let signal = Rc::new(Signal::new());
        self.journal_waits.insert(entry, signal.clone());
        (entry, Some(signal))
    }

    pub(crate) fn on_journaled(&mut self, entry: u64) {
        if let Some(signal) = self.journal_waits.remove(&entry) {
            signal.notify();
        }
    }

    pub(crate) fn journal_runs(&self, entry: u64, opened: &Opened) {
        if opened.command_path.is_empty() {
            // It cannot be stopped, by us or by anybody after us.
            return self.journal_failed(entry);
        }
        let session = Session {
            command_path: opened.command_path.clone(),
            stat_path: opened.stat_path.clone(),
            playback_session_id: opened.playback_session_id.clone(),
        };
        self.journal(Note::Runs { entry, session });
    }

    pub(crate) fn journal_failed(&self, entry: u64) {
        self.journal(Note::Over(Over::Entry(entry)));
    }

    /// A session of this stream can be stopped by `path`. Asked for again, it says the same.
    pub(crate) fn note_session(&mut self, serial: u64, generation: Generation, path: &str) {
        if let Some(source) = self.sources.get_mut(&serial)
            && !path.is_empty()
        {
            source.stop_paths.insert(generation, path.to_owned());
        }
    }

    /// Stopped, superseded or lost.
    pub(crate) fn journal_over(&mut self, serial: u64, generation: Generation, engine: EngineId) {
        let Some(source) = self.sources.get_mut(&serial) else { return };
        let Some(path) = source.stop_paths.remove(&generation) else { return };
        let Some(address) = source.engines.get(&engine).cloned() else { return };
        self.journal_stopped(&address, path);
    }

    pub(crate) fn journal_stopped(&self, address: &Address, command_path: String) {
        self.journal(Note::Over(Over::Session { socket: address.socket, command_path }));
    }

    fn journal(&self, note: Note) {
        if let Some(notes) = &self.shared.journal {
            notes.put(note);
        }
    }
}

fn engine(address: &Address) -> Engine {
    Engine { socket: address.socket, host: address.host.to_string() }
}
