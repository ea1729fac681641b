//! The command line, built from the table of settings: parsing, help, man page, completions.
//!
//! Values of flags are taken as text: the table reads them, so that a flag, a variable and a key
//! are refused with the same words.

mod manual_sections;
mod refuse;
mod tree;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;
use clap_complete::Shell;

use crate::config::Sources;
use crate::config::load::FlagValue;
use crate::config::table::rows;

pub use tree::command;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Serve,
    Demo,
    Doctor,
    Config { check: bool },
    Healthcheck { url: Option<String> },
    Completions(Shell),
    Man,
}

#[derive(Clone, Debug)]
pub struct Invocation {
    pub command: Command,
    pub sources: Sources,
}

/// The command line ends here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Help or version, for stdout.
    Print(String),
    /// What was wrong, one line.
    Usage(String),
}

pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Vec<(OsString, OsString)>,
) -> Result<Invocation, Stop> {
    let matches = command().try_get_matches_from(arguments).map_err(|error| {
        if error.use_stderr() {
            Stop::Usage(refuse::line(&error))
        } else {
            Stop::Print(error.render().to_string())
        }
    })?;
    let (command, within) = match matches.subcommand() {
        None => (Command::Serve, None),
        Some((name, within)) => (named(name, within), Some(within)),
    };
    let mut sources = Sources { environment, ..Sources::default() };
    // What stands behind the command replaces what stands before it.
    for matches in std::iter::once(&matches).chain(within) {
        collect(matches, &mut sources);
    }
    Ok(Invocation { command, sources })
}

fn named(name: &str, within: &ArgMatches) -> Command {
    match name {
        "serve" => Command::Serve,
        "demo" => Command::Demo,
        "doctor" => Command::Doctor,
        "config" => Command::Config { check: within.get_flag("check") },
        "healthcheck" => Command::Healthcheck { url: within.get_one::<String>("url").cloned() },
        "man" => Command::Man,
        "completions" => {
            let shell = within.get_one::<Shell>("shell");
            Command::Completions(*shell.expect("the argument is required"))
        }
        other => unreachable!("{other} is not in the tree"),
    }
}

fn collect(matches: &ArgMatches, sources: &mut Sources) {
    // A command without settings has no such arguments, which is no mistake here.
    if let Ok(Some(path)) = matches.try_get_one::<PathBuf>(tree::CONFIG) {
        sources.file = Some(path.clone());
    }
    for row in rows() {
        for (flag, from_file) in [(row.flag, false), (row.file_flag, true)] {
            if flag.is_empty() {
                continue;
            }
            if let Ok(Some(items)) = matches.try_get_many::<String>(flag) {
                let items: Vec<String> = items.cloned().collect();
                sources
                    .flags
                    .retain(|earlier| earlier.key != row.key || earlier.from_file != from_file);
                sources.flags.push(FlagValue { key: row.key, from_file, items });
            }
        }
    }
}

pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "ringcast", &mut script);
    script
}

/// The manual page, section 1.
pub fn man() -> Vec<u8> {
    let manual = clap_mangen::Man::new(command()).manual("ringcast manual").source("ringcast");
    let mut page = Vec::new();
    let rendered = manual
        .render_title(&mut page)
        .and_then(|()| manual.render_name_section(&mut page))
        .and_then(|()| manual_sections::before_options().to_writer(&mut page))
        .and_then(|()| manual.render_options_section(&mut page))
        .and_then(|()| manual_sections::after_options().to_writer(&mut page));
    rendered.expect("a Vec takes everything");
    page
}
