//! Messages on a stream's channel: what happened, and the two commands that are obeyed.

use crate::base::ids::Infohash;
use crate::base::ids::ViewerId;
use crate::base::time::Wall;
use serde_json::Value;
use serde_json::json;

/// A message that is larger is nothing for us.
pub const MESSAGE_BYTES_MAX: usize = 4_096;

#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    pub infohash: Infohash,
    pub content_id: Option<Infohash>,
    pub worker: String,
    /// `None`: when it is published.
    pub at: Option<Wall>,
    pub what: What,
}

#[derive(Clone, PartialEq, Debug)]
pub enum What {
    ClientConnected {
        id: ViewerId,
        agent: String,
    },
    ClientDisconnected {
        id: ViewerId,
        agent: String,
        /// Of this worker.
        remaining: usize,
        reason: &'static str,
        bytes_sent: u64,
        seconds: f64,
    },
    StreamStarted,
    StreamStopped {
        reason: &'static str,
    },
    StreamFailover {
        from: String,
        to: String,
        reason: &'static str,
    },
    OwnerChanged {
        owner: String,
        epoch: u64,
    },
}

impl What {
    const fn name(&self) -> &'static str {
        match self {
            Self::ClientConnected { .. } => "client_connected",
            Self::ClientDisconnected { .. } => "client_disconnected",
            Self::StreamStarted => "stream_started",
            Self::StreamStopped { .. } => "stream_stopped",
            Self::StreamFailover { .. } => "stream_failover",
            Self::OwnerChanged { .. } => "owner_changed",
        }
    }
}

impl Event {
    /// One JSON object.
    pub fn message(&self, now: Wall) -> String {
        let content_id = self.content_id.unwrap_or(self.infohash);
        let mut message = json!({
            "event": self.what.name(),
            "content_id": content_id.to_string(),
            "infohash": self.infohash.to_string(),
            "worker_id": self.worker,
            "timestamp": self.at.unwrap_or(now).unix_seconds(),
        });
        let more = match &self.what {
            What::ClientConnected { id, agent } => {
                json!({ "client_id": id.to_string(), "user_agent": agent })
            }
            What::ClientDisconnected { id, agent, remaining, reason, bytes_sent, seconds } => {
                json!({
                    "client_id": id.to_string(),
                    "user_agent": agent,
                    "remaining_clients": remaining,
                    "reason": reason,
                    "bytes_sent": bytes_sent,
                    "seconds": (seconds * 1_000.0).round() / 1_000.0,
                })
            }
            What::StreamStarted => json!({}),
            What::StreamStopped { reason } => json!({ "reason": reason }),
            What::StreamFailover { from, to, reason } => {
                json!({ "from_engine": from, "to_engine": to, "reason": reason })
            }
            What::OwnerChanged { owner, epoch } => json!({ "owner": owner, "epoch": epoch }),
        };
        if let (Value::Object(all), Value::Object(more)) = (&mut message, more) {
            all.extend(more);
        }
        message.to_string()
    }
}

/// What anybody on the channel may order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Obeyed by the node where the stream runs.
    ChannelStop { infohash: Infohash },
    /// Obeyed by the node that serves the viewer.
    ClientStop { infohash: Infohash, viewer: ViewerId },
}

/// `None` for everything that is no command: our own events come back here, too.
pub fn parse(infohash: Infohash, payload: &[u8]) -> Option<Command> {
    // Most of what is published are events: told apart without reading them.
    if payload.len() > MESSAGE_BYTES_MAX || memchr::memmem::find(payload, b"_stop").is_none() {
        return None;
    }
    let message: Value = serde_json::from_slice(payload).ok()?;
    match message.get("event")?.as_str()? {
        "channel_stop" => Some(Command::ChannelStop { infohash }),
        "client_stop" => {
            let viewer = viewer_id(message.get("client_id")?.as_str()?)?;
            Some(Command::ClientStop { infohash, viewer })
        }
        _ => None,
    }
}

/// Sixteen hex digits, as they stand in `clients`.
pub fn viewer_id(text: &str) -> Option<ViewerId> {
    let plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u64::from_str_radix(text, 16).ok().map(ViewerId) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Infohash {
        Infohash::from_bytes([0xAB; 20])
    }

    fn event(what: What) -> Event {
        let at = Some(Wall::from_unix_ms(1_700_000_000_123));
        Event { infohash: id(), content_id: None, worker: "n:1:00000001".to_owned(), at, what }
    }

    fn read(event: &Event) -> Value {
        serde_json::from_str(&event.message(Wall::from_unix_ms(0))).unwrap()
    }

    #[test]
    fn a_message_has_the_fields_of_the_schema() {
        let agent = "VLC \"3\"\n".to_owned();
        let message = read(&event(What::ClientConnected { id: ViewerId(7), agent }));
        assert_eq!(message["event"], "client_connected");
        assert_eq!(message["content_id"], "ab".repeat(20));
        assert_eq!(message["client_id"], "0000000000000007");
        assert_eq!(message["worker_id"], "n:1:00000001");
        assert_eq!(message["timestamp"], 1_700_000_000.123);
        assert_eq!(message["user_agent"], "VLC \"3\"\n");
        let (from, to) = ("a".to_owned(), "b".to_owned());
        let message = read(&event(What::StreamFailover { from, to, reason: "stall" }));
        assert_eq!((&message["from_engine"], &message["to_engine"]), (&json!("a"), &json!("b")));
        let message = read(&event(What::OwnerChanged { owner: "w".to_owned(), epoch: 3 }));
        assert_eq!((&message["owner"], &message["epoch"]), (&json!("w"), &json!(3)));
    }

    #[test]
    fn commands_are_obeyed_and_nothing_else_is() {
        let stop = br#"{"event":"channel_stop"}"#;
        assert_eq!(parse(id(), stop), Some(Command::ChannelStop { infohash: id() }));
        let stop = br#"{"event":"client_stop","client_id":"00000000000000ff"}"#;
        let viewer = ViewerId(255);
        assert_eq!(parse(id(), stop), Some(Command::ClientStop { infohash: id(), viewer }));
        for nothing in [
            &br#"{"event":"client_stop"}"#[..],
            br#"{"event":"client_stop","client_id":"ff"}"#,
            br#"{"event":"client_stop","client_id":"+0000000000000ff"}"#,
            br#"{"event":"stream_stopped","reason":"channel_stop"}"#,
            br#"{"event":["channel_stop"]}"#,
            br#"channel_stop"#,
            b"_stop\xFF",
            b"",
        ] {
            assert_eq!(parse(id(), nothing), None, "{}", String::from_utf8_lossy(nothing));
        }
        let mut long = br#"{"event":"channel_stop","x":""#.to_vec();
        long.resize(MESSAGE_BYTES_MAX + 1, b' ');
        assert_eq!(parse(id(), &long), None);
    }

    #[test]
    fn our_own_events_are_no_commands() {
        for what in [What::StreamStarted, What::StreamStopped { reason: "channel_stop" }] {
            assert_eq!(parse(id(), event(what).message(Wall::from_unix_ms(0)).as_bytes()), None);
        }
    }
}
