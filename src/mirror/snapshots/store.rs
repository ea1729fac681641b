//! Snapshots as Redis has them: what is asked, and what is made of the answers.

use crate::base::ids::Infohash;
use crate::mirror::keys::Keys;
use redis::Cmd;
use redis::Value;
use std::time::Duration;

/// An index that is older is of a stream that has stopped.
const INDEX_AGE_MAX: Duration = Duration::from_secs(10);
/// What a ring is primed with at most: eight seconds of a good channel, a sixth of the smallest
/// ring's budget.
const PRIME_BYTES_MAX: u64 = 8 << 20;
const PRIME_CHUNKS_MAX: u64 = 16;
/// Keys that one UNLINK names.
const UNLINKED_MAX: usize = 256;

pub(in crate::mirror) fn index(keys: &Keys, infohash: &Infohash) -> Cmd {
    let mut get = redis::cmd("GET");
    get.arg(keys.buffer_index(infohash));
    get
}

/// The newest sequence, if there is one.
pub(in crate::mirror) fn sequence(answer: &Value) -> Option<u64> {
    number(answer)
}

pub(in crate::mirror) fn owner(keys: &Keys, infohash: &Infohash) -> Cmd {
    let mut get = redis::cmd("GET");
    get.arg(keys.owner(infohash));
    get
}

/// The lease is `me`'s still, or was just given back.
pub(in crate::mirror) fn may_forget(owner: &Value, me: &str) -> bool {
    *owner == Value::Nil || *owner == Value::BulkString(me.as_bytes().to_vec())
}

/// Takes chunks, their index and what the metadata say of them off.
pub(in crate::mirror) fn forget(keys: &Keys, infohash: &Infohash, sequences: &[u64]) -> Vec<Cmd> {
    let mut commands = Vec::new();
    for some in sequences.chunks(UNLINKED_MAX) {
        let mut unlink = redis::cmd("UNLINK");
        for sequence in some {
            unlink.arg(keys.buffer_chunk(infohash, *sequence));
        }
        commands.push(unlink);
    }
    let mut unlink = redis::cmd("UNLINK");
    unlink.arg(keys.buffer_index(infohash));
    let mut remove = redis::cmd("HDEL");
    remove.arg(keys.metadata(infohash)).arg("snapshot_first").arg("snapshot_epoch");
    commands.extend([unlink, remove]);
    commands
}

/// What is to be known before chunks are read.
pub(in crate::mirror) fn about(keys: &Keys, infohash: &Infohash) -> Vec<Cmd> {
    let mut fields = redis::cmd("HMGET");
    fields.arg(keys.metadata(infohash)).arg("snapshot_first").arg("snapshot_epoch");
    let mut index = redis::cmd("GET");
    index.arg(keys.buffer_index(infohash));
    let mut left = redis::cmd("PTTL");
    left.arg(keys.buffer_index(infohash));
    vec![fields, index, left]
}

/// Which chunks to read, from the answers to [`about`].
pub(in crate::mirror) fn plan(
    about: &[Value],
    ttl: Duration,
    chunk_bytes: u64,
) -> Option<std::ops::RangeInclusive<u64>> {
    let [Value::Array(fields), index, Value::Int(left_ms)] = about else { return None };
    let [first, epoch] = fields.as_slice() else { return None };
    let (first, index) = (number(first)?, number(index)?);
    number(epoch)?;
    let left = Duration::from_millis(u64::try_from(*left_ms).ok()?);
    let is_young = ttl.saturating_sub(left) < INDEX_AGE_MAX && left <= ttl;
    if first > index || !is_young {
        return None;
    }
    let count = (PRIME_BYTES_MAX / chunk_bytes.max(1)).clamp(1, PRIME_CHUNKS_MAX);
    Some(first.max((index + 1).saturating_sub(count))..=index)
}

pub(in crate::mirror) fn chunks(
    keys: &Keys,
    infohash: &Infohash,
    range: std::ops::RangeInclusive<u64>,
) -> Cmd {
    let mut mget = redis::cmd("MGET");
    for sequence in range {
        mget.arg(keys.buffer_chunk(infohash, sequence));
    }
    mget
}

/// Every chunk, one after the other, whole packets each.
pub(in crate::mirror) fn whole(chunks: &Value, count: usize) -> Option<Vec<u8>> {
    let Value::Array(chunks) = chunks else { return None };
    if chunks.len() != count {
        return None;
    }
    let mut bytes = Vec::new();
    for chunk in chunks {
        let Value::BulkString(chunk) = chunk else { return None };
        crate::ts::Packets::new_checked(chunk).filter(|packets| !packets.is_empty())?;
        bytes.extend_from_slice(chunk);
    }
    Some(bytes)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of another crate's many kinds three are numbers"
)]
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Value::SimpleString(text) => text.parse().ok(),
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}
