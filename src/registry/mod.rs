//! Which channel a request means and where it runs: aliases, running streams, offline marks.
//!
//! One of each per shard; sans-I/O. It asks no engine and opens nothing. The home of a key is one
//! shard, so that there every question about it is answered by one thread, in order.

pub mod directory;
pub mod resolver;

use crate::base::ids::ShardId;
use crate::base::ids::Target;
use crate::base::ids::place;

/// The shard that keeps a target's alias, its directory entry and its stream.
///
/// `id=X` and `infohash=X` have the same home, because X may be either: that the infohash runs is
/// known right where the id is resolved.
pub fn home(target: &Target, shards: usize) -> ShardId {
    match target {
        Target::Id(id) | Target::Infohash(id) => place(id.as_bytes(), shards),
        Target::Url(text) | Target::Magnet(text) => place(text.as_bytes(), shards),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Infohash;

    #[test]
    fn an_id_is_at_home_where_its_infohash_is() {
        for byte in 0..100 {
            let id = Infohash::from_bytes([byte; 20]);
            assert_eq!(home(&Target::Id(id), 7), home(&Target::Infohash(id), 7));
            assert_eq!(home(&Target::Id(id), 7), place(&[byte; 20], 7));
        }
    }
}
