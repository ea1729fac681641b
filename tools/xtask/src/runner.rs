//! One step after the other: what runs is named, timed, and repeated at the end with its results.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

/// How libtest closes the output of one test program.
const RESULT: &str = "test result:";

#[derive(Default)]
pub(crate) struct Runner {
    steps: Vec<Step>,
    not_run: Vec<String>,
}

struct Step {
    name: String,
    took: Duration,
    has_failed: bool,
    /// The closing lines of its test programs.
    results: Vec<String>,
}

#[derive(Default)]
struct Totals {
    passed: u64,
    failed: u64,
}

impl Runner {
    /// Runs `command` with its output passed on.
    pub(crate) fn run(&mut self, name: &str, command: &mut Command) -> Result<(), String> {
        println!("xtask: {name}");
        let started = now();
        let result = match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("step failed: {name} ({status})")),
            Err(error) => Err(format!("step failed: {name}: cannot start {command:?}: {error}")),
        };
        self.finished(name, started, result.is_err(), Vec::new());
        result
    }

    /// Like `run`, and keeps what the test programs say at their end. A step that ran no test has
    /// failed.
    pub(crate) fn tests(&mut self, name: &str, command: &mut Command) -> Result<(), String> {
        println!("xtask: {name}");
        let started = now();
        let mut results = Vec::new();
        let ended = lines_of(command, |line| {
            println!("{line}");
            if line.starts_with(RESULT) {
                results.push(line.to_owned());
            }
        });
        let result = match ended {
            Ok(()) if totals(results.iter()).passed == 0 => Err("it ran no test".to_owned()),
            ended => ended,
        };
        self.finished(name, started, result.is_err(), results);
        result.map_err(|why| format!("step failed: {name}: {why}"))
    }

    /// Something that this machine cannot do. Said now and at the end.
    pub(crate) fn not_run(&mut self, what: &str) {
        println!("xtask: NOT RUN: {what}");
        self.not_run.push(what.to_owned());
    }

    fn finished(&mut self, name: &str, started: Instant, has_failed: bool, results: Vec<String>) {
        let took = started.elapsed();
        println!("xtask: {name}: {} s", took.as_secs());
        self.steps.push(Step { name: name.to_owned(), took, has_failed, results });
    }

    /// The closing lines, where the last page of a long output shows them.
    pub(crate) fn summary(&self) {
        println!();
        for step in &self.steps {
            let failed = if step.has_failed { ": FAILED" } else { "" };
            println!("xtask: {:>5} s  {}{failed}", step.took.as_secs(), step.name);
            for line in &step.results {
                println!("  {line}");
            }
        }
        for what in &self.not_run {
            println!("xtask: NOT RUN: {what}");
        }
        let all: Duration = self.steps.iter().map(|step| step.took).sum();
        let totals = totals(self.steps.iter().flat_map(|step| &step.results));
        println!("xtask: {:>5} s  in all", all.as_secs());
        println!("{} passed, {} failed", totals.passed, totals.failed);
    }
}

/// Runs `command`, gives every line of its stdout to `each`; stderr is passed on.
pub(crate) fn lines_of(command: &mut Command, mut each: impl FnMut(&str)) -> Result<(), String> {
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("cannot start {command:?}: {error}"))?;
    let stdout = child.stdout.take().expect("it was asked for above");
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        each(String::from_utf8_lossy(&line).trim_end_matches('\n'));
        line.clear();
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn totals<'a>(results: impl Iterator<Item = &'a String>) -> Totals {
    let mut totals = Totals::default();
    for line in results {
        // "test result: ok. 12 passed; 0 failed; 0 ignored; …"
        let words: Vec<&str> =
            line.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => totals.passed += count,
                "failed" => totals.failed += count,
                _ => {}
            }
        }
    }
    totals
}

#[expect(clippy::disallowed_methods, reason = "it times programs; the product's clock is not here")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_are_added_up() {
        let lines = [
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out"
                .to_owned(),
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; finished in 1.50s".to_owned(),
        ];
        let totals = totals(lines.iter());
        assert_eq!((totals.passed, totals.failed), (13, 2));
    }

    #[test]
    fn a_step_without_a_test_has_failed() {
        let mut runner = Runner::default();
        let silent = runner.tests("silent", &mut Command::new("true"));
        assert_eq!(silent, Err("step failed: silent: it ran no test".to_owned()));
        let failed = runner.tests("false", &mut Command::new("false"));
        assert!(failed.is_err_and(|why| why.starts_with("step failed: false: exit status: 1")));
        let line = "test result: ok. 1 passed; 0 failed";
        assert_eq!(runner.tests("good", Command::new("echo").arg(line)), Ok(()));
        let failed: Vec<bool> = runner.steps.iter().map(|step| step.has_failed).collect();
        assert_eq!(failed, [true, true, false]);
    }
}
