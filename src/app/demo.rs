//! `ringcast demo`: the same server, with a built-in engine that plays a test card.
//!
//! The engine speaks the real protocol on a loopback port of its own; nothing of the server is
//! different because of it. Needs nothing installed.

use crate::app::boot::Boot;
use crate::app::output;
#[cfg(feature = "demo")]
use crate::config::settings::Join;
use std::process::ExitCode;
#[cfg(feature = "demo")]
use std::time::Duration;

/// Ports that are tried from the wished one on.
#[cfg(feature = "demo")]
const PORTS_MAX: u16 = 50;

/// Players look at five seconds of a stream before they show it, and get these at once.
#[cfg(feature = "demo")]
const JOIN: Join = Join::Behind(Duration::from_secs(6));

#[cfg(not(feature = "demo"))]
pub fn run(_boot: Boot) -> ExitCode {
    output::complain("this build has no demo: build it with the feature `demo`");
    ExitCode::FAILURE
}

#[cfg(feature = "demo")]
pub fn run(mut boot: Boot) -> ExitCode {
    use ace_emulator::Config;
    use ace_emulator::Emulator;
    let engine = match Emulator::start(Config::demo()) {
        Ok(engine) => engine,
        Err(error) => {
            output::complain(&format!("the built-in engine cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let _log = crate::app::log::init(boot.settings.log, boot.settings.log_level);
    // The engine ends with us, and its sessions with it.
    boot.settings.state_dir = None;
    if boot.settings.join == Join::Auto {
        boot.settings.join = JOIN;
    }
    boot.settings.engines =
        vec![format!("{},name=demo", engine.addr()).parse().expect("our own SPEC")];
    boot.own_engines = true;
    let wished = listen(&mut boot);
    match crate::app::serve::start(&boot) {
        Ok(running) => {
            let address = running.listening[0];
            output::print(&welcome(address, wished, ace_emulator::DEMO_CONTENT_ID));
            let code = running.stay();
            drop(engine);
            code
        }
        Err(line) => {
            output::complain(&line);
            ExitCode::FAILURE
        }
    }
}

/// Loopback unless an address was asked for; a busy port gives the next free one. Returns the
/// port that was wished.
#[cfg(feature = "demo")]
fn listen(boot: &mut Boot) -> u16 {
    use std::net::IpAddr;
    use std::net::Ipv4Addr;
    use std::net::SocketAddr;
    use std::net::TcpListener;
    let first = boot.settings.listen[0];
    let ip = if first.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { first.ip() };
    let wished = first.port();
    let tried = (wished..=wished.saturating_add(PORTS_MAX)).map(|port| SocketAddr::new(ip, port));
    // Bound and let go: the server's own probe decides in the end.
    let free = tried.into_iter().find(|address| TcpListener::bind(address).is_ok());
    boot.settings.listen = vec![free.unwrap_or(first)];
    wished
}

#[cfg(feature = "demo")]
fn welcome(address: std::net::SocketAddr, wished: u16, id: &str) -> String {
    let busy = if address.port() == wished {
        String::new()
    } else {
        format!("  port {wished} is in use, so this is port {}\n", address.port())
    };
    format!(
        "\nringcast demo: a built-in engine plays a test card\n{busy}\n\
         \x20 watch    vlc http://{address}/ace/getstream?id={id}\n\
         \x20          mpv http://{address}/ace/getstream?id={id}\n\
         \x20          ffplay http://{address}/ace/getstream?id={id}\n\
         \x20 look     http://{address}/api/v1/status\n\
         \x20          http://{address}/api/v1/viewers\n\
         \x20          http://{address}/metrics\n\n\
         \x20 Ctrl-C ends it.\n\n"
    )
}
