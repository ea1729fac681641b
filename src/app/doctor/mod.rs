//! `ringcast doctor`: what of this host, the engines and Redis is in the way, each with its fix.
//!
//! Exit 0 is "ready": nothing found that keeps streams from playing. What only costs speed or a
//! mirror is a warning.

mod engines;
mod findings;
mod redis;

use std::process::ExitCode;

use crate::app::boot::Boot;
use crate::app::output;

pub use findings::Finding;
pub use findings::Level;

pub fn run(boot: Boot) -> ExitCode {
    let mut found = findings::host(&boot.features, &boot.settings);
    found.extend(engines::check(&boot.settings.engines));
    found.extend(redis::check(boot.settings.redis_url.as_ref(), &boot.settings.redis_prefix));
    for notice in &boot.notices {
        found.push(Finding::warn("settings", notice.clone(), ""));
    }
    let ready = found.iter().all(|finding| finding.level != Level::Fail);
    let printed = output::print(&report(&found, ready));
    if ready { printed } else { ExitCode::FAILURE }
}

/// One line per finding, its fix below it, the verdict last.
fn report(found: &[Finding], ready: bool) -> String {
    let width = found.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    let mut out = String::new();
    for finding in found {
        let level = match finding.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        out.push_str(&format!("{level}  {:width$}  {}\n", finding.what, finding.found));
        if !finding.fix.is_empty() {
            out.push_str(&format!("      {:width$}  fix: {}\n", "", finding.fix));
        }
    }
    let count = |level| found.iter().filter(|finding| finding.level == level).count();
    let (warnings, failures) = (count(Level::Warn), count(Level::Fail));
    out.push_str(&match (ready, warnings) {
        (true, 0) => "ready\n".to_owned(),
        (true, _) => format!("ready, {warnings} to improve\n"),
        (false, _) => format!("not ready: {failures} to fix, {warnings} to improve\n"),
    });
    out
}

#[cfg(test)]
mod tests;
