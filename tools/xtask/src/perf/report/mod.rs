//! The files of a host and a day: raw rounds as JSON, the table as Markdown, the chart as SVG.
//!
//! The JSON is the truth; the other two are written from it and can be written again.

mod chart;
mod table;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

use crate::perf::record::FORMAT;
use crate::perf::record::Results;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

pub(crate) use table::targets;

/// Merges into the day's file and writes all three. The path of the table.
pub(crate) fn save(newer: Results, folder: &Path) -> Result<PathBuf, String> {
    let stem = format!("{}-{}", newer.date, newer.host.name);
    let json = folder.join(format!("{stem}.json"));
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut results = if json.exists() { load(&json)? } else { Results::default() };
    results.merge(newer);
    let text = serde_json::to_string_pretty(&results).map_err(|error| error.to_string())?;
    write(&json, &format!("{text}\n"))?;
    render(&results, &json)
}

/// The table and the chart next to a results file.
pub(crate) fn render(results: &Results, json: &Path) -> Result<PathBuf, String> {
    let (page, picture) = (json.with_extension("md"), json.with_extension("svg"));
    let chart = chart::svg(results);
    let name = picture.file_name().map(|name| name.to_string_lossy().into_owned());
    let flames = flames(results, json);
    write(&page, &table::page(results, chart.as_ref().and(name.as_deref()), &flames))?;
    if let Some(chart) = chart {
        write(&picture, &chart)?;
    }
    Ok(page)
}

/// `<date>-<host>-<scenario>-flame.svg`, those that lie beside the results.
fn flames<'a>(results: &'a Results, json: &Path) -> Vec<(&'a str, String)> {
    let stem = json.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let names = results.scenarios.iter().map(|outcome| outcome.scenario.name.as_str());
    let files = names.map(|name| (name, format!("{stem}-{name}-flame.svg")));
    files.filter(|(_, file)| json.with_file_name(file).exists()).collect()
}

pub(crate) fn load(json: &Path) -> Result<Results, String> {
    let unreadable = |why: &dyn std::fmt::Display| {
        format!("{}: {why}; move it away to begin a new one", json.display())
    };
    let text = fs::read_to_string(json).map_err(|error| unreadable(&error))?;
    let mut results: Results = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
    if results.format != FORMAT {
        return Err(unreadable(&format!("format {}, not {FORMAT}", results.format)));
    }
    results.mend();
    Ok(results)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
