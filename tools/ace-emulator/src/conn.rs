//! One accepted connection: its socket, and the word by which other threads end it.
//!
//! Every wait here is interruptible: a stop, a takeover or a kill reaches a thread that sleeps or
//! that is blocked in a write within `SLICE_MS`.

use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use rustix::net::RecvFlags;
use rustix::net::connect_unspec;
use rustix::net::recv;
use rustix::net::sockopt::set_socket_linger;

use crate::clock::now_us;

const SLICE_MS: u64 = 100;

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The engine died.
    Killed,
    /// `method=stop`.
    Stopped,
    /// A newer session of the same infohash.
    Superseded,
    /// Nobody read for too long.
    Expired,
    /// The terminal chunk, then FIN.
    Finished,
    /// FIN in the middle of a chunk.
    Cut,
    /// RST.
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    Ended(End),
    ClientGone,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// Came to the control port, which outlives the engine.
    pub(crate) control: bool,
    stream: TcpStream,
    end: Mutex<Option<End>>,
    woken: Condvar,
}

impl Conn {
    pub(crate) fn new(
        id: u64,
        stream: TcpStream,
        peer: SocketAddr,
        control: bool,
    ) -> io::Result<Conn> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(SLICE_MS)))?;
        stream.set_write_timeout(Some(Duration::from_millis(SLICE_MS)))?;
        let local = stream.local_addr()?;
        Ok(Conn { id, peer, local, control, stream, end: Mutex::new(None), woken: Condvar::new() })
    }

    /// The player's address as the engine would print it.
    pub(crate) fn peer_ip(&self) -> String {
        match self.peer.ip() {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => {
                v6.to_ipv4_mapped().map_or_else(|| v6.to_string(), |v4| v4.to_string())
            }
        }
    }

    /// Ends the connection from any thread; the first word counts, except that a kill always does.
    pub(crate) fn end(&self, end: End) {
        let mut word = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if word.is_none() || end == End::Killed {
            *word = Some(end);
        }
        drop(word);
        self.woken.notify_all();
        if end == End::Killed {
            self.reset();
            // Sends the RST at once. A kernel that refuses while a thread waits on the socket
            // leaves it to the owner, which looks every SLICE_MS.
            let _ = connect_unspec(&self.stream);
        }
    }

    pub(crate) fn ended(&self) -> Option<End> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until `until_us` unless somebody ends the connection or the client leaves.
    pub(crate) fn wait_until(&self, until_us: u64) -> Result<(), Interrupt> {
        loop {
            let now = now_us();
            let left_us = until_us.saturating_sub(now).min(SLICE_MS * 1_000);
            let word = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(end) = *word {
                return Err(Interrupt::Ended(end));
            }
            if left_us == 0 {
                return Ok(());
            }
            let waited = self.woken.wait_timeout(word, Duration::from_micros(left_us));
            drop(waited);
            if self.client_gone() {
                return Err(Interrupt::ClientGone);
            }
        }
    }

    pub(crate) fn wait_ms(&self, ms: u64) -> Result<(), Interrupt> {
        self.wait_until(now_us() + ms * 1_000)
    }

    /// Answers nothing until the client leaves or the connection is ended.
    pub(crate) fn hang(&self) -> Interrupt {
        loop {
            if let Err(interrupt) = self.wait_ms(60_000) {
                return interrupt;
            }
        }
    }

    /// Writes everything; `progress` hears of each accepted part.
    pub(crate) fn write_all(
        &self,
        bytes: &[u8],
        mut progress: impl FnMut(usize),
    ) -> Result<(), Interrupt> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some(end) = self.ended() {
                return Err(Interrupt::Ended(end));
            }
            // 256 KiB at a time, so that a slow reader's position is known while a piece leaves.
            let part = &rest[..rest.len().min(256 * 1024)];
            match (&self.stream).write(part) {
                Ok(0) => return Err(Interrupt::ClientGone),
                Ok(written) => {
                    progress(written);
                    rest = &rest[written..];
                }
                Err(error) if is_timeout(&error) => {}
                Err(_) => return Err(self.ended().map_or(Interrupt::ClientGone, Interrupt::Ended)),
            }
        }
        Ok(())
    }

    /// Writes the last bytes of a body whose end has been ordered; gives up after two seconds.
    pub(crate) fn write_all_ending(&self, bytes: &[u8]) -> io::Result<()> {
        let until_us = now_us() + 2_000_000;
        let mut rest = bytes;
        while !rest.is_empty() {
            match (&self.stream).write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if is_timeout(&error) && now_us() < until_us => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Keeps the socket open until the client closes it, at most `ms`.
    pub(crate) fn linger(&self, ms: u64) {
        let until_us = now_us() + ms * 1_000;
        let mut buffer = [0_u8; 512];
        while now_us() < until_us && self.ended() != Some(End::Killed) {
            match (&self.stream).read(&mut buffer) {
                Err(error) if is_timeout(&error) => {}
                Ok(read) if read > 0 => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Reads some bytes, at the latest by `until_us`. `Ok(0)` is the client's end.
    pub(crate) fn read_some(&self, buffer: &mut [u8], until_us: u64) -> io::Result<usize> {
        loop {
            if self.ended().is_some() || now_us() > until_us {
                return Err(ErrorKind::TimedOut.into());
            }
            match (&self.stream).read(buffer) {
                Err(error) if is_timeout(&error) => {}
                other => return other,
            }
        }
    }

    /// Half-closes, so that the reply is delivered whatever the client still sends.
    pub(crate) fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// From now on closing sends RST.
    pub(crate) fn reset(&self) {
        let _ = set_socket_linger(&self.stream, Some(Duration::ZERO));
    }

    fn client_gone(&self) -> bool {
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recv(&self.stream, &mut byte[..], flags) {
            Ok((received, _)) => received == 0,
            Err(error) => error != rustix::io::Errno::AGAIN && error != rustix::io::Errno::INTR,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
