//! Which way a viewer's ring bytes go: zero-copy, from the stream's memory file, or by copy.
//!
//! Each place has its own best way: a network card sends from our memory, loopback copies whatever
//! we ask for and is cheapest from a file. The kernel says which it was (the report of a viewer's
//! first zero-copy sends), so it is found out per viewer and not configured. Where zero-copy is
//! not to be had at all, everybody begins with the file.
//!
//! Copying is the last resort of every way: for small writes, where nothing else pays; for viewers
//! that do not keep up, so that nobody holds memory that the stream needs; for bytes that are not in
//! the file.

use crate::net::egress::RingEgress;
use crate::net::egress::Via;
use crate::ring::Arena;
use crate::ring::Pinned;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Below it a copy is cheaper than whatever avoids it.
pub(crate) const LARGE_BYTES_MIN: usize = 32 * 1024;

/// What `RINGCAST_SEND` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SendMode {
    #[default]
    Auto,
    Copy,
    Shared,
    ZeroCopy,
}

/// A viewer's way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Path {
    /// Zero-copy, and the kernel is asked whether it was.
    Probing,
    ZeroCopy,
    Shared,
    Copy,
}

impl Path {
    pub(crate) const fn is_zero_copy(self) -> bool {
        matches!(self, Self::Probing | Self::ZeroCopy)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Probing | Self::ZeroCopy => "zerocopy",
            Self::Shared => "shared",
            Self::Copy => "copy",
        }
    }
}

/// What is refused to one shard is refused to all, within moments: one line will do.
static REFUSAL_SAID: AtomicBool = AtomicBool::new(false);

/// What a shard knows about the ways it can send.
pub(crate) struct Paths {
    mode: SendMode,
    /// The egress can, and nothing has shown yet that we may not.
    zero_copy: bool,
}

impl Paths {
    pub(crate) fn new(mode: SendMode, egress: &RingEgress) -> Self {
        let is_wanted = matches!(mode, SendMode::Auto | SendMode::ZeroCopy);
        Self { mode, zero_copy: is_wanted && egress.can_zero_copy() }
    }

    /// The way of a viewer that comes now.
    pub(crate) fn first(&self) -> Path {
        match self.mode {
            SendMode::Auto if self.zero_copy => Path::Probing,
            SendMode::ZeroCopy if self.zero_copy => Path::ZeroCopy,
            SendMode::Auto | SendMode::Shared => Path::Shared,
            SendMode::Copy | SendMode::ZeroCopy => Path::Copy,
        }
    }

    /// The way of a viewer after the kernel said whether it had copied.
    pub(crate) fn after_report(&self, path: Path, copied: bool) -> Path {
        match (path, copied) {
            (Path::Probing, true) => Path::Shared,
            (Path::Probing, false) => Path::ZeroCopy,
            (Path::ZeroCopy | Path::Shared | Path::Copy, _) => path,
        }
    }

    /// The way of a viewer whose zero-copy send, or the registration for it (`what`), was refused.
    /// Nobody else on this shard tries.
    pub(crate) fn without_zero_copy(&mut self, what: &str, error: &io::Error) -> Path {
        self.zero_copy = false;
        if !REFUSAL_SAID.swap(true, Relaxed) {
            tracing::warn!(
                "zero-copy sends are off: {what}: {error} (raise LimitMEMLOCK / ulimit -l; \
                 `ringcast doctor` says more)"
            );
        }
        self.first()
    }

    /// The way from a file failed for this viewer.
    pub(crate) fn without_file(&self) -> Path {
        Path::Copy
    }

    /// How the pinned bytes of a zero-copy viewer go, and its way from now on.
    pub(crate) fn via(
        &mut self,
        egress: &mut RingEgress,
        arena: &Arena,
        pinned: &Pinned,
        path: Path,
    ) -> (Via, Path) {
        if pinned.len() < LARGE_BYTES_MIN {
            return (Via::Copy, path);
        }
        if !self.zero_copy {
            return (Via::Copy, self.first());
        }
        let number = arena.region_of(pinned);
        match egress.buffer(number, arena.region(number)) {
            Ok(buffer) => (Via::ZeroCopy { buffer, report: path == Path::Probing }, path),
            Err(error) => (Via::Copy, self.without_zero_copy("registering ring memory", &error)),
        }
    }
}
