//! Snapshots, as a shard sees them: its streams' rings are handed to the mirror, and a stream that
//! starts may be primed with what Redis has of it, so that its first viewer has a picture before
//! an engine has given a byte.
//!
//! Nothing waits: the engine is asked at the same time, and whichever comes first is what the ring
//! begins with. Primed bytes are followed by the engine's through a splice.

use crate::base::ids::Target;
use crate::mirror::snapshots::Told;
use crate::shard::audience::Phase;
use crate::shard::channel::ChannelId;
use crate::shard::core::Core;
use crate::ts::Packets;
use crate::viewer::CloseReason;
use std::time::Duration;

/// What Redis has not said by then has become too old. Nobody waits for it.
const PRIME_MAX: Duration = Duration::from_secs(5);

impl Core {
    /// The stream is about to play, so it is known by its infohash.
    pub(crate) fn shelve(&mut self, serial: u64) {
        let Some(shelf) = &self.shared.shelf else { return };
        let Some(source) = self.sources.get_mut(&serial) else { return };
        if source.shelved.is_none() {
            let ring = source.writer.ring().clone();
            source.shelved = Some(shelf.shelve(source.session.infohash(), ring));
        }
    }

    /// When the process ends, its successor may want what there is.
    pub(crate) fn unshelve(&mut self, serial: u64) {
        let shelved = self.sources.get_mut(&serial).and_then(|source| source.shelved.take());
        if let Some(shelved) = shelved.filter(|_| self.draining) {
            shelved.keep();
        }
    }

    pub(crate) fn wish_to_prime(&mut self, serial: u64) {
        let Some(shelf) = self.shared.shelf.as_ref().filter(|shelf| shelf.may_prime()) else {
            return;
        };
        let Some(source) = self.sources.get_mut(&serial) else { return };
        let Some(Target::Infohash(infohash)) = source.keys.first() else { return };
        let (infohash, until) = (*infohash, self.now + PRIME_MAX);
        source.prime_until = until;
        shelf.tell(Told::Prime { infohash, shard: usize::from(self.me.0), serial, until });
    }

    pub(crate) fn on_primed(&mut self, serial: u64, bytes: &[u8]) {
        let now = self.now;
        let Some(packets) = Packets::new_checked(bytes) else { return };
        let Self { sources, cache, agenda, stats, .. } = self;
        let Some(source) = sources.get_mut(&serial) else { return };
        // The engine was faster, or Redis too slow.
        if source.ended || source.writer.written() > 0 || now > source.prime_until {
            return;
        }
        if source.ingest.prime(packets, &mut source.writer, cache) {
            stats.primed += 1;
            agenda.moved(serial);
        }
    }

    /// A start has failed, or turned out to be another stream: whoever plays has had what there was.
    pub(crate) fn on_primed_over(&mut self, channel: ChannelId) {
        let Some(at) = self.audience_of(channel) else { return };
        let entries = self.audiences[at].entries.iter();
        let playing = entries.filter(|(_, entry)| entry.phase == Phase::Playing);
        let playing: Vec<usize> = playing.map(|(index, _)| index).collect();
        for index in playing {
            self.finish(at, index, CloseReason::EngineGone);
        }
    }
}
