//! Floor 6: every setting of the program, once.
//!
//! [`table`] is the one list of settings. The command line, the environment, the TOML file,
//! `--help`, the man page, the completions, docs/SETTINGS.md and `ringcast config` are all read
//! from it. [`load`] turns what was given into a [`Settings`], which floors below get in parts.
//!
//! It reads the files it was pointed at and nothing else: facts about the host come as values.

pub mod channel;
pub mod docs;
pub mod error;
pub mod facts;
pub mod file;
pub mod kind;
pub mod layers;
pub mod load;
pub mod nearest;
pub mod report;
pub mod scalar;
pub mod settings;
pub mod table;
pub mod value;

mod checks;

pub use channel::Channel;
pub use error::ConfigErrors;
pub use error::Problem;
pub use facts::Facts;
pub use load::Loaded;
pub use load::Sources;
pub use load::load;
pub use report::Origin;
pub use report::Report;
pub use report::ReportRow;
pub use settings::AutoSwitch;
pub use settings::Join;
pub use settings::LogFormat;
pub use settings::LogLevel;
pub use settings::SendPath;
pub use settings::Settings;
pub use settings::SlowViewer;
pub use table::Key;
pub use table::Row;

#[cfg(test)]
mod tests;
