//! The bytes of a second session of a stream, which wait outside of the ring until it is decided
//! whether they follow those in it.
//!
//! Invariant: nothing of it is in the ring. What waits is bounded by the staging buffer: when that is
//! full, reading pauses.

use super::Flow;
use super::PAUSE_MAX;
use crate::base::ids::Generation;
use crate::base::time::Instant;
use crate::http::body::BodyDecoder;
use crate::http::body::BodyError;
use crate::net::Closer;
use crate::ring::Writer;
use crate::ts;
use crate::ts::splice::Recent;
use crate::ts::splice::Staging;

pub(crate) struct Aside {
    pub(super) generation: Generation,
    pub(super) closer: Option<Closer>,
    pub(super) sync: ts::Sync,
    pub(super) staging: Box<Staging>,
}

impl Aside {
    pub(crate) fn new(generation: Generation) -> Self {
        let staging = Box::new(Staging::new());
        Self { generation, closer: None, sync: ts::Sync::new(), staging }
    }

    pub(crate) fn is_wanted(&self, generation: Generation) -> bool {
        self.generation == generation
    }

    pub(crate) fn connected(&mut self, closer: Closer) {
        self.closer = Some(closer);
    }

    pub(crate) fn flow(&self) -> Flow {
        if self.staging.is_full() { Flow::Pause(PAUSE_MAX) } else { Flow::Read }
    }

    pub(crate) fn close(self) {
        if let Some(closer) = self.closer {
            closer.shutdown();
        }
    }

    /// One read's bytes. True when the body is complete.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        decoder: &mut BodyDecoder,
        recent: &Recent,
        writer: &Writer,
        now: Instant,
    ) -> Result<bool, BodyError> {
        let Self { sync, staging, .. } = self;
        let progress = decoder.feed(bytes, &mut |slice| {
            sync.feed(slice, &mut |packets| staging.push(packets, recent, writer, now));
        })?;
        Ok(progress.done)
    }

    /// It could follow what is in the ring, if that were to end here.
    pub(crate) fn is_playable(&self, writer: &Writer, now: Instant) -> bool {
        self.staging.is_playable(writer.written(), now)
    }
}
