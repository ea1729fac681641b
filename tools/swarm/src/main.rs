//! swarm: thousands of viewers from one core, for load and for measuring.
//!
//! A viewer here is a TCP connection and a few numbers. The first K are really read and verified
//! packet by packet; the rest are emptied by `recv(MSG_TRUNC)`, which copies nothing, in sweeps
//! that wake nobody. What is measured is the server; the swarm is built to cost little beside it.
//! One thread, on tokio-uring's runtime (plain tokio where io_uring is forbidden).

mod checked;
mod chunked;
mod course;
mod crowd;
mod distribution;
mod events;
mod head;
mod host;
mod join;
mod metrics;
mod options;
mod process;
mod report;
mod socket;
mod summary;
mod sweep;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    match measure(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("swarm: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<(), String> {
    let outcome = block_on(course::run(options.clone()))??;
    let json = serde_json::to_string(&outcome.report).map_err(|error| error.to_string())? + "\n";
    match &options.report {
        Some(path) => {
            std::fs::write(path, json).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        None => std::io::stdout().write_all(json.as_bytes()).map_err(|error| error.to_string())?,
    }
    eprint!("{}", summary::of(&outcome));
    Ok(())
}

/// Nothing here needs io_uring's own operations, so that a host without them measures as well.
fn block_on<F: Future + 'static>(future: F) -> Result<F::Output, String> {
    if let Ok(runtime) = tokio_uring::Runtime::new(&tokio_uring::builder()) {
        return Ok(runtime.block_on(future));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    Ok(tokio::task::LocalSet::new().block_on(&runtime, future))
}
