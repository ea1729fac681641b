//! Floor 7: the command line. It decides what runs; each command is a module of its own.
//!
//! Exit codes: 0 is ok, 1 is a failure at run time, 2 is a wrong command line or setting, said in
//! one line on stderr.

pub mod boot;
pub mod cli;
pub mod demo;
pub mod doctor;
mod errand;
pub mod healthcheck;
pub mod host;
mod journaling;
pub mod log;
mod mirror;
mod names;
pub mod output;
pub mod probe;
mod reload;
pub mod serve;
pub mod wire;

use std::process::ExitCode;

use crate::app::boot::Boot;
use crate::app::cli::Command;
use crate::app::cli::Invocation;
use crate::app::cli::Stop;
use crate::config;

/// A wrong command line or setting.
pub const EXIT_USAGE: u8 = 2;

pub fn main() -> ExitCode {
    let environment = std::env::vars_os().collect();
    match cli::parse(std::env::args_os(), environment) {
        Ok(invocation) => run(invocation),
        Err(Stop::Print(text)) => output::print(&text),
        Err(Stop::Usage(line)) => usage(&line),
    }
}

/// One line on stderr, exit 2.
fn usage(text: &str) -> ExitCode {
    for line in text.lines() {
        output::complain(line);
    }
    ExitCode::from(EXIT_USAGE)
}

fn run(invocation: Invocation) -> ExitCode {
    match invocation.command {
        Command::Completions(shell) => output::print_bytes(&cli::completions(shell)),
        Command::Man => output::print_bytes(&cli::man()),
        Command::Healthcheck { ref url } => healthcheck::run(url.as_deref(), &invocation.sources),
        Command::Config { check } => config_command(&invocation, check),
        Command::Doctor => with_settings(invocation, doctor::run),
        Command::Serve => with_settings(invocation, serve::run),
        Command::Demo => with_settings(invocation, demo::run),
    }
}

fn config_command(invocation: &Invocation, check: bool) -> ExitCode {
    let facts = host::facts(&crate::net::host::features(), &invocation.sources.environment);
    match config::load(&invocation.sources, &facts) {
        Err(errors) => usage(&errors.to_string()),
        Ok(loaded) => {
            for notice in &loaded.notices {
                output::complain(notice);
            }
            if check { ExitCode::SUCCESS } else { output::print(&loaded.report.table()) }
        }
    }
}

fn with_settings(invocation: Invocation, command: fn(Boot) -> ExitCode) -> ExitCode {
    match Boot::new(invocation.sources) {
        Ok(boot) => command(boot),
        Err(errors) => usage(&errors.to_string()),
    }
}

#[cfg(test)]
mod tests;
