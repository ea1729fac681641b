//! What the host's features mean: pure, features in, findings out.

use crate::base::sizes::KIB;
use crate::config::SendPath;
use crate::config::Settings;
use crate::config::scalar;
use crate::net::host::Features;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Ok,
    /// Works, but slower or without something.
    Warn,
    /// Keeps streams from playing.
    Fail,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub what: &'static str,
    pub found: String,
    /// What to do; empty when there is nothing to do.
    pub fix: String,
}

impl Finding {
    pub fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, what, found: found.into(), fix: String::new() }
    }

    pub fn warn(what: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warn, what, found: found.into(), fix: fix.into() }
    }

    pub fn fail(what: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Fail, what, found: found.into(), fix: fix.into() }
    }
}

/// Below this the listeners, engines and a handful of viewers do not fit.
const FILES_MIN: u64 = 1_024;
/// A small household server; a public one wants the container default of a million.
const FILES_COMFORTABLE: u64 = 16_384;
/// Above it a slab's pages cannot be shared with sockets.
const SHARED_PAGE_BYTES_MAX: usize = 16_384;
/// A viewer's send buffer.
const SEND_BUFFER_BYTES: u64 = 512 * KIB;

const EPERM: i32 = 1;
const ENOMEM: i32 = 12;
const ENOSYS: i32 = 38;

pub(super) fn host(features: &Features, settings: &Settings) -> Vec<Finding> {
    vec![
        kernel(features),
        uring(features),
        send_zc(features),
        send_path(features, settings),
        memlock(features, settings),
        files(features),
        pages(features),
        congestion(features),
        send_buffer(features),
        memory(features, settings),
        cores(features, settings),
        ipv6(features),
    ]
}

fn kernel(features: &Features) -> Finding {
    let kernel = &features.kernel;
    if (kernel.major, kernel.minor) >= (6, 1) {
        return Finding::ok("kernel", kernel.text.clone());
    }
    let found = format!("{}: the io_uring send path needs 6.1; epoll is used", kernel.text);
    Finding::warn("kernel", found, "use a kernel of 6.1 or newer")
}

fn uring(features: &Features) -> Finding {
    match features.uring.setup {
        Ok(()) => Finding::ok("io_uring", "allowed"),
        Err(EPERM) => Finding::warn(
            "io_uring",
            "forbidden: epoll is used, which costs more CPU per viewer",
            "in a container allow io_uring_setup, io_uring_enter and io_uring_register in the \
             seccomp profile (docker run --security-opt seccomp=profile.json); on the host: \
             sysctl kernel.io_uring_disabled=0",
        ),
        Err(ENOSYS) => Finding::warn(
            "io_uring",
            "not in this kernel: epoll is used",
            "use a kernel with CONFIG_IO_URING",
        ),
        Err(ENOMEM) => Finding::warn(
            "io_uring",
            "no locked memory for its queues: epoll is used",
            "raise the memlock limit (docker run --ulimit memlock=-1, systemd LimitMEMLOCK=infinity)",
        ),
        Err(errno) => Finding::warn(
            "io_uring",
            format!("not usable ({}): epoll is used", error_text(errno)),
            "look for a sandbox that filters system calls",
        ),
    }
}

fn send_zc(features: &Features) -> Finding {
    if features.uring.setup.is_err() {
        return Finding::ok("SEND_ZC", "not asked without io_uring");
    }
    match (features.uring.send_zc, features.uring.registration) {
        (true, Ok(())) => Finding::ok("SEND_ZC", "with registered buffers"),
        (true, Err(errno)) => Finding::warn(
            "SEND_ZC",
            format!("without registered buffers ({}): sendfile is used", error_text(errno)),
            "raise the memlock limit (docker run --ulimit memlock=-1, systemd LimitMEMLOCK=infinity)",
        ),
        (false, _) => Finding::warn(
            "SEND_ZC",
            "not in this kernel: sendfile is used",
            "use a kernel of 6.1 or newer",
        ),
    }
}

/// The way that a viewer's bytes begin with; where the kernel copies all the same (loopback), a
/// viewer goes on with sendfile.
fn send_path(features: &Features, settings: &Settings) -> Finding {
    let uring = &features.uring;
    let zero_copy = uring.setup.is_ok() && uring.send_zc && uring.registration.is_ok();
    let shared = features.page_bytes <= SHARED_PAGE_BYTES_MAX;
    let found = match settings.send {
        SendPath::Copy => "copy (RINGCAST_SEND=copy)",
        SendPath::Shared if shared => "sendfile (RINGCAST_SEND=shared)",
        SendPath::Zerocopy if zero_copy => "zero-copy (RINGCAST_SEND=zerocopy)",
        SendPath::Auto if zero_copy && shared => "zero-copy, sendfile for viewers on this host",
        SendPath::Auto if zero_copy => "zero-copy",
        SendPath::Auto if shared => "sendfile",
        SendPath::Auto => "copy",
        SendPath::Shared | SendPath::Zerocopy => {
            let found = "copy: what RINGCAST_SEND asks for is not to be had here";
            return Finding::warn("send path", found, "leave RINGCAST_SEND at auto");
        }
    };
    Finding::ok("send path", found)
}

