//! Everything that is published, as it comes.

use super::Client;
use super::Place;
use super::Reply;
use crate::rig::PATIENCE;
use serde_json::Value;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;

/// A channel and what was said on it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) channel: String,
    pub(crate) json: Value,
}

pub(crate) struct Subscriber {
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard {
    messages: Mutex<Vec<Message>>,
    grown: Condvar,
}

impl Subscriber {
    /// Hears every channel that begins with `prefix`, from now on.
    pub(crate) fn new(place: &Place, prefix: &str) -> Self {
        let mut client = Client::connect(place).expect("a Redis that runs");
        client.call(&["PSUBSCRIBE", &format!("{prefix}*")]);
        let heard = Arc::new(Heard::default());
        let hearing = heard.clone();
        // Until the connection ends, or nobody says anything for long.
        std::thread::spawn(move || {
            while let Ok(Reply::List(parts)) = client.read() {
                let [_, _, channel, said] = &parts[..] else { continue };
                let (channel, said) = (channel.text().unwrap(), said.text().unwrap());
                let json = serde_json::from_str(&said).unwrap_or(Value::String(said));
                hearing.messages.lock().unwrap().push(Message { channel, json });
                hearing.grown.notify_all();
            }
        });
        Self { heard }
    }

    /// The first message of this event that fits, awaited.
    pub(crate) fn await_event(&self, event: &str, fits: impl Fn(&Message) -> bool) -> Message {
        let mut messages = self.heard.messages.lock().unwrap();
        loop {
            let found = messages.iter().find(|said| said.json["event"] == event && fits(said));
            if let Some(found) = found {
                return found.clone();
            }
            let (guard, waited) = self.heard.grown.wait_timeout(messages, PATIENCE).unwrap();
            messages = guard;
            assert!(!waited.timed_out(), "no {event} in {messages:#?}");
        }
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.heard.messages.lock().unwrap().clone()
    }

    /// The names of the events on one channel, in order.
    pub(crate) fn events_on(&self, channel: &str) -> Vec<String> {
        let messages = self.messages();
        let on = messages.iter().filter(|said| said.channel == channel);
        on.map(|said| said.json["event"].as_str().unwrap_or("?").to_owned()).collect()
    }
}
