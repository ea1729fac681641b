//! The settings, from outside: what is given goes in, settings and lines come out.

mod errors;
mod every_row;
mod origins;
mod scalars;

use std::ffi::OsString;
use std::path::PathBuf;

use super::*;
use crate::config::load::FlagValue;

/// Sources without a file; each pair is a variable.
fn environment(variables: &[(&str, &str)]) -> Sources {
    let pairs = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Sources { environment: pairs.collect(), ..Sources::default() }
}

fn flag(sources: &mut Sources, key: Key, items: &[&str]) {
    let items = items.iter().map(|item| (*item).to_owned()).collect();
    sources.flags.push(FlagValue { key, from_file: false, items });
}

/// A file of this test alone, removed at its end.
struct TestFile(PathBuf);

impl TestFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringcast-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn sources(&self) -> Sources {
        Sources { file: Some(self.0.clone()), ..Sources::default() }
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn loaded(sources: &Sources) -> Loaded {
    load(sources, &Facts::default()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn problems(sources: &Sources) -> Vec<String> {
    match load(sources, &Facts::default()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
    }
}

fn row<'a>(loaded: &'a Loaded, name: &str) -> &'a ReportRow {
    loaded.report.rows().iter().find(|row| row.name == name).unwrap()
}
