//! An AceStream engine that is not one: its HTTP API, its timing and its faults.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! use ace_emulator::{Channel, Config, Emulator, Knob};
//! let infohash = "0123456789abcdef0123456789abcdef01234567";
//! let mut emulator = Emulator::start(Config::default().channel(Channel::signed(infohash)))?;
//! emulator.control().set_next(2, Knob::Start500, "start timeout");
//! println!("{}/ace/getstream?infohash={infohash}", emulator.base_url());
//! emulator.stop();
//! # Ok(())
//! # }
//! ```
//! It shares no code with the proxy that is tested against it.

mod clock;
mod config;
mod conn;
mod control;
mod counters;
mod engine;
mod http;
mod json;
mod knobs;
mod md5;
mod prng;
mod routes;
mod server;
mod session;
pub mod source;
pub mod verify;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

pub use clock::now_us;
pub use config::Channel;
pub use config::Config;
pub use config::DEMO_CONTENT_ID;
pub use config::DEMO_INFOHASH;
pub use config::DEMO_NAME;
pub use config::SignedSource;
pub use config::Source;
pub use config::tag_of;
pub use conn::End;
pub use control::Control;
pub use control::SessionInfo;
pub use counters::Counters;
pub use knobs::Kind;
pub use knobs::Knob;
pub use knobs::Value;
pub use md5::md5_hex;
pub use session::SessionKind;
pub use session::SessionState;
pub use source::picture::Picture;
pub use source::signed;
pub use verify::Report;
pub use verify::Verifier;

/// A running engine; it ends when this is dropped.
pub struct Emulator {
    control: Control,
    janitor: Option<JoinHandle<()>>,
}

impl Emulator {
    pub fn start(config: Config) -> io::Result<Emulator> {
        let control = Control { engine: engine::Engine::new(config)? };
        let mut emulator = Emulator { control, janitor: None };
        server::open(&emulator.control.engine)?;
        emulator.janitor = Some(server::spawn_janitor(&emulator.control.engine)?);
        Ok(emulator)
    }

    /// Where it listens; the first of several addresses.
    pub fn addr(&self) -> SocketAddr {
        self.control.engine.addr().expect("a started emulator has an address")
    }

    /// `http://127.0.0.1:6878`, without a slash at the end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Where `/emulator/…` listens apart from the engine, if so configured.
    pub fn control_addr(&self) -> Option<SocketAddr> {
        let engine = &self.control.engine;
        engine.listeners.lock().unwrap_or_else(PoisonError::into_inner).control_addr
    }

    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The engine process dies: see `Control::kill`.
    pub fn kill(&self) {
        self.control.kill();
    }

    /// Dies (unless dead) and comes up at once on the same address, all sessions forgotten.
    pub fn restart(&self) -> io::Result<()> {
        self.control.restart(0)
    }

    /// Ends it: listeners closed, connections reset, threads gone.
    pub fn stop(&mut self) {
        let engine: &Arc<engine::Engine> = &self.control.engine;
        if engine.over.swap(true, Ordering::AcqRel) {
            return;
        }
        self.control.kill();
        server::close_control(engine);
        if let Some(janitor) = self.janitor.take() {
            let _ = janitor.join();
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop();
    }
}
