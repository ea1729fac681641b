//! One line for a command line that cannot be taken: what it was, and what is accepted.

use clap::Error;
use clap::error::ContextKind;
use clap::error::ContextValue;
use clap::error::ErrorKind;

use super::tree::command;
use crate::config::nearest::nearest;
use crate::config::table::rows;

pub(super) fn line(error: &Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        Some(_) | None => String::new(),
    };
    let wrong = text(ContextKind::InvalidArg);
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is not exhaustive")]
    match error.kind() {
        ErrorKind::UnknownArgument if wrong.starts_with('-') => {
            let flags = flags();
            let near = nearest(&wrong, flags.iter().map(String::as_str));
            format!("unknown flag {wrong}; the nearest is {}", near.map_or("--help", |near| near.0))
        }
        ErrorKind::InvalidSubcommand => {
            let wrong = text(ContextKind::InvalidSubcommand);
            let tree = command();
            let near = nearest(&wrong, tree.get_subcommands().map(clap::Command::get_name));
            format!(
                "unknown command {wrong}; the nearest is {}",
                near.map_or("serve", |near| near.0)
            )
        }
        ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_empty() => {
            format!("{wrong} needs a value; accepted: {}", accepted(&wrong))
        }
        ErrorKind::InvalidValue => {
            let value = text(ContextKind::InvalidValue);
            format!(
                "{wrong}: \"{value}\" is not accepted; accepted: {}",
                text(ContextKind::ValidValue)
            )
        }
        ErrorKind::MissingRequiredArgument => {
            format!("{wrong} is missing; accepted: {}", shells())
        }
        _ => first_line(&error.render().to_string()),
    }
}

/// `--listen <ADDR:PORT>` is the flag `listen`.
fn accepted(shown: &str) -> String {
    let flag = shown.trim_start_matches('-').split([' ', '=', '[']).next().unwrap_or("");
    match rows().find(|row| row.flag == flag) {
        Some(row) => row.kind.accepts(),
        None => "a file".to_owned(),
    }
}

fn shells() -> String {
    use clap::ValueEnum;
    let names = clap_complete::Shell::value_variants().iter().map(ToString::to_string);
    names.collect::<Vec<String>>().join(", ")
}

fn flags() -> Vec<String> {
    let tree = command();
    let of_all = std::iter::once(&tree).chain(tree.get_subcommands());
    of_all
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_long)
        .chain(["help", "version"])
        .map(|long| format!("--{long}"))
        .collect()
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
