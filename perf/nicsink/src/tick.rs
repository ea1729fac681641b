//! The ticks: UDP packets in the server's namespace that the BPF program turns into
//! acknowledgements, up to its limit for each.
//!
//! The kernel does the acknowledging on the core where this runs, so that it is not the server's.

use crate::host::inside;
use crate::program::TICK_PORT;
use crate::rig::CLIENT;
use crate::rig::Rig;
use crate::rig::SERVER;
use rustix::thread::Timespec;
use std::net::UdpSocket;
use std::num::NonZeroU64;
use std::time::Duration;
use std::time::Instant;

/// With it a tick is as long as a TCP segment without payload.
const PAYLOAD: [u8; 12] = [0; 12];

/// Without this the kernel adds up to 50 µs to every pause.
const SLACK_NS: Option<NonZeroU64> = NonZeroU64::new(1_000);

/// Ahead of the clients on the same core, when it may.
const NICE: i32 = -20;

pub(crate) fn run(rig: &Rig, seconds: u64, every_us: u32) -> Result<(), String> {
    rig.port().ok_or_else(|| format!("the rig {} is not up: nicsink up", rig.name()))?;
    let _ = rustix::process::setpriority_process(None, NICE);
    inside(&rig.server(), || ticks(Duration::from_secs(seconds), every_us))
}

fn ticks(length: Duration, every_us: u32) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("a tick: {error}");
    let socket = UdpSocket::bind((SERVER, 0)).map_err(failed)?;
    socket.connect((CLIENT, TICK_PORT)).map_err(failed)?;
    let _ = rustix::thread::set_current_timer_slack(SLACK_NS);
    let every = Duration::from_micros(every_us.into());
    let pause = Timespec { tv_sec: 0, tv_nsec: i64::from(every.subsec_nanos()) };
    let start = now();
    while start.elapsed() < length {
        socket.send(&PAYLOAD).map_err(failed)?;
        // A pause that a signal cuts short is a tick that comes early.
        let _ = rustix::thread::nanosleep(&pause);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "how long it has run; nothing is decided by it")]
fn now() -> Instant {
    Instant::now()
}
