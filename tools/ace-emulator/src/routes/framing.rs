//! How body bytes leave: framing, and everything that can be wrong with a body.
//!
//! Two offsets count: `source_bytes`, the media consumed (where bits flip, bytes are lost and
//! garbage is inserted), and `sent_bytes`, the payload written (where bodies end or starve).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::conn::Conn;
use crate::conn::End;
use crate::conn::Interrupt;
use crate::engine::Engine;
use crate::knobs::Knob;
use crate::knobs::Knobs;
use crate::knobs::Value;
use crate::prng::Prng;
use crate::session::Progress;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Chunked,
    Close,
    Length,
}

/// What is wrong with one body: read from the knobs when it begins.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) framing: Framing,
    pub(crate) body_length: u64,
    pub(crate) content_type: String,
    chunk_bytes: usize,
    write_bytes: usize,
    misaligned_bytes: u64,
    garbage: Option<(u64, u64)>,
    lose: Option<(u64, u64)>,
    flip_at: Option<u64>,
    /// Where the body ends, and how.
    last: Option<(u64, End)>,
    /// A counted `starve_after_bytes`; the others are looked at while the body goes on.
    starve_after: Option<u64>,
}

impl Plan {
    pub(crate) fn take(knobs: &mut Knobs, channel: &str) -> Plan {
        let channel = Some(channel);
        let mut last = None;
        for (knob, end) in [
            (Knob::EndAfterBytes, End::Finished),
            (Knob::ResetAfterBytes, End::Reset),
            (Knob::CutAfterBytes, End::Cut),
        ] {
            last = knobs.take_offset(knob, channel).map(|at| (at, end)).or(last);
        }
        let framing = match knobs.take_text(Knob::BodyMode, channel).as_deref() {
            Some("close") => Framing::Close,
            Some("length") => Framing::Length,
            _ => Framing::Chunked,
        };
        let content_type = knobs.take_text(Knob::ContentType, channel);
        let mut stretch = |at: Knob, bytes: Knob| {
            let at = knobs.take_offset(at, channel)?;
            Some((at, knobs.take_number(bytes, channel)))
        };
        Plan {
            framing,
            garbage: stretch(Knob::GarbageAtBytes, Knob::GarbageBytes),
            lose: stretch(Knob::LoseAtBytes, Knob::LoseBytes),
            body_length: knobs.take_number(Knob::BodyLength, channel),
            content_type: content_type.unwrap_or_else(|| "video/mp2t".to_owned()),
            chunk_bytes: knobs.take_number(Knob::ChunkBytes, channel) as usize,
            write_bytes: knobs.take_number(Knob::WriteBytes, channel) as usize,
            misaligned_bytes: knobs.take_number(Knob::MisalignedBytes, channel),
            flip_at: knobs.take_offset(Knob::FlipBitAtBytes, channel),
            last,
            starve_after: match knobs.take_counted(Knob::StarveAfterBytes, channel) {
                Some(Value::Number(bytes)) => Some(bytes),
                Some(Value::Flag(_) | Value::Text(_)) | None => None,
            },
        }
    }
}

/// Writes one body.
pub(crate) struct BodyWriter<'a> {
    engine: &'a Arc<Engine>,
    conn: &'a Conn,
    progress: Arc<Progress>,
    plan: Plan,
    prng: Prng,
    source_bytes: u64,
    pub(crate) sent_bytes: u64,
}

