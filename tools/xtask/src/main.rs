//! `cargo xtask`: the project's own commands.
//!
//! `test` is the whole truth about a tree: packages, format, lints, tests, the ring's memory
//! model. It stops at the first step that fails and names it; a deep run goes on. What cannot be run on a machine is
//! printed as NOT RUN, with the command that would change that; nothing is skipped in silence.
//! `perf` measures; a slow result is not a failure.

#![expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]

mod cargo;
mod instructions;
mod packages;
mod perf;
mod plant;
mod runner;
mod steps;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask test [--deep] [STEP…] | docs | static | perf [SCENARIO…]
                   | instructions [--keep] | plant [--seeds N] [BUG…]

  test      install what the tests need, then format, lints and tests (under 25 minutes, two cores)
  --deep    also what takes long: more of the memory model, miri, 100 000 seeds, long runs
  STEP…     these steps alone (a name that is none lists them)
  docs      write the generated pages again (docs/SETTINGS.md, docs/help.txt, README's table)
  static    build the static musl binary for the container
  perf      measure (cargo xtask perf --help; perf/README.md)
  instructions
            count those of each benchmark; --keep writes perf/instructions.md
  plant     how many seeds of the simulator find each bug of tests/planted, in a copy of the tree";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test", words @ ..] => steps::test(words),
        ["docs"] => steps::docs(),
        ["instructions"] => instructions::instructions(false),
        ["instructions", "--keep"] => instructions::instructions(true),
        ["plant", words @ ..] => plant::plant(words),
        ["static"] => steps::static_binary(),
        ["perf", "-h" | "--help"] => {
            println!("{}", perf::USAGE);
            Ok(())
        }
        ["perf", words @ ..] => perf::run(words),
        [] | ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => {
            eprintln!("xtask: unknown command `{}`\n{USAGE}", words.join(" "));
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(step) => {
            eprintln!("xtask: {step}");
            ExitCode::FAILURE
        }
    }
}
