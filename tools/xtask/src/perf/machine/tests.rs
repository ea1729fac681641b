//! Processes are started where they should be, watched, and never left behind.

use super::*;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

/// A program of three lines, in a folder of this test alone.
fn fake(test: &str, script: &str) -> (PathBuf, PathBuf) {
    let folder = std::env::temp_dir().join(format!("xtask-perf-{}-{test}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("fake");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (program, folder)
}

fn launch(program: &Path) -> Launch {
    Launch::new(Place::Loopback, Side::Server, "0", program)
}

#[test]
fn a_process_speaks_and_ends_with_its_owner() {
    let (program, folder) = fake("speaks", "echo listening on $1; exec sleep 600");
    let launch = launch(&program).arg("port").env("RINGCAST_SEND", "copy");
    assert!(launch.text().starts_with("RINGCAST_SEND=copy taskset -c 0 /"));
    let mut process = launch.start("fake", &folder).unwrap();
    process.says("listening on port").unwrap();
    assert!(process.is_alive().is_ok());
    let status = PathBuf::from(format!("/proc/{}/status", process.pid()));
    let text = fs::read_to_string(&status).unwrap();
    assert!(text.contains("Cpus_allowed_list:\t0\n"), "it is on its core");
    assert!(rss_bytes(process.pid()).is_some());
    drop(process);
    assert!(!status.exists(), "it was killed and waited for");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_early_end_is_told_with_its_last_words() {
    let (program, folder) = fake("ends", "echo no such port >&2; exit 3");
    let mut process = launch(&program).start("server", &folder).unwrap();
    let why = process.says("listening").unwrap_err();
    assert!(why.starts_with("server ended (exit status: 3)"), "{why}");
    assert!(why.ends_with("no such port"), "{why}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_takes_too_long_is_given_up() {
    let (program, folder) = fake("long", "exec sleep 600");
    let mut process = launch(&program).start("swarm", &folder).unwrap();
    let mut looked = Vec::new();
    let [early, late, limit] = [0, 50, 200].map(Duration::from_millis);
    let why = process.ends(limit, &[early, late], |look| looked.push(look)).unwrap_err();
    assert!(why.contains("not done after"), "{why}");
    assert_eq!(looked, [0, 1], "each probe had its moment");
    assert!(cpu_s(process.pid()).is_some());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn output_is_kept_and_failure_is_explained() {
    let (program, folder) =
        fake("output", "[ \"$1\" = good ] && echo yes || { echo bad >&2; exit 1; }");
    assert_eq!(launch(&program).arg("good").output("fake").unwrap(), "yes\n");
    let why = launch(&program).output("fake").unwrap_err();
    assert_eq!(why, "fake (exit status: 1): bad");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_page_is_read_and_an_error_is_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr: SocketAddr = listener.local_addr().unwrap();
    let replies = ["HTTP/1.1 200 OK\r\n\r\n{\"viewers\":1}", "HTTP/1.1 503 Busy\r\n\r\nno"];
    let server = std::thread::spawn(move || {
        for reply in replies {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 512];
            let bytes = stream.read(&mut head).unwrap();
            assert!(head[..bytes].starts_with(b"GET /status HTTP/1.0\r\n"));
            stream.write_all(reply.as_bytes()).unwrap();
        }
    });
    let page = || get(Place::Loopback, "0", addr, "/status");
    assert_eq!(page().unwrap(), "{\"viewers\":1}");
    assert_eq!(page().unwrap_err(), "GET /status: HTTP/1.1 503 Busy");
    server.join().unwrap();
    assert!(free_port().unwrap() > 0);
}
