//! A connection until its head is understood, and the replies that need no viewer.
//!
//! One task a connection, bounded by the head deadline and the reply deadline. A player's socket
//! leaves this file as a descriptor and never comes back.

use crate::base::ids::ShardId;
use crate::base::ids::Target;
use crate::base::time;
use crate::http::addr::limit_key;
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
use crate::shard::blocks::Person;
use crate::shard::change;
use crate::shard::core::Shard;
use crate::shard::join::Joining;
use crate::shard::join::NotNow;
use crate::shard::message::Message;
use crate::shard::seats::Full;
use crate::shard::seats::Seat;
use std::io;
use std::net::IpAddr;
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
    let mut next = 0;
    loop {
        match acceptor.accept_batch(&mut batch).await {
            Ok(taken) => {
                batch.drain(..).for_each(|accepted| take(&shard, accepted, &mut next));
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

/// Here, or in turn on every shard where there are fewer listeners than shards. `next` is the
/// shard whose turn it is.
fn take(shard: &Shard, accepted: Accepted, next: &mut usize) {
    let (me, shards, spread) =
        shard.quietly(|core| (core.me, core.mail.shards(), core.shared.spread));
    let to = ShardId((*next % shards) as u8);
    *next += 1;
    let socket = shard.quietly(|core| core.place_of_a_connection());
    let Some(socket) = socket else {
        return runtime::spawn(turn_away(shard.clone(), accepted));
    };
    if !spread || to == me {
        return runtime::spawn(serve(shard.clone(), accepted, socket));
    }
    shard.with(|core| core.mail.send(to, Message::Adopt(Box::new((accepted, socket)))));
}

/// One connection too many.
async fn turn_away(shard: Shard, accepted: Accepted) {
    shard.quietly(|core| core.stats.accepts_shed += 1);
    // Only so many are told: what they hold are the last descriptors.
    let Ok(_told) = shard.quietly(|core| core.shared.turned_away.take(None)) else { return };
    if let Ok(conn) = Conn::from_fd(accepted.fd) {
        let _ = reply(conn, &no_room()).await;
    }
}

/// What a client is told when there is no descriptor for it: the whole reply.
pub(crate) fn no_room() -> Vec<u8> {
    let message = "this server is full: its limit of open files is reached (ulimit -n, \
                   LimitNOFILE)";
    let mut out = Vec::with_capacity(512);
    NotNow::new(ErrorCode::NoCapacity, message).retry_after(10).write(&mut out, true);
    out
}

/// `socket` is its place among all connections.
pub(crate) async fn serve(shard: Shard, accepted: Accepted, socket: Seat) {
    let peer = accepted.peer;
    let Ok(conn) = Conn::from_fd(accepted.fd) else { return };
    let key = shard.quietly(|core| core.conversations.insert(conn.closer(), socket, time::now()));
    // A client that goes away has its own reasons; nothing of it is worth a line.
    let _ = converse(&shard, conn, peer, key).await;
    let draining = shard.quietly(|core| {
        core.conversations.remove(key);
        core.draining
    });
    if draining {
        shard.notify();
    }
}

async fn converse(shard: &Shard, mut conn: Conn, peer: SocketAddr, key: usize) -> io::Result<()> {
    let head_timeout = shard.quietly(|core| core.shared.config.head_timeout);
    conn.set_deadline(time::now() + head_timeout, Sweep::Read);
    let mut head = Vec::new();
    let mut buffer = [0; 2_048];
    loop {
        match conn.recv(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(n) => head.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::TimedOut && !head.is_empty() => {
                shard.quietly(|core| core.conversations.heard(key));
                let message = "the request's head did not arrive in time";
                return refuse(shard, conn, &head, ErrorCode::Timeout, message).await;
            }
            Err(error) => return Err(error),
        }
        match parse_request(&head) {
            Ok(Parse::Partial) => {}
            Ok(Parse::Complete { head: request, consumed }) => {
                if !shard.quietly(|core| core.conversations.heard(key)) {
                    return Ok(());
                }
                conn.clear_deadline();
                let agent = request.user_agent().into_owned();
                let routed =
                    shard.quietly(|core| router::route(&request, &core.live.access, peer.ip()));
                let length = request.content_length;
                return match routed {
                    Ok(Routed { route: Route::Play(play), client, token_name: name, .. }) => {
                        begin(shard, conn, Player { play, agent, name, client, key }).await
                    }
                    Ok(routed) if routed.route.takes_body() => {
                        let deadline = time::now() + head_timeout;
                        let begun = &head[consumed..];
                        match change::read_body(&mut conn, begun, length, deadline).await? {
                            Ok(body) => answer(shard, conn, routed, &body).await,
                            Err((code, message)) => {
                                refuse(shard, conn, &head, code, &message).await
                            }
                        }
                    }
                    Ok(routed) => answer(shard, conn, routed, &[]).await,
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
                shard.quietly(|core| core.conversations.heard(key));
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

async fn answer(shard: &Shard, conn: Conn, routed: Routed, request_body: &[u8]) -> io::Result<()> {
    let label = routed.route.label();
    let mut out = Vec::with_capacity(1_024);
    let status = match routed.route {
        Route::Play(_) => unreachable!("its socket is handed over"),
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
            let page = api::page(shard, route, request_body).await;
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
    /// Of its conversation.
    key: usize,
}

/// Hands the socket over, or says why not.
async fn begin(shard: &Shard, mut conn: Conn, player: Player) -> io::Result<()> {
    let limited_as = player.limited_as();
    let seat = match shard.quietly(|core| core.may_join(&player, limited_as)) {
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
    let socket = shard.quietly(|core| core.conversations.take_socket(player.key));
    let joining = Joining {
        fd: conn.into_fd()?,
        seat,
        socket,
        target: player.play.target,
        seekback_seconds: player.play.seekback_seconds,
        address: player.client.address,
        limited_as,
        agent: player.agent,
        name: player.name,
    };
    shard.with(|core| core.join(joining))
}

impl Player {
    /// What it counts under where addresses have limits.
    fn limited_as(&self) -> Option<IpAddr> {
        (!self.client.exempt).then(|| limit_key(self.client.address))
    }
}

impl crate::shard::core::Core {
    /// A free one, or that of whoever has kept a connection for longest without a request.
    fn place_of_a_connection(&mut self) -> Option<Seat> {
        if let Ok(seat) = self.shared.sockets.take(None) {
            return Some(seat);
        }
        // Both have a descriptor for a moment: only so many may.
        let leaving = self.shared.leaving.take(None).ok()?;
        let seat = self.conversations.evict(leaving, time::now())?;
        self.stats.accepts_shed += 1;
        Some(seat)
    }

    fn may_join(&self, player: &Player, limited_as: Option<IpAddr>) -> Result<Seat, NotNow> {
        if self.draining {
            let refusal = NotNow::new(ErrorCode::ShuttingDown, "this server is shutting down");
            return Err(refusal.retry_after(5));
        }
        let person = Person::of(player.name.as_deref(), limited_as);
        if let Some(until) = self.shared.blocks.until(person.as_ref(), self.now) {
            let seconds = until.since(self.now).as_secs() + 1;
            let message = format!("the operator keeps you out for another {seconds} s");
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            return Err(NotNow::new(ErrorCode::Forbidden, &message).retry_after(seconds));
        }
        if let Some(refusal) = self.not_a_channel(&player.play.target) {
            return Err(refusal);
        }
        self.shared.seats.take(limited_as).map_err(|full| {
            let refusal = match full {
                Full::Everywhere => NotNow::new(
                    ErrorCode::NoCapacity,
                    "this server is full: RINGCAST_MAX_VIEWERS is reached",
                ),
                Full::OneAddress => NotNow::new(
                    ErrorCode::TooMany,
                    "too many viewers of this address: RINGCAST_MAX_VIEWERS_PER_IP is reached",
                ),
            };
            refusal.retry_after(10)
        })
    }

    fn not_a_channel(&self, target: &Target) -> Option<NotNow> {
        let listed = match (&self.live.channels, target) {
            (None, _) => true,
            (Some(channels), Target::Id(id) | Target::Infohash(id)) => channels.contains(id),
            (Some(_), Target::Url(_) | Target::Magnet(_)) => false,
        };
        let message = "not one of the configured channels (RINGCAST_CHANNELS_ONLY)";
        (!listed).then(|| NotNow::new(ErrorCode::NotFound, message))
    }
}