fn memlock(features: &Features, settings: &Settings) -> Finding {
    let wanted = settings.memory_bytes;
    match features.memlock_bytes {
        None => Finding::ok("memlock", "unlimited"),
        Some(bytes) if bytes >= wanted => Finding::ok("memlock", size(bytes)),
        Some(bytes) => Finding::warn(
            "memlock",
            format!(
                "{}, less than RINGCAST_MEMORY ({}): beyond it there is no zero-copy",
                size(bytes),
                size(wanted)
            ),
            "docker run --ulimit memlock=-1, systemd LimitMEMLOCK=infinity, or ulimit -l unlimited",
        ),
    }
}

fn files(features: &Features) -> Finding {
    let hard = features.files.hard;
    let fix = "docker run --ulimit nofile=1048576, systemd LimitNOFILE=1048576, or ulimit -Hn";
    let found = format!("{hard}, each viewer needs one");
    match hard {
        0..FILES_MIN => Finding::fail("open files", found, fix),
        FILES_MIN..FILES_COMFORTABLE => Finding::warn("open files", found, fix),
        _ => Finding::ok("open files", hard.to_string()),
    }
}

fn pages(features: &Features) -> Finding {
    let bytes = features.page_bytes;
    if bytes <= SHARED_PAGE_BYTES_MAX {
        return Finding::ok("page size", bytes.to_string());
    }
    let found = format!("{bytes}: pages this large are not shared with sockets, bytes are copied");
    Finding::warn("page size", found, "use a kernel with pages of 4 or 16 KiB")
}

fn congestion(features: &Features) -> Finding {
    let known = features.congestion.join(" ");
    if features.congestion.iter().any(|name| name == "bbr") {
        return Finding::ok("congestion", known);
    }
    let found = format!("{known}: without bbr, viewers far away stall on lossy lines");
    let fix =
        "modprobe tcp_bbr on the host, and add bbr to net.ipv4.tcp_allowed_congestion_control";
    Finding::warn("congestion", found, fix)
}

fn send_buffer(features: &Features) -> Finding {
    let bytes = features.wmem_max_bytes;
    // 0: the kernel did not say, as in some sandboxes.
    if bytes == 0 || bytes >= SEND_BUFFER_BYTES {
        return Finding::ok("send buffer", if bytes == 0 { "unknown".into() } else { size(bytes) });
    }
    let found = format!("{} at most, {} wanted", size(bytes), size(SEND_BUFFER_BYTES));
    Finding::warn("send buffer", found, format!("sysctl net.core.wmem_max={SEND_BUFFER_BYTES}"))
}

fn memory(features: &Features, settings: &Settings) -> Finding {
    let usable = features.memory_bytes.min(features.cgroup_memory_bytes.unwrap_or(u64::MAX));
    let (ring, all) = (size(settings.memory_bytes), size(usable));
    let found = format!("{ring} of {all} for streams");
    if settings.memory_bytes <= usable / 2 {
        return Finding::ok("memory", found);
    }
    let fix = "lower RINGCAST_MEMORY, or raise the container's memory limit";
    Finding::warn("memory", format!("{found}: viewers' sockets need memory too"), fix)
}

fn cores(features: &Features, settings: &Settings) -> Finding {
    let cores = features.cpus.len();
    let quota = features.cgroup_cpus.map_or(String::new(), |cores| format!(", quota {cores}"));
    let shards = settings.shards;
    let found = format!("{shards} shards on {cores} cores{quota}");
    if shards <= cores {
        return Finding::ok("cores", found);
    }
    Finding::warn("cores", found, "lower RINGCAST_SHARDS, or leave it auto")
}

fn ipv6(features: &Features) -> Finding {
    let found = if features.ipv6 { "available" } else { "not in this kernel: IPv4 only" };
    Finding::ok("IPv6", found)
}

fn size(bytes: u64) -> String {
    if bytes < 10 * KIB {
        return format!("{bytes} bytes");
    }
    let (value, unit) = scalar::size_text(bytes / KIB * KIB);
    if value.len() <= 4 {
        return format!("{value} {unit}");
    }
    format!("{} MiB", bytes >> 20)
}

fn error_text(errno: i32) -> String {
    crate::app::probe::plain(&std::io::Error::from_raw_os_error(errno))
}
