//! Where the tree is, and cargo started in it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

pub(crate) const MUSL: &str = "x86_64-unknown-linux-musl";

/// Raises the soft limit of open files to the hard one for the command that follows: the tests
/// open thousands of sockets.
const WITH_FILES: &str = r#"
hard=$(ulimit -Hn)
case $hard in unlimited) hard=1048576 ;; esac
if [ "$hard" -gt 1048576 ]; then hard=1048576; fi
ulimit -Sn "$hard"
exec "$@""#;

/// How the variables begin that cargo sets for the program of one package.
const OF_THIS_PACKAGE: [&str; 3] = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_"];

/// Where it was built, unless it was carried to another host: then the folder it is run in.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = here.ancestors().nth(2).expect("tools/xtask stands two folders below the root");
    if built.is_dir() { built.into() } else { std::env::current_dir().unwrap_or_default() }
}

pub(crate) fn cargo() -> Command {
    tidy_up(Command::new(program()))
}

pub(crate) fn cargo_nightly() -> Command {
    let mut command = Command::new("cargo");
    command.arg("+nightly");
    tidy_up(command)
}

/// A program with as many files as it may have.
pub(crate) fn with_files(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", WITH_FILES, "sh"]).arg(program);
    tidy_up(command)
}

pub(crate) fn cargo_test() -> Command {
    let mut command = with_files(program());
    command.arg("test");
    command
}

fn program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn tidy_up(mut command: Command) -> Command {
    command.current_dir(root()).stdin(Stdio::null());
    // What cargo told this program of itself. Build scripts that ask for these names (ring's does)
    // would run again, and all that stands on them be built again, after each plain `cargo test`.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if OF_THIS_PACKAGE.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    if std::env::var_os("CI").is_some() {
        // Nothing is built twice there, so what makes a second build fast is only work.
        command.env("CARGO_INCREMENTAL", "0");
    }
    command
}

/// The names of the test targets of the workspace, as cargo finds them: `NAME.rs` and
/// `NAME/main.rs` in a `tests` folder.
pub(crate) fn test_targets() -> Vec<String> {
    let mut names = Vec::new();
    let folders = ["tools", "perf"].map(|folder| fs::read_dir(root().join(folder)));
    let entries = folders.into_iter().flatten().flatten().flatten();
    let mut packages: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    packages.push(root());
    for package in packages {
        for entry in fs::read_dir(package.join("tests")).into_iter().flatten().flatten() {
            let path = entry.path();
            let file = path.extension().is_some_and(|end| end == "rs");
            if let (true, Some(stem)) = (file || path.join("main.rs").exists(), path.file_stem()) {
                names.push(stem.to_string_lossy().into_owned());
            }
        }
    }
    names.sort();
    names
}

/// The names of the product's benchmarks.
pub(crate) fn bench_targets() -> Vec<String> {
    rust_files("benches")
}

/// The names of the fuzz targets.
pub(crate) fn fuzz_targets() -> Vec<String> {
    rust_files("fuzz/targets")
}

fn rust_files(folder: &str) -> Vec<String> {
    let files = fs::read_dir(root().join(folder)).into_iter().flatten().flatten();
    let mut names: Vec<String> = files
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

pub(crate) fn target_installed(target: &str) -> bool {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    sysroot.is_ok_and(|out| {
        let path = String::from_utf8_lossy(&out.stdout);
        Path::new(path.trim()).join("lib/rustlib").join(target).exists()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_told_this_program_is_not_told_to_another() {
        let own = ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION_PRE"];
        for command in [cargo(), cargo_nightly(), cargo_test()] {
            for name in own {
                assert!(std::env::var_os(name).is_some(), "cargo test sets {name}");
                assert!(command.get_envs().any(|env| env == (name.as_ref(), None)), "{name}");
            }
        }
    }
}
