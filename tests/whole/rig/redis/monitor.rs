//! Every command that a Redis carries out, in its order, as it says itself.

use super::Client;
use super::Redis;
use super::Reply;

/// A command, and who asked for it: an address, or `lua`.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) by: String,
    pub(crate) words: Vec<String>,
}

pub(crate) struct Monitor {
    client: Client,
}

const END: [&str; 2] = ["ECHO", "the end of what is looked at"];

impl Monitor {
    /// From here on.
    pub(crate) fn of(redis: &Redis) -> Self {
        let mut client = redis.client();
        client.call(&["MONITOR"]);
        Self { client }
    }

    /// Up to here: `client` asks for something that is recognised.
    pub(crate) fn until_now(mut self, client: &mut Client) -> Vec<Done> {
        client.call(&END);
        let mut all = Vec::new();
        loop {
            let Reply::Status(line) = self.client.read().expect("it goes on") else { continue };
            let done = parse(&line).unwrap_or_else(|| panic!("no command: {line}"));
            if done.words == END {
                return all;
            }
            all.push(done);
        }
    }
}

/// `1700000000.123456 [0 127.0.0.1:4711] "SET" "key" "value"`
fn parse(line: &str) -> Option<Done> {
    let (_, rest) = line.split_once(" [")?;
    let (who, rest) = rest.split_once("] ")?;
    let (_, by) = who.split_once(' ')?;
    let mut words = Vec::new();
    let mut bytes = rest.bytes();
    while bytes.next() == Some(b'"') {
        words.push(word(&mut bytes)?);
        // What parts it from the next.
        bytes.next();
    }
    Some(Done { by: by.to_owned(), words })
}

/// Up to its closing quote.
fn word(bytes: &mut impl Iterator<Item = u8>) -> Option<String> {
    let mut word = Vec::new();
    loop {
        let byte = match bytes.next()? {
            b'"' => return Some(String::from_utf8_lossy(&word).into_owned()),
            b'\\' => match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'a' => 7,
                b'b' => 8,
                b'x' => {
                    let digits = [bytes.next()?, bytes.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                other => other,
            },
            other => other,
        };
        word.push(byte);
    }
}
