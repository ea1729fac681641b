//! The files of the container and the service: that they parse, that they keep their promises,
//! and that the seccomp profile allows everything that the server really does.

#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use yaml_rust2::Yaml;
use yaml_rust2::YamlLoader;

const URING: [&str; 3] = ["io_uring_setup", "io_uring_enter", "io_uring_register"];

const ENOSYS: i32 = 38;

/// Bytes of a stream after which the server has done everything that it does for a player.
const ENOUGH_BYTES: u64 = 120_000;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is said to a process without capabilities, with the address families for `socket`.
struct Filter {
    allowed: BTreeSet<String>,
    /// Answered as by an old kernel, which the C library is prepared for.
    unknown: BTreeSet<String>,
    families: BTreeSet<u64>,
}

fn filter() -> Filter {
    let profile: Value = serde_json::from_str(&read("packaging/seccomp.json")).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO", "what is not named is forbidden");
    let (allowed, unknown, families) = Default::default();
    let mut filter = Filter { allowed, unknown, families };
    for rule in profile["syscalls"].as_array().unwrap() {
        if rule["errnoRet"] == ENOSYS {
            let names = rule["names"].as_array().unwrap().iter();
            filter.unknown.extend(names.map(|name| name.as_str().unwrap().to_owned()));
        }
        if rule["action"] != "SCMP_ACT_ALLOW" || !rule["includes"]["caps"].is_null() {
            continue;
        }
        for name in rule["names"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            if name == "socket" {
                assert_eq!(rule["args"][0]["op"], "SCMP_CMP_EQ", "{rule}");
                filter.families.insert(rule["args"][0]["value"].as_u64().unwrap());
            }
            filter.allowed.insert(name.to_owned());
        }
    }
    filter
}

#[test]
fn the_seccomp_profile_allows_io_uring_and_few_sockets() {
    let Filter { allowed, families, .. } = filter();
    for name in URING {
        assert!(allowed.contains(name), "{name}");
    }
    assert_eq!(families, BTreeSet::from([1, 2, 10, 16]), "unix, inet, inet6, netlink");
    for name in ["mount", "bpf", "kexec_load", "init_module", "setns", "open_by_handle_at"] {
        assert!(!allowed.contains(name), "{name}");
    }
}

