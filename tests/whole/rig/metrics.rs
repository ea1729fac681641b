//! `/metrics` as a scraper reads it.

use super::Server;
use super::client;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;
use std::process::Stdio;

/// One scrape: every sample by name and labels, as written, and the type of each family.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) text: String,
    pub(crate) samples: BTreeMap<String, f64>,
    pub(crate) types: BTreeMap<String, String>,
}

impl Scrape {
    pub(crate) fn of(server: &Server) -> Self {
        let reply = client::get(server.address, "/metrics");
        assert_eq!(reply.status, 200);
        let kind = reply.header("content-type").expect("a content type");
        assert!(kind.starts_with("text/plain") && kind.contains("version=0.0.4"), "{kind}");
        Self::parse(reply.text())
    }

    fn parse(text: String) -> Self {
        let mut samples = BTreeMap::new();
        let mut types = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                types.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').expect("a series and a value");
                let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
                let before = samples.insert(series.to_owned(), value);
                assert!(before.is_none(), "twice: {line}");
            }
        }
        Self { text, samples, types }
    }

    pub(crate) fn get(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }

    /// Samples that only ever grow: of counters, and all but the gauges' of histograms.
    fn growing(&self) -> impl Iterator<Item = (&String, f64)> {
        self.samples.iter().map(|(series, value)| (series, *value)).filter(|(series, _)| {
            let name = series.split('{').next().unwrap_or(series);
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
                name.strip_suffix(suffix).filter(|n| self.types.contains_key(*n))
            });
            matches!(
                self.types.get(family.unwrap_or(name)).map(String::as_str),
                Some("counter" | "histogram")
            )
        })
    }

    /// Nothing that counts has become less, or gone.
    pub(crate) fn assert_follows(&self, earlier: &Self) {
        for (series, before) in earlier.growing() {
            // A stream that has ended takes its own series along.
            if series.contains("{stream=") && !self.samples.contains_key(series) {
                continue;
            }
            let now = self.get(series);
            assert!(now >= before, "{series} went from {before} to {now}");
        }
    }

    /// Prometheus' own linter has nothing to say.
    pub(crate) fn assert_clean(&self) {
        let mut linter = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool is installed (package prometheus)");
        linter.stdin.take().unwrap().write_all(self.text.as_bytes()).unwrap();
        let output = linter.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.is_empty(), "promtool: {said}\n{}", self.text);
    }
}
