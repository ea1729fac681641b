//! Where a viewer starts, and where a skip lands: the same choice.
//!
//! Reads the index only, never the packets.

use std::sync::Arc;

use crate::ring::Access;
use crate::ring::Turn;
use crate::ts::Psi;

/// Entries of the index looked at for one choice. Points are a key frame apart; a choice that
/// fails here is made again in the next turn.
const POINTS_LOOKED_AT_MAX: usize = 64;

/// A random access point with the tables that it needs. Having one tells you that both are there.
pub(super) struct Point {
    pub(super) access: Access,
    pub(super) psi: Arc<Psi>,
}

/// The newest point at least `behind_us` behind live, else the oldest in the ring.
///
/// A ring that forgets may be about to forget its oldest eighth: there a later point is taken if
/// there is one, else the viewer would soon be overtaken where it started.
pub(super) fn choose(turn: &Turn<'_>, behind_us: u64) -> Option<Point> {
    let target_us = turn.ring().media_us_at_head().saturating_sub(behind_us);
    let (tail, head) = (turn.tail(), turn.head());
    let safe = if tail == 0 { 0 } else { tail + (head - tail) / 8 };
    let mut next = turn.access_by_media(target_us);
    let mut chosen = None;
    for _ in 0..POINTS_LOOKED_AT_MAX {
        let Some(access) = next else {
            break;
        };
        assert!(access.offset <= head);
        if let Some(psi) = turn.psi(access.psi_version) {
            chosen = Some(Point { access, psi });
            if access.offset >= safe {
                break;
            }
        }
        next = turn.next_access_after(access.offset);
    }
    chosen
}

/// How much stream time lies between this offset and the head.
pub(super) fn lag_us(turn: &Turn<'_>, cursor: u64) -> u64 {
    let (tail, head) = (turn.tail(), turn.head());
    let head_us = turn.ring().media_us_at_head();
    let cursor = cursor.clamp(tail, head);
    let before = turn.access_at_or_before(cursor).map(|access| (access.offset, access.media_us));
    let Some(before) = before else {
        // Nothing to measure by but the bitrate.
        return (head - cursor) * 8_000_000 / turn.ring().bitrate_bps().max(1);
    };
    let after = turn.next_access_after(cursor).map(|access| (access.offset, access.media_us));
    let after = after.unwrap_or((head, head_us));
    let span_us = after.1.saturating_sub(before.1);
    let span = (after.0 - before.0).max(1);
    let within_us = u128::from(span_us) * u128::from(cursor - before.0) / u128::from(span);
    head_us.saturating_sub(before.1 + within_us as u64)
}
