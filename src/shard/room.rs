//! What the limit of open files has room for: connections, and what streams and engines may need.
//!
//! A connection takes one place, a stream several for as long as there is one: so a viewer too many is
//! refused while there are still descriptors for the failover of everything that plays, and a stream
//! too many before anything of it was opened. Nothing here opens or closes anything.

/// Of a stream: its body, its stat, its memory file, and two for what follows when its session dies
/// (the stop of the old one, the status or the open of the next) or is put beside it.
pub(crate) const FILES_OF_A_STREAM: usize = 5;
/// Its probe, and what is on its way to it of streams that are over.
const FILES_OF_AN_ENGINE: usize = 4;
/// Whatever the limit: a stream and some viewers.
const PLACES_MIN: usize = 8;

/// Places there are with `files_max` descriptors and so many engines.
pub(crate) fn places(files_max: usize, engines: usize) -> usize {
    files_max.saturating_sub(FILES_OF_AN_ENGINE * engines).max(PLACES_MIN)
}
