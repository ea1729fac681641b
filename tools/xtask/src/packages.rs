//! The Debian packages that the tests use, installed when missing and when we may.

use std::path::Path;
use std::process::Command;
use std::process::Stdio;

/// Each package with the file that shows it is there.
const PACKAGES: &[(&str, &str)] = &[
    ("ffmpeg", "/usr/bin/ffmpeg"),
    ("mpv", "/usr/bin/mpv"),
    ("vlc-bin", "/usr/bin/cvlc"),
    ("vlc-plugin-base", "/usr/lib/x86_64-linux-gnu/vlc/plugins/demux/libts_plugin.so"),
    ("strace", "/usr/bin/strace"),
    ("prometheus", "/usr/bin/promtool"),
    ("curl", "/usr/bin/curl"),
    ("iproute2", "/usr/bin/ip"),
    ("util-linux", "/usr/bin/prlimit"),
    ("musl-tools", "/usr/bin/musl-gcc"),
    ("slowhttptest", "/usr/bin/slowhttptest"),
    ("redis-server", "/usr/bin/redis-server"),
    ("redis-sentinel", "/usr/bin/redis-sentinel"),
    ("redis-tools", "/usr/bin/redis-cli"),
    ("openssl", "/usr/bin/openssl"),
    ("clang", "/usr/bin/clang"),
    ("libbpf-dev", "/usr/include/bpf/bpf_helpers.h"),
    ("bpftool", "/usr/sbin/bpftool"),
];

fn missing() -> Vec<&'static str> {
    let known = |package: &str| {
        Command::new("dpkg-query")
            .args(["-W", "-f=${db:Status-Status}", package])
            .stderr(Stdio::null())
            .output()
            .is_ok_and(|out| out.stdout == b"installed")
    };
    let absent =
        PACKAGES.iter().filter(|(package, file)| !Path::new(file).exists() && !known(package));
    absent.map(|(package, _)| *package).collect()
}

/// Every package is there afterwards, or the error names those that are not and the command.
pub(crate) fn install() -> Result<(), String> {
    let wanted = missing();
    if wanted.is_empty() {
        return Ok(());
    }
    println!("xtask: installing {}", wanted.join(" "));
    let apt = |args: &[&str]| {
        let uid = Command::new("id").arg("-u").output().map(|out| out.stdout).unwrap_or_default();
        let (program, first): (&str, &[&str]) =
            if uid.starts_with(b"0\n") { ("apt-get", &[]) } else { ("sudo", &["-n", "apt-get"]) };
        let status = Command::new(program)
            .args(first)
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&wanted);
    // An index that cannot be refreshed is not yet a failure: the packages decide.
    if !(apt(&["update", "-qq"]) && apt(&install)) {
        apt(&install);
    }
    let still = missing();
    if still.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the tests need {0}, which could not be installed; run: apt-get install {0}",
        still.join(" ")
    ))
}
