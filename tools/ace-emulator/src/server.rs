//! Sockets and threads: listeners, one thread per connection, killing and restarting.

use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;

use rustix::net::Shutdown;
use rustix::net::shutdown;

use crate::clock::now_us;
use crate::clock::sleep_ms;
use crate::conn::Conn;
use crate::counters::bump;
use crate::engine::Engine;
use crate::engine::World;
use crate::knobs::Knob;
use crate::routes;

const STACK_BYTES: usize = 256 * 1024;
const JANITOR_MS_MAX: u64 = 250;
const BIND_WAIT_US: u64 = 5_000_000;

/// The listening sockets, and the addresses they have or had.
#[derive(Default)]
pub(crate) struct Listeners {
    pub(crate) addrs: Vec<SocketAddr>,
    open: Vec<Listener>,
    control: Option<Listener>,
    pub(crate) control_addr: Option<SocketAddr>,
}

struct Listener {
    socket: Arc<TcpListener>,
    thread: JoinHandle<()>,
}

impl Listener {
    fn close(self) {
        // Wakes the accept and refuses whoever comes now; the socket closes with the thread.
        let _ = shutdown(&self.socket, Shutdown::Both);
        drop(self.socket);
        let _ = self.thread.join();
    }
}

/// Binds the configured addresses, or those of the first time again.
pub(crate) fn open(engine: &Arc<Engine>) -> io::Result<()> {
    let mut listeners = engine.listeners.lock().unwrap_or_else(PoisonError::into_inner);
    if !listeners.open.is_empty() || engine.is_over() {
        return Ok(());
    }
    let again = !listeners.addrs.is_empty();
    let wanted = if again { listeners.addrs.clone() } else { engine.config.listen.clone() };
    let mut addrs: Vec<SocketAddr> = Vec::new();
    for mut addr in wanted {
        if let (0, Some(first)) = (addr.port(), addrs.first()) {
            addr.set_port(first.port());
        }
        let socket = bind(addr, again)?;
        addrs.push(socket.local_addr()?);
        listeners.open.push(listener(engine, socket, false)?);
    }
    listeners.addrs = addrs;
    if let (Some(addr), None) = (engine.config.control_listen, &listeners.control) {
        let socket = bind(addr, false)?;
        listeners.control_addr = Some(socket.local_addr()?);
        listeners.control = Some(listener(engine, socket, true)?);
    }
    Ok(())
}

/// Closes the engine's listeners: connections are refused.
pub(crate) fn close(engine: &Engine) {
    let open = {
        let mut listeners = engine.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut listeners.open)
    };
    open.into_iter().for_each(Listener::close);
}

/// Closes the control listener too; the end of an emulator.
pub(crate) fn close_control(engine: &Engine) {
    let control = {
        let mut listeners = engine.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.control.take()
    };
    control.into_iter().for_each(Listener::close);
}

/// The thread that expires idle sessions, until the emulator is over.
pub(crate) fn spawn_janitor(engine: &Arc<Engine>) -> io::Result<JoinHandle<()>> {
    let engine = engine.clone();
    thread::Builder::new().name("emulator-janitor".to_owned()).spawn(move || {
        while !engine.is_over() {
            let shortest_ms = engine.world().knobs.least_number(Knob::IdleExpiryMs);
            let expired = {
                let World { sessions, knobs, .. } = &mut *engine.world();
                let expiry_ms =
                    |infohash: &str| knobs.peek_number(Knob::IdleExpiryMs, Some(infohash));
                sessions.expire_idle(expiry_ms, &engine.counting)
            };
            if expired {
                engine.notify();
            }
            sleep_ms((shortest_ms / 8).clamp(5, JANITOR_MS_MAX));
        }
    })
}

fn bind(addr: SocketAddr, again: bool) -> io::Result<TcpListener> {
    let until_us = now_us() + BIND_WAIT_US;
    loop {
        match TcpListener::bind(addr) {
            Err(error) if again && error.kind() == io::ErrorKind::AddrInUse => {
                if now_us() > until_us {
                    return Err(error);
                }
                sleep_ms(5);
            }
            other => return other,
        }
    }
}

fn listener(engine: &Arc<Engine>, socket: TcpListener, control: bool) -> io::Result<Listener> {
    let socket = Arc::new(socket);
    let (engine, accepting) = (engine.clone(), socket.clone());
    let builder = thread::Builder::new().name("emulator-accept".to_owned());
    let thread = builder.spawn(move || accept(&engine, &accepting, control))?;
    Ok(Listener { socket, thread })
}

fn accept(engine: &Arc<Engine>, socket: &TcpListener, control: bool) {
    loop {
        match socket.accept() {
            Ok((stream, peer)) => {
                let slow_ms = engine.world().knobs.peek_number(Knob::SlowAcceptMs, None);
                if slow_ms > 0 && !control {
                    sleep_ms(slow_ms);
                }
                serve(engine, stream, peer, control);
            }
            // Shut down. Out of descriptors is the other reason: wait for some to close.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(_) if engine.is_over() => return,
            Err(_) => sleep_ms(1),
        }
    }
}

fn serve(engine: &Arc<Engine>, stream: TcpStream, peer: SocketAddr, control: bool) {
    bump(&engine.counting.connections_accepted);
    let id = engine.next_conn.fetch_add(1, Ordering::Relaxed);
    let Ok(conn) = Conn::new(id, stream, peer, control) else { return };
    let conn = Arc::new(conn);
    engine.register(&conn);
    let handler = {
        let (engine, conn) = (engine.clone(), conn.clone());
        move || {
            routes::serve(&engine, &conn, control);
            engine.unregister(&conn);
        }
    };
    let builder = thread::Builder::new().stack_size(STACK_BYTES).name(format!("emulator-{id}"));
    if builder.spawn(handler).is_err() {
        engine.unregister(&conn);
    }
}
