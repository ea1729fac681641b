//! Bugs that are planted on purpose, to see that the simulator finds them.
//!
//! Each is a patch in `tests/planted`, applied to a copy of the tree below `target/planted` and to
//! nothing else: the product carries none of it. `check` says in an instant whether each patch still
//! applies; `plant` builds and sweeps, and fails when no seed finds a bug.

use crate::cargo::cargo;
use crate::cargo::root;
use crate::runner::lines_of;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

const SEEDS: &str = "2000";
const FOLDER: &str = "tests/planted";

/// What `tests/sim` says when some of its seeds fail.
const FOUND: &str = " seeds fail, the first are ";

pub(crate) fn plant(words: &[&str]) -> Result<(), String> {
    let (seeds, names) = match words {
        ["--seeds", seeds, names @ ..] => (*seeds, names),
        names => (SEEDS, names),
    };
    seeds.parse::<u64>().map_err(|_| format!("--seeds takes a number, not {seeds}"))?;
    let all = patches()?;
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|(known, _)| known == *name)) {
        let known: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        return Err(format!("no planted bug `{unknown}`; there are {}", known.join(", ")));
    }
    check()?;
    let mut rows = Vec::new();
    for (name, patch) in &all {
        if names.is_empty() || names.contains(&name.as_str()) {
            println!("xtask: planted: {name}");
            let (count, first) = sweep(patch, seeds)?;
            println!("xtask: {count} of {seeds} seeds find {name}, the first are {first}");
            rows.push((name, count));
        }
    }
    let missed: Vec<&str> =
        rows.iter().filter(|(_, found)| *found == 0).map(|(name, _)| name.as_str()).collect();
    if missed.is_empty() { Ok(()) } else { Err(format!("no seed finds {}", missed.join(", "))) }
}

/// Each patch applies to the tree as it is.
pub(crate) fn check() -> Result<(), String> {
    for (name, patch) in patches()? {
        apply(&root(), &patch, true).map_err(|why| {
            format!("{FOLDER}/{name}.patch does not apply any more: make it anew ({why})")
        })?;
    }
    Ok(())
}

fn patches() -> Result<Vec<(String, PathBuf)>, String> {
    let folder = root().join(FOLDER);
    let files = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = files.flatten().map(|entry| entry.path());
    let mut named: Vec<(String, PathBuf)> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "patch"))
        .filter_map(|path| Some((path.file_stem()?.to_string_lossy().into_owned(), path)))
        .collect();
    named.sort();
    if named.is_empty() { Err(format!("no patch in {FOLDER}")) } else { Ok(named) }
}

fn apply(tree: &Path, patch: &Path, only_check: bool) -> Result<(), String> {
    let mut command = Command::new("git");
    // The copy is no repository of its own: git would look for the one around it.
    command
        .arg("apply")
        .current_dir(tree)
        .envs(tree.parent().map(|above| ("GIT_CEILING_DIRECTORIES", above)));
    if only_check {
        command.arg("--check");
    }
    let out = command.arg(patch).output().map_err(|error| format!("git: {error}"))?;
    let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
    if out.status.success() { Ok(()) } else { Err(said) }
}

/// How many seeds fail in a copy of the tree with the patch, and which come first.
fn sweep(patch: &Path, seeds: &str) -> Result<(u64, String), String> {
    let planted = root().join("target/planted");
    let tree = planted.join("tree");
    copy_tree(&tree).map_err(|error| format!("{}: {error}", tree.display()))?;
    apply(&tree, patch, false)?;
    // The copy has the times of the files it was made from, the last bug's build is newer.
    let library = fs::File::options().append(true).open(tree.join("src/lib.rs"));
    let touched = library.and_then(|file| file.set_modified(now()));
    touched.map_err(|error| format!("src/lib.rs of the copy: {error}"))?;
    let mut command = cargo();
    command.args(["test", "-q", "--locked", "--test", "sim"]).current_dir(&tree);
    command.env("CARGO_TARGET_DIR", planted.join("build"));
    // Hundreds of panics: none of them is read.
    command.envs([("SIM_COUNT", "1"), ("SIM_SEEDS", seeds), ("RUST_BACKTRACE", "0")]);
    let (mut found, mut ran) = (None, false);
    let ended = lines_of(&mut command, |line| {
        found = found.take().or_else(|| read_found(line));
        ran |= line.starts_with("test result:");
    });
    match (found, ended) {
        (Some(found), Err(_)) => Ok(found),
        (None, Ok(())) if ran => Ok((0, "none".to_owned())),
        (_, ended) => Err(format!("the simulator did not sweep: {ended:?}")),
    }
}

fn read_found(line: &str) -> Option<(u64, String)> {
    let (count, first) = line.split_once(FOUND)?;
    Some((count.trim().parse().ok()?, first.to_owned()))
}

/// The files of the tree as they are now, with their times, so that nothing else is built again.
fn copy_tree(to: &Path) -> io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let out = list.current_dir(root()).output()?;
    if !out.status.success() {
        return Err(io::Error::other("git ls-files failed: the copy is made of its list"));
    }
    for name in String::from_utf8_lossy(&out.stdout).split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root().join(name), to.join(name));
        if !from.is_file() {
            continue; // Deleted, and not yet from the list.
        }
        fs::create_dir_all(to.parent().unwrap_or(&to))?;
        fs::copy(&from, &to)?;
        let times = fs::metadata(&from)?.modified()?;
        fs::File::options().append(true).open(&to)?.set_modified(times)?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the time of a file")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_simulator_says_is_read() {
        let line = "12 seeds fail, the first are [395, 469]";
        assert_eq!(read_found(line), Some((12, "[395, 469]".to_owned())));
        assert_eq!(read_found("test result: ok. 1 passed; 0 failed"), None);
    }

    #[test]
    fn a_name_that_is_not_there_is_told_which_are() {
        let error = plant(&["nothing"]).unwrap_err();
        assert!(error.contains("no planted bug `nothing`") && error.contains("stop_twice"));
        assert!(plant(&["--seeds", "many"]).is_err());
    }
}
