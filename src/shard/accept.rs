//! A connection until its head is understood, and the replies that need no viewer.
//!
//! One task a connection, bounded by the head deadline and the reply deadline. A player's socket
//! leaves this file as a descriptor and never comes back.

use crate::base::ids::Target;
use crate::base::time;
use crate::http::forwarded::Client;
use crate::http::head::Parse;
use crate::http::head::glance;
use crate::http::head::parse_request;
use crate::http::render::ErrorCode;
use crate::http::render::ErrorReply;
use crate::http::render::write_error;
use crate::http::render::write_media_head;
use crate::http::render::write_preflight;
use crate::net::conn::Conn;
use crate::net::conn::Sweep;
use crate::net::listen::Accepted;
use crate::net::listen::Acceptor;
use crate::net::runtime;
use crate::router;
use crate::router::Play;
use crate::router::Route;
use crate::router::Routed;
use crate::shard::api;
use crate::shard::core::Shard;
use crate::shard::join::Joining;
use crate::shard::seats::Full;
use crate::shard::seats::Seat;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// What a client may send behind its head and is thrown away, so that the close is a FIN and the
/// reply arrives.
const DRAIN_BYTES_MAX: usize = 64 * 1024;

/// For as long a client may go on talking, or take to end, after the last byte of its reply.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// A reply must be taken by its client within this.
const REPLY_MAX: Duration = Duration::from_secs(10);

/// After a pause for want of descriptors the listener is asked again.
const SHED_PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn accept(shard: Shard, acceptor: Acceptor) {
    let mut batch = Vec::with_capacity(64);
    loop {
        match acceptor.accept_batch(&mut batch).await {
            Ok(taken) => {
                for accepted in batch.drain(..) {
                    runtime::spawn(serve(shard.clone(), accepted));
                }
                if taken.shed > 0 {
                    shard.quietly(|core| core.stats.accepts_shed += taken.shed as u64);
                    runtime::sleep(SHED_PAUSE).await;
                }
            }
            Err(error) => {
                if !shard.quietly(|core| core.draining) {
                    tracing::error!("a listener died: {error}");
                }
                return;
            }
        }
    }
}

async fn serve(shard: Shard, accepted: Accepted) {
    let peer = accepted.peer;
    let Ok(conn) = Conn::from_fd(accepted.fd) else { return };
    let key = shard.quietly(|core| core.conversations.insert(conn.closer()));
    // A client that goes away has its own reasons; nothing of it is worth a line.
    let _ = converse(&shard, conn, peer).await;
    let draining = shard.quietly(|core| {
        core.conversations.remove(key);
        core.draining
    });
    if draining {
        shard.notify();
    }
}

async fn converse(shard: &Shard, mut conn: Conn, peer: SocketAddr) -> io::Result<()> {
    let head_timeout = shard.quietly(|core| core.shared.config.head_timeout);
    conn.set_deadline(time::now() + head_timeout, Sweep::Read);
    let mut head = Vec::new();
    let mut buffer = [0; 2_048];
    loop {
        match conn.recv(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(n) => head.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::TimedOut && !head.is_empty() => {
                let message = "the request's head did not arrive in time";
                return refuse(shard, conn, &head, ErrorCode::Timeout, message).await;
            }
            Err(error) => return Err(error),
        }
        match parse_request(&head) {
            Ok(Parse::Partial) => {}
            Ok(Parse::Complete { head: request, .. }) => {
                conn.clear_deadline();
                let agent = request.user_agent().into_owned();
                let routed = shard
                    .quietly(|core| router::route(&request, &core.shared.config.access, peer.ip()));
                return match routed {
                    Ok(routed) => answer(shard, conn, routed, agent).await,
                    Err(refusal) => {
                        let mut out = Vec::with_capacity(512);
                        refusal.write(&mut out);
                        let status = refusal.code.status();
                        shard.quietly(|core| core.stats.respond(refusal.label, status));
                        reply(conn, &out).await
                    }
                };
            }
            Err(bad) => {
                return refuse(shard, conn, &head, bad.code(), &bad.to_string()).await;
            }
        }
    }
}

/// What was not understood as a request, or not all of it came.
async fn refuse(
    shard: &Shard,
    conn: Conn,
    head: &[u8],
    code: ErrorCode,
    message: &str,
) -> io::Result<()> {
    let seen = glance(head);
    let error =
        ErrorReply { cors: router::is_for_players(seen.path), ..ErrorReply::new(code, message) };
    let mut out = Vec::with_capacity(512);
    write_error(&mut out, &error, !seen.is_head);
    shard.quietly(|core| core.stats.respond("bad_request", code.status()));
    reply(conn, &out).await
}

