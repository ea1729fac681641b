//! A floor as a process, players that check every packet.

use std::io::BufRead;
use std::io::BufReader;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use ace_emulator::Verifier;

const ENDLESS_BYTES: usize = 64_000_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// The infohash of channel k.
pub(crate) fn name(k: u32) -> String {
    format!("{k:08x}{}", "ab".repeat(16))
}

pub(crate) struct Floor {
    child: Child,
    addr: SocketAddr,
}

impl Floor {
    pub(crate) fn start(how: &str, send_bytes: u64, engine: SocketAddr) -> Floor {
        let mut command = command(how, send_bytes, engine);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("listening on ");
        let addr = addr.unwrap_or_else(|| panic!("floor {how} does not start: {line}"));
        Floor { addr: addr.parse().unwrap(), child }
    }

    /// Status and length of the body of an answer that ends.
    pub(crate) fn get(&self, target: &str) -> (String, usize) {
        let mut player = Player::ask(self, target);
        let bytes = player.read_to_end();
        (player.status.clone(), bytes)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(how: &str, send_bytes: u64, engine: SocketAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floor"));
    command.args([how, "--listen", "127.0.0.1:0", "--quiet"]);
    command.arg(format!("--engine={engine}")).arg(format!("--send-bytes={send_bytes}"));
    command
}

/// What a floor says that may not call io_uring_setup.
pub(crate) fn start_without_io_uring(how: &str) -> String {
    let mut command = command(how, 65_536, SocketAddr::from(([127, 0, 0, 1], 1)));
    forbid_io_uring(&mut command);
    let output = command.output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[expect(unsafe_code, reason = "a system-call filter is set between fork and exec")]
fn forbid_io_uring(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let op = |code: u32, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut filter = [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, libc::SYS_io_uring_setup as u32),
        op(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        op(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
        // SAFETY: both calls read what is passed, which lives until they return; the filter is a
        // valid program that ends on every path.
        let set = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
        };
        if set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec only two system calls are made, nothing is allocated.
    unsafe { command.pre_exec(install) };
}

pub(crate) struct Player {
    socket: TcpStream,
    status: String,
    verifier: Verifier,
    bytes: usize,
}

impl Player {
    pub(crate) fn join(floor: &Floor, infohash: &str) -> Player {
        let player = Player::ask(floor, &format!("/ace/getstream?id={infohash}"));
        assert_eq!(player.status, "200");
        player
    }

    /// Asks, reads the head and not a byte more.
    fn ask(floor: &Floor, target: &str) -> Player {
        let mut socket = TcpStream::connect(floor.addr).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(socket, "GET {target} HTTP/1.1\r\nHost: floor\r\n\r\n").unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().to_owned();
        Player { socket, status, verifier: Verifier::new(), bytes: 0 }
    }

    /// Reads until it got this much in all.
    pub(crate) fn read(&mut self, bytes: usize) {
        while self.bytes < bytes {
            assert!(self.receive().unwrap() > 0, "closed after {} of {bytes} bytes", self.bytes);
        }
    }

    /// Reads until it is hung up on; gives all that it got.
    pub(crate) fn read_to_end(&mut self) -> usize {
        loop {
            assert!(self.bytes < ENDLESS_BYTES, "it does not end");
            match self.receive() {
                Ok(0) => return self.bytes,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return self.bytes,
                Err(error) => panic!("not hung up on after {} bytes: {error}", self.bytes),
            }
        }
    }

    fn receive(&mut self) -> std::io::Result<usize> {
        let mut buffer = [0; 65_536];
        let received = self.socket.read(&mut buffer)?;
        self.verifier.feed(&buffer[..received]);
        self.bytes += received;
        Ok(received)
    }

    /// Nothing but the source's packets, without a gap; where they begin is free.
    pub(crate) fn assert_exact(&self) {
        let report = self.verifier.report();
        let faults = (
            report.wrong_packets,
            report.gap_count,
            report.switches,
            report.misaligned_bytes,
            report.continuity_errors,
            report.inserted.marks + report.inserted.nulls,
        );
        assert_eq!(faults, (0, 0, 0, 0, 0, 0), "{:?}", report.first_fault);
        let packets = (self.bytes / 188) as u64;
        assert!(report.source_packets + 16 >= packets, "{} of {packets}", report.source_packets);
    }
}
