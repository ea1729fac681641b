//! The machine: which programs it has, running one of them, and a look into a namespace.
//!
//! Every error is one line that names what lacks.

use rustix::thread::LinkNameSpaceType;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

/// Each program with the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("clang", "clang"),
    ("bpftool", "bpftool"),
    ("mount", "mount"),
    ("umount", "mount"),
];

const HEADER: &str = "/usr/include/bpf/bpf_helpers.h";

/// Of what a kernel's last words a person needs no more.
const SAID_BYTES_MAX: usize = 400;

/// Whether everything is there that `up` starts or reads.
pub(crate) fn check() -> Result<(), String> {
    for (program, package) in PROGRAMS {
        if !is_there(program) {
            return Err(format!("{program} is not installed (apt-get install {package})"));
        }
    }
    if !Path::new(HEADER).exists() {
        return Err(format!("the headers of libbpf: no {HEADER} (apt-get install libbpf-dev)"));
    }
    if !rustix::process::geteuid().is_root() {
        return Err("it must be root: network namespaces and BPF programs need it".into());
    }
    if !fs::read_to_string("/proc/filesystems").is_ok_and(|all| all.contains("\tbpf\n")) {
        return Err("this kernel has no BPF (CONFIG_BPF_SYSCALL)".into());
    }
    Ok(())
}

/// Where to look: a user's PATH often lacks the last two.
fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

fn is_there(program: &str) -> bool {
    std::env::split_paths(&path()).any(|folder| folder.join(program).is_file())
}

/// Runs it and gives its standard output; the error has the command and what it said last.
pub(crate) fn run(line: &str) -> Result<Vec<u8>, String> {
    run_with(line.split_ascii_whitespace(), &[])
}

pub(crate) fn run_with<'a>(
    words: impl IntoIterator<Item = &'a str>,
    input: &[u8],
) -> Result<Vec<u8>, String> {
    let words: Vec<&str> = words.into_iter().collect();
    let line = words.join(" ");
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .env("PATH", path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", words[0]))?;
    // A program that does not read its input is no failure; its status decides.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input));
    let out = child.wait_with_output().map_err(|error| format!("{}: {error}", words[0]))?;
    if out.status.success() {
        return Ok(out.stdout);
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(format!("{line}: {}", last_words(&said)))
}

/// The verifier explains itself over thousands of lines; what counts stands near the end.
fn last_words(said: &str) -> String {
    let telling = |line: &&str| !line.trim().is_empty() && !line.starts_with("Warning");
    let mut lines: Vec<&str> = said.lines().filter(telling).collect();
    let from = lines.len().saturating_sub(4);
    let short: String = lines.split_off(from).join("; ").chars().take(SAID_BYTES_MAX).collect();
    if short.is_empty() { "it failed without a word".into() } else { short }
}

/// Does the work on a thread that has moved into the network namespace.
pub(crate) fn inside<T: Send>(
    namespace: &str,
    work: impl FnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    let path = format!("/run/netns/{namespace}");
    let file = fs::File::open(&path).map_err(|_| format!("there is no {path}: nicsink up"))?;
    let moved = move || {
        rustix::thread::move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| format!("{path}: {error}"))?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(moved).join().expect("the work does not panic"))
}
