//! The tree of commands and flags.

use std::path::PathBuf;

use clap::Arg;
use clap::ArgAction;
use clap::Command;
use clap::builder::NonEmptyStringValueParser;
use clap::value_parser;
use clap_complete::Shell;

use crate::config::kind::Kind;
use crate::config::table::Effect;
use crate::config::table::Row;
use crate::config::table::rows;

pub(super) const CONFIG: &str = "config";

const ABOUT: &str = "One AceStream session per channel, fanned out to any number of players";

const AFTER: &str = "\
Each setting is also an environment variable and a key of the TOML file; a flag wins over the \
environment, the environment over the file. --help says more than -h, `ringcast config` says \
what is in effect.";

pub fn command() -> Command {
    let root = Command::new("ringcast")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER)
        .disable_help_subcommand(true)
        .args_override_self(true)
        .max_term_width(100);
    let settings = |name: &'static str, about: &'static str| {
        with_settings(Command::new(name).about(about).args_override_self(true))
    };
    let check = Arg::new("check")
        .long("check")
        .action(ArgAction::SetTrue)
        .help("Only validate: exit 2 and say what is wrong");
    let url = Arg::new("url")
        .value_name("URL")
        .help("What to ask [default: /readyz on the first address of RINGCAST_LISTEN]");
    let shell =
        Arg::new("shell").required(true).value_name("SHELL").value_parser(value_parser!(Shell));
    with_settings(root)
        .subcommand(settings("serve", "Serve streams; the default without a command"))
        .subcommand(settings("demo", "Serve a test card from a built-in engine, on loopback"))
        .subcommand(settings("doctor", "Check this host, the engines and Redis, with fixes"))
        .subcommand(
            settings("config", "Print every effective setting with its unit and origin").arg(check),
        )
        .subcommand(
            Command::new("healthcheck")
                .about("Exit 0 when a running server is ready")
                .arg(url)
                .arg(config_file()),
        )
        .subcommand(Command::new("completions").about("Print completions for a shell").arg(shell))
        .subcommand(Command::new("man").about("Print the manual page"))
}

fn with_settings(command: Command) -> Command {
    let command = command.arg(config_file());
    rows().fold(command, |command, row| {
        let command = command.arg(setting(row));
        if row.file_flag.is_empty() { command } else { command.arg(secret_file(row)) }
    })
}

fn config_file() -> Arg {
    Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("TOML file with settings and channels [env: RINGCAST_CONFIG]")
}

fn setting(row: &'static Row) -> Arg {
    let arg = Arg::new(row.flag)
        .long(row.flag)
        .value_name(row.kind.placeholder())
        .help_heading(row.group.title())
        .help(short_help(row))
        .long_help(long_help(row));
    if row.kind == Kind::Switch {
        // `--allow-magnet` alone is on.
        return arg.num_args(0..=1).require_equals(true).default_missing_value("on");
    }
    if row.kind.is_list() { arg.action(ArgAction::Append) } else { arg }
}

fn secret_file(row: &'static Row) -> Arg {
    Arg::new(row.file_flag)
        .long(row.file_flag)
        .value_name("FILE")
        .value_parser(NonEmptyStringValueParser::new())
        .help_heading(row.group.title())
        .help(format!("File that holds --{}, a line each", row.flag))
        .hide_short_help(true)
}

fn short_help(row: &Row) -> String {
    let not_yet = match row.effect {
        Effect::Full => String::new(),
        Effect::Part(what) => format!(" (not yet in effect: {what})"),
        Effect::Pending => " (not yet in effect)".to_owned(),
    };
    format!("{}{not_yet} [default: {}]", row.help, row.default_text())
}

fn long_help(row: &Row) -> String {
    let env = if row.secret { format!("{0} or {0}_FILE", row.name) } else { row.name.to_owned() };
    format!("{}\n[env: {env}] [accepts: {}]", short_help(row), row.kind.accepts())
}