#[test]
fn the_seccomp_profile_allows_what_the_server_does() {
    let calls = match traced_calls() {
        Ok(calls) => calls,
        Err(why) => {
            // Past the capture of the test runner: nothing is skipped in silence.
            let line = format!("NOT RUN: the system calls under the seccomp profile ({why})\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            return;
        }
    };
    assert!(calls.contains_key("accept4") && calls.contains_key("socket"), "{:?}", calls.keys());
    let Filter { allowed, unknown, .. } = filter();
    let refused: Vec<_> = calls
        .iter()
        .filter(|(name, _)| !allowed.contains(*name) && !unknown.contains(*name))
        .map(|(_, lines)| &lines[0])
        .collect();
    assert!(refused.is_empty(), "packaging/seccomp.json would refuse {refused:#?}");
    let families = ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"];
    for line in calls.get("socket").into_iter().flatten() {
        let family = line.split(['(', ',']).nth(1).unwrap();
        assert!(families.contains(&family), "{line}");
    }
}

/// Starts the demo under strace, plays a little and stops it. Each call with the lines it made.
fn traced_calls() -> Result<BTreeMap<String, Vec<String>>, String> {
    let log = std::env::temp_dir().join(format!("ringcast-strace-{}", std::process::id()));
    let mut traced = Command::new("timeout");
    traced.args(["-k", "5", "60", "strace", "-f", "-qq", "-s", "0", "-o"]).arg(&log);
    traced.args([env!("CARGO_BIN_EXE_ringcast"), "demo", "--memory", "64MiB"]);
    let spawned = traced.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = spawned.map_err(|error| format!("timeout, strace: {error}"))?;
    let url = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("vlc http://")?.1.to_owned()));
    let Some(url) = url else {
        child.wait().unwrap();
        return Err("strace cannot trace a program here".to_owned());
    };
    let (address, path) = url.split_once('/').unwrap();
    play(address, path);
    let trace = fs::read_to_string(&log).unwrap();
    let pid = trace.split_whitespace().next().unwrap();
    assert!(Command::new("kill").args(["-TERM", pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success(), "it ends in order");
    let trace = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    Ok(calls(&trace))
}

fn play(address: &str, path: &str) {
    let mut player = TcpStream::connect(address).unwrap();
    player.set_read_timeout(Some(Duration::from_secs(50))).unwrap();
    write!(player, "GET /{path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut body = Vec::new();
    player.take(ENOUGH_BYTES).read_to_end(&mut body).unwrap();
    assert!(body.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

/// `1234 socket(AF_INET, …) = 3` and `1234 <... socket resumed>) = 3`.
fn calls(trace: &str) -> BTreeMap<String, Vec<String>> {
    let mut calls: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in trace.lines() {
        let Some((_pid, call)) = line.split_once(char::is_whitespace) else { continue };
        let call = call.trim_start();
        let Some((name, _)) = call.split_once('(') else { continue };
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            calls.entry(name.to_owned()).or_default().push(call.to_owned());
        }
    }
    calls
}

fn yaml(name: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&read(name)).unwrap();
    assert_eq!(documents.len(), 1, "{name}");
    documents.remove(0)
}

#[test]
fn the_compose_file_names_no_engine_and_gives_ringcast_what_it_needs() {
    let compose = yaml("compose.yml");
    let engine = compose["services"]["engine"]["image"].as_str().unwrap();
    assert!(engine.starts_with("${ACESTREAM_IMAGE:?"), "no default, and it says so: {engine}");
    let ringcast = &compose["services"]["ringcast"];
    assert_eq!(ringcast["stop_grace_period"].as_str(), Some("10s"));
    assert_eq!(ringcast["ulimits"]["nofile"]["hard"].as_i64(), Some(1_048_576));
    assert_eq!(ringcast["ulimits"]["memlock"]["hard"].as_i64(), Some(-1));
    let probe: Vec<_> = ringcast["healthcheck"]["test"].as_vec().unwrap().iter().collect();
    let probe: Vec<_> = probe.into_iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(probe, ["CMD", "/ringcast", "healthcheck"]);
    let options = ringcast["security_opt"].as_vec().unwrap();
    let profile = options.iter().find_map(|option| option.as_str()?.strip_prefix("seccomp:"));
    read(profile.unwrap());
}

#[test]
fn the_image_is_one_static_binary_of_an_ordinary_user() {
    let text = read("Dockerfile");
    let (_, image) = text.split_once("\nFROM scratch\n").unwrap();
    let has = |line: &str| assert!(image.lines().any(|have| have.trim() == line), "{line}");
    has("COPY --from=build /out/ringcast /ringcast");
    has("USER 65532:65532");
    has("CMD [\"/ringcast\", \"healthcheck\"]");
    has("ENTRYPOINT [\"/ringcast\"]");
    assert!(!image.contains("RUN "), "there is no shell in it");
    let context = read(".dockerignore");
    assert!(context.starts_with("*\n"), "nothing is sent to the builder that is not named");
    for name in context.lines().filter_map(|line| line.strip_prefix('!')) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(name).exists(), "{name}");
    }
}

#[test]
fn the_unit_raises_the_limits_and_waits_for_the_drain() {
    let unit = read("packaging/ringcast.service");
    for line in [
        "Type=notify",
        "ExecStart=/usr/local/bin/ringcast serve",
        "StateDirectory=ringcast",
        "DynamicUser=yes",
        "LimitNOFILE=1048576",
        "LimitMEMLOCK=infinity",
        "Restart=on-failure",
        "TimeoutStopSec=10",
    ] {
        assert!(unit.lines().any(|have| have == line), "{line}");
    }
}
