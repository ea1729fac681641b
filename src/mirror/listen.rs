//! The third pipe: messages on the channels of the streams that run here.
//!
//! Our own events come back on them, too, and are told apart from commands without being read.

use crate::base::ids::Infohash;
use crate::mirror::events;
use crate::mirror::events::Command;
use crate::mirror::keys::Keys;
use redis::aio::PubSub;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;

/// A connection that is not heard of for this long is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_MAX: Duration = Duration::from_secs(2);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Interest {
    Begin(Infohash),
    End(Infohash),
}

/// Until the connection breaks or nobody wants to know any more: then why.
pub(super) async fn listen(
    messages: PubSub,
    keys: Keys,
    mut interests: mpsc::Receiver<Interest>,
    give: impl AsyncFn(Command),
) -> String {
    use futures_util::StreamExt;
    let (mut sink, mut stream) = messages.split();
    let mut subscribed = BTreeSet::new();
    loop {
        tokio::select! {
            biased;
            message = stream.next() => {
                let Some(message) = message else { return "the message pipe was closed".to_owned() };
                let Some(infohash) = keys.stream_of_channel(message.get_channel_name()) else {
                    continue;
                };
                if let Some(command) = events::parse(infohash, message.get_payload_bytes()) {
                    give(command).await;
                }
            }
            interest = interests.recv() => {
                let Some(interest) = interest else { return "ended".to_owned() };
                let done = match interest {
                    Interest::Begin(infohash) if subscribed.insert(infohash) => {
                        let channels = keys.channels(&infohash);
                        tokio::time::timeout(PING_MAX, sink.subscribe(&channels[..])).await
                    }
                    Interest::End(infohash) if subscribed.remove(&infohash) => {
                        let channels = keys.channels(&infohash);
                        tokio::time::timeout(PING_MAX, sink.unsubscribe(&channels[..])).await
                    }
                    Interest::Begin(_) | Interest::End(_) => Ok(Ok(())),
                };
                match done {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return crate::mirror::link::said(error),
                    Err(_) => return "a subscription was not answered".to_owned(),
                }
            }
            () = tokio::time::sleep(PING_EVERY) => {
                let ping = tokio::time::timeout(PING_MAX, sink.ping::<redis::Value>()).await;
                if !matches!(ping, Ok(Ok(_))) {
                    return "the message pipe does not answer".to_owned();
                }
            }
        }
    }
}
