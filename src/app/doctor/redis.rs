//! Whether Redis answers, and lets us do what the mirror does.

use crate::admin::hygiene::clean;
use crate::app::doctor::Finding;
use crate::app::mirror::install_tls;
use crate::config::settings::Secret;
use crate::mirror::look::Trouble;
use crate::mirror::look::look;

/// Redis is never needed to play: whatever is wrong is a warning.
pub(super) fn check(url: Option<&Secret>, prefix: &str) -> Option<Finding> {
    let url = url?.expose();
    install_tls();
    let (name, result) = look(url, prefix);
    Some(finding(&name, result, prefix))
}

fn finding(name: &str, result: Result<String, Trouble>, prefix: &str) -> Finding {
    let warn =
        |why: &str, fix: &str| Finding::warn("Redis", format!("{name}: {}", clean(why)), fix);
    match result {
        Ok(version) => Finding::ok("Redis", format!("{name}: answers ({})", clean(&version))),
        Err(Trouble::Silent(why)) => {
            warn(&why, "start Redis, or set RINGCAST_REDIS_URL; streams play without it")
        }
        Err(Trouble::Login(why)) => {
            warn(&why, "correct the user and password in RINGCAST_REDIS_URL")
        }
        Err(Trouble::Rights(why)) => {
            let rights = "+@read +@write +@scripting +@pubsub +cluster +info +ping +select";
            warn(&why, &format!("ACL SETUSER its user ~{prefix}:* &{prefix}:* {rights}"))
        }
        Err(Trouble::Refused(why)) => {
            warn(&why, "give Redis memory (maxmemory), or name the master in RINGCAST_REDIS_URL")
        }
    }
}

#[cfg(test)]
mod tests;
