//! The command line of `cargo xtask perf`.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "usage: cargo xtask perf [SCENARIO…] [OPTIONS]

  SCENARIO             names of files in perf/scenarios; all when none is given
  --list               say what there is and stop
  --figures            say what is measured, by the names that targets use, and stop
  --rounds N           instead of the scenarios' own
  --seconds S          instead of the scenarios' own
  --quick              the loopback ones, tiny and once: does the harness work? No verdicts
  --profile NAME       release or dev [release]; only release writes to perf/results
  --programs DIR       measure the programs in DIR as they are; nothing is built (a host without Rust)
  --commit ID          what the programs were built from, where git cannot tell
  --out DIR            where results go [perf/results, or target/perf when quick or dev]
  --render FILE.json   only write the table and the chart of a results file again";

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) scenarios: Vec<String>,
    pub(crate) list: bool,
    pub(crate) figures: bool,
    pub(crate) rounds: Option<u32>,
    pub(crate) seconds: Option<u64>,
    pub(crate) quick: bool,
    pub(crate) dev: bool,
    pub(crate) programs: Option<PathBuf>,
    pub(crate) commit: Option<String>,
    pub(crate) out: Option<PathBuf>,
    pub(crate) render: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match *word {
                "--list" => options.list = true,
                "--figures" => options.figures = true,
                "--quick" => options.quick = true,
                "--rounds" => options.rounds = Some(positive(word, value()?)?),
                "--seconds" => options.seconds = Some(positive(word, value()?)?.into()),
                "--programs" => options.programs = Some(value()?.into()),
                "--commit" => options.commit = Some(value()?.to_string()),
                "--out" => options.out = Some(value()?.into()),
                "--render" => options.render = Some(value()?.into()),
                "--profile" => {
                    options.dev = match *value()? {
                        "release" => false,
                        "dev" => true,
                        other => return Err(format!("--profile {other}: release or dev")),
                    }
                }
                option if option.starts_with('-') => {
                    return Err(format!("unknown option {option}\n{USAGE}"));
                }
                name => options.scenarios.push(name.trim_end_matches(".toml").to_owned()),
            }
        }
        Ok(options)
    }

    pub(crate) fn profile(&self) -> &'static str {
        if self.dev { "dev" } else { "release" }
    }

    /// Its numbers are worth keeping.
    pub(crate) fn is_for_the_record(&self) -> bool {
        !self.quick && !self.dev
    }
}

fn positive(name: &str, text: &str) -> Result<u32, String> {
    let number = text.parse::<u32>().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{name} {text}: a whole number from 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_options() {
        let words = ["one-50", "--rounds", "2", "--seconds", "5", "zap.toml", "--profile", "dev"];
        let options = Options::parse(&words).unwrap();
        assert_eq!(options.scenarios, ["one-50", "zap"]);
        assert_eq!((options.rounds, options.seconds), (Some(2), Some(5)));
        assert!(options.dev && !options.is_for_the_record());
        let options = Options::parse(&["--programs", "/opt/ringcast"]).unwrap();
        assert_eq!(options.programs, Some("/opt/ringcast".into()));
        assert!(Options::parse(&[]).unwrap().is_for_the_record());
        assert!(!Options::parse(&["--quick"]).unwrap().is_for_the_record());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |words: &[&str]| Options::parse(words).unwrap_err();
        assert_eq!(wrong(&["--rounds", "0"]), "--rounds 0: a whole number from 1");
        assert_eq!(wrong(&["--seconds"]), "--seconds needs a value");
        assert_eq!(wrong(&["--profile", "fast"]), "--profile fast: release or dev");
        assert!(wrong(&["--verbose"]).starts_with("unknown option --verbose"));
    }
}