impl<'a> BodyWriter<'a> {
    pub(crate) fn new(
        engine: &'a Arc<Engine>,
        conn: &'a Conn,
        progress: Arc<Progress>,
        plan: Plan,
    ) -> BodyWriter<'a> {
        let prng = Prng::new(engine.config.seed);
        BodyWriter { engine, conn, progress, plan, prng, source_bytes: 0, sent_bytes: 0 }
    }

    /// How many bytes may be sent before the body starves; `live` is the knob's present value.
    pub(crate) fn allowance(&self, live: Option<u64>) -> u64 {
        let limit = [self.plan.starve_after, live].into_iter().flatten().min();
        limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.sent_bytes))
    }

    /// Writes a piece of media with the plan's faults applied.
    pub(crate) fn write(&mut self, piece: Vec<u8>) -> Result<(), Interrupt> {
        let payload = self.damage(piece);
        let chunk_bytes = match self.plan.chunk_bytes {
            0 => payload.len().max(1),
            bytes => bytes,
        };
        for chunk in payload.chunks(chunk_bytes) {
            self.write_chunk(chunk)?;
        }
        Ok(())
    }

    /// Ends the body as `end` asks; the socket is left to the caller when it may stay open.
    pub(crate) fn end(&self, end: End) {
        if end == End::Finished && self.plan.framing == Framing::Chunked {
            let _ = self.conn.write_all_ending(b"0\r\n\r\n");
        }
        if end == End::Reset || end == End::Killed {
            self.conn.reset();
        }
    }

    fn damage(&mut self, mut piece: Vec<u8>) -> Vec<u8> {
        let from = self.source_bytes;
        let until = from + piece.len() as u64;
        self.source_bytes = until;
        if let Some(at) = self.plan.flip_at.filter(|at| (from..until).contains(at)) {
            piece[(at - from) as usize] ^= 0x10;
        }
        let mut garbage_at = None;
        if let Some((at, bytes)) = self.plan.garbage.filter(|(at, _)| (from..until).contains(at)) {
            garbage_at = Some(((at - from) as usize, bytes));
        }
        if let Some((at, bytes)) = self.plan.lose {
            let (first, end) = (at.clamp(from, until), (at + bytes).clamp(from, until));
            piece.drain((first - from) as usize..(end - from) as usize);
        }
        if let Some((at, bytes)) = garbage_at {
            let noise = self.noise(bytes);
            let at = at.min(piece.len());
            piece.splice(at..at, noise);
        }
        if from == 0 && self.plan.misaligned_bytes > 0 {
            let noise = self.noise(self.plan.misaligned_bytes);
            piece.splice(0..0, noise);
        }
        piece
    }

    /// Bytes that are not a transport stream: none of them is 0x47.
    fn noise(&mut self, bytes: u64) -> Vec<u8> {
        (0..bytes).map(|_| (self.prng.next() as u8) | 0x80).collect()
    }

    fn write_chunk(&mut self, chunk: &[u8]) -> Result<(), Interrupt> {
        let mut payload = chunk;
        let mut ends = None;
        if let Some((last, end)) = self.plan.last {
            let left = last.saturating_sub(self.sent_bytes);
            if left < chunk.len() as u64 || (left == chunk.len() as u64 && end != End::Cut) {
                payload = &chunk[..left as usize];
                ends = Some(end);
            }
        }
        let whole = if ends == Some(End::Finished) { payload.len() } else { chunk.len() };
        let framed = self.frame(payload, whole, ends.is_none() || ends == Some(End::Finished));
        let write_bytes =
            if self.plan.write_bytes == 0 { framed.len() } else { self.plan.write_bytes };
        for part in framed.chunks(write_bytes.max(1)) {
            self.conn.write_all(part, |_| self.progress.touch())?;
        }
        let sent = payload.len() as u64;
        self.sent_bytes += sent;
        self.progress.bytes.fetch_add(sent, Ordering::Relaxed);
        self.engine.counting.bytes_written.fetch_add(sent, Ordering::Relaxed);
        ends.map_or(Ok(()), |end| Err(Interrupt::Ended(end)))
    }

    /// A chunk with its framing; a cut one announces `whole` bytes and has no end.
    fn frame(&self, payload: &[u8], whole: usize, complete: bool) -> Vec<u8> {
        if self.plan.framing != Framing::Chunked {
            return payload.to_vec();
        }
        if payload.is_empty() && complete {
            return Vec::new();
        }
        let mut framed = Vec::with_capacity(payload.len() + 16);
        framed.extend_from_slice(format!("{whole:x}\r\n").as_bytes());
        framed.extend_from_slice(payload);
        if complete {
            framed.extend_from_slice(b"\r\n");
        }
        framed
    }
}
