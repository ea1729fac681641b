//! The cheapest servers that can be written for what ringcast does, to measure it against.
//!
//! `floor write|sendfile|zerocopy|relay`: one thread, one epoll instance, the fewest system calls
//! that we can think of, reading the same engine. Nothing of the product is linked. They keep no
//! promise but one: whoever gets bytes gets the engine's bytes without a gap; a viewer that is too
//! slow for that is closed and counted on stderr.

mod args;
mod clock;
mod feed;
mod framing;
mod front;
mod kind;
mod relay;
mod request;
mod server;
mod table;
mod viewers;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::args::How;
use crate::front::Front;
use crate::kind::sendfile::SendFile;
use crate::kind::write::Write;
use crate::kind::zerocopy::ZeroCopy;
use crate::relay::Relay;
use crate::server::Server;

fn main() -> ExitCode {
    let args = Args::parse();
    let Err(error) = run(&args) else { return ExitCode::SUCCESS };
    eprintln!("floor: {error}");
    ExitCode::FAILURE
}

/// Serves until killed. The kind comes first: no socket listens for what the kernel cannot do.
fn run(args: &Args) -> io::Result<()> {
    front::raise_open_files();
    let bytes = args.send_bytes;
    match args.how {
        How::Write => Server::new(Write::new(bytes), open(args)?, args).run(),
        How::Sendfile => Server::new(SendFile::new(bytes)?, open(args)?, args).run(),
        How::Zerocopy => Server::new(ZeroCopy::new(bytes)?, open(args)?, args).run(),
        How::Relay => Relay::new(open(args)?, args).run(),
    }
}

#[expect(clippy::print_stdout, reason = "whoever started it waits for this line")]
fn open(args: &Args) -> io::Result<Front> {
    let front = Front::open(args.listen)?;
    println!("listening on {}", front.addr()?);
    Ok(front)
}
