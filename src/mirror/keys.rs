//! Every name that this program gives in Redis, in one place.
//!
//! Invariant: no name is built anywhere else, so the prefix and the hash tag are always there.
//! Channels never carry the tag: a cluster sends what is published to all of its nodes.

use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;

/// What `{prefix}:schema` says.
pub const SCHEMA: &str = "ringcast/1";

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    prefix: String,
    /// The id stands in braces, so that all keys of a stream share a slot of a cluster.
    tags: bool,
}

impl Keys {
    pub fn new(prefix: impl Into<String>, tags: bool) -> Self {
        Self { prefix: prefix.into(), tags }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn stream(&self, id: &Infohash, suffix: &str) -> String {
        let prefix = &self.prefix;
        if self.tags {
            format!("{prefix}:stream:{{{id}}}:{suffix}")
        } else {
            format!("{prefix}:stream:{id}:{suffix}")
        }
    }

    fn global(&self, suffix: &str) -> String {
        format!("{}:{suffix}", self.prefix)
    }
}

/// Of one stream.
impl Keys {
    pub fn buffer_index(&self, id: &Infohash) -> String {
        self.stream(id, "buffer:index")
    }

    pub fn buffer_chunk(&self, id: &Infohash, sequence: u64) -> String {
        self.stream(id, &format!("buffer:chunk:{sequence}"))
    }

    pub fn clients(&self, id: &Infohash) -> String {
        self.stream(id, "clients")
    }

    pub fn client(&self, id: &Infohash, viewer: ViewerId) -> String {
        self.stream(id, &format!("clients:{viewer}"))
    }

    /// A member of `clients` as it was read, be it ours or not.
    pub fn client_named(&self, id: &Infohash, member: &str) -> String {
        self.stream(id, &format!("clients:{member}"))
    }

    pub fn metadata(&self, id: &Infohash) -> String {
        self.stream(id, "metadata")
    }

    pub fn owner(&self, id: &Infohash) -> String {
        self.stream(id, "owner")
    }

    pub fn owner_epoch(&self, id: &Infohash) -> String {
        self.stream(id, "owner:epoch")
    }

    pub fn worker(&self, id: &Infohash, worker: &str) -> String {
        self.stream(id, &format!("worker:{worker}"))
    }

    pub fn activity(&self, id: &Infohash) -> String {
        self.stream(id, "activity")
    }

    pub fn last_disconnect(&self, id: &Infohash) -> String {
        self.stream(id, "last_client_disconnect_time")
    }

    pub fn stopping(&self, id: &Infohash) -> String {
        self.stream(id, "stopping")
    }

    pub fn client_stop(&self, id: &Infohash, viewer: ViewerId) -> String {
        self.stream(id, &format!("client:{viewer}:stop"))
    }

    /// Both names of a stream's channel: the plan's, and the one that existing tools subscribe to.
    pub fn channels(&self, id: &Infohash) -> [String; 2] {
        [self.global(&format!("stream:{id}:events")), self.global(&format!("events:{id}"))]
    }
}

/// Of the whole.
impl Keys {
    pub fn schema(&self) -> String {
        self.global("schema")
    }

    pub fn workers(&self) -> String {
        self.global("workers")
    }

    pub fn heartbeat(&self, worker: &str) -> String {
        self.global(&format!("worker:{worker}:heartbeat"))
    }

    pub fn info(&self, worker: &str) -> String {
        self.global(&format!("worker:{worker}:info"))
    }

    pub fn engine_load(&self, engine: &str) -> String {
        self.global(&format!("engine:{engine}:load"))
    }

    /// Where `ringcast doctor` tries whether it may publish; no stream has this name.
    pub fn doctor_channel(&self) -> String {
        self.global("events:doctor")
    }

    /// The stream of a channel's name, either form.
    pub fn stream_of_channel(&self, channel: &str) -> Option<Infohash> {
        let rest = channel.strip_prefix(&self.prefix)?.strip_prefix(':')?;
        let id = match rest.strip_prefix("stream:") {
            Some(rest) => rest.strip_suffix(":events")?,
            None => rest.strip_prefix("events:")?,
        };
        Infohash::parse(id.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn id() -> Infohash {
        Infohash::parse(ID.as_bytes()).unwrap()
    }

    #[test]
    fn names_are_those_of_the_schema() {
        let keys = Keys::new("ace_proxy", false);
        let viewer = ViewerId(0xAB);
        let of = |suffix: &str| format!("ace_proxy:stream:{ID}:{suffix}");
        assert_eq!(keys.buffer_index(&id()), of("buffer:index"));
        assert_eq!(keys.buffer_chunk(&id(), 7), of("buffer:chunk:7"));
        assert_eq!(keys.clients(&id()), of("clients"));
        assert_eq!(keys.client(&id(), viewer), of("clients:00000000000000ab"));
        assert_eq!(keys.metadata(&id()), of("metadata"));
        assert_eq!(keys.owner(&id()), of("owner"));
        assert_eq!(keys.owner_epoch(&id()), of("owner:epoch"));
        assert_eq!(keys.worker(&id(), "h:1:x"), of("worker:h:1:x"));
        assert_eq!(keys.activity(&id()), of("activity"));
        assert_eq!(keys.last_disconnect(&id()), of("last_client_disconnect_time"));
        assert_eq!(keys.stopping(&id()), of("stopping"));
        assert_eq!(keys.client_stop(&id(), viewer), of("client:00000000000000ab:stop"));
        assert_eq!(keys.channels(&id()), [of("events"), format!("ace_proxy:events:{ID}")]);
        assert_eq!(keys.heartbeat("w"), "ace_proxy:worker:w:heartbeat");
        assert_eq!(keys.info("w"), "ace_proxy:worker:w:info");
        assert_eq!(keys.workers(), "ace_proxy:workers");
        assert_eq!(keys.engine_load("e"), "ace_proxy:engine:e:load");
        assert_eq!(keys.schema(), "ace_proxy:schema");
    }

    #[test]
    fn a_cluster_hashes_the_id_and_channels_stay_as_they_are() {
        let keys = Keys::new("p", true);
        assert_eq!(keys.owner(&id()), format!("p:stream:{{{ID}}}:owner"));
        assert_eq!(keys.channels(&id())[0], format!("p:stream:{ID}:events"));
    }

    #[test]
    fn a_channel_leads_back_to_its_stream() {
        let keys = Keys::new("p:q", false);
        for channel in keys.channels(&id()) {
            assert_eq!(keys.stream_of_channel(&channel), Some(id()));
        }
        for other in ["p:events:0123", "x:q:events:0", "p:q:stream:zz:events", ""] {
            assert_eq!(keys.stream_of_channel(other), None, "{other}");
        }
    }
}
