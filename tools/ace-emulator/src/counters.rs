//! What the emulator counts. Counters survive a restart of the engine; `reset` zeroes them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use serde_json::Value as Json;

macro_rules! counters {
    ($($name:ident $help:literal)+) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counting { $(pub(crate) $name: AtomicU64,)+ }

        /// A snapshot of the counters.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $(#[doc = $help] pub $name: u64,)+ }

        impl Counting {
            pub(crate) fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }

            pub(crate) fn reset(&self) {
                $(self.$name.store(0, Ordering::Relaxed);)+
            }
        }

        impl Counters {
            pub(crate) fn to_json(self) -> serde_json::Map<String, Json> {
                let mut map = serde_json::Map::new();
                $(map.insert(stringify!($name).to_owned(), Json::from(self.$name));)+
                map
            }
        }
    };
}

counters! {
    connections_accepted "connections accepted, those of /emulator/ included"
    requests "requests read, those of /emulator/ left out"
    heads "HEAD requests"
    getstreams "getstream and manifest requests"
    getstream_failures "of these, answered with an error"
    sessions_opened "sessions created"
    sessions_reused "getstreams that got the session of their key again"
    sessions_superseded "sessions killed by a newer one of the same infohash"
    sessions_stopped "sessions ended by method=stop"
    sessions_expired "sessions ended because nobody read them"
    sessions_lost "sessions lost in a kill"
    stops "method=stop requests"
    double_stops "of these, for a session that had been stopped before"
    superseded_stops "of these, for a superseded session: they kill the newer one"
    unknown_stops "of these, for a path that never was a session"
    playbacks "requests of /ace/r"
    contents "requests of /content that got a stream"
    second_readers "requests of /content that met another reader"
    bytes_written "payload bytes accepted by the sockets of readers, chunk by chunk"
    window_jumps "readers moved because they fell out of the live window"
    stats "/ace/stat requests"
    commands "/ace/cmd requests, stops included"
    events "/ace/event requests"
    media_files "get_media_files requests"
    get_statuses "get_status requests"
    get_versions "get_version requests"
    playlists "HLS playlists answered"
    segments "HLS segments answered"
    not_found "requests for paths that do not exist"
}

pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
