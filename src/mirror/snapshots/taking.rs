//! One stream's ring, read a chunk at a time.
//!
//! A chunk is copied out within one turn of the reader, and the pin is gone before anything is
//! waited for. Chunks follow each other without a gap; when the ring has overtaken the cursor, or
//! at the beginning, a new series starts at a random access point.

use crate::base::sizes::PACKET_BYTES;
use crate::base::time::Instant;
use crate::ring::Reader;
use crate::ring::Ring;
use crate::ring::Turn;
use std::sync::Arc;
use std::time::Duration;

/// A chunk is cut after so much of the stream at the latest.
pub(super) const CHUNK_TIME_MAX: Duration = Duration::from_secs(2);

pub(super) struct Taking {
    reader: Reader,
    cursor: Option<u64>,
    is_new_series: bool,
    cut_at: Instant,
}

/// Whole packets, never none.
pub(super) struct Cut {
    pub(super) bytes: Vec<u8>,
    /// They do not follow the ones before.
    pub(super) is_new_series: bool,
}

impl Taking {
    /// Takes the last place among the readers of a ring: the mirror's.
    pub(super) fn new(ring: Arc<Ring>, now: Instant) -> Self {
        let place = ring.readers() - 1;
        Self { reader: Reader::new(ring, place), cursor: None, is_new_series: true, cut_at: now }
    }

    /// The next chunk, when there is enough for one or it has waited long enough.
    pub(super) fn cut(&mut self, chunk_bytes: u64, now: Instant) -> Option<Cut> {
        let turn = self.reader.turn(self.cursor);
        let cursor = match self.cursor.filter(|cursor| *cursor >= turn.tail()) {
            Some(cursor) => cursor,
            None => {
                let begin = begin(&turn)?;
                (self.cursor, self.is_new_series, self.cut_at) = (Some(begin), true, now);
                begin
            }
        };
        let full = full_bytes(chunk_bytes, turn.ring().bitrate_bps());
        let there = turn.head() - cursor;
        let is_late = now.since(self.cut_at) >= CHUNK_TIME_MAX;
        if there == 0 || there < full && !is_late {
            return None;
        }
        let wanted = there.min(full) as usize;
        let mut bytes = Vec::with_capacity(wanted);
        while bytes.len() < wanted {
            let some = turn.bytes(cursor + bytes.len() as u64, wanted - bytes.len());
            bytes.extend_from_slice(some);
        }
        drop(turn);
        self.cursor = Some(cursor + wanted as u64);
        self.cut_at = now;
        debug_assert!(bytes.len().is_multiple_of(PACKET_BYTES));
        Some(Cut { bytes, is_new_series: std::mem::take(&mut self.is_new_series) })
    }
}

/// One access point before the newest: what is read back is only known by its tables, and these come
/// between two of them. At the beginning of a stream they come before the first.
fn begin(turn: &Turn<'_>) -> Option<u64> {
    let newest = turn.newest_access()?.offset;
    let before = newest.checked_sub(1).and_then(|at| turn.access_at_or_before(at));
    Some(before.map_or(turn.tail(), |access| access.offset))
}

/// At most `chunk_bytes` and at most two seconds, in whole packets and at least one.
fn full_bytes(chunk_bytes: u64, bitrate_bps: u64) -> u64 {
    let packet = PACKET_BYTES as u64;
    let timed = bitrate_bps / 8 * CHUNK_TIME_MAX.as_secs();
    let most = if timed == 0 { chunk_bytes } else { chunk_bytes.min(timed) };
    (most / packet * packet).max(packet)
}
