//! SIGHUP: the settings are read again, and what may change while we run is changed.
//!
//! All or nothing: settings that cannot be used change nothing, and one line says why. What needs a
//! restart is named and stays as it was.

use crate::app::boot::Boot;
use crate::app::wire;
use crate::config;
use crate::config::Facts;
use crate::config::Report;
use crate::config::Sources;
use crate::engine::spec::Spec;
use crate::shard::Fleet;
use sd_notify::NotifyState;

pub(super) struct Reload {
    sources: Sources,
    facts: Facts,
    /// What a restart would change is told against this.
    report: Report,
    /// The demo's engine is in no file.
    own_engines: Option<Vec<Spec>>,
}

impl Reload {
    pub(super) fn new(boot: &Boot) -> Self {
        let own_engines = boot.own_engines.then(|| boot.settings.engines.clone());
        let Boot { sources, facts, report, .. } = boot.clone();
        Self { sources, facts, report, own_engines }
    }

    pub(super) fn run(&self, fleet: &Fleet) {
        let _ = sd_notify::notify(false, &[NotifyState::Reloading]);
        self.apply(fleet);
        let _ = sd_notify::notify(false, &[NotifyState::Ready]);
    }

    fn apply(&self, fleet: &Fleet) {
        let loaded = match config::load(&self.sources, &self.facts) {
            Ok(loaded) => loaded,
            Err(errors) => {
                let what = errors.to_string().lines().collect::<Vec<_>>().join("; ");
                tracing::error!("reload: the old settings stay in force: {what}");
                return;
            }
        };
        for notice in &loaded.notices {
            tracing::warn!("{notice}");
        }
        for name in self.report.changed_at_restart_only(&loaded.report) {
            tracing::warn!("reload: {name} has changed, and needs a restart");
        }
        let engines = self.own_engines.as_ref().unwrap_or(&loaded.settings.engines);
        fleet.reload(wire::live(&loaded.settings), engines.clone());
        tracing::info!("reload: the settings were read again");
    }
}
