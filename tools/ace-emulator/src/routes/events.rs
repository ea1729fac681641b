//! `/ace/event`: the long poll.

use crate::clock::now_us;
use crate::counters::bump;
use crate::json;
use crate::routes::Exchange;
use crate::routes::Reply;
use crate::session::Lookup;

const HOLD_US: u64 = 15_000_000;

/// Holds until the session ends, at most 15 s; nothing else ever happens in this engine.
pub(crate) fn handle(x: &Exchange, infohash: &str, key: &str) -> Reply {
    bump(&x.engine.counting.events);
    let until_us = now_us() + HOLD_US;
    loop {
        let lookup = x.engine.world().sessions.lookup(infohash, key);
        if !matches!(lookup, Lookup::Current(_)) {
            return x.json(json::refusal("unknown playback session id"));
        }
        if now_us() >= until_us {
            return x.json(json::envelope("null", "null"));
        }
        if x.conn.wait_ms(50).is_err() {
            return Reply::Reset;
        }
    }
}
