//! `ringcast serve`.

use std::process::ExitCode;

use crate::app::boot::Boot;
use crate::app::output;

pub fn run(_boot: Boot) -> ExitCode {
    output::complain("serve is not built yet");
    ExitCode::FAILURE
}
