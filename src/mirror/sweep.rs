//! What dead workers left behind and nothing else would end.
//!
//! Every key of ours has an end, so nothing has to be looked for: there is no scan over the keys
//! of a Redis. What outlives its writer are members of what the living keep alive: names in
//! `workers`, swept by the first of the living workers; fields of an engine's load, and members
//! of a living stream's `clients`, swept by the nodes that use them.
//!
//! Invariant: only members whose own key has ended are taken out, and only of streams whose owner
//! is no foreign writer; each command names at most [`MEMBERS_MAX`] of them.

use crate::base::ids::Infohash;
use crate::mirror::keys::Keys;
use crate::mirror::link;
use crate::mirror::link::Pipe;
use redis::Cmd;
use redis::FromRedisValue;
use redis::Value;
use std::collections::BTreeSet;
use std::time::Duration;

const MEMBERS_MAX: usize = 256;

/// Between two looks: a thousand streams are swept in 20 s, with 50 commands a second.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Round {
    pub(super) me: String,
    pub(super) keys: Keys,
    /// Of this worker, and not a foreign writer's.
    pub(super) streams: Vec<Infohash>,
    pub(super) engines: Vec<String>,
}

/// Who is first among the living, and who is dead.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Workers {
    pub(super) is_first: bool,
    pub(super) dead: BTreeSet<String>,
}

/// `living`: which of `all` have a heartbeat, in their order.
pub(super) fn workers(me: &str, all: &[String], living: &[bool]) -> Workers {
    let named = || all.iter().zip(living);
    let first = named().filter(|(_, lives)| **lives).map(|(name, _)| name.as_str()).min();
    let dead = named().filter(|(name, lives)| !**lives && *name != me);
    Workers {
        is_first: first.is_none_or(|first| first >= me),
        dead: dead.map(|(name, _)| name.clone()).collect(),
    }
}

impl Round {
    /// How many members were taken out.
    pub(super) async fn run(self, mut pipe: Pipe) -> Result<usize, String> {
        let all: Vec<String> =
            get(&mut pipe, redis::cmd("SMEMBERS").arg(self.keys.workers())).await?;
        let heartbeats = all.iter().map(|worker| self.keys.heartbeat(worker)).collect();
        let living = exist(&mut pipe, heartbeats).await?;
        let Workers { is_first, dead } = workers(&self.me, &all, &living);
        let mut swept = 0;
        if is_first && !dead.is_empty() {
            let dead: Vec<&String> = dead.iter().take(MEMBERS_MAX).collect();
            swept += remove(&mut pipe, "SREM", &self.keys.workers(), &dead).await?;
        }
        for engine in &self.engines {
            let key = self.keys.engine_load(engine);
            let fields: Vec<String> = get(&mut pipe, redis::cmd("HKEYS").arg(&key)).await?;
            // By their own heartbeats: whoever swept the names may use other engines.
            let heartbeats = fields.iter().map(|worker| self.keys.heartbeat(worker)).collect();
            let living = exist(&mut pipe, heartbeats).await?;
            let Workers { dead, .. } = workers(&self.me, &fields, &living);
            let gone: Vec<&String> = dead.iter().take(MEMBERS_MAX).collect();
            swept += remove(&mut pipe, "HDEL", &key, &gone).await?;
            tokio::time::sleep(PAUSE).await;
        }
        for stream in &self.streams {
            swept += self.clients(&mut pipe, stream).await?;
        }
        Ok(swept)
    }

    /// Members without a record of their own.
    async fn clients(&self, pipe: &mut Pipe, stream: &Infohash) -> Result<usize, String> {
        let key = self.keys.clients(stream);
        let mut cursor = 0_u64;
        let mut swept = 0;
        loop {
            let mut scan = redis::cmd("SSCAN");
            scan.arg(&key).arg(cursor).arg("COUNT").arg(MEMBERS_MAX);
            let (next, members): (u64, Vec<String>) = get(pipe, &scan).await?;
            for members in members.chunks(MEMBERS_MAX) {
                let records = members.iter().map(|id| self.keys.client_named(stream, id)).collect();
                let there = exist(pipe, records).await?;
                let gone = members.iter().zip(there).filter(|(_, there)| !there);
                let gone: Vec<&String> = gone.map(|(member, _)| member).collect();
                swept += remove(pipe, "SREM", &key, &gone).await?;
            }
            tokio::time::sleep(PAUSE).await;
            cursor = next;
            if cursor == 0 {
                return Ok(swept);
            }
        }
    }
}

async fn get<T: FromRedisValue>(pipe: &mut Pipe, command: &Cmd) -> Result<T, String> {
    let asked = tokio::time::timeout(link::WRITE_MAX, pipe.ask(command)).await;
    let value = asked.map_err(|_| "it does not answer")?.map_err(link::said)?;
    redis::from_redis_value(value).map_err(|error| error.to_string())
}

async fn exist(pipe: &mut Pipe, keys: Vec<String>) -> Result<Vec<bool>, String> {
    let mut all = Vec::with_capacity(keys.len());
    for keys in keys.chunks(MEMBERS_MAX) {
        if pipe.is_cluster() {
            for key in keys {
                all.push(get::<i64>(pipe, redis::cmd("EXISTS").arg(key)).await? > 0);
            }
            continue;
        }
        let commands: Vec<Cmd> = keys
            .iter()
            .map(|key| {
                let mut exists = redis::cmd("EXISTS");
                exists.arg(key);
                exists
            })
            .collect();
        let asked = tokio::time::timeout(link::WRITE_MAX, pipe.run(&commands)).await;
        let values = asked.map_err(|_| "it does not answer")?.map_err(link::said)?;
        // What cannot be told is there.
        all.extend(values.iter().map(|value| *value != Value::Int(0)));
    }
    Ok(all)
}

async fn remove(
    pipe: &mut Pipe,
    verb: &str,
    key: &str,
    members: &[&String],
) -> Result<usize, String> {
    if members.is_empty() {
        return Ok(0);
    }
    let mut command = redis::cmd(verb);
    command.arg(key);
    for member in members {
        command.arg(*member);
    }
    get(pipe, &command).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_living_sweeps_the_dead() {
        let all = ["c", "a", "b", "d"].map(str::to_owned);
        let living = [true, false, true, false];
        let dead = BTreeSet::from(["a".to_owned(), "d".to_owned()]);
        assert_eq!(workers("b", &all, &living), Workers { is_first: true, dead: dead.clone() });
        assert_eq!(workers("c", &all, &living), Workers { is_first: false, dead });
        // Nobody sweeps itself, nor because it is not listed yet.
        let alone = workers("a", &["a".to_owned()], &[false]);
        assert_eq!(alone, Workers { is_first: true, dead: BTreeSet::new() });
    }
}
