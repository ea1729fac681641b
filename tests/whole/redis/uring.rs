//! The mirror where io_uring is forbidden: the same, on another runtime.

use super::weather::Weather;
use super::with_short_times;
use crate::rig::Server;
use crate::rig::redis::Redis;
use crate::rig::redis::View;
use std::process::Command;

#[test]
fn redis_is_frozen_where_io_uring_is_forbidden() {
    let mut redis = Redis::start();
    let url = redis.url();
    let weather = Weather::new(2_070, |engine| {
        let mut command = Command::new("strace");
        // The tracer stands aside, so that the child is the server itself.
        command.args(["-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"]);
        command.args(["-e", "trace=io_uring_setup", "-e", "inject=io_uring_setup:error=EPERM"]);
        command.arg(env!("CARGO_BIN_EXE_ringcast"));
        with_short_times(Server::from_command(command, &format!("{},name=e0", engine.addr())), &url)
    });
    let path_taken = weather.server.api("/api/v1/status")["send_path"].as_str().unwrap().to_owned();
    assert!(path_taken.contains("epoll"), "{path_taken}");
    let look = |redis: &Redis| View::new(redis.client());
    weather.passes(&mut redis, look, |redis| redis.freeze(), |redis| redis.thaw());
}
