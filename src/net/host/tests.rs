//! The probe of this host: what a filter or a limit takes away is not promised.

use std::os::fd::AsFd;

use super::Features;
use super::UringFeatures;
use super::features;
use super::limits;
use super::open_files;
use super::pin_thread;
use super::raise_open_files;
use super::rss_bytes;
use crate::net::testing::forbid;

#[test]
fn this_host_answers() {
    let Features { kernel, files, page_bytes, memory_bytes, cpus, congestion, .. } = features();
    assert!(kernel.major >= 4, "{kernel:?}");
    assert!(files.soft <= files.hard && files.soft > 0);
    assert!(page_bytes >= 4096 && page_bytes.is_power_of_two());
    assert!(memory_bytes > 64 << 20);
    assert!(!cpus.is_empty());
    assert!(congestion.iter().any(|name| name == "reno" || name == "cubic"), "{congestion:?}");
    assert!(!super::hostname().is_empty());
    assert!(rss_bytes().unwrap() > 1 << 20);
}

#[test]
fn open_files_counts_a_new_descriptor() {
    // Other tests open and close at the same time: many of ours stand out.
    let before = open_files().unwrap();
    let mut held = Vec::new();
    for _ in 0..500 {
        held.push(crate::net::bell::eventfd().unwrap());
    }
    assert!(open_files().unwrap() > before);
    assert!(held.iter().all(|fd| rustix::io::fcntl_getfd(fd.as_fd()).is_ok()));
}

#[test]
fn the_limit_of_open_files_is_never_lowered() {
    let soft = features().files.soft;
    assert!(raise_open_files(1).unwrap() >= soft.min(features().files.soft));
    assert_eq!(features().files.soft, soft);
}

#[test]
fn a_thread_is_pinned_by_itself() {
    let cpu = features().cpus[0];
    std::thread::spawn(move || {
        pin_thread(cpu).unwrap();
        assert_eq!(features().cpus, vec![cpu]);
        assert!(pin_thread(1 << 20).is_err());
    })
    .join()
    .unwrap();
}

#[test]
fn quotas_are_read_in_both_spellings() {
    assert_eq!(limits::quota("200000 100000\n"), Some(2.0));
    assert_eq!(limits::quota("50000 100000"), Some(0.5));
    assert_eq!(limits::quota("max 100000"), None);
    assert_eq!(limits::quota("-1 100000"), None);
    assert_eq!(limits::quota("100000"), None);
}

#[test]
fn our_group_is_found_in_both_versions() {
    let v2 = "0::/system.slice/ringcast.service\n";
    assert_eq!(limits::own_group(v2, ""), Some("/system.slice/ringcast.service"));
    assert_eq!(limits::own_group(v2, "memory"), None);
    let v1 = "5:cpu,cpuacct:/docker/a:b\n4:memory:/docker/c\n";
    assert_eq!(limits::own_group(v1, "cpu"), Some("/docker/a:b"));
    assert_eq!(limits::own_group(v1, "memory"), Some("/docker/c"));
    assert_eq!(limits::own_group("", "cpu"), None);
}

#[test]
fn each_part_of_io_uring_may_be_forbidden_alone() {
    let uring_without = |call: libc::c_long| {
        let thread = std::thread::spawn(move || {
            forbid(&[call]);
            features().uring
        });
        thread.join().unwrap()
    };
    let none = Err(libc::EPERM);
    let nothing = UringFeatures { setup: none, send_zc: false, registration: none };
    assert_eq!(uring_without(libc::SYS_io_uring_setup), nothing);
    let unregistered = uring_without(libc::SYS_io_uring_register);
    assert_eq!(unregistered.registration, none);
    assert_eq!(unregistered.setup, features().uring.setup);
}
