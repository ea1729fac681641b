//! One living connection to Redis: two pipes, so that a question about a lease never stands behind
//! a megabyte of snapshots, and a third one for messages ([`crate::mirror::listen`]).
//!
//! Invariant: whatever is awaited here has a deadline.

use crate::mirror::lease::ANSWER_MS_MAX;
use crate::mirror::place::Place;
use redis::AsyncConnectionConfig;
use redis::Client;
use redis::Cmd;
use redis::ConnectionInfo;
use redis::RedisError;
use redis::RedisResult;
use redis::Value;
use redis::aio::ConnectionLike;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use std::time::Duration;

/// From the first packet to the first answer.
pub const CONNECT_MAX: Duration = Duration::from_secs(2);

/// A batch that is not answered by then was not written.
pub const WRITE_MAX: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub enum Pipe {
    One(MultiplexedConnection),
    Cluster { connection: ClusterConnection, tags: bool },
}

impl Pipe {
    /// Commands whose keys share a slot where there are slots. One value each, errors among them.
    pub async fn run(&mut self, commands: &[Cmd]) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(connection) => {
                let pipeline = pipeline(commands);
                connection.req_packed_commands(&pipeline, 0, commands.len()).await
            }
            Self::Cluster { connection, tags: true } if commands.len() > 1 => {
                let pipeline = pipeline(commands);
                connection.req_packed_commands(&pipeline, 0, commands.len()).await
            }
            Self::Cluster { connection, .. } => {
                let mut values = Vec::with_capacity(commands.len());
                for command in commands {
                    values.push(connection.req_packed_command(command).await?);
                }
                Ok(values)
            }
        }
    }

    pub async fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command).await,
            Self::Cluster { connection, .. } => connection.req_packed_command(command).await,
        }
    }

    pub const fn is_cluster(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Cluster { .. } => true,
        }
    }
}

fn pipeline(commands: &[Cmd]) -> redis::Pipeline {
    let mut pipeline = redis::Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command.clone());
    }
    pipeline
}

pub struct Link {
    /// Leases, pings, looks.
    pub asks: Pipe,
    /// Everything that is written.
    pub writes: Pipe,
    pub messages: redis::aio::PubSub,
    pub tags: bool,
    /// `7.0.15`, when it says so.
    pub version: String,
}

/// `tags`: as set, or as the server needs it.
pub async fn connect(place: &Place, tags: Option<bool>) -> Result<Link, String> {
    let made = tokio::time::timeout(3 * CONNECT_MAX, connect_to(place, tags)).await;
    made.unwrap_or_else(|_| Err("it does not answer".to_owned()))
}

async fn connect_to(place: &Place, tags: Option<bool>) -> Result<Link, String> {
    match place {
        Place::One(info) => one(info, tags).await,
        Place::Cluster(nodes) => cluster(nodes, tags).await,
        Place::Sentinel(sentinel) => {
            let mut asked =
                redis::sentinel::Sentinel::build(sentinel.nodes.clone()).map_err(said)?;
            let mut node = redis::sentinel::SentinelNodeConnectionInfo::default()
                .set_redis_connection_info(sentinel.login.clone());
            if let Some(tls) = sentinel.tls {
                node = node.set_tls_mode(tls);
            }
            let found = asked.async_master_for(&sentinel.master, Some(&node));
            let found = tokio::time::timeout(CONNECT_MAX, found).await;
            let client = found.map_err(|_| "no sentinel answers")?.map_err(said)?;
            one(client.get_connection_info(), tags).await
        }
    }
}

async fn one(info: &ConnectionInfo, tags: Option<bool>) -> Result<Link, String> {
    let client = Client::open(info.clone()).map_err(said)?;
    let mut asks = pipe(&client, ANSWER_MS_MAX).await?;
    let about = about(&mut asks).await?;
    if about.is_cluster {
        return cluster(std::slice::from_ref(info), tags).await;
    }
    if about.is_replica {
        return Err("it is a replica: a mirror needs the master".to_owned());
    }
    let writes = pipe(&client, WRITE_MAX).await?;
    let messages = messages(&client).await?;
    let tags = tags.unwrap_or(false);
    Ok(Link {
        asks: Pipe::One(asks),
        writes: Pipe::One(writes),
        messages,
        tags,
        version: about.version,
    })
}

async fn pipe(client: &Client, answer_max: Duration) -> Result<MultiplexedConnection, String> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        .set_response_timeout(Some(answer_max));
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(said)
}

async fn messages(client: &Client) -> Result<redis::aio::PubSub, String> {
    let made = tokio::time::timeout(CONNECT_MAX, client.get_async_pubsub()).await;
    made.map_err(|_| "it does not answer")?.map_err(said)
}

async fn cluster(nodes: &[ConnectionInfo], tags: Option<bool>) -> Result<Link, String> {
    let tags = tags.unwrap_or(true);
    let pipe = async |answer_max: Duration| {
        let client = ClusterClient::builder(nodes.to_vec())
            .connection_timeout(CONNECT_MAX)
            .response_timeout(answer_max)
            .retries(1)
            .build()
            .map_err(said)?;
        let connection = client.get_async_connection().await.map_err(said)?;
        Ok::<Pipe, String>(Pipe::Cluster { connection, tags })
    };
    let asks = pipe(ANSWER_MS_MAX).await?;
    let writes = pipe(WRITE_MAX).await?;
    let mut last = "no node answers".to_owned();
    for node in nodes {
        let client = Client::open(node.clone()).map_err(said)?;
        match messages(&client).await {
            Ok(messages) => {
                let version = "cluster".to_owned();
                return Ok(Link { asks, writes, messages, tags, version });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

struct About {
    version: String,
    is_cluster: bool,
    is_replica: bool,
}

async fn about(connection: &mut MultiplexedConnection) -> Result<About, String> {
    let info: RedisResult<String> = redis::cmd("INFO").query_async(connection).await;
    let text = match info {
        Ok(text) => text,
        // Not allowed to look: then it is what it was said to be.
        Err(error) if error.code() == Some("NOPERM") => String::new(),
        Err(error) => return Err(said(error)),
    };
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim())
    };
    Ok(About {
        version: value("valkey_version").or(value("redis_version")).unwrap_or("?").to_owned(),
        is_cluster: value("cluster_enabled") == Some("1"),
        is_replica: value("role") == Some("slave"),
    })
}

/// What went wrong, for people: without the place, which the line names already.
pub fn said(error: RedisError) -> String {
    let text = match error.code() {
        Some(code) => format!("{code} {}", error.detail().unwrap_or("")),
        None => error.to_string(),
    };
    text.trim().to_owned()
}
