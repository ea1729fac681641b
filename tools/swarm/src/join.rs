//! A viewer comes: connect, GET, head, first byte of the body.
//!
//! It ends with the first byte; what becomes of the connection is its role's matter.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use ace_emulator::now_us;
use tokio::io::Interest;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;

use crate::head;
use crate::head::Head;
use crate::socket;

/// A head and the first packets of the body.
const READ_BYTES: usize = 4 << 10;

/// A viewer that has its first byte.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) stream: TcpStream,
    pub(crate) chunked: bool,
    /// What came of the body with the head; at least one byte.
    pub(crate) body: Vec<u8>,
    /// From before the connect to when the kernel took in the first byte of the body.
    pub(crate) first_byte_us: u64,
    /// Wall time at which those bytes were there.
    pub(crate) arrived_us: u64,
}

/// Where and how to connect.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) target: SocketAddr,
    pub(crate) receive_bytes: Option<u32>,
}

impl Door {
    pub(crate) async fn join(&self, request: &[u8]) -> Result<Joined, String> {
        let start_us = now_us();
        let stream = self.ask(request).await?;
        let mut bytes = Vec::with_capacity(READ_BYTES);
        let (head, arrived_us) = read_head(&stream, &mut bytes).await?;
        bytes.drain(..head.len);
        let first_byte_us = arrived_us.saturating_sub(start_us);
        Ok(Joined { stream, chunked: head.chunked, body: bytes, first_byte_us, arrived_us })
    }

    /// Connects and sends the request; nothing is read.
    pub(crate) async fn ask(&self, request: &[u8]) -> Result<TcpStream, String> {
        let stream = self.connect().await.map_err(|error| self.explain(&error))?;
        // Without them the time at which we read is taken.
        let _ = socket::note_arrivals(stream.as_fd(), true);
        write_all(&stream, request).await.map_err(|error| self.explain(&error))?;
        Ok(stream)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let socket =
            if self.target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Before the connect: it decides how the window can be scaled.
        if let Some(bytes) = self.receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.connect(self.target).await
    }

    fn explain(&self, error: &io::Error) -> String {
        let target = self.target;
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => {
                format!("connection refused by {target}: is the server running there?")
            }
            Some(libc::EADDRNOTAVAIL) => format!(
                "no local port left to connect to {target} from (net.ipv4.ip_local_port_range)"
            ),
            Some(libc::EMFILE | libc::ENFILE) => format!("{error} (ulimit -n)"),
            Some(_) | None => format!("connecting to {target}: {error}"),
        }
    }
}

/// Reads until the head and one byte of the body are there; when the last bytes arrived.
async fn read_head(stream: &TcpStream, bytes: &mut Vec<u8>) -> Result<(Head, u64), String> {
    let mut buffer = [0_u8; READ_BYTES];
    let mut known = None;
    loop {
        stream.readable().await.map_err(|error| error.to_string())?;
        let received =
            stream.try_io(Interest::READABLE, || socket::receive(stream.as_fd(), &mut buffer));
        let arrived_us = match received {
            Ok((0, _)) if known.is_some() => return Err("closed before the first byte".to_owned()),
            Ok((0, _)) => return Err("closed without an answer".to_owned()),
            Ok((received, arrived_us)) => {
                bytes.extend_from_slice(&buffer[..received]);
                arrived_us.unwrap_or_else(now_us)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.to_string()),
        };
        if known.is_none() {
            known = head::parse(bytes)?;
        }
        let Some(head) = known.take_if(|head| head.status != 200 || head.len < bytes.len()) else {
            continue;
        };
        if head.status == 200 {
            return Ok((head, arrived_us));
        }
        let reason = head::reason(&bytes[head.len..]);
        return Err(format!("{} {reason}", head.status_text).trim_end().to_owned());
    }
}

pub(crate) async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
