//! `cargo xtask instructions`: how many instructions each benchmark takes, beside those that
//! `perf/instructions.md` keeps.
//!
//! Seconds of a shared machine are too noisy to see a tenth; instructions repeat to the last few.
//! callgrind counts while the case's own function runs, and nothing of its setup. What they do
//! not show: waiting for memory, for other cores and for the kernel.

use crate::cargo::bench_targets;
use crate::cargo::cargo;
use crate::cargo::root;
use crate::runner::lines_of;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

const KEPT: &str = "perf/instructions.md";

/// A change below this is one of the compiler's moods.
const CHANGE_PERCENT_MIN: f64 = 1.0;

/// A long copy by `rep movsb` would count as an instruction a byte.
const COPIES: &str = "glibc.cpu.x86_rep_movsb_threshold=0x40000000";

/// What a benchmark program says of a case with `--list`.
#[derive(PartialEq, Debug)]
struct Case {
    name: String,
    times: u64,
    what: String,
}

#[derive(PartialEq, Debug)]
struct Row {
    name: String,
    instructions: f64,
    what: String,
}

/// Counts all, prints the changes; `keep` writes the page.
pub(crate) fn instructions(keep: bool) -> Result<(), String> {
    let valgrind = said(Command::new("valgrind").arg("--version"))
        .map_err(|_| "valgrind is not installed (apt-get install valgrind)".to_owned())?;
    let rows = count_all()?;
    let page = root().join(KEPT);
    let kept = rows_of(&fs::read_to_string(&page).unwrap_or_default());
    println!("{:<16} {:>12} {:>12} {:>8}", "", "kept", "now", "change");
    for row in &rows {
        let before = kept.iter().find(|kept| kept.name == row.name).map(|kept| kept.instructions);
        println!("{}", line(row, before));
    }
    if keep {
        let rustc = said(Command::new("rustc").arg("--version"))?;
        let text = render(&rows, rustc.trim(), valgrind.trim());
        fs::write(&page, text).map_err(|error| format!("{KEPT}: {error}"))?;
    }
    Ok(())
}

fn count_all() -> Result<Vec<Row>, String> {
    let folder = root().join("target/instructions");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut rows = Vec::new();
    for target in bench_targets() {
        let program = built(&target)?;
        let listed = said(Command::new(&program).arg("--list"))?;
        for case in listed.lines().filter_map(case_of) {
            let counted = count(&program, &target, &case, &folder)?;
            let instructions = counted as f64 / case.times as f64;
            rows.push(Row { name: case.name, instructions, what: case.what });
        }
    }
    Ok(rows)
}

/// The program as `cargo bench` would run it.
fn built(target: &str) -> Result<PathBuf, String> {
    let mut build = cargo();
    build.args(["bench", "-q", "--no-run", "--locked", "--bench", target]);
    build.arg("--message-format=json-render-diagnostics");
    let mut program = None;
    lines_of(&mut build, |line| {
        let is_ours = line.contains(&format!("\"name\":\"{target}\""));
        if let (true, Some((_, path))) = (is_ours, line.split_once("\"executable\":\"")) {
            program = path.split('"').next().map(PathBuf::from);
        }
    })?;
    program.ok_or(format!("cargo named no program for the benchmark {target}"))
}

