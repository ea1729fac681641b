//! The tools of a deep run that come with no Debian package: installed when they are missing, and the
//! step that needs one fails with its name where that cannot be done.

use std::process::Command;
use std::process::Stdio;

pub(crate) struct Tool {
    name: &'static str,
    /// Succeeds when it is there.
    ask: &'static str,
    install: &'static str,
}

/// The sources too: miri and ThreadSanitizer build the standard library of their own.
pub(crate) const MIRI: Tool = Tool {
    name: "a nightly toolchain with miri and rust-src",
    ask: "cargo +nightly miri --version && test -d \"$(rustc +nightly --print sysroot)\"/lib/rustlib/src/rust",
    install: "rustup toolchain install nightly --profile minimal --no-self-update -c miri -c rust-src",
};

pub(crate) const FUZZ: Tool = Tool {
    name: "cargo-fuzz with a nightly toolchain",
    ask: "cargo +nightly fuzz --version",
    install: "{ rustc +nightly -V || rustup toolchain install nightly --profile minimal --no-self-update; } \
              && cargo install --locked cargo-fuzz",
};

pub(crate) const MUSL: Tool = Tool {
    name: "the musl target",
    ask: "test -d \"$(rustc --print sysroot)\"/lib/rustlib/x86_64-unknown-linux-musl",
    // Where there is no way to it that must not take for ever: every run asks.
    install: "timeout 120 rustup target add x86_64-unknown-linux-musl",
};

impl Tool {
    /// It is there afterwards, or the error names it and the command.
    pub(crate) fn install(&self) -> Result<(), String> {
        let Self { name, ask, install } = self;
        if answers(ask) {
            return Ok(());
        }
        println!("xtask: installing {name}");
        // What it says is the reason when it fails.
        let _ = shell(install).status();
        if answers(ask) {
            return Ok(());
        }
        Err(format!("it needs {name}, which could not be installed; run: {install}"))
    }
}

/// The nightly compiler's own target.
pub(crate) fn nightly_host() -> Result<String, String> {
    let out = Command::new("rustc").args(["+nightly", "-vV"]).output();
    let out = out.map_err(|error| format!("rustc +nightly: {error}"))?;
    let about = String::from_utf8_lossy(&out.stdout).into_owned();
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| format!("rustc +nightly -vV names no host: {about}"))
}

fn answers(line: &str) -> bool {
    shell(line).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|ok| ok.success())
}

fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_cannot_be_installed_is_named_with_the_command() {
        let there = Tool { name: "there", ask: "true", install: "exit 1" };
        assert_eq!(there.install(), Ok(()));
        let nowhere = Tool { name: "nowhere", ask: "false", install: "true" };
        let why = nowhere.install().unwrap_err();
        assert!(why.contains("nowhere") && why.ends_with("run: true"), "{why}");
    }

    #[test]
    fn a_tool_that_is_missing_is_installed() {
        let file = std::env::temp_dir().join(format!("xtask-tool-{}", std::process::id()));
        let line = |word: &str| &*format!("{word} {}", file.display()).leak();
        let tool = Tool { name: "a file", ask: line("test -e"), install: line("touch") };
        assert!(!answers(tool.ask));
        assert_eq!(tool.install(), Ok(()));
        std::fs::remove_file(file).unwrap();
    }
}
