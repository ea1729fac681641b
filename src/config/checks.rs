//! What only several settings together can tell: combinations that cannot be meant, and those
//! that are worth a line.

use super::channel::Channel;
use super::error::Problem;
use super::facts::Facts;
use super::load::Values;
use super::settings::Settings;
use super::table::Effect;
use super::table::Key;
use super::table::rows;

/// Combinations that are refused.
pub(super) fn problems(values: &Values, channels: &[Channel]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let heartbeat = values.duration(Key::HeartbeatInterval);
    let ttl = values.duration(Key::ClientTtl);
    if heartbeat * 2 > ttl {
        let (heartbeat, ttl) = (heartbeat.as_secs_f64(), ttl.as_secs_f64());
        problems.push(Problem::text(format!(
            "PROXY_HEARTBEAT_INTERVAL={heartbeat} ({}): twice it is more than \
             PROXY_CLIENT_TTL={ttl}; accepted: at most {} s, or a longer PROXY_CLIENT_TTL",
            values.origin(Key::HeartbeatInterval),
            ttl / 2.0,
        )));
    }
    let buffer = values.duration(Key::BufferTtl);
    if let Some(join) = values.duration_or_word(Key::JoinSeconds).filter(|join| *join > buffer) {
        let (join, buffer) = (join.as_secs_f64(), buffer.as_secs_f64());
        problems.push(Problem::text(format!(
            "RINGCAST_JOIN_SECONDS={join} ({}): more than is kept; accepted: auto or at most \
             PROXY_BUFFER_TTL={buffer}",
            values.origin(Key::JoinSeconds),
        )));
    }
    if let Some(url) = values.text(Key::RedisUrl)
        && let Err(why) = crate::mirror::place::Place::parse(url)
    {
        problems.push(Problem::text(format!(
            "RINGCAST_REDIS_URL=*** ({}): {why}; accepted: redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], \
             rediss://…, redis+unix:///PATH, redis+sentinel://HOST[,HOST…]/MASTER, \
             redis+cluster://HOST[,HOST…]",
            values.origin(Key::RedisUrl),
        )));
    }
    if values.switch(Key::ChannelsOnly) && channels.is_empty() {
        problems.push(Problem::text(format!(
            "RINGCAST_CHANNELS_ONLY=on ({}): there is no channel; accepted: off, or [[channel]] \
             tables in the settings file",
            values.origin(Key::ChannelsOnly),
        )));
    }
    problems
}

/// Lines for the log: nothing is wrong, but somebody may be surprised.
pub(super) fn notices(values: &Values, settings: &Settings, facts: &Facts) -> Vec<String> {
    let mut notices = Vec::new();
    for row in rows().filter(|row| values.is_given(row.key)) {
        match row.effect {
            Effect::Pending => {
                notices.push(format!("{} is accepted but not yet in effect", row.name));
            }
            Effect::Full | Effect::Part(_) => {}
        }
    }
    if settings.state_dir.is_none() && !values.is_given(Key::StateDir) {
        notices.push(
            "RINGCAST_STATE_DIR is off: a crash leaves its engine sessions to expire by themselves"
                .to_owned(),
        );
    }
    if settings.engines.is_empty() {
        notices
            .push("RINGCAST_ENGINES is none: nothing plays until POST /api/v1/engines".to_owned());
    }
    let usable = facts.ram_bytes.min(facts.cgroup_memory_bytes.unwrap_or(u64::MAX));
    if settings.memory_bytes > usable {
        notices.push("RINGCAST_MEMORY is more than this host or cgroup has".to_owned());
    }
    let room = facts.viewers_auto(settings.engines.len());
    if settings.max_viewers.is_none_or(|viewers| viewers > room) {
        notices.push(format!(
            "RINGCAST_MAX_VIEWERS is more than the open-files limit has room for ({room})"
        ));
    }
    notices
}
