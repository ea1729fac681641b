//! The commands that end by themselves, from outside: exit codes and what is printed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use rustix::net::AddressFamily;
use rustix::net::SocketType;
use rustix::net::bind;
use rustix::net::getsockname;
use rustix::net::socket;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

/// ringcast with these arguments and variables and nothing else of our environment.
fn ringcast(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringcast"));
    command.args(arguments).env_clear().envs(variables.iter().copied());
    command
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    ringcast(arguments, variables).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn config_prints_value_unit_and_origin() {
    let output = run(
        &["config", "--shards", "2", "--play-token", "name:sesame"],
        &[("PROXY_GRACE_PERIOD", "1500ms"), ("RINGCAST_STATE_DIR", "off")],
    );
    assert_eq!(output.status.code(), Some(0));
    let table = text(&output.stdout);
    let words = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<String>>().join(" ")
    };
    assert_eq!(words("PROXY_GRACE_PERIOD"), "1.5 s environment PROXY_GRACE_PERIOD");
    assert_eq!(words("RINGCAST_SHARDS"), "2 flag --shards");
    assert_eq!(words("PROXY_INIT_TIMEOUT"), "30 s default");
    assert_eq!(words("RINGCAST_PLAY_TOKEN"), "*** flag --play-token");
    assert_eq!(words("RINGCAST_ALLOW"), "any default (a play token is set)");
    assert!(!table.contains("sesame"));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_wrong_setting_is_exit_2_and_one_line() {
    for command in
        [&["config", "--check"][..], &["config"], &["serve"], &[], &["demo"], &["doctor"]]
    {
        let output = run(command, &[("RINGCAST_MEMORY", "1MiB"), ("RINGCAST_STATE_DIR", "off")]);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert_eq!(text(&output.stdout), "");
        let line = text(&output.stderr);
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains("RINGCAST_MEMORY") && line.contains("auto or a size from 32 MiB"));
    }
}

#[test]
fn a_wrong_command_line_is_exit_2_and_one_line() {
    for arguments in [&["--lisen=:1"][..], &["serf"], &["--shards"], &["completions", "cmd"]] {
        let output = run(arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
    }
}

#[test]
fn config_check_says_nothing_when_all_is_well() {
    let output = run(&["config", "--check"], &[("RINGCAST_STATE_DIR", "/tmp")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
}

#[test]
fn pages_go_to_stdout() {
    for arguments in [&["--help"][..], &["--version"], &["man"], &["completions", "bash"]] {
        let output = run(arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let mut child = ringcast(&["man"], &[]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A server of one connection with this status line; its address.
fn server(status: &'static str) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1_024];
        let _ = stream.read(&mut request).unwrap();
        let reply =
            format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwords");
        stream.write_all(reply.as_bytes()).unwrap();
    });
    address.to_string()
}

#[test]
fn healthcheck_is_the_status_of_readyz() {
    let ready = server("200 OK");
    assert_eq!(run(&["healthcheck", &format!("http://{ready}")], &[]).status.code(), Some(0));
    let configured = server("200 OK");
    assert_eq!(run(&["healthcheck"], &[("RINGCAST_LISTEN", &configured)]).status.code(), Some(0));
    let busy = server("503 Service Unavailable");
    let output = run(&["healthcheck", &format!("http://{busy}/readyz")], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("answered 503: words"));
    assert_eq!(run(&["healthcheck", "ftp://x"], &[]).status.code(), Some(2));
}

#[test]
fn doctor_without_an_engine_is_not_ready() {
    // Nobody listens there, and nobody else is given it while it is held.
    let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&held, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = SocketAddr::try_from(getsockname(&held).unwrap()).unwrap().to_string();
    let output = run(&["doctor", "--engine", &address], &[]);
    drop(held);
    assert_eq!(output.status.code(), Some(1));
    let report = text(&output.stdout);
    assert!(report.contains(&format!("{address}: connection refused")), "{report}");
    assert!(
        report.contains("fix: start the engine") && report.contains("\nnot ready: "),
        "{report}"
    );
}
