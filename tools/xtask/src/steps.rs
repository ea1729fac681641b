//! The steps of `cargo xtask test`, in order.
//!
//! Everything is built in one profile and with one choice of features, so that nothing is
//! compiled twice: lints share the build scripts and macros, the programs and all tests share
//! the libraries, and the memory model is the library's test program with one more `--cfg`.

use crate::cargo::MUSL;
use crate::cargo::bench_targets;
use crate::cargo::cargo;
use crate::cargo::cargo_nightly;
use crate::cargo::cargo_test;
use crate::cargo::fuzz_targets;
use crate::cargo::root;
use crate::cargo::target_installed;
use crate::cargo::test_targets;
use crate::cargo::with_files;
use crate::packages;
use crate::plant;
use crate::runner::Runner;
use crate::runner::lines_of;
use crate::tools;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

/// The test target that starts servers, engines and players; it has a step of its own.
const WHOLE: &str = "whole";

/// Involuntary switches of the memory model: with two it takes seconds, and three or more are
/// for `--deep`.
const PREEMPTIONS: &str = "2";

/// Of each fuzz target.
const FUZZ_SECONDS: &str = "-max_total_time=60";

/// One step, under the name by which it is run alone.
struct Step {
    name: &'static str,
    is_deep: bool,
    run: fn(&mut Runner, bool) -> Result<(), String>,
}

const fn always(name: &'static str, run: fn(&mut Runner, bool) -> Result<(), String>) -> Step {
    Step { name, is_deep: false, run }
}

const fn deep(name: &'static str, run: fn(&mut Runner, bool) -> Result<(), String>) -> Step {
    Step { name, is_deep: true, run }
}

const STEPS: &[Step] = &[
    always("format", |runner, _| runner.run("format", cargo().args(["fmt", "--all", "--check"]))),
    always("planted", planted),
    always("lints", lints),
    always("build", build),
    always("model", memory_model),
    always("units", units_and_simulation),
    always("benchmarks", benchmarks),
    always("static", static_check),
    always("packaging", packaging),
    deep("miri", miri),
    deep("tsan", thread_sanitizer),
    deep("fuzz", fuzz),
    always("whole", whole_program),
];

/// `[--deep] [STEP…]`: without a name all of them.
pub(crate) fn test(words: &[&str]) -> Result<(), String> {
    let (deep, names) = match words {
        ["--deep", names @ ..] => (true, names),
        names => (false, names),
    };
    let steps = chosen(deep, names)?;
    packages::install()?;
    let mut runner = Runner::default();
    let result = run_all(&mut runner, deep, &steps);
    runner.summary();
    result
}

fn chosen(deep: bool, names: &[&str]) -> Result<Vec<&'static Step>, String> {
    let there: Vec<&Step> = STEPS.iter().filter(|step| deep || !step.is_deep).collect();
    if let Some(unknown) = names.iter().find(|name| !there.iter().any(|step| step.name == **name)) {
        let known: Vec<&str> = there.iter().map(|step| step.name).collect();
        let flag = if deep { " with --deep" } else { "" };
        return Err(format!("no step `{unknown}`; there are{flag} {}", known.join(", ")));
    }
    let is_asked = |step: &&Step| names.is_empty() || names.contains(&step.name);
    Ok(there.into_iter().filter(is_asked).collect())
}

