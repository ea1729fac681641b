//! Real players: how each is asked to play for a while without a screen, and what it says of a
//! stream that is not whole.
//!
//! All of them end by themselves: each has its own limit of stream time, and a guard around it.

use std::io::Read;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

/// What ends a player whose own limit never comes.
const GUARD_S: &str = "60";

/// A real player at work.
pub(crate) struct Tool {
    name: &'static str,
    child: Child,
    said: std::thread::JoinHandle<String>,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) ok: bool,
    pub(crate) said: String,
}

impl Tool {
    /// Decodes `seconds` of it and stops at the first thing that is wrong, from the first byte on.
    pub(crate) fn ffmpeg(input: &str, seconds: u32) -> Self {
        let seconds = seconds.to_string();
        Self::ffmpeg_until(input, &["-t", &seconds])
    }

    /// Decodes `seconds` of it; a picture that was cut in two is made the best of.
    pub(crate) fn ffmpeg_lenient(input: &str, seconds: u32) -> Self {
        let mut command = guarded();
        command.args(["ffmpeg", "-nostdin", "-hide_banner", "-v", "warning"]);
        command.args(["-i", input, "-t", &seconds.to_string(), "-f", "null", "-"]);
        Self::start("ffmpeg", command)
    }

    /// Decodes one picture.
    pub(crate) fn ffmpeg_picture(input: &str) -> Self {
        Self::ffmpeg_until(input, &["-frames:v", "1"])
    }

    /// Decodes all of it.
    pub(crate) fn ffmpeg_whole(input: &str) -> Self {
        Self::ffmpeg_until(input, &[])
    }

    fn ffmpeg_until(input: &str, until: &[&str]) -> Self {
        let mut command = guarded();
        command.args(["ffmpeg", "-nostdin", "-hide_banner", "-v", "warning", "-xerror"]);
        command.args(["-err_detect", "crccheck+bitstream+buffer+explode", "-i", input]);
        command.args(until).args(["-f", "null", "-"]);
        Self::start("ffmpeg", command)
    }

    pub(crate) fn mpv(input: &str, seconds: u32) -> Self {
        let mut command = guarded();
        command.args(["mpv", "--no-config", "--no-terminal", "--vo=null", "--ao=null"]);
        command.args([
            "--terminal=yes",
            "--msg-level=all=v",
            "--msg-color=no",
            "--no-input-terminal",
        ]);
        command.arg(format!("--length={seconds}")).arg(input);
        Self::start("mpv", command)
    }

    /// VLC refuses to run as root.
    pub(crate) fn vlc(input: &str, seconds: u32) -> Self {
        let mut command = guarded();
        if rustix::process::geteuid().is_root() {
            command.args(["runuser", "-u", "nobody", "--"]);
        }
        command.args(["cvlc", "--intf", "dummy", "--vout", "dummy", "--aout", "dummy"]);
        command.args(["--no-color", "--verbose", "2", "--play-and-exit"]);
        command.args(["--run-time", &seconds.to_string(), input, "vlc://quit"]);
        Self::start("cvlc", command)
    }

    fn start(name: &'static str, mut command: Command) -> Self {
        let found = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
        });
        assert!(found, "{name} is not installed");
        let (mut output, both) = std::io::pipe().unwrap();
        command.stdin(Stdio::null()).stdout(both.try_clone().unwrap()).stderr(both);
        let child = command.spawn().expect("coreutils' timeout");
        drop(command);
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = output.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        Self { name, child, said }
    }

    pub(crate) fn played(mut self) -> Played {
        let status = self.child.wait().expect("our own child");
        let said = self.said.join().unwrap();
        Played { ok: status.success(), said: format!("{}: {status}\n{said}", self.name) }
    }
}

impl Played {
    /// It played, and found nothing wrong with the packets.
    pub(crate) fn is_clean(&self) -> bool {
        self.ok && !self.complains()
    }

    /// It noticed something wrong with the packets, other than a picture or sound that was cut.
    pub(crate) fn lost_the_stream(&self) -> bool {
        let signs = ["discontinuity received", "libdvbpsi error", "lost synchro", "garbage"];
        let lower = self.said.to_lowercase();
        // Of tables that are none of its business VLC reports the jump, which was declared.
        let mut lines = lower.lines().filter(|line| !line.contains("for pid 17"));
        lines.any(|line| signs.iter().any(|sign| line.contains(sign)))
    }

    /// It said something that only a damaged stream makes it say.
    pub(crate) fn complains(&self) -> bool {
        let lower = self.said.to_lowercase();
        let signs = [
            // ffmpeg, and mpv which has the same demultiplexer and decoders.
            "corrupt",
            "concealing",
            "invalid data",
            "error while decoding",
            "non-existing",
            "non monoton",
            "mismatch",
            // VLC; it also names a discontinuity that was declared, in other words.
            "discontinuity received",
            "libdvbpsi error",
            "lost synchro",
            "garbage",
            "is called too late",
        ];
        signs.iter().any(|sign| lower.contains(sign))
    }
}

fn guarded() -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", GUARD_S]);
    command
}

/// A file that players of any user can read, gone when this is dropped.
pub(crate) struct Recording(std::path::PathBuf);

impl Recording {
    /// Of the bytes, the whole packets: players look at the end of a file first.
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len() / 188 * 188];
        let path = std::env::temp_dir().join(format!("ringcast-{}-{name}.ts", std::process::id()));
        std::fs::write(&path, bytes).expect("a file in the temporary folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("a plain name")
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if std::env::var_os("RINGCAST_TEST_KEEP").is_none() {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}
