//! What every command that runs for a while begins with: the host looked at, the limit of open
//! files raised, the settings read.

use crate::app::host;
use crate::config;
use crate::config::ConfigErrors;
use crate::config::Facts;
use crate::config::Report;
use crate::config::Settings;
use crate::config::Sources;
use crate::net::host::Features;
use crate::net::host::OPEN_FILES_MAX;

#[derive(Clone, Debug)]
pub struct Boot {
    pub settings: Settings,
    pub report: Report,
    /// For the log, one line each. Nobody has said them yet.
    pub notices: Vec<String>,
    /// Loaded again by a reload.
    pub sources: Sources,
    pub facts: Facts,
    pub features: Features,
    /// The engines in the settings are not the operator's, and a reload leaves them alone.
    pub own_engines: bool,
}

impl Boot {
    pub fn new(sources: Sources) -> Result<Self, ConfigErrors> {
        let mut features = crate::net::host::features();
        // Where it may not be raised, the limit in force is the one that counts.
        if let Ok(soft) = crate::net::host::raise_open_files(OPEN_FILES_MAX) {
            features.files.soft = soft;
            features.files.hard = features.files.hard.max(soft);
        }
        let facts = host::facts(&features, &sources.environment);
        let loaded = config::load(&sources, &facts)?;
        let config::Loaded { settings, report, notices } = loaded;
        Ok(Self { settings, report, notices, sources, facts, features, own_engines: false })
    }
}