/// Stops at the first that fails, but a deep run: its hours are not lost to one step, and it says at
/// its end which failed.
fn run_all(runner: &mut Runner, deep: bool, steps: &[&Step]) -> Result<(), String> {
    let mut failed = Vec::new();
    for step in steps {
        if let Err(why) = (step.run)(runner, deep) {
            if !deep {
                return Err(why);
            }
            println!("xtask: {why}");
            failed.push(why);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\nxtask: ")) }
}

/// Whether the bugs that the simulator is measured with still fit the code.
fn planted(runner: &mut Runner, _: bool) -> Result<(), String> {
    if !answers("git", &["--version"]) {
        runner.not_run("tests/planted against the tree (git is not installed)");
        return Ok(());
    }
    println!("xtask: planted bugs");
    plant::check().map_err(|why| format!("step failed: planted bugs: {why}"))
}

fn lints(runner: &mut Runner, _: bool) -> Result<(), String> {
    let all = ["clippy", "-q", "--workspace", "--all-targets", "--locked"];
    runner.run("lints", cargo().args(all).args(["--", "-D", "warnings"]))?;
    let bare = ["clippy", "-q", "--workspace", "--bins", "--no-default-features", "--locked"];
    runner.run("lints without the demo", cargo().args(bare).args(["--", "-D", "warnings"]))
}

/// The programs too: the tests of the whole program start them.
fn build(runner: &mut Runner, _: bool) -> Result<(), String> {
    let programs = ["test", "-q", "--workspace", "--lib", "--bins", "--tests", "--no-run"];
    runner.run("build", cargo().args(programs).args(["--locked"]))
}

fn units_and_simulation(runner: &mut Runner, deep: bool) -> Result<(), String> {
    let targets = test_targets();
    let mut command = cargo_test();
    command.args(["-q", "--no-fail-fast", "--workspace", "--lib", "--bins"]);
    for target in targets.iter().filter(|target| *target != WHOLE) {
        command.args(["--test", target]);
    }
    if !targets.iter().any(|target| target == "sim") {
        runner.not_run("the simulation (there is no tests/sim/main.rs)");
    }
    if deep {
        command.env("SIM_SEEDS", "100000");
    }
    runner.tests("unit tests, tidy and simulation", &mut command)
}

/// Each once, small: so that they still run when somebody needs them.
fn benchmarks(runner: &mut Runner, _: bool) -> Result<(), String> {
    let mut command = cargo();
    command.args(["test", "-q", "--locked"]);
    for target in bench_targets() {
        command.args(["--bench", &target]);
    }
    runner.run("benchmarks, small", &mut command)
}

/// Two at a time: each test starts a server, an engine and players on ports of its own. Thousands of
/// players are compared with none beside them, so a deep run gives each test the whole machine.
fn whole_program(runner: &mut Runner, deep: bool) -> Result<(), String> {
    if !test_targets().iter().any(|target| target == WHOLE) {
        runner.not_run("the whole program (there is no tests/whole/main.rs)");
        return Ok(());
    }
    let mut command = cargo_test();
    let threads = if deep { "--test-threads=1" } else { "--test-threads=2" };
    command.args(["--workspace", "--test", WHOLE, "--", threads]);
    if deep {
        // A program of its own: no test of another package makes cargo build it.
        let swarm = ["build", "-q", "--workspace", "--bin", "swarm", "--locked"];
        runner.run("build the swarm", cargo().args(swarm))?;
        command.env("RINGCAST_TEST_DEEP", "1");
    }
    runner.tests("whole program", &mut command)
}

/// The ring's rules under loom. Only our own crate gets the `--cfg` that swaps the atomics, so
/// the libraries are those that are built already.
fn memory_model(runner: &mut Runner, deep: bool) -> Result<(), String> {
    let mut build = cargo();
    build.args(["rustc", "-q", "--lib", "--profile", "test", "--locked"]);
    build.args(["--message-format=json-render-diagnostics", "--", "--cfg", "ringcast_loom"]);
    println!("xtask: the memory model is built");
    let mut program = None;
    lines_of(&mut build, |line| {
        // The one field that is needed of cargo's messages: "executable":"/…/ringcast-0123".
        if let Some((_, path)) = line.split_once("\"executable\":\"") {
            program = path.split('"').next().map(PathBuf::from);
        }
    })
    .map_err(|why| format!("step failed: the memory model is built: {why}"))?;
    let program = program.ok_or("step failed: the memory model: cargo named no test program")?;
    let mut command = with_files(program);
    command.args(["-q", "ring::loom_model"]);
    if !deep {
        command.env("LOOM_MAX_PREEMPTIONS", PREEMPTIONS);
    }
    runner.tests("the ring's memory model", &mut command)
}

/// What the programs that will read these files say of them; `tests/packaging.rs` has the rest.
fn packaging(runner: &mut Runner, _: bool) -> Result<(), String> {
    if answers("docker", &["compose", "version"]) {
        let mut compose = Command::new("docker");
        compose.args(["compose", "config", "--quiet"]).current_dir(root());
        runner.run("compose.yml", compose.env("ACESTREAM_IMAGE", "engine"))?;
    } else {
        runner.not_run("docker compose config (docker compose is not installed)");
    }
    if answers("systemd-analyze", &["--version"]) {
        // The program that it starts is not installed here.
        let unit = std::fs::read_to_string(root().join("packaging/ringcast.service"))
            .map(|unit| unit.replace("/usr/local/bin/ringcast", "/bin/true"));
        let copy = root().join("target/ringcast.service");
        let written = unit.and_then(|unit| std::fs::write(&copy, unit));
        written.map_err(|error| format!("step failed: systemd unit: {error}"))?;
        runner.run("systemd unit", Command::new("systemd-analyze").arg("verify").arg(&copy))
    } else {
        runner.not_run("systemd-analyze verify (systemd is not installed)");
        Ok(())
    }
}

fn answers(program: &str, args: &[&str]) -> bool {
    let out = Command::new(program).args(args).stdin(Stdio::null()).output();
    out.is_ok_and(|out| out.status.success())
}

/// Undefined behaviour in the ring's own tests.
fn miri(runner: &mut Runner, _: bool) -> Result<(), String> {
    tools::MIRI.install().map_err(|why| format!("step failed: miri on the ring: {why}"))?;
    let mut command = cargo_nightly();
    command.args(["miri", "test", "-q", "--lib", "ring::"]);
    command.env("MIRIFLAGS", "-Zmiri-ignore-leaks -Zmiri-disable-isolation");
    command.env("CARGO_TARGET_DIR", root().join("target/miri"));
    runner.tests("miri on the ring", &mut command)
}

/// Data races between threads, of the server with two shards in one process.
/// The standard library is built with it, so that what it synchronizes is seen.
fn thread_sanitizer(runner: &mut Runner, _: bool) -> Result<(), String> {
    let host = tools::MIRI.install().and_then(|()| tools::nightly_host());
    let host = host.map_err(|why| format!("step failed: ThreadSanitizer: {why}"))?;
    let mut command = cargo_nightly();
    command.args(["test", "-q", "-Zbuild-std", "--target", &host, "--test", "shards"]);
    command.env("RUSTFLAGS", "-Zsanitizer=thread");
    command.env("CARGO_TARGET_DIR", root().join("target/tsan"));
    runner.tests("ThreadSanitizer on two shards", &mut command)
}

/// Each target for a minute, from the committed inputs. What it finds new stays out of the tree.
fn fuzz(runner: &mut Runner, _: bool) -> Result<(), String> {
    tools::FUZZ.install().map_err(|why| format!("step failed: the fuzz targets: {why}"))?;
    let mut failed = Vec::new();
    for target in fuzz_targets() {
        let found = root().join("fuzz/target/found").join(&target);
        let made = std::fs::create_dir_all(&found);
        made.map_err(|error| format!("step failed: {}: {error}", found.display()))?;
        let mut command = cargo_nightly();
        command.args(["fuzz", "run", &target]).arg(found);
        command.arg(root().join("fuzz/corpus").join(&target));
        command.args(["--", FUZZ_SECONDS, "-max_len=8192", "-print_final_stats=0"]);
        failed.extend(runner.run(&format!("fuzz {target}"), &mut command).err());
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\nxtask: ")) }
}

/// The generated pages are written by the tests that compare them.
pub(crate) fn docs() -> Result<(), String> {
    let mut runner = Runner::default();
    let mut command = cargo_test();
    command.args(["-q", "--lib", "is_the_"]).env("UPDATE_DOCS", "1");
    runner.tests("the generated pages", &mut command)
}

pub(crate) fn static_binary() -> Result<(), String> {
    let mut runner = Runner::default();
    if let Some(path) = build_static(&mut runner)? {
        println!("{}", path.display());
    }
    Ok(())
}

/// `None` when this machine lacks the target.
fn build_static(runner: &mut Runner) -> Result<Option<PathBuf>, String> {
    if !target_installed(MUSL) {
        runner.not_run(&format!("the static binary (run: rustup target add {MUSL})"));
        return Ok(None);
    }
    let build = ["build", "-q", "--release", "--locked", "--bin", "ringcast", "--target", MUSL];
    runner.run("static binary", cargo().args(build))?;
    Ok(Some(root().join("target").join(MUSL).join("release/ringcast")))
}

/// The container's promise: one file, and nothing else in the root directory.
fn static_check(runner: &mut Runner, deep: bool) -> Result<(), String> {
    let installed = tools::MUSL.install();
    if !deep {
        if let Err(why) = installed {
            runner.not_run(&format!("the static binary: {why}"));
            return Ok(());
        }
        // The binary itself takes four minutes.
        let check = ["check", "-q", "--locked", "--bin", "ringcast", "--target", MUSL];
        return runner.run("static binary, checked", cargo().args(check));
    }
    installed.map_err(|why| format!("step failed: static binary: {why}"))?;
    let Some(binary) = build_static(runner)? else { return Ok(()) };
    let empty = root().join("target/empty-root");
    let copied = std::fs::create_dir_all(&empty)
        .and_then(|()| std::fs::copy(&binary, empty.join("ringcast")));
    copied.map_err(|error| format!("static binary: {error}"))?;
    let mut command = Command::new("chroot");
    command.arg(&empty).args(["/ringcast", "--version"]);
    runner.run("the static binary in an empty root", &mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(deep: bool, names: &[&str]) -> Result<Vec<&'static str>, String> {
        Ok(chosen(deep, names)?.iter().map(|step| step.name).collect())
    }

    #[test]
    fn steps_are_chosen_by_name_and_keep_their_order() {
        assert_eq!(names(false, &["units", "format"]), Ok(vec!["format", "units"]));
        assert_eq!(names(true, &[]).map(|all| all.len()), Ok(STEPS.len()));
        assert!(
            names(false, &[]).is_ok_and(|all| !all.contains(&"fuzz") && all.contains(&"whole"))
        );
        let why = names(false, &["fuzz"]).unwrap_err();
        assert!(why.starts_with("no step `fuzz`; there are format, "), "{why}");
    }

    #[test]
    fn only_a_deep_run_goes_on_after_a_failure_and_names_each() {
        let first = always("first", |_, _| Err("the first failed".to_owned()));
        let second = always("second", |_, _| Err("the second failed".to_owned()));
        let both = [&first, &second];
        let mut runner = Runner::default();
        assert_eq!(run_all(&mut runner, false, &both), Err("the first failed".to_owned()));
        let all = "the first failed\nxtask: the second failed".to_owned();
        assert_eq!(run_all(&mut runner, true, &both), Err(all));
    }
}
