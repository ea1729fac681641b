//! The epoll instance, the listener, and requests until it is known what they want.
//!
//! Every socket is registered once, edge-triggered: a send that found no room is the only thing
//! that makes the kernel report room, so a viewer that keeps up costs no event.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::event::epoll::EventData;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::net::SocketFlags;
use rustix::net::sockopt;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use crate::request;
use crate::table::Key;
use crate::table::Table;

const EVENTS_MAX: usize = 1024;
const BACKLOG: i32 = 4096;
/// What the kernel may hold for a viewer: with more, a zero-copy send pins its buffer for long.
pub(crate) const SEND_BUFFER_BYTES: usize = 512 * 1024;
const HEAD_BYTES_MAX: usize = 4096;

/// What a turn of the loop brings.
pub(crate) enum Happening {
    /// Somebody wants the stream of this name.
    Join(OwnedFd, String),
    /// There is something to read, or the end.
    Engine(Key),
    /// Left, or there is room again.
    Viewer { key: Key, left: bool },
}

pub(crate) struct Front {
    epoll: OwnedFd,
    listener: OwnedFd,
    pending: Table<Pending>,
    events: Vec<epoll::Event>,
}

/// A connection whose request is not complete.
struct Pending {
    fd: OwnedFd,
    head: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Who {
    Listener = 0,
    Pending = 1,
    Engine = 2,
    Viewer = 3,
}

impl Front {
    pub(crate) fn open(listen: SocketAddr) -> io::Result<Front> {
        let listener = listener(listen).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {listen}: {error}"))
        })?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = data(Who::Listener, Key { index: 0, generation: 0 });
        epoll::add(&epoll, &listener, data, EventFlags::IN | EventFlags::ET)?;
        let events = Vec::with_capacity(EVENTS_MAX);
        Ok(Front { epoll, listener, pending: Table::new(), events })
    }

    pub(crate) fn addr(&self) -> io::Result<SocketAddr> {
        let addr = net::getsockname(&self.listener)?;
        SocketAddr::try_from(addr).map_err(|_| io::Error::other("an address without a port"))
    }

    pub(crate) fn watch_engine(&self, feed: impl AsFd, key: Key) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, feed, data(Who::Engine, key), flags)?)
    }

    pub(crate) fn watch_viewer(&self, viewer: impl AsFd, key: Key) -> io::Result<()> {
        let flags = EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, viewer, data(Who::Viewer, key), flags)?)
    }

    /// Waits for something to happen, or until the time is over.
    pub(crate) fn wait(
        &mut self,
        time_max: Option<Duration>,
        happenings: &mut Vec<Happening>,
    ) -> io::Result<()> {
        let time_max = time_max.map(|time| Timespec {
            tv_sec: time.as_secs() as _,
            tv_nsec: time.subsec_nanos() as _,
        });
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, spare, time_max.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            self.sort(*event, happenings);
        }
        self.events = events;
        Ok(())
    }

    fn sort(&mut self, event: epoll::Event, happenings: &mut Vec<Happening>) {
        let flags = event.flags;
        let number = event.data.u64();
        let key = Key { index: number as u32, generation: (number >> 32) as u32 & 0xff_ffff };
        match number >> 56 {
            n if n == Who::Listener as u64 => self.accept(happenings),
            n if n == Who::Pending as u64 => self.go_on(key, happenings),
            n if n == Who::Engine as u64 => happenings.push(Happening::Engine(key)),
            _ => {
                let left = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
                happenings.push(Happening::Viewer { key, left: flags.intersects(left) });
            }
        }
    }

    fn accept(&mut self, happenings: &mut Vec<Happening>) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            match net::accept_with(&self.listener, flags) {
                Ok(fd) => self.read(Pending { fd, head: Vec::new() }, happenings),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    eprintln!("floor: accept: {error}");
                    return;
                }
            }
        }
    }

    fn go_on(&mut self, key: Key, happenings: &mut Vec<Happening>) {
        let Some(pending) = self.pending.remove(key) else { return };
        // Registered again under its new name, whatever that will be.
        let _ = epoll::delete(&self.epoll, &pending.fd);
        self.read(pending, happenings);
    }

    fn read(&mut self, mut pending: Pending, happenings: &mut Vec<Happening>) {
        let mut bytes = [0; HEAD_BYTES_MAX];
        match net::recv(&pending.fd, &mut bytes[..], RecvFlags::empty()) {
            Ok((_, 0)) => return,
            Ok((_, len)) => pending.head.extend_from_slice(&bytes[..len]),
            Err(Errno::AGAIN) => {}
            Err(_) => return,
        }
        if request::head_len(&pending.head).is_some() {
            match request::infohash(&pending.head) {
                Some(name) => happenings.push(Happening::Join(pending.fd, name.to_owned())),
                None => refuse(&pending.fd, request::NOT_FOUND),
            }
        } else if pending.head.len() < HEAD_BYTES_MAX {
            let key = self.pending.insert(pending);
            let pending = self.pending.get(key).expect("it was just put there");
            let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
            if epoll::add(&self.epoll, &pending.fd, data(Who::Pending, key), flags).is_err() {
                self.pending.remove(key);
            }
        }
    }
}

/// A whole answer to somebody who is then hung up on.
pub(crate) fn refuse(fd: &OwnedFd, answer: &[u8]) {
    let _ = net::send(fd, answer, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}

/// As many open files as the system lets us have.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn data(who: Who, key: Key) -> EventData {
    let number = (who as u64) << 56 | u64::from(key.generation) << 32 | u64::from(key.index);
    EventData::new_u64(number)
}

/// What is set here is inherited by every viewer's socket, at no system call per viewer.
fn listener(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { net::AddressFamily::INET } else { net::AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = net::socket_with(family, net::SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if let Err(error) = sockopt::set_tcp_congestion(&fd, "cubic") {
        eprintln!("floor: congestion control stays as it is, cubic: {error}");
    }
    sockopt::set_tcp_nodelay(&fd, true)?;
    if sockopt::set_socket_send_buffer_size_force(&fd, SEND_BUFFER_BYTES).is_err() {
        sockopt::set_socket_send_buffer_size(&fd, SEND_BUFFER_BYTES)?;
    }
    net::bind(&fd, &addr)?;
    net::listen(&fd, BACKLOG)?;
    Ok(fd)
}
