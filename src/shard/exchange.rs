//! One request to an engine and its reply: a connection of its own, every wait with an end.
//!
//! Only the address that was granted is ever dialled. What is lacking here is told apart from what the
//! engine did. What the reply means is for whoever asked.

use crate::base::ids::EngineId;
use crate::base::time;
use crate::base::time::Instant;
use crate::engine::reply;
use crate::engine::reply::Failure;
use crate::engine::request;
use crate::http::body::BodyDecoder;
use crate::http::head::Framing;
use crate::http::head::HEAD_BYTES_MAX;
use crate::http::head::Parse;
use crate::http::head::parse_response;
use crate::net::Closer;
use crate::net::conn::Conn;
use crate::net::conn::Sweep;
use crate::net::lack;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Where an engine is, as it was granted.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) engine: EngineId,
    pub(crate) socket: SocketAddr,
    pub(crate) host: Arc<str>,
    pub(crate) forwarded: bool,
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// No connection was made: the pool resolves the name again.
    pub(crate) connecting: bool,
    pub(crate) failure: Failure,
}

impl Trouble {
    /// Of something of ours.
    pub(crate) const fn is_lack(&self) -> bool {
        matches!(self.failure, Failure::Lack(_))
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self { connecting: false, failure }
    }
}

fn cut(error: &io::Error) -> Trouble {
    if let Some(text) = lack::of(error) {
        return Failure::Lack(text).into();
    }
    let silent = error.kind() == io::ErrorKind::TimedOut;
    if silent { Failure::Silent.into() } else { Failure::Cut.into() }
}

async fn connect(address: &Address, deadline: Instant) -> Result<Conn, Trouble> {
    let until = deadline.min(time::now() + CONNECT_MAX);
    match Conn::connect(address.socket, until).await {
        Ok(mut conn) => {
            conn.set_deadline(deadline, Sweep::Both);
            Ok(conn)
        }
        Err(error) => Err(match lack::of_connect(&error, address.socket) {
            Some(text) => Failure::Lack(text).into(),
            None => Trouble { connecting: true, failure: Failure::Refused },
        }),
    }
}

/// A reply whose head has come; `rest` is what came behind it.
pub(crate) struct Headed {
    pub(crate) conn: Conn,
    pub(crate) hop: Result<reply::Hop, Failure>,
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    pub(crate) rest: Vec<u8>,
}

pub(crate) async fn ask(
    address: &Address,
    path: &str,
    deadline: Instant,
    connected: impl FnOnce(Closer) -> bool,
) -> Result<Headed, Trouble> {
    let mut conn = connect(address, deadline).await?;
    if !connected(conn.closer()) {
        return Err(Failure::Cut.into());
    }
    let bytes = request::request(&address.host, path);
    conn.send_all(&bytes).await.map_err(|error| cut(&error))?;
    let mut head = Vec::with_capacity(1_024);
    let mut buffer = [0; 4_096];
    loop {
        let n = conn.recv(&mut buffer).await.map_err(|error| cut(&error))?;
        if n == 0 {
            return Err(Failure::Cut.into());
        }
        head.extend_from_slice(&buffer[..n]);
        match parse_response(&head) {
            Ok(Parse::Complete { head: parsed, consumed }) => {
                let hop = reply::playback_head(&parsed);
                let (status, framing) = (parsed.status, parsed.framing);
                let rest = head[consumed..].to_vec();
                return Ok(Headed { conn, hop, status, framing, rest });
            }
            Ok(Parse::Partial) if head.len() < HEAD_BYTES_MAX => {}
            Ok(Parse::Partial) => return Err(Failure::MalformedHead.into()),
            Err(error) => return Err(reply::bad_head(error).into()),
        }
    }
}

/// The rest of a small reply. A cut after the first bytes leaves what came: the parser judges it.
pub(crate) async fn read_body(headed: &mut Headed, bytes_max: usize) -> Result<Vec<u8>, Trouble> {
    let mut decoder = BodyDecoder::new(headed.framing);
    let mut body = Vec::new();
    let mut sink = |slice: &[u8]| {
        let room = bytes_max.saturating_sub(body.len());
        body.extend_from_slice(&slice[..slice.len().min(room)]);
    };
    let malformed = |_| Trouble::from(Failure::Other("a malformed reply".to_owned()));
    let mut done = decoder.feed(&headed.rest, &mut sink).map_err(malformed)?.done;
    let mut buffer = [0; 4_096];
    let mut total = headed.rest.len();
    while !done && total < bytes_max {
        let n = headed.conn.recv(&mut buffer).await.map_err(|error| cut(&error))?;
        if n == 0 {
            break;
        }
        total += n;
        done = decoder.feed(&buffer[..n], &mut sink).map_err(malformed)?.done;
    }
    Ok(body)
}

/// One small question: status and body of the reply.
pub(crate) async fn exchange(
    address: &Address,
    path: &str,
    deadline: Instant,
    bytes_max: usize,
) -> Result<(u16, Vec<u8>), Trouble> {
    let mut headed = ask(address, path, deadline, |_| true).await?;
    let body = read_body(&mut headed, bytes_max).await?;
    Ok((headed.status, body))
}
