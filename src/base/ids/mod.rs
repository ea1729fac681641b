//! Names of things. Having one tells you that it was parsed: an [`Infohash`] exists only where
//! forty hex digits were read.

use std::fmt;

/// Forty hex digits that name a stream: the channel's identity for the whole program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Infohash([u8; 20]);

impl Infohash {
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Exactly forty hex digits, in either case.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != 40 {
            return None;
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

const fn hex_digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for Infohash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Infohash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a player asked for. `Id` may hold a content id or an infohash: only an engine knows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Target {
    /// `id=` or `content_id=`.
    Id(Infohash),
    Infohash(Infohash),
    /// A transport file's address, allowed by `RINGCAST_ALLOW_URL`.
    Url(String),
    Magnet(String),
}

/// A shard's number: `0..shards`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u8);

/// One player connection, unique in this process: shard number in the top byte, then a count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewerId(pub u64);

impl fmt::Display for ViewerId {
    /// Always sixteen digits: no id is a part of another one, so that a log can be searched.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ViewerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A row of the pool. Never used again for another engine within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EngineId(pub u32);

/// Which attempt a completion belongs to: a late one of an old attempt is recognised by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation(pub u32);

impl Generation {
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// The only routing function: which shard of `shards` owns a key.
pub fn place(key: &[u8], shards: usize) -> ShardId {
    debug_assert!(shards > 0 && shards <= crate::base::sizes::SHARDS_MAX);
    // FNV-1a, then a final mix: infohashes are uniform, but aliases and test ids are not.
    let hash = key.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    let mixed = crate::base::prng::Prng::new(hash).next_u64();
    ShardId((mixed % shards as u64) as u8)
}

#[cfg(test)]
mod tests;
