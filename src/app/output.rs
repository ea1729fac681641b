//! Text for people, on stdout and stderr. A reader that went away (`| head`) is no failure, and a
//! closed stream never panics.

use std::io::ErrorKind;
use std::io::Write;
use std::process::ExitCode;

pub fn print(text: &str) -> ExitCode {
    print_bytes(text.as_bytes())
}

pub fn print_bytes(bytes: &[u8]) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("stdout: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// One line on stderr.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "ringcast: {line}");
}
