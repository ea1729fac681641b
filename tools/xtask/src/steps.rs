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

pub(crate) fn test(deep: bool) -> Result<(), String> {
    packages::install()?;
    let mut runner = Runner::default();
    let result = all_steps(&mut runner, deep);
    runner.summary();
    result
}

fn all_steps(runner: &mut Runner, deep: bool) -> Result<(), String> {
    runner.run("format", cargo().args(["fmt", "--all", "--check"]))?;
    planted(runner)?;
    lints(runner)?;
    let targets = test_targets();
    // The programs too: the tests of the whole program start them.
    let programs = ["test", "-q", "--workspace", "--lib", "--bins", "--tests", "--no-run"];
    runner.run("build", cargo().args(programs).args(["--locked"]))?;
    memory_model(runner, deep)?;
    units_and_simulation(runner, &targets, deep)?;
    benchmarks(runner)?;
    static_check(runner)?;
    packaging(runner)?;
    if deep {
        miri(runner)?;
        thread_sanitizer(runner)?;
        fuzz(runner)?;
    }
    whole_program(runner, &targets, deep)
}

/// Whether the bugs that the simulator is measured with still fit the code.
fn planted(runner: &mut Runner) -> Result<(), String> {
    if !answers("git", &["--version"]) {
        runner.not_run("tests/planted against the tree (git is not installed)");
        return Ok(());
    }
    println!("xtask: planted bugs");
    plant::check().map_err(|why| format!("step failed: planted bugs: {why}"))
}

fn lints(runner: &mut Runner) -> Result<(), String> {
    let all = ["clippy", "-q", "--workspace", "--all-targets", "--locked"];
    runner.run("lints", cargo().args(all).args(["--", "-D", "warnings"]))?;
    let bare = ["clippy", "-q", "--workspace", "--bins", "--no-default-features", "--locked"];
    runner.run("lints without the demo", cargo().args(bare).args(["--", "-D", "warnings"]))
}

fn units_and_simulation(runner: &mut Runner, targets: &[String], deep: bool) -> Result<(), String> {
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
fn benchmarks(runner: &mut Runner) -> Result<(), String> {
    let mut command = cargo();
    command.args(["test", "-q", "--locked"]);
    for target in bench_targets() {
        command.args(["--bench", &target]);
    }
    runner.run("benchmarks, small", &mut command)
}

/// Two at a time: each test starts a server, an engine and players on ports of its own. Thousands of
/// players are compared with none beside them, so a deep run gives each test the whole machine.
fn whole_program(runner: &mut Runner, targets: &[String], deep: bool) -> Result<(), String> {
    if !targets.iter().any(|target| target == WHOLE) {
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
fn packaging(runner: &mut Runner) -> Result<(), String> {
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
fn miri(runner: &mut Runner) -> Result<(), String> {
    let there = cargo_nightly().args(["miri", "--version"]).stderr(Stdio::null()).output();
    if !there.is_ok_and(|out| out.status.success()) {
        runner.not_run("miri on the ring (rustup +nightly component add miri rust-src)");
        return Ok(());
    }
    let mut command = cargo_nightly();
    command.args(["miri", "test", "-q", "--lib", "ring::"]);
    command.env("MIRIFLAGS", "-Zmiri-ignore-leaks -Zmiri-disable-isolation");
    command.env("CARGO_TARGET_DIR", root().join("target/miri"));
    runner.tests("miri on the ring", &mut command)
}

/// Data races between threads, of the server with two shards in one process.
/// The standard library is built with it, so that what it synchronizes is seen.
fn thread_sanitizer(runner: &mut Runner) -> Result<(), String> {
    let Some(host) = host_with_sources() else {
        runner.not_run("ThreadSanitizer (rustup +nightly component add rust-src)");
        return Ok(());
    };
    let mut command = cargo_nightly();
    command.args(["test", "-q", "-Zbuild-std", "--target", &host, "--test", "shards"]);
    command.env("RUSTFLAGS", "-Zsanitizer=thread");
    command.env("CARGO_TARGET_DIR", root().join("target/tsan"));
    runner.tests("ThreadSanitizer on two shards", &mut command)
}

/// The nightly compiler's own target, when the standard library's sources are there.
fn host_with_sources() -> Option<String> {
    let ask = |args: &[&str]| {
        let out = Command::new("rustc").arg("+nightly").args(args).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let sources = PathBuf::from(ask(&["--print", "sysroot"])?.trim()).join("lib/rustlib/src/rust");
    let about = ask(&["-vV"])?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned();
    sources.is_dir().then_some(host)
}

/// Each target for a minute, from the committed inputs. What it finds new stays out of the tree.
fn fuzz(runner: &mut Runner) -> Result<(), String> {
    let there = cargo_nightly().args(["fuzz", "--version"]).stderr(Stdio::null()).output();
    if !there.is_ok_and(|out| out.status.success()) {
        runner.not_run("the fuzz targets (cargo install cargo-fuzz, with a nightly toolchain)");
        return Ok(());
    }
    for target in fuzz_targets() {
        let found = root().join("fuzz/target/found").join(&target);
        let made = std::fs::create_dir_all(&found);
        made.map_err(|error| format!("step failed: {}: {error}", found.display()))?;
        let mut command = cargo_nightly();
        command.args(["fuzz", "run", &target]).arg(found);
        command.arg(root().join("fuzz/corpus").join(&target));
        command.args(["--", FUZZ_SECONDS, "-max_len=8192", "-print_final_stats=0"]);
        runner.run(&format!("fuzz {target}"), &mut command)?;
    }
    Ok(())
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
fn static_check(runner: &mut Runner) -> Result<(), String> {
    let Some(binary) = build_static(runner)? else { return Ok(()) };
    let empty = root().join("target/empty-root");
    let copied = std::fs::create_dir_all(&empty)
        .and_then(|()| std::fs::copy(&binary, empty.join("ringcast")));
    copied.map_err(|error| format!("static binary: {error}"))?;
    let mut command = Command::new("chroot");
    command.arg(&empty).args(["/ringcast", "--version"]);
    runner.run("the static binary in an empty root", &mut command)
}
