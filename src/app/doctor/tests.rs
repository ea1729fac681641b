//! Findings of hosts that lack something, and probes against small servers.

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;

use super::*;
use crate::config::Settings;
use crate::engine::spec::Spec;
use crate::net::host::Features;
use crate::net::host::Files;
use crate::net::host::Kernel;
use crate::net::host::UringFeatures;

fn good() -> Features {
    Features {
        kernel: Kernel { major: 6, minor: 12, text: "6.12.1".to_owned() },
        uring: UringFeatures { setup: Ok(()), send_zc: true, registration: Ok(()) },
        memlock_bytes: None,
        files: Files { soft: 1_048_576, hard: 1_048_576 },
        page_bytes: 4_096,
        memory_bytes: 8 << 30,
        cgroup_memory_bytes: None,
        cgroup_cpus: None,
        cpus: vec![0, 1, 2, 3],
        congestion: vec!["cubic".to_owned(), "bbr".to_owned()],
        ipv6: true,
        wmem_max_bytes: 4 << 20,
    }
}

/// What differs from a good host: everything that is not ok.
fn complaints(change: impl FnOnce(&mut Features)) -> Vec<Finding> {
    let mut features = good();
    change(&mut features);
    let found = findings::host(&features, &Settings::for_tests());
    found.into_iter().filter(|finding| finding.level != Level::Ok).collect()
}

#[test]
fn a_good_host_has_nothing_to_fix() {
    assert_eq!(complaints(|_| ()), []);
}

#[test]
fn each_lack_has_its_fix() {
    let one = |level, what, word: &str, change: fn(&mut Features)| {
        let found = complaints(change);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].level, found[0].what), (level, what));
        assert!(found[0].fix.contains(word), "{found:?}");
    };
    one(Level::Warn, "kernel", "6.1", |host| host.kernel.major = 5);
    one(Level::Warn, "io_uring", "seccomp", |host| host.uring.setup = Err(1));
    one(Level::Warn, "io_uring", "CONFIG_IO_URING", |host| host.uring.setup = Err(38));
    one(Level::Warn, "io_uring", "memlock", |host| host.uring.setup = Err(12));
    one(Level::Warn, "SEND_ZC", "6.1", |host| host.uring.send_zc = false);
    one(Level::Warn, "SEND_ZC", "memlock", |host| host.uring.registration = Err(12));
    one(Level::Warn, "memlock", "LimitMEMLOCK", |host| host.memlock_bytes = Some(8 << 20));
    one(Level::Fail, "open files", "LimitNOFILE", |host| host.files.hard = 512);
    one(Level::Warn, "open files", "nofile", |host| host.files.hard = 4_096);
    one(Level::Warn, "page size", "16 KiB", |host| host.page_bytes = 65_536);
    one(Level::Warn, "congestion", "tcp_bbr", |host| host.congestion.truncate(1));
    one(Level::Warn, "send buffer", "wmem_max", |host| host.wmem_max_bytes = 212_992);
    one(Level::Warn, "memory", "RINGCAST_MEMORY", |host| {
        host.cgroup_memory_bytes = Some(96 << 20);
    });
    one(Level::Warn, "cores", "RINGCAST_SHARDS", |host| host.cpus.clear());
}

#[test]
fn the_report_shows_fixes_and_a_verdict() {
    let found = [
        Finding::ok("kernel", "6.12.1"),
        Finding::fail("open files", "512", "raise them"),
        Finding::warn("memlock", "8 MiB", ""),
    ];
    assert_eq!(
        report(&found, false),
        "ok    kernel      6.12.1\n\
         FAIL  open files  512\n      \
                           fix: raise them\n\
         warn  memlock     8 MiB\n\
         not ready: 1 to fix, 1 to improve\n"
            .replace("      fix:", "                  fix:")
    );
    assert!(report(&found[..1], true).ends_with("ready\n"));
}

/// Answers every connection with the same bytes after one read, until the test ends.
fn server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

fn spec(text: &str) -> Vec<Spec> {
    vec![text.parse().unwrap()]
}

const STATUS: &str = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n\
     {\"result\": {\"playlist_loaded\": true, \"version\": {\"code\": 3021100, \
     \"platform\": \"linux\", \"version\": \"3.2.11\"}}}";

#[test]
fn an_engine_that_answers_is_ready() {
    let port = server(STATUS);
    let found = engines::check(&spec(&format!("127.0.0.1:{port}")));
    assert_eq!(found, [Finding::ok("engine", format!("127.0.0.1:{port}: 3.2.11"))]);
}

#[test]
fn engines_that_do_not_answer_are_not() {
    let other = server("HTTP/1.0 200 OK\r\n\r\n<html>");
    let found = engines::check(&spec(&format!("127.0.0.1:{other}")));
    assert!(found[0].found.ends_with("the engine answered 200 without JSON"), "{found:?}");
    assert_eq!(found[1].level, Level::Fail);
    let broken = server("HTTP/1.0 500 oh\r\n\r\n");
    let found = engines::check(&spec(&format!("127.0.0.1:{broken}")));
    assert_eq!(found[0].level, Level::Warn, "{found:?}");
    assert_eq!(engines::check(&[]).last().unwrap().found, "none is configured");
}

#[test]
fn lists_of_engines_are_followed() {
    let engine = server(STATUS);
    let list = format!(
        "HTTP/1.0 200 OK\r\n\r\n[{{\"container_name\": \"a\", \"host\": \"127.0.0.1\", \
         \"port\": {engine}, \"forwarded\": false, \"health_status\": \"healthy\", \
         \"draining\": false}}]"
    );
    let orchestrator = server(list.leak());
    let found = engines::check(&spec(&format!("orchestrator:http://127.0.0.1:{orchestrator}")));
    assert_eq!(found, [Finding::ok("engine", format!("127.0.0.1:{engine}: 3.2.11"))]);
    let path = std::env::temp_dir().join(format!("ringcast-doctor-{}", std::process::id()));
    std::fs::write(&path, format!("# ours\n127.0.0.1:{engine}\n")).unwrap();
    let found = engines::check(&spec(&format!("file:{}", path.display())));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(found[0].level, Level::Ok, "{found:?}");
    let found = engines::check(&spec("file:/nowhere/engines"));
    assert_eq!(found[0].level, Level::Warn);
    assert_eq!(found[1].level, Level::Fail);
}
