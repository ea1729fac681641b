//! A viewer's way out: its end while it plays, its answer while it waits, and whether it still lives.
//!
//! Every viewer that came in leaves through [`Core::finish`], with one reason and one log line.

use crate::admin::hygiene;
use crate::admin::lines::ViewerEnd;
use crate::base::time::Instant;
use crate::http::render::ErrorCode;
use crate::http::render::ErrorReply;
use crate::http::render::write_error;
use crate::shard::audience::Entry;
use crate::shard::audience::Path;
use crate::shard::audience::Phase;
use crate::shard::audience::nothing_yet;
use crate::shard::core::Core;
use crate::shard::join::NotNow;
use crate::shard::join::stream_name;
use crate::stream::Answer;
use crate::stream::Code;
use crate::viewer::CloseReason;
use std::time::Duration;

/// Whether those whose sockets take nothing acknowledge anything is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Core {
    /// Ends a viewer, with its log line. Stuck and slow ones are reset, so that the kernel lets
    /// go of what it still holds for them; the others get a FIN.
    pub(crate) fn finish(&mut self, at: usize, index: usize, reason: CloseReason) {
        let stream = stream_name(&self.audiences[at]);
        let audience = &mut self.audiences[at];
        let entry = &mut audience.entries[index];
        let was = std::mem::replace(&mut entry.phase, Phase::Closing);
        match was {
            Phase::Closing => return,
            Phase::Waiting => audience.waiting -= 1,
            Phase::Playing => audience.playing -= 1,
        }
        audience.copied -= u32::from(was == Phase::Playing && entry.path == Path::Shared);
        audience.closing += 1;
        if was == Phase::Playing {
            self.mirror_viewer_gone(at, index, reason);
        }
        let audience = &mut self.audiences[at];
        let entry = &mut audience.entries[index];
        let rwnd_limited_us = self.egress.acked(entry.slot).map_or(0, |info| info.rwnd_limited_us);
        // Who has left will acknowledge nothing more: what it was lent comes back at once.
        let abort = matches!(reason, CloseReason::Stuck | CloseReason::Slow)
            || (reason == CloseReason::Left && self.egress.is_lent(entry.slot));
        if abort {
            self.egress.abort(entry.slot);
        } else {
            self.egress.close(entry.slot);
        }
        self.stats.closed[reason.index()] += 1;
        self.stats.skips += u64::from(entry.viewer.skips());
        if was == Phase::Playing || reason != CloseReason::Left {
            let address = hygiene::address(entry.who.address, self.shared.config.addresses);
            let line = ViewerEnd {
                viewer: entry.who.id,
                stream,
                address: address.as_deref(),
                agent: &entry.who.agent,
                name: entry.who.name.as_deref(),
                reason: reason.name(),
                bytes: entry.viewer.bytes_sent(),
                seconds: self.now.since(entry.viewer.created_at()).as_secs_f64(),
                skips: u64::from(entry.viewer.skips()),
                rwnd_limited_ms: rwnd_limited_us / 1_000,
            };
            tracing::info!("{line}");
        }
    }

    /// An error reply to one that waits, then an orderly close.
    pub(crate) fn answer(&mut self, at: usize, index: usize, answer: &Answer) {
        let entry = &self.audiences[at].entries[index];
        if entry.phase != Phase::Waiting {
            return;
        }
        let code = error_code(answer.code);
        let reply = ErrorReply {
            code,
            message: &answer.message,
            engine: answer.engine.as_deref(),
            retry_after_s: answer.retry_after_s,
            cors: true,
        };
        let mut bytes = Vec::with_capacity(512);
        write_error(&mut bytes, &reply, true);
        self.answer_bytes(at, index, code, &bytes);
    }

    /// As [`Core::answer`], with what is not about the stream.
    pub(crate) fn refuse(&mut self, at: usize, index: usize, refusal: &NotNow) {
        let mut bytes = Vec::with_capacity(512);
        refusal.write(&mut bytes, true);
        self.answer_bytes(at, index, refusal.code, &bytes);
    }

    fn answer_bytes(&mut self, at: usize, index: usize, code: ErrorCode, bytes: &[u8]) {
        let entry = &self.audiences[at].entries[index];
        debug_assert_eq!(entry.phase, Phase::Waiting);
        // A new socket has room for this; a peer that is gone needs no answer.
        let _ = self.egress.send_inline(entry.slot, bytes);
        self.stats.respond(crate::router::PLAY_LABEL, code.status());
        self.finish_answered(at, index);
    }

    fn finish_answered(&mut self, at: usize, index: usize) {
        let audience = &mut self.audiences[at];
        let entry = &mut audience.entries[index];
        entry.phase = Phase::Closing;
        audience.waiting -= 1;
        audience.closing += 1;
        self.egress.close(entry.slot);
    }

    pub(crate) fn answer_all(&mut self, at: usize, answer: &Answer) {
        let waiting = self.audiences[at].entries.iter();
        let waiting: Vec<usize> = waiting
            .filter_map(|(index, entry)| (entry.phase == Phase::Waiting).then_some(index))
            .collect();
        for index in waiting {
            self.answer(at, index, answer);
        }
    }

    /// Ends the waits whose time is up.
    pub(crate) fn end_waits(&mut self) {
        let now = self.now;
        let due: Vec<usize> = self
            .audiences
            .iter()
            .filter_map(|(at, a)| (a.waiting > 0 && a.wait_deadline <= now).then_some(at))
            .collect();
        for at in due {
            let audience = &mut self.audiences[at];
            let mut next = Instant::NEVER;
            let mut ended = Vec::new();
            for (index, entry) in &audience.entries {
                if entry.phase != Phase::Waiting {
                    continue;
                }
                if entry.wait_until <= now {
                    ended.push(index);
                } else {
                    next = next.min(entry.wait_until);
                }
            }
            audience.wait_deadline = next;
            let answer = audience.channel().and_then(|channel| channel.facts().wait_answer);
            let answer = answer.unwrap_or_else(nothing_yet);
            for index in ended {
                self.answer(at, index, &answer);
            }
        }
    }

    /// A socket that has no room may belong to a slow peer or to a dead one: only what is acknowledged
    /// tells. Nothing else does, least of all a timer.
    pub(crate) fn look_for_life(&mut self) {
        let now = self.now;
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY.min(self.shared.config.policy.send_stall / 4);
        let Self { audiences, egress, .. } = self;
        let entries = audiences.iter_mut().flat_map(|(_, audience)| &mut audience.entries);
        let waiting = |entry: &Entry| entry.phase == Phase::Playing && entry.viewer.is_waiting();
        for (_, entry) in entries.filter(|(_, entry)| waiting(entry)) {
            let Ok(info) = egress.acked(entry.slot) else { continue };
            let mark = (info.bytes_acked, entry.viewer.bytes_sent());
            let (acked, sent) = std::mem::replace(&mut entry.acked_mark, mark);
            // The first look since it last accepted anything has nothing to compare with.
            if sent == mark.1 && mark.0 > acked {
                entry.viewer.acknowledged(now);
            }
        }
    }

    pub(crate) fn drain_audiences(&mut self) {
        let answer = Answer {
            code: Code::ShuttingDown,
            message: "this server is shutting down".to_owned(),
            engine: None,
            retry_after_s: Some(5),
        };
        let all: Vec<usize> = self.audiences.iter().map(|(at, _)| at).collect();
        for at in all {
            self.answer_all(at, &answer);
        }
        // Who plays is closed behind the last bytes of the ring, when the stream says so.
    }

    pub(crate) fn finish_everybody(&mut self, reason: CloseReason) {
        let all: Vec<usize> = self.audiences.iter().map(|(at, _)| at).collect();
        all.into_iter().for_each(|at| self.finish_all(at, reason));
    }

    fn finish_all(&mut self, at: usize, reason: CloseReason) {
        let entries: Vec<usize> =
            self.audiences[at].entries.iter().map(|(index, _)| index).collect();
        for index in entries {
            self.finish(at, index, reason);
        }
    }
}

pub(crate) const fn error_code(code: Code) -> ErrorCode {
    match code {
        Code::NotLive => ErrorCode::NotLive,
        Code::Encrypted => ErrorCode::Encrypted,
        Code::HlsSource => ErrorCode::HlsSource,
        Code::EngineRefused => ErrorCode::EngineRefused,
        Code::NoEngine => ErrorCode::NoEngine,
        Code::NoCapacity => ErrorCode::NoCapacity,
        Code::NoMemory => ErrorCode::NoMemory,
        Code::ShuttingDown => ErrorCode::ShuttingDown,
        Code::NothingToPlay => ErrorCode::NothingToPlay,
    }
}