fn count(program: &Path, target: &str, case: &Case, folder: &Path) -> Result<u64, String> {
    let out = folder.join(&case.name);
    let status = Command::new("valgrind")
        .env("GLIBC_TUNABLES", COPIES)
        .args(["--tool=callgrind", "-q"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(format!("--toggle-collect={target}::counted::{}", case.name))
        .arg(program)
        .args(["--only", &case.name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    if !status.is_ok_and(|status| status.success()) {
        return Err(format!("{} does not run under valgrind", case.name));
    }
    let text = fs::read_to_string(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    match summary_of(&text) {
        Some(counted) if counted > 0 => Ok(counted),
        Some(_) | None => Err(format!("no function {target}::counted::{}", case.name)),
    }
}

fn said(command: &mut Command) -> Result<String, String> {
    let out = command.stdin(Stdio::null()).output();
    let out = out.map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if out.status.success() {
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    } else {
        Err(format!("{command:?}: {}", out.status))
    }
}

/// "ring_turn 20000 a turn: pin, fence, tail, head, unpin"
fn case_of(line: &str) -> Option<Case> {
    let mut words = line.splitn(3, ' ');
    let name = words.next()?.to_owned();
    let times = words.next()?.parse().ok().filter(|times| *times > 0)?;
    Some(Case { name, times, what: words.next()?.to_owned() })
}

/// callgrind's count of everything that it collected.
fn summary_of(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("summary:")?.trim().parse().ok())
}

/// The table's rows: "| `ring_turn` | 71.0 | a turn |".
fn rows_of(page: &str) -> Vec<Row> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = cells.next()?.trim_end_matches('`').to_owned();
        let instructions = cells.next()?.replace(' ', "").parse().ok()?;
        Some(Row { name, instructions, what: cells.next()?.to_owned() })
    };
    page.lines().filter_map(row).collect()
}

fn line(row: &Row, kept: Option<f64>) -> String {
    let Row { name, instructions, what } = row;
    let Some(kept) = kept else {
        return format!("{name:<16} {:>12} {instructions:>12.1} {:>8}  {what}", "", "new");
    };
    let percent = (instructions / kept - 1.0) * 100.0;
    let change =
        if percent.abs() < CHANGE_PERCENT_MIN { String::new() } else { format!("{percent:+.1} %") };
    format!("{name:<16} {kept:>12.1} {instructions:>12.1} {change:>8}  {what}")
}

fn render(rows: &[Row], rustc: &str, valgrind: &str) -> String {
    let mut page = format!(
        "# Instructions of the data path

What `benches/` does once, counted by callgrind; `cargo bench` has the same in nanoseconds. A commit
that changes one of them says so and brings the new table.

```
cargo xtask instructions           # counts, and compares with this table
cargo xtask instructions --keep    # and writes it
```

{rustc}, {valgrind}. What copies depends a little on the processor, for which the C library chooses.

| benchmark | instructions | what happens once |
|---|---:|---|
"
    );
    for Row { name, instructions, what } in rows {
        page.push_str(&format!("| `{name}` | {instructions:.1} | {what} |\n"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, instructions: f64) -> Row {
        Row { name: name.to_owned(), instructions, what: "a turn: pin, fence".to_owned() }
    }

    #[test]
    fn a_case_is_read_as_it_is_listed() {
        let case = case_of("ring_turn 20000 a turn: pin, fence").unwrap();
        assert_eq!((case.name.as_str(), case.times), ("ring_turn", 20_000));
        assert_eq!(case.what, "a turn: pin, fence");
        assert_eq!(case_of("ring_turn 0 never"), None);
        assert_eq!(case_of("sum 00000000e584e1b8"), None);
    }

    #[test]
    fn the_count_is_callgrinds_summary() {
        let text = "version: 1\nevents: Ir\n\nfn=(2) a\n10 4\nsummary: 1420024\ntotals: 7\n";
        assert_eq!(summary_of(text), Some(1_420_024));
        assert_eq!(summary_of("version: 1\n"), None);
    }

    #[test]
    fn the_page_is_read_as_it_was_written() {
        let rows = [row("ring_turn", 71.0), row("ring_append", 1_234.5)];
        assert_eq!(rows_of(&render(&rows, "rustc 1", "valgrind-3")), rows);
    }

    #[test]
    fn a_change_is_shown_and_a_mood_is_not() {
        let shown = |now: f64| line(&row("x", now), Some(100.0));
        assert!(shown(110.0).contains("+10.0 %") && shown(90.0).contains("-10.0 %"));
        assert!(!shown(100.4).contains('%'));
        assert!(line(&row("x", 1.0), None).contains("new"));
    }
}
