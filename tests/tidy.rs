//! The habits that a review would ask for, as a test. It reads files and nothing else.
//!
//! Floors, rooms of unsafe code, the one clock, file headers, file lengths, words that must not
//! stay in a tree, links that lead nowhere.

#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Imports go down only; modules of one floor never import each other.
const FLOORS: &[(&str, u8)] = &[
    ("base", 0),
    ("ts", 1),
    ("http", 1),
    ("ring", 2),
    ("stream", 3),
    ("viewer", 3),
    ("engine", 3),
    ("hls", 3),
    ("registry", 3),
    ("router", 3),
    ("admin", 3),
    ("net", 4),
    ("mirror", 4),
    ("shard", 5),
    ("config", 6),
    ("app", 7),
];

/// Where `unsafe` may stand, each with its proof in the file.
const UNSAFE_ROOMS: &[&str] = &[
    "src/ring/",
    "src/net/",
    "perf/floor/",
    "perf/nicsink/tests/rig/zero_copy.rs",
    "tools/swarm/",
    "tests/allocations.rs",
];

const LINES_MAX: usize = 560;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folders: &[&str], extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            if path.ends_with("target") || path.ends_with(".git") {
                continue;
            }
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if extensions.iter().any(|end| path.extension().is_some_and(|have| have == *end)) {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    found.into_iter().collect()
}

fn rust_files() -> Vec<(String, String)> {
    let all = files(&["src", "tests", "tools", "benches", "perf", "fuzz"], &["rs"]);
    assert!(all.len() > 10, "tidy reads nothing");
    all
}

fn floor_of(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

#[test]
fn imports_only_go_down() {
    let mut wrong = Vec::new();
    for (name, text) in files(&["src"], &["rs"]) {
        let mut parts = name.split('/');
        let module = parts.nth(1).unwrap().trim_end_matches(".rs");
        if module == "lib" || module == "main" {
            continue;
        }
        let floor = floor_of(module).unwrap_or_else(|| panic!("{name}: which floor is it on?"));
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for used in code.split("crate::").skip(1) {
                let end = used.find(|c: char| !c.is_alphanumeric() && c != '_');
                let target = &used[..end.unwrap_or(used.len())];
                let Some(below) = floor_of(target) else { continue };
                if target != module && below >= floor {
                    wrong.push(format!("{name}:{}: {module} must not use {target}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    let word = concat!("un", "safe");
    let mut wrong = Vec::new();
    for (name, text) in rust_files() {
        if UNSAFE_ROOMS.iter().any(|room| name.starts_with(room)) || name == "tests/tidy.rs" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            let written = [" {", " fn", " impl", " extern"].map(|end| format!("{word}{end}"));
            if written.iter().any(|form| code.contains(form.as_str())) {
                wrong.push(format!("{name}:{}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "outside ring/ and net/:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = rust_files()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(name, _)| name)
        .collect();
    assert!(silent.is_empty(), "no //! header:\n{}", silent.join("\n"));
}

#[test]
fn no_file_is_two_things() {
    let long: Vec<_> = rust_files()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > LINES_MAX)
        .map(|(name, text)| {
            format!("{name}: {} lines: which two things is it?", text.lines().count())
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn one_clock_and_nothing_left_open() {
    let words: Vec<String> = [
        ["FIX", "ME"],
        ["XX", "X"],
        ["todo", "!("],
        ["unimplemented", "!("],
        ["#[ign", "ore"],
        ["dbg", "!("],
    ]
    .iter()
    .map(|halves| halves.concat())
    .collect();
    let mut wrong = Vec::new();
    for (name, text) in rust_files() {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                wrong.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
            let clock = concat!("Instant::", "now()");
            let brain = name.starts_with("src/") && name != "src/base/time.rs";
            if brain && line.split("//").next().unwrap().contains(clock) {
                wrong.push(format!("{name}:{}: a second clock", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where the wall clock is read: to be shown. What is decided is decided by the one that never jumps.
const WALL_CLOCK: &[&str] = &[
    "src/base/time.rs",
    "src/app/log/mod.rs",
    "src/app/serve.rs",
    // Times in Redis and in the journal are those of people and of other nodes.
    "src/mirror/driver.rs",
    "src/mirror/journal/sweep.rs",
    "src/mirror/journal/writer.rs",
    "src/mirror/questions.rs",
    "src/mirror/thread.rs",
    "src/shard/join.rs",
    "src/shard/mirror.rs",
    "src/shard/source.rs",
    "src/shard/tell.rs",
    // How old the newest piece of a broadcast is: said, and nothing is done about it.
    "src/shard/translate.rs",
];

#[test]
fn a_clock_that_jumps_decides_nothing() {
    let reads = concat!("Wall::", "now()");
    let wrong: Vec<String> = files(&["src"], &["rs"])
        .into_iter()
        .filter(|(name, text)| text.contains(reads) && !WALL_CLOCK.contains(&name.as_str()))
        .map(|(name, _)| name)
        .collect();
    assert!(wrong.is_empty(), "the wall clock is read in {wrong:?}");
}

#[test]
fn the_readme_names_the_two_commands() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains("cargo run --release -- demo"));
    assert!(readme.contains("cargo xtask test"));
    assert!(fs::read_to_string(root().join(".ci/run")).unwrap().contains("cargo xtask test"));
}

#[test]
fn links_in_the_docs_lead_somewhere() {
    let mut wrong = Vec::new();
    let mut pages = files(&["docs"], &["md"]);
    for page in ["README.md", "CHANGELOG.md"] {
        pages.push((page.to_owned(), fs::read_to_string(root().join(page)).unwrap()));
    }
    for (name, text) in pages {
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#', ' ']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let base = root().join(&name).parent().unwrap().to_owned();
            if !base.join(target).exists() {
                wrong.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `path/file.rs::test_name`, as the plan cites what shows an item.
#[test]
fn tests_that_the_docs_cite_are_there() {
    let mut cited = 0;
    let mut wrong = Vec::new();
    for (page, text) in files(&["docs"], &["md"]) {
        for quoted in text.split('`').skip(1).step_by(2) {
            let Some((file, test)) = quoted.split_once(".rs::") else { continue };
            cited += 1;
            let source = fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
            if !source.contains(&format!("fn {test}()")) {
                wrong.push(format!("{page}: {quoted}"));
            }
        }
    }
    assert!(cited > 10, "the plan cites tests");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
