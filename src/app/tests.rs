//! The command line as a function: arguments and variables in, a command and settings out.

use std::ffi::OsString;

use clap_complete::Shell;

use crate::app::cli;
use crate::app::cli::Command;
use crate::app::cli::Invocation;
use crate::app::cli::Stop;
use crate::config;
use crate::config::Facts;
use crate::config::Key;
use crate::config::Loaded;
use crate::config::table::rows;

fn parse(arguments: &[&str]) -> Result<Invocation, Stop> {
    let arguments = std::iter::once("ringcast").chain(arguments.iter().copied());
    cli::parse(arguments.map(OsString::from), Vec::new())
}

fn usage(arguments: &[&str]) -> String {
    match parse(arguments) {
        Err(Stop::Usage(line)) => {
            assert_eq!(line.lines().count(), 1, "{line}");
            line
        }
        other => panic!("{other:?}"),
    }
}

fn loaded(arguments: &[&str]) -> Loaded {
    config::load(&parse(arguments).unwrap().sources, &Facts::default()).unwrap()
}

#[test]
fn commands_are_told_apart() {
    let command = |arguments: &[&str]| parse(arguments).unwrap().command;
    assert_eq!(command(&[]), Command::Serve);
    assert_eq!(command(&["--shards", "1"]), Command::Serve);
    assert_eq!(command(&["serve"]), Command::Serve);
    assert_eq!(command(&["demo"]), Command::Demo);
    assert_eq!(command(&["doctor"]), Command::Doctor);
    assert_eq!(command(&["config"]), Command::Config { check: false });
    assert_eq!(command(&["config", "--check"]), Command::Config { check: true });
    assert_eq!(command(&["healthcheck"]), Command::Healthcheck { url: None });
    let url = Some("http://h".to_owned());
    assert_eq!(command(&["healthcheck", "http://h"]), Command::Healthcheck { url });
    assert_eq!(command(&["completions", "bash"]), Command::Completions(Shell::Bash));
    assert_eq!(command(&["man"]), Command::Man);
}

#[test]
fn every_row_has_its_flag_in_every_command_that_loads() {
    for command in [&[][..], &["serve"], &["demo"], &["doctor"], &["config"]] {
        for row in rows() {
            let flag = format!("--{}=x", row.flag);
            let invocation = parse(&[command, &[flag.as_str()]].concat()).unwrap();
            let given = &invocation.sources.flags[0];
            assert_eq!((given.key, given.items.as_slice()), (row.key, &["x".to_owned()][..]));
        }
    }
}

#[test]
fn lists_repeat_and_other_flags_are_replaced() {
    let settings =
        loaded(&["serve", "--listen=:1", "--listen", "127.0.0.1:2", "--shards=1", "--shards=2"])
            .settings;
    assert_eq!(settings.listen.len(), 2);
    assert_eq!(settings.shards, 2);
    let both = loaded(&["--shards=3", "--engine=a", "serve", "--shards=4"]).settings;
    assert_eq!(both.shards, 4);
    assert_eq!(both.engines[0].to_string(), "a:6878");
}

#[test]
fn a_switch_needs_no_value() {
    assert!(loaded(&["--allow-magnet"]).settings.allow_magnet);
    assert!(loaded(&["--allow-magnet=on", "serve"]).settings.allow_magnet);
    assert!(!loaded(&["--allow-magnet=off"]).settings.allow_magnet);
}

#[test]
fn the_flags_of_the_contract_are_there() {
    let invocation = parse(&[
        "serve",
        "--config",
        "x.toml",
        "--listen",
        "[::]:1",
        "--engine",
        "a,max=2",
        "--redis",
        "redis://r",
        "--shards",
        "auto",
        "--memory",
        "64MiB",
        "--log",
        "json",
    ]);
    let sources = invocation.unwrap().sources;
    assert_eq!(sources.file, Some("x.toml".into()));
    let keys: Vec<Key> = sources.flags.iter().map(|flag| flag.key).collect();
    let wanted = [Key::Listen, Key::Engines, Key::Shards, Key::Memory, Key::RedisUrl, Key::Log];
    assert_eq!(keys, wanted);
}

#[test]
fn a_secret_can_come_from_a_file_named_by_a_flag() {
    let sources = parse(&["--play-token-file", "/run/token"]).unwrap().sources;
    assert!(sources.flags[0].from_file);
    let errors = config::load(&sources, &Facts::default()).unwrap_err().to_string();
    assert!(errors.starts_with("RINGCAST_PLAY_TOKEN_FILE=\"/run/token\" (flag --play-token-file)"));
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    assert_eq!(usage(&["--lisen", ":1"]), "unknown flag --lisen; the nearest is --listen");
    assert_eq!(usage(&["serv"]), "unknown command serv; the nearest is serve");
    assert_eq!(usage(&["--shards"]), "--shards <N> needs a value; accepted: auto or 1 to 64");
    assert_eq!(
        usage(&["--listen"]),
        "--listen <ADDR:PORT> needs a value; accepted: ADDRESS:PORT, [v6]:PORT or :PORT (several)"
    );
    assert!(usage(&["completions"]).contains("accepted: bash, elvish, fish"));
    assert!(usage(&["completions", "cmd"]).contains("accepted: bash, elvish, fish"));
    assert!(usage(&["man", "extra"]).contains("extra"));
    assert!(usage(&["healthcheck", "--shards", "1"]).contains("--shards"));
    assert!(usage(&["config", "--chek"]).ends_with("the nearest is --check"));
}

#[test]
fn help_and_version_are_no_errors() {
    let printed = |arguments: &[&str]| match parse(arguments) {
        Err(Stop::Print(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(printed(&["--version"]), format!("ringcast {}\n", env!("CARGO_PKG_VERSION")));
    let help = printed(&["--help"]);
    for row in rows() {
        assert!(help.contains(&format!("--{}", row.flag)), "{}", row.flag);
        assert!(help.contains(row.name), "{}", row.name);
    }
    assert!(printed(&["serve", "-h"]).contains("--engine <SPEC>"));
}

/// The page as users see it; changes of it are to be looked at.
#[test]
fn the_help_page_is_the_recorded_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/help.txt");
    let page = cli::command().term_width(100).render_long_help().to_string();
    let page: String = page.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let recorded = std::fs::read_to_string(path).unwrap_or_default();
    assert!(recorded == page, "docs/help.txt is not what --help says: cargo xtask docs");
}

#[test]
fn the_manual_has_its_sections_and_every_flag() {
    let page = String::from_utf8(cli::man()).unwrap();
    for section in
        ["NAME", "SYNOPSIS", "COMMANDS", "OPTIONS", "ENVIRONMENT", "SIGNALS", "\"EXIT STATUS\""]
    {
        assert!(page.contains(&format!(".SH {section}\n")), "{section}\n{}", &page[..2_000]);
    }
    for row in rows() {
        let flag = row.flag.replace('-', "\\-");
        assert!(page.contains(&format!("\\-\\-{flag}\\fR")), "{flag}");
    }
}

#[test]
fn completions_know_every_flag() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = String::from_utf8(cli::completions(shell)).unwrap();
        for row in rows() {
            assert!(script.contains(row.flag), "{shell}: {}", row.flag);
        }
    }
}
