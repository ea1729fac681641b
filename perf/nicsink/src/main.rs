//! A network card without a network card.
//!
//! On loopback the kernel copies what zero-copy sends point at, so loopback cannot show what they
//! are worth. `nicsink up` makes two network namespaces joined by a veth: a server runs in one,
//! its clients in the other. What the server streams is swallowed on its way out and acknowledged
//! in the clients' name, without a byte of it being read; `sink.bpf.c` has the rules.
//!
//! It touches nothing outside its namespaces and `/run/nicsink`, and ends no process.

mod host;
mod program;
mod rig;
mod stats;
mod tick;

use clap::Parser;
use clap::Subcommand;
use rig::Rig;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "nicsink", version, about = "A network card without a network card")]
struct Arguments {
    /// Which rig: its namespaces are NAMEsrv and NAMEcli.
    #[arg(long, global = true, default_value = "rc", value_parser = rig::name)]
    name: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make the namespaces and attach the programs; one that stands already stays as it is.
    Up {
        /// The server's port: what leaves from it is swallowed.
        #[arg(long, default_value_t = 8878)]
        port: u16,
    },
    /// Remove everything.
    Down,
    /// Acknowledge, for so long. Nothing is without it; it belongs on another core.
    Tick {
        #[arg(long)]
        seconds: u64,
        /// Between two rounds of acknowledgements.
        #[arg(long, default_value_t = 100)]
        every_us: u32,
    },
    /// Print the counters since `up` as one line of JSON.
    Stats,
    /// Say what this machine lacks.
    Check,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let rig = Rig::new(&arguments.name);
    let done = match arguments.verb {
        Verb::Up { port } => rig.up(port).map(Some),
        Verb::Down => rig.down().map(|()| None),
        Verb::Tick { seconds, every_us } => tick::run(&rig, seconds, every_us).map(|()| None),
        Verb::Stats => stats::read(&rig).map(|stats| Some(stats.to_string())),
        Verb::Check => host::check().map(|()| Some("nothing is lacking".into())),
    };
    match done {
        Ok(said) => {
            said.iter().for_each(|said| say(said));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("nicsink: {why}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "what a caller reads")]
fn say(line: &str) {
    println!("{line}");
}
