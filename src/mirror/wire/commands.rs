//! The commands that a page is made of. A value and its key's end are one command, so that nothing
//! stays for ever behind a writer that dies in between.

use crate::base::time::Wall;
use redis::Cmd;
use std::time::Duration;

/// HSET or SADD, and PEXPIRE; what is refused leaves the key as it was, its end included, and the
/// refusal begins with its code, before which Redis 6 puts the script's name. It goes as text each
/// time: little longer than the command that it spares, and a Redis that was restarted knows no
/// script by its hash.
const WITH_END: &str = include_str!("../scripts/write.lua");

/// `verb` with the key and what is added to the command.
pub(super) fn with_end(verb: &str, key: &str, ttl: Duration) -> Cmd {
    let mut eval = redis::cmd("EVAL");
    eval.arg(WITH_END).arg(1).arg(key).arg(verb).arg(ms(ttl));
    eval
}

pub(super) fn set(key: &str, value: impl redis::ToRedisArgs, ttl: Duration) -> Cmd {
    let mut set = redis::cmd("SET");
    set.arg(key).arg(value).arg("PX").arg(ms(ttl));
    set
}

/// Of a key that may be there; where it is not, none is made.
pub(super) fn expire(key: &str, ttl: Duration) -> Cmd {
    let mut expire = redis::cmd("PEXPIRE");
    expire.arg(key).arg(ms(ttl));
    expire
}

pub(super) fn unlink(key: &str) -> Cmd {
    let mut unlink = redis::cmd("UNLINK");
    unlink.arg(key);
    unlink
}

fn ms(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

/// Unix seconds with three decimals.
pub(super) fn seconds(at: Wall) -> String {
    let ms = at.unix_ms();
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

/// The fields of a hash, and an HDEL of those that nobody knows.
pub(super) struct Hash {
    set: Cmd,
    forget: Cmd,
    unknown: usize,
}

impl Hash {
    pub(super) fn new(key: &str, ttl: Duration) -> Self {
        let mut forget = redis::cmd("HDEL");
        forget.arg(key);
        Self { set: with_end("HSET", key, ttl), forget, unknown: 0 }
    }

    pub(super) fn field(&mut self, name: &'static str, value: impl std::fmt::Display) {
        self.set.arg(name).arg(value.to_string());
    }

    pub(super) fn maybe(&mut self, name: &'static str, value: Option<&impl std::fmt::Display>) {
        match value {
            Some(value) => self.field(name, value),
            None => {
                self.forget.arg(name);
                self.unknown += 1;
            }
        }
    }

    pub(super) fn finish(self, out: &mut Vec<Cmd>) {
        out.push(self.set);
        if self.unknown > 0 {
            out.push(self.forget);
        }
    }
}
