//! Distances in a stream: by media time while the clock runs, by bytes while it does not.

use crate::ts::scan::AccessPoint;

/// A point of the stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The media clock there.
    pub(super) ticks: Option<u64>,
    pub(super) offset: u64,
}

impl Place {
    pub(super) fn of(point: &AccessPoint) -> Place {
        Place { ticks: point.pcr, offset: point.offset }
    }

    /// True when `point` is at least so far behind this place.
    pub(super) fn is_before(&self, point: &AccessPoint, ticks_min: u64, bytes_min: u64) -> bool {
        match (self.ticks, point.pcr) {
            (Some(from), Some(to)) if to > from => to - from >= ticks_min,
            _ => point.offset.saturating_sub(self.offset) >= bytes_min,
        }
    }
}