async fn reply(mut conn: Conn, bytes: &[u8]) -> io::Result<()> {
    conn.set_deadline(time::now() + REPLY_MAX, Sweep::Both);
    conn.send_all(bytes).await?;
    conn.finish(time::now() + LINGER_MAX, DRAIN_BYTES_MAX).await;
    Ok(())
}

async fn answer(shard: &Shard, conn: Conn, routed: Routed, agent: String) -> io::Result<()> {
    let label = routed.route.label();
    let mut out = Vec::with_capacity(1_024);
    let status = match routed.route {
        Route::Play(play) => {
            let who = Player { play, agent, name: routed.token_name, client: routed.client };
            return begin(shard, conn, who).await;
        }
        Route::PlayHead(target) => match shard.quietly(|core| core.not_a_channel(&target)) {
            Some(refusal) => {
                refusal.write(&mut out, false);
                refusal.code.status()
            }
            None => {
                write_media_head(&mut out, None);
                200
            }
        },
        Route::Preflight { allow } => {
            write_preflight(&mut out, allow, routed.cors);
            204
        }
        route @ (Route::AceStatus { .. }
        | Route::GetVersion
        | Route::GetStatus
        | Route::Api(_)
        | Route::Metrics
        | Route::Healthz
        | Route::Readyz) => {
            let page = api::page(shard, route).await;
            page.write(&mut out, routed.with_body, routed.cors);
            page.status
        }
    };
    shard.quietly(|core| core.stats.respond(label, status));
    reply(conn, &out).await
}

struct Player {
    play: Play,
    agent: String,
    name: Option<String>,
    client: Client,
}

/// Hands the socket over, or says why not.
async fn begin(shard: &Shard, mut conn: Conn, player: Player) -> io::Result<()> {
    let seat = match shard.quietly(|core| core.may_join(&player.play.target, &player.client)) {
        Ok(seat) => seat,
        Err(refusal) => {
            let mut out = Vec::with_capacity(512);
            refusal.write(&mut out, true);
            shard.quietly(|core| core.stats.respond(router::PLAY_LABEL, refusal.code.status()));
            return reply(conn, &out).await;
        }
    };
    // What a player sent behind its head would turn our close into a reset.
    conn.discard(DRAIN_BYTES_MAX);
    let joining = Joining {
        fd: conn.into_fd()?,
        seat,
        target: player.play.target,
        seekback_seconds: player.play.seekback_seconds,
        address: player.client.address,
        agent: player.agent,
        name: player.name,
    };
    shard.with(|core| core.join(joining))
}

/// Why a viewer may not even wait.
pub(crate) struct NoEntry {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) retry_after_s: Option<u32>,
}

impl NoEntry {
    fn write(&self, out: &mut Vec<u8>, with_body: bool) {
        let retry_after_s = self.retry_after_s;
        let error = ErrorReply { retry_after_s, ..ErrorReply::new(self.code, &self.message) };
        write_error(out, &error, with_body);
    }
}

impl crate::shard::core::Core {
    fn may_join(&self, target: &Target, client: &Client) -> Result<Seat, NoEntry> {
        if self.draining {
            let message = "this server is shutting down".to_owned();
            let code = ErrorCode::ShuttingDown;
            return Err(NoEntry { code, message, retry_after_s: Some(5) });
        }
        if let Some(refusal) = self.not_a_channel(target) {
            return Err(refusal);
        }
        self.shared.seats.take(client).map_err(|full| {
            let (code, message) = match full {
                Full::Everywhere => {
                    (ErrorCode::NoCapacity, "this server is full: RINGCAST_MAX_VIEWERS is reached")
                }
                Full::OneAddress => (
                    ErrorCode::TooMany,
                    "too many viewers of this address: RINGCAST_MAX_VIEWERS_PER_IP is reached",
                ),
            };
            NoEntry { code, message: message.to_owned(), retry_after_s: Some(10) }
        })
    }

    fn not_a_channel(&self, target: &Target) -> Option<NoEntry> {
        let listed = match (&self.shared.config.channels, target) {
            (None, _) => true,
            (Some(channels), Target::Id(id) | Target::Infohash(id)) => channels.contains(id),
            (Some(_), Target::Url(_) | Target::Magnet(_)) => false,
        };
        (!listed).then(|| NoEntry {
            code: ErrorCode::NotFound,
            message: "not one of the configured channels (RINGCAST_CHANNELS_ONLY)".to_owned(),
            retry_after_s: None,
        })
    }
}
