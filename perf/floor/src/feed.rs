//! One engine session: asked for, followed through its redirects, then a body to be read.
//!
//! It never blocks and never reads media itself: what is behind the head stays in the socket, and
//! does not wake anybody before a send's worth of it is there.

#![expect(unsafe_code, reason = "SO_RCVLOWAT, which the library has no call for")]

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net;
use rustix::net::AddressFamily;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use crate::framing::Framing;
use crate::request;
use crate::request::Answer;

/// getstream, the playback URL, the content, and some to spare.
const HOPS_MAX: u32 = 5;
const HEAD_BYTES_MAX: usize = 4096;
/// What chunk heads may add to a send's worth of media; with less, the last bytes take a wake-up of
/// their own.
const CHUNK_HEADS_BYTES: usize = 128;

pub(crate) struct Feed {
    engine: SocketAddr,
    fd: OwnedFd,
    phase: Phase,
    hops: u32,
    /// The socket's SO_RCVLOWAT.
    low_bytes: usize,
    pub(crate) framing: Framing,
}

enum Phase {
    Connecting(String),
    Head,
    Body,
}

/// What came of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Wait,
    /// There is another socket to be watched.
    Hop,
    Body,
}

impl Feed {
    pub(crate) fn open(engine: SocketAddr, infohash: &str, serial: u64) -> Result<Feed, String> {
        let pid = std::process::id();
        let target = format!("/ace/getstream?infohash={infohash}&pid=floor-{pid}-{serial}");
        let (fd, phase) = ask(engine, &target)?;
        Ok(Feed { engine, fd, phase, hops: 0, low_bytes: 1, framing: Framing::new(false) })
    }

    /// Goes on as far as it can; an error says why there will be no body.
    pub(crate) fn step(&mut self) -> Result<Step, String> {
        if let Phase::Connecting(text) = &self.phase {
            match net::send(&self.fd, text.as_bytes(), SendFlags::NOSIGNAL) {
                Ok(_) => self.phase = Phase::Head,
                Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(Step::Wait),
                Err(error) => return Err(format!("engine {}: {error}", self.engine)),
            }
        }
        if matches!(self.phase, Phase::Body) {
            return Ok(Step::Body);
        }
        let mut head = [0; HEAD_BYTES_MAX];
        let len = match net::recv(&self.fd, &mut head[..], RecvFlags::PEEK) {
            Ok((_, 0)) => return Err("the engine hung up".to_owned()),
            Ok((_, len)) => len,
            Err(Errno::AGAIN) => return Ok(Step::Wait),
            Err(error) => return Err(format!("engine {}: {error}", self.engine)),
        };
        let Some(head_len) = request::head_len(&head[..len]) else {
            let hopeless = len == HEAD_BYTES_MAX;
            return if hopeless {
                Err("the engine's head is long".to_owned())
            } else {
                Ok(Step::Wait)
            };
        };
        let head = &mut head[..head_len];
        net::recv(&self.fd, &mut *head, RecvFlags::empty()).map_err(|error| error.to_string())?;
        match request::answer(head) {
            Answer::Body { chunked } => {
                self.framing = Framing::new(chunked);
                self.phase = Phase::Body;
                Ok(Step::Body)
            }
            Answer::Elsewhere(target) if self.hops < HOPS_MAX => {
                self.hops += 1;
                (self.fd, self.phase) = ask(self.engine, &target)?;
                self.low_bytes = 1;
                Ok(Step::Hop)
            }
            Answer::Elsewhere(_) => Err("the engine redirects without end".to_owned()),
            Answer::No(status) => Err(format!("the engine says '{status}'")),
        }
    }

    /// The next event is for so much more media, for the end, or for a peer that can send no more.
    pub(crate) fn wake_from(&mut self, media_bytes: usize) {
        let bytes = media_bytes + CHUNK_HEADS_BYTES;
        if bytes == self.low_bytes {
            return;
        }
        self.low_bytes = bytes;
        let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        let (level, option) = (libc::SOL_SOCKET, libc::SO_RCVLOWAT);
        let len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the pointer and the length describe `value`, which the kernel only reads; a failure
        // leaves the mark as it was, and costs wake-ups.
        let _ = unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), level, option, (&raw const value).cast(), len)
        };
    }
}

impl AsFd for Feed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn ask(engine: SocketAddr, target: &str) -> Result<(OwnedFd, Phase), String> {
    let family = if engine.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = net::socket_with(family, SocketType::STREAM, flags, None);
    let fd = fd.map_err(|error| format!("no socket: {error}"))?;
    match net::connect(&fd, &engine) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(format!("engine {engine}: {error}")),
    }
    let text = format!(
        "GET {target} HTTP/1.1\r\nHost: {engine}\r\nUser-Agent: floor\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    Ok((fd, Phase::Connecting(text)))
}
