//! What this host and its kernel allow: for `doctor`, for the choice of the send path, for limits.
//!
//! Everything is asked afresh, and nothing is assumed from a version number: a container may
//! forbid what its kernel can do, each thing by itself.
#![expect(unsafe_code, reason = "SIGPIPE has no safe wrapper, nor have registered buffers")]

mod limits;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::net::Ipv6Addr;
use std::net::UdpSocket;

use io_uring::IoUring;
use io_uring::Probe;
use io_uring::opcode;
use rustix::process::Resource;
use rustix::process::Rlimit;

use crate::base::sizes::REGION_BYTES_MAX;

/// `RINGCAST_MAX_VIEWERS` may count on so many open files at most.
pub const OPEN_FILES_MAX: u64 = 1_048_576;

/// What is registered to find out whether that is allowed.
const PROBE_BYTES: usize = 1 << 20;

/// A limit of locked memory above it is taken as it is: trying would cost milliseconds.
const MEMLOCK_TRIED_MAX: u64 = 256 << 20;

#[derive(Clone, Debug)]
pub struct Features {
    pub kernel: Kernel,
    pub uring: UringFeatures,
    /// RLIMIT_MEMLOCK, against which registered buffers count. None: unlimited, or it does not bind
    /// us (CAP_IPC_LOCK).
    pub memlock_bytes: Option<u64>,
    pub files: Files,
    pub page_bytes: usize,
    pub memory_bytes: u64,
    pub cgroup_memory_bytes: Option<u64>,
    /// Cores' worth of time, when a quota is set.
    pub cgroup_cpus: Option<f64>,
    /// The CPUs that this thread may run on.
    pub cpus: Vec<usize>,
    /// Congestion controls that a socket may be given without privileges.
    pub congestion: Vec<String>,
    pub ipv6: bool,
    /// net.core.wmem_max: the kernel caps a viewer's send buffer at it.
    pub wmem_max_bytes: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    pub major: u32,
    pub minor: u32,
    pub text: String,
}

/// What the ring of the egress may do. Errors are errno.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UringFeatures {
    pub setup: Result<(), i32>,
    pub send_zc: bool,
    /// Registering as much as a region of packet memory.
    pub registration: Result<(), i32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Files {
    pub soft: u64,
    pub hard: u64,
}

/// Asks everything; may take some milliseconds. At boot and in `doctor`.
pub fn features() -> Features {
    let files = rustix::process::getrlimit(Resource::Nofile);
    Features {
        kernel: kernel(),
        uring: uring(),
        memlock_bytes: memlock_bytes(),
        files: Files {
            soft: files.current.unwrap_or(u64::MAX),
            hard: files.maximum.unwrap_or(u64::MAX),
        },
        page_bytes: rustix::param::page_size(),
        memory_bytes: limits::memory_bytes(),
        cgroup_memory_bytes: limits::cgroup_memory_bytes(),
        cgroup_cpus: limits::cgroup_cpus(),
        cpus: cpus(),
        congestion: congestion(),
        ipv6: UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok(),
        wmem_max_bytes: limits::read_u64("/proc/sys/net/core/wmem_max").unwrap_or(0),
    }
}

/// Raises the soft limit of open files to the hard one, at most `max`. Says what is in force.
pub fn raise_open_files(max: u64) -> io::Result<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(max);
    if wanted <= soft {
        return Ok(soft);
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised)?;
    Ok(wanted)
}

/// Descriptors that this process may have open.
pub fn open_files_limit() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Binds the calling thread to one CPU.
pub fn pin_thread(cpu: usize) -> io::Result<()> {
    if cpu >= rustix::thread::CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// A peer that went away is an error of the write, never a signal.
pub fn ignore_sigpipe() {
    // SAFETY: no handler is installed; ignoring is all that is asked for.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Descriptors that are open now.
pub fn open_files() -> io::Result<usize> {
    // One of them is the folder that is being read.
    Ok(fs::read_dir("/proc/self/fd")?.count().saturating_sub(1))
}

/// Memory of this process that is resident now.
pub fn rss_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages * rustix::param::page_size() as u64)
}

pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn kernel() -> Kernel {
    let text = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers =
        text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Kernel { major, minor, text }
}

fn uring() -> UringFeatures {
    let ring = match crate::net::egress::probe_ring() {
        Ok(ring) => ring,
        Err(errno) => {
            return UringFeatures { setup: Err(errno), send_zc: false, registration: Err(errno) };
        }
    };
    let mut probe = Probe::new();
    let send_zc = ring.submitter().register_probe(&mut probe).is_ok()
        && probe.is_supported(opcode::SendZc::CODE);
    UringFeatures { setup: Ok(()), send_zc, registration: registration(&ring, REGION_BYTES_MAX) }
}

/// The limit of locked memory, if we have to keep to it: more than it allows is asked for.
fn memlock_bytes() -> Option<u64> {
    let limit = rustix::process::getrlimit(Resource::Memlock).current?;
    let wanted = limit.checked_add(PROBE_BYTES as u64).filter(|bytes| *bytes <= MEMLOCK_TRIED_MAX);
    let is_ours = wanted.is_some_and(|bytes| {
        let ring = crate::net::egress::probe_ring();
        ring.is_ok_and(|ring| registration(&ring, bytes as usize).is_ok())
    });
    (!is_ours).then_some(limit)
}

/// Registers so much, which finds out a limit and a filter. Each registration of the same bytes
/// counts, so that it takes no more memory than one.
fn registration(ring: &IoUring, bytes_wanted: usize) -> Result<(), i32> {
    let mut bytes = vec![0u8; PROBE_BYTES];
    let buffer = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let buffers = vec![buffer; bytes_wanted.div_ceil(PROBE_BYTES)];
    let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    // SAFETY: the buffer outlives its registration, which is undone in the next statement; no
    // operation refers to it.
    unsafe { ring.submitter().register_buffers(&buffers) }.map_err(errno)?;
    ring.submitter().unregister_buffers().map_err(errno)
}

fn cpus() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

fn congestion() -> Vec<String> {
    let path = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}
