//! The command line.

use std::net::SocketAddr;

use clap::Parser;
use clap::ValueEnum;

/// The cheapest servers that can be written, to measure against.
#[derive(Parser, Debug)]
#[command(version)]
pub(crate) struct Args {
    /// How bytes go to viewers.
    #[arg(value_enum)]
    pub(crate) how: How,

    /// Where viewers come: `GET /…?id=HEX`.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: SocketAddr,

    /// The AceStream engine.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) engine: SocketAddr,

    /// Bytes per send; less goes out only when the oldest unsent byte is 100 ms old.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(188..=1 << 20))]
    pub(crate) send_bytes: u64,

    /// Not a word about viewers that were too slow or engines that failed.
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// epoll and write() from one buffer per stream.
    Write,
    /// epoll and sendfile() from a memory file per stream.
    Sendfile,
    /// io_uring SEND_ZC from a registered buffer per stream.
    Zerocopy,
    /// One viewer per stream: recv() and send() of the same bytes.
    Relay,
}
